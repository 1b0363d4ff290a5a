//! Budgets in one process: nothing passes a hard one, soft ones only tell, what ends goes back, what is unknown counts.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use portcullis_core::{BudgetId, KeyId, ManualClock, NanoUsd, OrganisationId, RequestId};
use portcullis_store::budgets::{
    AlertFilter, AlertKind, BudgetChange, BudgetError, Decision, Hold, HoldError, InvalidBudget, Mode, NewBudget,
    Period, Refusal, Scope, Subject,
};
use portcullis_store::{
    Actor, AuditFilter, AuditPage, Ledger, LedgerOptions, Reservation, Settlement, Store, StoreError, StoreOptions,
};
use tempfile::TempDir;

const KEY: KeyId = KeyId::from_bytes([7; 16]);

struct Here {
    directory: TempDir,
    store: Store,
    ledger: Ledger,
}

impl Here {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let options = StoreOptions::at(directory.path().join("p.db"));
        let store = Store::open_with_clock(&options, clock).await.unwrap();
        let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
        Self { directory, store, ledger }
    }

    /// Makes a budget, and waits until the ledger counts by it.
    async fn budget(&self, new: NewBudget) -> BudgetId {
        let id = self.store.create_budget(&Actor::cli("test"), new).await.unwrap().id;
        while !self.ledger.applicable(&subject("gpt", Some("ada"))).budgets().any(|budget| budget.id == id) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        id
    }

    async fn spent(&self, id: BudgetId) -> (u64, u64) {
        self.ledger.flush().await.unwrap();
        let budget = self.store.budget(id).await.unwrap();
        let used = self.store.budget_uses(&[budget]).await.unwrap()[0];
        (used.spent.get(), used.leased.get())
    }
}

fn budget(scope: Scope, period: Period, limit: u64, mode: Mode) -> NewBudget {
    NewBudget {
        organisation: OrganisationId::DEFAULT,
        name: scope.to_string(),
        scope,
        period,
        limit: nano(limit),
        mode,
        thresholds: vec![50, 80, 100],
    }
}

fn subject<'a>(model: &'a str, user: Option<&'a str>) -> Subject<'a> {
    Subject { organisation: OrganisationId::DEFAULT, team: None, key: KEY, user, provider: "openai", model, tags: &[] }
}

async fn hold_at(ledger: &Ledger, amount: u64, now_ms: u64) -> Result<Hold, HoldError> {
    let applicable = ledger.applicable(&subject("gpt", Some("ada")));
    ledger.hold(&applicable, nano(amount), NanoUsd::ZERO, now_ms).await
}

async fn reserve_at(ledger: &Ledger, amount: u64, now_ms: u64) -> Result<Reservation, HoldError> {
    let hold = hold_at(ledger, amount, now_ms).await?;
    let mut request = reserve(request_id(), 1, amount);
    request.now_ms = now_ms;
    Ok(ledger.reserve(request, hold).unwrap())
}

async fn take(ledger: &Ledger, amount: u64) -> Result<Reservation, HoldError> {
    reserve_at(ledger, amount, NOW).await
}

