//! A process's slices, in memory: under one lock, so that a request takes from all its budgets or from none.
//!
//! Nothing here waits or does I/O: a few look-ups for each request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::HashMap;
use portcullis_core::BudgetId;

use super::budget::Budget;
use super::held::Held;
use super::lease::{GivenBack, LeaseWant, Short};
use super::period::{Period, Window};
use super::slice::Slice;

/// How many of the next taking a slice is leased for at first, and how often it may double.
const AHEAD: u64 = 16;
const DOUBLE_WITHIN: Duration = Duration::from_secs(1);
/// How long it is believed that there is no more: until then refusals cost no database.
const BELIEVE: Duration = Duration::from_millis(200);

/// What taking came to.
pub(super) enum Taken {
    /// From all. The bytes are [`Held`].
    Held(Vec<u8>),
    /// A slice is too small: the database must be asked.
    Wait,
    /// There was no more a moment ago.
    Short(Lack),
}

/// Which of the budgets has no room, and how much there is.
#[derive(Clone, Debug)]
pub(super) struct Lack {
    pub at: usize,
    pub affordable: u64,
}

#[derive(Default)]
pub(super) struct Table(Mutex<HashMap<BudgetId, Account>>);

struct Account {
    window: Window,
    slice: Slice,
    /// Of windows that are over, as long as something is held in them.
    older: Vec<(u64, Slice)>,
    used: Instant,
    extended: Option<Instant>,
    /// What the last extension asked for.
    size: u64,
    /// All that the database could lease when it was asked last.
    exhausted: Option<(u64, Instant)>,
    told: bool,
}

impl Account {
    fn new(window: Window) -> Self {
        Self {
            window,
            slice: Slice::default(),
            older: Vec::new(),
            used: Instant::now(),
            extended: None,
            size: 0,
            exhausted: None,
            told: false,
        }
    }

    fn move_on(&mut self, window: Window) {
        let old = std::mem::replace(&mut self.window, window);
        let slice = std::mem::take(&mut self.slice);
        if slice != Slice::default() {
            self.older.push((old.start_ms, slice));
        }
        (self.exhausted, self.told, self.size, self.extended) = (None, false, 0, None);
    }

