//! The ledger's groups in SQLite, one transaction each, on a connection of their own; and receipts read back.
//!
//! A group is some thousands of rows of two tables. Through sqlx each bound value is an allocation and each statement a
//! hand-over between threads: 17 µs of CPU a request. Here they are bound where they stand in the journal ([`super::prepared`]).

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use portcullis_core::RequestId;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use sqlx::sqlite::SqlitePool;

use super::BUSY;
use super::codec::int;
use super::pages::{self, Pages};
use super::prepared::{Prepared, Statements, Value};
use crate::error::StoreError;
use crate::rows::{Batch, EntryRow, RequestRow};
use crate::store::{ReceiptScope, Synchronous};

const ENTRY: &str = "INSERT INTO ledger_entries (request_id, attempt, step, kind, key_id, organisation_id, provider, model, \
    reserved_nano, amount_nano, input_nano, output_nano, reason, reserved_ms, ended_ms, writer) \
    VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

/// What most requests have.
const REQUEST: &str = "INSERT INTO requests (request_id, time_ms, key_id, organisation_id, environment, requested_model, \
    provider, model, status, outcome, input, cache_read, output, reasoning, cost_nano, total_us, receipt_page) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

/// And the rest of it: a value that is bound costs three times what one that is left out does.
const RARE_REQUEST: &str = "INSERT INTO requests (request_id, time_ms, key_id, organisation_id, environment, requested_model, \
    provider, model, status, outcome, input, cache_read, output, reasoning, cost_nano, total_us, receipt_page, \
    team_id, end_user, cache_write_short, cache_write_long, audio_input, audio_output, images, searches, estimated, tags) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

const PAGE: &str = "INSERT INTO receipt_pages (id, organisation_id, youngest_ms, content) VALUES (?, ?, ?, ?)";

/// Rows between two moments at which the thread lets others go first: requests may be served on the same core.
const YIELD_EVERY: usize = 64;

/// The write-ahead log is put into the database, and both are fsynced, when it has this many pages: 16 MB.
const CHECKPOINT_PAGES: u32 = 1_000;

pub(super) struct Groups(Mutex<Writing>);

struct Writing {
    statements: Statements<4>,
    pages: Pages,
}

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
        let statements = Statements::new(connection, [ENTRY, REQUEST, RARE_REQUEST, PAGE])?;
        Ok(Self(Mutex::new(Writing { statements, pages: Pages::default() })))
    }

    pub fn write(&self, writer: [u8; 16], batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Writing { statements, pages } = &mut *writing;
        let (connection, [entries, common, rare, page]) = statements.parts();
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        for (number, row) in batch.entries.iter().enumerate() {
            pause(number);
            entry(entries, &writer, row)?;
        }
        if !batch.requests.is_empty() {
            let newest = transaction.query_row("SELECT coalesce(max(id), 0) FROM receipt_pages", [], |row| row.get(0))?;
            pages.begin(newest);
            let mut insert = |id: i64, organisation: &[u8; 16], youngest_ms, content: &[u8]| {
                page.run(&[id.into(), (&organisation[..]).into(), int(youngest_ms).into(), content.into()]).map(drop)
            };
            for (number, row) in batch.requests.iter().enumerate() {
                pause(number);
                let at = row.receipt.map(|_| pages.place(&row.organisation));
                // A row that is there already has its receipt.
                if request(common, rare, row, at)?
                    && let Some(receipt) = row.receipt
                    && pages.put(row, receipt)
                {
                    pages.finish(&row.organisation, &mut insert)?;
                }
            }
            pages.finish_all(&mut insert)?;
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

fn entry(statement: &mut Prepared, writer: &[u8; 16], row: &EntryRow<'_>) -> rusqlite::Result<bool> {
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

/// True where the row is new. `page` is where its receipt will stand.
fn request(
    common: &mut Prepared,
    rare: &mut Prepared,
    row: &RequestRow<'_>,
    page: Option<i64>,
) -> rusqlite::Result<bool> {
    let [input, cache_read, write_short, write_long, output, reasoning, audio_input, audio_output, images, searches] =
        row.usage;
    let usual = [
        (&row.request_id[..]).into(),
        int(row.time_ms).into(),
        (&row.key_id[..]).into(),
        (&row.organisation[..]).into(),
        row.environment.into(),
        row.requested_model.into(),
        row.provider.into(),
        row.model.into(),
        i64::from(row.status).into(),
        row.outcome.into(),
        int(input).into(),
        int(cache_read).into(),
        int(output).into(),
        int(reasoning).into(),
        row.cost_nano.map(int).into(),
        int(row.total_us).into(),
        page.into(),
    ];
    let counts = [write_short, write_long, audio_input, audio_output, images, searches, u64::from(row.estimated)];
    if row.team.is_none() && row.end_user.is_none() && row.tags.is_none() && counts.iter().all(|&count| count == 0) {
        return common.run(&usual);
    }
    let [write_short, write_long, audio_input, audio_output, images, searches, estimated] =
        counts.map(|count| Value::from(int(count)));
    let others = [
        row.team.as_ref().map(|team| &team[..]).into(),
        row.end_user.into(),
        write_short,
        write_long,
        audio_input,
        audio_output,
        images,
        searches,
        estimated,
        row.tags.into(),
    ];
    rare.run_with(&usual, &others)
}

pub(super) async fn receipt(
    pool: &SqlitePool,
    id: RequestId,
    scope: ReceiptScope,
) -> Result<Option<Vec<u8>>, StoreError> {
    // The page's organisation is the row's, or it is no longer the page that the row meant.
    macro_rules! select {
        ($owner:literal) => {
            concat!(
                "SELECT content FROM requests JOIN receipt_pages ON receipt_pages.id = receipt_page \
                 AND receipt_pages.organisation_id = requests.organisation_id WHERE request_id = ? AND ",
                $owner
            )
        };
    }
    let (sql, owner) = match &scope {
        ReceiptScope::Key(key) => (select!("key_id = ?"), key.as_bytes()),
        ReceiptScope::Organisation(organisation) => (select!("requests.organisation_id = ?"), organisation.as_bytes()),
    };
    let content: Option<Vec<u8>> =
        sqlx::query_scalar(sql).bind(&id.as_bytes()[..]).bind(&owner[..]).fetch_optional(pool).await?;
    content.map_or(Ok(None), |content| pages::find(&content, id.as_bytes()))
}
