//! `/requests`: records to be searched, and receipts.

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use portcullis_core::receipt::Tag;
use portcullis_core::{KeyId, NanoUsd, RequestId};
use portcullis_store::{CapturedPart, RequestFilter, RequestRecord, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Call;
use super::extract::{Asked, Page, PageQuery, cursor};
use super::problem::Problem;
use super::shapes::NameValue;
use super::usage::Tokens;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(content, forget))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Request)]
struct View {
    id: String,
    time_ms: u64,
    key: String,
    organisation: String,
    team: Option<String>,
    /// `production` or `development`.
    environment: &'static str,
    /// The end user, as the client names them.
    user: Option<String>,
    requested_model: String,
    /// Who answered; absent where nobody did.
    provider: Option<String>,
    model: Option<String>,
    /// The HTTP status sent.
    status: u16,
    /// `ok`, `denied`, `blocked`, `failed`, `client-gone`, `cut`.
    outcome: String,
    tokens: Tokens,
    /// nano-USD; absent where the price is unknown or nothing was used.
    cost_nano_usd: Option<u64>,
    /// From the request's head to its answer's last byte, microseconds.
    total_us: u64,
    #[schema(value_type = Vec<NameValue>)]
    tags: Vec<Tag>,
    /// The code of a refusal or failure.
    reason: Option<String>,
    /// What policies said, where it was more than that the request may pass: `constrain`, or a denial's code.
    policy: Option<String>,
    /// The client's own `x-request-id`.
    correlation: Option<String>,
}

impl From<RequestRecord> for View {
    fn from(one: RequestRecord) -> Self {
        View {
            id: one.id.to_string(),
            time_ms: one.time_ms,
            key: one.key.to_string(),
            organisation: one.organisation.to_string(),
            team: one.team.map(|team| team.to_string()),
            environment: one.environment.as_str(),
            user: one.user,
            requested_model: one.requested_model,
            provider: one.provider,
            model: one.model,
            status: one.status,
            outcome: one.outcome,
            tokens: one.usage.into(),
            cost_nano_usd: one.cost.map(|cost| cost.get()),
            total_us: one.total_us,
            tags: one.tags,
            reason: one.reason,
            policy: one.policy,
            correlation: one.correlation,
        }
    }
}

/// A request with its receipt.
#[derive(Serialize, ToSchema)]
#[schema(as = RequestWithReceipt)]
struct WithReceipt {
    #[serde(flatten)]
    request: View,
    /// Everything that is kept of it, as `GET /v1/receipts/{id}` shows it to its key; null where it has expired.
    #[schema(value_type = Object)]
    receipt: Option<serde_json::Value>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
struct Query {
    /// Only this organisation's.
    organisation: Option<String>,
    /// Only this team's.
    team: Option<String>,
    /// Only this key's.
    #[param(value_type = Option<String>)]
    key: Option<KeyId>,
    /// Only this end user's.
    user: Option<String>,
    /// `production` or `development`.
    environment: Option<String>,
    provider: Option<String>,
    /// The model that answered, else the one asked for.
    model: Option<String>,
    /// `ok`, `denied`, `blocked`, `failed`, `client-gone`, `cut`.
    outcome: Option<String>,
    /// The code of a refusal or failure: `budget_exceeded`, …
    reason: Option<String>,
    /// What policies said: `allow` (also where none was asked), `constrain`, or a denial's code.
    policy: Option<String>,
    /// The client's own `x-request-id`.
    correlation: Option<String>,
    /// The lowest HTTP status.
    status_from: Option<u16>,
    /// The highest.
    status_to: Option<u16>,
    /// `name:value`
    tag: Option<String>,
    /// nano-USD that it cost at least; what cost nothing or has no known price is not found.
    cost_from: Option<u64>,
    /// nano-USD at most.
    cost_to: Option<u64>,
    /// Microseconds from the request's head to its answer's last byte, at least.
    us_from: Option<u64>,
    /// At most.
    us_to: Option<u64>,
    /// Inclusive.
    since_ms: Option<u64>,
    /// Exclusive.
    until_ms: Option<u64>,
    /// Items at most, 1 to 500. Default 50.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Requests, the newest first, denied ones too.
#[utoipa::path(get, path = "/requests", tag = "requests", operation_id = "listRequests", params(Query),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, call: Call, Asked(asked): Asked<Query>) -> Result<Json<Page<View>>, Problem> {
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let limit = page.limit()?;
    let (organisation, team) = call.within();
    let tag = asked.tag.map(|tag| match tag.split_once(':') {
        Some((name, value)) => Ok(Tag { name: name.to_owned(), value: value.to_owned() }),
        None => Err(Problem::parameter("tag", "A tag is asked for as name:value.")),
    });
    let environment = asked.environment.map(|name| name.parse());
    let environment =
        environment.transpose().map_err(|_| Problem::parameter("environment", "It is production or development."))?;
    let cost = |name, nano: Option<u64>| {
        let amount = nano.map(NanoUsd::try_from).transpose();
        amount.map_err(|_| Problem::parameter(name, "This is more than anything costs."))
    };
    let filter = RequestFilter {
        since_ms: asked.since_ms,
        until_ms: asked.until_ms,
        organisation,
        team,
        key: asked.key,
        user: asked.user,
        provider: asked.provider,
        model: asked.model,
        outcome: asked.outcome,
        status_from: asked.status_from,
        status_to: asked.status_to,
        tag: tag.transpose()?,
        environment,
        reason: asked.reason,
        policy: asked.policy,
        correlation: asked.correlation,
        cost_from: cost("cost_from", asked.cost_from)?,
        cost_to: cost("cost_to", asked.cost_to)?,
        us_from: asked.us_from,
        us_to: asked.us_to,
        before: page.after()?,
    };
    let mut found = api.store.requests(&filter, limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| cursor(&last.id));
    Ok(Json(Page { data: found.into_iter().map(View::from).collect(), next }))
}

/// One request and its receipt.
#[utoipa::path(get, path = "/requests/{request}", tag = "requests", operation_id = "showRequest",
    params(("request" = String, Path, description = "req_…")), responses((status = 200, body = WithReceipt)))]
