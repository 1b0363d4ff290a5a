//! The one task that brings the journal's records into the database, in groups, and gives finished segments back.
//!
//! It reads each record once, in order, and moves on only when its transaction is committed. It knows which reservations are
//! open and in which segment each stands; a segment goes when it is read and holds no open one. Long streams would pin old
//! segments, so their reservations are carried: repeated at the journal's end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::journal::{Journal, Live, Room};
use super::record::{self, Record, ReservationKey};
use super::segment::HEAD;
use super::{LedgerOptions, Signals};
use crate::backend::LedgerBackend;
use crate::budgets::Budgets;
use crate::encode;
use crate::error::StoreError;
use crate::fail::point;
use crate::rows::Batch;

/// Segments in use before open reservations of the oldest are carried.
const CARRY_ABOVE: usize = 4;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Records whose effect is committed.
    pub written: u64,
    pub failures: u64,
    pub error: Option<Arc<str>>,
}

pub(super) struct Writer {
    journal: Arc<Journal>,
    backend: Arc<dyn LedgerBackend>,
    budgets: Arc<Budgets>,
    signals: Arc<Signals>,
    progress: watch::Sender<Progress>,
    epoch: [u8; 16],
    options: LedgerOptions,
    /// Where the next record is: a segment's serial number and a place in it.
    cursor: (u64, usize),
    read: u64,
    open: HashMap<ReservationKey, u64>,
    /// Open reservations by segment.
    pins: BTreeMap<u64, usize>,
    /// The newest segment that was carried.
    carried: u64,
    /// Kept for its room.
    changes: Vec<Change>,
}

/// What a record does to the open reservations, with the segment it stands in.
enum Change {
    Opened(ReservationKey, u64),
    Carried(ReservationKey, u64),
    Closed(ReservationKey),
}

/// How far a group reaches.
struct Read {
    cursor: (u64, usize),
    records: u64,
}

