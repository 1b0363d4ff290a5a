//! The ledger's groups in SQLite, one transaction each, on a connection of their own; and receipts read back.
//!
//! A group is some thousands of rows of two tables. Through sqlx each bound value is an allocation and each statement a
//! hand-over between threads: 17 µs of CPU a request. Here they are bound where they stand in the journal ([`super::prepared`]).
//!
//! Each group goes on in its writer's chain ([`crate::chain`]), so only rows that are new may be given a place in it. They nearly always all
//! are: a group is first written as if, and where a row turns out to be there already it is begun again without such rows.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use portcullis_core::RequestId;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use sqlx::sqlite::SqlitePool;

use super::codec::int;
use super::counts;
use super::pages::{self, Page, Pages};
use super::prepared::{Statements, Value};
use super::{BUSY, Sqlite};
use crate::backend::{Answer, LedgerBackend};
use crate::budgets::Counts;
use crate::chain::{AsIs, Hash, Head, Known, Linker, Records};
use crate::error::StoreError;
use crate::rows::{Batch, EntryRow, RequestRow};
use crate::store::{ReceiptScope, Synchronous};

/// Rows in one statement: beginning and ending one costs a third of what a row does.
const ROWS: usize = 16;

const ENTRY: &str = "ledger_entries (request_id, attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, \
    amount_nano, input_nano, output_nano, reason, reserved_ms, ended_ms, writer, seq, hash)";
const ENTRY_COLUMNS: usize = 18;

/// What most requests have.
const REQUEST: &str = "requests (request_id, time_ms, key_id, organisation_id, environment, requested_model, provider, model, \
    status, outcome, input, cache_read, output, reasoning, cost_nano, total_us, receipt_page, salt)";
const REQUEST_COLUMNS: usize = 18;

/// And what few have: a value that is bound costs three times what one that is left out does.
const RARE: &str = "requests (team_id, end_user, cache_write_short, cache_write_long, audio_input, audio_output, images, \
    searches, estimated, tags, reason, policy, correlation, request_id, time_ms, key_id, organisation_id, environment, requested_model, provider, model, \
    status, outcome, input, cache_read, output, reasoning, cost_nano, total_us, receipt_page, salt)";
const RARE_COLUMNS: usize = 13;

const PAGE: &str = "receipt_pages (id, organisation_id, youngest_ms, content, salt)";
const PAGE_COLUMNS: usize = 5;

const SEAL: &str = "record_seals (id, writer, seq, last_page, content, hash)";
const SEAL_COLUMNS: usize = 6;

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
    statements: Statements<7>,
    pages: Pages,
    links: Linker,
    records: Records,
    heads: Known,
    /// Kept for their room.
    order: Vec<(u128, u32)>,
    kept: Vec<Kept>,
}

/// Where a request's receipt stands, and its salt.
#[derive(Clone, Copy, Default)]
struct Kept {
    page: Option<i64>,
    salt: [u8; 16],
}

/// Of a group that was begun.
enum Written {
    All,
    /// Not all of it was new.
    Again,
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
                insert(PAGE, PAGE_COLUMNS, 1),
                insert(SEAL, SEAL_COLUMNS, 1),
            ],
        )?;
        Ok(Self(Mutex::new(Writing {
            statements,
            pages: Pages::default(),
            links: Linker::at(Head::start(&[0; 16])),
            records: Records::default(),
            heads: Known::default(),
            order: Vec::new(),
            kept: Vec::new(),
        })))
    }

    pub fn write(&self, writer: [u8; 16], batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for sift in [false, true] {
            if let Written::All = writing.write(&writer, batch, sift)? {
                return Ok(());
            }
        }
        // Under the write lock what is not there is new.
        Err(StoreError::Corrupt { what: "number of rows that were new" })
    }
}

