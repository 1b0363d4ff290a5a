//! Budgets across `kill -9`, at named places and at random moments, and over several processes on one database.
//!
//! Children spend under budgets and say what they did; they are killed, or kill themselves at a place that the environment names
//! (`PORTCULLIS_FAIL_AT`). Then a ledger is opened: every reservation must have an end, no lease may be left, and what every
//! budget has spent must be the sum of its entries to the nano-dollar.

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use common::*;
use portcullis_core::{BudgetId, KeyId, NanoUsd, OrganisationId, RequestId};
use portcullis_store::budgets::{BudgetChange, HoldError, Mode, NewBudget, Period, Scope, Subject};
use portcullis_store::{Actor, Ledger, LedgerOptions, Reservation, Settlement, Store, StoreOptions};
use rand::RngExt;
use sqlx::{Connection, Row, SqliteConnection};

const DATABASE: &str = "PORTCULLIS_BUDGET_TEST_DATABASE";
const OPERATIONS: &str = "PORTCULLIS_BUDGET_TEST_OPERATIONS";
const FAIL_AT: &str = "PORTCULLIS_FAIL_AT";
/// What `dear` may cost in all: reached in every test.
const DEAR: u64 = 300_000;

fn small() -> LedgerOptions {
    LedgerOptions { group: Duration::from_millis(2), group_rows: 16, segment_bytes: 1 << 16, segments: 64 }
}

