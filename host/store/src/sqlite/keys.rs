//! Keys in SQLite.

use portcullis_core::receipt::Tag;
use portcullis_core::{KeyHash, KeyId, KeyPrefix, OrganisationId, TeamId};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{ConnectOptions, Row, SqliteConnection};

use super::codec::{id, int, uint};
use super::{Sqlite, begin};
use crate::backend::{Answer, KeyBackend, KeyWatch, StoredKey};
use crate::error::StoreError;
use crate::keys::{KeyRecord, RequestDefaults};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, hash, prefix, name, environment, organisation_id, team_id, created_ms, expires_ms, revoked_ms, \
             policy, tags, format, metadata, revision FROM keys ",
            $rest
        )
    };
}

impl KeyBackend for Sqlite {
    fn insert_key<'a>(&'a self, hash: KeyHash, record: &'a KeyRecord) -> Answer<'a, ()> {
        Box::pin(async move { insert(&mut *self.writer.lock().await, hash, record).await })
    }

    fn revoke_key(&self, id: KeyId, now_ms: u64) -> Answer<'_, bool> {
        Box::pin(async move { revoke(&mut *self.writer.lock().await, id, now_ms).await })
    }

    fn key_by_hash(&self, hash: KeyHash) -> Answer<'_, Option<StoredKey>> {
        Box::pin(by_hash(&self.readers, hash))
    }

    fn key_by_id(&self, id: KeyId) -> Answer<'_, Option<KeyRecord>> {
        Box::pin(by_id(&self.readers, id))
    }

    fn keys_by_prefix<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<KeyRecord>> {
        Box::pin(by_prefix(&self.readers, prefix))
    }

    fn keys_after(&self, revision: i64) -> Answer<'_, Vec<StoredKey>> {
        Box::pin(after(&self.readers, revision))
    }

    fn watch_keys(&self) -> Answer<'_, Box<dyn KeyWatch>> {
        Box::pin(async move {
            let connection = self.options.clone().connect().await?;
            Ok(Box::new(Watch { connection, seen: None }) as Box<dyn KeyWatch>)
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
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    hash: KeyHash,
    record: &KeyRecord,
) -> Result<(), StoreError> {
    let mut transaction = begin(connection).await?;
    let owners: i64 = match record.team {
        None => {
            sqlx::query_scalar("SELECT count(*) FROM organisations WHERE id = ?")
                .bind(&record.organisation.as_bytes()[..])
                .fetch_one(&mut *transaction)
                .await?
        }
        Some(team) => {
            sqlx::query_scalar("SELECT count(*) FROM teams WHERE organisation_id = ? AND id = ?")
                .bind(&record.organisation.as_bytes()[..])
                .bind(&team.as_bytes()[..])
                .fetch_one(&mut *transaction)
                .await?
        }
    };
    if owners == 0 {
        return Err(StoreError::NoSuchOwner);
    }
    let revision = next_revision(&mut transaction).await?;
    sqlx::query(
        "INSERT INTO keys (id, hash, prefix, name, environment, organisation_id, team_id, created_ms, expires_ms, revoked_ms, \
         policy, tags, format, metadata, revision) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&record.id.as_bytes()[..])
    .bind(&hash.as_bytes()[..])
    .bind(record.prefix.as_str())
    .bind(record.name.as_str())
    .bind(record.environment.as_str())
    .bind(&record.organisation.as_bytes()[..])
    .bind(record.team.map(|team| team.as_bytes().to_vec()))
    .bind(int(record.created_ms))
    .bind(record.expires_ms.map(int))
    .bind(record.revoked_ms.map(int))
    .bind(
        serde_json::to_string(&Policy {
            models: record.allowed_models.clone(),
            providers: record.allowed_providers.clone(),
        })
        .expect("lists are plain data"),
    )
    .bind(serde_json::to_string(&record.tags).expect("tags are plain data"))
    .bind(record.defaults.format.as_deref())
    .bind(record.defaults.metadata.as_deref())
    .bind(revision)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Policy {
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    providers: Option<Vec<String>>,
}

async fn next_revision(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("UPDATE revisions SET value = value + 1 WHERE name = 'keys' RETURNING value")
        .fetch_one(connection)
        .await?)
}

pub(super) async fn revoke(connection: &mut SqliteConnection, id: KeyId, now_ms: u64) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    let revision = next_revision(&mut transaction).await?;
    let changed = sqlx::query("UPDATE keys SET revoked_ms = coalesce(revoked_ms, ?), revision = ? WHERE id = ?")
        .bind(int(now_ms))
        .bind(revision)
        .bind(&id.as_bytes()[..])
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    if changed == 0 {
        return Ok(false);
    }
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn by_hash(pool: &SqlitePool, hash: KeyHash) -> Result<Option<StoredKey>, StoreError> {
    let row = sqlx::query(select!("WHERE hash = ?")).bind(&hash.as_bytes()[..]).fetch_optional(pool).await?;
    row.as_ref().map(stored).transpose()
}

pub(super) async fn by_id(pool: &SqlitePool, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
    let row = sqlx::query(select!("WHERE id = ?")).bind(&id.as_bytes()[..]).fetch_optional(pool).await?;
    Ok(row.as_ref().map(stored).transpose()?.map(|stored| stored.record))
}

pub(super) async fn by_prefix(pool: &SqlitePool, prefix: &str) -> Result<Vec<KeyRecord>, StoreError> {
    // Compared by characters and not by LIKE, which takes `_` for any character and knows no case.
    let rows = sqlx::query(select!("WHERE substr(prefix, 1, length(?1)) = ?1 ORDER BY created_ms, id"))
        .bind(prefix)
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| Ok(stored(row)?.record)).collect()
}

pub(super) async fn after(pool: &SqlitePool, revision: i64) -> Result<Vec<StoredKey>, StoreError> {
    let rows = sqlx::query(select!("WHERE revision > ? ORDER BY revision")).bind(revision).fetch_all(pool).await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &SqliteRow) -> Result<StoredKey, StoreError> {
    let corrupt = |what| StoreError::Corrupt { what };
    let policy: Policy = serde_json::from_str(row.try_get("policy")?).map_err(|_| corrupt("policy"))?;
    let time = |column: &str| -> Result<Option<u64>, StoreError> {
        let value: Option<i64> = row.try_get(column)?;
        value.map(|value| uint(value, "time")).transpose()
    };
    let hash: &[u8] = row.try_get("hash")?;
    let team: Option<&[u8]> = row.try_get("team_id")?;
    Ok(StoredKey {
        hash: KeyHash::from_bytes(hash.try_into().map_err(|_| corrupt("key hash"))?),
        revision: row.try_get("revision")?,
        record: KeyRecord {
            id: KeyId::from_bytes(id(row.try_get("id")?, "key id")?),
            prefix: KeyPrefix::from_stored(row.try_get("prefix")?),
            name: row.try_get("name")?,
            environment: row.try_get::<&str, _>("environment")?.parse().map_err(|_| corrupt("environment"))?,
            organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
            team: team.map(|team| id(team, "team id").map(TeamId::from_bytes)).transpose()?,
            created_ms: uint(row.try_get("created_ms")?, "time")?,
            expires_ms: time("expires_ms")?,
            revoked_ms: time("revoked_ms")?,
            allowed_models: policy.models,
            allowed_providers: policy.providers,
            tags: serde_json::from_str::<Vec<Tag>>(row.try_get("tags")?).map_err(|_| corrupt("list of tags"))?,
            defaults: RequestDefaults { format: row.try_get("format")?, metadata: row.try_get("metadata")? },
        },
    })
}