impl Writer {
    pub fn new(
        journal: Arc<Journal>,
        backend: Arc<dyn LedgerBackend>,
        budgets: Arc<Budgets>,
        signals: Arc<Signals>,
        progress: watch::Sender<Progress>,
        epoch: [u8; 16],
        options: LedgerOptions,
    ) -> Self {
        let first = journal.live().first().map_or(1, |live| live.segment.serial());
        Self {
            journal,
            backend,
            budgets,
            signals,
            progress,
            epoch,
            options,
            cursor: (first, HEAD),
            read: 0,
            open: HashMap::new(),
            pins: BTreeMap::new(),
            carried: 0,
            changes: Vec::new(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "on a blocking thread, which serves no request")]
    pub async fn run(mut self) {
        let runtime = Handle::current();
        let mut wait = RETRY_FIRST;
        loop {
            let closing = self.signals.closing.load(Ordering::SeqCst);
            // Reading a journal's pages and writing a database block: not where requests are served.
            let on = runtime.clone();
            let drained = tokio::task::spawn_blocking(move || {
                let outcome = on.block_on(self.drain());
                (self, outcome)
            });
            let Ok((back, outcome)) = drained.await else {
                tracing::error!("the ledger's writer died; what was reserved and ended stays in the journal");
                return;
            };
            self = back;
            match outcome {
                Ok(()) if closing => break,
                Ok(()) => {
                    wait = RETRY_FIRST;
                    self.rest().await;
                }
                Err(_) if closing => return,
                Err(_) => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_LAST);
                }
            }
        }
        self.budgets.close().await;
        if !self.open.is_empty() || !self.journal.seal(self.read) {
            return;
        }
        point("close.before");
        // While the journal is there the next start would do the same.
        if let Err(error) = self.budgets.end_leases().await {
            tracing::warn!(%error, "what was leased could not be given back; the next start does");
            return;
        }
        point("close.after");
        if let Err(error) = self.journal.remove() {
            tracing::warn!(%error, "the journal could not be removed");
        }
    }

    /// Waits for work, then for a group of it to come together.
    async fn rest(&self) {
        self.signals.idle.store(true, Ordering::SeqCst);
        // Looked at under the journal's lock: an append before it is seen here, one after it sees `idle`.
        if self.journal.appended() == self.read && !self.signals.closing.load(Ordering::SeqCst) {
            self.signals.work.notified().await;
        }
        self.signals.idle.store(false, Ordering::SeqCst);
        tokio::select! {
            () = tokio::time::sleep(self.options.group) => {}
            () = self.signals.hurry.notified() => {}
        }
    }

    /// Writes all there is. After an error nothing has moved on: the same records are read again.
    async fn drain(&mut self) -> Result<(), StoreError> {
        loop {
            let live = self.journal.live();
            let mut changes = std::mem::take(&mut self.changes);
            changes.clear();
            let (batch, read) = self.gather(&live, &mut changes);
            if read.records == 0 {
                break;
            }
            point("write.before");
            if !batch.is_empty()
                && let Err(error) = self.backend.write(self.epoch, &batch).await
            {
                tracing::error!(%error, rows = batch.len(), "entries could not be written; they stay in the journal");
                self.progress.send_modify(|progress| {
                    progress.failures += 1;
                    progress.error = Some(error.to_string().into());
                });
                return Err(error);
            }
            point("write.after");
            for change in changes.drain(..) {
                self.change(change);
            }
            self.changes = changes;
            self.cursor = read.cursor;
            self.read += read.records;
            self.progress.send_modify(|progress| progress.written = self.read);
            drop(batch);
            self.tidy(&live);
        }
        if self.journal.wants_spare() {
            // Failure is no loss: an append tries again when it needs the room, and reports it.
            let _ = self.journal.prepare();
        }
        Ok(())
    }

    /// The next records, at most a group of them, and what they change when they are written.
    fn gather<'a>(&self, live: &'a [Live], changes: &mut Vec<Change>) -> (Batch<'a>, Read) {
        let mut batch = Batch { epoch: self.epoch, ..Batch::default() };
        let mut read = Read { cursor: self.cursor, records: 0 };
        for Live { segment, end } in live {
            let serial = segment.serial();
            if serial < read.cursor.0 {
                continue;
            }
            if serial > read.cursor.0 {
                read.cursor = (serial, HEAD);
            }
            while read.cursor.1 < *end {
                if batch.len() >= self.options.group_rows {
                    return (batch, read);
                }
                let (payload, next) = segment.read(read.cursor.1).expect("what was appended reads back");
                read.cursor.1 = next;
                read.records += 1;
                match record::decode(payload).expect("what was encoded decodes") {
                    Record::Reserve(reserve) => changes.push(Change::Opened(reserve.key(), serial)),
                    Record::Carry(reserve) => changes.push(Change::Carried(reserve.key(), serial)),
                    Record::End(entry) => {
                        changes.push(Change::Closed((entry.request_id, entry.attempt)));
                        batch.entries.push(entry);
                    }
                    Record::Request(request) => batch.requests.push(request),
                }
            }
        }
        (batch, read)
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Opened(key, serial) => self.opened(key, serial),
            Change::Carried(key, serial) => {
                // Its end may have come between.
                if self.closed(key) {
                    self.opened(key, serial);
                }
            }
            Change::Closed(key) => {
                self.closed(key);
            }
        }
    }

    fn opened(&mut self, key: ReservationKey, serial: u64) {
        self.open.insert(key, serial);
        *self.pins.entry(serial).or_default() += 1;
    }

    fn closed(&mut self, key: ReservationKey) -> bool {
        let Some(serial) = self.open.remove(&key) else { return false };
        if let Some(count) = self.pins.get_mut(&serial) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&serial);
            }
        }
        true
    }

    /// Gives back what is read, committed and pinned by nothing; carries what pins the oldest. Nothing of `live` is borrowed
    /// any more.
    fn tidy(&mut self, live: &[Live]) {
        let used = live.len();
        for part in live {
            // A segment given back may begin again under a new number at once: each is looked at once, in order.
            let serial = part.segment.serial();
            if serial >= self.cursor.0 {
                break;
            }
            if !self.pins.contains_key(&serial) {
                self.journal.release(serial);
            } else if used > CARRY_ABOVE && serial > self.carried {
                self.carry(part);
            }
        }
    }

    fn carry(&mut self, Live { segment, end }: &Live) {
        let serial = segment.serial();
        self.carried = serial;
        let mut at = HEAD;
        while at < *end {
            let (payload, next) = segment.read(at).expect("what was appended reads back");
            at = next;
            let (Record::Reserve(reserve) | Record::Carry(reserve)) =
                record::decode(payload).expect("what was encoded decodes")
            else {
                continue;
            };
            if self.open.get(&reserve.key()) != Some(&serial) {
                continue;
            }
            let mut bytes = Vec::new();
            let length = encode::into(&Record::Carry(reserve), &mut bytes);
            if self.journal.append(&bytes[..length], Room::Record).is_err() {
                // The segment stays where it is; a later round tries again.
                self.carried = serial - 1;
                return;
            }
        }
    }
}
