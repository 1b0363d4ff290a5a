//! Sums over requests in SQLite.

use portcullis_core::{KeyId, OrganisationId, TeamId, Usage};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use super::Sqlite;
use super::codec::{id, int, nano, uint};
use crate::backend::{Answer, UsageBackend};
use crate::error::StoreError;
use crate::requests::born;
use crate::usage::{UsageFilter, UsageGroup, UsageRow};

/// Expression and output column. Only these constants become SQL text; values are bound.
const fn column(group: UsageGroup) -> (&'static str, &'static str) {
    match group {
        UsageGroup::Day => ("date(time_ms / 1000, 'unixepoch')", "day"),
        UsageGroup::Organisation => ("organisation_id", "organisation"),
        UsageGroup::Team => ("team_id", "team"),
        UsageGroup::Key => ("key_id", "key"),
        UsageGroup::User => ("end_user", "user_name"),
        UsageGroup::Environment => ("environment", "environment_name"),
        UsageGroup::Provider => ("provider", "provider_name"),
        UsageGroup::Model => ("coalesce(model, requested_model)", "model_name"),
        // Of a name that stands there twice the first is meant.
        UsageGroup::Tag => (
            "(SELECT tag.value ->> 'value' FROM json_each(tags) AS tag WHERE tag.value ->> 'name' = ?11 LIMIT 1)",
            "tag_value",
        ),
    }
}

const SUMS: &str = "count(*) AS requests, sum(status >= 400) AS failed, sum(input) AS input, sum(cache_read) AS cache_read, \
    sum(cache_write_short) AS cache_write_short, sum(cache_write_long) AS cache_write_long, sum(output) AS output, \
    sum(reasoning) AS reasoning, sum(audio_input) AS audio_input, sum(audio_output) AS audio_output, sum(images) AS images, \
    sum(searches) AS searches, max(estimated) AS estimated, sum(coalesce(cost_nano, 0)) AS cost, \
    sum(cost_nano IS NULL AND input + cache_read + cache_write_short + cache_write_long + output + images + searches > 0) \
    AS unpriced";

impl UsageBackend for Sqlite {
    fn usage<'a>(&'a self, filter: &'a UsageFilter) -> Answer<'a, Vec<UsageRow>> {
        Box::pin(usage(&self.readers, filter))
    }
}

pub(super) async fn usage(pool: &SqlitePool, filter: &UsageFilter) -> Result<Vec<UsageRow>, StoreError> {
    let mut groups = Vec::new();
    for group in &filter.groups {
        if !groups.contains(group) {
            groups.push(*group);
        }
    }
    let mut sql = String::from("SELECT ");
    for &group in &groups {
        let (expression, name) = column(group);
        sql.push_str(&format!("{expression} AS {name}, "));
    }
    sql.push_str(SUMS);
    sql.push_str(
        " FROM requests WHERE (?1 IS NULL OR time_ms >= ?1) AND (?2 IS NULL OR time_ms < ?2) \
         AND (?3 IS NULL OR organisation_id = ?3) AND (?4 IS NULL OR key_id = ?4) AND (?5 IS NULL OR provider = ?5) \
         AND (?6 IS NULL OR coalesce(model, requested_model) = ?6) AND request_id >= ?7 AND request_id <= ?8 \
         AND (?9 IS NULL OR team_id = ?9) AND (?10 IS NULL OR end_user = ?10)",
    );
    if !groups.is_empty() {
        let names = groups.iter().map(|&group| column(group).1).collect::<Vec<_>>().join(", ");
        sql.push_str(&format!(" GROUP BY {names} ORDER BY {names}"));
    }
    let query = sqlx::query(AssertSqlSafe(sql))
        .bind(filter.since_ms.map(int))
        .bind(filter.until_ms.map(int))
        .bind(filter.organisation.map(|organisation| organisation.as_bytes().to_vec()))
        .bind(filter.key.map(|key| key.as_bytes().to_vec()))
        .bind(filter.provider.as_deref())
        .bind(filter.model.as_deref())
        .bind(filter.since_ms.map_or([0; 16], |since| born(since, 0)).to_vec())
        .bind(filter.until_ms.map_or([0xff; 16], |until| born(until, 0xff)).to_vec())
        .bind(filter.team.map(|team| team.as_bytes().to_vec()))
        .bind(filter.user.as_deref());
    let query = if groups.contains(&UsageGroup::Tag) { query.bind(filter.tag.as_deref()) } else { query };
    let rows = query.fetch_all(pool).await?;
    rows.iter().map(|row| sums(row, &groups)).collect()
}

fn sums(row: &SqliteRow, groups: &[UsageGroup]) -> Result<UsageRow, StoreError> {
    // Over no rows at all `sum` is NULL.
    let count = |name: &str| uint(row.try_get::<Option<i64>, _>(name)?.unwrap_or(0), "sum");
    let text = |group: UsageGroup| -> Result<Option<String>, StoreError> {
        if groups.contains(&group) { Ok(row.try_get(column(group).1)?) } else { Ok(None) }
    };
    let bytes = |group: UsageGroup, what| -> Result<Option<[u8; 16]>, StoreError> {
        let found: Option<&[u8]> = if groups.contains(&group) { row.try_get(column(group).1)? } else { None };
        found.map(|found| id(found, what)).transpose()
    };
    Ok(UsageRow {
        day: text(UsageGroup::Day)?,
        organisation: bytes(UsageGroup::Organisation, "organisation id")?.map(OrganisationId::from_bytes),
        team: bytes(UsageGroup::Team, "team id")?.map(TeamId::from_bytes),
        key: bytes(UsageGroup::Key, "key id")?.map(KeyId::from_bytes),
        user: text(UsageGroup::User)?,
        environment: text(UsageGroup::Environment)?,
        provider: text(UsageGroup::Provider)?,
        model: text(UsageGroup::Model)?,
        tag: text(UsageGroup::Tag)?,
        requests: count("requests")?,
        failed: count("failed")?,
        usage: Usage {
            input: count("input")?,
            cache_read: count("cache_read")?,
            cache_write_short: count("cache_write_short")?,
            cache_write_long: count("cache_write_long")?,
            output: count("output")?,
            reasoning: count("reasoning")?,
            audio_input: count("audio_input")?,
            audio_output: count("audio_output")?,
            images: count("images")?,
            searches: count("searches")?,
            estimated: count("estimated")? > 0,
        },
        cost: nano(row.try_get::<Option<i64>, _>("cost")?.unwrap_or(0))?,
        unpriced: count("unpriced")?,
    })
}
