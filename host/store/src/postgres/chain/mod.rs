//! Chains and checkpoints in PostgreSQL.

mod expiry;
mod rows;
mod source;

use portcullis_core::OrganisationId;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::{CALL, LONG_CALL, Lock, Postgres, connect, lock, try_lock, within};
use crate::audit::NewEvent;
use crate::backend::{Answer, ChainBackend, Examine, MakeCheckpoint, Turn};
use crate::chain::source::{Links, StoredLink};
use crate::chain::{
    AUDIT, BEFORE, Checkpoint, Expired, ExpiryBatch, ExpiryStep, Head, Linker, Newest, Pinned, PublicKey,
};
use crate::error::StoreError;

impl ChainBackend for Postgres {
    fn write_checkpoint<'a>(&'a self, make: MakeCheckpoint<'a>) -> Answer<'a, Option<Checkpoint>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let made = checkpoint(&mut session, make).await?;
            session.done();
            Ok(made)
        }))
    }

    fn expirable(&self, organisation: OrganisationId, before_ms: u64, after: [u8; 16]) -> Answer<'_, Expired> {
        Box::pin(within(LONG_CALL, self.count_expirable(organisation, before_ms, after)))
    }

    fn expire_records<'a>(&'a self, batch: &'a ExpiryBatch, event: Option<&'a NewEvent>) -> Answer<'a, ExpiryStep> {
        Box::pin(within(LONG_CALL, self.expire(batch, event)))
    }

    fn expiry_turn(&self) -> Answer<'_, Option<Turn>> {
        Box::pin(async move {
            // Its own, which the lock lives and dies with.
            let mut connection = connect(&self.options).await?;
            let taken = within(CALL, async { Ok(try_lock(&mut connection, Lock::Expiry).await?) }).await?;
            Ok(taken.then(|| Box::new(connection) as Turn))
        })
    }

    fn checkpoints(&self, before: Option<i64>, limit: u32) -> Answer<'_, Vec<Checkpoint>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let rows = sqlx::query(
                "SELECT * FROM checkpoints WHERE $1::bigint IS NULL OR number < $1 ORDER BY number DESC LIMIT $2",
            )
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(&mut *session)
            .await?;
            session.done();
            rows.iter().map(|row| stored(row, Vec::new())).collect()
        }))
    }

    fn newest_checkpoint(&self) -> Answer<'_, Option<Checkpoint>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let newest = newest(&mut session).await?;
            session.done();
            Ok(newest)
        }))
    }

    fn examine<'a>(&'a self, examine: Examine<'a>) -> Answer<'a, ()> {
        Box::pin(async move { source::look(connect(&self.options).await?, examine).await })
    }
}

/// The head of a chain, in the transaction that goes on from it.
pub(super) async fn head(connection: &mut PgConnection, chain: &[u8; 16]) -> Result<Option<Head>, StoreError> {
    let row = sqlx::query("SELECT seq, hash FROM chains WHERE chain = $1 FOR UPDATE")
        .bind(Uuid::from_bytes(*chain))
        .fetch_optional(connection)
        .await?;
    row.map(|row| Ok(Head { seq: row.try_get("seq")?, hash: bytes(&row, "hash")? })).transpose()
}

pub(super) async fn set_head(connection: &mut PgConnection, chain: &[u8; 16], head: Head) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO chains (chain, seq, hash) VALUES ($1, $2, $3) ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, \
         hash = excluded.hash",
    )
    .bind(Uuid::from_bytes(*chain))
    .bind(head.seq)
    .bind(&head.hash[..])
    .execute(connection)
    .await?;
    Ok(())
}

