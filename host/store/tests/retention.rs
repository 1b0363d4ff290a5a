//! Records live as long as their organisation wants, and the proof holds whatever goes. On every database.

mod common;

use std::sync::Arc;

use common::*;
use portcullis_core::{Grant, KeyId, ManualClock, MemberId, OrganisationId, RequestId, Role, Scope, Usage};
use portcullis_store::{
    Actor, ActorKind, AuditFilter, AuditPage, Batch, EndKind, EntryRow, NewOrganisation, OrganisationEdit,
    ReceiptScope, RequestFilter, RequestRow, Store, StoreError, Verification,
};
use serde_json::json;

const DAY: u64 = 24 * 60 * 60 * 1000;
const KEY: KeyId = KeyId::from_bytes([7; 16]);

async fn open(database: &Database) -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW));
    (Store::open_with_clock(&database.options(), clock.clone()).await.unwrap(), clock)
}

fn cli() -> Actor {
    Actor::cli("ada")
}

/// Requests of so many days ago, with an entry each.
async fn spend(store: &Store, organisation: OrganisationId, days_ago: u64, count: u64) -> Vec<RequestId> {
    let time_ms = NOW - days_ago * DAY;
    let receipts: Vec<_> = (0..count)
        .map(|_| {
            let id = RequestId::new(time_ms, &mut rand::rng());
            let mut one = receipt(id, KEY, organisation, Usage { input: 1, ..Usage::default() });
            one.time_ms = time_ms;
            one
        })
        .collect();
    for some in receipts.chunks(400) {
        let requests = some.iter().map(|one| RequestRow::of(one, None, Some(b"receipt"))).collect();
        let entry = |id: &RequestId| EntryRow {
            request_id: *id.as_bytes(),
            attempt: 1,
            kind: EndKind::Settled,
            key_id: *KEY.as_bytes(),
            organisation: *organisation.as_bytes(),
            provider: "openai",
            model: "gpt",
            reserved_nano: 10,
            amount_nano: 4,
            input_nano: 1,
            output_nano: 3,
            reason: "ok",
            reserved_ms: time_ms,
            ended_ms: time_ms + 1,
            held: &[],
        };
        let entries = some.iter().map(|one| entry(&one.request_id)).collect();
        store.backend().write([1; 16], &Batch { epoch: [1; 16], entries, requests }).await.unwrap();
    }
    receipts.iter().map(|one| one.request_id).collect()
}

async fn count(store: &Store, organisation: OrganisationId) -> usize {
    let filter = RequestFilter { organisation: Some(organisation), ..RequestFilter::default() };
    store.requests(&filter, 10_000).await.unwrap().len()
}

async fn fault(store: &Store) -> Option<String> {
    store.verify(&Verification::default()).await.unwrap().fault.map(|fault| fault.to_string())
}

async fn other(store: &Store, retention_days: Option<u16>) -> OrganisationId {
    let new = NewOrganisation { name: "other".into(), retention_days, ..Default::default() };
    store.create_organisation(&cli(), new).await.unwrap().id
}

#[tokio::test]
async fn each_organisation_s_records_live_as_long_as_it_wants() {
    for database in Database::each() {
        let (store, clock) = open(&database).await;
        let other = other(&store, Some(7)).await;
        let own = OrganisationId::DEFAULT;
        // More than goes in one transaction, and between the records of another.
        spend(&store, own, 20, 300).await;
        let old = spend(&store, other, 20, 1_300).await;
        spend(&store, own, 10, 30).await;
        let young = spend(&store, other, 6, 40).await;
        assert_eq!(fault(&store).await, None);

        let mut retention = store.retention(Actor::system());
        let done = retention.round(30, None).await.unwrap().unwrap();
        assert_eq!((done.len(), done[0].organisation, done[0].expired.requests), (1, other, 1_300));
        assert!(done[0].expired.pages > 0);
        assert_eq!((count(&store, own).await, count(&store, other).await), (330, 40));
        assert_eq!(fault(&store).await, None);
        let scope = ReceiptScope::Key(KEY);
        assert_eq!(store.receipt(old[0], scope).await.unwrap(), None);
        assert!(store.request(young[0]).await.unwrap().is_some());
        // Entries stay.
        assert_eq!(database.entries().await.len(), 1_670);
        let filter = AuditFilter { action: Some("records.expire".into()), ..AuditFilter::default() };
        let events = store.audit_events(&filter, AuditPage::After(0, 10)).await.unwrap();
        assert_eq!(events.len(), 1);
        let (event, pages) = (&events[0].event, done[0].expired.pages);
        assert_eq!((event.actor_kind.as_str(), event.organisation), ("system", Some(other)));
        let said = json!({"before_ms": NOW - 7 * DAY, "requests": 1_300, "receipt_pages": pages});
        assert_eq!(event.after, Some(said));

        assert_eq!(retention.round(30, None).await.unwrap().unwrap(), []);
        // Of a process that died, and somebody wrote its journal only now.
        spend(&store, other, 7, 1).await;
        clock.advance(2 * DAY);
        let done = retention.round(15, None).await.unwrap().unwrap();
        assert_eq!(done.iter().map(|one| one.expired.requests).sum::<u64>(), 300 + 41);
        assert_eq!((count(&store, own).await, count(&store, other).await), (30, 0));
        assert_eq!(fault(&store).await, None);
        drop(store);
        // Another process finds it so.
        let (store, _) = open(&database).await;
        assert_eq!(fault(&store).await, None);
    }
}

