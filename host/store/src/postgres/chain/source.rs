//! The database, shown to be proven: as it is at one moment, through cursors of one transaction.
//!
//! Who verifies waits for each row on a thread of its own. A task has the connection and answers.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor, Row};
use uuid::Uuid;

use super::{pinned, rows, stored};
use crate::backend::{BoxFuture, Examine};
use crate::chain::canonical::Bytes;
use crate::chain::source::{ChainSource, Links, RecordCount, RecordDigest, Records, StoredLink, StoredSeal};
use crate::chain::{Checkpoint, Pinned};
use crate::error::StoreError;

/// Rows that a cursor gives at once.
const FETCH: usize = 1000;
const PINS: &str = "pins";
const CHECKPOINTS: &str = "checkpoints";

pub(super) fn cursor(of: Links) -> String {
    format!("links_{}", of as u8)
}

pub(super) const fn select(of: Links) -> &'static str {
    match of {
        Links::Unchained => "SELECT * FROM ledger_entries WHERE seq IS NULL ORDER BY request_id, attempt, step",
        Links::Entries => {
            "SELECT * FROM ledger_entries WHERE seq IS NOT NULL ORDER BY writer, seq, request_id, attempt, step"
        }
        Links::Seals => "SELECT * FROM record_seals ORDER BY writer, seq",
        Links::Events => "SELECT * FROM audit_events ORDER BY seq",
    }
}

pub(super) async fn declare(connection: &mut PgConnection, cursor: &str, sql: &str) -> Result<(), StoreError> {
    // Names and statements of this module alone.
    connection.execute(AssertSqlSafe(format!("DECLARE {cursor} NO SCROLL CURSOR FOR {sql}"))).await?;
    Ok(())
}

pub(super) async fn fetch(connection: &mut PgConnection, cursor: &str) -> Result<Vec<PgRow>, StoreError> {
    let sql = AssertSqlSafe(format!("FETCH {FETCH} FROM {cursor}"));
    // Not prepared: cursors of one name are of one transaction.
    Ok(sqlx::query(sql).persistent(false).fetch_all(connection).await?)
}

pub(super) async fn look(mut connection: PgConnection, examine: Examine<'_>) -> Result<(), StoreError> {
    connection
        .execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0; \
                  SET LOCAL statement_timeout = 0",
        )
        .await?;
    for of in Links::ALL {
        declare(&mut connection, &cursor(of), select(of)).await?;
    }
    declare(&mut connection, PINS, "SELECT * FROM checkpoint_heads ORDER BY chain, seq, checkpoint").await?;
    declare(&mut connection, CHECKPOINTS, "SELECT * FROM checkpoints ORDER BY number").await?;
    let (asks, mut asked) = tokio::sync::mpsc::channel::<Job>(1);
    // It ends when `asks` is dropped, and the connection with it.
    tokio::spawn(async move {
        while let Some(job) = asked.recv().await {
            job(&mut connection).await;
        }
    });
    examine(&mut Source { asks, ahead: HashMap::new(), bytes: Bytes::default() })
}

type Job = Box<dyn for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, ()> + Send>;

struct Source {
    asks: tokio::sync::mpsc::Sender<Job>,
    /// What cursors gave and nobody took yet.
    ahead: HashMap<String, VecDeque<PgRow>>,
    bytes: Bytes,
}

impl Source {
    fn ask<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                // Nobody waits any more where it cannot be sent.
                let _ = answer.send(work(connection).await);
            })
        });
        let gone = || StoreError::Corrupt { what: "answer of a connection" };
        self.asks.try_send(job).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    fn next(&mut self, cursor: String) -> Result<Option<PgRow>, StoreError> {
        if self.ahead.get(&cursor).is_none_or(VecDeque::is_empty) {
            let name = cursor.clone();
            let rows = self.ask(move |connection| Box::pin(async move { fetch(connection, &name).await }))?;
            self.ahead.insert(cursor.clone(), rows.into());
        }
        Ok(self.ahead.get_mut(&cursor).and_then(VecDeque::pop_front))
    }
}

impl ChainSource for Source {
    fn link(&mut self, of: Links, into: &mut StoredLink) -> Result<bool, StoreError> {
        let Some(row) = self.next(cursor(of))? else { return Ok(false) };
        rows::read(of, &row, into)?;
        Ok(true)
    }

    fn heads(&mut self) -> Result<Vec<Pinned>, StoreError> {
        self.ask(|connection| {
            Box::pin(async move {
                let sql = "SELECT chain, seq, hash, false AS closed FROM chains ORDER BY chain";
                sqlx::query(sql).fetch_all(connection).await?.iter().map(pinned).collect()
            })
        })
    }

    fn pin(&mut self) -> Result<Option<(Pinned, i64)>, StoreError> {
        let Some(row) = self.next(PINS.to_owned())? else { return Ok(None) };
        Ok(Some((pinned(&row)?, row.try_get("checkpoint")?)))
    }

