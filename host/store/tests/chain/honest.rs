//! What is honest verifies, whatever happened to it.

use super::*;

use portcullis_store::chain::Presence;
use portcullis_store::{Batch, EndKind, EntryRow, RequestRow};

#[tokio::test]
async fn what_is_written_verifies() {
    let Written { _directory, path, key, anchors, .. } = written().await;
    let store = open(&path).await;
    let report = verify(&store, &key).await;
    assert_eq!(report.fault, None);
    assert_eq!((report.chains, report.entries, report.events, report.checkpoints), (4, 46, 4, 3));
    assert_eq!(report.requests, Presence { proven: 23, ..Presence::default() });
    assert!(report.pages.proven >= 4 && report.seals >= 4);
    assert_eq!(report.keys, [key.public()]);
    assert_eq!(report.newest.as_ref(), anchors.last());
    // Three requests: six entries and the seals of their groups; and an event.
    assert!((8..=11).contains(&report.unsigned), "{}", report.unsigned);
    let listed = store.checkpoints(None, 10).await.unwrap();
    assert_eq!(listed.iter().rev().map(Checkpoint::anchor).collect::<Vec<_>>(), anchors);
    assert_eq!(store.checkpoints(Some(3), 1).await.unwrap(), listed[1..2]);
    let given = Verification { trusted: vec![key.public()], anchors };
    let report = store.verify(&given).await.unwrap();
    assert_eq!((report.fault, report.anchors), (None, 3));
    // Nothing new: no checkpoint.
    checkpoint(&store, &key).await;
    assert_eq!(store.checkpoint(&key, None).await.unwrap(), None);
    let report = verify(&store, &key).await;
    assert_eq!((report.fault, report.unsigned, report.checkpoints), (None, 0, 4));
}

#[tokio::test]
async fn an_empty_database_verifies_but_proves_nothing_to_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("p.db")).await;
    assert_eq!(store.verify(&Verification::default()).await.unwrap().fault, None);
    let fault = verify(&store, &key(1)).await.fault.unwrap();
    assert_eq!(fault.to_string(), "checkpoints: there is none: nothing was signed yet, or all were deleted");
    assert_eq!(store.checkpoint(&key(1), None).await.unwrap(), None);
}

fn entry(request_id: RequestId, attempt: u32) -> EntryRow<'static> {
    EntryRow {
        request_id: *request_id.as_bytes(),
        attempt,
        kind: EndKind::Settled,
        key_id: [7; 16],
        organisation: [0; 16],
        provider: "openai",
        model: "gpt",
        reserved_nano: u64::MAX,
        amount_nano: 4,
        input_nano: 1,
        output_nano: 3,
        reason: "ok",
        reserved_ms: NOW,
        ended_ms: NOW + 1,
        held: &[],
    }
}

#[tokio::test]
async fn groups_that_are_written_again_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    writes_again(open(&directory.path().join("p.db")).await).await;
}

pub async fn writes_again(store: Store) {
    let ids: Vec<_> = (0..40).map(|_| request_id()).collect();
    let made: Vec<_> = ids
        .iter()
        .map(|id| receipt(*id, KeyId::from_bytes([7; 16]), OrganisationId::DEFAULT, Usage::default()))
        .collect();
    let rows = |range: std::ops::Range<usize>| Batch {
        entries: ids[range.clone()].iter().flat_map(|id| [entry(*id, 1), entry(*id, 2)]).collect(),
        requests: made[range].iter().map(|one| RequestRow::of(one, None, Some(b"kept"))).collect(),
        ..Batch::default()
    };
    let write = async |writer: u8, batch: &Batch<'_>| store.backend().write([writer; 16], batch).await.unwrap();
    write(1, &rows(0..20)).await;
    write(1, &rows(0..20)).await;
    // Partly new, by two writers in turn, some of it twice in one group.
    write(2, &rows(10..30)).await;
    write(1, &rows(15..35)).await;
    let mut twice = rows(30..40);
    twice.entries.extend(rows(36..40).entries);
    twice.requests.extend(rows(36..40).requests);
    write(2, &twice).await;
    write(2, &twice).await;
    write(3, &Batch::default()).await;
    let report = store.verify(&Verification::default()).await.unwrap();
    assert_eq!(report.fault, None);
    assert_eq!((report.entries, report.requests.proven), (80, 40));
    // Each range that brought something new made one page and one seal.
    assert_eq!((report.seals, report.pages.proven), (4, 4));
}

