//! What one subject has used and has under way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::{Limits, Unit, Window};

use super::rolling::Rolling;

#[derive(Debug, Default)]
pub(super) struct Account {
    state: Mutex<State>,
    /// When it was last asked, milliseconds since the Unix epoch.
    seen: AtomicU64,
}

/// Only windows with a limit are counted: a limit that a configuration adds begins with an empty window.
#[derive(Debug, Default)]
pub(super) struct State {
    requests: [Rolling; 3],
    tokens: [Rolling; 3],
    pub in_flight: u64,
}

/// Under which slots an amount was counted, by window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted([Option<u64>; 3]);

/// How a limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortage {
    pub unit: Unit,
    /// `None` for what is under way at once.
    pub window: Option<Window>,
    pub limit: u64,
    pub used: u64,
    pub asked: u64,
    /// Milliseconds until there is room; `None` where so much is never let through.
    pub wait: Option<u64>,
}

/// Nobody knows when a request under way ends: a client comes again after this, milliseconds.
const SLOT_WAIT: u64 = 1_000;

impl Account {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn touch(&self, now_ms: u64) {
        self.seen.store(now_ms, Ordering::Relaxed);
    }

    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Whether anything here still counts.
    pub fn counts(&self, now_ms: u64) -> bool {
        let mut state = self.state();
        state.in_flight > 0
            || Unit::ALL.iter().any(|&unit| Window::ALL.iter().any(|&window| state.used(unit, window, now_ms) > 0))
    }
}

impl State {
    fn rolling(&mut self, unit: Unit, window: Window) -> &mut Rolling {
        let all = match unit {
            Unit::Requests => &mut self.requests,
            Unit::Tokens => &mut self.tokens,
        };
        &mut all[window as usize]
    }

    pub fn used(&mut self, unit: Unit, window: Window, now_ms: u64) -> u64 {
        self.rolling(unit, window).used(window, now_ms)
    }

    pub fn resets(&mut self, unit: Unit, window: Window, now_ms: u64) -> u64 {
        self.rolling(unit, window).resets(window, now_ms)
    }

    /// What stands in the way of so much; of several limits the one that does so longest.
    pub fn shortage(&mut self, unit: Unit, limits: &Limits, now_ms: u64, asked: u64) -> Option<Shortage> {
        let mut worst: Option<Shortage> = None;
        for window in Window::ALL {
            let Some(limit) = limits.rate(unit, window) else { continue };
            let rolling = self.rolling(unit, window);
            let used = rolling.used(window, now_ms);
            let Some(excess) = used.saturating_add(asked).checked_sub(limit).filter(|excess| *excess > 0) else {
                continue;
            };
            let wait = (asked <= limit).then(|| rolling.frees(window, now_ms, excess));
            let longer = |known: &Shortage| known.wait.is_some_and(|known| wait.is_none_or(|wait| wait > known));
            if worst.as_ref().is_none_or(longer) {
                worst = Some(Shortage { unit, window: Some(window), limit, used, asked, wait });
            }
        }
        worst
    }

    pub fn slot_shortage(&self, limits: &Limits) -> Option<Shortage> {
        let limit = limits.concurrent_requests.filter(|limit| self.in_flight >= *limit)?;
        Some(Shortage {
            unit: Unit::Requests,
            window: None,
            limit,
            used: self.in_flight,
            asked: 1,
            wait: (limit > 0).then_some(SLOT_WAIT),
        })
    }

    /// Counts an amount in every window that has a limit.
    pub fn add(&mut self, unit: Unit, limits: &Limits, now_ms: u64, amount: u64) -> Counted {
        Counted(
            Window::ALL.map(|window| {
                limits.rate(unit, window).map(|_| self.rolling(unit, window).add(window, now_ms, amount))
            }),
        )
    }

    pub fn give_back(&mut self, unit: Unit, counted: Counted, amount: u64) {
        for (window, slot) in Window::ALL.into_iter().zip(counted.0) {
            if let Some(slot) = slot {
                self.rolling(unit, window).give_back(slot, amount);
            }
        }
    }

    /// Makes what was counted the truth: what was reserved and not used is given back where it was taken, what was used beyond it is
    /// a debt from now on.
    pub fn settle(&mut self, unit: Unit, limits: &Limits, counted: Counted, reserved: u64, truth: u64, now_ms: u64) {
        if truth < reserved {
            self.give_back(unit, counted, reserved - truth);
        } else if truth > reserved {
            self.add(unit, limits, now_ms, truth - reserved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { tokens_per_minute: Some(100), tokens_per_hour: Some(150), ..Limits::NONE };

    #[test]
    fn of_several_limits_the_one_that_holds_longest_is_named() {
        let mut state = State::default();
        state.add(Unit::Tokens, &LIMITS, 0, 90);
        let short = state.shortage(Unit::Tokens, &LIMITS, 0, 20).unwrap();
        assert_eq!((short.window, short.used, short.wait), (Some(Window::Minute), 90, Some(61_000)));
        let short = state.shortage(Unit::Tokens, &LIMITS, 0, 70).unwrap();
        assert_eq!((short.window, short.wait), (Some(Window::Hour), Some(3_660_000)));
        // More than the minute ever takes is not a matter of time.
        let short = state.shortage(Unit::Tokens, &LIMITS, 0, 101).unwrap();
        assert_eq!((short.window, short.wait), (Some(Window::Minute), None));
    }

    #[test]
    fn what_was_not_used_comes_back_and_what_was_used_beyond_is_owed() {
        let mut state = State::default();
        let counted = state.add(Unit::Tokens, &LIMITS, 0, 80);
        state.settle(Unit::Tokens, &LIMITS, counted, 80, 30, 10_000);
        assert_eq!(state.used(Unit::Tokens, Window::Minute, 10_000), 30);
        let counted = state.add(Unit::Tokens, &LIMITS, 10_000, 50);
        state.settle(Unit::Tokens, &LIMITS, counted, 50, 120, 30_000);
        // 30 at 0 s, 50 at 10 s, 70 at 30 s: past the limit, which the next requests pay.
        assert_eq!(state.used(Unit::Tokens, Window::Minute, 30_000), 150);
        let short = state.shortage(Unit::Tokens, &LIMITS, 30_000, 1).unwrap();
        assert_eq!(short.window, Some(Window::Hour));
        let minute = Limits { tokens_per_hour: None, ..LIMITS };
        assert_eq!(state.shortage(Unit::Tokens, &minute, 30_000, 1).unwrap().wait, Some(71_000 - 30_000));
    }

    #[test]
    fn what_no_longer_counts_is_not_given_back_again() {
        let mut state = State::default();
        let counted = state.add(Unit::Tokens, &LIMITS, 0, 80);
        state.add(Unit::Tokens, &LIMITS, 70_000, 10);
        state.settle(Unit::Tokens, &LIMITS, counted, 80, 0, 70_000);
        assert_eq!(state.used(Unit::Tokens, Window::Minute, 70_000), 10);
        assert_eq!(state.used(Unit::Tokens, Window::Hour, 70_000), 10);
    }
}
