//! A plugin version's standing: on probation, trusted, held, withdrawn. One state machine, one transition function.
//!
//! - A version that replaced another is on probation: failures from several keys withdraw it and bring the old one back. One
//!   key alone never can, or anybody could force an old guard back with a poisoned prompt.
//! - A version that replaced nothing, or that passed its probation, has a breaker: enough failures in a row hold it for a
//!   while, after which one call tries it again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// When failures matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthPolicy {
    /// How long a version that replaced another is on probation.
    pub probation: Duration,
    /// Distinct keys whose calls must fail before a version is withdrawn or held.
    pub keys: usize,
    /// Failures in a row, from that many keys, that hold a plugin.
    pub failures: u32,
    /// Failures in a row that hold a plugin though all come from one key.
    pub failures_of_one: u32,
    /// How long a plugin is held before it is tried again.
    pub hold: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        HealthPolicy {
            probation: Duration::from_secs(60),
            keys: 3,
            failures: 5,
            failures_of_one: 50,
            hold: Duration::from_secs(10),
        }
    }
}

/// Failures in a row and whose they were: hashes of key ids, no more than the policy asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Failures {
    count: u32,
    keys: Vec<u64>,
}

impl Failures {
    fn note(mut self, key: u64, policy: &HealthPolicy) -> Failures {
        self.count = self.count.saturating_add(1);
        if self.keys.len() < policy.keys && !self.keys.contains(&key) {
            self.keys.push(key);
        }
        self
    }

    fn enough_keys(&self, policy: &HealthPolicy) -> bool {
        self.keys.len() >= policy.keys
    }

    fn open_the_breaker(&self, policy: &HealthPolicy) -> bool {
        (self.count >= policy.failures && self.enough_keys(policy)) || self.count >= policy.failures_of_one
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Failures are counted over the whole probation: a version that fails for some is bad though it serves others.
    Probation {
        until: Instant,
        failures: Failures,
    },
    /// Failures are counted in a row.
    Trusted {
        failures: Failures,
    },
    Held {
        until: Instant,
    },
    /// One call is trying it.
    Trial {
        since: Instant,
    },
    Withdrawn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// May a call be made?
    Ask,
    Success,
    Failure {
        key: u64,
    },
}

/// What follows from a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proceed,
    Refuse,
    /// Bring back the version before; said once.
    Withdraw,
}

/// The only place where a plugin's standing changes.
fn step(standing: Standing, signal: Signal, now: Instant, policy: &HealthPolicy) -> (Standing, Verdict) {
    use Verdict::{Proceed, Refuse, Withdraw};
    let trusted = || Standing::Trusted { failures: Failures::default() };
    let held = || Standing::Held { until: now + policy.hold };
    match (standing, signal) {
        (Standing::Withdrawn, _) => (Standing::Withdrawn, Refuse),

        (Standing::Probation { until, .. }, signal) if now >= until => step(trusted(), signal, now, policy),
        (standing @ Standing::Probation { .. }, Signal::Ask | Signal::Success) => (standing, Proceed),
        (Standing::Probation { until, failures }, Signal::Failure { key }) => {
            let failures = failures.note(key, policy);
            if failures.enough_keys(policy) {
                (Standing::Withdrawn, Withdraw)
            } else {
                (Standing::Probation { until, failures }, Proceed)
            }
        }

        (standing @ Standing::Trusted { .. }, Signal::Ask) => (standing, Proceed),
        (Standing::Trusted { .. }, Signal::Success) => (trusted(), Proceed),
        (Standing::Trusted { failures }, Signal::Failure { key }) => {
            let failures = failures.note(key, policy);
            if failures.open_the_breaker(policy) {
                (held(), Proceed)
            } else {
                (Standing::Trusted { failures }, Proceed)
            }
        }

        (Standing::Held { until }, Signal::Ask) if now >= until => (Standing::Trial { since: now }, Proceed),
        (standing @ Standing::Held { .. }, Signal::Ask) => (standing, Refuse),
        // Calls that began before it was held prove nothing about now.
        (standing @ Standing::Held { .. }, Signal::Success | Signal::Failure { .. }) => (standing, Proceed),

        // A trial whose caller went away must not hold the plugin for ever.
        (Standing::Trial { since }, Signal::Ask) if now >= since + policy.hold => {
            (Standing::Trial { since: now }, Proceed)
        }
        (standing @ Standing::Trial { .. }, Signal::Ask) => (standing, Refuse),
        (Standing::Trial { .. }, Signal::Success) => (trusted(), Proceed),
        (Standing::Trial { .. }, Signal::Failure { .. }) => (held(), Proceed),
    }
}

/// What a call must do before it looks closer.
const CALM: u8 = 0;
/// Successes and questions change nothing, failures do.
const WATCHED: u8 = 1;
const TROUBLED: u8 = 2;

/// One plugin version's standing. While all is well a call costs one load.
#[derive(Debug)]
pub(crate) struct Health {
    policy: HealthPolicy,
    mood: AtomicU8,
    standing: Mutex<Standing>,
}

impl Health {
    /// `replaces` says that there is a version to go back to.
    pub fn new(policy: HealthPolicy, replaces: bool, now: Instant) -> Self {
        let failures = Failures::default();
        let standing = match replaces {
            true => Standing::Probation { until: now + policy.probation, failures },
            false => Standing::Trusted { failures },
        };
        Health { policy, mood: AtomicU8::new(mood(&standing)), standing: Mutex::new(standing) }
    }

    /// Whether a call may be made.
    #[inline]
    pub fn admit(&self) -> bool {
        self.mood.load(Ordering::Relaxed) < TROUBLED || self.signal(Signal::Ask, Instant::now()) == Verdict::Proceed
    }

