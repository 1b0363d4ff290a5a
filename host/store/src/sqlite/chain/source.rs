//! The database, shown to be proven.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Rows, Statement, params};

use super::rows;
use crate::backend::Examine;
use crate::chain::canonical::Bytes;
use crate::chain::source::{ChainSource, Links, RecordCount, RecordDigest, Records, StoredLink, StoredSeal};
use crate::chain::{Checkpoint, Hash, Pinned, PublicKey};
use crate::error::StoreError;

pub(super) fn look(path: &Path, examine: Examine<'_>) -> Result<(), StoreError> {
    // Not read-only: the last one who reads a write-ahead log may have to make its index.
    let mut connection = super::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // What is sorted goes to disk, and not to memory, where it is long.
    connection.pragma_update(None, "temp_store", "file")?;
    // One transaction: all statements see the database as it is at its first read.
    let transaction = connection.transaction()?;
    let mut statements = Vec::new();
    for of in Links::ALL {
        statements.push(transaction.prepare(select(of))?);
    }
    let mut links = Vec::new();
    for statement in &mut statements {
        links.push(statement.query([])?);
    }
    let mut pins = transaction
        .prepare("SELECT chain, seq, hash, closed, checkpoint FROM checkpoint_heads ORDER BY chain, seq, checkpoint")?;
    let mut checkpoints = transaction.prepare(
        "SELECT number, time_ms, previous, public_key, next_key, hash, signature FROM checkpoints ORDER BY number",
    )?;
    let mut source = Source {
        links,
        pins: pins.query([])?,
        checkpoints: checkpoints.query([])?,
        joined: transaction
            .prepare("SELECT chain, seq, hash, closed FROM checkpoint_heads WHERE checkpoint = ? ORDER BY chain")?,
        seals: transaction.prepare("SELECT id, writer, seq, content FROM record_seals WHERE id > ? ORDER BY id LIMIT 1")?,
        requests: transaction.prepare(concat!(
            "SELECT salt, request_id, time_ms, key_id, organisation_id, team_id, environment, end_user, requested_model, provider, model, ",
            "status, outcome, input, cache_read, cache_write_short, cache_write_long, output, reasoning, audio_input, audio_output, ",
            "images, searches, estimated, cost_nano, total_us, tags, receipt_page, reason, policy, correlation FROM requests WHERE request_id = ?"
        ))?,
        pages: transaction
            .prepare("SELECT salt, id, organisation_id, youngest_ms, content FROM receipt_pages WHERE id = ?")?,
        connection: &transaction,
        bytes: Bytes::default(),
    };
    examine(&mut source)
}

pub(super) const fn select(of: Links) -> &'static str {
    macro_rules! entries {
        ($rest:literal) => {
            concat!(
                "SELECT writer, seq, hash, request_id, attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, ",
                "amount_nano, input_nano, output_nano, reason, reserved_ms, ended_ms FROM ledger_entries WHERE seq ",
                $rest
            )
        };
    }
    match of {
        Links::Unchained => entries!("IS NULL ORDER BY request_id, attempt, step"),
        Links::Entries => entries!("IS NOT NULL ORDER BY writer, seq, request_id, attempt, step"),
        Links::Seals => "SELECT writer, seq, hash, id, last_page, content FROM record_seals ORDER BY writer, seq",
        Links::Events => {
            "SELECT NULL, seq, hash, time_ms, actor_kind, actor_id, address, organisation_id, action, target, before, after \
             FROM audit_events ORDER BY seq"
        }
    }
}

struct Source<'a> {
    links: Vec<Rows<'a>>,
    pins: Rows<'a>,
    checkpoints: Rows<'a>,
    joined: Statement<'a>,
    seals: Statement<'a>,
    requests: Statement<'a>,
    pages: Statement<'a>,
    connection: &'a Connection,
    bytes: Bytes,
}

