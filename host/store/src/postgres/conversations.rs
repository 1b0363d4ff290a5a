//! Turns of conversations in PostgreSQL.

use portcullis_core::{KeyId, OrganisationId, RequestId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::{CALL, LONG_CALL, Postgres, within};
use crate::backend::{Answer, ConversationBackend};
use crate::codec::{int, uint};
use crate::conversations::{TurnOwner, TurnRow};
use crate::error::StoreError;

/// The owner's turns of a name that live.
macro_rules! named {
    () => {
        "organisation_id = $1 AND key_id = $2 AND expires_ms > $3 AND hashtextextended(name, 0) = hashtextextended($4, 0) AND \
         name = $4"
    };
}

/// The turns from one back to its first, as `chain`: of those with one name the newest, and none that is another's or expired.
macro_rules! chain {
    ($start:expr, $rest:literal) => {
        concat!(
            "WITH RECURSIVE chain (turn, previous, depth) AS (SELECT turn, previous, 0 FROM conversations WHERE ",
            $start,
            " UNION ALL SELECT older.turn, older.previous, chain.depth + 1 FROM chain JOIN conversations AS older ON older.turn = \
             chain.previous WHERE older.organisation_id = $1 AND older.key_id = $2 AND older.expires_ms > $3) ",
            $rest
        )
    };
}

impl ConversationBackend for Postgres {
    fn insert_turn<'a>(&'a self, turn: &'a TurnRow) -> Answer<'a, ()> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            insert(&mut session, turn).await?;
            session.done();
            Ok(())
        }))
    }

    fn turn<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64) -> Answer<'a, Option<TurnRow>> {
        Box::pin(within(CALL, async move {
            if unstorable(name) {
                return Ok(None);
            }
            let mut session = self.session().await?;
            let (organisation, key) = ids(owner);
            let row =
                sqlx::query(concat!("SELECT * FROM conversations WHERE ", named!(), " ORDER BY turn DESC LIMIT 1"))
                    .bind(organisation)
                    .bind(key)
                    .bind(int(now_ms))
                    .bind(name)
                    .fetch_optional(&mut *session)
                    .await?;
            session.done();
            row.as_ref().map(stored).transpose()
        }))
    }

    fn turns<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64, limit: usize) -> Answer<'a, Vec<TurnRow>> {
        Box::pin(within(CALL, async move {
            if unstorable(name) {
                return Ok(Vec::new());
            }
            let mut session = self.session().await?;
            let turns = turns(&mut session, owner, name, now_ms, limit).await;
            // A conversation that is too long is an answer, too.
            if matches!(turns, Ok(_) | Err(StoreError::TooLong { .. })) {
                session.done();
            }
            turns
        }))
    }

    /// Every turn of the name: of several one would otherwise come to light.
    fn delete_turn<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64) -> Answer<'a, bool> {
        Box::pin(within(CALL, async move {
            if unstorable(name) {
                return Ok(false);
            }
            let mut session = self.session().await?;
            let (organisation, key) = ids(owner);
            let deleted = sqlx::query(concat!("DELETE FROM conversations WHERE ", named!()))
                .bind(organisation)
                .bind(key)
                .bind(int(now_ms))
                .bind(name)
                .execute(&mut *session)
                .await?;
            session.done();
            Ok(deleted.rows_affected() > 0)
        }))
    }

    fn expire_turns(&self, now_ms: u64) -> Answer<'_, u64> {
        Box::pin(within(LONG_CALL, async move {
            let mut session = self.session().await?;
            let query = sqlx::query("DELETE FROM conversations WHERE expires_ms <= $1").bind(int(now_ms));
            let expired = query.execute(&mut *session).await?;
            session.done();
            Ok(expired.rows_affected())
        }))
    }
}

/// A name that no turn can have here.
fn unstorable(name: &str) -> bool {
    name.contains('\0')
}

fn ids(owner: TurnOwner) -> (Uuid, Uuid) {
    (Uuid::from_bytes(*owner.organisation.as_bytes()), Uuid::from_bytes(*owner.key.as_bytes()))
}

async fn insert(connection: &mut PgConnection, row: &TurnRow) -> Result<(), StoreError> {
    let (organisation, key) = ids(row.owner);
    let previous = row.previous.map(|previous| Uuid::from_bytes(*previous.as_bytes()));
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "INSERT INTO conversations (turn, organisation_id, key_id, name, previous, created_ms, expires_ms, content) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(Uuid::from_bytes(*row.id.as_bytes()))
    .bind(organisation)
    .bind(key)
    .bind(&row.name)
    .bind(previous)
    .bind(int(row.created_ms))
    .bind(int(row.expires_ms))
    .bind(&row.content)
    .execute(&mut *transaction)
    .await?;
    if let Some(previous) = previous {
        // Locked in one order, since another may go on from the same turns at this moment.
        sqlx::query(chain!(
            "turn = $4 AND organisation_id = $1 AND key_id = $2 AND expires_ms > $3",
            "UPDATE conversations SET expires_ms = greatest(expires_ms, $5) WHERE turn IN (SELECT turn FROM conversations WHERE \
             turn IN (SELECT turn FROM chain) AND expires_ms < $5 ORDER BY turn FOR UPDATE)"
        ))
        .bind(organisation)
        .bind(key)
        .bind(int(row.created_ms))
        .bind(previous)
        .bind(int(row.expires_ms))
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn turns(
    connection: &mut PgConnection,
    owner: TurnOwner,
    name: &str,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<TurnRow>, StoreError> {
    let (organisation, key) = ids(owner);
    // Lengths first, for which nothing that is that long is read. Both of one moment.
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let found: Vec<(Uuid, i64)> = sqlx::query_as(chain!(
        concat!("turn = (SELECT turn FROM conversations WHERE ", named!(), " ORDER BY turn DESC LIMIT 1)"),
        "SELECT chain.turn, octet_length(content)::bigint FROM chain JOIN conversations USING (turn) ORDER BY depth DESC"
    ))
    .bind(organisation)
    .bind(key)
    .bind(int(now_ms))
    .bind(name)
    .fetch_all(&mut *transaction)
    .await?;
    let length: i64 = found.iter().map(|(_, length)| length).sum();
    if usize::try_from(length).is_ok_and(|length| length > limit) {
        transaction.rollback().await?;
        return Err(StoreError::TooLong { limit });
    }
    let order: Vec<Uuid> = found.into_iter().map(|(turn, _)| turn).collect();
    let rows = sqlx::query("SELECT * FROM conversations WHERE turn = ANY($1) ORDER BY array_position($1, turn)")
        .bind(order)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &PgRow) -> Result<TurnRow, StoreError> {
    let id = |column: &str| -> Result<[u8; 16], StoreError> { Ok(row.try_get::<Uuid, _>(column)?.into_bytes()) };
    let previous: Option<Uuid> = row.try_get("previous")?;
    Ok(TurnRow {
        id: RequestId::from_bytes(id("turn")?),
        owner: TurnOwner {
            organisation: OrganisationId::from_bytes(id("organisation_id")?),
            key: KeyId::from_bytes(id("key_id")?),
        },
        name: row.try_get("name")?,
        previous: previous.map(|previous| RequestId::from_bytes(previous.into_bytes())),
        created_ms: uint(row.try_get("created_ms")?, "time")?,
        expires_ms: uint(row.try_get("expires_ms")?, "time")?,
        content: row.try_get("content")?,
    })
}
