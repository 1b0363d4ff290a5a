//! Prompts and answers where an organisation wants them kept: sealed, for a time, and nobody's but its own. On every database.

mod common;

use std::sync::Arc;

use common::*;
use portcullis_core::{Grant, KeyId, ManualClock, MemberId, OrganisationId, RequestId, Role, Scope, Usage};
use portcullis_store::{
    Actor, ActorKind, AuditFilter, AuditPage, Batch, CaptureKeys, CapturedContent, CapturedPart, Captures, KeyFilter,
    MasterKey, NewCapture, NewKey, NewOrganisation, OrganisationEdit, RequestRecord, RequestRow, Store, StoreError,
};
use serde_json::json;

const DAY: u64 = 24 * 60 * 60 * 1000;
const SAID: &str = "the drawbridge is down";

async fn open(database: &Database) -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW));
    (Store::open_with_clock(&database.options(), clock.clone()).await.unwrap(), clock)
}

fn keys(letters: &[&str]) -> CaptureKeys {
    let mut keys = letters.iter().map(|letter| MasterKey::given(&letter.repeat(32)).unwrap());
    CaptureKeys::new(keys.next().unwrap(), keys.collect())
}

fn cli() -> Actor {
    Actor::cli("ada")
}

fn part(text: &str) -> CapturedPart {
    CapturedPart { bytes: text.into(), length: text.len() as u64 }
}

/// A request with its record and its content.
async fn said(store: &Store, captures: &Captures, organisation: OrganisationId, days: u64) -> RequestRecord {
    let id = request_id();
    let one = receipt(id, KeyId::from_bytes([7; 16]), organisation, Usage::default());
    let requests = vec![RequestRow::of(&one, None, None)];
    store.backend().write([1; 16], &Batch { requests, ..Batch::default() }).await.unwrap();
    let content = CapturedContent { request: part(SAID), answer: Some(part("who goes there")) };
    assert!(captures.keep(NewCapture { id, organisation, expires_ms: NOW + days * DAY, content }));
    captures.flush().await.unwrap();
    store.request(id).await.unwrap().unwrap()
}

async fn actions(store: &Store, prefix: &str) -> Vec<(String, Option<OrganisationId>, String)> {
    let filter = AuditFilter { action: Some(prefix.into()), ..AuditFilter::default() };
    let events = store.audit_events(&filter, AuditPage::After(0, 100)).await.unwrap();
    events.into_iter().map(|one| (one.event.action, one.event.organisation, one.event.target)).collect()
}

async fn other(store: &Store) -> OrganisationId {
    let new = NewOrganisation { name: "other".into(), ..Default::default() };
    store.create_organisation(&cli(), new).await.unwrap().id
}

#[tokio::test]
async fn what_was_kept_is_read_by_whoever_may_and_told() {
    for database in Database::each() {
        let (store, _) = open(&database).await;
        let captures = store.captures(keys(&["a"]));
        let (own, other) = (OrganisationId::DEFAULT, other(&store).await);
        let request = said(&store, &captures, own, 3).await;
        assert!(actions(&store, "request.").await.is_empty());
        let read = captures.read(&cli(), &request).await.unwrap().unwrap();
        assert_eq!((read.request, read.answer), (part(SAID), Some(part("who goes there"))));
        let told = ("request.content.read".to_owned(), Some(own), request.id.to_string());
        assert_eq!(actions(&store, "request.").await, std::slice::from_ref(&told));

        let acting = |role, scope| {
            let kind = ActorKind::Member(MemberId::from_bytes([5; 16]));
            Actor { kind, address: None, grants: vec![Grant { role, scope }] }
        };
        for (role, scope) in [
            (Role::Auditor, Scope::All),
            (Role::Billing, Scope::All),
            (Role::Developer, Scope::Organisation(own)),
            (Role::OrganisationAdmin, Scope::Organisation(other)),
        ] {
            let refused = captures.read(&acting(role, scope), &request).await;
            assert!(matches!(refused, Err(StoreError::Forbidden { .. })), "{role}");
            let refused = captures.delete(&acting(role, scope), &request).await;
            assert!(matches!(refused, Err(StoreError::Forbidden { .. })), "{role}");
        }
        // A record that says it is another organisation's finds nothing.
        let claimed = RequestRecord { organisation: other, ..request.clone() };
        assert_eq!(captures.read(&cli(), &claimed).await.unwrap(), None);
        let admin = acting(Role::OrganisationAdmin, Scope::Organisation(own));
        assert!(captures.read(&admin, &request).await.unwrap().is_some());
        assert!(captures.delete(&admin, &request).await.unwrap());
        assert!(!captures.delete(&admin, &request).await.unwrap());
        assert_eq!(captures.read(&admin, &request).await.unwrap(), None);
        assert!(store.request(request.id).await.unwrap().is_some());
        let deleted = ("request.content.delete".to_owned(), Some(own), request.id.to_string());
        assert_eq!(actions(&store, "request.").await, [told.clone(), told, deleted]);
    }
}