fn say(line: String) {
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn new(scope: Scope, limit: u64, period: Period, mode: Mode) -> NewBudget {
    let organisation = OrganisationId::DEFAULT;
    let (name, thresholds) = (scope.to_string(), vec![50, 80, 100]);
    NewBudget { organisation, name, scope, period, limit: nano(limit), mode, thresholds }
}

/// All requests count in three budgets, those to `dear` in a fourth, which is soon used up.
async fn budgets(path: &Path) -> [BudgetId; 4] {
    let store = Store::open(&StoreOptions::at(path)).await.unwrap();
    let month = Period::from_parts("month", false, Some("Europe/Berlin")).unwrap();
    let mut ids = [BudgetId::from_bytes([0; 16]); 4];
    for (id, new) in ids.iter_mut().zip([
        new(Scope::Organisation, 1 << 50, Period::Total, Mode::Hard),
        new(Scope::Provider("openai".into()), 1 << 50, month, Mode::Hard),
        new(Scope::Organisation, 1, Period::Total, Mode::Soft),
        new(Scope::Model("dear".into()), DEAR, Period::Total, Mode::Hard),
    ]) {
        *id = store.create_budget(&Actor::system(), new).await.unwrap().id;
    }
    ids
}

async fn take(ledger: &Ledger, id: RequestId, model: &str, worst: u64) -> Result<Reservation, HoldError> {
    let applicable = ledger.applicable(&Subject {
        organisation: OrganisationId::DEFAULT,
        team: None,
        key: KeyId::from_bytes([7; 16]),
        user: None,
        provider: "openai",
        model,
        tags: &[],
    });
    let hold = ledger.hold(&applicable, nano(worst), NanoUsd::ZERO, NOW).await?;
    let mut request = reserve(id, 1, worst);
    request.model = model.into();
    Ok(ledger.reserve(request, hold).unwrap())
}

/// Not a test of its own: the child that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "run by the other tests in this file"]
async fn spender() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let operations: u64 = std::env::var(OPERATIONS).map_or(u64::MAX, |count| count.parse().unwrap());
    let store = Store::open(&StoreOptions::at(PathBuf::from(path))).await.unwrap();
    let ledger = store.ledger(small()).await.unwrap();
    say("@ready".into());
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let (ledger, store) = (ledger.clone(), store.clone());
            tokio::spawn(async move {
                let mut open: Vec<(RequestId, u64, Reservation)> = Vec::new();
                for operation in 0..operations {
                    let (id, worst) = (request_id(), rand::rng().random_range(2..1_000u64));
                    let model = if rand::rng().random_range(0..3) == 0 { "dear" } else { "cheap" };
                    match take(&ledger, id, model, worst).await {
                        Ok(reservation) => {
                            say(format!("@reserved {id} {worst}"));
                            open.push((id, worst, reservation));
                        }
                        Err(HoldError::Refused(_) | HoldError::Changed) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if operation % 20 == 19 {
                        // A change calls back what idles.
                        let budget = store.budgets(None).await.unwrap().remove(0);
                        let change = BudgetChange { name: Some(id.to_string()), ..BudgetChange::default() };
                        let _ = store.change_budget(&Actor::system(), budget.id, &change).await;
                        // News are asked for every 50 ms; a quick child would have ended before it hears of any.
                        tokio::time::sleep(Duration::from_millis(60)).await;
                    }
                    if open.len() < rand::rng().random_range(1..12) || open.is_empty() {
                        continue;
                    }
                    let at = rand::rng().random_range(0..open.len());
                    let (id, worst, reservation) = open.swap_remove(at);
                    end(id, worst, reservation);
                }
                for (id, worst, reservation) in open {
                    end(id, worst, reservation);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    ledger.close().await.unwrap();
}

fn end(id: RequestId, worst: u64, reservation: Reservation) {
    let (outcome, said) = match rand::rng().random_range(0..10) {
        0 => (reservation.refund("test"), "refunded"),
        1 => (reservation.quarantine("test"), "quarantined"),
        2 => {
            drop(reservation);
            (Ok(()), "quarantined")
        }
        _ => (reservation.settle(Settlement::of(cost(worst / 2))), "settled"),
    };
    outcome.unwrap();
    say(format!("@{said} {id}"));
}

fn start(test: &str, path: &Path, environment: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DATABASE, path)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[derive(Default)]
struct Said {
    reserved: HashMap<RequestId, u64>,
    ended: HashMap<RequestId, String>,
}

impl Said {
    fn take(&mut self, output: &str) {
        let whole = output.rfind('\n').map_or("", |end| &output[..end]);
        for line in whole.lines().filter_map(|line| line.strip_prefix('@')) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["reserved", id, worst] => {
                    self.reserved.insert(id.parse().unwrap(), worst.parse().unwrap());
                }
                [kind, id] => {
                    self.ended.insert(id.parse().unwrap(), kind.to_owned());
                }
                _ => {}
            }
        }
    }
}

/// Kills a child `life` after it came to work.
fn run_and_kill(path: &Path, life: Duration) -> String {
    let mut child = start("spender", path, &[]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (ready, is_ready) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut output = String::new();
        while stdout.read_line(&mut output).unwrap() > 0 {
            if output.ends_with("@ready\n") {
                let _ = ready.send(());
            }
        }
        output
    });
    is_ready.recv_timeout(Duration::from_secs(120)).expect("the child comes to work");
    std::thread::sleep(life);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    reader.join().unwrap()
}

/// Lets a child work until it dies at a place, or ends without having come by it.
fn run_to(path: &Path, place: &str) -> (bool, String) {
    let mut child = start("spender", path, &[(FAIL_AT, place), (OPERATIONS, "60")]);
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    (!child.wait().unwrap().success(), output)
}

/// Opens the ledger, which writes what dead processes left, and compares.
async fn check(path: &Path, said: &Said, [all, provider, soft, dear]: [BudgetId; 4]) {
    let store = Store::open(&StoreOptions::at(path)).await.unwrap();
    store.ledger(small()).await.unwrap().close().await.unwrap();
    let written = entries(path).await;
    let by_id: HashMap<RequestId, &Entry> = written.iter().map(|entry| (entry.request_id, entry)).collect();
    assert_eq!(by_id.len(), written.len());
    for (id, worst) in &said.reserved {
        let entry = by_id.get(id).unwrap_or_else(|| panic!("{id} was reserved and has no end"));
        assert_eq!(entry.reserved as u64, *worst);
        if let Some(kind) = said.ended.get(id) {
            assert_eq!(entry.kind, *kind, "{id}");
        }
        let amount = match entry.kind.as_str() {
            "settled" => worst / 2,
            "refunded" => 0,
            _ => *worst,
        };
        assert_eq!(entry.amount as u64, amount, "{id} {}", entry.kind);
    }
    let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let leases: i64 =
        sqlx::query_scalar("SELECT count(*) FROM budget_leases").fetch_one(&mut connection).await.unwrap();
    assert_eq!(leases, 0, "a lease outlived its process");
    let rows = sqlx::query("SELECT budget_id, sum(spent_nano) AS spent FROM budget_windows GROUP BY budget_id")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let spent: HashMap<BudgetId, i64> = rows
        .iter()
        .map(|row| (BudgetId::from_bytes(row.get::<&[u8], _>("budget_id").try_into().unwrap()), row.get("spent")))
        .collect();
    let sum: i64 = written.iter().map(|entry| entry.amount).sum();
    let of_dear: i64 =
        sqlx::query_scalar("SELECT coalesce(sum(amount_nano), 0) FROM ledger_entries WHERE model = 'dear'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    for (budget, expected) in [(all, sum), (provider, sum), (soft, sum), (dear, of_dear)] {
        assert_eq!(spent.get(&budget).copied().unwrap_or(0), expected, "{budget}");
    }
    assert!(of_dear as u64 <= DEAR, "the cap was passed: {of_dear}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sums_agree_wherever_the_process_dies() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let budgets = budgets(&path).await;
    let mut said = Said::default();
    for place in [
        "hold.taken",
        "reserve.before",
        "reserve.after",
        "end.before",
        "end.after",
        "lease.before",
        "lease.after",
        "return.before",
        "return.after",
        "write.before",
        "write.after",
        "close.before",
        "close.after",
        "replay.before-write",
        "replay.after-write",
        "replay.before-close",
        "replay.after-close",
    ] {
        let mut died = false;
        for count in [1, 3] {
            if place.starts_with("replay") {
                // Something to be found by whoever starts next.
                let (_, output) = run_to(&path, "end.after:20");
                said.take(&output);
            }
            let (by_itself, output) = run_to(&path, &format!("{place}:{count}"));
            died |= by_itself;
            said.take(&output);
        }
        assert!(died, "nobody came by {place}");
        check(&path, &said, budgets).await;
    }
    assert!(said.ended.len() > 100, "only {} ended", said.ended.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sums_agree_after_a_hundred_deaths_at_random() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let budgets = budgets(&path).await;
    let mut said = Said::default();
    for round in 0..50 {
        // Two processes at once, and journals of several dead ones found together.
        let children: Vec<_> = (0..2)
            .map(|_| {
                let path = path.clone();
                let life = Duration::from_micros(rand::rng().random_range(0..40_000));
                tokio::task::spawn_blocking(move || run_and_kill(&path, life))
            })
            .collect();
        for child in children {
            said.take(&child.await.unwrap());
        }
        if round % 5 == 4 {
            check(&path, &said, budgets).await;
        }
    }
    assert!(said.reserved.len() > 100, "only {} were reserved", said.reserved.len());
}

/// Not a test of its own: one of three processes that want the same money.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests in this file"]
async fn racer() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let store = Store::open(&StoreOptions::at(PathBuf::from(path))).await.unwrap();
    let ledger = store.ledger(small()).await.unwrap();
    say("@ready".into());
    let mut held = Vec::new();
    let mut lines = std::io::stdin().lock().lines();
    while let Some(Ok(count)) = lines.next() {
        let tasks: Vec<_> = (0..count.parse::<u32>().unwrap())
            .map(|_| {
                let ledger = ledger.clone();
                tokio::spawn(async move { take(&ledger, request_id(), "gpt", 1_000).await })
            })
            .collect();
        for task in tasks {
            match task.await.unwrap() {
                Ok(reservation) => held.push(reservation),
                Err(HoldError::Refused(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        say(format!("@held {}", held.len()));
    }
    for reservation in held {
        reservation.settle(Settlement::of(cost(1_000))).unwrap();
    }
    ledger.close().await.unwrap();
}

struct Racer {
    child: Child,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Racer {
    fn start(path: &Path) -> Self {
        let mut child = start("racer", path, &[]);
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut racer = Self { child, stdin, lines };
        racer.hears("ready");
        racer
    }

    fn hears(&mut self, what: &str) -> String {
        let start = format!("@{what}");
        let line = self.lines.by_ref().map(Result::unwrap).find(|line| line.starts_with(&start));
        line.unwrap_or_else(|| panic!("no {what}"))[start.len()..].trim().to_owned()
    }

    fn wants(&mut self, count: u32) {
        writeln!(self.stdin, "{count}").unwrap();
    }

    fn holds(&mut self) -> u32 {
        self.hears("held").parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_never_pass_the_cap_and_reach_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = Store::open(&StoreOptions::at(&path)).await.unwrap();
    let budget = new(Scope::Organisation, 37_999, Period::Total, Mode::Hard);
    let budget = store.create_budget(&Actor::system(), budget).await.unwrap();
    let mut racers: Vec<Racer> = (0..3).map(|_| Racer::start(&path)).collect();
    racers.iter_mut().for_each(|racer| racer.wants(60));
    let held: Vec<u32> = racers.iter_mut().map(Racer::holds).collect();
    let sum: u32 = held.iter().sum();
    assert!((30..=37).contains(&sum), "{held:?}");
    // What idled in one while another asked is there for whoever asks now.
    let mut last = held;
    for (racer, held) in racers.iter_mut().zip(&mut last) {
        racer.wants(5);
        *held = racer.holds();
    }
    assert_eq!(last.iter().sum::<u32>(), 37, "{last:?}");
    for Racer { mut child, stdin, .. } in racers {
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }
    let used = store.budget_uses(&[budget]).await.unwrap()[0];
    assert_eq!((used.spent, used.leased), (nano(37_000), NanoUsd::ZERO));
    store.ledger(small()).await.unwrap().close().await.unwrap();
}
