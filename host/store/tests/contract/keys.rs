//! Keys: as they are stored, and as they change.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::receipt::Tag;
use portcullis_core::{Environment, KeyHash, KeyId, ManualClock, MemberId, OrganisationId, SecretKey, TeamId};
use portcullis_store::backend::{Backend, StoredKey};
use portcullis_store::{
    AccessPolicy, Actor, AuditFilter, AuditPage, Batch, EndKind, KeyEdit, KeyFilter, KeyRecord, NewEvent, NewKey,
    NewTeam, OrganisationEdit, PolicyOrigin, RequestDefaults, Store, StoreError, Suspension, TeamEdit,
};

use crate::common::NOW;
use crate::entry;

pub fn cli() -> Actor {
    Actor::cli("ada")
}

/// A store over the check's database, whose time stands still.
pub fn store(backend: &Arc<dyn Backend>) -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW));
    (Store::over(backend.clone(), clock.clone(), "/nonexistent"), clock)
}

pub fn event(action: &str) -> NewEvent {
    NewEvent::new(&cli(), NOW, None, action, "it")
}

fn key(name: &str) -> (SecretKey, KeyRecord) {
    let mut rng = rand::rng();
    let secret = SecretKey::generate(Environment::Development, &mut rng);
    let policy = AccessPolicy {
        models: Some(vec!["openai/gpt \"quoted\" é*".into()]),
        providers: Some(vec![]),
        cidrs: Some(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]),
        origins: Some(vec!["https://*.example.com".into()]),
        referrers: Some(vec!["*.example.com/*".into()]),
        regions: Some(vec!["eu-*".into()]),
        tier: Some("pro".into()),
        ..AccessPolicy::default()
    };
    let record = KeyRecord {
        id: KeyId::new(NOW, &mut rng),
        prefix: secret.prefix(),
        name: name.into(),
        environment: Environment::Development,
        organisation: OrganisationId::DEFAULT,
        team: None,
        member: None,
        created_ms: NOW,
        expires_ms: Some(NOW + 1),
        revoked_ms: None,
        suspended_ms: Some(NOW + 2),
        rotated_ms: Some(NOW + 3),
        previous_until_ms: None,
        policy,
        tags: vec![Tag { name: "team".into(), value: "a'b".into() }],
        defaults: RequestDefaults { format: Some("flat".into()), metadata: Some("body".into()) },
    };
    (secret, record)
}

pub async fn keys_come_back_as_they_were(backend: Arc<dyn Backend>) {
    let (secret, record) = key("it's; a \"name\" -- \u{1F511}");
    backend.insert_key(secret.hash(), &record, &event("key.create")).await.unwrap();
    let stored = backend.key_by_hash(secret.hash()).await.unwrap().unwrap();
    assert_eq!((stored.hash, &stored.record), (secret.hash(), &record));
    assert_eq!(backend.key_by_id(record.id).await.unwrap().as_ref(), Some(&stored));
    assert_eq!(backend.keys_by_prefix(record.prefix.as_str()).await.unwrap(), std::slice::from_ref(&record));
    assert_eq!(backend.keys_by_prefix("").await.unwrap().len(), 1);
    // A prefix is text and no pattern.
    for other in ["%", "pc_dev_%", "PC_DEV_", "pcXdevX"] {
        assert!(backend.keys_by_prefix(other).await.unwrap().is_empty(), "{other}");
    }
    let (other, mut plain) = key("plain");
    plain.defaults = RequestDefaults::default();
    (plain.expires_ms, plain.suspended_ms, plain.rotated_ms) = (None, None, None);
    (plain.policy, plain.tags) = (AccessPolicy::default(), vec![]);
    backend.insert_key(other.hash(), &plain, &event("key.create")).await.unwrap();
    assert_eq!(backend.key_by_id(plain.id).await.unwrap().unwrap().record, plain);
    assert_eq!(backend.key_by_hash(KeyHash::of("other")).await.unwrap(), None);
    // The same key twice is an error and no second row.
    assert!(backend.insert_key(secret.hash(), &record, &event("key.create")).await.is_err());
    assert_eq!(backend.keys_by_prefix("").await.unwrap().len(), 2);
}

