//! Budgets and leases: what every database must do.

use std::sync::Arc;

use portcullis_core::{BudgetId, NanoUsd, OrganisationId, RequestId, TeamId};
use portcullis_store::backend::{Backend, BudgetNews};
use portcullis_store::budgets::{
    Alert, AlertFilter, AlertKind, Budget, BudgetUse, DecidedEntry, Decision, EntryAt, EntryFilter, GivenBack, Held,
    LeaseWant, Leased, Mode, Period, Scope, Short, Window,
};
use portcullis_store::{Actor, AuditFilter, AuditPage, Batch, EndKind, EntryRow, NewEvent, StoreError};

use super::common::*;

const ONE: [u8; 16] = [1; 16];
const TWO: [u8; 16] = [2; 16];
const WINDOW: Window = Window { start_ms: 0, from_ms: 0, end_ms: None };

fn budget(limit: u64, mode: Mode) -> Budget {
    Budget {
        id: BudgetId::new(NOW, &mut rand::rng()),
        organisation: OrganisationId::DEFAULT,
        name: "é \"quoted\"".into(),
        scope: Scope::Tag("job=nightly".into()),
        period: Period::from_parts("week", false, Some("Asia/Kathmandu")).unwrap(),
        limit: nano(limit),
        mode,
        thresholds: vec![50, 100],
        created_ms: NOW,
        revision: 0,
    }
}

fn event(action: &str) -> NewEvent {
    NewEvent::new(&Actor::system(), NOW, None, action, "test")
}

async fn made(backend: &Arc<dyn Backend>, limit: u64) -> BudgetId {
    let budget = budget(limit, Mode::Hard);
    backend.insert_budget(&budget, &event("budget.create")).await.unwrap();
    budget.id
}

fn want(budget: BudgetId, granted: u64, need: u64, want: u64) -> LeaseWant {
    LeaseWant { budget, window: WINDOW, granted, need, want }
}

async fn used(backend: &Arc<dyn Backend>, budget: BudgetId) -> (u64, u64, u64) {
    let BudgetUse { spent, leased, quarantined } = backend.budget_uses(&[(budget, WINDOW)]).await.unwrap()[0];
    (spent.get(), leased.get(), quarantined.get())
}

fn held(budgets: &[(BudgetId, bool)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(budget, sliced) in budgets {
        Held { budget, start_ms: 0, sliced }.put(&mut bytes);
    }
    bytes
}

fn entry(attempt: u32, kind: EndKind, amount: u64, held: &[u8]) -> EntryRow<'_> {
    EntryRow {
        request_id: [5; 16],
        attempt,
        kind,
        key_id: [7; 16],
        organisation: [0; 16],
        provider: "openai",
        model: "gpt",
        reserved_nano: amount.max(10),
        amount_nano: amount,
        input_nano: 0,
        output_nano: amount,
        reason: "ok",
        reserved_ms: NOW,
        ended_ms: NOW + 1,
        held,
    }
}

pub async fn budgets_come_back_as_they_were(backend: Arc<dyn Backend>) {
    let mut watch = backend.watch_budgets().await.unwrap();
    watch.news().await.unwrap();
    assert_eq!(watch.news().await.unwrap(), BudgetNews::default());
    let new = budget(100, Mode::Soft);
    backend.insert_budget(&new, &event("budget.create")).await.unwrap();
    assert!(watch.news().await.unwrap().changed);
    let read = backend.budget(new.id).await.unwrap().unwrap();
    assert_eq!(read, Budget { revision: read.revision, ..new.clone() });
    let edited = Budget { limit: nano(7), mode: Mode::Hard, thresholds: vec![], name: "n".into(), ..read.clone() };
    assert!(backend.update_budget(&edited, &event("budget.edit")).await.unwrap());
    // Whoever read an older one starts again.
    assert!(!backend.update_budget(&read, &event("budget.edit")).await.unwrap());
    assert!(!backend.delete_budget(&read, NOW, &event("budget.delete")).await.unwrap());
    let read = backend.budgets(Some(OrganisationId::DEFAULT)).await.unwrap();
    assert_eq!(read, [Budget { revision: read[0].revision, ..edited }]);
    assert!(backend.budgets(Some(OrganisationId::from_bytes([3; 16]))).await.unwrap().is_empty());
    assert!(backend.delete_budget(&read[0], NOW, &event("budget.delete")).await.unwrap());
    assert!(backend.budgets(None).await.unwrap().is_empty() && backend.budget(new.id).await.unwrap().is_none());
    assert!(watch.news().await.unwrap().changed);
    let stranger = Budget { organisation: OrganisationId::from_bytes([3; 16]), ..budget(1, Mode::Hard) };
    let refused = backend.insert_budget(&stranger, &event("budget.create")).await;
    assert!(matches!(refused, Err(StoreError::NoSuchOwner)), "{refused:?}");
    let events = backend.audit_events(&AuditFilter::default(), AuditPage::After(0, 10)).await.unwrap();
    let actions: Vec<_> = events.iter().map(|event| event.event.action.as_str()).collect();
    assert_eq!(actions, ["budget.create", "budget.edit", "budget.delete"]);
}

