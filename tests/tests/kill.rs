//! `kill -9` at any moment and a new start over the same folder: nothing that was settled is lost, nothing that was open is
//! forgotten.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use portcullis_tests::{Client, Connection, Gateway, Setup, chat, demo, messages, sse};
use serde_json::Value;
use tokio::task::JoinSet;

const KILLS: u64 = 30;

/// What clients know for certain.
#[derive(Clone, Default)]
struct Known {
    /// Requests whose answer's head came: something was reserved for them.
    begun: BTreeSet<String>,
    /// Requests whose answer came to its end.
    ended: BTreeSet<String>,
    /// Receipts that were read, as they were.
    receipts: Vec<(String, Value)>,
}

/// Asks until the connection is gone.
async fn ask(client: Client, number: usize, known: Arc<Mutex<Known>>, stop: Arc<AtomicBool>) {
    let mut round = number;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        if exchange(&client, round, &known).await.is_err() {
            // Killed, or about to be seen killed.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn exchange(client: &Client, round: usize, known: &Mutex<Known>) -> anyhow::Result<()> {
    let stream = round.is_multiple_of(2);
    let model = ["demo/demo", "demo-anthropic/demo", "demo/demo-cut", "demo/demo-error-500", "demo/demo-long-200"];
    let model = model[round / 2 % model.len()];
    let (path, body) = match round % 3 {
        0 => ("/v1/messages", messages(model, "hello", stream)),
        _ => ("/v1/chat/completions", chat(model, "hello", stream)),
    };
    let lock = || known.lock().expect("no panic while held");
    let connection = Connection::open(client).await?;
    let mut answer = connection.stream(path, body.to_string()).await?;
    let id = answer.id();
    lock().begun.insert(id.clone());
    let (text, complete) = answer.rest().await;
    let whole = if stream && answer.status == StatusCode::OK { sse::ended(&sse::events(&text)) } else { complete };
    if !whole {
        return Ok(());
    }
    lock().ended.insert(id.clone());
    if round.is_multiple_of(4) {
        let mut connection = Connection::open(client).await?;
        let receipt = connection.get(&format!("/v1/receipts/{id}")).await?;
        if receipt.status == StatusCode::OK {
            lock().receipts.push((id, receipt.json()));
        }
    }
    Ok(())
}

async fn check(gateway: &Gateway, client: &Client, known: &Known, asked: u64) {
    let ledger = gateway.ledger().await;
    let entries = ledger.entries().await;
    let with_end: BTreeSet<_> = entries.iter().map(|entry| entry.request.clone()).collect();
    let rows: BTreeSet<_> = ledger.requests().await.into_iter().collect();
    for id in &known.begun {
        assert!(with_end.contains(id), "{id} was begun and is forgotten");
    }
    for id in &known.ended {
        assert!(rows.contains(id), "{id} came to its end and has no row");
    }
    // Whatever a provider was asked was reserved before, and each reservation has its end now.
    assert!(entries.len() as u64 >= asked, "{} ends for {asked} requests to providers", entries.len());
    for entry in &entries {
        match entry.kind.as_str() {
            "settled" => assert!(entry.amount <= entry.reserved, "{entry:?}"),
            "refunded" => assert_eq!(entry.amount, 0, "{entry:?}"),
            "quarantined" => assert_eq!(entry.amount, entry.reserved, "{entry:?}"),
            other => panic!("{other}: {entry:?}"),
        }
    }
    for (id, receipt) in &known.receipts {
        let now = client.get(&format!("/v1/receipts/{id}")).await.ok().json();
        assert_eq!(&now, receipt, "a receipt that was read is another now");
    }
}

/// Different at each run; told, so that a failure can be looked into.
fn moments() -> impl Iterator<Item = Duration> {
    let mut state = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64) | 1;
    eprintln!("moments of seed {state}");
    (0..KILLS).map(move |_| {
        // xorshift64: any spread will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_micros(state % 600_000)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: kills and restarts the gateway many times"]
async fn killed_at_any_moment() {
    let demo = demo().await;
    let mut gateway = Setup::demo(&demo).with("[routing]\nbreaker_failures = 100000\n").start().await;
    let key = gateway.client().await.key;
    let known = Arc::new(Mutex::new(Known::default()));
    for moment in moments() {
        let client = Client { address: gateway.address, key: key.clone() };
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..12 {
            tasks.spawn(ask(client.clone(), number, Arc::clone(&known), Arc::clone(&stop)));
        }
        tokio::time::sleep(moment).await;
        gateway.signal(libc::SIGKILL);
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no client panics");
        }
        // Now and then once more while it recovers.
        gateway = gateway.kill_and_restart().await;
        if moment.as_micros() % 4 == 0 {
            gateway = gateway.kill_and_restart().await;
        }
        let client = Client { address: gateway.address, key: key.clone() };
        // All that was ever known, not only of this life.
        let known = known.lock().expect("no panic while held").clone();
        check(&gateway, &client, &known, demo.stats().requests).await;
    }
    let ledger = gateway.ledger().await;
    let entries = ledger.entries().await;
    let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    eprintln!("{} settled, {} refunded, {} quarantined", count("settled"), count("refunded"), count("quarantined"));
    assert!(count("settled") > 0 && count("refunded") > 0 && count("quarantined") > 0, "every end was met");
    assert!(!gateway.log().contains("panicked"));
}
