//! Feeds: each in one hand, and further only by whoever has it; and the stretches of the ledger that go out.

use std::sync::Arc;

use portcullis_core::{NanoUsd, OrganisationId, RequestId};
use portcullis_store::backend::Backend;
use portcullis_store::budgets::Decision;
use portcullis_store::{Actor, Batch, EndKind, EntryRow, EntrySpan, Feed, Store};

use crate::common::*;
use crate::entry;

const ONE: [u8; 16] = [1; 16];
const OTHER: [u8; 16] = [2; 16];

pub async fn a_feed_is_in_one_hand(backend: Arc<dyn Backend>) {
    assert_eq!(backend.take_feed("export:a", ONE, NOW, NOW, NOW + 10).await.unwrap(), None, "nobody began it");
    backend.begin_feed("export:a", 7).await.unwrap();
    backend.begin_feed("export:a", 99).await.unwrap();
    backend.begin_feed("siem:b", 0).await.unwrap();
    let taken = backend.take_feed("export:a", ONE, NOW, NOW, NOW + 10).await.unwrap().unwrap();
    let begun = Feed { name: "export:a".into(), position: 7, held_until_ms: Some(NOW + 10), ..Feed::default() };
    assert_eq!(taken, begun);
    assert_eq!(backend.take_feed("export:a", OTHER, NOW + 9, NOW + 9, NOW + 99).await.unwrap(), None);
    // Whoever has it takes it again, and keeps it for longer.
    assert!(backend.take_feed("export:a", ONE, NOW, NOW, NOW + 20).await.unwrap().is_some());
    assert!(backend.hold_feed("export:a", ONE, NOW + 30).await.unwrap());
    assert!(!backend.hold_feed("export:a", OTHER, NOW + 90).await.unwrap());
    assert_eq!(backend.take_feed("export:a", OTHER, NOW + 29, NOW + 29, NOW + 99).await.unwrap(), None);
    assert!(backend.take_feed("siem:b", OTHER, NOW, NOW, NOW + 10).await.unwrap().is_some());
    // Whoever died is replaced, and has nothing in hand any more.
    assert!(backend.take_feed("export:a", OTHER, NOW + 30, NOW + 30, NOW + 99).await.unwrap().is_some());
    assert!(!backend.hold_feed("export:a", ONE, NOW + 200).await.unwrap());
    backend.release_feed("export:a", ONE).await.unwrap();
    assert_eq!(backend.feed("export:a").await.unwrap().unwrap().held_until_ms, Some(NOW + 99));
    backend.release_feed("export:a", OTHER).await.unwrap();
    assert_eq!(backend.feed("export:a").await.unwrap().unwrap().held_until_ms, None);
    assert!(backend.take_feed("export:a", ONE, NOW, NOW, NOW + 10).await.unwrap().is_some());
    let names: Vec<_> = backend.feeds().await.unwrap().into_iter().map(|feed| feed.name).collect();
    assert_eq!(names, ["export:a", "siem:b"]);
    // Of many that want it at once one has it.
    backend.begin_feed("siem:c", 0).await.unwrap();
    let mut takers = tokio::task::JoinSet::new();
    for number in 10..30u8 {
        let backend = backend.clone();
        takers.spawn(async move { backend.take_feed("siem:c", [number; 16], NOW, NOW, NOW + 10).await.unwrap() });
    }
    assert_eq!(takers.join_all().await.into_iter().flatten().count(), 1);
}

