//! Keys in SQLite, and the processes that hold them.

use portcullis_core::receipt::Tag;
use portcullis_core::{KeyHash, KeyId, KeyPrefix, MemberId, OrganisationId, ReplicaId, TeamId};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{ConnectOptions, QueryBuilder, Row, SqliteConnection};

use super::audit::append;
use super::row::{optional_days, optional_id, optional_time};
use super::{Sqlite, begin};
use crate::audit::NewEvent;
use crate::backend::{Answer, Bounds, KeyBackend, KeyWatch, StoredKey};
use crate::codec::{from_json, id, int, to_json, uint};
use crate::error::StoreError;
use crate::keys::{KeyFilter, KeyRecord, RequestDefaults};
use crate::replicas::Replica;

/// A process of which nothing was heard for so long is forgotten.
const GONE_MS: i64 = 60 * 60 * 1000;

/// Milliseconds since the Unix epoch, by the database.
macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
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

impl KeyBackend for Sqlite {
    fn insert_key<'a>(&'a self, hash: KeyHash, record: &'a KeyRecord, event: &'a NewEvent) -> Answer<'a, ()> {
        Box::pin(async move { insert(&mut *self.writer.lock().await, hash, record, event).await })
    }

    fn update_key<'a>(&'a self, key: &'a StoredKey, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(async move { update(&mut *self.writer.lock().await, key, event).await })
    }

    fn key_by_hash(&self, hash: KeyHash) -> Answer<'_, Option<StoredKey>> {
        Box::pin(async move {
            let row = sqlx::query(select!("WHERE hash = ?1 OR previous_hash = ?1"))
                .bind(hash.as_bytes().to_vec())
                .fetch_optional(&self.readers)
                .await?;
            row.as_ref().map(stored).transpose()
        })
    }

    fn key_by_id(&self, id: KeyId) -> Answer<'_, Option<StoredKey>> {
        Box::pin(async move {
            let row = sqlx::query(select!("WHERE keys.id = ?"))
                .bind(id.as_bytes().to_vec())
                .fetch_optional(&self.readers)
                .await?;
            row.as_ref().map(stored).transpose()
        })
    }

    fn keys_by_prefix<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<KeyRecord>> {
        Box::pin(async move {
            // Compared by characters and not by LIKE, which takes `_` for any character and knows no case.
            let rows = sqlx::query(select!("WHERE substr(prefix, 1, length(?1)) = ?1 ORDER BY keys.id"))
                .bind(prefix)
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(|row| Ok(stored(row)?.record)).collect()
        })
    }

    fn keys<'a>(&'a self, filter: &'a KeyFilter) -> Answer<'a, Vec<StoredKey>> {
        Box::pin(filtered(&self.readers, filter))
    }

    fn keys_after(&self, revision: i64) -> Answer<'_, Vec<StoredKey>> {
        Box::pin(async move {
            let rows = sqlx::query(select!("WHERE revision > ? ORDER BY revision"))
                .bind(revision)
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(stored).collect()
        })
    }

    fn keys_revision(&self) -> Answer<'_, i64> {
        Box::pin(async move {
            Ok(sqlx::query_scalar("SELECT value FROM revisions WHERE name = 'keys'").fetch_one(&self.readers).await?)
        })
    }

    fn remind_key<'a>(&'a self, id: KeyId, day: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut transaction = begin(&mut writer).await?;
            let reminded = sqlx::query("UPDATE keys SET reminded_day = ?1 WHERE id = ?2 AND reminded_day < ?1")
                .bind(int(day))
                .bind(id.as_bytes().to_vec())
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if reminded == 0 {
                return Ok(false);
            }
            append(&mut transaction, event).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn watch_keys(&self) -> Answer<'_, Box<dyn KeyWatch>> {
        Box::pin(async move {
            // What it writes is that the process is there, once a second: not worth a press to disk.
            let options = self.options.clone().synchronous(sqlx::sqlite::SqliteSynchronous::Normal);
            Ok(Box::new(Watch { connection: options.connect().await?, seen: None }) as Box<dyn KeyWatch>)
        })
    }

    fn replicas(&self) -> Answer<'_, Vec<Replica>> {
        Box::pin(async move {
            let rows = sqlx::query(concat!(
                "SELECT id, name, started_ms, max(0, ",
                now!(),
                " - seen_ms) AS age_ms, keys_revision FROM replicas ORDER BY id"
            ))
            .fetch_all(&self.readers)
            .await?;
            rows.iter()
                .map(|row| {
                    Ok(Replica {
                        id: ReplicaId::from_bytes(id(row.try_get("id")?, "replica")?),
                        name: row.try_get("name")?,
                        started_ms: uint(row.try_get("started_ms")?, "time")?,
                        age_ms: uint(row.try_get("age_ms")?, "time")?,
                        keys_revision: row.try_get("keys_revision")?,
                    })
                })
                .collect()
        })
    }

    fn forget_replica(&self, id: ReplicaId) -> Answer<'_, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM replicas WHERE id = ?")
                .bind(id.as_bytes().to_vec())
                .execute(&mut *self.writer.lock().await)
                .await?;
            Ok(())
        })
    }
}