async fn show(State(api): State<Api>, Path(id): Path<RequestId>) -> Result<Json<WithReceipt>, Problem> {
    let request = api.store.request(id).await?.ok_or_else(|| Problem::not_found("request"))?;
    let receipt = api.store.receipt_of(&request).await?;
    // What the store keeps is JSON.
    let receipt = receipt.and_then(|receipt| serde_json::from_str(&receipt).ok());
    Ok(Json(WithReceipt { request: request.into(), receipt }))
}

/// What was captured of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = RequestContent)]
struct Content {
    /// The client's body as the guards left it.
    request: Part,
    /// What the client was sent, as the guards left it; of a stream its bytes. Null where nothing was, or nothing that is text.
    answer: Option<Part>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CapturedPart)]
struct Part {
    /// Absent where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Instead of `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Bytes that it had.
    length: u64,
    /// Only its beginning was kept (`capture.request_bytes`, `capture.answer_bytes`).
    cut: bool,
}

impl From<CapturedPart> for Part {
    fn from(part: CapturedPart) -> Self {
        let (length, cut) = (part.length, part.is_cut());
        let (text, base64) = match part.into_text() {
            Ok(text) => (Some(text), None),
            Err(bytes) => (None, Some(STANDARD.encode(bytes))),
        };
        Part { text, base64, length, cut }
    }
}

/// What a request said and was answered, where its organisation has it captured. Each reading stands in the audit trail.
#[utoipa::path(get, path = "/requests/{request}/content", tag = "requests", operation_id = "showRequestContent",
    params(("request" = String, Path, description = "req_…")), responses((status = 200, body = Content)))]
async fn content(State(api): State<Api>, call: Call, Path(id): Path<RequestId>) -> Result<Json<Content>, Problem> {
    let request = api.store.request(id).await?.ok_or_else(|| Problem::not_found("request"))?;
    let found = match api.gateway.captures.read(&call.actor, &request).await {
        Err(error @ (StoreError::Sealed | StoreError::Key(_) | StoreError::Path { .. })) => {
            tracing::error!(request = %id, %error, "captured content cannot be opened");
            return Err(Problem::unavailable("The key of this content"));
        }
        found => found?.ok_or_else(|| Problem::not_found("content"))?,
    };
    Ok(Json(Content { request: found.request.into(), answer: found.answer.map(Part::from) }))
}

/// Deletes what was captured of a request. Its record and receipt stay.
#[utoipa::path(delete, path = "/requests/{request}/content", tag = "requests", operation_id = "deleteRequestContent",
    params(("request" = String, Path, description = "req_…")), responses((status = 204)))]
async fn forget(State(api): State<Api>, call: Call, Path(id): Path<RequestId>) -> Result<StatusCode, Problem> {
    let request = api.store.request(id).await?.ok_or_else(|| Problem::not_found("request"))?;
    if api.gateway.captures.delete(&call.actor, &request).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("content"))
    }
}
