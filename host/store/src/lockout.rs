//! Attempts that failed: counted, locked out where they are many, and told of in the audit trail in bounded numbers.
//!
//! A lock-out is by the shown part of a key and by address, doubles with every further failure, and outlives a restart. It answers
//! wrong keys without judging them further; a correct key always passes, so that nobody can lock out another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_core::{Clock, OrganisationId};
use serde_json::json;

use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::backend::Backend;
use crate::error::StoreError;
use crate::store::Store;

/// How often what happened is written.
const FLUSH: Duration = Duration::from_secs(1);
/// How often other processes' lock-outs are read: with every so many flushes.
const READ_EVERY: u32 = 5;
/// Subjects in memory.
const MOST: usize = 65_536;
/// Events of one flush; the rest is one event with a number.
const EVENTS: usize = 256;

macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $guess:literal, $told:literal;)+) => {
        /// Why an access failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AccessFailure {
            $($(#[$doc])* $variant,)+
        }

        impl AccessFailure {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Stable; the audit trail, the log and metrics have it.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// Whether it may be somebody who guesses: those are locked out.
            const fn is_guess(self) -> bool {
                match self {
                    $(Self::$variant => $guess,)+
                }
            }

            /// Whether the audit trail has it. What leaves a receipt with its reason, or says nothing of anybody, has not.
            const fn is_told(self) -> bool {
                match self {
                    $(Self::$variant => $told,)+
                }
            }
        }
    };
}

failures! {
    /// No key was sent.
    Missing = "key.missing", false, false;
    /// What was sent has not a key's shape.
    Malformed = "key.malformed", true, true;
    Unknown = "key.unknown", true, true;
    Revoked = "key.revoked", false, true;
    Expired = "key.expired", false, true;
    Rotated = "key.rotated", false, true;
    Suspended = "key.suspended", false, true;
    /// Refused unjudged, during a lock-out.
    Locked = "key.locked", false, false;
    /// Keys could not be checked.
    Unavailable = "key.unavailable", false, false;
    /// Not from the networks that are allowed.
    Address = "policy.cidrs", false, true;
    Origin = "policy.origins", false, true;
    Referrer = "policy.referrers", false, true;
    Model = "policy.models", false, false;
    Provider = "policy.providers", false, false;
    Region = "policy.regions", false, false;
    /// The admin API: no token, or one that does not hold.
    AdminToken = "admin.token", true, true;
    /// The admin API: a token that does not allow it.
    AdminForbidden = "admin.forbidden", false, true;
    /// The admin API: the issuer vouched for nobody who may log in.
    Login = "admin.login", false, true;
}

/// What failed accesses came to since the start, for metrics.
#[derive(Debug, Default)]
pub struct AccessCounters {
    failures: [AtomicU64; AccessFailure::ALL.len()],
    lockouts: AtomicU64,
}

impl AccessCounters {
    /// Failed accesses by their codes, all of them, also those that never occurred.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        AccessFailure::ALL
            .iter()
            .map(|failure| (failure.code(), self.failures[*failure as usize].load(Ordering::Relaxed)))
    }

    /// Counts a failure that nothing more is to be noted of.
    pub fn count(&self, failure: AccessFailure) {
        self.failures[failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Lock-outs begun.
    pub fn lockouts(&self) -> u64 {
        self.lockouts.load(Ordering::Relaxed)
    }
}

/// When failures lock out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockoutSettings {
    /// Failures that are let pass.
    pub failures: u32,
    /// The first lock-out, milliseconds; each further failure doubles it.
    pub first_ms: u64,
    pub longest_ms: u64,
    /// Without a failure for so long, all is forgotten. Milliseconds.
    pub quiet_ms: u64,
}

impl Default for LockoutSettings {
    fn default() -> Self {
        Self { failures: 10, first_ms: 1_000, longest_ms: 15 * 60_000, quiet_ms: 60 * 60_000 }
    }
}