    fn checkpoint(&mut self) -> Result<Option<Checkpoint>, StoreError> {
        let Some(row) = self.next(CHECKPOINTS.to_owned())? else { return Ok(None) };
        let number: i64 = row.try_get("number")?;
        let heads = self.ask(move |connection| {
            Box::pin(async move {
                let sql = "SELECT * FROM checkpoint_heads WHERE checkpoint = $1 ORDER BY chain";
                sqlx::query(sql).bind(number).fetch_all(connection).await?.iter().map(pinned).collect()
            })
        })?;
        Ok(Some(stored(&row, heads)?))
    }

    fn seal(&mut self, after: i64) -> Result<Option<StoredSeal>, StoreError> {
        self.ask(move |connection| {
            Box::pin(async move {
                let sql = "SELECT id, writer, seq, content FROM record_seals WHERE id > $1 ORDER BY id LIMIT 1";
                let Some(row) = sqlx::query(sql).bind(after).fetch_optional(connection).await? else { return Ok(None) };
                Ok(Some(StoredSeal {
                    id: row.try_get("id")?,
                    chain: row.try_get::<Uuid, _>("writer")?.into_bytes(),
                    seq: row.try_get("seq")?,
                    content: row.try_get("content")?,
                }))
            })
        })
    }

    fn digests(&mut self, of: Records, ids: &[u128]) -> Result<Vec<Option<RecordDigest>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = ids.to_vec();
        let found: Vec<PgRow> = self.ask(move |connection| {
            Box::pin(async move {
                let query = match of {
                    Records::Requests => sqlx::query("SELECT * FROM requests WHERE request_id = ANY($1)")
                        .bind(wanted.into_iter().map(Uuid::from_u128).collect::<Vec<_>>()),
                    Records::Pages => sqlx::query("SELECT * FROM receipt_pages WHERE id = ANY($1)")
                        .bind(wanted.into_iter().filter_map(|id| i64::try_from(id).ok()).collect::<Vec<_>>()),
                };
                Ok(query.fetch_all(connection).await?)
            })
        })?;
        let mut digests = HashMap::new();
        for row in &found {
            let (id, read) = match of {
                Records::Requests => {
                    (row.try_get::<Uuid, _>("request_id")?.as_u128(), rows::request(row, &mut self.bytes)?)
                }
                Records::Pages => {
                    let id: i64 = row.try_get("id")?;
                    (u128::try_from(id).unwrap_or(u128::MAX), rows::page(row, &mut self.bytes)?)
                }
            };
            digests.insert(id, read.map(|()| self.bytes.digest()));
        }
        Ok(ids.iter().map(|id| digests.remove(id)).collect())
    }

    fn count(&mut self, of: Records) -> Result<RecordCount, StoreError> {
        self.ask(move |connection| {
            Box::pin(async move {
                let sql = match of {
                    Records::Requests => {
                        "SELECT count(salt), count(*) - count(salt), max(time_ms) FILTER (WHERE salt IS NULL) FROM requests"
                    }
                    Records::Pages => {
                        "SELECT count(salt), count(*) - count(salt), max(youngest_ms) FILTER (WHERE salt IS NULL) FROM receipt_pages"
                    }
                };
                let (salted, unsalted, youngest_unsalted_ms): (i64, i64, Option<i64>) =
                    sqlx::query_as(sql).fetch_one(connection).await?;
                let count = |value: i64| u64::try_from(value).unwrap_or_default();
                Ok(RecordCount { salted: count(salted), unsalted: count(unsalted), youngest_unsalted_ms })
            })
        })
    }

    fn ids(&mut self, of: Records, after: Option<u128>, limit: usize) -> Result<Vec<u128>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.ask(move |connection| {
            Box::pin(async move {
                Ok(match of {
                    Records::Requests => {
                        let ids: Vec<Uuid> = sqlx::query_scalar(
                            "SELECT request_id FROM requests WHERE salt IS NOT NULL AND ($1 IS NULL OR request_id > $1) \
                             ORDER BY request_id LIMIT $2",
                        )
                        .bind(after.map(Uuid::from_u128))
                        .bind(limit)
                        .fetch_all(connection)
                        .await?;
                        ids.iter().map(Uuid::as_u128).collect()
                    }
                    Records::Pages => {
                        let ids: Vec<i64> = sqlx::query_scalar(
                            "SELECT id FROM receipt_pages WHERE salt IS NOT NULL AND id > $1 ORDER BY id LIMIT $2",
                        )
                        .bind(after.map_or(i64::MIN, |id| i64::try_from(id).unwrap_or(i64::MAX)))
                        .bind(limit)
                        .fetch_all(connection)
                        .await?;
                        ids.into_iter().map(|id| u128::try_from(id).unwrap_or(u128::MAX)).collect()
                    }
                })
            })
        })
    }
}
