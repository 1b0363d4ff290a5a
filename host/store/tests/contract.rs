//! The contract test-suite: what every database must do. Each check gets a fresh, migrated database and nothing else.

#[path = "contract/budgets.rs"]
mod budgets;
mod common;
mod contract {
    pub mod access;
    pub mod feeds;
    pub mod identity;
    pub mod keys;
    pub mod requests;
}

use std::sync::Arc;

use budgets::*;
use common::*;
use contract::access::*;
use contract::feeds::*;
use contract::identity::*;
use contract::keys::*;
use contract::requests::*;
use portcullis_core::receipt::Tag;
use portcullis_core::{Environment, KeyId, OrganisationId, RequestId, TeamId, Usage};
use portcullis_store::backend::Backend;
use portcullis_store::{
    Actor, AuditFilter, AuditPage, Batch, EndKind, EntryRow, NewEvent, ReceiptScope, RequestRow, UsageFilter,
    UsageGroup,
};

/// Runs each check on each database.
macro_rules! contract {
    ($($check:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $check() {
                    let database = super::Database::sqlite();
                    super::$check(database.open().await.backend().clone()).await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test]
                async fn $check() {
                    let Some(database) = super::Database::postgres() else { return };
                    super::$check(database.open().await.backend().clone()).await;
                }
            )*
        }
    };
}

contract!(
    keys_come_back_as_they_were,
    keys_have_owners,
    keys_are_found,
    revocation_stays,
    revisions_tell_what_changed,
    a_change_that_meets_another_is_none,
    a_watch_tells_of_keys_and_not_of_entries,
    both_secrets_hold_while_the_grace_lasts,
    what_binds_a_key_moves_its_revision,
    whose_word_a_policy_is,
    reminders_come_once_a_day,
    organisations_and_teams_live,
    a_change_and_its_event_are_one,
    names_are_unlike,
    what_is_referred_to_stays,
    nobody_does_what_was_not_granted,
    members_come_back_as_they_were,
    nobody_gives_what_they_have_not,
    a_login_binds_its_member,
    tokens_are_authenticated,
    a_member_s_token_is_no_more_than_the_member,
    a_superadmin_is_made_once,
    lockouts_outlive_the_process,
    failed_accesses_are_told_in_bounded_numbers,
    replicas_say_how_far_they_have_read,
    a_revocation_waits_for_those_who_serve,
    writing_again_changes_nothing,
    receipts_have_owners,
    usage_is_summed,
    requests_are_found,
    usage_is_charged_back,
    the_largest_numbers_are_kept,
    batches_of_any_size_are_whole,
    events_come_back_as_they_were,
    events_are_found,
    nothing_that_a_client_says_keeps_a_group_out,
    a_group_written_by_two_at_once_is_there_once,
    revisions_appear_in_their_order,
    budgets_come_back_as_they_were,
    leases_never_pass_the_limit,
    a_closed_epoch_keeps_what_was_spent,
    entries_count_once_in_every_budget_they_name,
    what_is_decided_counts_instead,
    alerts_are_taken_until_they_are_delivered,
    recalls_are_heard,
    a_feed_is_in_one_hand,
    a_feed_goes_on_from_where_it_was,
    entries_fall_into_one_span_each,
);

pub fn entry(attempt: u32, kind: EndKind) -> EntryRow<'static> {
    EntryRow {
        request_id: [5; 16],
        attempt,
        kind,
        key_id: [7; 16],
        organisation: [0; 16],
        provider: "openai",
        model: "gpt",
        reserved_nano: 10,
        amount_nano: 4,
        input_nano: 1,
        output_nano: 3,
        reason: "ok",
        reserved_ms: NOW,
        ended_ms: NOW + 1,
        held: &[],
    }
}