#[tokio::test]
async fn several_writers_at_once_verify() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let key = Arc::new(key(1));
    let store = open(&path).await;
    let write = async |path: PathBuf, key: Arc<AuditKey>| {
        let store = open(&path).await;
        let ledger = store.ledger(small()).await.unwrap();
        for _ in 0..6 {
            spend(&ledger, 5).await;
            tell(&store, "told").await;
            store.checkpoint(&key, None).await.unwrap();
        }
        let epoch = ledger.epoch();
        ledger.close().await.unwrap();
        store.checkpoint(&key, Some(epoch)).await.unwrap();
    };
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (path, key) = (path.clone(), key.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(write(path, key));
            })
        })
        .collect();
    // While they write, too.
    for _ in 0..5 {
        assert_eq!(store.verify(&Verification::default()).await.unwrap().fault, None);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    for writer in writers {
        writer.join().unwrap();
    }
    let report = verify(&store, &key).await;
    assert_eq!(report.fault, None);
    assert_eq!((report.chains, report.entries, report.events, report.requests.proven), (4, 180, 18, 90));
    assert!(report.checkpoints >= 6, "{}", report.checkpoints);
}

#[tokio::test]
async fn what_expired_is_proven_to_have_been_there() {
    let Written { _directory, path, key, anchors, .. } = written().await;
    let store = open(&path).await;
    let actor = Actor::system();
    assert_eq!(store.expire_records(&actor, OTHER, NOW).await.unwrap().requests, 0);
    let expired = store.expire_records(&actor, OTHER, NOW + 1).await.unwrap();
    assert!(expired.requests == 9 && expired.pages >= 3, "{expired:?}");
    let report = store.verify(&Verification { trusted: vec![key.public()], anchors }).await.unwrap();
    assert_eq!(report.fault, None);
    assert_eq!((report.entries, report.events), (46, 5));
    assert_eq!(report.requests, Presence { proven: 14, expired: 9, unsealed: 0 });
    assert_eq!(report.pages.expired, expired.pages);
    // Numbers of pages that are gone are not given again.
    store.expire_records(&actor, OrganisationId::DEFAULT, NOW + 1).await.unwrap();
    let ledger = store.ledger(small()).await.unwrap();
    spend(&ledger, 6).await;
    ledger.close().await.unwrap();
    let report = verify(&store, &key).await;
    assert_eq!((report.fault, report.requests.proven, report.requests.expired), (None, 6, 23));
}

#[tokio::test]
async fn a_key_hands_over_to_the_next() {
    let Written { _directory, path, key: first, .. } = written().await;
    let store = open(&path).await;
    let second = key(2);
    let refused = store.checkpoint(&second, None).await.unwrap_err().to_string();
    assert!(refused.contains(&first.public().to_string()), "{refused}");
    assert!(store.hand_over(&first, second.public()).await.unwrap().is_some());
    assert!(store.hand_over(&first, second.public()).await.unwrap().is_none());
    tell(&store, "more").await;
    assert!(store.checkpoint(&first, None).await.is_err());
    checkpoint(&store, &second).await;
    for trusted in [&first, &second] {
        let report = verify(&store, trusted).await;
        assert_eq!((report.fault, report.keys), (None, vec![first.public(), second.public()]));
    }
    assert!(verify(&store, &key(3)).await.fault.is_some());
    // A key that was lost hands over to none: then both must be trusted.
    let third = key(3);
    assert!(store.checkpoint_with_another_key(&third).await.unwrap().is_some());
    let fault = verify(&store, &second).await.fault.unwrap();
    assert_eq!((fault.table, fault.seq), ("checkpoints", Some(6)));
    let given = Verification { trusted: vec![second.public(), third.public()], anchors: vec![] };
    assert_eq!(store.verify(&given).await.unwrap().fault, None);
}

