//! The ledger: reserve, then settle, refund or quarantine. Keeps invariants 2 and 3.
//!
//! Nothing may be dispatched without a [`Reservation`], and a reservation has no way out but its three ends; dropping one
//! quarantines it. Reserving and ending append to a journal in memory-mapped files (`journal`): no database, no system
//! call, and yet they survive `kill -9`. One task (`writer`) reads the journal behind them and writes the database in
//! groups. Opening a ledger first writes what dead processes left (`replay`), each reservation exactly once.
//!
//! When the database is slow the journal grows on disk, not in memory. At [`LedgerOptions::segments`] new reservations are
//! refused, and usage rows of requests that sent nothing; rows of those that did have a quarter more room,
//! and ends of open reservations whatever they need.

mod journal;
mod record;
mod replay;
mod reservation;
mod segment;
mod writer;

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_core::{BudgetId, Clock, KeyId, Name, NanoUsd, OrganisationId, Receipt, RequestId};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

pub use journal::JournalError;
pub use reservation::{Reservation, ReserveRequest, Settlement};

use crate::backend::{BudgetBackend, LedgerBackend};
use crate::budgets::{Applicable, Budgets, Hold, HoldError, Refusal, Subject};
use crate::encode;
use crate::error::StoreError;
use crate::receipt;
use crate::rows::RequestRow;
use crate::store::ReceiptScope;
use journal::{Journal, Room, RootLock};
use record::Record;
use writer::{Progress, Writer};

/// How the ledger works; the defaults suit a gateway.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// Rows are written in groups of what this long brings. It costs no safety: what waits stands in the journal.
    pub group: Duration,
    /// Rows in one transaction at most.
    pub group_rows: usize,
    /// Bytes of one file of the journal.
    pub segment_bytes: usize,
    /// Files of the journal before new reservations are refused.
    pub segments: usize,
}

impl Default for LedgerOptions {
    /// 100 ms, 2048 rows, and 4 MB times 128: half a gigabyte, some 500 000 requests that the database may be behind.
    fn default() -> Self {
        Self { group: Duration::from_millis(100), group_rows: 2048, segment_bytes: 4 << 20, segments: 128 }
    }
}

/// What the ledger refuses or fails at.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Reserving: nothing was reserved, nothing may be sent. Ending: the end is not recorded, and the reservation will be
    /// found open and quarantined when the ledger is opened again.
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the journal's directory {path}: {source}")]
    Directory { path: std::path::PathBuf, source: std::io::Error },
    #[error("a journal left by a dead process cannot be read ({path}: {reason})")]
    Unreadable { path: std::path::PathBuf, reason: String },
    #[error("another process has been recovering this ledger for too long")]
    Busy,
    /// The database failed since the call began; what was to be written is kept and tried again.
    #[error("the database does not take entries: {0}")]
    Behind(Arc<str>),
    #[error("the ledger is closed")]
    Closed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// This process's ledger. Cheap to clone. [`Ledger::close`] it for an orderly end; without that the next start finishes the
/// work.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    epoch: [u8; 16],
    journal: Arc<Journal>,
    backend: Arc<dyn LedgerBackend>,
    budgets: Arc<Budgets>,
    clock: Arc<dyn Clock>,
    signals: Arc<Signals>,
    progress: watch::Receiver<Progress>,
}

/// What wakes the writer.
#[derive(Default)]
struct Signals {
    /// Set while the writer has nothing to do: the next append wakes it.
    idle: AtomicBool,
    work: Notify,
    /// Somebody waits: write at once.
    hurry: Notify,
    closing: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.signals.close();
    }
}

impl Signals {
    fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.work.notify_one();
        self.hurry.notify_one();
    }
}