pub async fn leases_never_pass_the_limit(backend: Arc<dyn Backend>) {
    let (wide, narrow) = (made(&backend, 1_000_000).await, made(&backend, 1_000).await);
    // An eighth of what is left at most, but never less than the need.
    assert_eq!(backend.lease(ONE, &[want(narrow, 0, 10, 900)]).await.unwrap(), Leased::Granted(vec![125]));
    assert_eq!(backend.lease(TWO, &[want(narrow, 0, 600, 900)]).await.unwrap(), Leased::Granted(vec![600]));
    let short = Short { at: 1, available: 275, elsewhere: 600, spent: 0, limit: 1_000 };
    // All or nothing.
    let both = [want(wide, 0, 10, 10), want(narrow, 125, 276, 276)];
    assert_eq!(backend.lease(ONE, &both).await.unwrap(), Leased::Short(short));
    assert_eq!(used(&backend, wide).await, (0, 0, 0));
    let both = [want(wide, 0, 10, 10), want(narrow, 125, 275, 276)];
    assert_eq!(backend.lease(ONE, &both).await.unwrap(), Leased::Granted(vec![10, 275]));
    assert_eq!(used(&backend, narrow).await, (0, 1_000, 0));
    // What is given back is told as what is kept, and twice is once.
    let back = GivenBack { budget: narrow, start_ms: 0, granted: 300, done: false };
    backend.give_back(ONE, &[back]).await.unwrap();
    backend.give_back(ONE, &[back]).await.unwrap();
    assert_eq!(used(&backend, narrow).await, (0, 900, 0));
    let read = backend.budget(narrow).await.unwrap().unwrap();
    backend.update_budget(&Budget { mode: Mode::Soft, ..read }, &event("budget.edit")).await.unwrap();
    assert_eq!(backend.lease(ONE, &[want(narrow, 300, 1, 1)]).await.unwrap(), Leased::Stale);
}

pub async fn a_closed_epoch_keeps_what_was_spent(backend: Arc<dyn Backend>) {
    let id = made(&backend, 1_000).await;
    for epoch in [ONE, TWO] {
        assert_eq!(backend.lease(epoch, &[want(id, 0, 100, 0)]).await.unwrap(), Leased::Granted(vec![100]));
    }
    let bytes = held(&[(id, true)]);
    let batch = Batch { epoch: ONE, entries: vec![entry(1, EndKind::Settled, 30, &bytes)], ..Batch::default() };
    backend.write(ONE, &batch).await.unwrap();
    assert_eq!(used(&backend, id).await, (30, 170, 0));
    backend.close_epoch(ONE, true, NOW).await.unwrap();
    backend.close_epoch(ONE, true, NOW).await.unwrap();
    assert_eq!(used(&backend, id).await, (30, 100, 0));
    // Nothing proves what this one did.
    assert_eq!(backend.quarantine_lost(&[TWO], NOW).await.unwrap(), 0);
    backend.close_epoch(TWO, false, NOW).await.unwrap();
    assert_eq!(used(&backend, id).await, (30, 100, 100));
    let short = backend.lease(ONE, &[want(id, 0, 871, 0)]).await.unwrap();
    // Nobody can give it back.
    assert_eq!(short, Leased::Short(Short { at: 0, available: 870, elsewhere: 0, spent: 30, limit: 1_000 }));
    let leases = backend.quarantined_leases(Some(OrganisationId::DEFAULT)).await.unwrap();
    assert_eq!((leases.len(), leases[0].rest, leases[0].epoch), (1, nano(100), TWO));
    assert!(backend.decide_lease(&leases[0], 40, &event("ledger.decide-lease")).await.unwrap());
    assert!(!backend.decide_lease(&leases[0], 40, &event("ledger.decide-lease")).await.unwrap());
    assert_eq!(used(&backend, id).await, (70, 0, 0));
}

