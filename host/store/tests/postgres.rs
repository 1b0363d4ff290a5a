//! What is PostgreSQL's own: several processes on one database, a server that goes, freezes and comes back.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::*;
use portcullis_core::{Environment, KeyId, OrganisationId, SystemClock, Usage};
use portcullis_store::{
    Actor, Cached, KeyFilter, KeyRefusal, Ledger, LedgerOptions, NewKey, Settlement, Store, StoreError, UsageFilter,
};
use portcullis_test_postgres::Server;

/// Longer than anything takes that is not broken, on a machine that does much else.
const SOON: Duration = Duration::from_secs(20);

async fn within(mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < SOON, "it did not come to hold");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn entries_are_append_only() {
    let Some(database) = Database::postgres() else { return };
    let ledger = database.open().await.ledger(LedgerOptions::default()).await.unwrap();
    ledger.reserve(reserve(request_id(), 1, 2), unbudgeted()).unwrap().settle(Settlement::of(cost(1))).unwrap();
    ledger.close().await.unwrap();
    for sql in ["UPDATE ledger_entries SET amount_nano = 0", "DELETE FROM ledger_entries", "TRUNCATE ledger_entries"] {
        let error = database.execute(sql).await.unwrap_err();
        assert!(error.to_string().contains("ledger entries are append-only"), "{error}");
    }
    assert_eq!(database.entries().await.len(), 1);
    let error = database.execute("DELETE FROM audit_events").await.unwrap_err();
    assert!(error.to_string().contains("audit events are append-only"), "{error}");
}

#[tokio::test]
async fn a_watch_hears_of_changes_in_other_processes() {
    let Some(database) = Database::postgres() else { return };
    let (here, there) = (database.open().await, Store::open(&database.elsewhere("there")).await.unwrap());
    let mut watch = here.backend().watch_keys().await.unwrap();
    watch.changed().await.unwrap();
    let made = there.create_key(&Actor::system(), NewKey::new("k", Environment::Production)).await.unwrap();
    // Nobody polls once an hour: it is told.
    tokio::time::timeout(SOON, watch.wait(Duration::from_secs(3600))).await.unwrap();
    assert!(watch.changed().await.unwrap());
    there.revoke_key(&Actor::system(), made.record.id).await.unwrap();
    tokio::time::timeout(SOON, watch.wait(Duration::from_secs(3600))).await.unwrap();
    assert!(watch.changed().await.unwrap());
    let begun = Instant::now();
    watch.wait(Duration::from_millis(50)).await;
    assert!(begun.elapsed() >= Duration::from_millis(50) && !watch.changed().await.unwrap());
}

#[tokio::test]
async fn what_changed_while_nobody_listened_is_found() {
    let Some(server) = portcullis_test_postgres::own() else { return };
    let database = Database::at(server.database());
    let (here, there) = (database.open().await, Store::open(&database.elsewhere("there")).await.unwrap());
    let made = there.create_key(&Actor::system(), NewKey::new("k", Environment::Production)).await.unwrap();
    let cache = here.key_cache().await.unwrap();
    let mut watch = here.backend().watch_keys().await.unwrap();
    watch.changed().await.unwrap();
    let hash = made.secret.hash();
    server.stop();
    assert!(watch.changed().await.is_err());
    // It goes on with what it read, until its lease ends.
    assert!(matches!(cache.get(&hash, NOW), Cached::Found(_) | Cached::Lapsed));
    server.start_again();
    there.revoke_key(&Actor::system(), made.record.id).await.unwrap();
    assert!(watch.changed().await.unwrap());
    within(async || matches!(cache.get(&hash, NOW), Cached::Refused(KeyRefusal::Revoked))).await;
    // Frozen and thawed, the connection that it listens on is the same.
    server.freeze();
    watch.wait(Duration::from_millis(100)).await;
    server.thaw();
    assert!(!watch.changed().await.unwrap());
}

