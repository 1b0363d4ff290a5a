//! What settling costs: CPU per request for reserve, settle and record with a receipt, the database's writes included.
//!
//! `cargo run --release -p portcullis-store --example settle [requests] [requests per second, 0 for as fast as it goes]`
//!
//! Requests have one thread, the writer another, so the two are told apart by their threads' time. `PART=none` shows what the
//! benchmark itself costs (making receipts), `PART=money` leaves receipts out, `FULL=1` has an fsync per group, `CORRELATION=1` a client's own
//! id on every request. `POSTGRES=1` writes
//! to a PostgreSQL that it starts, which fsyncs nothing; what that server's processes cost is not in the figures.

use std::time::{Duration, Instant};

use portcullis_core::receipt::{Attempt, Caller, CostLine, Outcome, PluginCall, Timings};
use portcullis_core::{
    Clock, Cost, Environment, KeyId, Name, NanoUsd, OrganisationId, Price, Rates, Receipt, RequestId, SystemClock,
    Usage,
};
use portcullis_store::budgets::Hold;
use portcullis_store::{LedgerOptions, ReserveRequest, Settlement, Store, StoreOptions, Synchronous};

/// User and system time of the whole process, or of this thread.
fn cpu(of: libc::c_int) -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a whole `rusage`, which the call fills.
    let usage = unsafe {
        libc::getrusage(of, usage.as_mut_ptr());
        usage.assume_init()
    };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

fn receipt(request_id: RequestId, key_id: KeyId, time_ms: u64, names: &[Name], cost: Cost, price: &Price) -> Receipt {
    let usage = Usage { input: 900 + time_ms % 89, output: 120 + time_ms % 83, ..Usage::default() };
    Receipt {
        request_id,
        time_ms,
        caller: Caller {
            key_id,
            organisation: OrganisationId::DEFAULT,
            team: None,
            user: None,
            environment: Environment::Production,
        },
        operation: names[0].clone(),
        dialect: names[1].clone(),
        route: names[0].clone(),
        requested_model: "openai/gpt-4o-mini".into(),
        stream: false,
        passthrough: true,
        routing: None,
        plugins: ["dialect", "policy", "guard", "provider"]
            .into_iter()
            .map(|role| PluginCall {
                name: names[1].clone(),
                version: names[2].clone(),
                hash: names[3].clone(),
                role: role.into(),
                verdict: "ok".into(),
                micros: 3 + time_ms % 5,
                calls: 1,
            })
            .collect(),
        findings: vec![],
        attempts: vec![Attempt {
            number: 1,
            provider: names[1].clone(),
            model: names[4].clone(),
            answered_model: Some("gpt-4o-mini-2024-07-18".into()),
            // As long as OpenAI's, and like theirs no two the same.
            upstream_id: Some(format!("chatcmpl-{}", &request_id.to_string()[7..])),
            status: Some(200),
            failure: None,
            started_ms: 0,
            duration_us: 900_000 + time_ms % 9_973,
            reserved: Some(NanoUsd::new(5_000_000).unwrap()),
            settled: Some(cost.total),
            ended: Some("settled".into()),
        }],
        usage: Some(usage),
        cost: Some(CostLine::new(cost, price, false)),
        metering: None,
        timings: Timings {
            total_us: 900_123 + time_ms % 9_973,
            overhead_us: 123 + time_ms % 97,
            first_byte_us: Some(400_000),
        },
        notes: vec![],
        outcome: Outcome {
            status: 200,
            code: "ok".into(),
            failure: None,
            reason: None,
            finish_reasons: vec!["stop".into()],
        },
        tags: vec![],
        correlation: std::env::var("CORRELATION").is_ok().then(|| format!("{request_id}")),
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let requests = arguments.next().unwrap_or(200_000);
    let rate = arguments.next().unwrap_or(0);
    let mode = std::env::var("PART").unwrap_or_default();
    let directory = tempfile::tempdir_in(".").unwrap();
    let mut options = StoreOptions::at(directory.path().join("bench.db"));
    if std::env::var_os("FULL").is_some() {
        options.synchronous = Synchronous::Full;
    }
    let server = std::env::var_os("POSTGRES").map(|_| portcullis_test_postgres::own().expect("a PostgreSQL"));
    options.url = server.as_ref().map(portcullis_test_postgres::Server::database);
    let store = Store::open(&options).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();

    let clock = SystemClock;
    let names = ["chat", "openai", "0.1.0", &"ab".repeat(32), "gpt-4o-mini"].map(Name::from);
    let price = Price {
        effective: portcullis_core::price::parse_day("2026-01-01").unwrap(),
        source: "https://openai.com/api/pricing".into(),
        rates: Rates { input: Some(150_000), output: Some(600_000), ..Rates::default() },
        tiers: vec![],
        units: vec![],
        services: vec![],
    };
    let cost = price.cost(&Usage { input: 900, output: 120, ..Usage::default() }).unwrap();
    let key_id = KeyId::new(clock.now_ms(), &mut rand::rng());

    let work = {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let start = Instant::now();
            let before = cpu(libc::RUSAGE_THREAD);
            for number in 0..requests {
                if rate > 0 && number % 20 == 0 {
                    let due = Duration::from_secs_f64(number as f64 / rate as f64);
                    tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
                } else if number % 64 == 0 {
                    tokio::task::yield_now().await;
                }
                let now_ms = clock.now_ms();
                let request_id = RequestId::new(now_ms, &mut rand::rng());
                let receipt = receipt(request_id, key_id, now_ms, &names, cost, &price);
                if mode != "none" {
                    let reservation = ledger
                        .reserve(
                            ReserveRequest {
                                request_id,
                                attempt: 1,
                                key_id,
                                organisation: OrganisationId::DEFAULT,
                                provider: names[1].clone(),
                                model: names[4].clone(),
                                worst: NanoUsd::new(5_000_000).unwrap(),
                                now_ms,
                            },
                            Hold::unbudgeted(),
                        )
                        .unwrap();
                    reservation.settle(Settlement::of(cost)).unwrap();
                    if mode != "money" {
                        ledger.record(&receipt).unwrap();
                    }
                }
            }
            cpu(libc::RUSAGE_THREAD) - before
        })
    };
    let before = cpu(libc::RUSAGE_SELF);
    let begun = Instant::now();
    let inline = work.await.unwrap();
    let paced = begun.elapsed();
    ledger.flush().await.unwrap();
    let spent = cpu(libc::RUSAGE_SELF) - before;
    println!(
        "{requests} requests: {:.2} µs CPU each, {:.2} µs of it in the requests' thread; {:.0}/s, {:.0} ms to flush",
        spent.as_secs_f64() * 1e6 / requests as f64,
        inline.as_secs_f64() * 1e6 / requests as f64,
        requests as f64 / paced.as_secs_f64(),
        (begun.elapsed() - paced).as_secs_f64() * 1e3,
    );
    ledger.close().await.unwrap();
}
