//! The ledger's groups in PostgreSQL, one transaction each and one statement a table, on a connection of their own; and receipts
//! read back.
//!
//! Whether a group was written is in doubt when the connection breaks at its commit. It is then written again, and what is
//! there stays as it is.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use portcullis_core::RequestId;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr, SqlStr};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{CALL, Postgres, chain, connect, counts, within};
use crate::backend::{Answer, LedgerBackend};
use crate::budgets::Counts;
use crate::chain::{Head, Known, Linker, Records, Texts};
use crate::codec::{int, json, text};
use crate::error::StoreError;
use crate::pages::{self, Page, Pages};
use crate::rows::{Batch, EntryRow, RequestRow};
use crate::store::ReceiptScope;

/// How long a group may take, at first. A server too slow for that is given twice as long, and so on: it would else never come to
/// an end of the same group.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_MOST: Duration = Duration::from_secs(160);

/// Columns that are bound as arrays, in their order.
const ENTRY: [(&str, &str); 16] = [
    ("request_id", "uuid"),
    ("attempt", "bigint"),
    ("kind", "text"),
    ("key_id", "uuid"),
    ("organisation_id", "uuid"),
    ("provider", "text"),
    ("model", "text"),
    ("reserved_nano", "bigint"),
    ("amount_nano", "bigint"),
    ("input_nano", "bigint"),
    ("output_nano", "bigint"),
    ("reason", "text"),
    ("reserved_ms", "bigint"),
    ("ended_ms", "bigint"),
    ("seq", "bigint"),
    ("hash", "bytea"),
];

const REQUEST: [(&str, &str); 31] = [
    ("request_id", "uuid"),
    ("time_ms", "bigint"),
    ("key_id", "uuid"),
    ("organisation_id", "uuid"),
    ("team_id", "uuid"),
    ("environment", "text"),
    ("end_user", "text"),
    ("requested_model", "text"),
    ("provider", "text"),
    ("model", "text"),
    ("status", "integer"),
    ("outcome", "text"),
    ("input", "bigint"),
    ("cache_read", "bigint"),
    ("cache_write_short", "bigint"),
    ("cache_write_long", "bigint"),
    ("output", "bigint"),
    ("reasoning", "bigint"),
    ("audio_input", "bigint"),
    ("audio_output", "bigint"),
    ("images", "bigint"),
    ("searches", "bigint"),
    ("estimated", "boolean"),
    ("cost_nano", "bigint"),
    ("total_us", "bigint"),
    ("tags", "text"),
    ("receipt_page", "bigint"),
    ("salt", "bytea"),
    ("reason", "text"),
    ("policy", "text"),
    ("correlation", "text"),
];

fn names(columns: &[(&str, &str)], of: &str) -> String {
    columns.iter().map(|(name, _)| format!("{of}{name}")).collect::<Vec<_>>().join(", ")
}

/// Arrays as rows, the first of them bound at `first`.
fn rows(columns: &[(&str, &str)], first: usize) -> String {
    let arrays = (first..).zip(columns).map(|(place, (_, kind))| format!("${place}::{kind}[]"));
    format!("unnest({})", arrays.collect::<Vec<_>>().join(", "))
}

fn entries_sql() -> String {
    let columns = names(&ENTRY, "");
    format!(
        "INSERT INTO ledger_entries ({columns}, step, writer) SELECT {columns}, 0, ${writer}::uuid FROM {rows} AS given ({columns}) \
         ON CONFLICT DO NOTHING",
        rows = rows(&ENTRY, 1),
        writer = ENTRY.len() + 1,
    )
}

fn requests_sql() -> String {
    let columns = names(&REQUEST, "");
    let rows = rows(&REQUEST, 1);
    format!("INSERT INTO requests ({columns}) SELECT {columns} FROM {rows} AS given ({columns}) ON CONFLICT DO NOTHING")
}

const PAGES: &str = "INSERT INTO receipt_pages (id, organisation_id, youngest_ms, content, salt) \
    SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bytea[], $5::bytea[])";

const SEAL: &str =
    "INSERT INTO record_seals (id, writer, seq, last_page, content, hash) VALUES ($1, $2, $3, $4, $5, $6)";

/// Numbers for a seal, and for as many pages; each is given once, also where its group is not written.
const NUMBERS: &str = "SELECT nextval(pg_get_serial_sequence('record_seals', 'id')), \
    ARRAY(SELECT nextval(pg_get_serial_sequence('receipt_pages', 'id')) FROM generate_series(1, $1))";