fn refused(result: Result<Reservation, HoldError>) -> Refusal {
    match result {
        Err(HoldError::Refused(refusal)) => *refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}

fn settle(reservation: Reservation, amount: u64) {
    reservation.settle(Settlement::of(cost(amount))).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_500_at_once_exactly_the_37_that_fit_pass() {
    let here = Here::new().await;
    let worst = 1_000_003;
    let all = here.budget(budget(Scope::Organisation, Period::Total, 38 * worst - 1, Mode::Hard)).await;
    // Others that have room, and one that only counts: whoever is refused leaves nothing there.
    let user = here.budget(budget(Scope::User("ada".into()), Period::Total, 400 * worst, Mode::Hard)).await;
    let soft = here.budget(budget(Scope::Model("gpt".into()), Period::Total, 1, Mode::Soft)).await;
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let ledger = here.ledger.clone();
            tokio::spawn(async move { take(&ledger, worst).await })
        })
        .collect();
    let mut passed = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(reservation) => passed.push(reservation),
            Err(HoldError::Refused(refusal)) => {
                assert_eq!(refusal.budget.id, all);
                assert!(refusal.affordable < nano(worst) && refusal.resets_ms.is_none());
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(passed.len(), 37);
    for reservation in passed {
        settle(reservation, worst / 3);
    }
    for (budget, what) in [(all, "hard"), (user, "hard too"), (soft, "soft")] {
        assert_eq!(here.spent(budget).await.0, 37 * (worst / 3), "{what}");
    }
    // What was not spent can be: two thirds of 37, and what was left over.
    let left = 38 * worst - 1 - 37 * (worst / 3);
    let mut more = Vec::new();
    while let Ok(reservation) = take(&here.ledger, worst).await {
        more.push(reservation);
    }
    assert_eq!(more.len() as u64, left / worst);
    drop(more);
    here.ledger.close().await.unwrap();
}

#[tokio::test]
async fn what_is_refunded_is_free_again_and_what_is_unknown_is_not() {
    let here = Here::new().await;
    let id = here.budget(budget(Scope::Organisation, Period::Total, 100, Mode::Hard)).await;
    take(&here.ledger, 100).await.unwrap().refund("not-sent").unwrap();
    take(&here.ledger, 60).await.unwrap().quarantine("no-answer").unwrap();
    let refusal = refused(take(&here.ledger, 41).await);
    assert_eq!((refusal.affordable, refusal.needed), (nano(40), nano(41)));
    // A hold that never became a reservation.
    drop(hold_at(&here.ledger, 40, NOW).await.unwrap());
    let dear = take(&here.ledger, 30).await.unwrap();
    assert_eq!(refused(take(&here.ledger, 11).await).affordable, nano(10));
    // Dearer than its bound: the truth counts, and is made good from what is left.
    settle(dear, 35);
    assert_eq!(refused(take(&here.ledger, 6).await).affordable, nano(5));
    settle(take(&here.ledger, 5).await.unwrap(), 5);
    assert_eq!(here.spent(id).await, (100, 0));

    let quarantined = here.store.quarantined_entries(None, 10).await.unwrap();
    assert_eq!(quarantined.len(), 1);
    let (actor, request) = (Actor::cli("ada"), quarantined[0].request_id);
    let decided = here.store.decide_quarantined(&actor, request, 1, Decision::Spent(nano(7))).await.unwrap();
    assert_eq!(decided.entry.reserved, nano(60));
    let again = here.store.decide_quarantined(&actor, request, 1, Decision::Refunded).await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })), "{again:?}");
    assert_eq!(here.spent(id).await, (47, 0));
    settle(take(&here.ledger, 53).await.unwrap(), 53);
    refused(take(&here.ledger, 1).await);
    assert!(here.store.quarantined_entries(None, 10).await.unwrap().is_empty());
    let events = here.store.audit_events(&AuditFilter::default(), AuditPage::After(0, 10)).await.unwrap();
    let actions: Vec<_> = events.iter().map(|event| event.event.action.as_str()).collect();
    assert_eq!(actions, ["budget.create", "ledger.decide"]);
    here.ledger.close().await.unwrap();
}

#[tokio::test]
async fn the_narrowest_of_several_budgets_decides_and_the_others_lose_nothing() {
    let here = Here::new().await;
    let wide = here.budget(budget(Scope::Organisation, Period::Total, 1_000, Mode::Hard)).await;
    let narrow = here.budget(budget(Scope::User("ada".into()), Period::Total, 30, Mode::Hard)).await;
    let held = take(&here.ledger, 30).await.unwrap();
    for _ in 0..20 {
        assert_eq!(refused(take(&here.ledger, 1).await).budget.id, narrow);
    }
    settle(held, 30);
    assert_eq!(here.spent(wide).await.0, 30);
    // Somebody else has all the rest.
    let other = here.ledger.applicable(&subject("gpt", None));
    let rest = here.ledger.hold(&other, nano(970), NanoUsd::ZERO, NOW).await.unwrap();
    drop(rest);
    here.ledger.close().await.unwrap();
}