thread_local! {
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl Ledger {
    /// A ledger on any database, its journal in the directory `root`.
    ///
    /// # Errors
    /// As [`crate::Store::ledger`].
    pub async fn open(
        backend: Arc<dyn LedgerBackend>,
        budgets: Arc<dyn BudgetBackend>,
        clock: Arc<dyn Clock>,
        root: &Path,
        options: LedgerOptions,
    ) -> Result<Self, LedgerError> {
        let directory = |source| LedgerError::Directory { path: root.to_owned(), source };
        let lock = wait_for_root(root).await?;
        let epoch = Uuid::now_v7();
        replay::replay(backend.clone(), budgets.clone(), root.to_owned(), *epoch.as_bytes(), clock.now_ms()).await?;
        let journal =
            Journal::create(root, &epoch.simple().to_string(), options.segment_bytes.max(1 << 16), options.segments)
                .map_err(directory)?;
        drop(lock);
        let budgets = Budgets::start(budgets, clock.clone(), *epoch.as_bytes()).await?;

        let journal = Arc::new(journal);
        let signals = Arc::new(Signals::default());
        let (sender, progress) = watch::channel(Progress::default());
        let writer = Writer::new(
            journal.clone(),
            backend.clone(),
            budgets.clone(),
            signals.clone(),
            sender,
            *epoch.as_bytes(),
            options,
        );
        tokio::spawn(writer.run());
        Ok(Self {
            inner: Arc::new(Inner { epoch: *epoch.as_bytes(), journal, backend, budgets, clock, signals, progress }),
        })
    }

    /// Whether there are any budgets at all: then it must be known what a request is subject to.
    pub fn has_budgets(&self) -> bool {
        self.inner.budgets.any()
    }

    /// The budgets that count a request at a target: none costs one look.
    pub fn applicable(&self, subject: &Subject<'_>) -> Applicable {
        self.inner.budgets.applicable(subject)
    }

    /// Holds `amount` in every budget that counts a request, without waiting. `None`: [`Ledger::hold`] has to ask the database.
    /// `before` is what the request's earlier attempts have cost.
    ///
    /// # Errors
    /// A hard budget has no room.
    pub fn try_hold(
        &self,
        applicable: &Applicable,
        amount: NanoUsd,
        before: NanoUsd,
        now_ms: u64,
    ) -> Result<Option<Hold>, Box<Refusal>> {
        self.inner.budgets.try_hold(applicable, amount, before, now_ms)
    }

    /// Holds `amount` in every budget that counts a request, or in none.
    ///
    /// # Errors
    /// [`HoldError::Refused`] where a hard budget has no room, also after other processes gave back what they do not use;
    /// [`HoldError::Changed`] where [`Ledger::applicable`] must be asked again.
    pub async fn hold(
        &self,
        applicable: &Applicable,
        amount: NanoUsd,
        before: NanoUsd,
        now_ms: u64,
    ) -> Result<Hold, HoldError> {
        self.inner.budgets.hold(applicable, amount, before, now_ms).await
    }

    /// Reserves the most an attempt can cost, which `hold` holds in the budgets. It must be called before the attempt is sent,
    /// once per attempt of a request.
    ///
    /// # Errors
    /// [`LedgerError::Journal`]: nothing is reserved and nothing may be sent.
    pub fn reserve(&self, request: ReserveRequest, hold: Hold) -> Result<Reservation, LedgerError> {
        Reservation::begin(self.clone(), request, hold)
    }

    /// What this process could take of a budget without asking, nano-USD: for metrics.
    pub fn at_hand(&self, budget: BudgetId) -> u64 {
        self.inner.budgets.free(budget)
    }

    /// Records a request, when it is over, by its receipt: a usage row, and the receipt itself. Also for requests that were
    /// refused before any attempt.
    ///
    /// # Errors
    /// [`LedgerError::Journal`] where the journal is full: this request then has no usage row. Its money is another entry.
    pub fn record(&self, receipt: &Receipt) -> Result<(), LedgerError> {
        let (mut buffer, mut tags) = BUFFERS.take();
        let length = receipt::keep(receipt, &mut buffer);
        tags.clear();
        if !receipt.tags.is_empty() {
            serde_json::to_writer(&mut tags, &receipt.tags).expect("tags are plain data");
        }
        let tag_text = std::str::from_utf8(&tags).expect("serde_json writes UTF-8");
        let tag_text = (!tag_text.is_empty()).then_some(tag_text);
        // What was sent was paid for, and its row goes before those of requests that are being refused.
        let room = if receipt.attempts.is_empty() { Room::New } else { Room::Record };
        let kept = Some(&buffer[..length]);
        let outcome = match self.append(&Record::Request(RequestRow::of(receipt, tag_text, kept)), room) {
            Err(LedgerError::Journal(JournalError::TooLong(bytes))) => {
                tracing::warn!(request_id = %receipt.request_id, bytes, "a receipt was too long to keep");
                self.append(&Record::Request(RequestRow::of(receipt, tag_text, None)), room)
            }
            outcome => outcome,
        };
        encode::trim(&mut buffer);
        BUFFERS.set((buffer, tags));
        outcome
    }

    /// Waits until all that was reserved, ended and recorded before this call is in the database.
    ///
    /// # Errors
    /// [`LedgerError::Behind`] when the database failed meanwhile (nothing is lost, the writer goes on trying);
    /// [`LedgerError::Closed`] when there is no writer any more.
    pub async fn flush(&self) -> Result<(), LedgerError> {
        let target = self.inner.journal.appended();
        let mut progress = self.inner.progress.clone();
        let failures = progress.borrow().failures;
        self.inner.signals.work.notify_one();
        self.inner.signals.hurry.notify_one();
        let reached = progress
            .wait_for(|progress| progress.written >= target || progress.failures > failures)
            .await
            .map_err(|_| LedgerError::Closed)?;
        if reached.written >= target {
            return Ok(());
        }
        Err(LedgerError::Behind(reached.error.clone().unwrap_or_else(|| "unknown".into())))
    }

    /// A receipt as JSON, also one that is not written yet. `None` where there is none, or it is somebody else's.
    pub async fn receipt(&self, id: RequestId, scope: ReceiptScope) -> Result<Option<String>, LedgerError> {
        let mut found = self.inner.backend.receipt(id, scope).await?;
        if found.is_none() {
            self.flush().await?;
            found = self.inner.backend.receipt(id, scope).await?;
        }
        Ok(found.map(|kept| receipt::to_json(&kept)).transpose()?)
    }

    /// Writes what is left and ends the writer. Reservations still open afterwards are found by the next start.
    pub async fn close(self) -> Result<(), LedgerError> {
        let flushed = self.flush().await;
        self.inner.signals.close();
        let mut progress = self.inner.progress.clone();
        while progress.changed().await.is_ok() {}
        flushed
    }

    /// This process's name as a writer, and that of its chain.
    pub fn epoch(&self) -> [u8; 16] {
        self.inner.epoch
    }

    /// Records appended that the database does not have yet: for metrics.
    pub fn behind(&self) -> u64 {
        self.inner.journal.appended().saturating_sub(self.inner.progress.borrow().written)
    }

    fn append(&self, record: &Record<'_>, room: Room) -> Result<(), LedgerError> {
        thread_local! {
            static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let mut buffer = ENCODED.take();
        let length = encode::into(record, &mut buffer);
        let outcome = self.inner.journal.append(&buffer[..length], room);
        encode::trim(&mut buffer);
        ENCODED.set(buffer);
        outcome?;
        let signals = &self.inner.signals;
        // The journal's lock orders this load behind the writer's last look: see `Writer::rest`.
        if signals.idle.load(Ordering::Relaxed) && signals.idle.swap(false, Ordering::AcqRel) {
            signals.work.notify_one();
        }
        Ok(())
    }
}

async fn wait_for_root(root: &Path) -> Result<RootLock, LedgerError> {
    for _ in 0..600 {
        let taken =
            RootLock::try_take(root).map_err(|source| LedgerError::Directory { path: root.to_owned(), source })?;
        if let Some(lock) = taken {
            return Ok(lock);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(LedgerError::Busy)
}