/// As PostgreSQL keeps texts.
enum Kept {}

impl Texts for Kept {
    fn text(value: &str) -> Cow<'_, str> {
        text(value)
    }

    fn json(value: &str) -> Cow<'_, str> {
        json(value)
    }
}

pub(super) struct Groups {
    options: PgConnectOptions,
    entries: SqlStr,
    requests: SqlStr,
    writing: Mutex<Writing>,
}

struct Writing {
    connection: Option<PgConnection>,
    patience: Duration,
    work: Work,
}

/// What a group is made with. Its room is used again.
#[derive(Default)]
struct Work {
    pages: Pages,
    records: Records,
    heads: Known,
}

impl Groups {
    pub fn new(options: PgConnectOptions) -> Self {
        let writing = Writing { connection: None, patience: PATIENCE, work: Work::default() };
        // Made of the constants above alone.
        let constant = |sql: String| AssertSqlSafe(sql).into_sql_str();
        Self {
            options,
            entries: constant(entries_sql()),
            requests: constant(requests_sql()),
            writing: Mutex::new(writing),
        }
    }

    async fn write(&self, writer: [u8; 16], batch: &Batch<'_>) -> Result<(), StoreError> {
        let Writing { connection, patience, work } = &mut *self.writing.lock().await;
        // One that fails is not put back: dropped it is closed, and the server undoes what was not committed.
        let mut current = match connection.take() {
            Some(current) => current,
            None => connect(&self.options).await?,
        };
        match within(*patience, self.group(&mut current, writer, batch, work)).await {
            Ok(()) => {
                *connection = Some(current);
                *patience = PATIENCE;
                Ok(())
            }
            Err(error) => {
                if matches!(error, StoreError::Silent(_)) {
                    *patience = (*patience * 2).min(PATIENCE_MOST);
                }
                Err(error)
            }
        }
    }

    /// First as if all of it was new, as it nearly always is.
    async fn group(
        &self,
        connection: &mut PgConnection,
        writer: [u8; 16],
        batch: &Batch<'_>,
        work: &mut Work,
    ) -> Result<(), StoreError> {
        // Another process may write the same rows meanwhile, where two find one journal.
        for sift in [false, true, true, true] {
            if self.begun(connection, writer, batch, work, sift).await? {
                return Ok(());
            }
        }
        Err(StoreError::Contended { what: "group of entries" })
    }