async fn checkpoint(connection: &mut PgConnection, make: MakeCheckpoint<'_>) -> Result<Option<Checkpoint>, StoreError> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction, Lock::Checkpoint).await?;
    let last = newest(&mut transaction).await?.map_or(Newest::NONE, |last| Newest {
        number: last.number,
        hash: last.hash,
        signer_of_next: Some(last.signer_of_next()),
    });
    let heads = sqlx::query(
        "SELECT chain, seq, hash, false AS closed FROM chains WHERE seq > coalesce((SELECT max(seq) FROM checkpoint_heads WHERE \
         checkpoint_heads.chain = chains.chain), 0) ORDER BY chain",
    )
    .fetch_all(&mut *transaction)
    .await?
    .iter()
    .map(pinned)
    .collect::<Result<Vec<_>, StoreError>>()?;
    let Some(made) = make(&last, heads)? else {
        transaction.rollback().await?;
        return Ok(None);
    };
    sqlx::query(
        "INSERT INTO checkpoints (number, time_ms, previous, public_key, next_key, hash, signature) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(made.number)
    .bind(made.time_ms)
    .bind(&made.previous[..])
    .bind(&made.public_key.0[..])
    .bind(made.next_key.map(|key| key.0.to_vec()))
    .bind(&made.hash[..])
    .bind(&made.signature[..])
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO checkpoint_heads (chain, seq, checkpoint, hash, closed) \
         SELECT chain, seq, $1, hash, closed FROM unnest($2::uuid[], $3::bigint[], $4::bytea[], $5::boolean[]) \
         AS given (chain, seq, hash, closed)",
    )
    .bind(made.number)
    .bind(made.heads.iter().map(|head| Uuid::from_bytes(head.chain)).collect::<Vec<_>>())
    .bind(made.heads.iter().map(|head| head.seq).collect::<Vec<_>>())
    .bind(made.heads.iter().map(|head| head.hash.to_vec()).collect::<Vec<_>>())
    .bind(made.heads.iter().map(|head| head.closed).collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Some(made))
}

async fn newest(connection: &mut PgConnection) -> Result<Option<Checkpoint>, StoreError> {
    let row = sqlx::query("SELECT * FROM checkpoints ORDER BY number DESC LIMIT 1").fetch_optional(connection).await?;
    row.map(|row| stored(&row, Vec::new())).transpose()
}

/// A checkpoint's row with the heads it joins.
fn stored(row: &PgRow, heads: Vec<Pinned>) -> Result<Checkpoint, StoreError> {
    let next_key: Option<&[u8]> = row.try_get("next_key")?;
    let next_key = next_key.map(|key| key.try_into().map_err(|_| StoreError::Corrupt { what: "checkpoint" }));
    Ok(Checkpoint {
        number: row.try_get("number")?,
        time_ms: row.try_get("time_ms")?,
        previous: bytes(row, "previous")?,
        public_key: PublicKey(bytes(row, "public_key")?),
        next_key: next_key.transpose()?.map(PublicKey),
        heads,
        hash: bytes(row, "hash")?,
        signature: bytes(row, "signature")?,
    })
}

fn pinned(row: &PgRow) -> Result<Pinned, StoreError> {
    Ok(Pinned {
        chain: row.try_get::<Uuid, _>("chain")?.into_bytes(),
        seq: row.try_get("seq")?,
        hash: bytes(row, "hash")?,
        closed: row.try_get("closed")?,
    })
}

fn bytes<const N: usize>(row: &PgRow, column: &str) -> Result<[u8; N], StoreError> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| StoreError::Corrupt { what: "link of a chain" })
}

/// Makes chains of what was written before there were any: entries as the chain of zeros, events as the beginning of theirs.
pub(super) async fn adopt(connection: &mut PgConnection) -> Result<(), StoreError> {
    const CHAINED: &str = "SELECT EXISTS (SELECT FROM chains) OR NOT EXISTS (SELECT FROM ledger_entries) \
         AND NOT EXISTS (SELECT FROM audit_events)";
    let chained: bool = sqlx::query_scalar(CHAINED).fetch_one(&mut *connection).await?;
    if chained {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    lock(&mut transaction, Lock::Audit).await?;
    let chained: bool = sqlx::query_scalar(CHAINED).fetch_one(&mut *transaction).await?;
    if chained {
        return Ok(());
    }
    for (of, chain) in [(Links::Unchained, BEFORE), (Links::Events, AUDIT)] {
        let (mut linker, mut link) = (Linker::at(Head::start(&chain)), StoredLink::default());
        let cursor = source::cursor(of);
        source::declare(&mut transaction, &cursor, source::select(of)).await?;
        loop {
            let rows = source::fetch(&mut transaction, &cursor).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                rows::read(of, row, &mut link)?;
                linker.stored(of, &link);
            }
        }
        if linker.head.seq > 0 {
            set_head(&mut transaction, &chain, linker.head).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}
