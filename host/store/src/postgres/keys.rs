//! Keys in PostgreSQL, the watch that hears of their changes, and the processes that hold them.

use std::time::Duration;

use portcullis_core::receipt::Tag;
use portcullis_core::{KeyHash, KeyId, KeyPrefix, MemberId, OrganisationId, ReplicaId, TeamId};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions, PgRow};
use sqlx::{Connection, QueryBuilder, Row};

use super::audit::append;
use super::row::{id, optional_days, optional_id, optional_time, uuid};
use super::{CALL, CONNECT, Postgres, prepare, within};
use crate::audit::NewEvent;
use crate::backend::{Answer, Bounds, BoxFuture, KeyBackend, KeyWatch, StoredKey};
use crate::codec::{from_json, int, text, to_json, uint};
use crate::error::StoreError;
use crate::keys::{KeyFilter, KeyRecord, RequestDefaults};
use crate::replicas::Replica;

/// A process of which nothing was heard for so long is forgotten.
const GONE_MS: i64 = 60 * 60 * 1000;

/// Milliseconds since the Unix epoch, by the database.
macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT keys.id, hash, prefix, keys.name, environment, keys.organisation_id, keys.team_id, member_id, keys.created_ms, \
             expires_ms, revoked_ms, keys.suspended_ms, rotated_ms, previous_hash, previous_until_ms, keys.policy, tags, format, \
             metadata, revision, organisations.policy AS organisation_policy, \
             organisations.suspended_ms AS organisation_suspended_ms, teams.policy AS team_policy, \
             teams.suspended_ms AS team_suspended_ms, organisations.retention_days, organisations.capture_days FROM keys \
             JOIN organisations ON organisations.id = keys.organisation_id LEFT JOIN teams ON teams.id = keys.team_id ",
            $rest
        )
    };
}

impl KeyBackend for Postgres {
    fn insert_key<'a>(&'a self, hash: KeyHash, record: &'a KeyRecord, event: &'a NewEvent) -> Answer<'a, ()> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            insert(&mut session, hash, record, event).await?;
            session.done();
            Ok(())
        }))
    }

    fn update_key<'a>(&'a self, key: &'a StoredKey, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let changed = update(&mut session, key, event).await?;
            session.done();
            Ok(changed)
        }))
    }

    fn key_by_hash(&self, hash: KeyHash) -> Answer<'_, Option<StoredKey>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let query = sqlx::query(select!("WHERE hash = $1 OR previous_hash = $1")).bind(hash.as_bytes().to_vec());
            let row = query.fetch_optional(&mut *session).await?;
            session.done();
            row.as_ref().map(stored).transpose()
        }))
    }

    fn key_by_id(&self, id: KeyId) -> Answer<'_, Option<StoredKey>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let query = sqlx::query(select!("WHERE keys.id = $1")).bind(uuid(id.as_bytes()));
            let row = query.fetch_optional(&mut *session).await?;
            session.done();
            row.as_ref().map(stored).transpose()
        }))
    }

    fn keys_by_prefix<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<KeyRecord>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            // Compared by characters and not by LIKE, which takes `_` for any.
            let query = sqlx::query(select!("WHERE starts_with(prefix, $1) ORDER BY keys.id")).bind(text(prefix));
            let rows = query.fetch_all(&mut *session).await?;
            session.done();
            rows.iter().map(|row| Ok(stored(row)?.record)).collect()
        }))
    }

    fn keys<'a>(&'a self, filter: &'a KeyFilter) -> Answer<'a, Vec<StoredKey>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let rows = filtered(filter).build().fetch_all(&mut *session).await?;
            session.done();
            rows.iter().map(stored).collect()
        }))
    }

    fn keys_after(&self, revision: i64) -> Answer<'_, Vec<StoredKey>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let query = sqlx::query(select!("WHERE revision > $1 ORDER BY revision")).bind(revision);
            let rows = query.fetch_all(&mut *session).await?;
            session.done();
            rows.iter().map(stored).collect()
        }))
    }

    fn keys_revision(&self) -> Answer<'_, i64> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let revision =
                sqlx::query_scalar("SELECT value FROM revisions WHERE name = 'keys'").fetch_one(&mut *session).await?;
            session.done();
            Ok(revision)
        }))
    }

    fn remind_key<'a>(&'a self, id: KeyId, day: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let mut transaction = session.begin().await?;
            let reminded = sqlx::query("UPDATE keys SET reminded_day = $1 WHERE id = $2 AND reminded_day < $1")
                .bind(int(day))
                .bind(uuid(id.as_bytes()))
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if reminded > 0 {
                append(&mut transaction, event).await?;
            }
            transaction.commit().await?;
            session.done();
            Ok(reminded > 0)
        }))
    }

    fn watch_keys(&self) -> Answer<'_, Box<dyn KeyWatch>> {
        Box::pin(async move {
            let mut watch = Watch::new(self.options.clone());
            within(CALL, watch.connect()).await?;
            Ok(Box::new(watch) as Box<dyn KeyWatch>)
        })
    }

    fn replicas(&self) -> Answer<'_, Vec<Replica>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let rows = sqlx::query(concat!(
                "SELECT id, name, started_ms, greatest(0, ",
                now!(),
                " - seen_ms) AS age_ms, keys_revision FROM replicas ORDER BY id"
            ))
            .fetch_all(&mut *session)
            .await?;
            session.done();
            rows.iter()
                .map(|row| {
                    Ok(Replica {
                        id: ReplicaId::from_bytes(id(row, "id")?),
                        name: row.try_get("name")?,
                        started_ms: uint(row.try_get("started_ms")?, "time")?,
                        age_ms: uint(row.try_get("age_ms")?, "time")?,
                        keys_revision: row.try_get("keys_revision")?,
                    })
                })
                .collect()
        }))
    }

    fn forget_replica(&self, id: ReplicaId) -> Answer<'_, ()> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            sqlx::query("DELETE FROM replicas WHERE id = $1").bind(uuid(id.as_bytes())).execute(&mut *session).await?;
            session.done();
            Ok(())
        }))
    }
}