pub async fn keys_have_owners(backend: Arc<dyn Backend>) {
    let (secret, mut record) = key("orphan");
    let refused = async |record: &KeyRecord| {
        let refused = backend.insert_key(secret.hash(), record, &event("key.create")).await.unwrap_err();
        assert!(matches!(refused, StoreError::NoSuchOwner), "{refused}");
    };
    record.organisation = OrganisationId::from_bytes([9; 16]);
    refused(&record).await;
    (record.organisation, record.team) = (OrganisationId::DEFAULT, Some(TeamId::from_bytes([9; 16])));
    refused(&record).await;
    (record.team, record.member) = (None, Some(MemberId::from_bytes([9; 16])));
    refused(&record).await;
    assert!(backend.keys_by_prefix("").await.unwrap().is_empty());
    // The team of another organisation is none.
    let (store, _) = store(&backend);
    let new = portcullis_store::NewOrganisation { name: "other".into(), ..Default::default() };
    let other = store.create_organisation(&cli(), new).await.unwrap();
    let new = NewTeam { organisation: other.id, name: "t".into(), policy: AccessPolicy::default() };
    let team = store.create_team(&cli(), new).await.unwrap();
    (record.member, record.team) = (None, Some(team.id));
    refused(&record).await;
}

pub async fn keys_are_found(backend: Arc<dyn Backend>) {
    let (store, clock) = store(&backend);
    let new = NewTeam { organisation: OrganisationId::DEFAULT, name: "t".into(), policy: AccessPolicy::default() };
    let team = store.create_team(&cli(), new).await.unwrap();
    let mut made = Vec::new();
    for (name, team, environment) in [
        ("a", None, Environment::Production),
        ("b", Some(team.id), Environment::Production),
        ("c", Some(team.id), Environment::Development),
        ("d", None, Environment::Development),
    ] {
        clock.advance(1);
        made.push(store.create_key(&cli(), NewKey { team, ..NewKey::new(name, environment) }).await.unwrap().record);
    }
    store.revoke_key(&cli(), made[0].id).await.unwrap();
    let found = async |filter: KeyFilter| {
        let keys = store.keys(&filter).await.unwrap();
        keys.into_iter().map(|key| key.name).collect::<String>()
    };
    let of = KeyFilter::default;
    assert_eq!(found(of()).await, "abcd");
    assert_eq!(found(KeyFilter { team: Some(team.id), ..of() }).await, "bc");
    assert_eq!(found(KeyFilter { environment: Some(Environment::Production), ..of() }).await, "ab");
    assert_eq!(found(KeyFilter { unrevoked: true, limit: Some(2), ..of() }).await, "bc");
    assert_eq!(found(KeyFilter { after: Some(made[1].id), ..of() }).await, "cd");
    assert_eq!(found(KeyFilter { organisation: Some(OrganisationId::from_bytes([8; 16])), ..of() }).await, "");
}

pub async fn revocation_stays(backend: Arc<dyn Backend>) {
    let (store, clock) = store(&backend);
    let made = store.create_key(&cli(), NewKey::new("k", Environment::Production)).await.unwrap();
    assert_eq!(store.revoke_key(&cli(), made.record.id).await.unwrap().revoked_ms, Some(NOW));
    clock.advance(5);
    assert_eq!(store.revoke_key(&cli(), made.record.id).await.unwrap().revoked_ms, Some(NOW));
    // Not by a change that knows nothing of it either.
    let mut stored = backend.key_by_id(made.record.id).await.unwrap().unwrap();
    stored.record.revoked_ms = None;
    assert!(backend.update_key(&stored, &event("key.edit")).await.unwrap());
    assert_eq!(store.key(&made.record.id.to_string()).await.unwrap().revoked_ms, Some(NOW));
    let error = store.revoke_key(&cli(), KeyId::from_bytes([3; 16])).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "key" }), "{error}");
    let error = store.rotate_key(&cli(), made.record.id, Duration::ZERO, None).await.unwrap_err();
    assert!(error.to_string().contains("revoked"), "{error}");
}

