//! `/plugins`

use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::{Path, State};
use portcullis_runtime::{PluginState, PluginStatus};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::problem::Problem;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(rescan))
}

/// A file of the plugin folder.
#[derive(Serialize, ToSchema)]
#[schema(as = Plugin)]
struct View {
    name: String,
    file: String,
    /// `loaded`, `disabled`, `pending` (still being written), `rejected` (it does not load) or `quarantined` (it failed in service).
    /// Of the last two the version before goes on, where there is one.
    state: &'static str,
    /// Why it was rejected or quarantined.
    reason: Option<String>,
    since_ms: u64,
    /// Absent where no version serves.
    running: Option<Version>,
}

/// The version that serves.
#[derive(Serialize, ToSchema)]
#[schema(as = PluginVersion)]
struct Version {
    version: String,
    /// SHA-256 of its file, in hex.
    hash: String,
    /// `probation`, `trusted`, `held` or `withdrawn`.
    health: &'static str,
    roles: Vec<String>,
}

/// The whole folder.
#[derive(Serialize, ToSchema)]
#[schema(as = Plugins)]
struct Folder {
    data: Vec<View>,
}

pub(super) fn state(state: &PluginState) -> (&'static str, Option<&str>) {
    match state {
        PluginState::Loaded => ("loaded", None),
        PluginState::Disabled => ("disabled", None),
        PluginState::Pending => ("pending", None),
        PluginState::Rejected { reason } => ("rejected", Some(reason)),
        PluginState::Quarantined { reason } => ("quarantined", Some(reason)),
    }
}

fn view(api: &Api, status: PluginStatus) -> View {
    let (state, reason) = state(&status.state);
    let reason = reason.map(str::to_owned);
    let snapshot = api.gateway.snapshot();
    let running = status.running.map(|running| {
        let serving = snapshot.plugins.iter().find(|plugin| plugin.hash() == running.hash);
        let roles = serving.map(|plugin| plugin.roles().iter().map(ToString::to_string).collect()).unwrap_or_default();
        Version { version: running.version, hash: running.hash, health: running.health, roles }
    });
    let since = status.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    View {
        name: status.name,
        file: status.file.display().to_string(),
        state,
        reason,
        since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        running,
    }
}

/// What is in the plugin folder, and what of it serves.
#[utoipa::path(get, path = "/plugins", tag = "plugins", operation_id = "listPlugins", responses((status = 200, body = Folder)))]
async fn list(State(api): State<Api>) -> Json<Folder> {
    Json(Folder { data: api.plugins.status().into_iter().map(|status| view(&api, status)).collect() })
}

#[utoipa::path(get, path = "/plugins/{plugin}", tag = "plugins", operation_id = "showPlugin",
    params(("plugin" = String, Path, description = "The file's name without `.wasm`.")), responses((status = 200, body = View)))]
async fn show(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<View>, Problem> {
    let found = api.plugins.status().into_iter().find(|status| status.name == name);
    found.map(|status| Json(view(&api, status))).ok_or_else(|| Problem::not_found("plugin"))
}

/// Reads the folder now. Answers when all that was found is in service or rejected.
#[utoipa::path(post, path = "/plugins/rescan", tag = "plugins", operation_id = "rescanPlugins",
    responses((status = 200, body = Folder)))]
async fn rescan(State(api): State<Api>) -> Result<Json<Folder>, Problem> {
    let plugins = std::sync::Arc::clone(&api.plugins);
    let scanned = tokio::task::spawn_blocking(move || plugins.rescan()).await;
    if !matches!(scanned, Ok(Ok(()))) {
        return Err(Problem::unavailable("The plugin folder"));
    }
    Ok(list(State(api)).await)
}