#[tokio::test]
async fn soft_budgets_refuse_nothing_and_tell_once_a_window() {
    let here = Here::new().await;
    let day = Period::from_parts("day", false, Some("Europe/Berlin")).unwrap();
    let id = here.budget(budget(Scope::Organisation, day.clone(), 100, Mode::Soft)).await;
    for _ in 0..30 {
        settle(take(&here.ledger, 50).await.unwrap(), 10);
        here.ledger.flush().await.unwrap();
    }
    assert_eq!(here.spent(id).await.0, 300);
    let alerts = |limit| {
        let filter = AlertFilter { limit, ..AlertFilter::default() };
        let store = here.store.clone();
        async move { store.alerts(&filter).await.unwrap() }
    };
    let told = |alerts: &[portcullis_store::budgets::Alert]| -> Vec<(AlertKind, u64)> {
        alerts.iter().map(|alert| (alert.kind, alert.spent.get())).collect()
    };
    let expected = [(AlertKind::Threshold(100), 100), (AlertKind::Threshold(80), 80), (AlertKind::Threshold(50), 50)];
    assert_eq!(told(&alerts(0).await), expected);
    // The next day is another window.
    let tomorrow = day.window(NOW).unwrap().end_ms.unwrap();
    settle(reserve_at(&here.ledger, 90, tomorrow).await.unwrap(), 85);
    here.ledger.flush().await.unwrap();
    assert_eq!(told(&alerts(2).await), [(AlertKind::Threshold(80), 85), (AlertKind::Threshold(50), 85)]);
    assert_eq!(alerts(0).await.len(), 5);
    here.ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_rolling_budget_tells_once_in_its_span_and_frees_what_is_old() {
    const HOUR: u64 = 3_600_000;
    let here = Here::new().await;
    let period = Period::from_parts("day", true, None).unwrap();
    here.budget(budget(Scope::Organisation, period, 100, Mode::Hard)).await;
    let at = NOW - NOW % HOUR;
    for hour in 0..10 {
        settle(reserve_at(&here.ledger, 10, at + hour * HOUR).await.unwrap(), 10);
        here.ledger.flush().await.unwrap();
    }
    let refusal = refused(reserve_at(&here.ledger, 1, at + 10 * HOUR).await);
    assert_eq!(refusal.resets_ms, Some(at + 11 * HOUR));
    refused(reserve_at(&here.ledger, 1, at + 24 * HOUR).await);
    // The bucket of the first hour is now older than a day, whole.
    settle(reserve_at(&here.ledger, 10, at + 25 * HOUR).await.unwrap(), 10);
    refused(reserve_at(&here.ledger, 1, at + 25 * HOUR).await);
    here.ledger.flush().await.unwrap();
    let alerts = here.store.alerts(&AlertFilter::default()).await.unwrap();
    let count = |kind| alerts.iter().filter(|alert| alert.kind == kind).count();
    assert_eq!([50, 80, 100].map(|per_cent| count(AlertKind::Threshold(per_cent))), [1, 1, 1]);
    assert!(count(AlertKind::Refused) >= 1);
    here.ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_new_window_has_all_of_the_limit_and_the_old_one_keeps_its_own() {
    let here = Here::new().await;
    let month = Period::from_parts("month", false, Some("America/New_York")).unwrap();
    let id = here.budget(budget(Scope::Organisation, month.clone(), 100, Mode::Hard)).await;
    let late = reserve_at(&here.ledger, 100, NOW).await.unwrap();
    let ends = month.window(NOW).unwrap().end_ms.unwrap();
    assert_eq!(refused(reserve_at(&here.ledger, 1, ends - 1).await).resets_ms, Some(ends));
    let next = reserve_at(&here.ledger, 100, ends).await.unwrap();
    // What was reserved before midnight is spent before midnight.
    settle(late, 70);
    settle(next, 90);
    assert_eq!(here.spent(id).await.0, 70);
    refused(reserve_at(&here.ledger, 11, ends).await);
    settle(reserve_at(&here.ledger, 10, ends).await.unwrap(), 10);
    here.ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_request_has_a_budget_of_its_own() {
    let here = Here::new().await;
    here.budget(budget(Scope::Organisation, Period::Request, 100, Mode::Hard)).await;
    for _ in 0..5 {
        settle(take(&here.ledger, 100).await.unwrap(), 100);
    }
    assert_eq!(refused(take(&here.ledger, 101).await).affordable, nano(100));
    // Its second attempt has what the first has left.
    let applicable = here.ledger.applicable(&subject("gpt", None));
    let second = here.ledger.try_hold(&applicable, nano(41), nano(60), NOW).unwrap_err();
    assert_eq!(second.affordable, nano(40));
    assert!(here.ledger.try_hold(&applicable, nano(40), nano(60), NOW).unwrap().is_some());
    here.ledger.close().await.unwrap();
}

#[tokio::test]
async fn credit_is_topped_up_and_limits_are_changed() {
    let here = Here::new().await;
    let actor = Actor::cli("ada");
    let id = here.budget(budget(Scope::Organisation, Period::Total, 10, Mode::Hard)).await;
    settle(take(&here.ledger, 10).await.unwrap(), 10);
    refused(take(&here.ledger, 1).await);
    assert_eq!(here.store.top_up_budget(&actor, id, nano(5)).await.unwrap().limit, nano(15));
    eventually(|| async { take(&here.ledger, 5).await.is_ok_and(|taken| taken.refund("x").is_ok()) }).await;
    let change = BudgetChange { limit: Some(nano(12)), mode: None, ..BudgetChange::default() };
    here.store.change_budget(&actor, id, &change).await.unwrap();
    // What was leased under the old limit and is idle comes back, and there is no more of it.
    let left = || async { take(&here.ledger, 3).await.map(|taken| taken.refund("x")) };
    eventually(|| async { left().await.is_err() }).await;
    let Err(HoldError::Refused(refusal)) = left().await else { panic!("there is room again") };
    assert_eq!(refusal.affordable, nano(2));
    let soft = BudgetChange { mode: Some(Mode::Soft), ..BudgetChange::default() };
    here.store.change_budget(&actor, id, &soft).await.unwrap();
    eventually(|| async { take(&here.ledger, 1_000).await.is_ok_and(|taken| taken.refund("x").is_ok()) }).await;
    here.store.delete_budget(&actor, id).await.unwrap();
    assert!(matches!(here.store.budget(id).await, Err(StoreError::NotFound { .. })));
    eventually(|| async { here.ledger.applicable(&subject("gpt", None)).is_empty() }).await;
    let filter = AuditFilter { action: Some("budget.".into()), ..AuditFilter::default() };
    let events = here.store.audit_events(&filter, AuditPage::After(0, 10)).await.unwrap();
    let actions: Vec<_> = events.iter().map(|event| event.event.action.as_str()).collect();
    assert_eq!(actions, ["budget.create", "budget.top-up", "budget.edit", "budget.edit", "budget.delete"]);
    assert_eq!(events[1].event.before, Some(serde_json::json!({ "limit_nano": 10 })));
    assert_eq!(events[1].event.after, Some(serde_json::json!({ "limit_nano": 15 })));
    here.ledger.close().await.unwrap();
}

async fn eventually<F: Future<Output = bool>>(mut what: impl FnMut() -> F) {
    for _ in 0..200 {
        if what().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come about");
}

#[tokio::test]
async fn budgets_are_for_what_exists_and_only_by_those_who_may() {
    let here = Here::new().await;
    let actor = Actor::cli("ada");
    let stranger = budget(Scope::Key(KeyId::from_bytes([9; 16])), Period::Total, 1, Mode::Hard);
    let made = here.store.create_budget(&actor, stranger).await;
    assert!(matches!(made, Err(BudgetError::Store(StoreError::NoSuchOwner))), "{made:?}");
    let mut elsewhere = budget(Scope::Organisation, Period::Total, 1, Mode::Hard);
    elsewhere.organisation = OrganisationId::from_bytes([9; 16]);
    let made = here.store.create_budget(&actor, elsewhere).await;
    assert!(matches!(made, Err(BudgetError::Store(StoreError::NoSuchOwner))), "{made:?}");
    let sound = || budget(Scope::Organisation, Period::Request, 1, Mode::Hard);
    let made = here.store.create_budget(&Actor::caller(None, None), sound()).await;
    assert!(matches!(made, Err(BudgetError::Store(StoreError::Forbidden { .. }))), "{made:?}");
    let id = here.store.create_budget(&actor, sound()).await.unwrap().id;
    let topped = here.store.top_up_budget(&actor, id, nano(1)).await;
    assert!(matches!(topped, Err(BudgetError::Invalid(InvalidBudget::NotCredit))), "{topped:?}");
    here.ledger.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_slices_come_back_before_anybody_is_refused() {
    let here = Here::new().await;
    let other = here.store.ledger(LedgerOptions::default()).await.unwrap();
    let id = here.budget(budget(Scope::Organisation, Period::Total, 100_000, Mode::Hard)).await;
    eventually(|| async { other.applicable(&subject("gpt", None)).has_hard() }).await;
    settle(take(&here.ledger, 10).await.unwrap(), 10);
    assert!(here.ledger.at_hand(id) > 0);
    // All of the rest, in another process's name.
    let rest = take(&other, 99_990).await.unwrap();
    assert_eq!(here.ledger.at_hand(id), 0);
    refused(take(&here.ledger, 1).await);
    rest.refund("x").unwrap();
    // It is idle there now, and comes back; that there is nothing is believed for a moment only.
    tokio::time::sleep(Duration::from_millis(250)).await;
    settle(take(&here.ledger, 99_990).await.unwrap(), 99_990);
    refused(take(&other, 1).await);
    other.close().await.unwrap();
    assert_eq!(here.spent(id).await, (100_000, 0));
    here.ledger.close().await.unwrap();
}

/// A ledger that is dropped with a reservation open and its journal found dead, as after `kill -9`.
async fn die(here: &Here, amount: u64) -> RequestId {
    let ledger = here.store.ledger(LedgerOptions::default()).await.unwrap();
    eventually(|| async { ledger.applicable(&subject("gpt", None)).has_hard() }).await;
    settle(take(&ledger, amount).await.unwrap(), 3);
    let hold = hold_at(&ledger, amount, NOW).await.unwrap();
    let id = request_id();
    let open = ledger.reserve(reserve(id, 1, amount), hold).unwrap();
    ledger.flush().await.unwrap();
    let _open = std::mem::ManuallyDrop::new(open);
    id
}

fn journals(here: &Here) -> Vec<std::path::PathBuf> {
    let root = here.directory.path().join("p.db.ledger");
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

#[tokio::test]
async fn a_lost_journal_leaves_its_slice_in_quarantine() {
    let here = Here::new().await;
    let id = here.budget(budget(Scope::Organisation, Period::Total, 1_000, Mode::Hard)).await;
    let mine = journals(&here);
    die(&here, 20).await;
    let lost = journals(&here).into_iter().find(|path| !mine.contains(path)).unwrap();
    std::fs::remove_dir_all(lost).unwrap();
    // Whoever starts next finds leases of a process without a journal.
    let ledger = here.store.ledger(LedgerOptions::default()).await.unwrap();
    let leases = here.store.quarantined_leases(None).await.unwrap();
    assert_eq!(leases.len(), 1);
    let used = here.store.budget_uses(&[here.store.budget(id).await.unwrap()]).await.unwrap()[0];
    assert_eq!((used.spent, used.quarantined), (nano(3), leases[0].rest));
    assert!(leases[0].rest > nano(20));
    let actor = Actor::cli("ada");
    let too_much = NanoUsd::new(leases[0].rest.get() + 1).unwrap();
    assert!(here.store.decide_lease(&actor, &leases[0], too_much).await.is_err());
    here.store.decide_lease(&actor, &leases[0], nano(20)).await.unwrap();
    assert!(here.store.decide_lease(&actor, &leases[0], nano(20)).await.is_err());
    let used = here.store.budget_uses(&[here.store.budget(id).await.unwrap()]).await.unwrap()[0];
    assert_eq!((used.spent, used.quarantined), (nano(23), NanoUsd::ZERO));
    ledger.close().await.unwrap();
}