    fn slice_of(&mut self, start_ms: u64) -> Option<&mut Slice> {
        if self.window.start_ms == start_ms {
            return Some(&mut self.slice);
        }
        self.older.iter_mut().find(|(start, _)| *start == start_ms).map(|(_, slice)| slice)
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<BudgetId, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `amount` from every hard budget's slice, and counts in every soft one. Budgets of single requests were asked before.
    pub fn take(&self, budgets: &[Arc<Budget>], amount: u64, now_ms: u64) -> Taken {
        let mut accounts = self.lock();
        let mut waits = false;
        for (at, budget) in budgets.iter().enumerate() {
            if budget.period == Period::Request || !budget.is_hard() {
                continue;
            }
            match accounts.get(&budget.id) {
                Some(account) if account.window.holds(now_ms) => {
                    let lacks = account.slice.lacks(amount);
                    if lacks == 0 {
                        continue;
                    }
                    if let Some((available, when)) = account.exhausted
                        && lacks > available
                        && when.elapsed() < BELIEVE
                    {
                        let affordable = account.slice.room(available);
                        return Taken::Short(Lack { at, affordable });
                    }
                    waits = true;
                }
                _ => waits = true,
            }
        }
        if waits {
            return Taken::Wait;
        }
        let now = Instant::now();
        let mut held = Vec::with_capacity(budgets.len() * 25);
        for budget in budgets {
            let account = match accounts.get_mut(&budget.id) {
                Some(account) if account.window.holds(now_ms) => account,
                account => {
                    // Only a soft budget comes here: hard ones were looked at.
                    let Some(window) = budget.period.window(now_ms) else { continue };
                    match account {
                        Some(account) => {
                            account.move_on(window);
                            account
                        }
                        None => accounts.entry(budget.id).or_insert_with(|| Account::new(window)),
                    }
                }
            };
            let sliced = budget.is_hard();
            if sliced {
                account.used = now;
                let taken = account.slice.take(amount);
                debug_assert!(taken, "looked at under the same lock");
            }
            Held { budget: budget.id, start_ms: account.window.start_ms, sliced }.put(&mut held);
        }
        Taken::Held(held)
    }

    /// Of `taken` units, which were held, `used` were used.
    pub fn end(&self, held: &[u8], taken: u64, used: u64) {
        if held.is_empty() {
            return;
        }
        let mut accounts = self.lock();
        for held in Held::all(held).filter(|held| held.sliced) {
            let slice = accounts.get_mut(&held.budget).and_then(|account| account.slice_of(held.start_ms));
            if let Some(slice) = slice {
                slice.end(taken, used);
            }
        }
    }

    /// What must be leased before `amount` can be taken; windows that are over are left.
    pub fn wants(&self, budgets: &[Arc<Budget>], amount: u64, now_ms: u64) -> Vec<(usize, LeaseWant)> {
        let mut accounts = self.lock();
        let mut wants = Vec::new();
        for (at, budget) in budgets.iter().enumerate().filter(|(_, budget)| budget.is_hard()) {
            let Some(window) = budget.period.window(now_ms) else { continue };
            let account = accounts.entry(budget.id).or_insert_with(|| Account::new(window));
            if !account.window.holds(now_ms) {
                account.move_on(window);
            }
            let need = account.slice.lacks(amount);
            if need == 0 {
                continue;
            }
            let ahead = amount.saturating_mul(AHEAD);
            let want = match account.extended {
                Some(when) if when.elapsed() < DOUBLE_WITHIN => ahead.max(account.size.saturating_mul(2)),
                _ => ahead,
            };
            wants.push((
                at,
                LeaseWant {
                    budget: budget.id,
                    window: account.window,
                    granted: account.slice.granted(),
                    need,
                    want: want.max(need).min(i64::MAX as u64),
                },
            ));
        }
        wants
    }

    /// What was leased.
    pub fn grant(&self, wants: &[(usize, LeaseWant)], granted: &[u64]) {
        let mut accounts = self.lock();
        for ((_, want), granted) in wants.iter().zip(granted) {
            let Some(account) = accounts.get_mut(&want.budget) else { continue };
            if let Some(slice) = account.slice_of(want.window.start_ms) {
                slice.grant(*granted);
            } else {
                // The window ended while it was leased: it is given back with what else is old.
                let mut slice = Slice::default();
                slice.grant(*granted);
                account.older.push((want.window.start_ms, slice));
            }
            account.extended = Some(Instant::now());
            account.size = want.want;
            account.exhausted = None;
        }
    }

    /// The database has no more than this. Says what can be had at all, and whether it is the window's first refusal.
    pub fn exhausted(&self, want: &LeaseWant, short: &Short) -> (u64, bool) {
        let mut accounts = self.lock();
        let Some(account) = accounts.get_mut(&want.budget) else { return (short.available, false) };
        account.exhausted = Some((short.available, Instant::now()));
        let first = !std::mem::replace(&mut account.told, true);
        (account.slice.room(short.available), first)
    }

    /// What the database said last is no longer believed: budgets have changed.
    pub fn doubt(&self) {
        for account in self.lock().values_mut() {
            account.exhausted = None;
        }
    }

    /// Gives up what is free: of `only` these budgets, where they are named; else of slices that were not used for `idle`, and of
    /// windows that are over at `now_ms`.
    pub fn give_back(&self, only: Option<&[BudgetId]>, idle: Duration, now_ms: u64) -> Vec<GivenBack> {
        let mut accounts = self.lock();
        let mut given = Vec::new();
        for (&budget, account) in accounts.iter_mut() {
            if only.is_some_and(|only| !only.contains(&budget)) {
                continue;
            }
            account.older.retain_mut(|(start_ms, slice)| {
                let (free, done) = (slice.give_back(), slice.held() == 0);
                if free > 0 || done {
                    given.push(GivenBack { budget, start_ms: *start_ms, granted: slice.granted(), done });
                }
                !done
            });
            let over = !account.window.holds(now_ms);
            if (over || only.is_some() || account.used.elapsed() >= idle) && account.slice.give_back() > 0 {
                let (start_ms, granted) = (account.window.start_ms, account.slice.granted());
                given.push(GivenBack { budget, start_ms, granted, done: false });
            }
        }
        given
    }

    /// What is free, of each budget: for tests and metrics.
    pub fn free(&self, budget: BudgetId) -> u64 {
        self.lock().get(&budget).map_or(0, |account| account.slice.free())
    }
}