impl LockoutSettings {
    /// How long so many failures lock out.
    fn lock_ms(&self, failures: u32) -> u64 {
        match failures.checked_sub(self.failures) {
            None | Some(0) => 0,
            Some(over) => 1u64
                .checked_shl(over - 1)
                .map_or(self.longest_ms, |factor| self.first_ms.saturating_mul(factor).min(self.longest_ms)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockoutKind {
    Prefix,
    Address,
}

impl LockoutKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Address => "address",
        }
    }
}

/// A lock-out as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockoutRow {
    pub kind: LockoutKind,
    pub subject: String,
    pub failures: u32,
    pub last_ms: u64,
    /// Until when nothing but a correct key passes.
    pub until_ms: u64,
}

/// An access that failed.
#[derive(Clone, Copy, Debug)]
pub struct FailedAccess<'a> {
    pub failure: AccessFailure,
    /// What may be shown of the key or token that was presented.
    pub prefix: Option<&'a str>,
    pub address: IpAddr,
    /// Where the key is known.
    pub organisation: Option<OrganisationId>,
}

#[derive(Clone, Copy, Debug)]
struct Lock {
    failures: u32,
    last_ms: u64,
    until_ms: u64,
    dirty: bool,
}

#[derive(PartialEq, Eq, Hash)]
struct AttemptKey {
    failure: AccessFailure,
    prefix: Option<String>,
    address: IpAddr,
    organisation: Option<OrganisationId>,
}

struct Attempts {
    count: u64,
    first_ms: u64,
    last_ms: u64,
}

#[derive(Default)]
struct State {
    locks: HashMap<(LockoutKind, String), Lock>,
    attempts: HashMap<AttemptKey, Attempts>,
    /// Failed attempts for which there was no room.
    others: u64,
    /// Locks that began since the last flush.
    begun: Vec<(LockoutKind, String, Lock)>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    settings: LockoutSettings,
    state: Mutex<State>,
    counters: AccessCounters,
    /// One flush at a time, so that what is written is what was taken.
    flushing: tokio::sync::Mutex<()>,
}

/// Stands at the door. Cheap to clone.
#[derive(Clone)]
pub struct AccessGuard(Arc<Inner>);

impl Store {
    /// Takes up the lock-outs that are there and keeps them from now on.
    pub async fn access_guard(&self, settings: LockoutSettings) -> Result<AccessGuard, StoreError> {
        let inner = Arc::new(Inner {
            backend: self.backend().clone(),
            clock: self.shared_clock(),
            settings,
            state: Mutex::default(),
            counters: AccessCounters::default(),
            flushing: tokio::sync::Mutex::new(()),
        });
        inner.read().await?;
        tokio::spawn(keep(Arc::downgrade(&inner)));
        Ok(AccessGuard(inner))
    }
}

async fn keep(inner: std::sync::Weak<Inner>) {
    let mut tick = tokio::time::interval(FLUSH);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0;
    loop {
        tick.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        round = (round + 1) % READ_EVERY;
        let outcome = async {
            inner.flush().await?;
            if round == 0 { inner.read().await } else { Ok(()) }
        };
        if let Err(error) = outcome.await {
            tracing::warn!(%error, "failed accesses could not be written");
        }
    }
}

impl AccessGuard {
    /// How long nothing but a correct key passes here, milliseconds; `None` where anything is judged.
    pub fn locked(&self, prefix: Option<&str>, address: IpAddr, now_ms: u64) -> Option<u64> {
        let state = self.0.state();
        if state.locks.is_empty() {
            return None;
        }
        let until = subjects(prefix, address)
            .filter_map(|subject| state.locks.get(&subject))
            .map(|lock| lock.until_ms)
            .max()?;
        until.checked_sub(now_ms).filter(|left| *left > 0)
    }

    /// Notes a failure. Says for how long, milliseconds, nothing but a correct key passes from now on, where this began that.
    pub fn failed(&self, access: FailedAccess<'_>, now_ms: u64) -> Option<u64> {
        let inner = &*self.0;
        inner.counters.count(access.failure);
        let mut state = inner.state();
        if access.failure.is_told() {
            state.note(&access, now_ms);
        }
        if !access.failure.is_guess() {
            return None;
        }
        let mut longest = None;
        for subject in subjects(access.prefix, access.address) {
            if let Some(lock_ms) = state.count(subject, &inner.settings, now_ms) {
                inner.counters.lockouts.fetch_add(1, Ordering::Relaxed);
                longest = longest.max(Some(lock_ms));
            }
        }
        longest
    }

