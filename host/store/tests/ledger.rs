//! The ledger in one process: ends, order, back-pressure, a database that fails.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use portcullis_core::{KeyId, ManualClock, OrganisationId, RequestId, SystemClock, Usage};
use portcullis_store::backend::{Answer, Backend, LedgerBackend};
use portcullis_store::ledger::{JournalError, LedgerError};
use portcullis_store::{
    Batch, Ledger, LedgerOptions, ReceiptScope, Settlement, Store, StoreError, StoreOptions, UsageFilter,
};

#[tokio::test]
async fn a_reservation_ends_in_one_of_three_ways() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let clock = Arc::new(ManualClock::at(NOW + 5));
    let store = Store::open_with_clock(&StoreOptions::at(&path), clock).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let id = request_id();
    ledger.reserve(reserve(id, 1, 100), unbudgeted()).unwrap().refund("upstream-refused").unwrap();
    ledger.reserve(reserve(id, 2, 200), unbudgeted()).unwrap().quarantine("connection-lost").unwrap();
    ledger.reserve(reserve(id, 3, 300), unbudgeted()).unwrap().settle(Settlement::of(cost(120))).unwrap();
    drop(ledger.reserve(reserve(id, 4, 400), unbudgeted()).unwrap());
    // Dearer than its bound: the truth is written.
    ledger.reserve(reserve(id, 5, 10), unbudgeted()).unwrap().settle(Settlement::of(cost(11))).unwrap();
    let open = ledger.reserve(reserve(id, 6, 600), unbudgeted()).unwrap();
    ledger.flush().await.unwrap();
    let of = |entry: &Entry| (entry.attempt, entry.kind.clone(), entry.reserved, entry.amount, entry.reason.clone());
    let row =
        |attempt, kind: &str, reserved, amount, reason: &str| (attempt, kind.into(), reserved, amount, reason.into());
    let written: Vec<_> = entries(&path).await.iter().map(of).collect();
    assert_eq!(
        written,
        [
            row(1, "refunded", 100, 0, "upstream-refused"),
            row(2, "quarantined", 200, 200, "connection-lost"),
            row(3, "settled", 300, 120, "ok"),
            row(4, "quarantined", 400, 400, "dropped"),
            row(5, "settled", 10, 11, "ok"),
        ]
    );
    // One that outlives the ledger still ends, though only the next start writes it.
    ledger.close().await.unwrap();
    open.settle(Settlement::of(cost(6))).unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let written: Vec<_> = entries(&path).await.iter().map(of).collect();
    assert_eq!(written[5], row(6, "settled", 600, 6, "ok"));
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_ledger_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions::at(directory.path().join("p.db"))).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    ledger.clone().close().await.unwrap();
    let refused = ledger.reserve(reserve(request_id(), 1, 1), unbudgeted()).unwrap_err();
    assert!(matches!(refused, LedgerError::Journal(JournalError::Closed)), "{refused}");
}

#[tokio::test]
async fn a_receipt_is_there_at_once_and_only_for_its_owners() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions::at(directory.path().join("p.db"))).await.unwrap();
    let ledger =
        store.ledger(LedgerOptions { group: Duration::from_secs(60), ..LedgerOptions::default() }).await.unwrap();
    let (id, mine, other) = (request_id(), KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let made = receipt(id, mine, OrganisationId::DEFAULT, Usage { input: 3, output: 4, ..Usage::default() });
    ledger.record(&made).unwrap();
    let read = ledger.receipt(id, ReceiptScope::Key(mine)).await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<portcullis_core::Receipt>(&read).unwrap(), made);
    assert_eq!(ledger.receipt(id, ReceiptScope::Key(other)).await.unwrap(), None);
    let organisation = |byte| ReceiptScope::Organisation(OrganisationId::from_bytes([byte; 16]));
    assert!(ledger.receipt(id, organisation(0)).await.unwrap().is_some());
    assert_eq!(ledger.receipt(id, organisation(9)).await.unwrap(), None);
    assert_eq!(ledger.receipt(request_id(), ReceiptScope::Key(mine)).await.unwrap(), None);
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_receipt_too_long_for_a_segment_leaves_its_usage() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions::at(directory.path().join("p.db"))).await.unwrap();
    let ledger = store.ledger(LedgerOptions { segment_bytes: 1 << 16, ..LedgerOptions::default() }).await.unwrap();
    let (id, key) = (request_id(), KeyId::from_bytes([1; 16]));
    let mut long = receipt(id, key, OrganisationId::DEFAULT, Usage { input: 3, ..Usage::default() });
    let note = portcullis_core::receipt::Note { code: "dropped".into(), subject: "x".repeat(1000) };
    long.notes = vec![note; 100];
    ledger.record(&long).unwrap();
    assert_eq!(ledger.receipt(id, ReceiptScope::Key(key)).await.unwrap(), None);
    assert_eq!(store.usage(&UsageFilter::default()).await.unwrap()[0].usage.input, 3);
    ledger.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_reservations_do_not_pin_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let store = Store::open(&StoreOptions::at(&path)).await.unwrap();
    let options = LedgerOptions {
        group: Duration::from_millis(1),
        segment_bytes: 1 << 16,
        segments: 8,
        ..LedgerOptions::default()
    };
    let ledger = store.ledger(options.clone()).await.unwrap();
    let (mut long, mut count) = (Vec::new(), 0);
    // Some 100 segments' worth in a journal of 8, with one long reservation in nearly every segment.
    for round in 0..200 {
        long.push((request_id(), ledger.reserve(reserve(request_id(), 1, 7), unbudgeted()).unwrap()));
        for _ in 0..100 {
            ledger.reserve(reserve(request_id(), 1, 5), unbudgeted()).unwrap().settle(Settlement::of(cost(5))).unwrap();
            count += 1;
        }
        if round % 4 == 0 {
            ledger.flush().await.unwrap();
        }
    }
    ledger.flush().await.unwrap();
    let files = || walk(&path.with_file_name("p.db.ledger"));
    assert!(files() <= 12, "{} segments remain", files());
    // Half end here, half are found by the next start: through however many copies, each has one end.
    for (_, reservation) in long.drain(..100) {
        reservation.settle(Settlement::of(cost(3))).unwrap();
    }
    let rest: Vec<_> = long.into_iter().map(|(_, reservation)| std::mem::ManuallyDrop::new(reservation)).collect();
    ledger.close().await.unwrap();
    assert_eq!(entries(&path).await.len(), count + 100);
    // A reservation that is never dropped holds this process's journal; another process would find it dead. Here the lock
    // is let go by hand, as the kernel does for the dead.
    let mut rest: Vec<_> = rest.into_iter().map(std::mem::ManuallyDrop::into_inner).collect();
    while let Some(reservation) = rest.pop() {
        reservation.refund("late").unwrap();
    }
    let ledger = store.ledger(options).await.unwrap();
    ledger.close().await.unwrap();
    let entries = entries(&path).await;
    assert_eq!(entries.len(), count + 200);
    assert_eq!(entries.iter().map(|entry| entry.amount).sum::<i64>(), (count * 5 + 100 * 3) as i64);
    assert_eq!(files(), 0);
}