/// `PRAGMA data_version` tells, without touching a page, whether another connection has committed since; most commits are the
/// ledger's, so the keys' own revision is then looked at.
struct Watch {
    connection: SqliteConnection,
    seen: Option<(i64, i64)>,
}

impl KeyWatch for Watch {
    fn changed(&mut self) -> Answer<'_, bool> {
        Box::pin(async move {
            let version: i64 = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await?;
            if self.seen.is_some_and(|(seen, _)| seen == version) {
                return Ok(false);
            }
            let revision: i64 = sqlx::query_scalar("SELECT value FROM revisions WHERE name = 'keys'")
                .fetch_one(&mut self.connection)
                .await?;
            let changed = self.seen.is_none_or(|(_, seen)| seen != revision);
            self.seen = Some((version, revision));
            Ok(changed)
        })
    }

    fn beat<'a>(&'a mut self, id: ReplicaId, name: &'a str, revision: i64) -> Answer<'a, ()> {
        Box::pin(async move {
            let beaten = sqlx::query(concat!(
                "INSERT INTO replicas (id, name, started_ms, seen_ms, keys_revision) VALUES (?1, ?2, ",
                now!(),
                ", ",
                now!(),
                ", ?3) ON CONFLICT (id) DO UPDATE SET seen_ms = excluded.seen_ms, keys_revision = excluded.keys_revision \
                 RETURNING started_ms = seen_ms"
            ))
            .bind(id.as_bytes().to_vec())
            .bind(name)
            .bind(revision)
            .fetch_one(&mut self.connection)
            .await?;
            // With its first word a process clears away those of whom nothing is heard any more.
            if beaten.try_get::<bool, _>(0)? {
                sqlx::query(concat!("DELETE FROM replicas WHERE seen_ms < ", now!(), " - ?"))
                    .bind(GONE_MS)
                    .execute(&mut self.connection)
                    .await?;
            }
            Ok(())
        })
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    hash: KeyHash,
    record: &KeyRecord,
    event: &NewEvent,
) -> Result<(), StoreError> {
    let mut transaction = begin(connection).await?;
    // That a team is the organisation's own is no foreign key's to say.
    let owned: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM organisations WHERE id = ?1) \
         AND (?2 IS NULL OR EXISTS (SELECT 1 FROM teams WHERE organisation_id = ?1 AND id = ?2))",
    )
    .bind(record.organisation.as_bytes().to_vec())
    .bind(record.team.map(|team| team.as_bytes().to_vec()))
    .fetch_one(&mut *transaction)
    .await?;
    if !owned {
        return Err(StoreError::NoSuchOwner);
    }
    let revision = next_revision(&mut transaction).await?;
    sqlx::query(
        "INSERT INTO keys (id, hash, prefix, name, environment, organisation_id, team_id, member_id, created_ms, expires_ms, \
         revoked_ms, suspended_ms, rotated_ms, previous_until_ms, policy, tags, format, metadata, revision) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(record.id.as_bytes().to_vec())
    .bind(hash.as_bytes().to_vec())
    .bind(record.prefix.as_str())
    .bind(record.name.as_str())
    .bind(record.environment.as_str())
    .bind(record.organisation.as_bytes().to_vec())
    .bind(record.team.map(|team| team.as_bytes().to_vec()))
    .bind(record.member.map(|member| member.as_bytes().to_vec()))
    .bind(int(record.created_ms))
    .bind(record.expires_ms.map(int))
    .bind(record.revoked_ms.map(int))
    .bind(record.suspended_ms.map(int))
    .bind(record.rotated_ms.map(int))
    .bind(record.previous_until_ms.map(int))
    .bind(to_json(&record.policy))
    .bind(to_json(&record.tags))
    .bind(record.defaults.format.as_deref())
    .bind(record.defaults.metadata.as_deref())
    .bind(revision)
    .execute(&mut *transaction)
    .await
    .map_err(|error| StoreError::of_write(error, "key"))?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(())
}