async fn writing_again_changes_nothing(backend: Arc<dyn Backend>) {
    let id = request_id();
    let made = receipt(id, KeyId::from_bytes([7; 16]), OrganisationId::DEFAULT, Usage { input: 5, ..Usage::default() });
    let row = RequestRow::of(&made, None, Some(b"first"));
    let batch = Batch { entries: vec![entry(1, EndKind::Settled)], requests: vec![row.clone()], ..Batch::default() };
    backend.write([1; 16], &batch).await.unwrap();
    // Another writer, another end, another receipt, and one row that is new.
    let again = RequestRow { usage: [9; 10], receipt: Some(b"second"), ..row };
    let other = Batch {
        entries: vec![entry(1, EndKind::Quarantined), entry(2, EndKind::Refunded)],
        requests: vec![again],
        ..Batch::default()
    };
    backend.write([2; 16], &other).await.unwrap();
    backend.write([2; 16], &other).await.unwrap();
    let read = backend.receipt(id, ReceiptScope::Key(KeyId::from_bytes([7; 16]))).await.unwrap();
    assert_eq!(read.as_deref(), Some(&b"first"[..]));
    let sums = backend.usage(&UsageFilter::default()).await.unwrap();
    assert_eq!((sums[0].requests, sums[0].usage.input), (1, 5));
}

async fn receipts_have_owners(backend: Arc<dyn Backend>) {
    let (id, mine) = (request_id(), KeyId::from_bytes([1; 16]));
    let organisation = OrganisationId::from_bytes([4; 16]);
    let made = receipt(id, mine, organisation, Usage::default());
    let batch =
        Batch { entries: vec![], requests: vec![RequestRow::of(&made, None, Some(b"kept"))], ..Batch::default() };
    backend.write([1; 16], &batch).await.unwrap();
    for (scope, seen) in [
        (ReceiptScope::Key(mine), true),
        (ReceiptScope::Key(KeyId::from_bytes([2; 16])), false),
        (ReceiptScope::Organisation(organisation), true),
        (ReceiptScope::Organisation(OrganisationId::DEFAULT), false),
        // The key's bytes name no organisation.
        (ReceiptScope::Organisation(OrganisationId::from_bytes([1; 16])), false),
    ] {
        assert_eq!(backend.receipt(id, scope).await.unwrap().is_some(), seen, "{scope:?}");
    }
}

async fn usage_is_summed(backend: Arc<dyn Backend>) {
    const DAY: u64 = 86_400_000;
    let keys = [KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16])];
    let mut made = Vec::new();
    for (number, key) in [(0u64, keys[0]), (1, keys[0]), (2, keys[1])] {
        let usage = Usage { input: 100, cache_read: 10, output: 20, ..Usage::default() };
        let time_ms = NOW + number * DAY;
        let id = RequestId::new(time_ms, &mut rand::rng());
        let mut one = receipt(id, key, OrganisationId::DEFAULT, usage);
        one.time_ms = time_ms;
        made.push(one);
    }
    // One whose price nobody knows, one that was refused.
    made[2].cost = None;
    made.push(denied(request_id(), keys[0]));
    let requests = made.iter().map(|one| RequestRow::of(one, None, None)).collect();
    backend.write([1; 16], &Batch { entries: vec![], requests, ..Batch::default() }).await.unwrap();

    let each = price().cost(&made[0].usage.unwrap()).unwrap().total.get();
    let all = backend.usage(&UsageFilter::default()).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].requests, all[0].failed, all[0].unpriced, all[0].cost.get()), (4, 1, 1, 2 * each));
    assert_eq!((all[0].usage.input, all[0].usage.cache_read, all[0].usage.output), (300, 30, 60));
    assert_eq!((&all[0].day, &all[0].key), (&None, &None));

    let groups = vec![UsageGroup::Day, UsageGroup::Key, UsageGroup::Model, UsageGroup::Day];
    let grouped = backend.usage(&UsageFilter { groups, ..UsageFilter::default() }).await.unwrap();
    let shown: Vec<_> = grouped
        .iter()
        .map(|row| (row.day.as_deref().unwrap(), row.key.unwrap(), row.model.as_deref().unwrap(), row.requests))
        .collect();
    assert_eq!(
        shown,
        [
            ("2026-05-28", keys[0], "auto", 1),
            ("2026-05-28", keys[0], "gpt-4o-mini", 1),
            ("2026-05-29", keys[0], "gpt-4o-mini", 1),
            ("2026-05-30", keys[1], "gpt-4o-mini", 1),
        ]
    );

    let count = async |filter: UsageFilter| backend.usage(&filter).await.unwrap()[0].requests;
    let of = UsageFilter::default;
    assert_eq!(count(UsageFilter { since_ms: Some(NOW + DAY), until_ms: Some(NOW + 2 * DAY), ..of() }).await, 1);
    assert_eq!(count(UsageFilter { key: Some(keys[0]), ..of() }).await, 3);
    assert_eq!(count(UsageFilter { organisation: Some(OrganisationId::from_bytes([8; 16])), ..of() }).await, 0);
    assert_eq!(count(UsageFilter { provider: Some("openai".into()), ..of() }).await, 3);
    assert_eq!(count(UsageFilter { model: Some("auto".into()), ..of() }).await, 1);
}