    /// Writes a group, or of it what is not there yet. False where a row turned out to be there: nothing is written.
    async fn begun(
        &self,
        connection: &mut PgConnection,
        writer: [u8; 16],
        batch: &Batch<'_>,
        Work { pages, records, heads }: &mut Work,
        sift: bool,
    ) -> Result<bool, StoreError> {
        let mut transaction = connection.begin().await?;
        let stored = chain::head(&mut transaction, &writer).await?;
        let mut linker = Linker::at(heads.head(&writer, stored));
        let mut new = sorted(&batch.entries, |row| row.request_id);
        if sift {
            new = new_entries(&mut transaction, new).await?;
        }
        if !new.is_empty() {
            let links: Vec<Head> = new.iter().map(|row| linker.entry::<Kept>(&writer, row)).collect();
            let written = entries(&self.entries, writer, &new, &links).execute(&mut *transaction).await?;
            if written.rows_affected() != new.len() as u64 {
                transaction.rollback().await?;
                return Ok(false);
            }
            let mut counted = Counts::new();
            new.iter().for_each(|row| counted.add(row));
            counts::write(&mut transaction, &counted, batch.epoch).await?;
        }
        let mut new = sorted(&batch.requests, |row| row.request_id);
        if sift {
            new = new_requests(&mut transaction, new).await?;
        }
        if !new.is_empty() {
            pages.begin(0);
            let placed: Vec<Option<i64>> =
                new.iter().map(|row| row.receipt.map(|receipt| pages.put(row, receipt))).collect();
            let pages: Vec<Page<'_>> = pages.finish().collect();
            // Pages are numbered within their group, from 1, and get their numbers in the database here.
            let (id, numbers): (i64, Vec<i64>) =
                sqlx::query_as(NUMBERS).bind(int(pages.len() as u64)).fetch_one(&mut *transaction).await?;
            let number = |page: i64| {
                let at = usize::try_from(page - 1).expect("pages are numbered from 1");
                *numbers.get(at).expect("as many numbers as pages")
            };
            records.begin();
            let placed: Vec<Option<i64>> = placed.into_iter().map(|page| page.map(number)).collect();
            let salts: Vec<[u8; 16]> = new
                .iter()
                .zip(&placed)
                .map(|(row, page)| records.request::<Kept>(row, *page, &mut rand::rng()))
                .collect();
            let written = requests(&self.requests, &new, placed, &salts).execute(&mut *transaction).await?;
            if written.rows_affected() != new.len() as u64 {
                transaction.rollback().await?;
                return Ok(false);
            }
            let salts: Vec<[u8; 16]> = pages
                .iter()
                .map(|page| {
                    records.page(
                        number(page.id),
                        page.organisation,
                        int(page.youngest_ms),
                        page.content,
                        &mut rand::rng(),
                    )
                })
                .collect();
            sqlx::query(PAGES)
                .bind(pages.iter().map(|page| number(page.id)).collect::<Vec<_>>())
                .bind(pages.iter().map(|page| uuid(page.organisation)).collect::<Vec<_>>())
                .bind(pages.iter().map(|page| int(page.youngest_ms)).collect::<Vec<_>>())
                .bind(pages.iter().map(|page| page.content).collect::<Vec<_>>())
                .bind(salts.iter().map(|salt| &salt[..]).collect::<Vec<_>>())
                .execute(&mut *transaction)
                .await?;
            let last_page = numbers.iter().copied().max().unwrap_or(0);
            let content = records.content();
            let Head { seq, hash } = linker.seal(id, last_page, content);
            sqlx::query(SEAL)
                .bind(id)
                .bind(Uuid::from_bytes(writer))
                .bind(seq)
                .bind(last_page)
                .bind(content)
                .bind(&hash[..])
                .execute(&mut *transaction)
                .await?;
        }
        if Some(linker.head) != stored {
            chain::set_head(&mut transaction, &writer, linker.head).await?;
        }
        heads.doubt(&writer);
        transaction.commit().await?;
        heads.committed(writer, linker.head);
        Ok(true)
    }
}

/// Those that are not there yet, each once.
async fn new_entries<'b, 'r>(
    connection: &mut PgConnection,
    mut rows: Vec<&'b EntryRow<'r>>,
) -> Result<Vec<&'b EntryRow<'r>>, StoreError> {
    let there: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT request_id, attempt FROM ledger_entries JOIN unnest($1::uuid[], $2::bigint[]) AS given (request_id, attempt) \
         USING (request_id, attempt) WHERE step = 0",
    )
    .bind(column(&rows, |row| uuid(&row.request_id)))
    .bind(column(&rows, |row| i64::from(row.attempt)))
    .fetch_all(connection)
    .await?;
    let mut seen: HashSet<(Uuid, i64)> = there.into_iter().collect();
    rows.retain(|row| seen.insert((uuid(&row.request_id), i64::from(row.attempt))));
    Ok(rows)
}

/// Those that are not there yet, each once.
async fn new_requests<'b, 'r>(
    connection: &mut PgConnection,
    mut rows: Vec<&'b RequestRow<'r>>,
) -> Result<Vec<&'b RequestRow<'r>>, StoreError> {
    let there: Vec<Uuid> = sqlx::query_scalar("SELECT request_id FROM requests WHERE request_id = ANY($1)")
        .bind(column(&rows, |row| uuid(&row.request_id)))
        .fetch_all(connection)
        .await?;
    let mut seen: HashSet<Uuid> = there.into_iter().collect();
    rows.retain(|row| seen.insert(uuid(&row.request_id)));
    Ok(rows)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Rows by their ids, so that two processes that write the same ones wait for each other in one order.
fn sorted<T>(rows: &[T], id: impl Fn(&T) -> [u8; 16]) -> Vec<&T> {
    let mut sorted: Vec<&T> = rows.iter().collect();
    sorted.sort_by_key(|row| id(row));
    sorted
}

/// One column of all rows.
fn column<'r, T, V>(rows: &[&'r T], value: impl Fn(&'r T) -> V) -> Vec<V> {
    rows.iter().map(|row| value(row)).collect()
}