impl Writing {
    /// Writes a group: all of it, as if it was new, or with `sift` what of it is.
    fn write(&mut self, writer: &[u8; 16], batch: &Batch<'_>, sift: bool) -> Result<Written, StoreError> {
        let Self { statements, pages, links, records, heads, order, kept } = self;
        let (connection, [entries, entry_alone, requests, request_alone, rare, page, seal]) = statements.parts();
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        links.head = heads.head(writer, head(&transaction, writer)?);
        let mut pace = Pace(0);
        let mut counts = Counts::new();

        sort(order, batch.entries.iter().map(|row| &row.request_id));
        if sift {
            new_entries(&transaction, batch, order)?;
        }
        let mut chained = [(0, [0; 32]); ROWS];
        let mut new = 0;
        let expected = order.len();
        let (chunks, rest) = order.as_chunks::<ROWS>();
        for chunk in chunks {
            pace.keep(ROWS);
            for (&(_, at), place) in chunk.iter().zip(&mut chained) {
                let Head { seq, hash } = links.entry::<AsIs>(writer, &batch.entries[at as usize]);
                *place = (seq, hash);
            }
            new += entries.run(
                chunk.iter().zip(&chained).map(|(&(_, at), place)| entry(writer, &batch.entries[at as usize], place)),
            )?;
        }
        for &(_, at) in rest {
            pace.keep(1);
            let row = &batch.entries[at as usize];
            let Head { seq, hash } = links.entry::<AsIs>(writer, row);
            new += entry_alone.run_one(entry(writer, row, &(seq, hash)))?;
        }
        if new != expected as u64 {
            return Ok(Written::Again);
        }
        // All that was offered here is new.
        order.iter().for_each(|&(_, at)| counts.add(&batch.entries[at as usize]));
        counts::write(&counts, &transaction, batch.epoch)?;

        sort(order, batch.requests.iter().map(|row| &row.request_id));
        if sift {
            new_requests(&transaction, batch, order)?;
        }
        if !order.is_empty() {
            let (id, newest): (i64, i64) = transaction.query_row(
                "SELECT coalesce(max(id), 0) + 1, max(coalesce((SELECT last_page FROM record_seals ORDER BY id DESC LIMIT 1), 0), \
                 (SELECT coalesce(max(id), 0) FROM receipt_pages)) FROM record_seals",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            pages.begin(newest);
            records.begin();
            kept.clear();
            kept.resize(batch.requests.len(), Kept::default());
            let mut rng = rand::rng();
            for &(_, at) in order.iter() {
                let row = &batch.requests[at as usize];
                let page = row.receipt.map(|receipt| pages.put(row, receipt));
                kept[at as usize] = Kept { page, salt: records.request::<AsIs>(row, page, &mut rng) };
            }
            let expected = order.len();
            let mut new = 0;
            for &(_, at) in order.iter() {
                let row = &batch.requests[at as usize];
                if is_rare(row) {
                    pace.keep(1);
                    new += rare.run_one(rare_request(row, &kept[at as usize]))?;
                }
            }
            order.retain(|&(_, at)| !is_rare(&batch.requests[at as usize]));
            let row = |&(_, at): &(u128, u32)| request(&batch.requests[at as usize], &kept[at as usize]);
            let (chunks, rest) = order.as_chunks::<ROWS>();
            for chunk in chunks {
                pace.keep(ROWS);
                new += requests.run(chunk.iter().map(row))?;
            }
            for one in rest {
                pace.keep(1);
                new += request_alone.run_one(row(one))?;
            }
            if new != expected as u64 {
                return Ok(Written::Again);
            }
            for Page { id, organisation, youngest_ms, content } in pages.finish() {
                let salt = records.page(id, organisation, int(youngest_ms), content, &mut rng);
                page.run_one([
                    id.into(),
                    organisation.into(),
                    int(youngest_ms).into(),
                    content.into(),
                    (&salt).into(),
                ])?;
            }
            let content = records.content();
            let Head { seq, hash } = links.seal(id, pages.newest(), content);
            seal.run_one([
                id.into(),
                writer.into(),
                seq.into(),
                pages.newest().into(),
                content.into(),
                (&hash).into(),
            ])?;
        }
        transaction
            .prepare(
                "INSERT INTO chains (chain, seq, hash) VALUES (?, ?, ?) ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, \
                 hash = excluded.hash",
            )?
            .execute(params![writer, links.head.seq, links.head.hash])?;
        heads.doubt(writer);
        transaction.commit()?;
        heads.committed(*writer, links.head);
        Ok(Written::All)
    }
}

/// How far the writer's chain goes by the database.
fn head(transaction: &Transaction<'_>, writer: &[u8; 16]) -> Result<Option<Head>, StoreError> {
    let head = transaction
        .prepare("SELECT seq, hash FROM chains WHERE chain = ?")?
        .query_row([writer], |row| Ok(Head { seq: row.get(0)?, hash: row.get(1)? }))
        .optional()?;
    Ok(head)
}

/// Leaves in `order` the entries that are not there yet, each once.
fn new_entries(
    transaction: &Transaction<'_>,
    batch: &Batch<'_>,
    order: &mut Vec<(u128, u32)>,
) -> Result<(), StoreError> {
    let mut stored =
        transaction.prepare("SELECT 1 FROM ledger_entries WHERE request_id = ? AND attempt = ? AND step = 0")?;
    let mut seen = std::collections::HashSet::new();
    let mut new = Vec::with_capacity(order.len());
    for &(id, at) in order.iter() {
        let row = &batch.entries[at as usize];
        if seen.insert((id, row.attempt)) && !stored.exists(params![row.request_id, row.attempt])? {
            new.push((id, at));
        }
    }
    *order = new;
    Ok(())
}

/// Leaves in `order` the requests that are not there yet, each once.
fn new_requests(
    transaction: &Transaction<'_>,
    batch: &Batch<'_>,
    order: &mut Vec<(u128, u32)>,
) -> Result<(), StoreError> {
    let mut stored = transaction.prepare("SELECT 1 FROM requests WHERE request_id = ?")?;
    let mut new = Vec::with_capacity(order.len());
    order.dedup_by_key(|&mut (id, _)| id);
    for &(id, at) in order.iter() {
        if !stored.exists([batch.requests[at as usize].request_id])? {
            new.push((id, at));
        }
    }
    *order = new;
    Ok(())
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

fn entry<'v>(writer: &'v [u8; 16], row: &'v EntryRow<'_>, (seq, hash): &'v (i64, Hash)) -> [Value<'v>; ENTRY_COLUMNS] {
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
        (*seq).into(),
        hash.into(),
    ]
}

fn request<'v>(row: &'v RequestRow<'_>, kept: &'v Kept) -> [Value<'v>; REQUEST_COLUMNS] {
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
        kept.page.into(),
        (&kept.salt).into(),
    ]
}

fn rare_counts(row: &RequestRow<'_>) -> [u64; 7] {
    let [_, _, write_short, write_long, _, _, audio_input, audio_output, images, searches] = row.usage;
    [write_short, write_long, audio_input, audio_output, images, searches, u64::from(row.estimated)]
}

fn is_rare(row: &RequestRow<'_>) -> bool {
    let texts = [row.end_user, row.tags, row.reason, row.policy, row.correlation];
    row.team.is_some() || texts.iter().any(Option::is_some) || rare_counts(row) != [0; 7]
}

fn rare_request<'v>(row: &'v RequestRow<'_>, kept: &'v Kept) -> [Value<'v>; RARE_COLUMNS + REQUEST_COLUMNS] {
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
        row.reason.into(),
        row.policy.into(),
        row.correlation.into(),
    ];
    let mut values = rare.into_iter().chain(request(row, kept));
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
