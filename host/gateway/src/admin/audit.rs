//! `/audit-events`

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use portcullis_core::OrganisationId;
use portcullis_export::{AUDIT, Format, audit_row};
use portcullis_store::{AuditEvent, AuditFilter, AuditPage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Call;
use super::extract::{Asked, Page, PageQuery, cursor};
use super::file::FileWriter;
use super::problem::Problem;

/// Events that are read at once.
const PIECE: u32 = 1_000;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export))
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

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
struct ExportQuery {
    /// `csv`, `jsonl` or `parquet`. Default `jsonl`.
    #[param(value_type = Option<String>)]
    format: Option<Format>,
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
    /// Exclusive; by default now.
    until_ms: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    Desc,
}

/// Events are an organisation's, and nobody who may see a team's things alone sees them.
fn whole(call: &Call) -> Result<Option<OrganisationId>, Problem> {
    match call.within() {
        (organisation, None) => Ok(organisation),
        (_, Some(_)) => {
            let detail = "The audit trail is that of a whole organisation, not of a team.";
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
    }
}

/// What was done, by whom, and which accesses failed.
#[utoipa::path(get, path = "/audit-events", tag = "audit", operation_id = "listAuditEvents", params(Query),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, call: Call, Asked(asked): Asked<Query>) -> Result<Json<Page<View>>, Problem> {
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let (limit, from) = (page.limit()?, page.after::<u64>()?);
    let filter = AuditFilter {
        organisation: whole(&call)?,
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

/// The same as a file, the oldest first, up to now. It is written while it is sent: one that is not whole breaks off.
#[utoipa::path(get, path = "/audit-events/export", tag = "audit", operation_id = "exportAuditEvents", params(ExportQuery),
    responses((status = 200, content((String = "application/x-ndjson"), (String = "text/csv"), (String = "application/vnd.apache.parquet")))))]
async fn export(State(api): State<Api>, call: Call, Asked(asked): Asked<ExportQuery>) -> Result<Response, Problem> {
    // What happens while it is written is not in it, so it has an end.
    let now = api.gateway.clock.now_ms().saturating_add(1);
    let filter = AuditFilter {
        organisation: whole(&call)?,
        actor_kind: asked.actor_kind,
        actor_id: asked.actor_id,
        action: asked.action,
        target: asked.target,
        since_ms: asked.since_ms,
        until_ms: Some(asked.until_ms.map_or(now, |until| until.min(now))),
    };
    let format = asked.format.unwrap_or(Format::Jsonl);
    let (mut file, answer) = FileWriter::begin("audit-events", format, AUDIT.to_vec())?;
    tokio::spawn(async move {
        let mut after = 0;
        loop {
            let events = match api.store.audit_events(&filter, AuditPage::After(after, PIECE)).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::error!(%error, "the audit trail could not be read to its end");
                    return file.break_off().await;
                }
            };
            let Some(last) = events.last() else { return file.finish().await };
            after = last.seq;
            if file.rows(events.into_iter().map(audit_row)).await.is_err() {
                return;
            }
        }
    });
    Ok(answer)
}
