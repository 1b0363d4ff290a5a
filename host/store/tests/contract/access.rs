//! Lock-outs, failed accesses, and the processes that serve.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::{Environment, OrganisationId, ReplicaId};
use portcullis_store::backend::Backend;
use portcullis_store::{
    AccessFailure, AuditFilter, AuditPage, Cached, FailedAccess, KeyRefusal, LEASE, LockoutSettings, NewKey,
};

use super::keys::{cli, store};
use crate::common::NOW;

const SETTINGS: LockoutSettings =
    LockoutSettings { failures: 3, first_ms: 1_000, longest_ms: 60_000, quiet_ms: 600_000 };

fn guess(prefix: &str, address: IpAddr) -> FailedAccess<'_> {
    FailedAccess { failure: AccessFailure::Unknown, prefix: Some(prefix), address, organisation: None }
}

pub async fn lockouts_outlive_the_process(backend: Arc<dyn Backend>) {
    let (store, clock) = store(&backend);
    let (near, far): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "198.51.100.7".parse().unwrap());
    let guard = store.access_guard(SETTINGS).await.unwrap();
    for attempt in 0..3 {
        assert_eq!(guard.failed(guess("pc_prod_aaaa", near), NOW + attempt), None);
    }
    assert_eq!(guard.locked(Some("pc_prod_aaaa"), near, NOW + 3), None);
    assert_eq!(guard.failed(guess("pc_prod_aaaa", near), NOW + 3), Some(1_000));
    // Either alone is locked: the key's beginning from anywhere, the address with anything.
    for (prefix, address, expected) in [
        (Some("pc_prod_aaaa"), far, Some(1_000)),
        (Some("pc_prod_bbbb"), near, Some(1_000)),
        (None, near, Some(1_000)),
        (Some("pc_prod_bbbb"), far, None),
    ] {
        assert_eq!(guard.locked(prefix, address, NOW + 3), expected, "{prefix:?} {address}");
    }
    assert_eq!((guard.counters().lockouts(), guard.locked_now(NOW + 3)), (2, 2));
    guard.flush().await.unwrap();
    // Another process, or this one after a restart.
    clock.set(NOW + 1_003);
    let again = store.access_guard(SETTINGS).await.unwrap();
    assert_eq!(again.locked(None, near, NOW + 1_002), Some(1));
    assert_eq!(again.locked(None, near, NOW + 1_003), None);
    assert_eq!(again.failed(guess("pc_prod_aaaa", near), NOW + 1_003), Some(2_000));
    again.flush().await.unwrap();
    // What the first process knows is older, and does not undo it.
    guard.flush().await.unwrap();
    let rows = backend.lockouts(0).await.unwrap();
    assert!(rows.len() == 2 && rows.iter().all(|row| (row.failures, row.until_ms) == (5, NOW + 3_003)), "{rows:?}");
    backend.expire_lockouts(NOW + 1_004).await.unwrap();
    assert!(backend.lockouts(0).await.unwrap().is_empty());
}

pub async fn failed_accesses_are_told_in_bounded_numbers(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let guard = store.access_guard(LockoutSettings { failures: u32::MAX, ..SETTINGS }).await.unwrap();
    for attempt in 0..5_000 {
        guard.failed(guess("pc_prod_aaaa", address), NOW + attempt);
    }
    let revoked = FailedAccess {
        failure: AccessFailure::Revoked,
        organisation: Some(OrganisationId::DEFAULT),
        ..guess("pc_prod_bbbb", address)
    };
    guard.failed(revoked, NOW);
    guard.failed(FailedAccess { failure: AccessFailure::Missing, prefix: None, ..revoked }, NOW);
    guard.flush().await.unwrap();
    let filter = AuditFilter { action: Some("access.failed".into()), ..Default::default() };
    let mut events = store.audit_events(&filter, AuditPage::After(0, 100)).await.unwrap();
    events.sort_by_key(|one| one.event.time_ms);
    // It may have been flushed once between.
    let told: u64 = events
        .iter()
        .filter(|one| one.event.target == "key.unknown")
        .map(|one| one.event.after.as_ref().unwrap()["count"].as_u64().unwrap())
        .sum();
    assert_eq!(told, 5_000);
    assert!(events.len() <= 6, "{}", events.len());
    let one = &events.iter().find(|one| one.event.target == "key.revoked").unwrap().event;
    assert_eq!((one.actor_kind.as_str(), one.actor_id.as_deref()), ("caller", Some("pc_prod_bbbb")));
    assert_eq!((one.address.as_deref(), one.organisation), (Some("192.0.2.1"), Some(OrganisationId::DEFAULT)));
    let counted: Vec<_> = guard.counters().failures().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("key.missing", 1), ("key.unknown", 5_000), ("key.revoked", 1)]);
}

pub async fn replicas_say_how_far_they_have_read(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    assert!(store.replicas().await.unwrap().is_empty());
    let cache = store.key_cache().await.unwrap();
    let [replica] = store.replicas().await.unwrap().try_into().unwrap();
    assert!(replica.is_live() && replica.name.ends_with(&format!(":{}", std::process::id())), "{replica:?}");
    assert_eq!(replica.keys_revision, backend.keys_revision().await.unwrap());
    store.create_key(&cli(), NewKey::new("k", Environment::Production)).await.unwrap();
    store.await_replicas().await.unwrap();
    assert_eq!(store.replicas().await.unwrap()[0].keys_revision, backend.keys_revision().await.unwrap());
    cache.close().await.unwrap();
    assert!(store.replicas().await.unwrap().is_empty());
}

pub async fn a_revocation_waits_for_those_who_serve(backend: Arc<dyn Backend>) {
    let (command, _) = store(&backend);
    let (gateway, _) = store(&backend);
    let key = command.create_key(&cli(), NewKey::new("k", Environment::Production)).await.unwrap();
    let cache = gateway.key_cache().await.unwrap();
    assert!(matches!(cache.get(&key.secret.hash(), NOW), Cached::Found(_)));
    let begun = Instant::now();
    command.revoke_key(&cli(), key.record.id).await.unwrap();
    // When it returns it holds there, and it was no lease that ended.
    assert!(matches!(cache.get(&key.secret.hash(), NOW), Cached::Refused(KeyRefusal::Revoked)));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    cache.close().await.unwrap();
    assert!(matches!(cache.get(&key.secret.hash(), NOW), Cached::Lapsed));

    // One that says nothing more is waited for until its lease has ended, and no longer.
    let silent = ReplicaId::from_bytes([4; 16]);
    backend.watch_keys().await.unwrap().beat(silent, "silent", 0).await.unwrap();
    let other = command.create_key(&cli(), NewKey::new("k", Environment::Production)).await.unwrap();
    let begun = Instant::now();
    command.revoke_key(&cli(), other.record.id).await.unwrap();
    let waited = begun.elapsed();
    assert!(waited > LEASE - Duration::from_secs(1) && waited < LEASE + Duration::from_secs(2), "{waited:?}");
}
