//! Turns of conversations in SQLite.

use portcullis_core::{KeyId, OrganisationId, RequestId};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};

use super::codec::{id, int, uint};
use super::{Sqlite, begin};
use crate::backend::{Answer, ConversationBackend};
use crate::conversations::{TurnOwner, TurnRow};
use crate::error::StoreError;

const COLUMNS: &str = "turn, organisation_id, key_id, name, previous, created_ms, expires_ms, content";

/// The turns from one back to its first, as `chain`: of those with one name the newest, and none that is another's or expired.
macro_rules! chain {
    ($start:literal, $rest:literal) => {
        concat!(
            "WITH RECURSIVE chain (turn, previous, depth) AS (SELECT turn, previous, 0 FROM conversations WHERE ",
            $start,
            " UNION ALL SELECT older.turn, older.previous, chain.depth + 1 FROM chain JOIN conversations AS older ON older.turn = \
             chain.previous WHERE older.organisation_id = ?1 AND older.key_id = ?2 AND older.expires_ms > ?3) ",
            $rest
        )
    };
}

impl ConversationBackend for Sqlite {
    fn insert_turn<'a>(&'a self, turn: &'a TurnRow) -> Answer<'a, ()> {
        Box::pin(async move { insert(&mut *self.writer.lock().await, turn).await })
    }

    fn turn<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64) -> Answer<'a, Option<TurnRow>> {
        Box::pin(named(&self.readers, owner, name, now_ms))
    }

    fn turns<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64, limit: usize) -> Answer<'a, Vec<TurnRow>> {
        Box::pin(chain(&self.readers, owner, name, now_ms, limit))
    }

    fn delete_turn<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64) -> Answer<'a, bool> {
        Box::pin(async move { delete(&mut *self.writer.lock().await, owner, name, now_ms).await })
    }

    fn expire_turns(&self, now_ms: u64) -> Answer<'_, u64> {
        Box::pin(async move { expire(&mut *self.writer.lock().await, now_ms).await })
    }
}

pub(super) async fn insert(connection: &mut SqliteConnection, row: &TurnRow) -> Result<(), StoreError> {
    let mut transaction = begin(connection).await?;
    sqlx::query(
        "INSERT INTO conversations (turn, organisation_id, key_id, name, previous, created_ms, expires_ms, content) VALUES (?, ?, ?, \
         ?, ?, ?, ?, ?)",
    )
    .bind(&row.id.as_bytes()[..])
    .bind(&row.owner.organisation.as_bytes()[..])
    .bind(&row.owner.key.as_bytes()[..])
    .bind(&row.name)
    .bind(row.previous.map(|previous| previous.as_bytes().to_vec()))
    .bind(int(row.created_ms))
    .bind(int(row.expires_ms))
    .bind(&row.content)
    .execute(&mut *transaction)
    .await?;
    if let Some(previous) = row.previous {
        sqlx::query(chain!(
            "turn = ?4 AND organisation_id = ?1 AND key_id = ?2 AND expires_ms > ?3",
            "UPDATE conversations SET expires_ms = max(expires_ms, ?5) WHERE turn IN (SELECT turn FROM chain)"
        ))
        .bind(&row.owner.organisation.as_bytes()[..])
        .bind(&row.owner.key.as_bytes()[..])
        .bind(int(row.created_ms))
        .bind(&previous.as_bytes()[..])
        .bind(int(row.expires_ms))
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn chain(
    pool: &SqlitePool,
    owner: TurnOwner,
    name: &str,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<TurnRow>, StoreError> {
    // Lengths first, which SQLite knows without reading what is that long.
    let mut transaction = pool.begin().await?;
    let turns: Vec<(Vec<u8>, i64)> = sqlx::query_as(chain!(
        "turn = (SELECT turn FROM conversations WHERE organisation_id = ?1 AND key_id = ?2 AND name = ?4 AND expires_ms > ?3 \
         ORDER BY turn DESC LIMIT 1)",
        "SELECT chain.turn, length(conversations.content) FROM chain JOIN conversations USING (turn) ORDER BY depth DESC"
    ))
    .bind(&owner.organisation.as_bytes()[..])
    .bind(&owner.key.as_bytes()[..])
    .bind(int(now_ms))
    .bind(name)
    .fetch_all(&mut *transaction)
    .await?;
    let length: i64 = turns.iter().map(|(_, length)| length).sum();
    if usize::try_from(length).is_ok_and(|length| length > limit) {
        return Err(StoreError::TooLong { limit });
    }
    let mut rows = Vec::with_capacity(turns.len());
    for (turn, _) in turns {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM conversations WHERE turn = ?")))
            .bind(turn)
            .fetch_one(&mut *transaction)
            .await?;
        rows.push(stored(&row)?);
    }
    Ok(rows)
}

pub(super) async fn named(
    pool: &SqlitePool,
    owner: TurnOwner,
    name: &str,
    now_ms: u64,
) -> Result<Option<TurnRow>, StoreError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM conversations WHERE organisation_id = ? AND key_id = ? AND name = ? AND expires_ms > ? ORDER BY turn \
         DESC LIMIT 1"
    )))
    .bind(&owner.organisation.as_bytes()[..])
    .bind(&owner.key.as_bytes()[..])
    .bind(name)
    .bind(int(now_ms))
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(stored).transpose()
}

/// Every turn of the name: of several one would otherwise come to light.
pub(super) async fn delete(
    connection: &mut SqliteConnection,
    owner: TurnOwner,
    name: &str,
    now_ms: u64,
) -> Result<bool, StoreError> {
    let deleted = sqlx::query(
        "DELETE FROM conversations WHERE organisation_id = ? AND key_id = ? AND name = ? AND expires_ms > ?",
    )
    .bind(&owner.organisation.as_bytes()[..])
    .bind(&owner.key.as_bytes()[..])
    .bind(name)
    .bind(int(now_ms))
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() > 0)
}

pub(super) async fn expire(connection: &mut SqliteConnection, now_ms: u64) -> Result<u64, StoreError> {
    let expired = sqlx::query("DELETE FROM conversations WHERE expires_ms <= ?").bind(int(now_ms)).execute(connection);
    Ok(expired.await?.rows_affected())
}

fn stored(row: &SqliteRow) -> Result<TurnRow, StoreError> {
    let previous: Option<&[u8]> = row.try_get("previous")?;
    Ok(TurnRow {
        id: RequestId::from_bytes(id(row.try_get("turn")?, "turn id")?),
        owner: TurnOwner {
            organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
            key: KeyId::from_bytes(id(row.try_get("key_id")?, "key id")?),
        },
        name: row.try_get("name")?,
        previous: previous.map(|previous| id(previous, "turn id").map(RequestId::from_bytes)).transpose()?,
        created_ms: uint(row.try_get("created_ms")?, "time")?,
        expires_ms: uint(row.try_get("expires_ms")?, "time")?,
        content: row.try_get("content")?,
    })
}
