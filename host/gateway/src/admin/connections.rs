//! `/connections`: those of the operator's file, which all organisations share, and those that the database keeps. A credential is
//! taken and never given. A running gateway follows a change within about a second.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use portcullis_core::{ConnectionId, OrganisationId};
use portcullis_store::{ConnectionEdit, ConnectionRecord, ConnectionSecret, Keyring, NewConnection};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Call;
use super::extract::{IfMatch, Said, etag};
use super::problem::Problem;
use super::{Api, PREFIX, created};
use crate::catalog::Connection;
use crate::config::{AuthScheme, ProviderConfig};
use crate::snapshot::Snapshot;
use crate::stored::StoredProvider;
use crate::upstream::Breaker;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, delete))
        .routes(routes!(rotate))
        .routes(routes!(suspend))
        .routes(routes!(resume))
        .routes(routes!(test))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Connection)]
struct View {
    /// Absent for one of the operator's file, which is known by its name.
    id: Option<String>,
    name: String,
    /// What models are asked for by, as `openai` in `openai/gpt-4o`. Several connections of one provider share its requests.
    provider: String,
    /// Whose it is alone; absent for everybody's.
    organisation: Option<String>,
    /// The provider plugin.
    plugin: String,
    region: Option<String>,
    /// Its part of the requests beside others of its provider; 0 for none while another can be asked.
    weight: u32,
    /// Whether it can be used: its plugin is loaded, it is not suspended, and the operator's file has no provider of this name.
    in_service: bool,
    models: usize,
    operations: Vec<String>,
    /// Only for whoever may see the whole installation's, or whose it is.
    base_url: Option<String>,
    /// How requests are authenticated, for the same: `bearer`, `header:NAME`, `query:NAME`, `aws-sigv4`, …; absent where they are not.
    auth: Option<String>,
    /// Of one that the database keeps: as a section `[providers.NAME]` of the operator's file, but for the credential.
    #[schema(value_type = Option<Object>)]
    settings: Option<Map<String, Value>>,
    suspended_ms: Option<u64>,
    created_ms: Option<u64>,
    /// When its credential was last replaced.
    rotated_ms: Option<u64>,
    /// The name of the master key that its credential is encrypted under.
    master_key: Option<String>,
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

/// The key itself, or an object for schemes that need several words: `access_key_id`, `secret_access_key` and perhaps `session_token` for
/// `aws-sigv4`; `tenant`, `client_id` and `client_secret` for `azure-entra`.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "a credential is a text, or an object of several")]
#[schema(as = ConnectionCredential)]
enum Credential {
    Key(String),
    #[schema(value_type = Object)]
    Words(Map<String, Value>),
}

impl Credential {
    fn secret(self) -> Result<ConnectionSecret, Problem> {
        match self {
            Credential::Key(key) if key.trim().is_empty() => {
                Err(Problem::invalid("/secret", "The credential is empty."))
            }
            Credential::Key(key) => Ok(ConnectionSecret::new(key.trim())),
            Credential::Words(words) => Ok(ConnectionSecret::new(Value::Object(words).to_string())),
        }
    }
}

fn one() -> u32 {
    1
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewConnection)]
struct New {
    /// What models are asked for by, as `openai` in `openai/gpt-4o`. Several connections of one provider share its requests.
    provider: String,
    /// By default as the provider.
    name: Option<String>,
    /// Whose it is alone; everybody's without.
    #[schema(value_type = Option<String>)]
    organisation: Option<OrganisationId>,
    /// As a section `[providers.NAME]` of the operator's file, but for the credential: `plugin` and `base_url` at least.
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    #[serde(default = "one")]
    #[schema(default = 1)]
    weight: u32,
    secret: Credential,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectionEdit)]
struct Edit {
    name: Option<String>,
    provider: Option<String>,
    /// Members to set; null takes one away.
    #[schema(value_type = Option<Object>)]
    settings: Option<Map<String, Value>>,
    weight: Option<u32>,
    /// The credential anew: needed where `plugin`, `base_url`, `allow_http` or `auth` change.
    secret: Option<Credential>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectionRotation)]
struct Rotation {
    secret: Credential,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectionTest)]
struct Test {
    /// By default the one with the cheapest input.
    model: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ConnectionTested)]
