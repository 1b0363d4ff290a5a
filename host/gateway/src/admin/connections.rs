//! `/connections`: those of the operator's file, which all organisations share. Never a secret.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Call;
use super::problem::Problem;
use crate::catalog::Connection;
use crate::config::{AuthScheme, ProviderConfig};
use crate::snapshot::Snapshot;
use crate::upstream::Breaker;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Connection)]
struct View {
    name: String,
    /// The provider plugin.
    plugin: String,
    region: Option<String>,
    /// Whether its plugin is loaded, so that it can be used.
    in_service: bool,
    models: usize,
    operations: Vec<String>,
    /// Only for whoever may see the whole installation's.
    base_url: Option<String>,
    /// How requests are authenticated, for the same: `bearer`, `header:NAME`, `query:NAME`, `aws-sigv4`, …; absent where they are not.
    auth: Option<String>,
    /// Absent where it is not in service.
    health: Option<Health>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ConnectionHealth)]
struct Health {
    /// `closed`, `open` (requests go elsewhere) or `half-open` (one is trying).
    breaker: &'static str,
    in_flight: u32,
    /// Moving average, 0 to 1.
    error_rate: f32,
    /// Moving average of the time to the first byte.
    latency_ms: f32,
    /// Until when the provider's rate limit lasts.
    cooling_until_ms: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Connections)]
struct All {
    data: Vec<View>,
}

pub(super) fn breaker(breaker: Breaker) -> &'static str {
    match breaker {
        Breaker::Closed { .. } => "closed",
        Breaker::Open { .. } => "open",
        Breaker::HalfOpen => "half-open",
    }
}

fn auth(provider: &ProviderConfig) -> Option<String> {
    let keyed = provider.api_key.is_some();
    match &provider.auth {
        AuthScheme::Bearer => keyed.then(|| "bearer".to_owned()),
        AuthScheme::Header(name) => keyed.then(|| format!("header:{name}")),
        AuthScheme::Query(name) => keyed.then(|| format!("query:{name}")),
        AuthScheme::AwsSigv4 => Some("aws-sigv4".to_owned()),
        AuthScheme::GoogleServiceAccount => Some("google-service-account".to_owned()),
        AuthScheme::AzureEntra => Some("azure-entra".to_owned()),
    }
}

fn view(snapshot: &Snapshot, now: u64, name: &str, provider: &ProviderConfig, everything: bool) -> View {
    let connection = snapshot.catalog.connection(name);
    let offered = snapshot.catalog.offers().iter().filter(|offer| *offer.connection.name == *name).count();
    let mut operations: Vec<String> = connection
        .iter()
        .flat_map(|connection| &connection.endpoints)
        .map(|endpoint| endpoint.operation.to_string())
        .collect();
    operations.sort();
    operations.dedup();
    View {
        name: name.to_owned(),
        plugin: provider.plugin.clone(),
        region: provider.region.clone(),
        in_service: connection.is_some(),
        models: offered,
        operations,
        base_url: everything.then(|| provider.base_url.clone()),
        auth: auth(provider).filter(|_| everything),
        health: connection.map(|connection| health(connection, now)),
    }
}

fn health(connection: &Arc<Connection>, now: u64) -> Health {
    let standing = connection.health.standing(now);
    Health {
        breaker: breaker(standing.breaker),
        in_flight: standing.in_flight,
        error_rate: standing.error_rate,
        latency_ms: standing.latency_ms,
        cooling_until_ms: (standing.cooling_ms > 0).then(|| now + standing.cooling_ms),
    }
}

/// The connections of the operator's file, and how each fares in this process.
#[utoipa::path(get, path = "/connections", tag = "connections", operation_id = "listConnections",
    responses((status = 200, body = All)))]
async fn list(State(api): State<Api>, call: Call) -> Json<All> {
    let (snapshot, now) = (api.gateway.snapshot(), api.gateway.clock.now_ms());
    let one =
        |(name, provider): (&String, &ProviderConfig)| view(&snapshot, now, name, provider, call.sees_everything());
    Json(All { data: snapshot.config.providers.iter().map(one).collect() })
}

#[utoipa::path(get, path = "/connections/{connection}", tag = "connections", operation_id = "showConnection",
    params(("connection" = String, Path, description = "Its name in the operator's file.")),
    responses((status = 200, body = View)))]
async fn show(State(api): State<Api>, call: Call, Path(name): Path<String>) -> Result<Json<View>, Problem> {
    let (snapshot, now) = (api.gateway.snapshot(), api.gateway.clock.now_ms());
    let provider = snapshot.config.providers.get(&name).ok_or_else(|| Problem::not_found("connection"))?;
    Ok(Json(view(&snapshot, now, &name, provider, call.sees_everything())))
}