#[tokio::test]
async fn a_key_in_a_file_is_rotated() {
    let Written { _directory, path, .. } = written().await;
    let store = open(&path).await;
    let source = AuditKeySource::File(path.with_file_name("key"));
    assert!(store.rotate_audit_key(&source).await.is_err(), "it is not the key that signs");
    let foreign = source.fetch().unwrap();
    store.hand_over(&key(1), foreign.public()).await.unwrap();
    let rotated = store.rotate_audit_key(&source).await.unwrap();
    let next = source.fetch().unwrap();
    assert_eq!((rotated.public_key, rotated.next_key), (foreign.public(), Some(next.public())));
    tell(&store, "more").await;
    checkpoint(&store, &next).await;
    assert_eq!(verify(&store, &key(1)).await.keys, [key(1).public(), foreign.public(), next.public()]);
    assert!(store.rotate_audit_key(&AuditKeySource::Given("11".repeat(32))).await.is_err());
}

#[tokio::test]
async fn entries_from_before_there_were_chains_are_sealed_when_the_database_is_migrated() {
    let Written { _directory, path, key, .. } = written().await;
    // As an older program left it.
    let connection = rusqlite::Connection::open(&path).unwrap();
    tamper::unlock(&connection);
    connection
        .execute_batch(
            "DELETE FROM checkpoint_heads; DELETE FROM checkpoints; DELETE FROM chains; DELETE FROM record_seals;
             UPDATE ledger_entries SET seq = NULL, hash = NULL; UPDATE audit_events SET hash = NULL;
             UPDATE requests SET salt = NULL; UPDATE receipt_pages SET salt = NULL;",
        )
        .unwrap();
    let store = open(&path).await;
    tell(&store, "after").await;
    let ledger = store.ledger(small()).await.unwrap();
    spend(&ledger, 2).await;
    ledger.close().await.unwrap();
    checkpoint(&store, &key).await;
    let report = verify(&store, &key).await;
    assert_eq!(report.fault, None);
    assert_eq!((report.chains, report.entries, report.events, report.unsigned), (3, 50, 5, 0));
    assert_eq!(report.requests, Presence { proven: 2, expired: 0, unsealed: 23 });
    for change in [
        "UPDATE ledger_entries SET amount_nano = amount_nano + 1 WHERE rowid_is(request_id)",
        "DELETE FROM ledger_entries WHERE rowid_is(request_id)",
        "UPDATE audit_events SET target = 'x' WHERE seq = 2",
        "DELETE FROM audit_events WHERE seq = 1",
    ] {
        let copy = path.with_file_name("copy.db");
        rusqlite::Connection::open(&path).unwrap().execute("VACUUM INTO ?", [copy.to_str().unwrap()]).unwrap();
        let connection = rusqlite::Connection::open(&copy).unwrap();
        tamper::unlock(&connection);
        let first = "request_id = (SELECT min(request_id) FROM ledger_entries WHERE seq IS NULL)";
        connection.execute(&change.replace("rowid_is(request_id)", first), []).unwrap();
        drop(connection);
        let fault = verify(&open(&copy).await, &key).await.fault;
        assert!(fault.is_some(), "{change}");
        std::fs::remove_file(copy).unwrap();
    }
}

#[tokio::test]
async fn a_process_does_not_go_on_from_what_somebody_put_into_its_chain() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let store = open(&path).await;
    let ledger = store.ledger(small()).await.unwrap();
    spend(&ledger, 2).await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("UPDATE chains SET hash = zeroblob(32)", []).unwrap();
    spend(&ledger, 1).await;
    // The process knew better.
    assert_eq!(store.verify(&Verification::default()).await.unwrap().fault, None);
    ledger.close().await.unwrap();
}
