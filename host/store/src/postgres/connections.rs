//! Connections to providers in PostgreSQL.

use portcullis_core::{ConnectionId, OrganisationId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::{CALL, Postgres, audit, within};
use crate::audit::NewEvent;
use crate::backend::{Answer, ConnectionBackend};
use crate::codec::{int, json, text, uint};
use crate::connections::{ConnectionRecord, Envelope, StoredConnection};
use crate::error::StoreError;

impl ConnectionBackend for Postgres {
    fn insert_connection<'a>(&'a self, connection: &'a StoredConnection, event: &'a NewEvent) -> Answer<'a, ()> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            insert(&mut session, connection, event).await?;
            session.done();
            Ok(())
        }))
    }

    fn replace_connection<'a>(
        &'a self,
        revision: i64,
        connection: &'a StoredConnection,
        event: &'a NewEvent,
    ) -> Answer<'a, bool> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let replaced = replace(&mut session, revision, connection, event).await?;
            session.done();
            Ok(replaced)
        }))
    }

    fn delete_connection<'a>(&'a self, id: ConnectionId, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let deleted = delete(&mut session, id, event).await?;
            session.done();
            Ok(deleted)
        }))
    }

    fn connections(&self) -> Answer<'_, Vec<StoredConnection>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let rows = sqlx::query(
                "SELECT id, organisation_id, name, provider, settings, weight, suspended_ms, created_ms, rotated_ms, master, \
                 data_key, credential, revision FROM connections ORDER BY created_ms, id",
            )
            .fetch_all(&mut *session)
            .await?;
            session.done();
            rows.iter().map(stored).collect()
        }))
    }

    fn connections_revision(&self) -> Answer<'_, i64> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let query = sqlx::query_scalar("SELECT value FROM revisions WHERE name = 'connections'");
            let revision = query.fetch_one(&mut *session).await?;
            session.done();
            Ok(revision)
        }))
    }
}

/// Its row stays locked until the transaction ends, so that changes are seen in the order of their revisions.
async fn next_revision(connection: &mut PgConnection) -> Result<i64, StoreError> {
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

async fn insert(connection: &mut PgConnection, stored: &StoredConnection, event: &NewEvent) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    let revision = next_revision(&mut transaction).await?;
    let StoredConnection { record, envelope, .. } = stored;
    sqlx::query(
        "INSERT INTO connections (id, organisation_id, name, provider, settings, weight, suspended_ms, created_ms, rotated_ms, master, \
         data_key, credential, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(Uuid::from_bytes(*record.id.as_bytes()))
    .bind(record.organisation.map(|organisation| Uuid::from_bytes(*organisation.as_bytes())))
    .bind(text(&record.name))
    .bind(text(&record.provider))
    .bind(json(&serde_json::to_string(&record.settings).expect("JSON is plain data")).into_owned())
    .bind(i64::from(record.weight))
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
    connection: &mut PgConnection,
    known: i64,
    stored: &StoredConnection,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let revision = next_revision(&mut transaction).await?;
    let StoredConnection { record, envelope, .. } = stored;
    let changed = sqlx::query(
        "UPDATE connections SET name = $1, provider = $2, settings = $3, weight = $4, suspended_ms = $5, rotated_ms = $6, master = $7, \
         data_key = $8, credential = $9, revision = $10 WHERE id = $11 AND revision = $12",
    )
    .bind(text(&record.name))
    .bind(text(&record.provider))
    .bind(json(&serde_json::to_string(&record.settings).expect("JSON is plain data")).into_owned())
    .bind(i64::from(record.weight))
    .bind(record.suspended_ms.map(int))
    .bind(record.rotated_ms.map(int))
    .bind(&envelope.master)
    .bind(&envelope.data_key)
    .bind(&envelope.credential)
    .bind(revision)
    .bind(Uuid::from_bytes(*record.id.as_bytes()))
    .bind(known)
    .execute(&mut *transaction)
    .await
    .map_err(taken)?
    .rows_affected();
    if changed == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    audit::append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn delete(connection: &mut PgConnection, id: ConnectionId, event: &NewEvent) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    next_revision(&mut transaction).await?;
    let deleted = sqlx::query("DELETE FROM connections WHERE id = $1")
        .bind(Uuid::from_bytes(*id.as_bytes()))
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    if deleted == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    audit::append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

fn stored(row: &PgRow) -> Result<StoredConnection, StoreError> {
    let corrupt = |what| StoreError::Corrupt { what };
    let time = |column: &str| -> Result<Option<u64>, StoreError> {
        let value: Option<i64> = row.try_get(column)?;
        value.map(|value| uint(value, "time")).transpose()
    };
    let organisation: Option<Uuid> = row.try_get("organisation_id")?;
    let envelope = Envelope {
        master: row.try_get("master")?,
        data_key: row.try_get("data_key")?,
        credential: row.try_get("credential")?,
    };
    Ok(StoredConnection {
        record: ConnectionRecord {
            id: ConnectionId::from_bytes(row.try_get::<Uuid, _>("id")?.into_bytes()),
            organisation: organisation.map(|organisation| OrganisationId::from_bytes(organisation.into_bytes())),
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
