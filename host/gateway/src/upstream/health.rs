//! How a connection fares: moving averages for the router, and a breaker. A client's own errors count for neither.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Weight of the newest measurement in the moving averages: the last ten or so count.
const WEIGHT: f32 = 0.2;

#[derive(Debug, Clone, Copy)]
pub struct HealthSettings {
    /// Consecutive failures that open the breaker.
    pub failures: u32,
    /// Milliseconds it stays open.
    pub cooldown_ms: u64,
}

/// A breaker's state. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    Closed {
        failures: u32,
    },
    Open {
        until: u64,
    },
    /// One request is trying.
    HalfOpen,
}

/// What happens to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A request is about to be sent.
    Sent,
    Succeeded,
    Failed,
    /// The request ended without telling anything of the provider (the client's error, the client left).
    Undecided,
}

impl Breaker {
    /// The one place where a breaker changes.
    fn next(self, happening: Happening, now: u64, settings: HealthSettings) -> Self {
        match (self, happening) {
            (Breaker::Closed { failures }, Happening::Failed) if failures + 1 >= settings.failures => {
                Breaker::Open { until: now + settings.cooldown_ms }
            }
            (Breaker::Closed { failures }, Happening::Failed) => Breaker::Closed { failures: failures + 1 },
            (Breaker::Closed { .. }, Happening::Succeeded) => Breaker::Closed { failures: 0 },
            (Breaker::Open { until }, Happening::Sent) if until <= now => Breaker::HalfOpen,
            (Breaker::HalfOpen, Happening::Succeeded) => Breaker::Closed { failures: 0 },
            (Breaker::HalfOpen, Happening::Failed) => Breaker::Open { until: now + settings.cooldown_ms },
            (Breaker::HalfOpen, Happening::Undecided) => Breaker::Open { until: now },
            // Requests that were under way before it opened, and a last resort sent while it is open.
            (state, _) => state,
        }
    }
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    latency_ms: f32,
    error_rate: f32,
    /// When a provider's rate limit ends.
    cooling_until: u64,
}

/// Live figures of one connection.
#[derive(Debug)]
pub struct Health {
    settings: HealthSettings,
    in_flight: AtomicU32,
    state: Mutex<State>,
}

/// A moment's view of [`Health`].
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    pub latency_ms: f32,
    pub error_rate: f32,
    pub in_flight: u32,
    pub breaker: Breaker,
    /// Milliseconds until a rate limit ends.
    pub cooling_ms: u64,
}

impl Health {
    pub fn new(settings: HealthSettings) -> Self {
        let state =
            State { breaker: Breaker::Closed { failures: 0 }, latency_ms: 0.0, error_rate: 0.0, cooling_until: 0 };
        Health { settings, in_flight: AtomicU32::new(0), state: Mutex::new(state) }
    }

    pub fn standing(&self, now: u64) -> Standing {
        let state = self.lock();
        Standing {
            latency_ms: state.latency_ms,
            error_rate: state.error_rate,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            breaker: match state.breaker {
                Breaker::Open { until } if until <= now => Breaker::HalfOpen,
                breaker => breaker,
            },
            cooling_ms: state.cooling_until.saturating_sub(now),
        }
    }

    pub fn sent(&self, now: u64) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        state.breaker = state.breaker.next(Happening::Sent, now, self.settings);
    }

    /// An attempt is over. `latency_ms` is the time to its first byte; a retry-after cools the connection.
    pub fn ended(&self, happening: Happening, latency_ms: Option<f32>, retry_after_ms: Option<u64>, now: u64) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.lock();
        state.breaker = state.breaker.next(happening, now, self.settings);
        if let Some(latency) = latency_ms {
            let average = state.latency_ms;
            state.latency_ms = if average == 0.0 { latency } else { average + WEIGHT * (latency - average) };
        }
        let failed = match happening {
            Happening::Failed => 1.0,
            Happening::Succeeded => 0.0,
            Happening::Sent | Happening::Undecided => state.error_rate,
        };
        state.error_rate += WEIGHT * (failed - state.error_rate);
        if let Some(after) = retry_after_ms {
            state.cooling_until = state.cooling_until.max(now + after);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: HealthSettings = HealthSettings { failures: 2, cooldown_ms: 100 };

    #[test]
    fn the_breaker_as_a_table() {
        use Breaker::{Closed, HalfOpen, Open};
        use Happening::{Failed, Sent, Succeeded, Undecided};
        let table = [
            (Closed { failures: 0 }, Sent, 10, Closed { failures: 0 }),
            (Closed { failures: 0 }, Failed, 10, Closed { failures: 1 }),
            (Closed { failures: 1 }, Succeeded, 10, Closed { failures: 0 }),
            (Closed { failures: 1 }, Undecided, 10, Closed { failures: 1 }),
            (Closed { failures: 1 }, Failed, 10, Open { until: 110 }),
            (Open { until: 110 }, Sent, 109, Open { until: 110 }),
            (Open { until: 110 }, Succeeded, 109, Open { until: 110 }),
            (Open { until: 110 }, Sent, 110, HalfOpen),
            (HalfOpen, Succeeded, 120, Closed { failures: 0 }),
            (HalfOpen, Failed, 120, Open { until: 220 }),
            (HalfOpen, Undecided, 120, Open { until: 120 }),
        ];
        for (state, happening, now, expected) in table {
            assert_eq!(state.next(happening, now, SETTINGS), expected, "{state:?} {happening:?} at {now}");
        }
    }

    #[test]
    fn averages_follow_and_rate_limits_cool() {
        let health = Health::new(SETTINGS);
        health.sent(0);
        health.ended(Happening::Succeeded, Some(100.0), None, 0);
        health.sent(0);
        health.ended(Happening::Undecided, Some(200.0), Some(500), 0);
        let standing = health.standing(100);
        assert!((standing.latency_ms - 120.0).abs() < 0.01, "{standing:?}");
        assert_eq!((standing.cooling_ms, standing.in_flight, standing.error_rate), (400, 0, 0.0));
    }
}