impl ChainSource for Source<'_> {
    fn link(&mut self, of: Links, into: &mut StoredLink) -> Result<bool, StoreError> {
        let Some(row) = self.links[of as usize].next()? else { return Ok(false) };
        rows::read(of, row, into);
        Ok(true)
    }

    fn heads(&mut self) -> Result<Vec<Pinned>, StoreError> {
        let mut statement = self.connection.prepare("SELECT chain, seq, hash, 0 FROM chains ORDER BY chain")?;
        let heads = statement.query_map([], pinned)?.collect::<rusqlite::Result<_>>()?;
        Ok(heads)
    }

    fn pin(&mut self) -> Result<Option<(Pinned, i64)>, StoreError> {
        let Some(row) = self.pins.next()? else { return Ok(None) };
        Ok(Some((pinned(row)?, row.get(4)?)))
    }

    fn checkpoint(&mut self) -> Result<Option<Checkpoint>, StoreError> {
        let Some(row) = self.checkpoints.next()? else { return Ok(None) };
        let number: i64 = row.get(0)?;
        Ok(Some(Checkpoint {
            number,
            time_ms: row.get(1)?,
            previous: row.get(2)?,
            public_key: PublicKey(row.get(3)?),
            next_key: row.get::<_, Option<Hash>>(4)?.map(PublicKey),
            heads: self.joined.query_map([number], pinned)?.collect::<rusqlite::Result<_>>()?,
            hash: row.get(5)?,
            signature: row.get(6)?,
        }))
    }

    fn seal(&mut self, after: i64) -> Result<Option<StoredSeal>, StoreError> {
        let seal = self.seals.query_row([after], |row| {
            Ok(StoredSeal { id: row.get(0)?, chain: row.get(1)?, seq: row.get(2)?, content: row.get(3)? })
        });
        Ok(seal.optional()?)
    }

    fn digests(&mut self, of: Records, ids: &[u128]) -> Result<Vec<Option<RecordDigest>>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let mut found_rows = match of {
                Records::Requests => self.requests.query([id.to_be_bytes()])?,
                Records::Pages => self.pages.query([i64::try_from(*id).unwrap_or(i64::MAX)])?,
            };
            found.push(match (found_rows.next()?, of) {
                (None, _) => None,
                (Some(row), of) => {
                    let read = match of {
                        Records::Requests => rows::request(row, &mut self.bytes),
                        Records::Pages => rows::page(row, &mut self.bytes),
                    };
                    Some(read.map(|()| self.bytes.digest()).map_err(|column| column.name(row)))
                }
            });
        }
        Ok(found)
    }

    fn count(&mut self, of: Records) -> Result<RecordCount, StoreError> {
        let sql = match of {
            Records::Requests => {
                "SELECT count(salt), count(*) - count(salt), max(CASE WHEN salt IS NULL THEN time_ms END) FROM requests"
            }
            Records::Pages => {
                "SELECT count(salt), count(*) - count(salt), max(CASE WHEN salt IS NULL THEN youngest_ms END) FROM receipt_pages"
            }
        };
        let count = |value: i64| u64::try_from(value).unwrap_or_default();
        Ok(self.connection.query_row(sql, [], |row| {
            Ok(RecordCount {
                salted: count(row.get(0)?),
                unsalted: count(row.get(1)?),
                youngest_unsalted_ms: row.get(2)?,
            })
        })?)
    }

    fn ids(&mut self, of: Records, after: Option<u128>, limit: usize) -> Result<Vec<u128>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let ids = match of {
            Records::Requests => self
                .connection
                .prepare("SELECT request_id FROM requests WHERE salt IS NOT NULL AND request_id > ? ORDER BY request_id LIMIT ?")?
                .query_map(params![after.map_or(vec![], |id| id.to_be_bytes().to_vec()), limit], |row| {
                    // What is no id of ours comes first, as one that no seal holds.
                    Ok(row.get::<_, [u8; 16]>(0).map_or(u128::MAX, u128::from_be_bytes))
                })?
                .collect::<rusqlite::Result<_>>()?,
            Records::Pages => self
                .connection
                .prepare("SELECT id FROM receipt_pages WHERE salt IS NOT NULL AND id > ? ORDER BY id LIMIT ?")?
                .query_map(params![after.map_or(i64::MIN, |id| i64::try_from(id).unwrap_or(i64::MAX)), limit], |row| {
                    Ok(u128::try_from(row.get::<_, i64>(0)?).unwrap_or(u128::MAX))
                })?
                .collect::<rusqlite::Result<_>>()?,
        };
        Ok(ids)
    }
}

fn pinned(row: &Row<'_>) -> rusqlite::Result<Pinned> {
    let closed = match row.get(3)? {
        0 => false,
        1 => true,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(3, other)),
    };
    Ok(Pinned { chain: row.get(0)?, seq: row.get(1)?, hash: row.get(2)?, closed })
}