    #[inline]
    pub fn success(&self) {
        if self.mood.load(Ordering::Relaxed) == TROUBLED {
            self.signal(Signal::Success, Instant::now());
        }
    }

    #[cold]
    pub fn failure(&self, key: u64) -> Verdict {
        self.signal(Signal::Failure { key }, Instant::now())
    }

    /// A word for the operator.
    pub fn describe(&self, now: Instant) -> &'static str {
        match &*self.standing.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Standing::Probation { until, .. } if now < *until => "probation",
            Standing::Probation { .. } | Standing::Trusted { .. } => "trusted",
            Standing::Held { .. } | Standing::Trial { .. } => "held",
            Standing::Withdrawn => "withdrawn",
        }
    }

    pub fn on_probation(&self, now: Instant) -> bool {
        self.describe(now) == "probation"
    }

    fn signal(&self, signal: Signal, now: Instant) -> Verdict {
        let mut standing = self.standing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let old = std::mem::replace(&mut *standing, Standing::Withdrawn);
        let (new, verdict) = step(old, signal, now, &self.policy);
        self.mood.store(mood(&new), Ordering::Relaxed);
        *standing = new;
        verdict
    }
}

fn mood(standing: &Standing) -> u8 {
    match standing {
        Standing::Trusted { failures } if failures.count == 0 => CALM,
        Standing::Probation { .. } => WATCHED,
        _ => TROUBLED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: HealthPolicy = HealthPolicy {
        probation: Duration::from_secs(60),
        keys: 2,
        failures: 3,
        failures_of_one: 5,
        hold: Duration::from_secs(10),
    };

    fn failures(count: u32, keys: &[u64]) -> Failures {
        Failures { count, keys: keys.to_vec() }
    }

    #[test]
    fn transitions() {
        use Signal::{Ask, Failure, Success};
        use Verdict::{Proceed, Refuse, Withdraw};
        let t0 = Instant::now();
        let at = |seconds: u64| t0 + Duration::from_secs(seconds);
        let probation = |count, keys: &[u64]| Standing::Probation { until: at(60), failures: failures(count, keys) };
        let trusted = |count, keys: &[u64]| Standing::Trusted { failures: failures(count, keys) };
        let held = |seconds| Standing::Held { until: at(seconds) };
        let trial = |seconds| Standing::Trial { since: at(seconds) };
        let table = [
            // On probation: only failures of several keys matter, successes between do not help.
            (probation(0, &[]), Ask, 1, probation(0, &[]), Proceed),
            (probation(0, &[]), Failure { key: 1 }, 1, probation(1, &[1]), Proceed),
            (probation(1, &[1]), Failure { key: 1 }, 1, probation(2, &[1]), Proceed),
            (probation(70, &[1]), Failure { key: 1 }, 1, probation(71, &[1]), Proceed),
            (probation(1, &[1]), Success, 1, probation(1, &[1]), Proceed),
            (probation(1, &[1]), Failure { key: 2 }, 59, Standing::Withdrawn, Withdraw),
            // Over: the same failure now only counts.
            (probation(1, &[1]), Failure { key: 2 }, 60, trusted(1, &[2]), Proceed),
            (probation(1, &[1]), Ask, 60, trusted(0, &[]), Proceed),
            // Trusted: a success forgives, and no old version comes back.
            (trusted(2, &[1, 2]), Success, 1, trusted(0, &[]), Proceed),
            (trusted(0, &[]), Failure { key: 1 }, 1, trusted(1, &[1]), Proceed),
            (trusted(2, &[1, 2]), Failure { key: 1 }, 1, held(11), Proceed),
            (trusted(2, &[1]), Failure { key: 1 }, 1, trusted(3, &[1]), Proceed),
            (trusted(4, &[1]), Failure { key: 1 }, 1, held(11), Proceed),
            (trusted(3, &[1]), Failure { key: 2 }, 1, held(11), Proceed),
            (trusted(2, &[1, 2]), Ask, 1, trusted(2, &[1, 2]), Proceed),
            // Held, then tried by one call.
            (held(11), Ask, 10, held(11), Refuse),
            (held(11), Success, 10, held(11), Proceed),
            (held(11), Failure { key: 3 }, 10, held(11), Proceed),
            (held(11), Ask, 11, trial(11), Proceed),
            (trial(11), Ask, 12, trial(11), Refuse),
            (trial(11), Success, 12, trusted(0, &[]), Proceed),
            (trial(11), Failure { key: 3 }, 12, held(22), Proceed),
            (trial(11), Ask, 21, trial(21), Proceed),
            // Withdrawn for good.
            (Standing::Withdrawn, Ask, 1, Standing::Withdrawn, Refuse),
            (Standing::Withdrawn, Success, 1, Standing::Withdrawn, Refuse),
            (Standing::Withdrawn, Failure { key: 1 }, 1, Standing::Withdrawn, Refuse),
        ];
        for (standing, signal, seconds, expected, verdict) in table {
            let answer = step(standing.clone(), signal, at(seconds), &POLICY);
            assert_eq!(answer, (expected, verdict), "{standing:?} {signal:?} at {seconds} s");
        }
    }

    #[test]
    fn the_short_way_agrees_with_the_long_one() {
        let health = Health::new(POLICY, false, Instant::now());
        assert!(health.admit());
        for key in [1, 2] {
            health.failure(key);
        }
        assert_eq!(health.describe(Instant::now()), "trusted");
        health.success();
        for key in [1, 2, 1] {
            assert!(health.admit(), "a success forgave what was before");
            health.failure(key);
        }
        assert!(!health.admit());
        assert_eq!(health.describe(Instant::now()), "held");
    }
}