async fn usage_is_charged_back(backend: Arc<dyn Backend>) {
    let usage = Usage { input: 1, ..Usage::default() };
    let [ours, theirs] = [7, 8].map(|byte| OrganisationId::from_bytes([byte; 16]));
    let team = TeamId::from_bytes([9; 16]);
    let made = [(ours, Some("ada"), "x"), (ours, None, "x"), (theirs, Some("ada"), "y \"quoted\"")];
    let made = made.map(|(organisation, user, project)| {
        let mut one = receipt(request_id(), KeyId::from_bytes([1; 16]), organisation, usage);
        one.caller.user = user.map(Into::into);
        one.caller.team = user.map(|_| team);
        one.caller.environment = if user.is_some() { Environment::Production } else { Environment::Development };
        let tag = |name: &str, value: &str| Tag { name: name.into(), value: value.into() };
        one.tags = vec![tag("project", project), tag("project", "another"), tag("job", "nightly")];
        one
    });
    let tags = made.each_ref().map(|one| serde_json::to_string(&one.tags).unwrap());
    let requests = made.iter().zip(&tags).map(|(one, tags)| RequestRow::of(one, Some(tags), None)).collect();
    backend.write([1; 16], &Batch { requests, ..Batch::default() }).await.unwrap();

    let by = async |groups: &[UsageGroup], tag: Option<&str>| {
        let filter = UsageFilter { groups: groups.to_vec(), tag: tag.map(Into::into), ..UsageFilter::default() };
        backend.usage(&filter).await.unwrap()
    };
    let rows = by(&[UsageGroup::Organisation, UsageGroup::Team, UsageGroup::User, UsageGroup::Environment], None).await;
    let shown: Vec<_> = rows
        .iter()
        .map(|row| (row.organisation, row.team, row.user.as_deref(), row.environment.as_deref(), row.requests))
        .collect();
    assert_eq!(
        shown,
        [
            (Some(ours), None, None, Some("development"), 1),
            (Some(ours), Some(team), Some("ada"), Some("production"), 1),
            (Some(theirs), Some(team), Some("ada"), Some("production"), 1),
        ]
    );
    let tagged = |rows: Vec<portcullis_store::UsageRow>| -> Vec<(Option<String>, u64)> {
        rows.into_iter().map(|row| (row.tag, row.requests)).collect()
    };
    let projects = tagged(by(&[UsageGroup::Tag], Some("project")).await);
    assert_eq!(projects, [(Some("x".into()), 2), (Some("y \"quoted\"".into()), 1)]);
    assert_eq!(tagged(by(&[UsageGroup::Tag], Some("nobody's")).await), [(None, 3)]);
}

async fn the_largest_numbers_are_kept(backend: Arc<dyn Backend>) {
    let made = receipt(request_id(), KeyId::from_bytes([1; 16]), OrganisationId::DEFAULT, Usage::default());
    let mut row = RequestRow::of(&made, None, None);
    row.usage = [u64::MAX; 10];
    row.cost_nano = Some(i64::MAX as u64);
    let largest =
        EntryRow { reserved_nano: i64::MAX as u64, amount_nano: i64::MAX as u64, ..entry(u32::MAX, EndKind::Settled) };
    backend.write([1; 16], &Batch { entries: vec![largest], requests: vec![row], ..Batch::default() }).await.unwrap();
    let sums = backend.usage(&UsageFilter::default()).await.unwrap();
    assert_eq!((sums[0].usage.input, sums[0].cost.get()), (i64::MAX as u64, i64::MAX as u64));
}

