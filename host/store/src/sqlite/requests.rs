//! Request records in SQLite.

use portcullis_core::{KeyId, OrganisationId, RequestId, TeamId, Usage};
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::Sqlite;
use super::codec::{id, int, nano, uint};
use crate::backend::{Answer, RequestBackend};
use crate::error::StoreError;
use crate::requests::{RequestFilter, RequestRecord, born, written};

const COLUMNS: &str = "request_id, time_ms, key_id, organisation_id, team_id, environment, end_user, requested_model, provider, model, \
    status, outcome, input, cache_read, cache_write_short, cache_write_long, output, reasoning, audio_input, audio_output, images, \
    searches, estimated, cost_nano, total_us, tags, reason, policy, correlation";

impl RequestBackend for Sqlite {
    fn requests<'a>(&'a self, filter: &'a RequestFilter, limit: u32) -> Answer<'a, Vec<RequestRecord>> {
        Box::pin(requests(&self.readers, filter, limit))
    }

    fn request(&self, id: RequestId) -> Answer<'_, Option<RequestRecord>> {
        Box::pin(async move {
            let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM requests WHERE request_id = ?1"));
            let row = sqlx::query(sql).bind(id.as_bytes().to_vec()).fetch_optional(&self.readers).await?;
            row.as_ref().map(record).transpose()
        })
    }
}

async fn requests(pool: &SqlitePool, filter: &RequestFilter, limit: u32) -> Result<Vec<RequestRecord>, StoreError> {
    // Both bounds of the time are in the key too, but a request's time is asked for again: ids say it to the millisecond, and who
    // makes one with another time must not be found by it.
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM requests WHERE request_id >= ?1 AND request_id < ?2 \
         AND (?3 IS NULL OR time_ms >= ?3) AND (?4 IS NULL OR time_ms < ?4) AND (?5 IS NULL OR organisation_id = ?5) \
         AND (?6 IS NULL OR team_id = ?6) AND (?7 IS NULL OR key_id = ?7) AND (?8 IS NULL OR end_user = ?8) \
         AND (?9 IS NULL OR provider = ?9) AND (?10 IS NULL OR coalesce(model, requested_model) = ?10) \
         AND (?11 IS NULL OR outcome = ?11) AND (?12 IS NULL OR status >= ?12) AND (?13 IS NULL OR status <= ?13) \
         AND (?14 IS NULL OR instr(tags, ?14) > 0) \
         AND (?15 IS NULL OR environment = ?15) AND (?16 IS NULL OR reason = ?16) AND (?17 IS NULL OR coalesce(policy, 'allow') = ?17) \
         {} AND (?19 IS NULL OR cost_nano >= ?19) AND (?20 IS NULL OR cost_nano <= ?20) \
         AND (?21 IS NULL OR total_us >= ?21) AND (?22 IS NULL OR total_us <= ?22) \
         ORDER BY request_id DESC LIMIT ?23",
        // By its index, which is not used where it may be asked for or not.
        if filter.correlation.is_some() { "AND correlation = ?18" } else { "" }
    ));
    let first = filter.since_ms.map_or([0; 16], |since| born(since, 0));
    let end = filter.until_ms.map_or([0xff; 16], |until| born(until, 0));
    let end = filter.before.map_or(end, |before| end.min(*before.as_bytes()));
    let bytes = |id: &[u8; 16]| id.to_vec();
    let rows = sqlx::query(sql)
        .bind(first.to_vec())
        .bind(end.to_vec())
        .bind(filter.since_ms.map(int))
        .bind(filter.until_ms.map(int))
        .bind(filter.organisation.map(|one| bytes(one.as_bytes())))
        .bind(filter.team.map(|one| bytes(one.as_bytes())))
        .bind(filter.key.map(|one| bytes(one.as_bytes())))
        .bind(filter.user.as_deref())
        .bind(filter.provider.as_deref())
        .bind(filter.model.as_deref())
        .bind(filter.outcome.as_deref())
        .bind(filter.status_from.map(i64::from))
        .bind(filter.status_to.map(i64::from))
        .bind(filter.tag.as_ref().map(written))
        .bind(filter.environment.map(|environment| environment.as_str()))
        .bind(filter.reason.as_deref())
        .bind(filter.policy.as_deref())
        .bind(filter.correlation.as_deref())
        .bind(filter.cost_from.map(|cost| int(cost.get())))
        .bind(filter.cost_to.map(|cost| int(cost.get())))
        .bind(filter.us_from.map(int))
        .bind(filter.us_to.map(int))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(record).collect()
}

fn record(row: &SqliteRow) -> Result<RequestRecord, StoreError> {
    let corrupt = |what| StoreError::Corrupt { what };
    let count = |name: &str| uint(row.try_get::<i64, _>(name)?, "count");
    let team: Option<&[u8]> = row.try_get("team_id")?;
    let tags: Option<String> = row.try_get("tags")?;
    Ok(RequestRecord {
        id: RequestId::from_bytes(id(row.try_get("request_id")?, "request id")?),
        time_ms: count("time_ms")?,
        key: KeyId::from_bytes(id(row.try_get("key_id")?, "key id")?),
        organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
        team: team.map(|team| id(team, "team id").map(TeamId::from_bytes)).transpose()?,
        environment: row.try_get::<String, _>("environment")?.parse().map_err(|_| corrupt("environment"))?,
        user: row.try_get("end_user")?,
        requested_model: row.try_get("requested_model")?,
        provider: row.try_get("provider")?,
        model: row.try_get("model")?,
        status: u16::try_from(row.try_get::<i64, _>("status")?).map_err(|_| corrupt("status"))?,
        outcome: row.try_get("outcome")?,
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
        cost: row.try_get::<Option<i64>, _>("cost_nano")?.map(nano).transpose()?,
        total_us: count("total_us")?,
        tags: tags.map(|tags| serde_json::from_str(&tags).map_err(|_| corrupt("tag"))).transpose()?.unwrap_or_default(),
        reason: row.try_get("reason")?,
        policy: row.try_get("policy")?,
        correlation: row.try_get("correlation")?,
    })
}