struct Tested {
    /// Whether it answered as it should.
    ok: bool,
    /// Which model was asked.
    model: String,
    /// The status of the provider's answer, where there was one.
    status: Option<u16>,
    milliseconds: u64,
    failure: Option<Failed>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ConnectionFailure)]
struct Failed {
    kind: String,
    /// The provider's own words, where it had any.
    message: String,
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

/// What serves, where it serves.
struct Service<'a> {
    snapshot: &'a Snapshot,
    now: u64,
}

impl Service<'_> {
    fn of_file(&self, name: &str, provider: &ProviderConfig, everything: bool) -> View {
        let view = View {
            id: None,
            name: name.to_owned(),
            provider: name.to_owned(),
            organisation: None,
            plugin: provider.plugin.clone(),
            region: provider.region.clone(),
            weight: 1,
            in_service: false,
            models: 0,
            operations: Vec::new(),
            base_url: everything.then(|| provider.base_url.clone()),
            auth: auth(provider).filter(|_| everything),
            settings: None,
            suspended_ms: None,
            created_ms: None,
            rotated_ms: None,
            master_key: None,
            health: None,
        };
        let mut all = self.snapshot.catalog.connections();
        self.serving(view, all.find(|connection| connection.id.is_none() && *connection.name == *name))
    }

    fn stored(&self, record: ConnectionRecord) -> View {
        let word = |name: &str| record.settings.get(name).and_then(Value::as_str).map(str::to_owned);
        let view = View {
            id: Some(record.id.to_string()),
            organisation: record.organisation.map(|organisation| organisation.to_string()),
            plugin: word("plugin").unwrap_or_default(),
            region: word("region"),
            weight: record.weight,
            in_service: false,
            models: 0,
            operations: Vec::new(),
            base_url: word("base_url"),
            auth: Some(word("auth").unwrap_or_else(|| "bearer".to_owned())),
            suspended_ms: record.suspended_ms,
            created_ms: Some(record.created_ms),
            rotated_ms: record.rotated_ms,
            master_key: Some(record.master),
            settings: Some(record.settings),
            name: record.name,
            provider: record.provider,
            health: None,
        };
        let mut all = self.snapshot.catalog.connections();
        self.serving(view, all.find(|connection| connection.id == Some(record.id)))
    }

    fn serving(&self, view: View, connection: Option<&Arc<Connection>>) -> View {
        let Some(connection) = connection else { return view };
        let offers = self.snapshot.catalog.offers().iter();
        let mut operations: Vec<String> =
            connection.endpoints.iter().map(|endpoint| endpoint.operation.to_string()).collect();
        operations.sort();
        operations.dedup();
        View {
            in_service: true,
            models: offers.filter(|offer| Arc::ptr_eq(&offer.connection, connection)).count(),
            operations,
            health: Some(health(connection, self.now)),
            ..view
        }
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

/// One that the database keeps, with its version: how it fares is not part of that.
fn shown(api: &Api, record: ConnectionRecord) -> Response {
    let tag = etag(&record.to_json());
    let (snapshot, now) = (api.gateway.snapshot(), api.gateway.clock.now_ms());
    let mut answer = Json(Service { snapshot: &snapshot, now }.stored(record)).into_response();
    answer.headers_mut().insert(header::ETAG, tag);
    answer
}

/// The id of one that can be changed here.
fn stored_id(api: &Api, id: &str) -> Result<String, Problem> {
    if id.parse::<ConnectionId>().is_ok() {
        return Ok(id.to_owned());
    }
    if api.gateway.snapshot().config.providers.contains_key(id) {
        let detail = "This connection stands in the operator's file, and is changed there.";
        return Err(Problem::new(StatusCode::CONFLICT, "of_file", detail));
    }
    Err(Problem::not_found("connection"))
}

/// The master key, which a file or a command may have to be asked for.
async fn unlocked(api: &Api) -> Result<&Keyring, Problem> {
    let keys = Arc::clone(&api.keys);
    match tokio::task::spawn_blocking(move || keys.unlock()).await {
        Ok(Ok(())) => Ok(&api.keys),
        Ok(Err(error)) => {
            tracing::error!(%error, "the admin API cannot use the key for connections");
            Err(Problem::unavailable("The key for connections"))
        }
        Err(_) => Err(Problem::unavailable("The key for connections")),
    }
}

/// Refuses what the gateway would not use.
fn check(api: &Api, record: &ConnectionRecord, secret: &ConnectionSecret) -> Result<(), Problem> {
    let refused = |why: String| Problem::invalid("/settings", format!("{why}."));
    let provider = StoredProvider::of(record, secret).map_err(refused)?;
    provider.check(&api.gateway.snapshot().config.connections).map_err(refused)
}

/// All connections that the caller may see, those of the operator's file first, and how each fares in this process.
#[utoipa::path(get, path = "/connections", tag = "connections", operation_id = "listConnections",
    responses((status = 200, body = All)))]
