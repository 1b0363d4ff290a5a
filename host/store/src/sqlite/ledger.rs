//! The ledger's groups in SQLite, one transaction each, on a connection of their own; and receipts read back.
//!
//! A group is some thousands of rows of two tables. Through sqlx each bound value is an allocation and each statement a
//! hand-over between threads: 17 µs of CPU a request. Here they are bound where they stand in the journal ([`super::prepared`]).

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use portcullis_core::RequestId;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use sqlx::sqlite::SqlitePool;

use super::codec::int;
use super::pages::{self, Page, Pages};
use super::prepared::{Statements, Value};
use super::{BUSY, Sqlite};
use crate::backend::{Answer, LedgerBackend};
use crate::error::StoreError;
use crate::rows::{Batch, EntryRow, RequestRow};
use crate::store::{ReceiptScope, Synchronous};

/// Rows in one statement: beginning and ending one costs a third of what a row does.
const ROWS: usize = 16;

const ENTRY: &str = "ledger_entries (request_id, attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, \
    amount_nano, input_nano, output_nano, reason, reserved_ms, ended_ms, writer)";
const ENTRY_COLUMNS: usize = 16;

/// What most requests have.
const REQUEST: &str = "requests (request_id, time_ms, key_id, organisation_id, environment, requested_model, provider, model, \
    status, outcome, input, cache_read, output, reasoning, cost_nano, total_us, receipt_page)";
const REQUEST_COLUMNS: usize = 17;

/// And what few have: a value that is bound costs three times what one that is left out does.
const RARE: &str = "requests (team_id, end_user, cache_write_short, cache_write_long, audio_input, audio_output, images, \
    searches, estimated, tags, request_id, time_ms, key_id, organisation_id, environment, requested_model, provider, model, \
    status, outcome, input, cache_read, output, reasoning, cost_nano, total_us, receipt_page)";
const RARE_COLUMNS: usize = 10;

const PAGE: &str = "receipt_pages (id, organisation_id, youngest_ms, content)";

/// What is there already stays as it is. `OR FAIL`, since the whole group is given up after an error: else SQLite copies every
/// page that a statement of several rows is about to change.
fn insert(into: &str, columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    format!("INSERT OR FAIL INTO {into} VALUES {} ON CONFLICT DO NOTHING", vec![row; rows].join(", "))
}

/// Rows between two moments at which the thread lets others go first: requests may be served on the same core.
const YIELD_EVERY: usize = 64;

/// The write-ahead log is put into the database, and both are fsynced, when it has this many pages: 16 MB.
const CHECKPOINT_PAGES: u32 = 1_000;

pub(super) struct Groups(Mutex<Writing>);

