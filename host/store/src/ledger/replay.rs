//! What dead processes left: their ends and usage rows are written, and what has no end anywhere is quarantined.
//!
//! What a dead process had leased and provably not spent is free again after that.
//!
//! Idempotent: every row is written by its own key and stays as it first was, so dying here and starting again changes
//! nothing. A journal is removed when all of it is committed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::LedgerError;
use super::journal::{self, DeadEpoch};
use super::record::{self, Record, ReservationKey, ReserveRecord};
use super::segment::{HEAD, Segment, SegmentError};
use crate::backend::{BudgetBackend, LedgerBackend};
use crate::fail::point;
use crate::rows::Batch;

/// Rows in one transaction.
const ROWS: usize = 512;

/// An open reservation with names of its own.
struct Open {
    provider: String,
    model: String,
    held: Vec<u8>,
    reserve: ReserveRecord<'static>,
}

/// Reads files and writes a database: on a thread of its own.
#[expect(clippy::disallowed_methods, reason = "on a blocking thread, which serves no request")]
pub(super) async fn replay(
    backend: Arc<dyn LedgerBackend>,
    budgets: Arc<dyn BudgetBackend>,
    root: PathBuf,
    writer: [u8; 16],
    now_ms: u64,
) -> Result<(), LedgerError> {
    let runtime = Handle::current();
    let replayed = tokio::task::spawn_blocking(move || {
        let directory = |source| LedgerError::Directory { path: root.clone(), source };
        for epoch in DeadEpoch::all(&root).map_err(directory)? {
            runtime.block_on(one(&*backend, &*budgets, &epoch, writer, now_ms))?;
            epoch.remove().map_err(directory)?;
        }
        let known = journal::epochs(&root).map_err(directory)?;
        let lost = runtime.block_on(budgets.quarantine_lost(&known, now_ms))?;
        if lost > 0 {
            tracing::error!(epochs = lost, "journals are gone: what their processes had leased is in quarantine");
        }
        Ok(())
    });
    match replayed.await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(LedgerError::Closed),
        },
    }
}

async fn one(
    backend: &dyn LedgerBackend,
    budgets: &dyn BudgetBackend,
    epoch: &DeadEpoch,
    writer: [u8; 16],
    now_ms: u64,
) -> Result<(), LedgerError> {
    let name = epoch.name().ok_or_else(|| LedgerError::Unreadable {
        path: epoch.directory.clone(),
        reason: "its name is no epoch's".to_owned(),
    })?;
    let of_epoch = || Batch { epoch: name, ..Batch::default() };
    let mut reserved: HashMap<ReservationKey, Open> = HashMap::new();
    let mut ended: Vec<ReservationKey> = Vec::new();
    for path in epoch.files().map_err(|source| LedgerError::Directory { path: epoch.directory.clone(), source })? {
        let unreadable = |reason: String| LedgerError::Unreadable { path: path.clone(), reason };
        let segment = Segment::open(&path).map_err(|error: SegmentError| unreadable(error.to_string()))?;
        let mut batch = of_epoch();
        let mut at = HEAD;
        while let Some((payload, next)) = segment.read(at) {
            at = next;
            match record::decode(payload).map_err(|error| unreadable(error.to_string()))? {
                Record::Reserve(reserve) | Record::Carry(reserve) => {
                    reserved.insert(reserve.key(), Open::of(&reserve));
                }
                Record::End(entry) => {
                    ended.push((entry.request_id, entry.attempt));
                    batch.entries.push(entry);
                }
                Record::Request(request) => batch.requests.push(request),
            }
            if batch.len() >= ROWS {
                write(backend, writer, &batch).await?;
                batch = of_epoch();
            }
        }
        if !batch.is_empty() {
            write(backend, writer, &batch).await?;
        }
    }
    for key in &ended {
        reserved.remove(key);
    }
    // An end that was committed and whose segment is gone: the entry is there, and this one is not written.
    let open: Vec<Open> = reserved.into_values().collect();
    for chunk in open.chunks(ROWS) {
        let entries = chunk.iter().map(|open| open.record().quarantined("process-ended", now_ms)).collect();
        write(backend, writer, &Batch { entries, ..of_epoch() }).await?;
    }
    // A journal is complete unless the machine went down, with what it had not yet put on the disk.
    point("replay.before-close");
    budgets.close_epoch(name, epoch.is_of_this_boot(), now_ms).await?;
    point("replay.after-close");
    tracing::info!(
        epoch = %epoch.directory.display(),
        ended = ended.len(),
        without_end = open.len(),
        "a dead process's journal was written"
    );
    Ok(())
}

async fn write(backend: &dyn LedgerBackend, writer: [u8; 16], batch: &Batch<'_>) -> Result<(), LedgerError> {
    point("replay.before-write");
    backend.write(writer, batch).await?;
    point("replay.after-write");
    Ok(())
}

impl Open {
    fn of(reserve: &ReserveRecord<'_>) -> Self {
        Self {
            provider: reserve.provider.to_owned(),
            model: reserve.model.to_owned(),
            held: reserve.held.to_owned(),
            reserve: ReserveRecord { provider: "", model: "", held: &[], ..*reserve },
        }
    }

    fn record(&self) -> ReserveRecord<'_> {
        ReserveRecord { provider: &self.provider, model: &self.model, held: &self.held, ..self.reserve }
    }
}