async fn batches_of_any_size_are_whole(backend: Arc<dyn Backend>) {
    let mut requests_total = 0;
    for size in [0, 1, 7, 8, 9, 31, 32, 33, 41, 130] {
        let made: Vec<_> = (0..size)
            .map(|_| {
                let usage = Usage { input: 1, output: 1, ..Usage::default() };
                receipt(
                    RequestId::new(NOW, &mut rand::rng()),
                    KeyId::from_bytes([1; 16]),
                    OrganisationId::DEFAULT,
                    usage,
                )
            })
            .collect();
        let bodies: Vec<_> = made.iter().map(|one| serde_json::to_vec(one).unwrap()).collect();
        let requests =
            made.iter().zip(&bodies).map(|(one, body)| RequestRow::of(one, Some("[]"), Some(body))).collect();
        backend.write([1; 16], &Batch { entries: vec![], requests, ..Batch::default() }).await.unwrap();
        requests_total += size;
        let sums = backend.usage(&UsageFilter::default()).await.unwrap();
        assert_eq!((sums[0].requests, sums[0].usage.input), (requests_total, requests_total), "{size}");
        for (one, body) in made.iter().zip(&bodies) {
            let scope = ReceiptScope::Key(one.caller.key_id);
            assert_eq!(backend.receipt(one.request_id, scope).await.unwrap().as_ref(), Some(body));
        }
    }
}

async fn events_come_back_as_they_were(backend: Arc<dyn Backend>) {
    let address = "2001:db8::1".parse().unwrap();
    let full = NewEvent::new(
        &Actor { address: Some(address), ..Actor::cli("it's \"ada\" \u{1F511}") },
        NOW,
        Some(OrganisationId::DEFAULT),
        "key.edit",
        "key_1",
    )
    .changed(Some(serde_json::json!({"name": "a"})), Some(serde_json::json!({"name": "b", "list": [1, null]})));
    let bare = NewEvent::new(&Actor::system(), 0, None, "system.start", "");
    backend.append_events(&[full.clone(), bare.clone()]).await.unwrap();
    let read = backend.audit_events(&AuditFilter::default(), AuditPage::After(0, 10)).await.unwrap();
    assert_eq!(read.iter().map(|one| one.event.clone()).collect::<Vec<_>>(), [full, bare]);
    assert!(read[0].seq >= 1 && read[1].seq > read[0].seq);
}

async fn events_are_found(backend: Arc<dyn Backend>) {
    let (ours, theirs) = (OrganisationId::DEFAULT, OrganisationId::from_bytes([9; 16]));
    let event = |actor: &Actor, time, organisation, action: &str| {
        NewEvent::new(actor, time, Some(organisation), action, format!("{action}-{time}"))
    };
    let (ada, system) = (Actor::cli("ada"), Actor::system());
    let all = [
        event(&ada, 10, ours, "key.create"),
        event(&system, 20, ours, "key.revoke"),
        event(&ada, 30, theirs, "keys.other"),
        event(&ada, 40, ours, "key.revoke"),
    ];
    backend.append_events(&all).await.unwrap();
    let found = async |filter: AuditFilter| {
        let page = AuditPage::Before(None, 10);
        let events = backend.audit_events(&filter, page).await.unwrap();
        events.iter().map(|one| one.event.time_ms).collect::<Vec<_>>()
    };
    let of = AuditFilter::default;
    assert_eq!(found(of()).await, [40, 30, 20, 10]);
    assert_eq!(found(AuditFilter { organisation: Some(ours), ..of() }).await, [40, 20, 10]);
    assert_eq!(found(AuditFilter { actor_kind: Some("system".into()), ..of() }).await, [20]);
    assert_eq!(found(AuditFilter { actor_id: Some("ada".into()), organisation: Some(ours), ..of() }).await, [40, 10]);
    assert_eq!(found(AuditFilter { action: Some("key.".into()), ..of() }).await, [40, 20, 10]);
    assert_eq!(found(AuditFilter { action: Some("key.revoke".into()), ..of() }).await, [40, 20]);
    assert!(found(AuditFilter { action: Some("key".into()), ..of() }).await.is_empty());
    assert_eq!(found(AuditFilter { target: Some("key.revoke-20".into()), ..of() }).await, [20]);
    assert_eq!(found(AuditFilter { since_ms: Some(20), until_ms: Some(40), ..of() }).await, [30, 20]);
    // Page by page, either way.
    let page = async |page| backend.audit_events(&of(), page).await.unwrap();
    let newest = page(AuditPage::Before(None, 3)).await;
    assert_eq!(newest.iter().map(|one| one.event.time_ms).collect::<Vec<_>>(), [40, 30, 20]);
    let rest = page(AuditPage::Before(Some(newest[2].seq), 3)).await;
    assert_eq!(rest.iter().map(|one| one.event.time_ms).collect::<Vec<_>>(), [10]);
    let after = page(AuditPage::After(rest[0].seq, 2)).await;
    assert_eq!(after.iter().map(|one| one.event.time_ms).collect::<Vec<_>>(), [20, 30]);
}