async fn insert(
    connection: &mut PgConnection,
    hash: KeyHash,
    record: &KeyRecord,
    event: &NewEvent,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    // That a team is the organisation's own is no foreign key's to say.
    let owned: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM organisations WHERE id = $1) \
         AND ($2::uuid IS NULL OR EXISTS (SELECT FROM teams WHERE organisation_id = $1 AND id = $2))",
    )
    .bind(uuid(record.organisation.as_bytes()))
    .bind(record.team.map(|team| uuid(team.as_bytes())))
    .fetch_one(&mut *transaction)
    .await?;
    if !owned {
        return Err(StoreError::NoSuchOwner);
    }
    let revision = next_revision(&mut transaction).await?;
    sqlx::query(
        "INSERT INTO keys (id, hash, prefix, name, environment, organisation_id, team_id, member_id, created_ms, expires_ms, \
         revoked_ms, suspended_ms, rotated_ms, previous_until_ms, policy, tags, format, metadata, revision) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
    )
    .bind(uuid(record.id.as_bytes()))
    .bind(hash.as_bytes().to_vec())
    .bind(record.prefix.as_str())
    .bind(text(&record.name))
    .bind(record.environment.as_str())
    .bind(uuid(record.organisation.as_bytes()))
    .bind(record.team.map(|team| uuid(team.as_bytes())))
    .bind(record.member.map(|member| uuid(member.as_bytes())))
    .bind(int(record.created_ms))
    .bind(record.expires_ms.map(int))
    .bind(record.revoked_ms.map(int))
    .bind(record.suspended_ms.map(int))
    .bind(record.rotated_ms.map(int))
    .bind(record.previous_until_ms.map(int))
    .bind(to_json(&record.policy))
    .bind(to_json(&record.tags))
    .bind(record.defaults.format.as_deref().map(text))
    .bind(record.defaults.metadata.as_deref().map(text))
    .bind(revision)
    .execute(&mut *transaction)
    .await
    .map_err(|error| StoreError::of_write(error, "key"))?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(())
}