pub async fn revisions_tell_what_changed(backend: Arc<dyn Backend>) {
    let ((first_secret, first), (second_secret, second)) = (key("first"), key("second"));
    backend.insert_key(first_secret.hash(), &first, &event("key.create")).await.unwrap();
    backend.insert_key(second_secret.hash(), &second, &event("key.create")).await.unwrap();
    let all = backend.keys_after(0).await.unwrap();
    assert_eq!(all.iter().map(|stored| stored.record.id).collect::<Vec<_>>(), [first.id, second.id]);
    let seen = all.last().unwrap().revision;
    assert_eq!(backend.keys_revision().await.unwrap(), seen);
    assert!(backend.keys_after(seen).await.unwrap().is_empty());
    let (store, _) = store(&backend);
    store.edit_key(&cli(), first.id, KeyEdit { name: Some("other".into()), ..Default::default() }).await.unwrap();
    let changed = backend.keys_after(seen).await.unwrap();
    assert_eq!((changed.len(), changed[0].record.name.as_str()), (1, "other"));
    assert!(changed[0].revision > seen);
    // Nothing changed, so nobody reads anything again.
    store.edit_key(&cli(), first.id, KeyEdit { name: Some("other".into()), ..Default::default() }).await.unwrap();
    assert!(backend.keys_after(changed[0].revision).await.unwrap().is_empty());
}

pub async fn a_change_that_meets_another_is_none(backend: Arc<dyn Backend>) {
    let (secret, record) = key("k");
    backend.insert_key(secret.hash(), &record, &event("key.create")).await.unwrap();
    let read = backend.key_by_id(record.id).await.unwrap().unwrap();
    let mut one = read.clone();
    one.record.name = "one".into();
    assert!(backend.update_key(&one, &event("key.edit")).await.unwrap());
    let mut two = read;
    two.record.name = "two".into();
    assert!(!backend.update_key(&two, &event("key.edit")).await.unwrap());
    assert_eq!(backend.key_by_id(record.id).await.unwrap().unwrap().record.name, "one");
    let events = backend.audit_events(&AuditFilter::default(), AuditPage::After(0, 10)).await.unwrap();
    assert_eq!(events.len(), 2);
    // Many at a time all come to pass, one after the other.
    let (store, _) = store(&backend);
    let tags = futures_of(8, async |at: usize| {
        let edit = KeyEdit { name: Some(format!("n{at}")), ..Default::default() };
        store.edit_key(&cli(), record.id, edit).await.map(|_| ())
    })
    .await;
    assert!(tags.iter().filter(|outcome| outcome.is_ok()).count() >= 4, "{tags:?}");
}

