//! Request records in PostgreSQL.

use portcullis_core::{KeyId, OrganisationId, RequestId, TeamId, Usage};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::{CALL, Postgres, within};
use crate::backend::{Answer, RequestBackend};
use crate::codec::{int, nano, text, uint};
use crate::error::StoreError;
use crate::requests::{RequestFilter, RequestRecord, born, written};

const COLUMNS: &str = "request_id, time_ms, key_id, organisation_id, team_id, environment, end_user, requested_model, provider, model, \
    status, outcome, input, cache_read, cache_write_short, cache_write_long, output, reasoning, audio_input, audio_output, images, \
    searches, estimated, cost_nano, total_us, tags, reason, policy, correlation";

impl RequestBackend for Postgres {
    fn requests<'a>(&'a self, filter: &'a RequestFilter, limit: u32) -> Answer<'a, Vec<RequestRecord>> {
        Box::pin(within(CALL, self.found(filter, limit)))
    }

    fn request(&self, id: RequestId) -> Answer<'_, Option<RequestRecord>> {
        Box::pin(within(CALL, async move {
            let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM requests WHERE request_id = $1"));
            let mut session = self.session().await?;
            let row = sqlx::query(sql).bind(Uuid::from_bytes(*id.as_bytes())).fetch_optional(&mut *session).await?;
            session.done();
            row.as_ref().map(record).transpose()
        }))
    }
}

impl Postgres {
    async fn found(&self, filter: &RequestFilter, limit: u32) -> Result<Vec<RequestRecord>, StoreError> {
        // As in SQLite: a span of time is a span of the primary key.
        let sql = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM requests WHERE request_id >= $1 AND request_id < $2 \
             AND ($3::bigint IS NULL OR time_ms >= $3) AND ($4::bigint IS NULL OR time_ms < $4) \
             AND ($5::uuid IS NULL OR organisation_id = $5) AND ($6::uuid IS NULL OR team_id = $6) \
             AND ($7::uuid IS NULL OR key_id = $7) AND ($8::text IS NULL OR end_user = $8) \
             AND ($9::text IS NULL OR provider = $9) AND ($10::text IS NULL OR coalesce(model, requested_model) = $10) \
             AND ($11::text IS NULL OR outcome = $11) AND ($12::integer IS NULL OR status >= $12) \
             AND ($13::integer IS NULL OR status <= $13) AND ($14::text IS NULL OR position($14 IN tags) > 0) \
             AND ($15::text IS NULL OR environment = $15) AND ($16::text IS NULL OR reason = $16) \
             AND ($17::text IS NULL OR coalesce(policy, 'allow') = $17) {} \
             AND ($19::bigint IS NULL OR cost_nano >= $19) AND ($20::bigint IS NULL OR cost_nano <= $20) \
             AND ($21::bigint IS NULL OR total_us >= $21) AND ($22::bigint IS NULL OR total_us <= $22) \
             ORDER BY request_id DESC LIMIT $23",
            // By its index, which is not used where it may be asked for or not.
            if filter.correlation.is_some() { "AND correlation = $18" } else { "AND $18::text IS NULL" }
        ));
        let first = filter.since_ms.map_or([0; 16], |since| born(since, 0));
        let end = filter.until_ms.map_or([0xff; 16], |until| born(until, 0));
        let end = filter.before.map_or(end, |before| end.min(*before.as_bytes()));
        let tag = filter.tag.as_ref().map(written);
        let mut session = self.session().await?;
        let rows = sqlx::query(sql)
            .bind(Uuid::from_bytes(first))
            .bind(Uuid::from_bytes(end))
            .bind(filter.since_ms.map(int))
            .bind(filter.until_ms.map(int))
            .bind(filter.organisation.map(|one| Uuid::from_bytes(*one.as_bytes())))
            .bind(filter.team.map(|one| Uuid::from_bytes(*one.as_bytes())))
            .bind(filter.key.map(|one| Uuid::from_bytes(*one.as_bytes())))
            .bind(filter.user.as_deref().map(text))
            .bind(filter.provider.as_deref().map(text))
            .bind(filter.model.as_deref().map(text))
            .bind(filter.outcome.as_deref().map(text))
            .bind(filter.status_from.map(i32::from))
            .bind(filter.status_to.map(i32::from))
            .bind(tag.as_deref().map(text))
            .bind(filter.environment.map(|environment| environment.as_str()))
            .bind(filter.reason.as_deref().map(text))
            .bind(filter.policy.as_deref().map(text))
            .bind(filter.correlation.as_deref().map(text))
            .bind(filter.cost_from.map(|cost| int(cost.get())))
            .bind(filter.cost_to.map(|cost| int(cost.get())))
            .bind(filter.us_from.map(int))
            .bind(filter.us_to.map(int))
            .bind(i64::from(limit))
            .fetch_all(&mut *session)
            .await?;
        session.done();
        rows.iter().map(record).collect()
    }
}

fn record(row: &PgRow) -> Result<RequestRecord, StoreError> {
    let corrupt = |what| StoreError::Corrupt { what };
    let count = |name: &str| uint(row.try_get(name)?, "count");
    let id = |name: &str| -> Result<[u8; 16], StoreError> { Ok(row.try_get::<Uuid, _>(name)?.into_bytes()) };
    let tags: Option<String> = row.try_get("tags")?;
    Ok(RequestRecord {
        id: RequestId::from_bytes(id("request_id")?),
        time_ms: count("time_ms")?,
        key: KeyId::from_bytes(id("key_id")?),
        organisation: OrganisationId::from_bytes(id("organisation_id")?),
        team: row.try_get::<Option<Uuid>, _>("team_id")?.map(|team| TeamId::from_bytes(team.into_bytes())),
        environment: row.try_get::<String, _>("environment")?.parse().map_err(|_| corrupt("environment"))?,
        user: row.try_get("end_user")?,
        requested_model: row.try_get("requested_model")?,
        provider: row.try_get("provider")?,
        model: row.try_get("model")?,
        status: u16::try_from(row.try_get::<i32, _>("status")?).map_err(|_| corrupt("status"))?,
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
            estimated: row.try_get("estimated")?,
        },
        cost: row.try_get::<Option<i64>, _>("cost_nano")?.map(nano).transpose()?,
        total_us: count("total_us")?,
        tags: tags.map(|tags| serde_json::from_str(&tags).map_err(|_| corrupt("tag"))).transpose()?.unwrap_or_default(),
        reason: row.try_get("reason")?,
        policy: row.try_get("policy")?,
        correlation: row.try_get("correlation")?,
    })
}
