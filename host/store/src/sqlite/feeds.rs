//! Feeds in SQLite.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use super::Sqlite;
use super::codec::{int, uint};
use super::quarantine::ledger_entry;
use super::row::optional_time;
use crate::backend::{Answer, FeedBackend};
use crate::budgets::{EntryFilter, LedgerEntry};
use crate::error::StoreError;
use crate::feeds::{EntryPlace, EntrySpan, Feed, Holder};

const COLUMNS: &str = "name, position, pieces, done_ms, failures, error, due_ms, held_until_ms";
const ENTRY: &str = "request_id, attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, amount_nano, reason, \
    reserved_ms, ended_ms";

impl FeedBackend for Sqlite {
    fn feeds(&self) -> Answer<'_, Vec<Feed>> {
        Box::pin(async move {
            let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM feeds ORDER BY name"));
            sqlx::query(sql).fetch_all(&self.readers).await?.iter().map(feed).collect()
        })
    }

    fn feed<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Feed>> {
        Box::pin(async move {
            let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM feeds WHERE name = ?"));
            sqlx::query(sql).bind(name).fetch_optional(&self.readers).await?.as_ref().map(feed).transpose()
        })
    }

    fn begin_feed<'a>(&'a self, name: &'a str, position: u64) -> Answer<'a, ()> {
        Box::pin(async move {
            sqlx::query("INSERT INTO feeds (name, position) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(name)
                .bind(int(position))
                .execute(&mut *self.writer.lock().await)
                .await?;
            Ok(())
        })
    }

    fn take_feed<'a>(
        &'a self,
        name: &'a str,
        holder: Holder,
        now_ms: u64,
        due_ms: u64,
        until_ms: u64,
    ) -> Answer<'a, Option<Feed>> {
        Box::pin(async move {
            let sql = AssertSqlSafe(format!(
                "UPDATE feeds SET holder = ?2, held_until_ms = ?3 WHERE name = ?1 AND due_ms <= ?4 \
                 AND (holder IS NULL OR holder = ?2 OR held_until_ms <= ?5) RETURNING {COLUMNS}"
            ));
            let taken = sqlx::query(sql)
                .bind(name)
                .bind(&holder[..])
                .bind(int(until_ms))
                .bind(int(due_ms))
                .bind(int(now_ms))
                .fetch_optional(&mut *self.writer.lock().await)
                .await?;
            taken.as_ref().map(feed).transpose()
        })
    }

    fn hold_feed<'a>(&'a self, name: &'a str, holder: Holder, until_ms: u64) -> Answer<'a, bool> {
        Box::pin(async move {
            let held = sqlx::query("UPDATE feeds SET held_until_ms = ?3 WHERE name = ?1 AND holder = ?2")
                .bind(name)
                .bind(&holder[..])
                .bind(int(until_ms))
                .execute(&mut *self.writer.lock().await)
                .await?;
            Ok(held.rows_affected() > 0)
        })
    }

    fn advance_feed<'a>(
        &'a self,
        name: &'a str,
        holder: Holder,
        (from, to): (u64, u64),
        pieces: u64,
        now_ms: u64,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let advanced = sqlx::query(
                "UPDATE feeds SET position = ?4, pieces = pieces + ?5, done_ms = ?6, failures = 0, error = NULL, due_ms = 0 \
                 WHERE name = ?1 AND holder = ?2 AND position = ?3",
            )
            .bind(name)
            .bind(&holder[..])
            .bind(int(from))
            .bind(int(to))
            .bind(int(pieces))
            .bind(int(now_ms))
            .execute(&mut *self.writer.lock().await)
            .await?;
            Ok(advanced.rows_affected() > 0)
        })
    }

    fn fail_feed<'a>(&'a self, name: &'a str, holder: Holder, error: &'a str, due_ms: u64) -> Answer<'a, bool> {
        Box::pin(async move {
            let failed = sqlx::query(
                "UPDATE feeds SET failures = failures + 1, error = ?3, due_ms = ?4, holder = NULL, held_until_ms = NULL \
                 WHERE name = ?1 AND holder = ?2",
            )
            .bind(name)
            .bind(&holder[..])
            .bind(error)
            .bind(int(due_ms))
            .execute(&mut *self.writer.lock().await)
            .await?;
            Ok(failed.rows_affected() > 0)
        })
    }

    fn release_feed<'a>(&'a self, name: &'a str, holder: Holder) -> Answer<'a, ()> {
        Box::pin(async move {
            sqlx::query("UPDATE feeds SET holder = NULL, held_until_ms = NULL WHERE name = ?1 AND holder = ?2")
                .bind(name)
                .bind(&holder[..])
                .execute(&mut *self.writer.lock().await)
                .await?;
            Ok(())
        })
    }

    fn entries_from<'a>(
        &'a self,
        span: &'a EntrySpan,
        after: Option<EntryPlace>,
        limit: u32,
    ) -> Answer<'a, Vec<LedgerEntry>> {
        Box::pin(entries_from(&self.readers, span, after, limit))
    }

    fn decisions<'a>(&'a self, span: &'a EntrySpan) -> Answer<'a, Vec<LedgerEntry>> {
        Box::pin(async move {
            let sql = AssertSqlSafe(format!(
                "SELECT {ENTRY} FROM ledger_entries WHERE step > 0 AND ended_ms >= ?1 AND ended_ms < ?2 \
                 AND (?3 IS NULL OR organisation_id = ?3) ORDER BY ended_ms, request_id, attempt, step"
            ));
            let rows = sqlx::query(sql)
                .bind(int(span.since_ms))
                .bind(int(span.until_ms))
                .bind(span.organisation.map(|organisation| organisation.as_bytes().to_vec()))
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(ledger_entry).collect()
        })
    }
}

async fn entries_from(
    pool: &SqlitePool,
    span: &EntrySpan,
    after: Option<EntryPlace>,
    limit: u32,
) -> Result<Vec<LedgerEntry>, StoreError> {
    let sql = AssertSqlSafe(format!(
        "SELECT {ENTRY} FROM ledger_entries WHERE step = 0 AND request_id >= ?1 AND request_id < ?2 \
         AND (request_id > ?1 OR attempt > ?3) AND (?4 IS NULL OR organisation_id = ?4) \
         ORDER BY request_id, attempt LIMIT ?5"
    ));
    // From the place on, so that the key finds it; attempts count from 0.
    let (from, attempt) = match after {
        Some((request, attempt)) => (*request.as_bytes(), i64::from(attempt)),
        None => (EntryFilter::first_id(span.since_ms), -1),
    };
    let rows = sqlx::query(sql)
        .bind(from.to_vec())
        .bind(EntryFilter::first_id(span.until_ms).to_vec())
        .bind(attempt)
        .bind(span.organisation.map(|organisation| organisation.as_bytes().to_vec()))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(ledger_entry).collect()
}

fn feed(row: &SqliteRow) -> Result<Feed, StoreError> {
    Ok(Feed {
        name: row.try_get("name")?,
        position: uint(row.try_get("position")?, "feed")?,
        pieces: uint(row.try_get("pieces")?, "feed")?,
        done_ms: optional_time(row, "done_ms")?,
        failures: row.try_get("failures")?,
        error: row.try_get("error")?,
        due_ms: uint(row.try_get("due_ms")?, "feed")?,
        held_until_ms: optional_time(row, "held_until_ms")?,
    })
}