async fn futures_of<T>(count: usize, make: impl AsyncFn(usize) -> T) -> Vec<T> {
    let mut futures: Vec<_> = (0..count).map(|at| Box::pin(make(at))).collect();
    let mut outcomes = Vec::new();
    std::future::poll_fn(|cx| {
        futures.retain_mut(|future| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(outcome) => {
                outcomes.push(outcome);
                false
            }
            std::task::Poll::Pending => true,
        });
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    outcomes
}

pub async fn a_watch_tells_of_keys_and_not_of_entries(backend: Arc<dyn Backend>) {
    let mut watch = backend.watch_keys().await.unwrap();
    assert!(watch.changed().await.unwrap());
    assert!(!watch.changed().await.unwrap());
    let batch = Batch { entries: vec![entry(1, EndKind::Settled)], ..Batch::default() };
    backend.write([1; 16], &batch).await.unwrap();
    assert!(!watch.changed().await.unwrap());
    let (secret, record) = key("k");
    backend.insert_key(secret.hash(), &record, &event("key.create")).await.unwrap();
    assert!(watch.changed().await.unwrap());
    assert!(!watch.changed().await.unwrap());
    let (store, _) = store(&backend);
    store.revoke_key(&cli(), record.id).await.unwrap();
    assert!(watch.changed().await.unwrap());
}

pub async fn both_secrets_hold_while_the_grace_lasts(backend: Arc<dyn Backend>) {
    let (store, clock) = store(&backend);
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let new = NewKey { expires_ms: Some(NOW + 90 * DAY), ..NewKey::new("k", Environment::Production) };
    let first = store.create_key(&cli(), new).await.unwrap();
    let id = first.record.id;
    clock.advance(80 * DAY);
    let second = store.rotate_key(&cli(), id, Duration::from_secs(3_600), None).await.unwrap();
    assert_eq!((second.record.id, second.record.prefix.clone()), (id, second.secret.prefix()));
    assert_eq!(second.record.previous_until_ms, Some(NOW + 80 * DAY + 3_600_000));
    // It lives as long as the first did.
    assert_eq!(second.record.expires_ms, Some(NOW + 170 * DAY));
    let by = async |created: &portcullis_store::CreatedKey| {
        backend.key_by_hash(created.secret.hash()).await.unwrap().map(|stored: StoredKey| stored.record.id)
    };
    assert_eq!((by(&first).await, by(&second).await), (Some(id), Some(id)));
    let cache = store.key_cache().await.unwrap();
    let holds = |created: &portcullis_store::CreatedKey, after: u64| {
        matches!(cache.get(&created.secret.hash(), NOW + 80 * DAY + after), portcullis_store::Cached::Found(_))
    };
    assert!(holds(&first, 3_599_999) && holds(&second, 3_599_999));
    assert!(!holds(&first, 3_600_000) && holds(&second, 3_600_000));
    // A second rotation ends the first secret for good, and one without grace the second as well.
    let third = store.rotate_key(&cli(), id, Duration::from_secs(60), None).await.unwrap();
    cache.refresh().await.unwrap();
    assert!(!holds(&first, 0) && holds(&second, 0) && holds(&third, 0));
    assert_eq!(by(&first).await, None);
    let fourth = store.rotate_key(&cli(), id, Duration::ZERO, Some(NOW + 85 * DAY)).await.unwrap();
    cache.refresh().await.unwrap();
    assert!(!holds(&second, 0) && !holds(&third, 0) && holds(&fourth, 0));
    assert_eq!((fourth.record.previous_until_ms, fourth.record.expires_ms), (None, Some(NOW + 85 * DAY)));
    assert_eq!(cache.len(), 1);
    let error = store.rotate_key(&cli(), id, Duration::from_secs(31 * 86_400), None).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    // What has expired does not come back by a grace.
    clock.advance(10 * DAY);
    let fifth = store.rotate_key(&cli(), id, Duration::from_secs(3_600), Some(NOW + 200 * DAY)).await.unwrap();
    assert_eq!((by(&fourth).await, fifth.record.previous_until_ms), (None, None));
}

pub async fn what_binds_a_key_moves_its_revision(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let new = NewTeam { organisation: OrganisationId::DEFAULT, name: "t".into(), policy: AccessPolicy::default() };
    let team = store.create_team(&cli(), new).await.unwrap();
    let alone = store.create_key(&cli(), NewKey::new("alone", Environment::Production)).await.unwrap().record.id;
    let new = NewKey { team: Some(team.id), ..NewKey::new("in a team", Environment::Production) };
    let within = store.create_key(&cli(), new).await.unwrap().record.id;
    let mut seen = backend.keys_revision().await.unwrap();
    let mut changed = async || {
        let changed = backend.keys_after(seen).await.unwrap();
        seen = backend.keys_revision().await.unwrap();
        changed.into_iter().map(|stored| stored.record.id).collect::<std::collections::BTreeSet<_>>()
    };
    let policy = AccessPolicy { models: Some(vec!["gpt-4o*".into()]), ..Default::default() };
    let edit = TeamEdit { policy: Some(policy.clone()), ..Default::default() };
    store.edit_team(&cli(), team.id, edit).await.unwrap();
    assert_eq!(changed().await, [within].into());
    store.edit_team(&cli(), team.id, TeamEdit { name: Some("renamed".into()), ..Default::default() }).await.unwrap();
    assert_eq!(changed().await, [].into());
    let edit = OrganisationEdit { policy: Some(policy), ..Default::default() };
    store.edit_organisation(&cli(), OrganisationId::DEFAULT, edit).await.unwrap();
    assert_eq!(changed().await, [alone, within].into());
    store.suspend_team(&cli(), team.id).await.unwrap();
    assert_eq!(changed().await, [within].into());
    assert_eq!(store.active_key(within).await.unwrap().suspension, Some(Suspension::Team));
    store.suspend_organisation(&cli(), OrganisationId::DEFAULT).await.unwrap();
    assert_eq!(changed().await, [alone, within].into());
    assert_eq!(store.active_key(alone).await.unwrap().suspension, Some(Suspension::Organisation));
    store.resume_organisation(&cli(), OrganisationId::DEFAULT).await.unwrap();
    store.resume_team(&cli(), team.id).await.unwrap();
    assert_eq!(store.active_key(within).await.unwrap().suspension, None);
    assert_eq!(changed().await, [alone, within].into());
}

pub async fn whose_word_a_policy_is(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let of = |models: &str| AccessPolicy { models: Some(vec![models.to_owned()]), ..Default::default() };
    let edit = OrganisationEdit { policy: Some(of("gpt-*")), ..Default::default() };
    store.edit_organisation(&cli(), OrganisationId::DEFAULT, edit).await.unwrap();
    let policy = AccessPolicy { max_key_days: Some(30), ..of("*-mini") };
    let new = NewTeam { organisation: OrganisationId::DEFAULT, name: "t".into(), policy };
    let team = store.create_team(&cli(), new).await.unwrap();
    let new = NewKey { team: Some(team.id), policy: of("gpt-4o*"), ..NewKey::new("k", Environment::Production) };
    let key = store.create_key(&cli(), new).await.unwrap().record.id;
    let policy = store.effective_policy(key).await.unwrap();
    for (model, refused) in [
        ("gpt-4o-mini", None),
        ("claude-mini", Some(PolicyOrigin::Organisation)),
        ("gpt-4o", Some(PolicyOrigin::Team)),
        ("gpt-5-mini", Some(PolicyOrigin::Key)),
    ] {
        assert_eq!(policy.allows("any", model, None).err().map(|denial| denial.origin), refused, "{model}");
    }
    assert_eq!(policy.expires_ms, Some((NOW + 30 * 86_400_000, PolicyOrigin::Team)));
    assert_eq!(policy.explain().iter().filter(|line| line.field == "models").count(), 3);
}

pub async fn reminders_come_once_a_day(backend: Arc<dyn Backend>) {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let (store, clock) = store(&backend);
    let mut ids = Vec::new();
    for days in [Some(3), Some(20), None, Some(1)] {
        let new = NewKey { expires_ms: days.map(|days| NOW + days * DAY), ..NewKey::new("k", Environment::Production) };
        ids.push(store.create_key(&cli(), new).await.unwrap().record.id);
    }
    let expiring = store.expiring_keys(None, 14).await.unwrap();
    let shown: Vec<_> = expiring.iter().map(|one| (one.id(), one.days(NOW))).collect();
    assert_eq!(shown, [(ids[3], 1), (ids[0], 3)]);
    assert!(store.expiring_keys(Some(OrganisationId::from_bytes([8; 16])), 14).await.unwrap().is_empty());
    let reminded = async || store.remind_of_expiring_keys(14).await.unwrap().len();
    assert_eq!((reminded().await, reminded().await), (2, 0));
    clock.advance(DAY);
    // One of them has expired meanwhile.
    assert_eq!((reminded().await, reminded().await), (1, 0));
    store.revoke_key(&cli(), ids[0]).await.unwrap();
    clock.advance(DAY);
    assert_eq!(reminded().await, 0);
    let filter = AuditFilter { action: Some("key.expiring".into()), ..Default::default() };
    let events = store.audit_events(&filter, AuditPage::After(0, 10)).await.unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!(events[0].event.after.as_ref().unwrap()["days"], 1);
}

/// A reader that asks for what came after the last it saw misses none, however many write.
pub async fn revisions_appear_in_their_order(backend: Arc<dyn Backend>) {
    const EACH: usize = 25;
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let backend = backend.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let (secret, record) = key("k");
                    backend.insert_key(secret.hash(), &record, &event("key.create")).await.unwrap();
                }
            })
        })
        .collect();
    let (mut seen, mut found) = (0, 0);
    while found < 4 * EACH {
        let done = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let new = backend.keys_after(seen).await.unwrap();
        assert!(!(done && new.is_empty()), "{} of {} were found", found, 4 * EACH);
        found += new.len();
        seen = new.last().map_or(seen, |stored| stored.revision);
    }
}
