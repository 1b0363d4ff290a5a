//! The ledger's groups in SQLite, one transaction each, on a connection of their own; and receipts read back.
//!
//! A group is some thousands of rows of two tables. Through sqlx each bound value is an allocation and each statement a
//! hand-over between threads: 17 µs of CPU a request. rusqlite binds to the same library's prepared statements in place.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use portcullis_core::RequestId;
use rusqlite::{Connection, OpenFlags, Statement, TransactionBehavior};
use sqlx::sqlite::SqlitePool;

use super::BUSY;
use super::codec::int;
use crate::error::StoreError;
use crate::rows::{Batch, EntryRow, RequestRow};
use crate::store::{ReceiptScope, Synchronous};

const ENTRY: &str = "INSERT INTO ledger_entries (request_id, attempt, step, kind, key_id, organisation_id, provider, model, \
    reserved_nano, amount_nano, input_nano, output_nano, reason, reserved_ms, ended_ms, writer) \
    VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

const REQUEST: &str = "INSERT INTO requests (request_id, time_ms, key_id, organisation_id, team_id, environment, end_user, \
    requested_model, provider, model, status, outcome, input, cache_read, cache_write_short, cache_write_long, output, \
    reasoning, audio_input, audio_output, images, searches, estimated, cost_nano, total_us, tags, receipt) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

/// Rows between two moments at which the thread lets others go first: requests may be served on the same core.
const YIELD_EVERY: usize = 32;

/// The write-ahead log is put into the database when it is this long (of 8 KB each): fewer fsyncs, and a page that changes
/// often is copied once.
const CHECKPOINT_PAGES: u32 = 2_000;

pub(super) struct Groups(Mutex<Connection>);

impl Groups {
    /// Opens a migrated database.
    pub fn open(path: &Path, synchronous: Synchronous) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(
            None,
            "synchronous",
            match synchronous {
                Synchronous::Full => "full",
                Synchronous::Normal => "normal",
            },
        )?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        Ok(Self(Mutex::new(connection)))
    }

    pub fn write(&self, writer: [u8; 16], batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut entries = transaction.prepare(ENTRY)?;
            for (number, row) in batch.entries.iter().enumerate() {
                pause(number);
                entry(&mut entries, &writer, row)?;
            }
            let mut requests = transaction.prepare(REQUEST)?;
            for (number, row) in batch.requests.iter().enumerate() {
                pause(number);
                request(&mut requests, row)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn pause(number: usize) {
    if number % YIELD_EVERY == YIELD_EVERY - 1 {
        std::thread::yield_now();
    }
}

fn entry(statement: &mut Statement<'_>, writer: &[u8; 16], row: &EntryRow<'_>) -> rusqlite::Result<()> {
    statement.execute((
        &row.request_id[..],
        row.attempt,
        row.kind.as_str(),
        &row.key_id[..],
        &row.organisation[..],
        row.provider,
        row.model,
        int(row.reserved_nano),
        int(row.amount_nano),
        int(row.input_nano),
        int(row.output_nano),
        row.reason,
        int(row.reserved_ms),
        int(row.ended_ms),
        &writer[..],
    ))?;
    Ok(())
}

fn request(statement: &mut Statement<'_>, row: &RequestRow<'_>) -> rusqlite::Result<()> {
    let usage = row.usage.map(int);
    let [input, cache_read, write_short, write_long, output, reasoning, audio_input, audio_output, images, searches] =
        &usage;
    let values: [&dyn rusqlite::ToSql; 27] = [
        &&row.request_id[..],
        &int(row.time_ms),
        &&row.key_id[..],
        &&row.organisation[..],
        &row.team.as_ref().map(|team| &team[..]),
        &row.environment,
        &row.end_user,
        &row.requested_model,
        &row.provider,
        &row.model,
        &row.status,
        &row.outcome,
        input,
        cache_read,
        write_short,
        write_long,
        output,
        reasoning,
        audio_input,
        audio_output,
        images,
        searches,
        &row.estimated,
        &row.cost_nano.map(int),
        &int(row.total_us),
        &row.tags,
        &row.receipt,
    ];
    statement.execute(&values[..])?;
    Ok(())
}

pub(super) async fn receipt(
    pool: &SqlitePool,
    id: RequestId,
    scope: ReceiptScope,
) -> Result<Option<Vec<u8>>, StoreError> {
    let (sql, owner) = match &scope {
        ReceiptScope::Key(key) => {
            ("SELECT receipt FROM requests WHERE request_id = ? AND key_id = ? AND receipt IS NOT NULL", key.as_bytes())
        }
        ReceiptScope::Organisation(organisation) => (
            "SELECT receipt FROM requests WHERE request_id = ? AND organisation_id = ? AND receipt IS NOT NULL",
            organisation.as_bytes(),
        ),
    };
    Ok(sqlx::query_scalar(sql).bind(&id.as_bytes()[..]).bind(&owner[..]).fetch_optional(pool).await?)
}
