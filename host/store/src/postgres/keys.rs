//! Keys in PostgreSQL, and the watch that hears of their changes.

use std::time::Duration;

use portcullis_core::receipt::Tag;
use portcullis_core::{KeyHash, KeyId, KeyPrefix, OrganisationId, TeamId};
use sqlx::Row;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions, PgRow};
use uuid::Uuid;

use super::{CALL, CONNECT, Postgres, prepare, within};
use crate::backend::{Answer, BoxFuture, KeyBackend, KeyWatch, StoredKey};
use crate::codec::{int, json, text, uint};
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

impl KeyBackend for Postgres {
    fn insert_key<'a>(&'a self, hash: KeyHash, record: &'a KeyRecord) -> Answer<'a, ()> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            insert(&mut session, hash, record).await?;
            session.done();
            Ok(())
        }))
    }

    fn revoke_key(&self, id: KeyId, now_ms: u64) -> Answer<'_, bool> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let there = revoke(&mut session, id, now_ms).await?;
            session.done();
            Ok(there)
        }))
    }

    fn key_by_hash(&self, hash: KeyHash) -> Answer<'_, Option<StoredKey>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let query = sqlx::query(select!("WHERE hash = $1")).bind(hash.as_bytes().to_vec());
            let row = query.fetch_optional(&mut *session).await?;
            session.done();
            row.as_ref().map(stored).transpose()
        }))
    }

    fn key_by_id(&self, id: KeyId) -> Answer<'_, Option<KeyRecord>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let query = sqlx::query(select!("WHERE id = $1")).bind(Uuid::from_bytes(*id.as_bytes()));
            let row = query.fetch_optional(&mut *session).await?;
            session.done();
            Ok(row.as_ref().map(stored).transpose()?.map(|stored| stored.record))
        }))
    }

    fn keys_by_prefix<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<KeyRecord>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            // Compared by characters and not by LIKE, which takes `_` for any.
            let query =
                sqlx::query(select!("WHERE starts_with(prefix, $1) ORDER BY created_ms, id")).bind(text(prefix));
            let rows = query.fetch_all(&mut *session).await?;
            session.done();
            rows.iter().map(|row| Ok(stored(row)?.record)).collect()
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

    fn watch_keys(&self) -> Answer<'_, Box<dyn KeyWatch>> {
        Box::pin(async move {
            let mut watch = Watch { options: self.options.clone(), listener: None, seen: None };
            within(CALL, watch.connect()).await?;
            Ok(Box::new(watch) as Box<dyn KeyWatch>)
        })
    }
}

async fn insert(connection: &mut PgConnection, hash: KeyHash, record: &KeyRecord) -> Result<(), StoreError> {
    use sqlx::Connection;
    let organisation = Uuid::from_bytes(*record.organisation.as_bytes());
    let team = record.team.map(|team| Uuid::from_bytes(*team.as_bytes()));
    let mut transaction = connection.begin().await?;
    let owned: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM organisations WHERE id = $1) \
         AND ($2::uuid IS NULL OR EXISTS (SELECT FROM teams WHERE organisation_id = $1 AND id = $2))",
    )
    .bind(organisation)
    .bind(team)
    .fetch_one(&mut *transaction)
    .await?;
    if !owned {
        return Err(StoreError::NoSuchOwner);
    }
    let revision = next_revision(&mut transaction).await?;
    sqlx::query(
        "INSERT INTO keys (id, hash, prefix, name, environment, organisation_id, team_id, created_ms, expires_ms, revoked_ms, \
         policy, tags, format, metadata, revision) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(Uuid::from_bytes(*record.id.as_bytes()))
    .bind(hash.as_bytes().to_vec())
    .bind(record.prefix.as_str())
    .bind(text(&record.name))
    .bind(record.environment.as_str())
    .bind(organisation)
    .bind(team)
    .bind(int(record.created_ms))
    .bind(record.expires_ms.map(int))
    .bind(record.revoked_ms.map(int))
    .bind(plain(&Policy { models: record.allowed_models.clone(), providers: record.allowed_providers.clone() }))
    .bind(plain(&record.tags))
    .bind(record.defaults.format.as_deref().map(text))
    .bind(record.defaults.metadata.as_deref().map(text))
    .bind(revision)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

fn plain(value: &impl serde::Serialize) -> String {
    json(&serde_json::to_string(value).expect("names and tags are plain data")).into_owned()
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Policy {
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    providers: Option<Vec<String>>,
}

/// Its row stays locked until the transaction ends, so that changes of keys are seen in the order of their revisions.
async fn next_revision(connection: &mut PgConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("UPDATE revisions SET value = value + 1 WHERE name = 'keys' RETURNING value")
        .fetch_one(connection)
        .await?)
}

async fn revoke(connection: &mut PgConnection, id: KeyId, now_ms: u64) -> Result<bool, StoreError> {
    use sqlx::Connection;
    let mut transaction = connection.begin().await?;
    let revision = next_revision(&mut transaction).await?;
    let changed = sqlx::query("UPDATE keys SET revoked_ms = coalesce(revoked_ms, $1), revision = $2 WHERE id = $3")
        .bind(int(now_ms))
        .bind(revision)
        .bind(Uuid::from_bytes(*id.as_bytes()))
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    if changed == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    transaction.commit().await?;
    Ok(true)
}

fn stored(row: &PgRow) -> Result<StoredKey, StoreError> {
    let corrupt = |what| StoreError::Corrupt { what };
    let id = |column: &str| -> Result<[u8; 16], StoreError> { Ok(row.try_get::<Uuid, _>(column)?.into_bytes()) };
    let policy: Policy = serde_json::from_str(row.try_get("policy")?).map_err(|_| corrupt("policy"))?;
    let time = |column: &str| -> Result<Option<u64>, StoreError> {
        let value: Option<i64> = row.try_get(column)?;
        value.map(|value| uint(value, "time")).transpose()
    };
    let hash: &[u8] = row.try_get("hash")?;
    let team: Option<Uuid> = row.try_get("team_id")?;
    Ok(StoredKey {
        hash: KeyHash::from_bytes(hash.try_into().map_err(|_| corrupt("key hash"))?),
        revision: row.try_get("revision")?,
        record: KeyRecord {
            id: KeyId::from_bytes(id("id")?),
            prefix: KeyPrefix::from_stored(row.try_get("prefix")?),
            name: row.try_get("name")?,
            environment: row.try_get::<&str, _>("environment")?.parse().map_err(|_| corrupt("environment"))?,
            organisation: OrganisationId::from_bytes(id("organisation_id")?),
            team: team.map(|team| TeamId::from_bytes(team.into_bytes())),
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

/// Hears of changes by `LISTEN`, and reads the revision whenever it is asked, which also shows that the server answers: what was
/// announced while nobody listened is found so.
struct Watch {
    options: PgConnectOptions,
    listener: Option<PgListener>,
    seen: Option<i64>,
}

impl Watch {
    async fn connect(&mut self) -> Result<&mut PgListener, StoreError> {
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