async fn list(State(api): State<Api>, call: Call) -> Result<Json<All>, Problem> {
    let (snapshot, now) = (api.gateway.snapshot(), api.gateway.clock.now_ms());
    let service = Service { snapshot: &snapshot, now };
    let of_file = snapshot.config.providers.iter();
    let of_file = of_file.map(|(name, provider)| service.of_file(name, provider, call.sees_everything()));
    let stored = api.store.connections(&call.actor, None).await?.into_iter().map(|record| service.stored(record));
    Ok(Json(All { data: of_file.chain(stored).collect() }))
}

/// Keeps a connection. Its credential is encrypted, and in no answer.
#[utoipa::path(post, path = "/connections", tag = "connections", operation_id = "createConnection", request_body = New,
    responses((status = 201, body = View)))]
async fn create(State(api): State<Api>, call: Call, Said(new): Said<New>) -> Result<Response, Problem> {
    let New { provider, name, organisation, settings, weight, secret } = new;
    let name = name.unwrap_or_else(|| provider.clone());
    let new = NewConnection { organisation, name, provider, settings, weight, secret: secret.secret()? };
    check(&api, &new.record(ConnectionId::from_bytes([0; 16]), 0), &new.secret)?;
    let record = api.store.create_connection(&call.actor, unlocked(&api).await?, new).await?;
    let location = HeaderValue::from_str(&format!("{PREFIX}/connections/{}", record.id));
    let mut answer = created(shown(&api, record));
    answer.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    Ok(answer)
}

#[utoipa::path(get, path = "/connections/{connection}", tag = "connections", operation_id = "showConnection",
    params(("connection" = String, Path, description = "con_…, or its name in the operator's file.")),
    responses((status = 200, body = View)))]
async fn show(State(api): State<Api>, call: Call, Path(name): Path<String>) -> Result<Response, Problem> {
    if name.parse::<ConnectionId>().is_ok() {
        return Ok(shown(&api, api.store.connection(&call.actor, &name).await?));
    }
    let (snapshot, now) = (api.gateway.snapshot(), api.gateway.clock.now_ms());
    let provider = snapshot.config.providers.get(&name).ok_or_else(|| Problem::not_found("connection"))?;
    Ok(Json(Service { snapshot: &snapshot, now }.of_file(&name, provider, call.sees_everything())).into_response())
}

/// Changes a connection.
#[utoipa::path(patch, path = "/connections/{connection}", tag = "connections", operation_id = "editConnection",
    params(("connection" = String, Path, description = "con_…")), request_body = Edit, responses((status = 200, body = View)))]
async fn edit(
    State(api): State<Api>,
    call: Call,
    Path(id): Path<String>,
    version: IfMatch,
    Said(edit): Said<Edit>,
) -> Result<Response, Problem> {
    let (id, keys) = (stored_id(&api, &id)?, unlocked(&api).await?);
    let before = api.store.open_connection(&call.actor, keys, &id).await?;
    let settings = edit.settings.map(|changes| {
        let mut settings = before.record.settings.clone();
        for (name, value) in changes {
            if value.is_null() {
                settings.remove(&name);
            } else {
                settings.insert(name, value);
            }
        }
        settings
    });
    let secret = edit.secret.map(Credential::secret).transpose()?;
    let edit = ConnectionEdit {
        name: edit.name,
        provider: edit.provider,
        settings,
        weight: edit.weight,
        suspended: None,
        secret,
    };
    check(&api, &edit.over(&before.record, 0), edit.secret.as_ref().unwrap_or(&before.secret))?;
    let expected = version.expects(|record: ConnectionRecord| record.to_json());
    // The settings were merged into those that were read.
    let as_read = |record: &ConnectionRecord| expected(record) && record.settings == before.record.settings;
    Ok(shown(&api, api.store.edit_connection_if(&call.actor, keys, &id, &edit, as_read).await?))
}

