//! One count in one sliding window.
//!
//! Time is cut into slots of a sixtieth of the window (a ninety-sixth of a day), and what was used is kept by slot. An amount
//! counts until its whole slot is a window old. So never more than the limit is let through within any span of the window's
//! length, and what was used counts at most one slot too long: 1 s of a minute, 1 min of an hour, 15 min of a day. The rolling
//! sum is exact between slots. A leaky bucket (GCRA, as the `governor` crate has it) would be a single number, but lets twice
//! the limit through in a window, its burst and its refill, and cannot take back what was reserved and not used.

use std::collections::VecDeque;

use portcullis_core::Window;

const fn slots(window: Window) -> u64 {
    match window {
        Window::Minute | Window::Hour => 60,
        Window::Day => 96,
    }
}

const fn slot_ms(window: Window) -> u64 {
    window.millis() / slots(window)
}

#[derive(Debug)]
struct Cell {
    /// Slots since the Unix epoch.
    slot: u64,
    amount: u64,
}

/// What was used, by slot, oldest first. Holds no more cells than the window has slots, and one.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    cells: VecDeque<Cell>,
    sum: u64,
}

impl Rolling {
    /// What counts at `now_ms`.
    pub fn used(&mut self, window: Window, now_ms: u64) -> u64 {
        let slot = now_ms / slot_ms(window);
        while let Some(oldest) = self.cells.front()
            && slot > oldest.slot + slots(window)
        {
            self.sum -= oldest.amount;
            self.cells.pop_front();
        }
        self.sum
    }

    /// Counts an amount, whether or not there is room for it, and says under which slot. A clock that steps back counts in the
    /// newest slot there is.
    pub fn add(&mut self, window: Window, now_ms: u64, amount: u64) -> u64 {
        self.used(window, now_ms);
        let slot = now_ms / slot_ms(window);
        // What one cell holds must not make the sum wrap: it stops at the top, with the cell.
        let amount = amount.min(u64::MAX - self.sum);
        self.sum += amount;
        match self.cells.back_mut() {
            Some(newest) if newest.slot >= slot => {
                newest.amount += amount;
                newest.slot
            }
            _ => {
                self.cells.push_back(Cell { slot, amount });
                slot
            }
        }
    }

    /// Takes back what was counted under a slot and not used. Where the slot no longer counts there is nothing to take back.
    pub fn give_back(&mut self, slot: u64, amount: u64) {
        if let Some(cell) = self.cells.iter_mut().rev().find(|cell| cell.slot == slot) {
            let amount = amount.min(cell.amount);
            cell.amount -= amount;
            self.sum -= amount;
        }
    }

    /// Milliseconds until at least `amount` of what counts no longer does; the time of the newest where that is not so much.
    pub fn frees(&self, window: Window, now_ms: u64, amount: u64) -> u64 {
        let mut freed = 0;
        let mut until = 0;
        for cell in self.cells.iter().filter(|cell| cell.amount > 0) {
            until = (cell.slot + slots(window) + 1) * slot_ms(window);
            freed += cell.amount;
            if freed >= amount {
                break;
            }
        }
        until.saturating_sub(now_ms)
    }

    /// Milliseconds until nothing counts any more.
    pub fn resets(&self, window: Window, now_ms: u64) -> u64 {
        self.frees(window, now_ms, u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        /// Asks for so much under a limit.
        Ask(u64),
        /// Gives back so much of the n-th of what was let through.
        GiveBack(usize, u64),
        /// More than was reserved was used.
        Owe(u64),
    }

    fn step(window: Window) -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..window.millis() / 7).prop_map(Step::Wait),
            (1..40_u64).prop_map(Step::Ask),
            (0..64_usize, 0..60_u64).prop_map(|(at, amount)| Step::GiveBack(at, amount)),
            (1..40_u64).prop_map(Step::Owe),
        ]
    }

    fn window() -> impl Strategy<Value = Window> {
        prop_oneof![Just(Window::Minute), Just(Window::Hour), Just(Window::Day)]
    }

    proptest! {
        /// Against a list of everything that ever happened: the count is that of the slots, it is never below the true sliding
        /// one, and what is let through within any window never passes the limit.
        #[test]
        fn it_counts_as_a_list_of_everything_does(
            (window, limit, steps) in (window(), 20..100_u64).prop_flat_map(|(window, limit)| {
                (Just(window), Just(limit), prop::collection::vec(step(window), 1..120))
            }),
            start in 0..10_000_000_000_u64,
        ) {
            let mut rolling = Rolling::default();
            let mut now = start;
            // (time, slot, amount): of what was let through, and of debts.
            let mut all: Vec<(u64, u64, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(ms) => now += ms,
                    Step::Ask(amount) => {
                        let used = rolling.used(window, now);
                        let by_slots: u64 = all.iter().filter(|(_, slot, _)| now / slot_ms(window) <= slot + slots(window)).map(|(.., amount)| amount).sum();
                        let exact: u64 = all.iter().filter(|(at, ..)| now < at + window.millis()).map(|(.., amount)| amount).sum();
                        let late: u64 = all.iter().filter(|(at, ..)| now < at + window.millis() + slot_ms(window)).map(|(.., amount)| amount).sum();
                        prop_assert_eq!(used, by_slots);
                        prop_assert!(exact <= used && used <= late, "{} <= {} <= {}", exact, used, late);
                        if used + amount <= limit {
                            let slot = rolling.add(window, now, amount);
                            all.push((now, slot, amount));
                            prop_assert!(exact + amount <= limit);
                        } else if amount <= limit {
                            let short = used + amount - limit;
                            let wait = rolling.frees(window, now, short);
                            prop_assert!(wait > 0 && wait <= window.millis() + slot_ms(window));
                            // A moment earlier there is no room yet, then there is.
                            let at = |then: u64| all.iter().filter(|(_, slot, _)| then / slot_ms(window) <= slot + slots(window)).map(|(.., amount)| amount).sum::<u64>();
                            prop_assert!(at(now + wait - 1) + amount > limit);
                            prop_assert!(at(now + wait) + amount <= limit);
                        }
                    }
                    Step::GiveBack(at, amount) => {
                        if let Some((_, slot, held)) = all.get_mut(at) {
                            let amount = amount.min(*held);
                            rolling.give_back(*slot, amount);
                            *held -= amount;
                        }
                    }
                    Step::Owe(amount) => {
                        let slot = rolling.add(window, now, amount);
                        all.push((now, slot, amount));
                    }
                }
                prop_assert!(rolling.cells.len() as u64 <= slots(window) + 1);
            }
            rolling.used(window, now);
            let resets = rolling.resets(window, now);
            prop_assert_eq!(rolling.used(window, now + resets), 0);
        }
    }

    #[test]
    fn a_clock_that_steps_back_takes_nothing_away() {
        let mut rolling = Rolling::default();
        rolling.add(Window::Minute, 100_000, 3);
        rolling.add(Window::Minute, 40_000, 4);
        assert_eq!(rolling.used(Window::Minute, 30_000), 7);
        assert_eq!(rolling.used(Window::Minute, 160_999), 7);
        assert_eq!(rolling.used(Window::Minute, 161_000), 0);
    }

    #[test]
    fn a_sum_at_the_top_stays_there() {
        let mut rolling = Rolling::default();
        rolling.add(Window::Hour, 0, u64::MAX);
        let slot = rolling.add(Window::Hour, 0, 5);
        assert_eq!(rolling.used(Window::Hour, 0), u64::MAX);
        rolling.give_back(slot, u64::MAX);
        assert_eq!(rolling.used(Window::Hour, 0), 0);
    }
}
