//! Sums over requests in PostgreSQL.

use portcullis_core::{KeyId, OrganisationId, TeamId, Usage};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::{LONG_CALL, Postgres, within};
use crate::backend::{Answer, UsageBackend};
use crate::codec::{int, nano, text, uint};
use crate::error::StoreError;
use crate::requests::born;
use crate::usage::{UsageFilter, UsageGroup, UsageRow};

/// Expression and output column. Only these constants become SQL text; values are bound.
const fn column(group: UsageGroup) -> (&'static str, &'static str) {
    match group {
        UsageGroup::Day => ("to_char(to_timestamp(time_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')", "day"),
        UsageGroup::Organisation => ("organisation_id", "organisation"),
        UsageGroup::Team => ("team_id", "team"),
        UsageGroup::Key => ("key_id", "key"),
        UsageGroup::User => ("end_user COLLATE \"C\"", "user_name"),
        UsageGroup::Environment => ("environment COLLATE \"C\"", "environment_name"),
        UsageGroup::Provider => ("provider COLLATE \"C\"", "provider_name"),
        UsageGroup::Model => ("coalesce(model, requested_model) COLLATE \"C\"", "model_name"),
        // Of a name that stands there twice the first is meant. No text holds a zero, so what has one is not read as it is.
        UsageGroup::Tag => (
            "(SELECT item.tag ->> 'value' FROM json_array_elements(replace(tags, '\\u0000', '\\ufffd')::json) WITH ORDINALITY AS \
             item (tag, place) WHERE item.tag ->> 'name' = $11 ORDER BY item.place LIMIT 1) COLLATE \"C\"",
            "tag_value",
        ),
    }
}

/// Sums of `bigint` are `numeric`, which holds them all; what no `bigint` holds is the largest.
fn sums() -> String {
    const SUMMED: [&str; 10] = [
        "input",
        "cache_read",
        "cache_write_short",
        "cache_write_long",
        "output",
        "reasoning",
        "audio_input",
        "audio_output",
        "images",
        "searches",
    ];
    let sum = |expression: &str, name: &str| {
        format!("least(coalesce(sum({expression}), 0), 9223372036854775807)::bigint AS {name}, ")
    };
    let mut sql: String = SUMMED.iter().map(|name| sum(name, name)).collect();
    sql.push_str(&sum("cost_nano", "cost"));
    sql.push_str(
        "count(*) AS requests, count(*) FILTER (WHERE status >= 400) AS failed, coalesce(bool_or(estimated), false) AS \
         estimated, count(*) FILTER (WHERE cost_nano IS NULL AND greatest(input, cache_read, cache_write_short, \
         cache_write_long, output, images, searches) > 0) AS unpriced",
    );
    sql
}

impl UsageBackend for Postgres {
    fn usage<'a>(&'a self, filter: &'a UsageFilter) -> Answer<'a, Vec<UsageRow>> {
        Box::pin(within(LONG_CALL, self.sums(filter)))
    }
}

impl Postgres {
    async fn sums(&self, filter: &UsageFilter) -> Result<Vec<UsageRow>, StoreError> {
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
        sql.push_str(&sums());
        sql.push_str(
            " FROM requests WHERE ($1::bigint IS NULL OR time_ms >= $1) AND ($2::bigint IS NULL OR time_ms < $2) \
             AND ($3::uuid IS NULL OR organisation_id = $3) AND ($4::uuid IS NULL OR key_id = $4) \
             AND ($5::text IS NULL OR provider = $5) AND ($6::text IS NULL OR coalesce(model, requested_model) = $6) \
             AND request_id >= $7 AND request_id <= $8 \
             AND ($9::uuid IS NULL OR team_id = $9) AND ($10::text IS NULL OR end_user = $10)",
        );
        if !groups.is_empty() {
            let places = (1..=groups.len()).map(|place| place.to_string()).collect::<Vec<_>>();
            let order = places.iter().map(|place| format!("{place} NULLS FIRST")).collect::<Vec<_>>();
            sql.push_str(&format!(" GROUP BY {} ORDER BY {}", places.join(", "), order.join(", ")));
        }
        let mut session = self.session().await?;
        let query = sqlx::query(AssertSqlSafe(sql))
            .bind(filter.since_ms.map(int))
            .bind(filter.until_ms.map(int))
            .bind(filter.organisation.map(|organisation| Uuid::from_bytes(*organisation.as_bytes())))
            .bind(filter.key.map(|key| Uuid::from_bytes(*key.as_bytes())))
            .bind(filter.provider.as_deref().map(text))
            .bind(filter.model.as_deref().map(text))
            .bind(filter.since_ms.map_or(Uuid::nil(), |since| Uuid::from_bytes(born(since, 0))))
            .bind(filter.until_ms.map_or(Uuid::max(), |until| Uuid::from_bytes(born(until, 0xff))))
            .bind(filter.team.map(|team| Uuid::from_bytes(*team.as_bytes())))
            .bind(filter.user.as_deref().map(text));
        let tag = filter.tag.as_deref().map(text);
        let query = if groups.contains(&UsageGroup::Tag) { query.bind(tag) } else { query };
        let rows = query.fetch_all(&mut *session).await?;
        session.done();
        rows.iter().map(|row| sum(row, &groups)).collect()
    }
}

fn sum(row: &PgRow, groups: &[UsageGroup]) -> Result<UsageRow, StoreError> {
    let count = |name: &str| uint(row.try_get(name)?, "sum");
    let name = |group: UsageGroup| -> Result<Option<String>, StoreError> {
        if groups.contains(&group) { Ok(row.try_get(column(group).1)?) } else { Ok(None) }
    };
    let bytes = |group: UsageGroup| -> Result<Option<[u8; 16]>, StoreError> {
        let found: Option<Uuid> = if groups.contains(&group) { row.try_get(column(group).1)? } else { None };
        Ok(found.map(Uuid::into_bytes))
    };
    Ok(UsageRow {
        day: name(UsageGroup::Day)?,
        organisation: bytes(UsageGroup::Organisation)?.map(OrganisationId::from_bytes),
        team: bytes(UsageGroup::Team)?.map(TeamId::from_bytes),
        key: bytes(UsageGroup::Key)?.map(KeyId::from_bytes),
        user: name(UsageGroup::User)?,
        environment: name(UsageGroup::Environment)?,
        provider: name(UsageGroup::Provider)?,
        model: name(UsageGroup::Model)?,
        tag: name(UsageGroup::Tag)?,
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
            estimated: row.try_get("estimated")?,
        },
        cost: nano(row.try_get("cost")?)?,
        unpriced: count("unpriced")?,
    })
}
