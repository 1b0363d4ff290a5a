//! The ledger's groups in SQLite, one transaction each, on a connection of their own; and receipts read back.
//!
//! A group is some thousands of rows of two tables. Through sqlx each bound value is an allocation and each statement a
//! hand-over between threads: 17 µs of CPU a request. Here they are bound where they stand in the journal ([`super::prepared`]).

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use portcullis_core::RequestId;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use sqlx::sqlite::SqlitePool;

use super::BUSY;
use super::codec::int;
use super::prepared::{Prepared, Value};
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

/// The write-ahead log is put into the database, and both are fsynced, when it has this many pages: 16 MB.
const CHECKPOINT_PAGES: u32 = 1_000;

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
            let mut entries = Prepared::new(&transaction, ENTRY)?;
            for (number, row) in batch.entries.iter().enumerate() {
                pause(number);
                entry(&mut entries, &writer, row)?;
            }
            let mut requests = Prepared::new(&transaction, REQUEST)?;
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

fn entry(statement: &mut Prepared<'_>, writer: &[u8; 16], row: &EntryRow<'_>) -> rusqlite::Result<()> {
    statement.run(&[
        (&row.request_id[..]).into(),
        i64::from(row.attempt).into(),
        row.kind.as_str().into(),
        (&row.key_id[..]).into(),
        (&row.organisation[..]).into(),
        row.provider.into(),
        row.model.into(),
        int(row.reserved_nano).into(),
        int(row.amount_nano).into(),
        int(row.input_nano).into(),
        int(row.output_nano).into(),
        row.reason.into(),
        int(row.reserved_ms).into(),
        int(row.ended_ms).into(),
        (&writer[..]).into(),
    ])
}

fn request(statement: &mut Prepared<'_>, row: &RequestRow<'_>) -> rusqlite::Result<()> {
    let [input, cache_read, write_short, write_long, output, reasoning, audio_input, audio_output, images, searches] =
        row.usage.map(|count| Value::from(int(count)));
    statement.run(&[
        (&row.request_id[..]).into(),
        int(row.time_ms).into(),
        (&row.key_id[..]).into(),
        (&row.organisation[..]).into(),
        row.team.as_ref().map(|team| &team[..]).into(),
        row.environment.into(),
        row.end_user.into(),
        row.requested_model.into(),
        row.provider.into(),
        row.model.into(),
        i64::from(row.status).into(),
        row.outcome.into(),
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
        i64::from(row.estimated).into(),
        row.cost_nano.map(int).into(),
        int(row.total_us).into(),
        row.tags.into(),
        row.receipt.into(),
    ])
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