fn uuid(bytes: &[u8; 16]) -> Uuid {
    Uuid::from_bytes(*bytes)
}

fn entries<'q>(sql: &SqlStr, writer: [u8; 16], rows: &[&EntryRow<'_>], links: &[Head]) -> Query<'q> {
    sqlx::query(sql.clone())
        .bind(column(rows, |row| uuid(&row.request_id)))
        .bind(column(rows, |row| i64::from(row.attempt)))
        .bind(column(rows, |row| row.kind.as_str()))
        .bind(column(rows, |row| uuid(&row.key_id)))
        .bind(column(rows, |row| uuid(&row.organisation)))
        .bind(column(rows, |row| text(row.provider)))
        .bind(column(rows, |row| text(row.model)))
        .bind(column(rows, |row| int(row.reserved_nano)))
        .bind(column(rows, |row| int(row.amount_nano)))
        .bind(column(rows, |row| int(row.input_nano)))
        .bind(column(rows, |row| int(row.output_nano)))
        .bind(column(rows, |row| text(row.reason)))
        .bind(column(rows, |row| int(row.reserved_ms)))
        .bind(column(rows, |row| int(row.ended_ms)))
        .bind(links.iter().map(|link| link.seq).collect::<Vec<_>>())
        .bind(links.iter().map(|link| link.hash.to_vec()).collect::<Vec<_>>())
        .bind(Uuid::from_bytes(writer))
}

fn requests<'q>(sql: &SqlStr, rows: &[&RequestRow<'_>], placed: Vec<Option<i64>>, salts: &[[u8; 16]]) -> Query<'q> {
    let mut query = sqlx::query(sql.clone())
        .bind(column(rows, |row| uuid(&row.request_id)))
        .bind(column(rows, |row| int(row.time_ms)))
        .bind(column(rows, |row| uuid(&row.key_id)))
        .bind(column(rows, |row| uuid(&row.organisation)))
        .bind(column(rows, |row| row.team.as_ref().map(uuid)))
        .bind(column(rows, |row| row.environment))
        .bind(column(rows, |row| row.end_user.map(text)))
        .bind(column(rows, |row| text(row.requested_model)))
        .bind(column(rows, |row| row.provider.map(text)))
        .bind(column(rows, |row| row.model.map(text)))
        .bind(column(rows, |row| i32::from(row.status)))
        .bind(column(rows, |row| text(row.outcome)));
    for count in 0..10 {
        query = query.bind(column(rows, |row| int(row.usage[count])));
    }
    query
        .bind(column(rows, |row| row.estimated))
        .bind(column(rows, |row| row.cost_nano.map(int)))
        .bind(column(rows, |row| int(row.total_us)))
        .bind(column(rows, |row| row.tags.map(json)))
        .bind(placed)
        .bind(salts.iter().map(|salt| salt.to_vec()).collect::<Vec<_>>())
        .bind(column(rows, |row| row.reason.map(text)))
        .bind(column(rows, |row| row.policy.map(text)))
        .bind(column(rows, |row| row.correlation.map(text)))
}

impl LedgerBackend for Postgres {
    fn write<'a>(&'a self, writer: [u8; 16], batch: &'a Batch<'a>) -> Answer<'a, ()> {
        Box::pin(self.groups.write(writer, batch))
    }

    fn receipt(&self, id: RequestId, scope: ReceiptScope) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(within(CALL, async move {
            // The page's organisation is the row's, or it is not the page that the row meant.
            macro_rules! select {
                ($owner:literal) => {
                    concat!(
                        "SELECT content FROM requests JOIN receipt_pages ON receipt_pages.id = receipt_page \
                         AND receipt_pages.organisation_id = requests.organisation_id WHERE request_id = $1 AND ",
                        $owner
                    )
                };
            }
            let (sql, owner) = match &scope {
                ReceiptScope::Key(key) => (select!("key_id = $2"), key.as_bytes()),
                ReceiptScope::Organisation(organisation) => {
                    (select!("requests.organisation_id = $2"), organisation.as_bytes())
                }
            };
            let mut session = self.session().await?;
            let query = sqlx::query_scalar(sql).bind(uuid(id.as_bytes())).bind(uuid(owner));
            let content: Option<Vec<u8>> = query.fetch_optional(&mut *session).await?;
            session.done();
            content.map_or(Ok(None), |content| pages::find(&content, id.as_bytes()))
        }))
    }
}