async fn update(connection: &mut PgConnection, key: &StoredKey, event: &NewEvent) -> Result<bool, StoreError> {
    let record = &key.record;
    let mut transaction = connection.begin().await?;
    let revision = next_revision(&mut transaction).await?;
    let changed = sqlx::query(
        "UPDATE keys SET hash = $1, prefix = $2, name = $3, expires_ms = $4, revoked_ms = coalesce(revoked_ms, $5), suspended_ms = $6, \
         rotated_ms = $7, previous_hash = $8, previous_until_ms = $9, policy = $10, tags = $11, format = $12, metadata = $13, revision = $14 \
         WHERE id = $15 AND revision = $16",
    )
    .bind(key.hash.as_bytes().to_vec())
    .bind(record.prefix.as_str())
    .bind(text(&record.name))
    .bind(record.expires_ms.map(int))
    .bind(record.revoked_ms.map(int))
    .bind(record.suspended_ms.map(int))
    .bind(record.rotated_ms.map(int))
    .bind(key.previous_hash.map(|hash| hash.as_bytes().to_vec()))
    .bind(record.previous_until_ms.map(int))
    .bind(to_json(&record.policy))
    .bind(to_json(&record.tags))
    .bind(record.defaults.format.as_deref().map(text))
    .bind(record.defaults.metadata.as_deref().map(text))
    .bind(revision)
    .bind(uuid(record.id.as_bytes()))
    .bind(key.revision)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if changed == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

/// The keys' next revision, inside the transaction of a change. Its row stays locked until that ends, so that changes of keys are
/// seen in the order of their revisions.
pub(super) async fn next_revision(connection: &mut PgConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("UPDATE revisions SET value = value + 1 WHERE name = 'keys' RETURNING value")
        .fetch_one(connection)
        .await?)
}

fn filtered(filter: &KeyFilter) -> QueryBuilder<sqlx::Postgres> {
    let mut query = QueryBuilder::new(select!("WHERE true"));
    let ids = [
        (" AND keys.organisation_id = ", filter.organisation.map(|id| *id.as_bytes())),
        (" AND keys.team_id = ", filter.team.map(|id| *id.as_bytes())),
        (" AND member_id = ", filter.member.map(|id| *id.as_bytes())),
        (" AND keys.id > ", filter.after.map(|id| *id.as_bytes())),
    ];
    for (condition, id) in ids {
        if let Some(id) = id {
            query.push(condition).push_bind(uuid(&id));
        }
    }
    if let Some(environment) = filter.environment {
        query.push(" AND environment = ").push_bind(environment.as_str());
    }
    if filter.unrevoked {
        query.push(" AND revoked_ms IS NULL");
    }
    query.push(" ORDER BY keys.id");
    if let Some(limit) = filter.limit {
        query.push(" LIMIT ").push_bind(i64::from(limit));
    }
    query
}

fn stored(row: &PgRow) -> Result<StoredKey, StoreError> {
    let corrupt = |what| StoreError::Corrupt { what };
    let hash = |bytes: &[u8]| bytes.try_into().map(KeyHash::from_bytes).map_err(|_| corrupt("key hash"));
    let team_policy: Option<&str> = row.try_get("team_policy")?;
    Ok(StoredKey {
        hash: hash(row.try_get("hash")?)?,
        previous_hash: row.try_get::<Option<&[u8]>, _>("previous_hash")?.map(hash).transpose()?,
        revision: row.try_get("revision")?,
        bounds: Bounds {
            organisation: from_json(row.try_get("organisation_policy")?, "policy")?,
            team: team_policy.map(|text| from_json(text, "policy")).transpose()?,
            organisation_suspended_ms: optional_time(row, "organisation_suspended_ms")?,
            team_suspended_ms: optional_time(row, "team_suspended_ms")?,
            retention_days: optional_days(row, "retention_days")?,
            capture_days: optional_days(row, "capture_days")?,
        },
        record: KeyRecord {
            id: KeyId::from_bytes(id(row, "id")?),
            prefix: KeyPrefix::from_stored(row.try_get("prefix")?),
            name: row.try_get("name")?,
            environment: row.try_get::<&str, _>("environment")?.parse().map_err(|_| corrupt("environment"))?,
            organisation: OrganisationId::from_bytes(id(row, "organisation_id")?),
            team: optional_id(row, "team_id")?.map(TeamId::from_bytes),
            member: optional_id(row, "member_id")?.map(MemberId::from_bytes),
            created_ms: uint(row.try_get("created_ms")?, "time")?,
            expires_ms: optional_time(row, "expires_ms")?,
            revoked_ms: optional_time(row, "revoked_ms")?,
            suspended_ms: optional_time(row, "suspended_ms")?,
            rotated_ms: optional_time(row, "rotated_ms")?,
            previous_until_ms: optional_time(row, "previous_until_ms")?,
            policy: from_json(row.try_get("policy")?, "policy")?,
            tags: from_json::<Vec<Tag>>(row.try_get("tags")?, "list of tags")?,
            defaults: RequestDefaults { format: row.try_get("format")?, metadata: row.try_get("metadata")? },
        },
    })
}

