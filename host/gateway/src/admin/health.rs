//! `/health` in detail, and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::connections::breaker;
use super::extract::text;
use super::{Api, Shared, plugins};
use crate::metrics::{CONTENT_TYPE, Live, LiveConnection, LivePlugin, render};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(health))
}

pub fn metrics_route() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// How this process fares.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
struct Health {
    /// `ok`, or `degraded` where something is not as it should be.
    status: &'static str,
    version: &'static str,
    /// Whether chat requests can be served: there is a dialect to take them and a model to send them to.
    ready: bool,
    /// Whether the database answers.
    database: bool,
    /// Records that the database does not have yet.
    ledger_behind: u64,
    /// Connections whose breaker is not closed.
    breakers: Vec<String>,
    /// Files of the plugin folder that do not serve as they stand, with why.
    plugins: Vec<Trouble>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PluginTrouble)]
struct Trouble {
    plugin: String,
    state: &'static str,
    reason: Option<String>,
}

/// How this process fares, in detail.
#[utoipa::path(get, path = "/health", tag = "system", operation_id = "showHealth", responses((status = 200, body = Health)))]
async fn health(State(api): State<Api>) -> Json<Health> {
    let live = api.live();
    let database = api.store.organisations().await.is_ok();
    let open = live.connections.iter().filter(|connection| connection.breaker != "closed");
    let breakers: Vec<String> = open.map(|connection| connection.name.clone()).collect();
    let troubled: Vec<Trouble> = api
        .plugins
        .status()
        .into_iter()
        .filter_map(|status| {
            let (state, reason) = plugins::state(&status.state);
            let reason = reason.map(str::to_owned);
            matches!(state, "rejected" | "quarantined").then_some(Trouble { plugin: status.name, state, reason })
        })
        .collect();
    let sound = database && live.ready && breakers.is_empty() && troubled.is_empty();
    Json(Health {
        status: if sound { "ok" } else { "degraded" },
        version: env!("CARGO_PKG_VERSION"),
        ready: live.ready,
        database,
        ledger_behind: live.ledger_behind,
        breakers,
        plugins: troubled,
    })
}

/// Metrics as OpenMetrics text, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "system", operation_id = "showMetrics",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
async fn metrics(State(api): State<Api>) -> Response {
    text(CONTENT_TYPE, render(&api.gateway.metrics, &api.live()))
}

impl Shared {
    fn live(&self) -> Live {
        let gateway = &self.gateway;
        let (snapshot, now) = (gateway.snapshot(), gateway.clock.now_ms());
        let connections = snapshot.catalog.connections().map(|connection| {
            let standing = connection.health.standing(now);
            LiveConnection {
                name: connection.name.to_string(),
                breaker: breaker(standing.breaker),
                in_flight: standing.in_flight,
                error_rate: standing.error_rate,
                latency_ms: standing.latency_ms,
            }
        });
        let plugins = self.plugins.status().into_iter().map(|status| {
            let state = plugins::state(&status.state).0;
            let (version, hash, health) = match status.running {
                Some(running) => (running.version, running.hash, running.health),
                None => (String::new(), String::new(), ""),
            };
            LivePlugin { name: status.name, version, hash, state, health }
        });
        Live {
            connections: connections.collect(),
            plugins: plugins.collect(),
            ledger_behind: gateway.ledger.behind(),
            access_failures: gateway.access_counters().failures().collect(),
            lockouts: gateway.access_counters().lockouts(),
            keys: gateway.keys.len(),
            ready: snapshot.is_ready(),
        }
    }
}
