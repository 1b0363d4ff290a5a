//! Entries, usage rows and receipts in SQLite: multi-row statements, one transaction a group.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use portcullis_core::RequestId;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqlitePool};
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};

use super::begin;
use super::codec::int;
use crate::error::StoreError;
use crate::rows::{Batch, EntryRow, RequestRow};
use crate::store::ReceiptScope;

/// Rows per statement, largest first: any number is a few statements, each of them prepared once. Every statement is a hand-over
/// between threads, so few matter; 128 rows of the widest table stay well below SQLite's 32 766 parameters.
const SIZES: [usize; 8] = [128, 64, 32, 16, 8, 4, 2, 1];

/// An insert that leaves what is there, for each size.
struct Insert([Arc<str>; SIZES.len()]);

impl Insert {
    fn new(table: &str, columns: &[&str]) -> Self {
        let row = format!("({})", vec!["?"; columns.len()].join(","));
        Self(SIZES.map(|rows| {
            let mut sql = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
            for number in 0..rows {
                let comma = if number == 0 { "" } else { "," };
                write!(sql, "{comma}{row}").expect("a string takes anything");
            }
            sql.push_str(" ON CONFLICT DO NOTHING");
            sql.into()
        }))
    }

    async fn run<T>(
        &self,
        connection: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl for<'q> Fn(SqlQuery<'q>, &T) -> SqlQuery<'q>,
    ) -> Result<(), StoreError> {
        for (size, sql) in SIZES.into_iter().zip(&self.0) {
            while rows.len() >= size {
                let (now, later) = rows.split_at(size);
                let query = sqlx::query(AssertSqlSafe(sql.clone()));
                now.iter().fold(query, &bind).execute(&mut *connection).await?;
                rows = later;
            }
        }
        Ok(())
    }
}

type SqlQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

static ENTRIES: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "ledger_entries",
        &[
            "request_id",
            "attempt",
            "step",
            "kind",
            "key_id",
            "organisation_id",
            "provider",
            "model",
            "reserved_nano",
            "amount_nano",
            "input_nano",
            "output_nano",
            "reason",
            "reserved_ms",
            "ended_ms",
            "writer",
        ],
    )
});

static REQUESTS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "requests",
        &[
            "request_id",
            "time_ms",
            "key_id",
            "organisation_id",
            "team_id",
            "environment",
            "end_user",
            "operation",
            "dialect",
            "requested_model",
            "provider",
            "model",
            "status",
            "outcome",
            "failure",
            "stream",
            "attempts",
            "input",
            "cache_read",
            "cache_write_short",
            "cache_write_long",
            "output",
            "reasoning",
            "audio_input",
            "audio_output",
            "images",
            "searches",
            "estimated",
            "cost_nano",
            "input_nano",
            "output_nano",
            "total_us",
            "overhead_us",
            "first_byte_us",
            "tags",
        ],
    )
});

static RECEIPTS: LazyLock<Insert> = LazyLock::new(|| Insert::new("receipts", &["request_id", "body"]));

pub(super) async fn write(
    connection: &mut SqliteConnection,
    writer: [u8; 16],
    batch: &Batch<'_>,
) -> Result<(), StoreError> {
    let mut transaction = begin(connection).await?;
    ENTRIES.run(&mut transaction, &batch.entries, |query, row| entry(query, &writer, row)).await?;
    REQUESTS.run(&mut transaction, &batch.requests, request).await?;
    let receipts: Vec<([u8; 16], &str)> =
        batch.requests.iter().filter_map(|row| Some((row.request_id, row.receipt?))).collect();
    RECEIPTS.run(&mut transaction, &receipts, |query, (id, body)| query.bind(&id[..]).bind(*body)).await?;
    transaction.commit().await?;
    Ok(())
}

fn entry<'q>(query: SqlQuery<'q>, writer: &[u8; 16], row: &EntryRow<'_>) -> SqlQuery<'q> {
    query
        .bind(&row.request_id[..])
        .bind(i64::from(row.attempt))
        .bind(0i64)
        .bind(row.kind.as_str())
        .bind(&row.key_id[..])
        .bind(&row.organisation[..])
        .bind(row.provider)
        .bind(row.model)
        .bind(int(row.reserved_nano))
        .bind(int(row.amount_nano))
        .bind(int(row.input_nano))
        .bind(int(row.output_nano))
        .bind(row.reason)
        .bind(int(row.reserved_ms))
        .bind(int(row.ended_ms))
        .bind(&writer[..])
}

fn request<'q>(query: SqlQuery<'q>, row: &RequestRow<'_>) -> SqlQuery<'q> {
    let query = query
        .bind(&row.request_id[..])
        .bind(int(row.time_ms))
        .bind(&row.key_id[..])
        .bind(&row.organisation[..])
        .bind(row.team.as_ref().map(|team| &team[..]))
        .bind(row.environment)
        .bind(row.end_user)
        .bind(row.operation)
        .bind(row.dialect)
        .bind(row.requested_model)
        .bind(row.provider)
        .bind(row.model)
        .bind(i64::from(row.status))
        .bind(row.outcome)
        .bind(row.failure)
        .bind(row.stream)
        .bind(i64::from(row.attempts));
    let query = row.usage.iter().fold(query, |query, &count| query.bind(int(count)));
    query
        .bind(row.estimated)
        .bind(row.cost.map(|cost| int(cost[0])))
        .bind(row.cost.map(|cost| int(cost[1])))
        .bind(row.cost.map(|cost| int(cost[2])))
        .bind(int(row.total_us))
        .bind(int(row.overhead_us))
        .bind(row.first_byte_us.map(int))
        .bind(row.tags)
}

pub(super) async fn receipt(
    pool: &SqlitePool,
    id: RequestId,
    scope: ReceiptScope,
) -> Result<Option<String>, StoreError> {
    let (sql, owner) = match &scope {
        ReceiptScope::Key(key) => (
            "SELECT body FROM receipts JOIN requests USING (request_id) WHERE request_id = ? AND key_id = ?",
            key.as_bytes(),
        ),
        ReceiptScope::Organisation(organisation) => (
            "SELECT body FROM receipts JOIN requests USING (request_id) WHERE request_id = ? AND organisation_id = ?",
            organisation.as_bytes(),
        ),
    };
    Ok(sqlx::query_scalar(sql).bind(&id.as_bytes()[..]).bind(&owner[..]).fetch_optional(pool).await?)
}
