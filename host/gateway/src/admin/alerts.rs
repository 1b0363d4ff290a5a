//! `/alerts`: thresholds that budgets passed, and first refusals.

use axum::Json;
use axum::extract::State;
use portcullis_core::BudgetId;
use portcullis_store::budgets::{Alert, AlertFilter, AlertKind};
use serde::{Deserialize, Serialize};
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
#[schema(as = Alert)]
struct View {
    /// Grows with time.
    id: i64,
    /// `threshold`: so much of the limit is spent. `refused`: a request was refused, the first of its window.
    kind: &'static str,
    /// Of the limit; null for a refusal.
    per_cent: Option<u16>,
    organisation: String,
    budget: String,
    /// The budget's name when the alert was raised.
    name: String,
    /// Of the budget's window.
    window_start_ms: u64,
    spent_nano_usd: u64,
    spent_usd: String,
    limit_nano_usd: u64,
    limit_usd: String,
    time_ms: u64,
    /// When the webhook took it; null before that, and where there is none.
    delivered_ms: Option<u64>,
    /// Deliveries that failed.
    failed_deliveries: u32,
}

impl From<Alert> for View {
    fn from(one: Alert) -> Self {
        View {
            id: one.id,
            kind: one.kind.parts().0,
            per_cent: match one.kind {
                AlertKind::Threshold(per_cent) => Some(per_cent),
                AlertKind::Refused => None,
            },
            organisation: one.organisation.to_string(),
            budget: one.budget.to_string(),
            name: one.name,
            window_start_ms: one.start_ms,
            spent_nano_usd: one.spent.get(),
            spent_usd: one.spent.to_string(),
            limit_nano_usd: one.limit.get(),
            limit_usd: one.limit.to_string(),
            time_ms: one.time_ms,
            delivered_ms: one.delivered_ms,
            failed_deliveries: one.attempts,
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
    /// Only those of this team's budgets.
    team: Option<String>,
    /// Only this budget's.
    #[param(value_type = Option<String>)]
    budget: Option<BudgetId>,
    /// Only those that were delivered, or were not.
    delivered: Option<bool>,
    /// Inclusive.
    since_ms: Option<u64>,
    /// Exclusive.
    until_ms: Option<u64>,
    /// Items at most, 1 to 500. Default 50.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Alerts, the newest first: each once a window of its budget.
#[utoipa::path(get, path = "/alerts", tag = "budgets", operation_id = "listAlerts", params(Query),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, call: Call, Asked(asked): Asked<Query>) -> Result<Json<Page<View>>, Problem> {
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let limit = page.limit()?;
    let (organisation, team) = call.within();
    let filter = AlertFilter {
        organisation,
        team,
        budget: asked.budget,
        since_ms: asked.since_ms,
        until_ms: asked.until_ms,
        delivered: asked.delivered,
        before: page.after()?,
        limit: limit + 1,
    };
    let mut alerts = api.store.alerts(&filter).await?;
    let more = alerts.len() > limit as usize;
    alerts.truncate(limit as usize);
    let next = alerts.last().filter(|_| more).map(|last| cursor(&last.id));
    Ok(Json(Page { data: alerts.into_iter().map(View::from).collect(), next }))
}
