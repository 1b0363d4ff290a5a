//! The ledger's groups in PostgreSQL, one transaction each and one statement a table, on a connection of their own; and receipts
//! read back.
//!
//! Whether a group was written is in doubt when the connection breaks at its commit. It is then written again, and what is
//! there stays as it is.

use std::time::Duration;

use portcullis_core::RequestId;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr, SqlStr};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{CALL, Postgres, connect, within};
use crate::backend::{Answer, LedgerBackend};
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
const ENTRY: [(&str, &str); 14] = [
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
];

const REQUEST: [(&str, &str); 26] = [
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

/// Requests and the pages of their receipts. Pages are numbered within their group here, and get their ids in the database; only
/// those are written that a new row names.
fn requests_sql() -> String {
    const PAGE: [(&str, &str); 4] =
        [("number", "bigint"), ("organisation_id", "uuid"), ("youngest_ms", "bigint"), ("content", "bytea")];
    let columns = names(&REQUEST, "");
    let numbered = [&REQUEST[..], &[("page_number", "bigint")]].concat();
    format!(
        "WITH page AS MATERIALIZED (SELECT given.*, nextval(pg_get_serial_sequence('receipt_pages', 'id')) AS id \
         FROM {pages} AS given ({page_columns})), \
         new AS (INSERT INTO requests ({columns}, receipt_page) SELECT {of_given}, page.id FROM {rows} AS given ({all}) \
         LEFT JOIN page ON page.number = given.page_number ON CONFLICT DO NOTHING RETURNING receipt_page) \
         INSERT INTO receipt_pages (id, organisation_id, youngest_ms, content) \
         SELECT id, organisation_id, youngest_ms, content FROM page WHERE id IN (SELECT receipt_page FROM new)",
        pages = rows(&PAGE, numbered.len() + 1),
        page_columns = names(&PAGE, ""),
        of_given = names(&REQUEST, "given."),
        rows = rows(&numbered, 1),
        all = names(&numbered, ""),
    )
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
    pages: Pages,
}

impl Groups {
    pub fn new(options: PgConnectOptions) -> Self {
        let writing = Writing { connection: None, patience: PATIENCE, pages: Pages::default() };
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
        let Writing { connection, patience, pages } = &mut *self.writing.lock().await;
        // One that fails is not put back: dropped it is closed, and the server undoes what was not committed.
        let mut current = match connection.take() {
            Some(current) => current,
            None => connect(&self.options).await?,
        };
        match within(*patience, self.group(&mut current, writer, batch, pages)).await {
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

    async fn group(
        &self,
        connection: &mut PgConnection,
        writer: [u8; 16],
        batch: &Batch<'_>,
        pages: &mut Pages,
    ) -> Result<(), StoreError> {
        let mut transaction = connection.begin().await?;
        if !batch.entries.is_empty() {
            entries(&self.entries, writer, &batch.entries).execute(&mut *transaction).await?;
        }
        if !batch.requests.is_empty() {
            pages.begin(0);
            requests(&self.requests, &batch.requests, pages).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Rows by their ids, so that two processes that write the same ones wait for each other in one order.
fn sorted<'b, T>(rows: &'b [T], id: impl Fn(&T) -> [u8; 16]) -> Vec<&'b T> {
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

fn entries<'q>(sql: &SqlStr, writer: [u8; 16], rows: &[EntryRow<'_>]) -> Query<'q> {
    let rows = sorted(rows, |row| row.request_id);
    sqlx::query(sql.clone())
        .bind(column(&rows, |row| uuid(&row.request_id)))
        .bind(column(&rows, |row| i64::from(row.attempt)))
        .bind(column(&rows, |row| row.kind.as_str()))
        .bind(column(&rows, |row| uuid(&row.key_id)))
        .bind(column(&rows, |row| uuid(&row.organisation)))
        .bind(column(&rows, |row| text(row.provider)))
        .bind(column(&rows, |row| text(row.model)))
        .bind(column(&rows, |row| int(row.reserved_nano)))
        .bind(column(&rows, |row| int(row.amount_nano)))
        .bind(column(&rows, |row| int(row.input_nano)))
        .bind(column(&rows, |row| int(row.output_nano)))
        .bind(column(&rows, |row| text(row.reason)))
        .bind(column(&rows, |row| int(row.reserved_ms)))
        .bind(column(&rows, |row| int(row.ended_ms)))
        .bind(Uuid::from_bytes(writer))
}

fn requests<'q>(sql: &SqlStr, rows: &[RequestRow<'_>], pages: &mut Pages) -> Query<'q> {
    let rows = sorted(rows, |row| row.request_id);
    let placed: Vec<Option<i64>> = rows.iter().map(|row| row.receipt.map(|receipt| pages.put(row, receipt))).collect();
    let mut query = sqlx::query(sql.clone())
        .bind(column(&rows, |row| uuid(&row.request_id)))
        .bind(column(&rows, |row| int(row.time_ms)))
        .bind(column(&rows, |row| uuid(&row.key_id)))
        .bind(column(&rows, |row| uuid(&row.organisation)))
        .bind(column(&rows, |row| row.team.as_ref().map(uuid)))
        .bind(column(&rows, |row| row.environment))
        .bind(column(&rows, |row| row.end_user.map(text)))
        .bind(column(&rows, |row| text(row.requested_model)))
        .bind(column(&rows, |row| row.provider.map(text)))
        .bind(column(&rows, |row| row.model.map(text)))
        .bind(column(&rows, |row| i32::from(row.status)))
        .bind(column(&rows, |row| text(row.outcome)));
    for count in 0..10 {
        query = query.bind(column(&rows, |row| int(row.usage[count])));
    }
    query = query
        .bind(column(&rows, |row| row.estimated))
        .bind(column(&rows, |row| row.cost_nano.map(int)))
        .bind(column(&rows, |row| int(row.total_us)))
        .bind(column(&rows, |row| row.tags.map(json)))
        .bind(placed);
    let pages: Vec<Page<'_>> = pages.finish().collect();
    query
        .bind(pages.iter().map(|page| page.id).collect::<Vec<_>>())
        .bind(pages.iter().map(|page| uuid(page.organisation)).collect::<Vec<_>>())
        .bind(pages.iter().map(|page| int(page.youngest_ms)).collect::<Vec<_>>())
        .bind(pages.iter().map(|page| page.content).collect::<Vec<_>>())
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