pub async fn a_feed_goes_on_from_where_it_was(backend: Arc<dyn Backend>) {
    backend.begin_feed("f", 5).await.unwrap();
    assert!(!backend.advance_feed("f", ONE, (5, 6), 1, NOW).await.unwrap(), "nobody has it");
    backend.take_feed("f", ONE, NOW, NOW, NOW + 10).await.unwrap().unwrap();
    assert!(!backend.advance_feed("f", ONE, (4, 6), 1, NOW).await.unwrap(), "it is not there");
    assert!(!backend.advance_feed("f", OTHER, (5, 6), 1, NOW).await.unwrap(), "it is another's");
    assert!(backend.advance_feed("f", ONE, (5, 8), 3, NOW + 1).await.unwrap());
    assert!(!backend.advance_feed("f", ONE, (5, 8), 3, NOW + 1).await.unwrap(), "it counts once");
    let feed = backend.feed("f").await.unwrap().unwrap();
    assert_eq!((feed.position, feed.pieces, feed.done_ms), (8, 3, Some(NOW + 1)));
    // A failure gives it back, for later.
    assert!(!backend.fail_feed("f", OTHER, "no", NOW + 50).await.unwrap());
    assert!(backend.fail_feed("f", ONE, "no \0 bucket", NOW + 50).await.unwrap());
    let feed = backend.feed("f").await.unwrap().unwrap();
    assert_eq!((feed.failures, feed.due_ms, feed.held_until_ms), (1, NOW + 50, None));
    assert!(feed.error.unwrap().starts_with("no "));
    assert_eq!(backend.take_feed("f", OTHER, NOW + 49, NOW + 49, NOW + 99).await.unwrap(), None);
    // Somebody who asks for it by hand does not wait.
    assert!(backend.take_feed("f", OTHER, NOW + 49, u64::MAX, NOW + 99).await.unwrap().is_some());
    assert!(backend.fail_feed("f", OTHER, "no", NOW + 60).await.unwrap());
    assert_eq!(backend.take_feed("f", ONE, NOW + 60, NOW + 60, NOW + 99).await.unwrap().unwrap().failures, 2);
    assert!(backend.advance_feed("f", ONE, (8, 9), 1, NOW + 61).await.unwrap());
    let feed = backend.feed("f").await.unwrap().unwrap();
    assert_eq!((feed.failures, feed.error, feed.due_ms, feed.pieces), (0, None, 0, 4));
}

pub async fn entries_fall_into_one_span_each(backend: Arc<dyn Backend>) {
    let of = |ms: u64, attempt, kind| {
        let id = RequestId::new(ms, &mut rand::rng());
        EntryRow { request_id: *id.as_bytes(), reserved_ms: ms, ended_ms: ms + 5_000, ..entry(attempt, kind) }
    };
    let many: Vec<_> = (0..20).map(|number| of(NOW + number * 100, 1, EndKind::Settled)).collect();
    let mut entries = many.clone();
    entries.push(EntryRow { attempt: 2, ..many[4].clone() });
    entries.push(EntryRow { organisation: [8; 16], ..of(NOW + 250, 1, EndKind::Refunded) });
    let lost = of(NOW + 300, 1, EndKind::Quarantined);
    entries.push(lost.clone());
    backend.write([1; 16], &Batch { entries, ..Batch::default() }).await.unwrap();
    let clock = Arc::new(portcullis_core::ManualClock::at(NOW + 60_000));
    let store = Store::over(backend.clone(), clock, std::env::temp_dir().join("unused"));
    let request = RequestId::from_bytes(lost.request_id);
    let spent = Decision::Spent(NanoUsd::new(3).unwrap());
    store.decide_quarantined(&Actor::cli("ada"), request, 1, spent).await.unwrap();

    let span = |since_ms, until_ms| EntrySpan { organisation: None, since_ms, until_ms };
    let paged = async |span: EntrySpan| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = backend.entries_from(&span, after, 3).await.unwrap();
            let Some(last) = page.last() else { return all };
            after = Some((last.request_id, last.attempt));
            all.extend(page);
        }
    };
    let first = paged(span(NOW, NOW + 1_000)).await;
    let rest = paged(span(NOW + 1_000, NOW + 10_000)).await;
    assert_eq!((first.len(), rest.len()), (13, 10));
    assert!(first.iter().chain(&rest).is_sorted_by_key(|entry| (entry.request_id, entry.attempt)));
    assert!(first.iter().chain(&rest).all(|entry| entry.step == 0));
    let theirs = EntrySpan { organisation: Some(OrganisationId::from_bytes([8; 16])), ..span(NOW, NOW + 10_000) };
    assert_eq!(paged(theirs).await.len(), 1);
    // A decision is of when it was made, and not of its request.
    assert_eq!(backend.decisions(&span(NOW, NOW + 60_000)).await.unwrap(), []);
    let decided = backend.decisions(&span(NOW + 60_000, NOW + 60_001)).await.unwrap();
    assert_eq!((decided.len(), decided[0].request_id, decided[0].step), (1, request, 1));
    assert_eq!(decided[0].amount.get(), 3);
    assert_eq!(backend.decisions(&EntrySpan { ..theirs }).await.unwrap(), []);
}