/// PostgreSQL stores no NUL; what has one is found under what it was stored as.
async fn nothing_that_a_client_says_keeps_a_group_out(backend: Arc<dyn Backend>) {
    let key = KeyId::from_bytes([1; 16]);
    let odd = "\0a\\u0000\"\u{1F511}'; --";
    let mut made = receipt(request_id(), key, OrganisationId::DEFAULT, Usage { input: 1, ..Usage::default() });
    made.requested_model = odd.into();
    made.caller.user = Some(odd.repeat(1_000));
    (made.attempts[0].provider, made.attempts[0].model) = (odd.into(), odd.into());
    let tags = serde_json::to_string(&[Tag { name: odd.into(), value: odd.into() }]).unwrap();
    let entry = EntryRow { provider: odd, model: odd, reason: odd, ..entry(1, EndKind::Settled) };
    let requests = vec![RequestRow::of(&made, Some(&tags), Some(b"\0kept"))];
    backend.write([1; 16], &Batch { entries: vec![entry], requests, ..Batch::default() }).await.unwrap();
    let read = backend.receipt(made.request_id, ReceiptScope::Key(key)).await.unwrap();
    assert_eq!(read.as_deref(), Some(&b"\0kept"[..]));
    for filter in [
        UsageFilter { provider: Some(odd.into()), ..UsageFilter::default() },
        UsageFilter { model: Some(odd.into()), ..UsageFilter::default() },
    ] {
        assert_eq!(backend.usage(&filter).await.unwrap()[0].usage.input, 1, "{filter:?}");
    }
    assert!(backend.keys_by_prefix(odd).await.unwrap().is_empty());
}

async fn a_group_written_by_two_at_once_is_there_once(backend: Arc<dyn Backend>) {
    let key = KeyId::from_bytes([1; 16]);
    let made: Arc<Vec<_>> = Arc::new(
        (0..300)
            .map(|_| receipt(request_id(), key, OrganisationId::DEFAULT, Usage { input: 1, ..Usage::default() }))
            .collect(),
    );
    let writers = (0..6u8).map(|writer| {
        let (backend, made) = (backend.clone(), made.clone());
        tokio::spawn(async move {
            // Each from another place on, as journals of several processes would have them.
            let mut requests: Vec<_> =
                made.iter().map(|one| RequestRow::of(one, None, Some(one.request_id.as_bytes()))).collect();
            requests.rotate_left(usize::from(writer) * 50);
            let mut entries: Vec<_> = (0..300).map(|attempt| entry(attempt, EndKind::Settled)).collect();
            entries.rotate_left(usize::from(writer) * 50);
            backend.write([writer; 16], &Batch { entries, requests, ..Batch::default() }).await
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
    let sums = backend.usage(&UsageFilter::default()).await.unwrap();
    assert_eq!((sums[0].requests, sums[0].usage.input), (300, 300));
    for one in made.iter() {
        let read = backend.receipt(one.request_id, ReceiptScope::Key(key)).await.unwrap();
        assert_eq!(read.as_deref(), Some(&one.request_id.as_bytes()[..]));
    }
}