    pub fn counters(&self) -> &AccessCounters {
        &self.0.counters
    }

    /// Subjects that are locked out at `now_ms`.
    pub fn locked_now(&self, now_ms: u64) -> usize {
        self.0.state().locks.values().filter(|lock| lock.until_ms > now_ms).count()
    }

    /// Writes what happened until now; a task does so once a second.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.0.flush().await
    }
}

/// What an attempt is counted by. Whoever has an IPv6 address has 2^64 of them.
fn subjects(prefix: Option<&str>, address: IpAddr) -> impl Iterator<Item = (LockoutKind, String)> {
    let address = match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    };
    prefix
        .map(|prefix| (LockoutKind::Prefix, prefix.to_owned()))
        .into_iter()
        .chain(std::iter::once((LockoutKind::Address, address)))
}

impl State {
    fn note(&mut self, access: &FailedAccess<'_>, now_ms: u64) {
        let key = AttemptKey {
            failure: access.failure,
            prefix: access.prefix.map(str::to_owned),
            address: access.address,
            organisation: access.organisation,
        };
        if let Some(attempts) = self.attempts.get_mut(&key) {
            attempts.count += 1;
            attempts.last_ms = now_ms;
        } else if self.attempts.len() < EVENTS {
            self.attempts.insert(key, Attempts { count: 1, first_ms: now_ms, last_ms: now_ms });
        } else {
            self.others += 1;
        }
    }

    /// Counts a failure, and says for how long it locks out where it does. While a lock lasts nothing counts: it ends.
    fn count(&mut self, subject: (LockoutKind, String), settings: &LockoutSettings, now_ms: u64) -> Option<u64> {
        if self.locks.len() >= MOST && !self.locks.contains_key(&subject) {
            self.locks.retain(|_, lock| lock.until_ms > now_ms);
            if self.locks.len() >= MOST {
                return None;
            }
        }
        let fresh = Lock { failures: 0, last_ms: now_ms, until_ms: 0, dirty: true };
        let lock = self.locks.entry(subject.clone()).or_insert(fresh);
        if lock.until_ms > now_ms {
            return None;
        }
        if now_ms.saturating_sub(lock.last_ms.max(lock.until_ms)) >= settings.quiet_ms {
            *lock = fresh;
        }
        lock.failures = lock.failures.saturating_add(1);
        (lock.last_ms, lock.dirty) = (now_ms, true);
        let lock_ms = settings.lock_ms(lock.failures);
        if lock_ms == 0 {
            return None;
        }
        lock.until_ms = now_ms.saturating_add(lock_ms);
        let lock = *lock;
        if self.begun.len() < EVENTS {
            self.begun.push((subject.0, subject.1, lock));
        }
        Some(lock_ms)
    }
}

impl Inner {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what is stored, where it is the later.
    async fn read(&self) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        for row in self.backend.lockouts(now_ms.saturating_sub(self.settings.quiet_ms)).await? {
            let mut state = self.state();
            if state.locks.len() >= MOST {
                break;
            }
            let read = Lock { failures: row.failures, last_ms: row.last_ms, until_ms: row.until_ms, dirty: false };
            let lock = state.locks.entry((row.kind, row.subject)).or_insert(read);
            if lock.last_ms < read.last_ms {
                *lock = read;
            }
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let _one = self.flushing.lock().await;
        let now_ms = self.clock.now_ms();
        let (rows, events) = {
            let mut state = self.state();
            let quiet_ms = self.settings.quiet_ms;
            state
                .locks
                .retain(|_, lock| lock.dirty || now_ms.saturating_sub(lock.last_ms.max(lock.until_ms)) < quiet_ms);
            let mut rows = Vec::new();
            for ((kind, subject), lock) in &mut state.locks {
                if std::mem::take(&mut lock.dirty) {
                    rows.push(LockoutRow {
                        kind: *kind,
                        subject: subject.clone(),
                        failures: lock.failures,
                        last_ms: lock.last_ms,
                        until_ms: lock.until_ms,
                    });
                }
            }
            rows.sort_by(|one, two| (one.kind, &one.subject).cmp(&(two.kind, &two.subject)));
            (rows, state.take_events(now_ms))
        };
        for event in events.iter().filter(|event| event.action == "access.locked") {
            tracing::warn!(subject = %event.target, "too many wrong keys: locked out");
        }
        if !rows.is_empty() {
            self.backend.save_lockouts(&rows).await?;
            self.backend
                .expire_lockouts(now_ms.saturating_sub(self.settings.quiet_ms + self.settings.longest_ms))
                .await?;
        }
        if !events.is_empty() {
            self.backend.append_events(&events).await?;
        }
        Ok(())
    }
}

