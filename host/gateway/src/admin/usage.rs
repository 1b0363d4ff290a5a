//! `/usage`: sums over requests.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use portcullis_core::KeyId;
use portcullis_export::{Format, usage_columns, usage_row};
use portcullis_store::{UsageFilter, UsageGroup, UsageRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Call;
use super::extract::Asked;
use super::file::FileWriter;
use super::problem::Problem;

/// Rows that are written at once.
const PIECE: usize = 1_000;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(sums)).routes(routes!(export))
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

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
struct ExportQuery {
    /// `csv`, `jsonl` or `parquet`. Default `csv`.
    #[param(value_type = Option<String>)]
    format: Option<Format>,
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
    /// What to group by, as of `/usage`. By default `day,model`.
    by: Option<String>,
    /// The tag whose values are meant by `tag`.
    tag: Option<String>,
}

impl Query {
    fn filter(self, call: &Call) -> Result<UsageFilter, Problem> {
        let (organisation, team) = call.within();
        let groups = groups(self.by.as_deref().unwrap_or(""))?;
        if groups.contains(&UsageGroup::Tag) && self.tag.is_none() {
            return Err(Problem::parameter("tag", "Which tag is meant by `by=tag` must be named."));
        }
        Ok(UsageFilter {
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            organisation,
            team,
            key: self.key,
            provider: self.provider,
            model: self.model,
            user: self.user,
            groups,
            tag: self.tag,
        })
    }
}

async fn rows(api: &Api, filter: &UsageFilter) -> Result<Vec<UsageRow>, Problem> {
    // What this process has not yet written is counted too; where the database is behind, as far as it is.
    if let Err(error) = api.gateway.ledger.flush().await {
        tracing::warn!(%error, "usage is summed without the last requests");
    }
    Ok(api.store.usage(filter).await?)
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
    let rows = rows(&api, &asked.filter(&call)?).await?;
    Ok(Json(Sums { data: rows.into_iter().map(View::from).collect() }))
}

/// The same as a file, whose columns are those of `portcullis usage export`.
#[utoipa::path(get, path = "/usage/export", tag = "usage", operation_id = "exportUsage", params(ExportQuery),
    responses((status = 200, content((String = "text/csv"), (String = "application/x-ndjson"), (String = "application/vnd.apache.parquet")))))]
async fn export(State(api): State<Api>, call: Call, Asked(asked): Asked<ExportQuery>) -> Result<Response, Problem> {
    let ExportQuery { format, organisation, team, key, provider, model, user, since_ms, until_ms, by, tag } = asked;
    let by = by.or_else(|| Some("day,model".to_owned()));
    let query = Query { organisation, team, key, provider, model, user, since_ms, until_ms, by, tag };
    let filter = query.filter(&call)?;
    let rows = rows(&api, &filter).await?;
    let format = format.unwrap_or(Format::Csv);
    let columns = usage_columns(&filter.groups, filter.tag.as_deref());
    let (mut file, answer) = FileWriter::begin("usage", format, columns)?;
    tokio::spawn(async move {
        let mut rows = rows.into_iter().map(|row| usage_row(&filter.groups, row)).peekable();
        while rows.peek().is_some() {
            if file.rows(rows.by_ref().take(PIECE)).await.is_err() {
                return;
            }
        }
        file.finish().await;
    });
    Ok(answer)
}
