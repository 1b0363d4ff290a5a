//! `kill -9` at any point: nothing that was reserved is forgotten, nothing that was ended changes, nothing is written twice.
//!
//! A child process reserves and ends on several threads over small segments, so that journals rotate, are used again and
//! carry; it says on stdout what it did after each call returned, and is killed at a random moment. Then the ledger is opened
//! and the database must agree with every word of it.

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use common::*;
use portcullis_core::{KeyId, OrganisationId, RequestId, Usage};
use portcullis_store::ledger::{JournalError, LedgerError};
use portcullis_store::{
    AuditKey, AuditKeySource, LedgerOptions, Reservation, Settlement, Store, StoreOptions, Verification,
};
use rand::RngExt;

const DATABASE: &str = "PORTCULLIS_KILL_TEST_DATABASE";

fn small() -> LedgerOptions {
    LedgerOptions { group: Duration::from_millis(2), group_rows: 16, segment_bytes: 1 << 16, segments: 64 }
}

/// One write per line: whole or not at all.
fn say(line: String) {
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn audit_key() -> AuditKey {
    AuditKeySource::Given("11".repeat(32)).fetch().unwrap()
}

fn settled(worst: u64) -> u64 {
    worst / 2 + 1
}

/// Not a test of its own: the child that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other test in this file"]
async fn child() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let store = Store::open(&StoreOptions::at(PathBuf::from(path))).await.unwrap();
    let ledger = store.ledger(small()).await.unwrap();
    say("@ready".into());
    let checkpoints = async {
        loop {
            store.checkpoint(&audit_key(), None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let ledger = ledger.clone();
            std::thread::spawn(move || {
                let mut rng = rand::rng();
                let mut open: Vec<(RequestId, u64, Reservation)> = Vec::new();
                loop {
                    let (id, worst) = (request_id(), rng.random_range(2..1_000_000u64));
                    let reservation = match ledger.reserve(reserve(id, 1, worst), unbudgeted()) {
                        Ok(reservation) => reservation,
                        // The test is faster than the disk.
                        Err(LedgerError::Journal(JournalError::Full)) => {
                            std::thread::sleep(Duration::from_millis(1));
                            continue;
                        }
                        Err(error) => panic!("{error}"),
                    };
                    say(format!("@reserved {id} {worst}"));
                    open.push((id, worst, reservation));
                    // Some stay open for long, so that they have to be carried.
                    if open.len() < rng.random_range(1..60) {
                        continue;
                    }
                    let (id, worst, reservation) = open.swap_remove(rng.random_range(0..open.len()));
                    let (outcome, said) = match rng.random_range(0..10) {
                        0 => (reservation.refund("test"), "refunded"),
                        1 => (reservation.quarantine("test"), "quarantined"),
                        2 => {
                            drop(reservation);
                            (Ok(()), "quarantined")
                        }
                        _ => (reservation.settle(Settlement::of(cost(settled(worst)))), "settled"),
                    };
                    outcome.unwrap();
                    say(format!("@{said} {id}"));
                    if said == "settled" {
                        let usage = Usage { input: 10, output: 5, ..Usage::default() };
                        let key = KeyId::from_bytes([7; 16]);
                        if ledger.record(&receipt(id, key, OrganisationId::DEFAULT, usage)).is_ok() {
                            say(format!("@recorded {id}"));
                        }
                    }
                    if rng.random_bool(0.2) {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                }
            })
        })
        .collect();
    // They work until they are killed; one that ends has panicked.
    let ended = tokio::task::spawn_blocking(|| {
        threads.into_iter().map(std::thread::JoinHandle::join).all(|ended| ended.is_ok())
    });
    tokio::select! {
        () = checkpoints => {}
        ended = ended => assert!(ended.unwrap()),
    }
}

#[derive(Default)]
struct Said {
    reserved: HashMap<RequestId, u64>,
    ended: HashMap<RequestId, String>,
    recorded: Vec<RequestId>,
}

impl Said {
    fn take(&mut self, output: &str) {
        // The last line may be cut; all that counts is whole.
        let whole = output.rfind('\n').map_or("", |end| &output[..end]);
        for line in whole.lines().filter_map(|line| line.strip_prefix('@')) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["reserved", id, worst] => {
                    self.reserved.insert(id.parse().unwrap(), worst.parse().unwrap());
                }
                ["recorded", id] => self.recorded.push(id.parse().unwrap()),
                [kind, id] => {
                    self.ended.insert(id.parse().unwrap(), kind.to_owned());
                }
                _ => {}
            }
        }
    }
}