struct Writing {
    statements: Statements<6>,
    pages: Pages,
    /// Kept for its room.
    order: Vec<(u128, u32)>,
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
        let statements = Statements::new(
            connection,
            [
                insert(ENTRY, ENTRY_COLUMNS, ROWS),
                insert(ENTRY, ENTRY_COLUMNS, 1),
                insert(REQUEST, REQUEST_COLUMNS, ROWS),
                insert(REQUEST, REQUEST_COLUMNS, 1),
                insert(RARE, RARE_COLUMNS + REQUEST_COLUMNS, 1),
                insert(PAGE, 4, 1),
            ],
        )?;
        Ok(Self(Mutex::new(Writing { statements, pages: Pages::default(), order: Vec::new() })))
    }

    pub fn write(&self, writer: [u8; 16], batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Writing { statements, pages, order } = &mut *writing;
        let (connection, [entries, entry_alone, requests, request_alone, rare, page]) = statements.parts();
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let mut pace = Pace(0);

        sort(order, batch.entries.iter().map(|row| &row.request_id));
        let row = |&(_, at): &(u128, u32)| entry(&writer, &batch.entries[at as usize]);
        let (chunks, rest) = order.as_chunks::<ROWS>();
        for chunk in chunks {
            pace.keep(ROWS);
            entries.run(chunk.iter().map(row))?;
        }
        for one in rest {
            pace.keep(1);
            entry_alone.run_one(row(one))?;
        }

        if !batch.requests.is_empty() {
            let newest =
                transaction.query_row("SELECT coalesce(max(id), 0) FROM receipt_pages", [], |row| row.get(0))?;
            pages.begin(newest);
            let mut new = 0;
            sort(order, batch.requests.iter().map(|row| &row.request_id));
            order.retain(|&(_, at)| !is_rare(&batch.requests[at as usize]));
            let mut row = |&(_, at): &(u128, u32)| request(&batch.requests[at as usize], pages);
            let (chunks, rest) = order.as_chunks::<ROWS>();
            for chunk in chunks {
                pace.keep(ROWS);
                new += requests.run(chunk.iter().map(&mut row))?;
            }
            for one in rest {
                pace.keep(1);
                new += request_alone.run_one(row(one))?;
            }
            for row in batch.requests.iter().filter(|row| is_rare(row)) {
                pace.keep(1);
                new += rare.run_one(rare_request(row, pages))?;
            }
            // Of a group that is written again no page is needed. Where a part of it is new, the rest stands in these pages too,
            // where nothing looks for it.
            if new > 0 {
                for Page { id, organisation, youngest_ms, content } in pages.finish() {
                    page.run_one([id.into(), organisation.into(), int(youngest_ms).into(), content.into()])?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Rows by their ids, so that each goes where the one before it went.
fn sort<'a>(order: &mut Vec<(u128, u32)>, ids: impl Iterator<Item = &'a [u8; 16]>) {
    order.clear();
    order.extend(ids.zip(0..).map(|(id, at)| (u128::from_be_bytes(*id), at)));
    // Of two rows with one id the first is written.
    order.sort_unstable();
}

/// Lets others go first every [`YIELD_EVERY`] rows.
struct Pace(usize);

impl Pace {
    fn keep(&mut self, rows: usize) {
        self.0 += rows;
        if self.0 >= YIELD_EVERY {
            self.0 = 0;
            std::thread::yield_now();
        }
    }
}

fn entry<'v>(writer: &'v [u8; 16], row: &'v EntryRow<'_>) -> [Value<'v>; ENTRY_COLUMNS] {
    [
        (&row.request_id).into(),
        i64::from(row.attempt).into(),
        0.into(),
        row.kind.as_str().into(),
        (&row.key_id).into(),
        (&row.organisation).into(),
        row.provider.into(),
        row.model.into(),
        int(row.reserved_nano).into(),
        int(row.amount_nano).into(),
        int(row.input_nano).into(),
        int(row.output_nano).into(),
        row.reason.into(),
        int(row.reserved_ms).into(),
        int(row.ended_ms).into(),
        writer.into(),
    ]
}

/// The receipt goes into its page.
fn request<'v>(row: &'v RequestRow<'_>, pages: &mut Pages) -> [Value<'v>; REQUEST_COLUMNS] {
    let [input, cache_read, _, _, output, reasoning, ..] = row.usage;
    [
        (&row.request_id).into(),
        int(row.time_ms).into(),
        (&row.key_id).into(),
        (&row.organisation).into(),
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
        row.receipt.map(|receipt| pages.put(row, receipt)).into(),
    ]
}

fn rare_counts(row: &RequestRow<'_>) -> [u64; 7] {
    let [_, _, write_short, write_long, _, _, audio_input, audio_output, images, searches] = row.usage;
    [write_short, write_long, audio_input, audio_output, images, searches, u64::from(row.estimated)]
}

fn is_rare(row: &RequestRow<'_>) -> bool {
    row.team.is_some() || row.end_user.is_some() || row.tags.is_some() || rare_counts(row) != [0; 7]
}

fn rare_request<'v>(row: &'v RequestRow<'_>, pages: &mut Pages) -> [Value<'v>; RARE_COLUMNS + REQUEST_COLUMNS] {
    let [write_short, write_long, audio_input, audio_output, images, searches, estimated] =
        rare_counts(row).map(|count| Value::from(int(count)));
    let rare: [Value<'v>; RARE_COLUMNS] = [
        row.team.as_ref().into(),
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
    let mut values = rare.into_iter().chain(request(row, pages));
    std::array::from_fn(|_| values.next().expect("as many as both have"))
}

impl LedgerBackend for Sqlite {
    fn write<'a>(&'a self, writer: [u8; 16], batch: &'a Batch<'a>) -> Answer<'a, ()> {
        Box::pin(async move { self.groups.write(writer, batch) })
    }

    fn receipt(&self, id: RequestId, scope: ReceiptScope) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(receipt(&self.readers, id, scope))
    }
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