impl State {
    fn take_events(&mut self, now_ms: u64) -> Vec<NewEvent> {
        let mut events: Vec<NewEvent> = self
            .attempts
            .drain()
            .map(|(key, attempts)| {
                let actor = Actor::caller(key.prefix, Some(key.address));
                NewEvent::new(&actor, attempts.last_ms, key.organisation, "access.failed", key.failure.code())
                    .changed(None, Some(json!({"count": attempts.count, "first_ms": attempts.first_ms})))
            })
            .collect();
        events.sort_by_key(|event| event.time_ms);
        let others = std::mem::take(&mut self.others);
        if others > 0 {
            let event = NewEvent::new(&Actor::caller(None, None), now_ms, None, "access.failed", "others");
            events.push(event.changed(None, Some(json!({"count": others}))));
        }
        events.extend(self.begun.drain(..).map(|(kind, subject, lock)| {
            NewEvent::new(&Actor::system(), lock.last_ms, None, "access.locked", format!("{}:{subject}", kind.as_str()))
                .changed(None, Some(json!({"failures": lock.failures, "until_ms": lock.until_ms})))
        }));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: LockoutSettings =
        LockoutSettings { failures: 3, first_ms: 100, longest_ms: 1_000, quiet_ms: 10_000 };

    #[test]
    fn locks_double_up_to_the_longest() {
        let locks: Vec<_> = (0..12).map(|failures| SETTINGS.lock_ms(failures)).collect();
        assert_eq!(locks, [0, 0, 0, 0, 100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000]);
        assert_eq!(SETTINGS.lock_ms(u32::MAX), 1_000);
    }

    #[test]
    fn a_lock_ends_and_quiet_forgets() {
        let mut state = State::default();
        let subject = || (LockoutKind::Address, "10.0.0.1".to_owned());
        let mut count = |now| state.count(subject(), &SETTINGS, now);
        assert_eq!([count(0), count(1), count(2), count(3)], [None, None, None, Some(100)]);
        // While it lasts nothing counts.
        assert_eq!([count(50), count(102)], [None, None]);
        assert_eq!(count(103), Some(200));
        assert_eq!(count(303), Some(400));
        assert_eq!(count(703 + 10_000), None);
        assert_eq!(state.locks[&subject()].failures, 1);
        assert_eq!(state.begun.len(), 3);
    }

    #[test]
    fn events_are_bounded() {
        let mut state = State::default();
        for attempt in 0..10_000u32 {
            let prefix = format!("pc_dev_{attempt}");
            let access = FailedAccess {
                failure: AccessFailure::Unknown,
                prefix: Some(&prefix),
                address: IpAddr::from([10, 0, 0, 1]),
                organisation: None,
            };
            state.note(&access, 5);
            state.note(&access, 6);
        }
        let events = state.take_events(7);
        assert_eq!(events.len(), EVENTS + 1);
        let count = |event: &NewEvent| event.after.as_ref().and_then(|after| after["count"].as_u64()).unwrap();
        assert_eq!(events.iter().map(count).sum::<u64>(), 20_000);
        assert!(state.take_events(8).is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_subject() {
        let of = |text: &str| subjects(None, text.parse().unwrap()).next().unwrap().1;
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
