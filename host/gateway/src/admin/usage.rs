//! `/usage`: sums over requests.

use axum::Json;
use axum::extract::State;
use portcullis_core::KeyId;
use portcullis_store::{UsageFilter, UsageGroup, UsageRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Call;
use super::extract::Asked;
use super::problem::Problem;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(sums))
}

/// A sum. What was not grouped by is absent.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageSum)]
struct View {
    /// `YYYY-MM-DD`, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// The model that answered, else the one asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organisation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The value of the tag that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    requests: u64,
    /// Of them, answered with a status of 400 or more.
    failed: u64,
    tokens: Tokens,
    /// nano-USD.
    cost_nano_usd: u64,
    /// The same as decimal USD.
    cost_usd: String,
    /// Requests that used something at an unknown price, and so are missing from the cost.
    unpriced: u64,
}

/// Every token counted once; reasoning is part of output.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub struct Tokens {
    /// Not from a cache.
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
    audio_input: u64,
    audio_output: u64,
    images: u64,
    searches: u64,
}

impl From<portcullis_core::Usage> for Tokens {
    fn from(usage: portcullis_core::Usage) -> Self {
        Tokens {
            input: usage.input,
            cache_read: usage.cache_read,
            cache_write: usage.cache_write_short.saturating_add(usage.cache_write_long),
            output: usage.output,
            reasoning: usage.reasoning,
            audio_input: usage.audio_input,
            audio_output: usage.audio_output,
            images: usage.images,
            searches: usage.searches,
        }
    }
}

impl From<UsageRow> for View {
    fn from(row: UsageRow) -> Self {
        View {
            day: row.day,
            provider: row.provider,
            model: row.model,
            organisation: row.organisation.map(|one| one.to_string()),
            team: row.team.map(|one| one.to_string()),
            key: row.key.map(|one| one.to_string()),
            environment: row.environment,
            user: row.user,
            tag: row.tag,
            requests: row.requests,
            failed: row.failed,
            tokens: row.usage.into(),
            cost_nano_usd: row.cost.get(),
            cost_usd: row.cost.to_string(),
            unpriced: row.unpriced,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
struct Sums {
    data: Vec<View>,
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
    provider: Option<String>,
    model: Option<String>,
    /// Only this end user's.
    user: Option<String>,
    /// Inclusive.
    since_ms: Option<u64>,
    /// Exclusive.
    until_ms: Option<u64>,
    /// What to group by, separated by commas: `day`, `provider`, `model`, `organisation`, `team`, `key`, `environment`, `user`,
    /// `tag`. By default one sum over all.
    by: Option<String>,
    /// The tag whose values are meant by `tag`.
    tag: Option<String>,
}

fn groups(by: &str) -> Result<Vec<UsageGroup>, Problem> {
    let words = by.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            Ok(match word {
                "day" => UsageGroup::Day,
                "provider" => UsageGroup::Provider,
                "model" => UsageGroup::Model,
                "organisation" => UsageGroup::Organisation,
                "team" => UsageGroup::Team,
                "key" => UsageGroup::Key,
                "environment" => UsageGroup::Environment,
                "user" => UsageGroup::User,
                "tag" => UsageGroup::Tag,
                other => return Err(Problem::parameter("by", format!("{other:?} is nothing that can be grouped by."))),
            })
        })
        .collect()
}

/// Who used what, and what it cost, to this moment.
#[utoipa::path(get, path = "/usage", tag = "usage", operation_id = "sumUsage", params(Query), responses((status = 200, body = Sums)))]
async fn sums(State(api): State<Api>, call: Call, Asked(asked): Asked<Query>) -> Result<Json<Sums>, Problem> {
    let (organisation, team) = call.within();
    let groups = groups(asked.by.as_deref().unwrap_or(""))?;
    if groups.contains(&UsageGroup::Tag) && asked.tag.is_none() {
        return Err(Problem::parameter("tag", "Which tag is meant by `by=tag` must be named."));
    }
    let filter = UsageFilter {
        since_ms: asked.since_ms,
        until_ms: asked.until_ms,
        organisation,
        team,
        key: asked.key,
        provider: asked.provider,
        model: asked.model,
        user: asked.user,
        groups,
        tag: asked.tag,
    };
    // What this process has not yet written is counted too; where the database is behind, as far as it is.
    if let Err(error) = api.gateway.ledger.flush().await {
        tracing::warn!(%error, "usage is summed without the last requests");
    }
    Ok(Json(Sums { data: api.store.usage(&filter).await?.into_iter().map(View::from).collect() }))
}