async fn update(connection: &mut SqliteConnection, key: &StoredKey, event: &NewEvent) -> Result<bool, StoreError> {
    let record = &key.record;
    let mut transaction = begin(connection).await?;
    let revision = next_revision(&mut transaction).await?;
    let changed = sqlx::query(
        "UPDATE keys SET hash = ?, prefix = ?, name = ?, expires_ms = ?, revoked_ms = coalesce(revoked_ms, ?), suspended_ms = ?, \
         rotated_ms = ?, previous_hash = ?, previous_until_ms = ?, policy = ?, tags = ?, format = ?, metadata = ?, revision = ? \
         WHERE id = ? AND revision = ?",
    )
    .bind(key.hash.as_bytes().to_vec())
    .bind(record.prefix.as_str())
    .bind(record.name.as_str())
    .bind(record.expires_ms.map(int))
    .bind(record.revoked_ms.map(int))
    .bind(record.suspended_ms.map(int))
    .bind(record.rotated_ms.map(int))
    .bind(key.previous_hash.map(|hash| hash.as_bytes().to_vec()))
    .bind(record.previous_until_ms.map(int))
    .bind(to_json(&record.policy))
    .bind(to_json(&record.tags))
    .bind(record.defaults.format.as_deref())
    .bind(record.defaults.metadata.as_deref())
    .bind(revision)
    .bind(record.id.as_bytes().to_vec())
    .bind(key.revision)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if changed == 0 {
        return Ok(false);
    }
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

/// The keys' next revision, inside the transaction of a change.
pub(super) async fn next_revision(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("UPDATE revisions SET value = value + 1 WHERE name = 'keys' RETURNING value")
        .fetch_one(connection)
        .await?)
}

async fn filtered(pool: &SqlitePool, filter: &KeyFilter) -> Result<Vec<StoredKey>, StoreError> {
    let mut query = QueryBuilder::new(select!("WHERE true"));
    let ids = [
        (" AND keys.organisation_id = ", filter.organisation.map(|id| *id.as_bytes())),
        (" AND keys.team_id = ", filter.team.map(|id| *id.as_bytes())),
        (" AND member_id = ", filter.member.map(|id| *id.as_bytes())),
        (" AND keys.id > ", filter.after.map(|id| *id.as_bytes())),
    ];
    for (condition, id) in ids {
        if let Some(id) = id {
            query.push(condition).push_bind(id.to_vec());
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
    query.build().fetch_all(pool).await?.iter().map(stored).collect()
}

fn stored(row: &SqliteRow) -> Result<StoredKey, StoreError> {
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
            id: KeyId::from_bytes(id(row.try_get("id")?, "key id")?),
            prefix: KeyPrefix::from_stored(row.try_get("prefix")?),
            name: row.try_get("name")?,
            environment: row.try_get::<&str, _>("environment")?.parse().map_err(|_| corrupt("environment"))?,
            organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
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
