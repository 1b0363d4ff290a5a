//! What is SQLite's own: files, migrations, the schema's guards. And the cache, over two stores as two processes would be.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use portcullis_core::{Environment, KeyHash, KeyId, ManualClock, OrganisationId, Usage};
use portcullis_store::{
    Actor, Batch, Cached, KeyRefusal, LedgerOptions, NewKey, ReceiptScope, RequestRow, Settlement, Store, StoreOptions,
};

#[tokio::test]
async fn files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/deeper/p.db");
    let store = Store::open(&StoreOptions::at(&path)).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    ledger.reserve(reserve(request_id(), 1, 1), unbudgeted()).unwrap().settle(Settlement::of(cost(1))).unwrap();
    ledger.flush().await.unwrap();
    let mut waiting = vec![directory.path().join("new")];
    let mut seen = 0;
    while let Some(place) = waiting.pop() {
        let metadata = std::fs::metadata(&place).unwrap();
        let want = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, want, "{}", place.display());
        seen += 1;
        if metadata.is_dir() {
            waiting.extend(std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen >= 7, "only {seen} files");
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn events_are_append_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let store = Store::open(&StoreOptions::at(&path)).await.unwrap();
    store.bootstrap(&Actor::cli("ada"), false).await.unwrap();
    for sql in ["UPDATE audit_events SET action = 'x'", "DELETE FROM audit_events"] {
        let error = execute(&path, sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn entries_are_append_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let store = Store::open(&StoreOptions::at(&path)).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    ledger.reserve(reserve(request_id(), 1, 2), unbudgeted()).unwrap().settle(Settlement::of(cost(1))).unwrap();
    ledger.close().await.unwrap();
    for sql in ["UPDATE ledger_entries SET amount_nano = 0", "DELETE FROM ledger_entries"] {
        let error = execute(&path, sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
    assert_eq!(entries(&path).await.len(), 1);
}

/// What every writer of pages does after a start that found its journal, and what retention will do.
#[tokio::test]
async fn a_row_reads_its_own_receipt_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let store = Store::open(&StoreOptions::at(&path)).await.unwrap();
    let key = KeyId::from_bytes([1; 16]);
    let made: Vec<_> = (0..3)
        .map(|_| receipt(request_id(), key, OrganisationId::DEFAULT, Usage { input: 1, ..Usage::default() }))
        .collect();
    let write = async |which: std::ops::Range<usize>| {
        let requests =
            made[which].iter().map(|one| RequestRow::of(one, None, Some(one.request_id.as_bytes()))).collect();
        store.backend().write([1; 16], &Batch { requests, ..Batch::default() }).await.unwrap();
    };
    let read = async |at: usize| store.backend().receipt(made[at].request_id, ReceiptScope::Key(key)).await.unwrap();
    write(0..2).await;
    write(0..2).await;
    assert_eq!(count(&path, "SELECT count(*) FROM receipt_pages").await, 1);
    write(1..3).await;
    for (at, one) in made.iter().enumerate() {
        assert_eq!(read(at).await.as_deref(), Some(&one.request_id.as_bytes()[..]), "{at}");
    }
    // Another page has come to the number of one that expired, then one of another organisation.
    execute(&path, "UPDATE receipt_pages SET content = (SELECT content FROM receipt_pages WHERE id = 2) WHERE id = 1")
        .await
        .unwrap();
    assert_eq!((read(0).await, read(1).await), (None, None));
    assert!(read(2).await.is_some());
    execute(&path, "UPDATE receipt_pages SET organisation_id = randomblob(16) WHERE id = 2").await.unwrap();
    assert_eq!(read(2).await, None);
    execute(&path, "DELETE FROM receipt_pages").await.unwrap();
    assert_eq!(read(2).await, None);
}

async fn count(path: &std::path::Path, sql: &'static str) -> i64 {
    use sqlx::Connection;
    let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn the_cache_follows_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let gateway = Store::open(&StoreOptions::at(&path)).await.unwrap();
    let command = Store::open_with_clock(&StoreOptions::at(&path), Arc::new(ManualClock::at(NOW))).await.unwrap();
    let cli = Actor::cli("ada");
    let early = command.create_key(&cli, NewKey::new("early", Environment::Production)).await.unwrap();
    let cache = gateway.key_cache().await.unwrap();
    assert!(matches!(cache.get(&early.secret.hash(), NOW), Cached::Found(record) if record.record == early.record));

    // Made a moment ago: unknown to memory, found at once.
    let mut new = NewKey::new("late", Environment::Development);
    new.expires_ms = Some(NOW + 10);
    let late = command.create_key(&cli, new).await.unwrap();
    let hash = late.secret.hash();
    assert_eq!(cache.find(&hash, NOW).await.unwrap().unwrap().record, late.record);
    assert_eq!(cache.find(&hash, NOW + 10).await.unwrap(), Err(KeyRefusal::Expired));

    // Without anybody asking for it, a key becomes known, and a revocation holds.
    let third = command.create_key(&cli, NewKey::new("third", Environment::Development)).await.unwrap();
    let hash = third.secret.hash();
    within(Duration::from_secs(2), || matches!(cache.get(&hash, NOW), Cached::Found(_))).await;
    command.revoke_key(&cli, third.record.id).await.unwrap();
    within(Duration::from_secs(2), || matches!(cache.get(&hash, NOW), Cached::Refused(KeyRefusal::Revoked))).await;
    assert_eq!(cache.find(&hash, NOW).await.unwrap(), Err(KeyRefusal::Revoked));

    // In one's own process it holds when `refresh` returns.
    gateway.revoke_key(&cli, early.record.id).await.unwrap();
    cache.refresh().await.unwrap();
    assert!(matches!(cache.get(&early.secret.hash(), NOW), Cached::Refused(KeyRefusal::Revoked)));
    assert_eq!(cache.len(), 3);
}

async fn within(limit: Duration, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "it did not come to hold");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn absence_is_remembered_for_a_moment_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions::at(directory.path().join("p.db"))).await.unwrap();
    let cache = store.key_cache().await.unwrap();
    let hash = KeyHash::of("pc_dev_nobody");
    assert!(matches!(cache.get(&hash, NOW), Cached::Unknown));
    assert_eq!(cache.find(&hash, NOW).await.unwrap(), Err(KeyRefusal::Unknown));
    assert!(matches!(cache.get(&hash, NOW), Cached::Refused(KeyRefusal::Unknown)));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(matches!(cache.get(&hash, NOW), Cached::Unknown));
    // A flood of guesses leaves no more than a bounded memory, and is answered.
    for guess in 0..6_000 {
        let hash = KeyHash::of(&format!("guess {guess}"));
        assert_eq!(cache.find(&hash, NOW).await.unwrap(), Err(KeyRefusal::Unknown));
    }
}