#[tokio::test]
async fn what_is_left_is_proven_as_before() {
    for database in Database::each() {
        let (store, _) = open(&database).await;
        let other = other(&store, None).await;
        let gone = spend(&store, other, 40, 20).await;
        let left = spend(&store, other, 5, 20).await;
        let mut retention = store.retention(Actor::system());
        assert_eq!(retention.round(30, None).await.unwrap().unwrap()[0].expired.requests, 20);
        assert_eq!(fault(&store).await, None);
        let id = |id: &RequestId| match database.url() {
            None => format!("x'{}'", hex(id.as_bytes())),
            Some(_) => format!("'{}'", hex(id.as_bytes())),
        };
        let change = async |sql: String, back: String, expected: &str| {
            database.execute(&sql).await.unwrap();
            let found = fault(&store).await;
            assert!(found.as_ref().is_some_and(|found| found.contains(expected)), "{sql}: {found:?}");
            database.execute(&back).await.unwrap();
            assert_eq!(fault(&store).await, None, "{back}");
        };
        let request = id(&left[3]);
        let set = |status: u16| format!("UPDATE requests SET status = {status} WHERE request_id = {request}");
        change(set(500), set(200), "changed").await;
        let unlock = match database.url() {
            None => "DROP TRIGGER ledger_entries_are_never_changed".to_owned(),
            Some(_) => "ALTER TABLE ledger_entries DISABLE TRIGGER ALL".to_owned(),
        };
        database.execute(&unlock).await.unwrap();
        // Also the entry of a request that is gone.
        let entry = id(&gone[2]);
        let set = |nano: u64| format!("UPDATE ledger_entries SET amount_nano = {nano} WHERE request_id = {entry}");
        change(set(5), set(4), "changed").await;
        database.execute(&format!("DELETE FROM requests WHERE request_id = {request}")).await.unwrap();
        let found = fault(&store).await.unwrap();
        assert!(found.contains("deleted before it had expired"), "{found}");
    }
}

#[tokio::test]
async fn retention_is_a_week_to_a_year_and_takes_its_permission() {
    for database in Database::each() {
        let (store, _) = open(&database).await;
        let other = other(&store, Some(365)).await;
        let edit = |days| OrganisationEdit { retention_days: Some(days), ..Default::default() };
        let edited = store.edit_organisation(&cli(), other, edit(Some(30))).await.unwrap();
        assert_eq!((edited.retention_days, edited.version), (Some(30), 2));
        assert_eq!(store.organisation("other").await.unwrap(), edited);
        let event = &store.audit_events(&AuditFilter::default(), AuditPage::Before(None, 1)).await.unwrap()[0].event;
        assert_eq!(event.action, "organisation.edit");
        assert_eq!(event.before, Some(json!({"retention_days": 365, "version": 1})));
        assert_eq!(event.after, Some(json!({"retention_days": 30, "version": 2})));
        for days in [0, 6, 366] {
            let outcome = store.edit_organisation(&cli(), other, edit(Some(days))).await;
            assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{days}");
        }
        assert_eq!(store.edit_organisation(&cli(), other, edit(None)).await.unwrap().retention_days, None);
        for role in [Role::Auditor, Role::Billing, Role::Developer] {
            let grants = vec![Grant { role, scope: Scope::Organisation(other) }];
            let kind = ActorKind::Member(MemberId::from_bytes([5; 16]));
            let actor = Actor { kind, address: None, grants };
            let outcome = store.edit_organisation(&actor, other, edit(Some(7))).await;
            assert!(matches!(outcome, Err(StoreError::Forbidden { .. })), "{role}");
            assert!(matches!(store.expire_records(&actor, other, NOW).await, Err(StoreError::Forbidden { .. })));
        }
    }
}

/// Of several gateways on one database one does it.
#[tokio::test]
async fn one_process_at_a_time_expires_records() {
    let Some(database) = Database::postgres() else { return };
    let (first, _) = open(&database).await;
    let (second, _) = open(&database).await;
    let turn = first.backend().expiry_turn().await.unwrap();
    assert!(turn.is_some());
    assert_eq!(second.retention(Actor::system()).round(30, None).await.unwrap(), None);
    drop(turn);
    // The server has to see that the connection is gone.
    for _ in 0..100 {
        if second.retention(Actor::system()).round(30, None).await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nobody ever does it again");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
