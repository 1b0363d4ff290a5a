//! `/replicas`

use axum::Json;
use axum::extract::State;
use portcullis_store::Replica;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::problem::Problem;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A process that serves.
#[derive(Serialize, ToSchema)]
#[schema(as = Replica)]
struct View {
    id: String,
    /// Machine and process, for people.
    name: String,
    started_ms: u64,
    /// Milliseconds since it last said that it is there, by the database's clock.
    age_ms: u64,
    /// Whether it may still let requests pass.
    live: bool,
    /// The revision of the keys that it holds.
    keys_revision: i64,
}

impl From<Replica> for View {
    fn from(one: Replica) -> Self {
        View {
            live: one.is_live(),
            id: one.id.to_string(),
            name: one.name,
            started_ms: one.started_ms,
            age_ms: one.age_ms,
            keys_revision: one.keys_revision,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Replicas)]
struct All {
    data: Vec<View>,
}

/// The processes that serve on this database, or did so a short while ago.
#[utoipa::path(get, path = "/replicas", tag = "system", operation_id = "listReplicas", responses((status = 200, body = All)))]
async fn list(State(api): State<Api>) -> Result<Json<All>, Problem> {
    Ok(Json(All { data: api.store.replicas().await?.into_iter().map(View::from).collect() }))
}
