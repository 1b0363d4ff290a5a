//! `/audit-events`

use axum::Json;
use axum::extract::State;
use portcullis_store::{AuditEvent, AuditFilter, AuditPage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Call;
use super::extract::{Asked, Page, PageQuery, cursor};
use super::problem::Problem;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
struct View {
    /// Its place in the trail, from 1.
    seq: u64,
    time_ms: u64,
    /// `token`, `member`, `cli`, `system`, `caller`.
    actor_kind: String,
    actor_id: Option<String>,
    address: Option<String>,
    /// Absent for what concerns the whole installation.
    organisation: Option<String>,
    /// What was done: `key.revoke`.
    action: String,
    /// To what: mostly an id.
    target: String,
    /// What it was, as far as it changed.
    before: Option<Value>,
    /// What it is then.
    after: Option<Value>,
}

impl From<AuditEvent> for View {
    fn from(AuditEvent { seq, event, .. }: AuditEvent) -> Self {
        View {
            seq,
            time_ms: event.time_ms,
            actor_kind: event.actor_kind,
            actor_id: event.actor_id,
            address: event.address,
            organisation: event.organisation.map(|organisation| organisation.to_string()),
            action: event.action,
            target: event.target,
            before: event.before,
            after: event.after,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
struct Query {
    /// Only this organisation's.
    organisation: Option<String>,
    /// `token`, `member`, `cli`, `system`, `caller`.
    actor_kind: Option<String>,
    actor_id: Option<String>,
    /// An action, or with a `.` at its end all that begin so: `key.`
    action: Option<String>,
    target: Option<String>,
    /// Inclusive.
    since_ms: Option<u64>,
    /// Exclusive.
    until_ms: Option<u64>,
    /// `desc`, the default, for the newest first, or `asc`.
    #[param(value_type = Option<String>)]
    order: Option<Order>,
    /// Items at most, 1 to 500. Default 50.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    Desc,
}

/// What was done, by whom, and which accesses failed.
#[utoipa::path(get, path = "/audit-events", tag = "audit", operation_id = "listAuditEvents", params(Query),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, call: Call, Asked(asked): Asked<Query>) -> Result<Json<Page<View>>, Problem> {
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let (limit, from) = (page.limit()?, page.after::<u64>()?);
    let filter = AuditFilter {
        organisation: call.within().0,
        actor_kind: asked.actor_kind,
        actor_id: asked.actor_id,
        action: asked.action,
        target: asked.target,
        since_ms: asked.since_ms,
        until_ms: asked.until_ms,
    };
    let which = match asked.order {
        Some(Order::Asc) => AuditPage::After(from.unwrap_or(0), limit + 1),
        Some(Order::Desc) | None => AuditPage::Before(from, limit + 1),
    };
    let mut events = api.store.audit_events(&filter, which).await?;
    let more = events.len() > limit as usize;
    events.truncate(limit as usize);
    let next = events.last().filter(|_| more).map(|last| cursor(&last.seq));
    Ok(Json(Page { data: events.into_iter().map(View::from).collect(), next }))
}
