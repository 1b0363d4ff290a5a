//! The provable ledger: an honest database verifies, and whatever somebody does to it past its triggers is found and named.

#[path = "../common/mod.rs"]
mod common;
mod honest;
mod independent;
mod postgres;
mod tamper;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::*;
use portcullis_core::{KeyId, ManualClock, OrganisationId, RequestId, Usage};
use portcullis_store::chain::Report;
use portcullis_store::{
    Actor, Anchor, AuditKey, AuditKeySource, Checkpoint, Ledger, LedgerOptions, NewEvent, Settlement, Store,
    StoreOptions, Verification,
};

const OTHER: OrganisationId = OrganisationId::from_bytes([9; 16]);

fn key(byte: u8) -> AuditKey {
    AuditKeySource::Given(format!("{byte:02x}").repeat(32)).fetch().unwrap()
}

async fn open(path: &Path) -> Store {
    Store::open_with_clock(&StoreOptions::at(path), Arc::new(ManualClock::at(NOW + 10))).await.unwrap()
}

/// Groups are of seven rows and wait for a flush, so that each run makes the same links: five entries and a seal, over and over.
fn small() -> LedgerOptions {
    LedgerOptions { group: Duration::from_secs(3600), group_rows: 7, ..LedgerOptions::default() }
}

/// Spends: for each of these requests an attempt that failed and one that did not, and a receipt.
async fn spend(ledger: &Ledger, requests: u64) -> Vec<RequestId> {
    let mut ids = Vec::new();
    for number in 0..requests {
        let id = request_id();
        ledger.reserve(reserve(id, 1, 50 + number), unbudgeted()).unwrap().refund("upstream-refused").unwrap();
        ledger
            .reserve(reserve(id, 2, 100 + number), unbudgeted())
            .unwrap()
            .settle(Settlement::of(cost(90 + number)))
            .unwrap();
        let organisation = if number % 3 == 0 { OTHER } else { OrganisationId::DEFAULT };
        let mut receipt = receipt(id, KeyId::from_bytes([7; 16]), organisation, Usage::default());
        receipt.caller.user = (number % 2 == 0).then(|| "ada".into());
        receipt.correlation = (number % 3 == 1).then(|| format!("client-{number}"));
        ledger.record(&receipt).unwrap();
        ids.push(id);
    }
    ledger.flush().await.unwrap();
    ids
}

async fn tell(store: &Store, what: &str) {
    let mut event = NewEvent::new(&Actor::cli("ada"), NOW, None, "test.event", what);
    event.after = Some(serde_json::json!({"what": what, "ö": [1, null]}));
    store.record_event(&event).await.unwrap();
}

async fn verify(store: &Store, key: &AuditKey) -> Report {
    store.verify(&Verification { trusted: vec![key.public()], anchors: vec![] }).await.unwrap()
}

async fn checkpoint(store: &Store, key: &AuditKey) -> Checkpoint {
    store.checkpoint(key, None).await.unwrap().unwrap()
}

/// A database with three chains of entries, the second of which is closed, and the audit trail's; three checkpoints; and links that none of
/// them has signed.
struct Written {
    _directory: tempfile::TempDir,
    path: PathBuf,
    key: AuditKey,
    anchors: Vec<Anchor>,
    requests: Vec<RequestId>,
}

async fn written() -> Written {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let key = key(1);
    let store = open(&path).await;
    let mut anchors = vec![];
    let mut requests = vec![];
    tell(&store, "first").await;
    let ledger = store.ledger(small()).await.unwrap();
    requests.extend(spend(&ledger, 9).await);
    anchors.push(checkpoint(&store, &key).await.anchor());
    requests.extend(spend(&ledger, 4).await);
    ledger.close().await.unwrap();
    tell(&store, "second").await;
    let ledger = store.ledger(small()).await.unwrap();
    requests.extend(spend(&ledger, 5).await);
    anchors.push(checkpoint(&store, &key).await.anchor());
    requests.extend(spend(&ledger, 2).await);
    let epoch = ledger.epoch();
    ledger.close().await.unwrap();
    tell(&store, "third").await;
    anchors.push(store.checkpoint(&key, Some(epoch)).await.unwrap().unwrap().anchor());
    let ledger = store.ledger(small()).await.unwrap();
    requests.extend(spend(&ledger, 3).await);
    ledger.close().await.unwrap();
    tell(&store, "fourth").await;
    Written { _directory: directory, path, key, anchors, requests }
}
