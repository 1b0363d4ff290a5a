//! The same on PostgreSQL.

use super::*;

use portcullis_store::chain::Presence;

#[tokio::test]
async fn what_is_written_to_postgresql_verifies_and_tampering_is_named() {
    let Some(database) = Database::postgres() else { return };
    let store = database.open().await;
    let key = key(1);
    tell(&store, "nul \0 in it").await;
    let ledger = store.ledger(small()).await.unwrap();
    let requests = spend(&ledger, 9).await;
    // What PostgreSQL does not keep as it was said.
    let id = request_id();
    let mut strange = reserve(id, 1, 5);
    strange.model = "mo\0del".into();
    ledger.reserve(strange, unbudgeted()).unwrap().settle(Settlement::of(cost(4))).unwrap();
    let mut odd = receipt(id, KeyId::from_bytes([7; 16]), OTHER, Usage::default());
    odd.caller.user = Some("a\0b".into());
    odd.tags[0].value = "\0".into();
    ledger.record(&odd).unwrap();
    let epoch = ledger.epoch();
    ledger.close().await.unwrap();
    let first = store.checkpoint(&key, Some(epoch)).await.unwrap().unwrap();
    // Another process, on another machine.
    let there = Store::open(&database.elsewhere("there")).await.unwrap();
    let ledger = there.ledger(small()).await.unwrap();
    spend(&ledger, 3).await;
    tell(&there, "there").await;
    ledger.close().await.unwrap();
    let second = there.checkpoint(&key, None).await.unwrap().unwrap();
    assert_eq!((first.number, second.number, second.previous), (1, 2, first.hash));
    let listed = store.checkpoints(None, 10).await.unwrap();
    assert_eq!(listed.iter().map(Checkpoint::anchor).collect::<Vec<_>>(), [second.anchor(), first.anchor()]);
    assert_eq!(store.checkpoints(Some(2), 10).await.unwrap(), listed[1..]);
    assert_eq!(store.checkpoint(&key, None).await.unwrap(), None);
    let given = Verification { trusted: vec![key.public()], anchors: vec![first.anchor(), second.anchor()] };
    let report = store.verify(&given).await.unwrap();
    assert_eq!(report.fault, None);
    assert_eq!((report.chains, report.entries, report.events, report.unsigned, report.anchors), (3, 25, 2, 0, 2));
    assert_eq!(report.requests, Presence { proven: 13, ..Presence::default() });

    let expired = store.expire_records(&Actor::system(), OTHER, NOW + 1).await.unwrap();
    assert_eq!(expired.requests, 5);
    let report = store.verify(&given).await.unwrap();
    assert_eq!((report.fault, report.requests.proven, report.requests.expired), (None, 8, 5));
    assert_eq!((report.pages.expired, report.unsigned), (expired.pages, 1));

    let unlocked = async |sql: &str| {
        let locked = ["ledger_entries", "audit_events", "record_seals", "checkpoints", "checkpoint_heads"];
        let set = |how: &str| {
            locked.iter().map(|table| format!("ALTER TABLE {table} {how} TRIGGER USER;")).collect::<String>()
        };
        database.execute(&format!("{} {sql}; {}", set("DISABLE"), set("ENABLE"))).await.unwrap();
    };
    let entry = "writer = (SELECT min(writer::text)::uuid FROM ledger_entries) AND seq = 3";
    for (change, back, table, seq) in [
        ("amount_nano = amount_nano + 1", "amount_nano = amount_nano - 1", "ledger_entries", 3),
        ("seq = 99", "", "ledger_entries", 3),
    ] {
        unlocked(&format!("UPDATE ledger_entries SET {change} WHERE {entry}")).await;
        let fault = store.verify(&given).await.unwrap().fault.unwrap();
        assert_eq!((fault.table, fault.chain, fault.seq), (table, Some(epoch), Some(seq)), "{fault}");
        let back = match back {
            "" => "UPDATE ledger_entries SET seq = 3 WHERE seq = 99".to_owned(),
            back => format!("UPDATE ledger_entries SET {back} WHERE {entry}"),
        };
        unlocked(&back).await;
        assert_eq!(store.verify(&given).await.unwrap().fault, None);
    }
    for (change, back, table) in [
        (
            "UPDATE audit_events SET target = 'x' WHERE seq = 2",
            "UPDATE audit_events SET target = 'there' WHERE seq = 2",
            "audit_events",
        ),
        ("UPDATE checkpoints SET time_ms = time_ms + 1", "UPDATE checkpoints SET time_ms = time_ms - 1", "checkpoints"),
        ("UPDATE requests SET status = status + 1", "UPDATE requests SET status = status - 1", "requests"),
        (
            "UPDATE receipt_pages SET youngest_ms = youngest_ms + 1",
            "UPDATE receipt_pages SET youngest_ms = youngest_ms - 1",
            "receipt_pages",
        ),
    ] {
        unlocked(change).await;
        let fault = store.verify(&given).await.unwrap().fault.unwrap();
        assert_eq!(fault.table, table, "{fault}");
        unlocked(back).await;
        assert_eq!(store.verify(&given).await.unwrap().fault, None, "{back}");
    }
    let of = requests[1];
    database.execute(&format!("DELETE FROM requests WHERE request_id = '{}'", &of.to_string()[4..])).await.unwrap();
    let fault = store.verify(&given).await.unwrap().fault.unwrap();
    assert_eq!((fault.table, fault.request), ("requests", Some(of)));
}

#[tokio::test]
async fn groups_that_are_written_again_change_nothing_there_either() {
    let Some(database) = Database::postgres() else { return };
    honest::writes_again(database.open().await).await;
}