pub async fn entries_count_once_in_every_budget_they_name(backend: Arc<dyn Backend>) {
    let (hard, soft) = (made(&backend, 1_000).await, made(&backend, 100).await);
    assert_eq!(backend.lease(ONE, &[want(hard, 0, 500, 0)]).await.unwrap(), Leased::Granted(vec![500]));
    let both = held(&[(hard, true), (soft, false)]);
    let alone = held(&[(soft, false)]);
    let some = |attempts: std::ops::Range<u32>| Batch {
        epoch: ONE,
        entries: attempts
            .map(|attempt| entry(attempt, EndKind::Settled, 2, if attempt % 2 == 0 { &both } else { &alone }))
            .collect(),
        ..Batch::default()
    };
    backend.write(ONE, &some(0..40)).await.unwrap();
    assert_eq!((used(&backend, hard).await, used(&backend, soft).await), ((40, 460, 0), (80, 0, 0)));
    // The same again, and some that are new among them: by whoever found them.
    backend.write(TWO, &some(0..40)).await.unwrap();
    backend.write(TWO, &some(10..60)).await.unwrap();
    assert_eq!((used(&backend, hard).await, used(&backend, soft).await), ((60, 440, 0), (120, 0, 0)));
    let alerts = backend.alerts(&AlertFilter::default()).await.unwrap();
    let told: Vec<_> = alerts.iter().map(|alert| (alert.budget, alert.kind, alert.spent.get())).collect();
    assert_eq!(told, [(soft, AlertKind::Threshold(100), 120), (soft, AlertKind::Threshold(50), 80)]);
}