/// Deletes a connection with its credential.
#[utoipa::path(delete, path = "/connections/{connection}", tag = "connections", operation_id = "deleteConnection",
    params(("connection" = String, Path, description = "con_…")), responses((status = 204)))]
async fn delete(State(api): State<Api>, call: Call, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    api.store.delete_connection(&call.actor, &stored_id(&api, &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces a connection's credential.
#[utoipa::path(post, path = "/connections/{connection}/rotate", tag = "connections", operation_id = "rotateConnection",
    params(("connection" = String, Path, description = "con_…")), request_body = Rotation,
    responses((status = 200, body = View)))]
async fn rotate(
    State(api): State<Api>,
    call: Call,
    Path(id): Path<String>,
    Said(rotation): Said<Rotation>,
) -> Result<Response, Problem> {
    let (id, secret) = (stored_id(&api, &id)?, rotation.secret.secret()?);
    check(&api, &api.store.connection(&call.actor, &id).await?, &secret)?;
    let keys = unlocked(&api).await?;
    Ok(shown(&api, api.store.rotate_connection(&call.actor, keys, &id, &secret).await?))
}

async fn rest(api: &Api, call: &Call, id: &str, suspended: bool) -> Result<Response, Problem> {
    let edit = ConnectionEdit { suspended: Some(suspended), ..ConnectionEdit::default() };
    // It takes no key, so that it can be done when none is to be had.
    Ok(shown(api, api.store.edit_connection(&call.actor, &api.keys, &stored_id(api, id)?, &edit).await?))
}

/// Sends a connection no requests until it is resumed.
#[utoipa::path(post, path = "/connections/{connection}/suspend", tag = "connections", operation_id = "suspendConnection",
    params(("connection" = String, Path, description = "con_…")), responses((status = 200, body = View)))]
async fn suspend(State(api): State<Api>, call: Call, Path(id): Path<String>) -> Result<Response, Problem> {
    rest(&api, &call, &id, true).await
}

#[utoipa::path(post, path = "/connections/{connection}/resume", tag = "connections", operation_id = "resumeConnection",
    params(("connection" = String, Path, description = "con_…")), responses((status = 200, body = View)))]
async fn resume(State(api): State<Api>, call: Call, Path(id): Path<String>) -> Result<Response, Problem> {
    rest(&api, &call, &id, false).await
}

/// Asks one of a connection's models for a few tokens, which its account pays for, and says how that went.
#[utoipa::path(post, path = "/connections/{connection}/test", tag = "connections", operation_id = "testConnection",
    params(("connection" = String, Path, description = "con_…, or its name in the operator's file.")), request_body = Test,
    responses((status = 200, body = Tested)))]
async fn test(
    State(api): State<Api>,
    call: Call,
    Path(id): Path<String>,
    Said(test): Said<Test>,
) -> Result<Json<Tested>, Problem> {
    let snapshot = api.gateway.snapshot();
    let provider = match snapshot.config.providers.get(&id) {
        // The operator's own account pays.
        Some(_) if !call.sees_everything() => return Err(Problem::not_found("connection")),
        Some(provider) => StoredProvider::of_file(&id, provider),
        None => {
            let open = api.store.open_connection(&call.actor, unlocked(&api).await?, &stored_id(&api, &id)?).await?;
            StoredProvider::of(&open.record, &open.secret)
                .map_err(|why| Problem::new(StatusCode::CONFLICT, "unusable", format!("{why}.")))?
        }
    };
    let probe = api.gateway.probe(provider, test.model.as_deref()).await;
    let probe = probe.map_err(|why| Problem::new(StatusCode::CONFLICT, "not_testable", format!("{why}.")))?;
    let failure = probe.failure.map(|(kind, message)| Failed { kind, message });
    let (model, status, milliseconds) = (probe.model, probe.status, probe.milliseconds);
    Ok(Json(Tested { ok: failure.is_none(), model, status, milliseconds, failure }))
}