#[tokio::test]
async fn tls_is_as_the_url_says() {
    let Some(server) = portcullis_test_postgres::own() else { return };
    server.database();
    let (url, authority) = server.with_tls("test_0");
    let opened = async |query: String| Store::open(&Database::at(format!("{url}?{query}")).options()).await;
    let trusted = format!("sslrootcert={}", authority.display());
    opened(format!("sslmode=verify-full&{trusted}")).await.unwrap().keys(&KeyFilter::default()).await.unwrap();
    opened("sslmode=require".into()).await.unwrap();
    // Nobody whom the system trusts vouches for it; nor does it have this name.
    assert!(opened("sslmode=verify-full".into()).await.is_err());
    let other = format!("sslmode=verify-full&{trusted}&host=127.0.0.1");
    assert!(opened(other).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_silent_is_not_waited_for() {
    let Some(server) = portcullis_test_postgres::own() else { return };
    let database = Database::at(server.database());
    let store = database.open().await;
    store.keys(&KeyFilter::default()).await.unwrap();
    server.freeze();
    let begun = Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.keys(&KeyFilter::default()).await.unwrap_err() })
        })
        .collect();
    for call in calls {
        let error = call.await.unwrap();
        assert!(matches!(error, StoreError::Silent(_) | StoreError::Database(sqlx::Error::PoolTimedOut)), "{error}");
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    server.thaw();
    // Nothing is left of it, neither connections nor places in the pool.
    for _ in 0..20 {
        store.keys(&KeyFilter::default()).await.unwrap();
    }
}

/// Threads that reserve and settle as requests do, and what they did.
struct Load {
    going: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<(u64, u64, Duration)>>,
}

impl Load {
    fn start(ledger: &Ledger) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let threads = (0..2)
            .map(|_| {
                let (ledger, going) = (ledger.clone(), going.clone());
                std::thread::spawn(move || {
                    let (mut count, mut spent, mut slowest) = (0, 0, Duration::ZERO);
                    while going.load(Ordering::Relaxed) {
                        let (id, begun) = (request_id(), Instant::now());
                        let amount = 1 + count % 997;
                        let reservation = ledger.reserve(reserve(id, 1, 1_000), unbudgeted()).unwrap();
                        reservation.settle(Settlement::of(cost(amount))).unwrap();
                        let usage = Usage { input: 1, ..Usage::default() };
                        let made = receipt(id, KeyId::from_bytes([7; 16]), OrganisationId::DEFAULT, usage);
                        ledger.record(&made).unwrap();
                        slowest = slowest.max(begun.elapsed());
                        (count, spent) = (count + 1, spent + amount);
                        std::thread::sleep(Duration::from_micros(500));
                    }
                    (count, spent, slowest)
                })
            })
            .collect();
        Self { going, threads }
    }

    /// Requests, nano-dollars, and the longest that one was held up.
    fn stop(self) -> (u64, u64, Duration) {
        self.going.store(false, Ordering::Relaxed);
        self.threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .fold((0, 0, Duration::ZERO), |(count, spent, slowest), (more, cost, slow)| {
                (count + more, spent + cost, slowest.max(slow))
            })
    }
}

/// What `fault` does to the server costs no request anything, and the ledger nothing at all.
async fn nothing_is_lost_by(fault: impl AsyncFnOnce(&Server)) {
    let Some(server) = portcullis_test_postgres::own() else { return };
    let database = Database::at(server.database());
    let store = database.open().await;
    let options = LedgerOptions { group: Duration::from_millis(20), ..LedgerOptions::default() };
    let ledger = Ledger::open(
        store.backend().clone(),
        store.backend().clone(),
        Arc::new(SystemClock),
        &database.path().join("j"),
        options,
    )
    .await
    .unwrap();
    let load = Load::start(&ledger);
    tokio::time::sleep(Duration::from_millis(300)).await;
    fault(&server).await;
    let (count, spent, slowest) = load.stop();
    assert!(slowest < Duration::from_secs(1), "a request waited {slowest:?}");
    within(async || ledger.flush().await.is_ok()).await;
    assert_eq!(database.number("SELECT count(*) FROM ledger_entries").await, count as i64);
    assert_eq!(database.number("SELECT count(DISTINCT request_id) FROM ledger_entries").await, count as i64);
    assert_eq!(database.number("SELECT sum(amount_nano)::bigint FROM ledger_entries").await, spent as i64);
    let sums = &store.usage(&UsageFilter::default()).await.unwrap()[0];
    assert_eq!((sums.requests, sums.usage.input), (count, count));
    ledger.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_costs_the_ledger_nothing() {
    nothing_is_lost_by(async |server| {
        for _ in 0..3 {
            server.stop();
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.start_again();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_freezes_costs_the_ledger_nothing() {
    nothing_is_lost_by(async |server| {
        for _ in 0..3 {
            server.freeze();
            tokio::time::sleep(Duration::from_millis(700)).await;
            server.thaw();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: a group's patience is ten seconds"]
async fn a_server_that_freezes_for_long_costs_the_ledger_nothing() {
    nothing_is_lost_by(async |server| {
        server.freeze();
        // The group under way is given up, and others that find nobody.
        tokio::time::sleep(Duration::from_secs(18)).await;
        server.thaw();
    })
    .await;
}
