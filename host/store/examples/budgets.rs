//! What budgets cost a request: nanoseconds of one thread to find those that apply, hold, reserve and settle, with none, one and
//! three hard budgets, and how often the database is asked for a slice.
//!
//! `cargo run --release -p portcullis-store --example budgets -- [requests]`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_core::{Clock, Cost, KeyId, NanoUsd, OrganisationId, RequestId, SystemClock};
use portcullis_store::budgets::{Mode, NewBudget, Period, Scope, Subject};
use portcullis_store::{Actor, Ledger, LedgerOptions, ReserveRequest, Settlement, Store, StoreOptions};

const WORST: u64 = 5_000_000;
const COST: u64 = 400_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let requests: u64 = std::env::args().nth(1).map_or(100_000, |count| count.parse().expect("a number"));
    for budgets in [0, 1, 3] {
        let directory = std::env::temp_dir().join(format!("portcullis-budgets-{}-{budgets}", std::process::id()));
        let store = Store::open(&StoreOptions::at(directory.join("p.db"))).await.expect("a database");
        let scopes = [Scope::Organisation, Scope::Provider("openai".into()), Scope::Model("gpt".into())];
        for scope in scopes.into_iter().take(budgets) {
            let new = NewBudget {
                organisation: OrganisationId::DEFAULT,
                name: scope.to_string(),
                scope,
                period: Period::from_parts("month", false, Some("Europe/Berlin")).expect("a period"),
                limit: NanoUsd::new(1 << 60).expect("an amount"),
                mode: Mode::Hard,
                thresholds: vec![50, 80, 100],
            };
            store.create_budget(&Actor::system(), new).await.expect("a budget");
        }
        let ledger = store.ledger(LedgerOptions::default()).await.expect("a ledger");
        let asked = run(&ledger, 1_000).await;
        let begun = Instant::now();
        let (mut spent, later) = (Duration::ZERO, AtomicU64::new(0));
        let mut left = requests;
        // In bursts, so that the writer keeps up.
        while left > 0 {
            let burst = left.min(2_000);
            let before = Instant::now();
            later.fetch_add(run(&ledger, burst).await, Ordering::Relaxed);
            spent += before.elapsed();
            left -= burst;
            ledger.flush().await.expect("it is written");
        }
        println!(
            "{budgets} budgets: {:.0} ns a request; asked the database {asked} times in the first 1,000 requests and {} \
             times in {requests} after; {:.1} s in all",
            spent.as_nanos() as f64 / requests as f64,
            later.load(Ordering::Relaxed),
            begun.elapsed().as_secs_f64()
        );
        ledger.close().await.expect("it closes");
        let _ = std::fs::remove_dir_all(directory);
    }
}

/// Serves so many requests one after the other, and says how often the database was asked.
async fn run(ledger: &Ledger, requests: u64) -> u64 {
    let clock = Arc::new(SystemClock);
    let (provider, model): (Arc<str>, Arc<str>) = ("openai".into(), "gpt".into());
    let key = KeyId::from_bytes([7; 16]);
    let total = |amount| NanoUsd::new(amount).expect("an amount");
    let mut asked = 0;
    for _ in 0..requests {
        let now_ms = clock.now_ms();
        let applicable = ledger.applicable(&Subject {
            organisation: OrganisationId::DEFAULT,
            team: None,
            key,
            user: None,
            provider: &provider,
            model: &model,
            tags: &[],
        });
        let hold = match ledger.try_hold(&applicable, total(WORST), NanoUsd::ZERO, now_ms).expect("there is room") {
            Some(hold) => hold,
            None => {
                asked += 1;
                ledger.hold(&applicable, total(WORST), NanoUsd::ZERO, now_ms).await.expect("there is room")
            }
        };
        let request = ReserveRequest {
            request_id: RequestId::new(now_ms, &mut rand::rng()),
            attempt: 1,
            key_id: key,
            organisation: OrganisationId::DEFAULT,
            provider: (&*provider).into(),
            model: (&*model).into(),
            worst: total(WORST),
            now_ms,
        };
        let reservation = ledger.reserve(request, hold).expect("it is reserved");
        let cost = Cost { total: total(COST), input: total(COST / 2), output: total(COST / 2) };
        reservation.settle(Settlement::of(cost)).expect("it is settled");
    }
    asked
}