/// Hears of changes by `LISTEN`, and reads the revision whenever it is asked, which also shows that the server answers: what was
/// announced while nobody listened is found so.
pub(super) struct Watch {
    options: PgConnectOptions,
    listener: Option<PgListener>,
    seen: Option<i64>,
}

impl Watch {
    pub fn new(options: PgConnectOptions) -> Self {
        Self { options, listener: None, seen: None }
    }

    /// The connection did not answer: another one is made when it is needed.
    pub fn hang_up(&mut self) {
        self.listener = None;
    }

    pub async fn connect(&mut self) -> Result<&mut PgListener, StoreError> {
        if self.listener.is_none() {
            // A pool of its own for each: one that hangs is left behind.
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .acquire_timeout(CONNECT)
                .max_lifetime(None)
                .idle_timeout(None)
                .after_connect(|connection, _| Box::pin(prepare(connection)))
                .connect_lazy_with(self.options.clone());
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen("portcullis").await?;
            self.listener = Some(listener);
        }
        Ok(self.listener.as_mut().expect("it was just made"))
    }

    async fn say(&mut self, id: ReplicaId, name: &str, revision: i64) -> Result<(), StoreError> {
        let listener = self.connect().await?;
        let first: bool = sqlx::query_scalar(concat!(
            "INSERT INTO replicas (id, name, started_ms, seen_ms, keys_revision) VALUES ($1, $2, ",
            now!(),
            ", ",
            now!(),
            ", $3) ON CONFLICT (id) DO UPDATE SET seen_ms = excluded.seen_ms, keys_revision = excluded.keys_revision \
             RETURNING xmax = 0"
        ))
        .bind(uuid(id.as_bytes()))
        .bind(text(name))
        .bind(revision)
        .fetch_one(&mut *listener)
        .await?;
        // With its first word a process clears away those of whom nothing is heard any more.
        if first {
            sqlx::query(concat!("DELETE FROM replicas WHERE seen_ms < ", now!(), " - $1"))
                .bind(GONE_MS)
                .execute(&mut *listener)
                .await?;
        }
        Ok(())
    }

    async fn revision(&mut self) -> Result<i64, StoreError> {
        let listener = self.connect().await?;
        Ok(sqlx::query_scalar("SELECT value FROM revisions WHERE name = 'keys'").fetch_one(listener).await?)
    }
}

impl KeyWatch for Watch {
    fn changed(&mut self) -> Answer<'_, bool> {
        Box::pin(async move {
            let revision = match within(CALL, self.revision()).await {
                Ok(revision) => revision,
                Err(error) => {
                    self.listener = None;
                    return Err(error);
                }
            };
            Ok(self.seen.replace(revision) != Some(revision))
        })
    }

    fn beat<'a>(&'a mut self, id: ReplicaId, name: &'a str, revision: i64) -> Answer<'a, ()> {
        Box::pin(async move {
            match within(CALL, self.say(id, name, revision)).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    self.listener = None;
                    Err(error)
                }
            }
        })
    }

    fn wait(&mut self, poll: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let end = tokio::time::Instant::now() + poll;
            if let Some(listener) = &mut self.listener {
                match tokio::time::timeout_at(end, listener.try_recv()).await {
                    Ok(Ok(Some(_))) | Err(_) => return,
                    Ok(Ok(None) | Err(_)) => self.listener = None,
                }
            }
            tokio::time::sleep_until(end).await;
        })
    }
}