/// Starts a child and kills it `life` after it came to work, or after its start, when recovery is what is to be hit.
fn run_and_kill(path: &Path, life: Duration, while_recovering: bool) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
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
    if !while_recovering {
        is_ready.recv_timeout(Duration::from_secs(60)).expect("the child comes to work");
    }
    std::thread::sleep(life);
    // SIGKILL.
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success() && status.code().is_none(), "the child ended by itself: {status}");
    reader.join().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_forgotten_and_nothing_is_written_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut said = Said::default();
    let mut worked = 0;
    for round in 0..45 {
        // Some rounds have two processes at once on one database.
        let children = if round % 6 == 5 { 2 } else { 1 };
        let running: Vec<_> = (0..children)
            .map(|_| {
                let path = path.clone();
                let life = Duration::from_micros(rand::rng().random_range(0..60_000));
                tokio::task::spawn_blocking(move || run_and_kill(&path, life, round % 5 == 4))
            })
            .collect();
        for child in running {
            let output = child.await.unwrap();
            worked += usize::from(output.contains("@reserved"));
            said.take(&output);
        }
        // Not after each: journals of several dead processes are found together, too.
        if round % 3 == 2 {
            check(&path, &said).await;
        }
    }
    check(&path, &said).await;
    assert!(worked >= 30, "only {worked} children came to work");
    assert!(said.reserved.len() > 1_000 && said.ended.len() > 1_000);
}

async fn check(path: &Path, said: &Said) {
    let store = Store::open(&StoreOptions::at(path)).await.unwrap();
    let ledger = store.ledger(small()).await.unwrap();
    ledger.close().await.unwrap();
    store.checkpoint(&audit_key(), None).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(path.with_file_name("ledger.db.ledger"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "lock")
        .collect();
    assert!(left.is_empty(), "journals remain: {left:?}");

    let report = store.verify(&Verification { trusted: vec![audit_key().public()], anchors: vec![] }).await.unwrap();
    assert_eq!(report.fault, None);

    let entries = entries(path).await;
    assert_eq!(report.entries, entries.len() as u64);
    let mut found = HashMap::new();
    let mut total = 0i64;
    for entry in &entries {
        assert!(found.insert(entry.request_id, entry).is_none(), "{} has two ends", entry.request_id);
        total += entry.amount;
    }
    let mut expected = 0i64;
    for (id, &worst) in &said.reserved {
        let entry = found.remove(id).unwrap_or_else(|| panic!("{id} was reserved and is forgotten"));
        assert_eq!(entry.reserved, worst as i64, "{id}");
        if let Some(kind) = said.ended.get(id) {
            assert_eq!(&entry.kind, kind, "{id}");
        }
        let amount = match entry.kind.as_str() {
            "settled" => settled(worst) as i64,
            "refunded" => 0,
            "quarantined" => worst as i64,
            other => panic!("{other}"),
        };
        assert_eq!(entry.amount, amount, "{id} {}", entry.kind);
        expected += amount;
    }
    // What is left was reserved by a child that died before it could say so: at most one for each of its threads.
    assert!(found.len() <= 60 * 3, "{} entries nobody made", found.len());
    expected += found.values().map(|entry| entry.amount).sum::<i64>();
    assert_eq!(total, expected);

    for id in &said.recorded {
        let scope = portcullis_store::ReceiptScope::Key(KeyId::from_bytes([7; 16]));
        assert!(store.receipt(*id, scope).await.unwrap().is_some(), "{id} was recorded and has no receipt");
    }
}
