//! Chains and checkpoints in SQLite.

mod expiry;
mod rows;
mod source;

use std::path::Path;

use portcullis_core::OrganisationId;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{BUSY, Sqlite, begin};
use crate::audit::NewEvent;
use crate::backend::{Answer, ChainBackend, Examine, MakeCheckpoint, Turn};
use crate::chain::source::{Links, StoredLink};
use crate::chain::{
    AUDIT, BEFORE, Checkpoint, Expired, ExpiryBatch, ExpiryStep, Head, Linker, Newest, Pinned, PublicKey,
};
use crate::error::StoreError;

impl ChainBackend for Sqlite {
    fn write_checkpoint<'a>(&'a self, make: MakeCheckpoint<'a>) -> Answer<'a, Option<Checkpoint>> {
        Box::pin(async move { checkpoint(&mut *self.writer.lock().await, make).await })
    }

    fn expirable(&self, organisation: OrganisationId, before_ms: u64, after: [u8; 16]) -> Answer<'_, Expired> {
        Box::pin(expiry::expirable(&self.readers, organisation, before_ms, after))
    }

    fn expire_records<'a>(&'a self, batch: &'a ExpiryBatch, event: Option<&'a NewEvent>) -> Answer<'a, ExpiryStep> {
        Box::pin(self.expire(batch, event))
    }

    // Processes that share a file meet in its lock, and what one has deleted the other does not find.
    fn expiry_turn(&self) -> Answer<'_, Option<Turn>> {
        Box::pin(async { Ok(Some(Box::new(()) as Turn)) })
    }

    fn checkpoints(&self, before: Option<i64>, limit: u32) -> Answer<'_, Vec<Checkpoint>> {
        Box::pin(async move {
            let rows =
                sqlx::query("SELECT * FROM checkpoints WHERE ?1 IS NULL OR number < ?1 ORDER BY number DESC LIMIT ?2")
                    .bind(before)
                    .bind(i64::from(limit))
                    .fetch_all(&self.readers)
                    .await?;
            rows.iter().map(stored).collect()
        })
    }

    fn newest_checkpoint(&self) -> Answer<'_, Option<Checkpoint>> {
        Box::pin(async move { newest(&mut *self.readers.acquire().await?).await })
    }

    fn examine<'a>(&'a self, examine: Examine<'a>) -> Answer<'a, ()> {
        Box::pin(async move { source::look(self.options.get_filename(), examine) })
    }
}

/// The head of a chain, in the transaction that goes on from it.
pub(super) async fn head(connection: &mut SqliteConnection, chain: &[u8; 16]) -> Result<Head, StoreError> {
    let row = sqlx::query("SELECT seq, hash FROM chains WHERE chain = ?").bind(&chain[..]).fetch_optional(connection);
    let Some(row) = row.await? else { return Ok(Head::start(chain)) };
    Ok(Head { seq: row.try_get("seq")?, hash: bytes(&row, "hash")? })
}

pub(super) async fn set_head(
    connection: &mut SqliteConnection,
    chain: &[u8; 16],
    head: Head,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO chains (chain, seq, hash) VALUES (?, ?, ?) ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, \
         hash = excluded.hash",
    )
    .bind(&chain[..])
    .bind(head.seq)
    .bind(&head.hash[..])
    .execute(connection)
    .await?;
    Ok(())
}

async fn checkpoint(
    connection: &mut SqliteConnection,
    make: MakeCheckpoint<'_>,
) -> Result<Option<Checkpoint>, StoreError> {
    let mut transaction = begin(connection).await?;
    let last = newest(&mut transaction).await?.map_or(Newest::NONE, |last| Newest {
        number: last.number,
        hash: last.hash,
        signer_of_next: Some(last.signer_of_next()),
    });
    let heads = sqlx::query(
        "SELECT chain, seq, hash FROM chains WHERE seq > coalesce((SELECT max(seq) FROM checkpoint_heads WHERE \
         checkpoint_heads.chain = chains.chain), 0) ORDER BY chain",
    )
    .fetch_all(&mut *transaction)
    .await?
    .iter()
    .map(|row| {
        Ok(Pinned { chain: bytes(row, "chain")?, seq: row.try_get("seq")?, hash: bytes(row, "hash")?, closed: false })
    })
    .collect::<Result<Vec<_>, StoreError>>()?;
    let Some(made) = make(&last, heads)? else { return Ok(None) };
    sqlx::query(
        "INSERT INTO checkpoints (number, time_ms, previous, public_key, next_key, hash, signature) VALUES (?, ?, ?, ?, ?, ?, ?)",
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
    for head in &made.heads {
        sqlx::query("INSERT INTO checkpoint_heads (chain, seq, checkpoint, hash, closed) VALUES (?, ?, ?, ?, ?)")
            .bind(&head.chain[..])
            .bind(head.seq)
            .bind(made.number)
            .bind(&head.hash[..])
            .bind(i64::from(head.closed))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(Some(made))
}

async fn newest(connection: &mut SqliteConnection) -> Result<Option<Checkpoint>, StoreError> {
    let row = sqlx::query("SELECT * FROM checkpoints ORDER BY number DESC LIMIT 1").fetch_optional(connection).await?;
    row.as_ref().map(stored).transpose()
}

/// A checkpoint's row, without the heads it joins.
fn stored(row: &SqliteRow) -> Result<Checkpoint, StoreError> {
    let next_key: Option<&[u8]> = row.try_get("next_key")?;
    let next_key = next_key.map(|key| key.try_into().map_err(|_| StoreError::Corrupt { what: "checkpoint" }));
    Ok(Checkpoint {
        number: row.try_get("number")?,
        time_ms: row.try_get("time_ms")?,
        previous: bytes(row, "previous")?,
        public_key: PublicKey(bytes(row, "public_key")?),
        next_key: next_key.transpose()?.map(PublicKey),
        heads: Vec::new(),
        hash: bytes(row, "hash")?,
        signature: bytes(row, "signature")?,
    })
}

fn bytes<const N: usize>(row: &SqliteRow, column: &str) -> Result<[u8; N], StoreError> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| StoreError::Corrupt { what: "link of a chain" })
}

/// Makes chains of what was written before there were any: entries as the chain of zeros, events as the beginning of theirs.
pub(super) fn adopt(path: &Path) -> Result<(), StoreError> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let chained = |connection: &Connection| -> rusqlite::Result<bool> {
        connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM chains) OR NOT EXISTS (SELECT 1 FROM ledger_entries) AND NOT EXISTS (SELECT 1 FROM \
             audit_events)",
            [],
            |row| row.get(0),
        )
    };
    if chained(&connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if chained(&transaction)? {
        return Ok(());
    }
    for (of, chain) in [(Links::Unchained, BEFORE), (Links::Events, AUDIT)] {
        let mut statement = transaction.prepare(source::select(of))?;
        let mut rows = statement.query([])?;
        let (mut linker, mut link) = (Linker::at(Head::start(&chain)), StoredLink::default());
        while let Some(row) = rows.next()? {
            rows::read(of, row, &mut link);
            linker.stored(of, &link);
        }
        let Head { seq, hash } = linker.head;
        if seq > 0 {
            transaction.execute("INSERT INTO chains (chain, seq, hash) VALUES (?, ?, ?)", params![chain, seq, hash])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn open(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}