pub async fn what_is_decided_counts_instead(backend: Arc<dyn Backend>) {
    let id = made(&backend, 1_000).await;
    let bytes = held(&[(id, false)]);
    let entries = vec![entry(1, EndKind::Quarantined, 50, &bytes), entry(2, EndKind::Settled, 5, &bytes)];
    backend.write(ONE, &Batch { epoch: ONE, entries, ..Batch::default() }).await.unwrap();
    assert_eq!(used(&backend, id).await.0, 55);
    let found = backend.quarantined_entries(None, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(backend.quarantined_entry(found[0].request_id, 1).await.unwrap().as_ref(), Some(&found[0]));
    assert!(backend.quarantined_entry(found[0].request_id, 2).await.unwrap().is_none());
    let undecided = EntryFilter { undecided: true, ..EntryFilter::default() };
    let open = backend.entries(&undecided).await.unwrap();
    assert_eq!(open.iter().map(|entry| (entry.attempt, entry.step)).collect::<Vec<_>>(), [(1, 0)]);
    let decided =
        DecidedEntry { entry: found[0].clone(), decision: Decision::Spent(nano(7)), decided_ms: NOW + 9, writer: TWO };
    assert!(backend.decide_entry(&decided, &event("ledger.decide")).await.unwrap());
    assert!(!backend.decide_entry(&decided, &event("ledger.decide")).await.unwrap());
    assert_eq!(used(&backend, id).await.0, 12);
    assert!(backend.quarantined_entries(None, 10).await.unwrap().is_empty());
    let all = backend.entries(&EntryFilter::default()).await.unwrap();
    let told: Vec<_> = all.iter().map(|entry| (entry.attempt, entry.step, entry.kind, entry.amount.get())).collect();
    let expected = [(2, 0, EndKind::Settled, 5), (1, 1, EndKind::Settled, 7), (1, 0, EndKind::Quarantined, 50)];
    assert_eq!(told, expected);
    let of = |kind| EntryFilter { kind: Some(kind), ..EntryFilter::default() };
    assert_eq!(backend.entries(&of(EndKind::Quarantined)).await.unwrap().len(), 1);
    let recent = EntryFilter { since_ms: Some(1), ..EntryFilter::default() };
    let id = RequestId::from_bytes([5; 16]);
    assert_eq!(backend.entries(&recent).await.unwrap()[0].request_id, id);
    assert!(backend.entries(&undecided).await.unwrap().is_empty());
    let places = async |filter: EntryFilter| -> Vec<(u32, u32)> {
        let found = backend.entries(&filter).await.unwrap();
        found.iter().map(|entry| (entry.attempt, entry.step)).collect()
    };
    // Pages follow each other.
    for at in 0..all.len() {
        let before: EntryAt = EntryAt::of(&all[at]).to_string().parse().unwrap();
        let rest: Vec<_> = all[at + 1..].iter().map(|entry| (entry.attempt, entry.step)).collect();
        assert_eq!(places(EntryFilter { before: Some(before), ..EntryFilter::default() }).await, rest);
    }
    assert!("req_x-1-0".parse::<EntryAt>().is_err() && format!("{id}-1").parse::<EntryAt>().is_err());
    assert_eq!(places(EntryFilter { request: Some(id), limit: 1, ..EntryFilter::default() }).await, [(2, 0)]);
    let other = RequestId::from_bytes([6; 16]);
    assert!(places(EntryFilter { request: Some(other), ..EntryFilter::default() }).await.is_empty());
    let team = TeamId::from_bytes([1; 16]);
    assert!(places(EntryFilter { team: Some(team), ..EntryFilter::default() }).await.is_empty());
}

pub async fn alerts_are_taken_until_they_are_delivered(backend: Arc<dyn Backend>) {
    let alert = |budget: u8, kind, time_ms| Alert {
        id: 0,
        kind,
        organisation: OrganisationId::DEFAULT,
        budget: BudgetId::from_bytes([budget; 16]),
        name: "n".into(),
        start_ms: 0,
        spent: nano(1),
        limit: NanoUsd::MAX,
        time_ms,
        delivered_ms: None,
        attempts: 0,
    };
    for (raised, new) in [
        (alert(1, AlertKind::Refused, NOW), true),
        (alert(1, AlertKind::Refused, NOW + 1), false),
        (alert(1, AlertKind::Threshold(50), NOW), true),
        (alert(2, AlertKind::Refused, NOW - Alert::GIVEN_UP_MS - 1), true),
    ] {
        assert_eq!(backend.raise_alert(&raised).await.unwrap(), new);
    }
    let taken = backend.take_due_alerts(NOW, NOW + 100, 10).await.unwrap();
    assert_eq!(taken.len(), 2);
    assert!(backend.take_due_alerts(NOW + 99, NOW + 200, 10).await.unwrap().is_empty());
    backend.alert_tried(taken[0].id, Some(NOW + 5), NOW + 5).await.unwrap();
    backend.alert_tried(taken[1].id, None, NOW + 50).await.unwrap();
    let again = backend.take_due_alerts(NOW + 50, NOW + 200, 10).await.unwrap();
    assert_eq!((again.len(), again[0].id, again[0].attempts), (1, taken[1].id, 1));
    let of_one = AlertFilter { budget: Some(BudgetId::from_bytes([1; 16])), ..AlertFilter::default() };
    let kept = backend.alerts(&of_one).await.unwrap();
    assert_eq!(kept.iter().map(|alert| alert.delivered_ms).collect::<Vec<_>>(), [None, Some(NOW + 5)]);
    let older = AlertFilter { before: Some(kept[0].id), limit: 1, ..of_one };
    assert_eq!(backend.alerts(&older).await.unwrap(), kept[1..]);
    let count = async |filter: AlertFilter| backend.alerts(&filter).await.unwrap().len();
    let all = AlertFilter::default();
    assert_eq!(count(AlertFilter { delivered: Some(true), ..all.clone() }).await, 1);
    assert_eq!(count(AlertFilter { delivered: Some(false), ..all.clone() }).await, 2);
    assert_eq!(count(AlertFilter { since_ms: Some(NOW), ..all.clone() }).await, 2);
    assert_eq!(count(AlertFilter { until_ms: Some(NOW), ..all.clone() }).await, 1);
    assert_eq!(count(AlertFilter { team: Some(TeamId::from_bytes([1; 16])), ..all }).await, 0);
}

pub async fn recalls_are_heard(backend: Arc<dyn Backend>) {
    let (one, two) = (made(&backend, 1).await, made(&backend, 1).await);
    let mut watch = backend.watch_budgets().await.unwrap();
    watch.news().await.unwrap();
    backend.recall(two).await.unwrap();
    assert_eq!(watch.news().await.unwrap(), BudgetNews { changed: false, recalled: vec![two] });
    assert_eq!(watch.news().await.unwrap(), BudgetNews::default());
    backend.recall(one).await.unwrap();
    backend.recall(two).await.unwrap();
    let mut heard = watch.news().await.unwrap().recalled;
    heard.sort();
    let mut both = [one, two];
    both.sort();
    assert_eq!(heard, both);
}