#[tokio::test]
async fn it_opens_with_its_keys_alone_and_stays_with_its_row() {
    for database in Database::each() {
        let (store, _) = open(&database).await;
        let request = said(&store, &store.captures(keys(&["a"])), OrganisationId::DEFAULT, 3).await;
        let second = said(&store, &store.captures(keys(&["a"])), OrganisationId::DEFAULT, 3).await;
        let read = async |letters: &[&str], request| store.captures(keys(letters)).read(&cli(), request).await;
        assert!(read(&["b", "a"], &request).await.unwrap().is_some());
        assert!(matches!(read(&["b"], &request).await, Err(StoreError::Sealed)));
        // Content that was moved to another request, or made to live longer, is not shown.
        let id = |id: RequestId| match database.url() {
            None => format!("x'{}'", hex(id.as_bytes())),
            Some(_) => format!("'{}'", hex(id.as_bytes())),
        };
        let (first, other) = (id(request.id), id(second.id));
        let content = format!("(SELECT content FROM captures WHERE request_id = {other})");
        database.execute(&format!("UPDATE captures SET content = {content} WHERE request_id = {first}")).await.unwrap();
        assert!(matches!(read(&["a"], &request).await, Err(StoreError::Sealed)));
        database.execute("UPDATE captures SET expires_ms = expires_ms + 1").await.unwrap();
        assert!(matches!(read(&["a"], &second).await, Err(StoreError::Sealed)));
    }
}

#[tokio::test]
async fn nothing_of_it_stands_in_the_file() {
    let database = Database::sqlite();
    let (store, _) = open(&database).await;
    let captures = store.captures(keys(&["a"]));
    let request = said(&store, &captures, OrganisationId::DEFAULT, 3).await;
    captures.read(&cli(), &request).await.unwrap().unwrap();
    let mut found = 0;
    for entry in std::fs::read_dir(database.directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            found += bytes.len();
            assert!(!bytes.windows(SAID.len()).any(|window| window == SAID.as_bytes()), "{}", path.display());
        }
    }
    assert!(found > 10_000, "the files were read");
}

#[tokio::test]
async fn it_expires_and_goes_with_its_record() {
    for database in Database::each() {
        let (store, clock) = open(&database).await;
        let captures = store.captures(keys(&["a"]));
        let short = said(&store, &captures, OrganisationId::DEFAULT, 2).await;
        let long = said(&store, &captures, OrganisationId::DEFAULT, 200).await;
        let count = async || database.number("SELECT count(*) FROM captures").await;
        assert_eq!((captures.sweep().await.unwrap(), count().await), (0, 2));
        clock.advance(2 * DAY);
        // Before anybody has swept.
        assert_eq!(captures.read(&cli(), &short).await.unwrap(), None);
        assert!(captures.read(&cli(), &long).await.unwrap().is_some());
        assert_eq!((captures.sweep().await.unwrap(), count().await), (1, 1));
        clock.advance(6 * DAY);
        let done = store.retention(Actor::system()).round(7, None).await.unwrap().unwrap();
        assert_eq!((done[0].expired.requests, count().await), (2, 0));
    }
}

#[tokio::test]
async fn an_organisation_says_whether_and_its_keys_know() {
    for database in Database::each() {
        let (store, _) = open(&database).await;
        let other = other(&store).await;
        let mut new = NewKey::new("k", portcullis_core::Environment::Production);
        new.organisation = other;
        store.create_key(&cli(), new).await.unwrap();
        let known = async || {
            let keys = store.active_keys(&KeyFilter::default()).await.unwrap();
            (keys[0].capture_days, keys[0].retention_days, keys[0].revision)
        };
        let (capture, retention, revision) = known().await;
        assert_eq!((capture, retention), (None, None), "off by default");
        let edit = |days| OrganisationEdit { capture_days: Some(days), ..Default::default() };
        let on = store.edit_organisation(&cli(), other, edit(Some(14))).await.unwrap();
        assert_eq!((on.capture_days, on.clone()), (Some(14), store.organisation("other").await.unwrap()));
        let event = &store.audit_events(&AuditFilter::default(), AuditPage::Before(None, 1)).await.unwrap()[0].event;
        assert_eq!(event.after, Some(json!({"capture_days": 14, "version": 2})));
        let (capture, _, later) = known().await;
        assert!(capture == Some(14) && later > revision, "{capture:?} {later}");
        for days in [0, 366] {
            let outcome = store.edit_organisation(&cli(), other, edit(Some(days))).await;
            assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{days}");
        }
        store.edit_organisation(&cli(), other, edit(None)).await.unwrap();
        assert_eq!(known().await.0, None);
    }
}

/// What cannot be written waits, and is bounded.
#[tokio::test]
async fn too_much_that_waits_is_refused() {
    let database = Database::sqlite();
    let (store, _) = open(&database).await;
    let captures = store.captures(CaptureKeys::new(MasterKey::in_file(database.directory().join("no/key")), vec![]));
    let new = |bytes: usize| NewCapture {
        id: request_id(),
        organisation: OrganisationId::DEFAULT,
        expires_ms: NOW + DAY,
        content: CapturedContent { request: CapturedPart { bytes: vec![b'x'; bytes], length: 1 }, answer: None },
    };
    assert!(captures.keep(new(1)));
    assert!(captures.flush().await.is_err());
    std::fs::create_dir(database.directory().join("no")).unwrap();
    captures.flush().await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM captures").await, 1);
    let fits = (0..100).take_while(|_| captures.keep(new(1 << 20))).count();
    assert_eq!(fits, 32);
    captures.flush().await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM captures").await, 33);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
