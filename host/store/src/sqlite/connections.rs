//! Connections to providers in SQLite.

use portcullis_core::{ConnectionId, OrganisationId};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};

use super::{Sqlite, audit, begin};
use crate::audit::NewEvent;
use crate::backend::{Answer, ConnectionBackend};
use crate::codec::{id, int, uint};
use crate::connections::{ConnectionRecord, Envelope, StoredConnection};
use crate::error::StoreError;

impl ConnectionBackend for Sqlite {
    fn insert_connection<'a>(&'a self, connection: &'a StoredConnection, event: &'a NewEvent) -> Answer<'a, ()> {
        Box::pin(async move { insert(&mut *self.writer.lock().await, connection, event).await })
    }

    fn replace_connection<'a>(
        &'a self,
        revision: i64,
        connection: &'a StoredConnection,
        event: &'a NewEvent,
    ) -> Answer<'a, bool> {
        Box::pin(async move { replace(&mut *self.writer.lock().await, revision, connection, event).await })
    }

    fn delete_connection<'a>(&'a self, id: ConnectionId, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(async move { delete(&mut *self.writer.lock().await, id, event).await })
    }

    fn connections(&self) -> Answer<'_, Vec<StoredConnection>> {
        Box::pin(all(&self.readers))
    }

    fn connections_revision(&self) -> Answer<'_, i64> {
        Box::pin(async move {
            Ok(sqlx::query_scalar("SELECT value FROM revisions WHERE name = 'connections'")
                .fetch_one(&self.readers)
                .await?)
        })
    }
}

async fn next_revision(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("UPDATE revisions SET value = value + 1 WHERE name = 'connections' RETURNING value")
        .fetch_one(connection)
        .await?)
}

fn taken(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => StoreError::Taken { what: "connection" },
        sqlx::Error::Database(database) if database.is_foreign_key_violation() => StoreError::NoSuchOwner,
        _ => error.into(),
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    stored: &StoredConnection,
    event: &NewEvent,
) -> Result<(), StoreError> {
    let mut transaction = begin(connection).await?;
    let revision = next_revision(&mut transaction).await?;
    let StoredConnection { record, envelope, .. } = stored;
    sqlx::query(
        "INSERT INTO connections (id, organisation_id, name, provider, settings, weight, suspended_ms, created_ms, rotated_ms, master, \
         data_key, credential, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&record.id.as_bytes()[..])
    .bind(record.organisation.map(|organisation| organisation.as_bytes().to_vec()))
    .bind(&record.name)
    .bind(&record.provider)
    .bind(serde_json::to_string(&record.settings).expect("JSON is plain data"))
    .bind(record.weight)
    .bind(record.suspended_ms.map(int))
    .bind(int(record.created_ms))
    .bind(record.rotated_ms.map(int))
    .bind(&envelope.master)
    .bind(&envelope.data_key)
    .bind(&envelope.credential)
    .bind(revision)
    .execute(&mut *transaction)
    .await
    .map_err(taken)?;
    audit::append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(())
}

async fn replace(
    connection: &mut SqliteConnection,
    known: i64,
    stored: &StoredConnection,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    let revision = next_revision(&mut transaction).await?;
    let StoredConnection { record, envelope, .. } = stored;
    let changed = sqlx::query(
        "UPDATE connections SET name = ?, provider = ?, settings = ?, weight = ?, suspended_ms = ?, rotated_ms = ?, master = ?, \
         data_key = ?, credential = ?, revision = ? WHERE id = ? AND revision = ?",
    )
    .bind(&record.name)
    .bind(&record.provider)
    .bind(serde_json::to_string(&record.settings).expect("JSON is plain data"))
    .bind(record.weight)
    .bind(record.suspended_ms.map(int))
    .bind(record.rotated_ms.map(int))
    .bind(&envelope.master)
    .bind(&envelope.data_key)
    .bind(&envelope.credential)
    .bind(revision)
    .bind(&record.id.as_bytes()[..])
    .bind(known)
    .execute(&mut *transaction)
    .await
    .map_err(taken)?
    .rows_affected();
    if changed == 0 {
        return Ok(false);
    }
    audit::append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn delete(connection: &mut SqliteConnection, id: ConnectionId, event: &NewEvent) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    next_revision(&mut transaction).await?;
    let deleted = sqlx::query("DELETE FROM connections WHERE id = ?")
        .bind(&id.as_bytes()[..])
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    if deleted == 0 {
        return Ok(false);
    }
    audit::append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn all(pool: &SqlitePool) -> Result<Vec<StoredConnection>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, organisation_id, name, provider, settings, weight, suspended_ms, created_ms, rotated_ms, master, data_key, \
         credential, revision FROM connections ORDER BY created_ms, id",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &SqliteRow) -> Result<StoredConnection, StoreError> {
    let corrupt = |what| StoreError::Corrupt { what };
    let time = |column: &str| -> Result<Option<u64>, StoreError> {
        let value: Option<i64> = row.try_get(column)?;
        value.map(|value| uint(value, "time")).transpose()
    };
    let organisation: Option<&[u8]> = row.try_get("organisation_id")?;
    let organisation = organisation.map(|bytes| id(bytes, "organisation id").map(OrganisationId::from_bytes));
    let envelope = Envelope {
        master: row.try_get("master")?,
        data_key: row.try_get("data_key")?,
        credential: row.try_get("credential")?,
    };
    Ok(StoredConnection {
        record: ConnectionRecord {
            id: ConnectionId::from_bytes(id(row.try_get("id")?, "connection id")?),
            organisation: organisation.transpose()?,
            name: row.try_get("name")?,
            provider: row.try_get("provider")?,
            settings: serde_json::from_str(row.try_get("settings")?).map_err(|_| corrupt("settings"))?,
            weight: u32::try_from(row.try_get::<i64, _>("weight")?).map_err(|_| corrupt("weight"))?,
            suspended_ms: time("suspended_ms")?,
            created_ms: uint(row.try_get("created_ms")?, "time")?,
            rotated_ms: time("rotated_ms")?,
            master: envelope.master.clone(),
        },
        envelope,
        revision: row.try_get("revision")?,
    })
}