fn walk(root: &std::path::Path) -> usize {
    let directories =
        std::fs::read_dir(root).unwrap().filter_map(|entry| std::fs::read_dir(entry.unwrap().path()).ok());
    directories.flatten().filter(|file| file.as_ref().unwrap().file_name() != "lock").count()
}

/// A database that refuses writes while `broken`.
struct Flaky {
    inner: Arc<dyn Backend>,
    broken: AtomicBool,
    refused: AtomicUsize,
}

impl LedgerBackend for Flaky {
    fn write<'a>(&'a self, writer: [u8; 16], batch: &'a Batch<'a>) -> Answer<'a, ()> {
        if self.broken.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Box::pin(async { Err(StoreError::Corrupt { what: "disk, says the test" }) });
        }
        self.inner.write(writer, batch)
    }
    fn receipt(&self, id: RequestId, scope: ReceiptScope) -> Answer<'_, Option<Vec<u8>>> {
        self.inner.receipt(id, scope)
    }
}

#[tokio::test]
async fn a_database_that_fails_delays_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let sound = Store::open(&StoreOptions::at(&path)).await.unwrap();
    let flaky =
        Arc::new(Flaky { inner: sound.backend().clone(), broken: AtomicBool::new(true), refused: AtomicUsize::new(0) });
    let journals = directory.path().join("journals");
    let options = LedgerOptions {
        group: Duration::from_millis(1),
        segment_bytes: 1 << 16,
        segments: 4,
        ..LedgerOptions::default()
    };
    let ledger =
        Ledger::open(flaky.clone(), sound.backend().clone(), Arc::new(SystemClock), &journals, options).await.unwrap();

    ledger.reserve(reserve(request_id(), 1, 9), unbudgeted()).unwrap().settle(Settlement::of(cost(9))).unwrap();
    let failed = ledger.flush().await.unwrap_err();
    assert!(matches!(failed, LedgerError::Behind(_)), "{failed}");

    // The journal fills; then nothing new is let in, while what is open still finds its end.
    let mut open = Vec::new();
    let refusal = loop {
        match ledger.reserve(reserve(request_id(), 1, 5), unbudgeted()) {
            Ok(reservation) => open.push(reservation),
            Err(error) => break error,
        }
        assert!(open.len() < 100_000);
    };
    assert!(matches!(refusal, LedgerError::Journal(JournalError::Full)), "{refusal}");
    assert!(open.len() > 500);
    let refused = ledger.record(&denied(request_id(), KeyId::from_bytes([7; 16]))).unwrap_err();
    assert!(matches!(refused, LedgerError::Journal(JournalError::Full)), "{refused}");
    let ending = open.len() - 100;
    for reservation in open.drain(..ending) {
        reservation.settle(Settlement::of(cost(5))).unwrap();
    }
    assert!(flaky.refused.load(Ordering::SeqCst) > 0);
    assert!(entries(&path).await.is_empty());

    flaky.broken.store(false, Ordering::SeqCst);
    let mut tries = 0;
    while let Err(error) = ledger.flush().await {
        assert!(tries < 20, "{error}");
        tries += 1;
    }
    let rest = open.len();
    drop(open);
    ledger.flush().await.unwrap();
    // There is room again.
    ledger.reserve(reserve(request_id(), 1, 1), unbudgeted()).unwrap().settle(Settlement::of(cost(1))).unwrap();
    ledger.close().await.unwrap();
    let entries = entries(&path).await;
    assert_eq!(entries.len(), 2 + ending + rest);
    assert_eq!(entries.iter().map(|entry| entry.amount).sum::<i64>(), 9 + 1 + 5 * (ending + rest) as i64);
}

#[tokio::test]
async fn a_journal_of_an_unknown_kind_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let store = Store::open(&StoreOptions::at(&path)).await.unwrap();
    let epoch = directory.path().join("p.db.ledger/0");
    std::fs::create_dir_all(&epoch).unwrap();
    std::fs::write(epoch.join("00000001.journal"), vec![1; 4096]).unwrap();
    let error = store.ledger(LedgerOptions::default()).await.err().unwrap();
    assert!(matches!(error, LedgerError::Unreadable { .. }), "{error}");
    assert!(epoch.join("00000001.journal").exists());
}
