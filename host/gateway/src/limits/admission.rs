//! A request's hold on its limits, from its head to its answer's last byte.
//!
//! All the limits of a step are taken together or none is: the accounts are locked in one order, asked, and only then charged.
//! So concurrent requests pass exactly as many as there is room for, also where one account has room and another has not. What is
//! under way is given back by [`Held`]'s drop, which nobody can forget; tokens are settled once, when the request is entered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::{Name, Unit, Window};

use super::account::{Account, Counted, Shortage, State};
use super::book::Line;
use super::subject::Accounts;

/// What is asked of every limit of a step.
#[derive(Debug, Clone, Copy)]
struct Ask {
    /// A request begins: it counts as one, and is under way from now on.
    begins: bool,
    /// Tokens it may use, where that is known.
    tokens: Option<u64>,
}

/// Which limit a request met, and how all of them stood.
#[derive(Debug)]
pub(crate) struct Refused {
    pub name: Name,
    pub unit: Unit,
    /// `None` for requests at once.
    pub window: Option<Window>,
    pub limit: u64,
    pub used: u64,
    pub asked: u64,
    /// Milliseconds after which a repetition may pass; `None` where so much never does.
    pub retry_after: Option<u64>,
    pub standings: Vec<Standing>,
}

/// How a limit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub name: Name,
    pub unit: Unit,
    pub window: Window,
    pub limit: u64,
    pub remaining: u64,
    /// Milliseconds until nothing counts any more.
    pub reset: u64,
}

/// Some accounts, and what a request holds of them.
#[derive(Default)]
struct Held {
    entries: Vec<Entry>,
    holds: Vec<Hold>,
}

struct Entry {
    line: Line,
    account: Arc<Account>,
}

#[derive(Clone, Copy, Default)]
struct Hold {
    under_way: bool,
    request: Counted,
    /// Reserved, and not settled yet.
    tokens: Option<(Counted, u64)>,
}

impl Held {
    fn of(lines: Vec<Line>, accounts: &Accounts, now_ms: u64) -> Self {
        let mut entries: Vec<Entry> =
            lines.into_iter().map(|line| Entry { account: accounts.of(&line.subject, now_ms), line }).collect();
        // One order for everybody, or two requests would wait for each other.
        entries.sort_unstable_by_key(|held| Arc::as_ptr(&held.account));
        let holds = vec![Hold::default(); entries.len()];
        Held { entries, holds }
    }

    fn take(&mut self, ask: Ask, now_ms: u64) -> Result<(), Refused> {
        let mut states: Vec<MutexGuard<'_, State>> = self.entries.iter().map(|held| held.account.state()).collect();
        let mut worst: Option<(usize, Shortage)> = None;
        for (at, (held, state)) in self.entries.iter().zip(&mut states).enumerate() {
            held.account.touch(now_ms);
            let limits = &held.line.limits;
            let begins = ask.begins.then(|| {
                let requests = state.shortage(Unit::Requests, limits, now_ms, 1);
                [requests, state.slot_shortage(limits)]
            });
            let tokens = ask.tokens.and_then(|tokens| state.shortage(Unit::Tokens, limits, now_ms, tokens));
            for short in begins.into_iter().flatten().chain([tokens]).flatten() {
                let longer = |known: Option<u64>| known.is_some_and(|known| short.wait.is_none_or(|wait| wait > known));
                if worst.as_ref().is_none_or(|(_, known)| longer(known.wait)) {
                    worst = Some((at, short));
                }
            }
        }
        if let Some((at, short)) = worst {
            drop(states);
            return Err(Refused {
                name: self.entries[at].line.name.clone(),
                unit: short.unit,
                window: short.window,
                limit: short.limit,
                used: short.used,
                asked: short.asked,
                retry_after: short.wait,
                standings: self.standings(now_ms),
            });
        }
        for ((held, state), hold) in self.entries.iter().zip(&mut states).zip(&mut self.holds) {
            let limits = &held.line.limits;
            if ask.begins {
                hold.request = state.add(Unit::Requests, limits, now_ms, 1);
                state.in_flight += 1;
                hold.under_way = true;
            }
            if let Some(tokens) = ask.tokens.filter(|_| limits.has(Unit::Tokens)) {
                hold.tokens = Some((state.add(Unit::Tokens, limits, now_ms, tokens), tokens));
            }
        }
        Ok(())
    }

    fn settle(&mut self, truth: u64, certain: bool, now_ms: u64) {
        for (held, hold) in self.entries.iter().zip(&mut self.holds) {
            if let Some((counted, reserved)) = hold.tokens.take() {
                let truth = if certain { truth } else { truth.max(reserved) };
                held.account.state().settle(Unit::Tokens, &held.line.limits, counted, reserved, truth, now_ms);
            }
        }
    }

    /// As if the request had not been counted.
    fn retract(&mut self) {
        for (held, hold) in self.entries.iter().zip(&mut self.holds) {
            held.account.state().give_back(Unit::Requests, std::mem::take(&mut hold.request), 1);
        }
    }

    fn standings(&self, now_ms: u64) -> Vec<Standing> {
        let mut standings = Vec::with_capacity(2 * self.entries.len());
        for held in &self.entries {
            let mut state = held.account.state();
            for unit in Unit::ALL {
                for window in Window::ALL {
                    let Some(limit) = held.line.limits.rate(unit, window) else { continue };
                    standings.push(Standing {
                        name: held.line.name.clone(),
                        unit,
                        window,
                        limit,
                        remaining: limit.saturating_sub(state.used(unit, window, now_ms)),
                        reset: state.resets(unit, window, now_ms),
                    });
                }
            }
        }
        standings
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for (held, hold) in self.entries.iter().zip(&mut self.holds) {
            if std::mem::take(&mut hold.under_way) {
                held.account.state().in_flight -= 1;
            }
        }
    }
}

/// What a request holds. Shared by the request and its answer's body: what is under way ends with the last of them.
pub(crate) struct Admission {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    caller: Held,
    /// Of the attempt at hand.
    target: Held,
    /// How the limits of a target stood that was refused.
    refused: Vec<Standing>,
}

impl Admission {
    /// Counts a request that begins, and takes its place among those under way.
    pub(super) fn begin(lines: Vec<Line>, accounts: &Accounts, now_ms: u64) -> Result<Arc<Self>, Refused> {
        let mut caller = Held::of(lines, accounts, now_ms);
        caller.take(Ask { begins: true, tokens: None }, now_ms)?;
        Ok(Arc::new(Admission { inner: Mutex::new(Inner { caller, ..Inner::default() }) }))
    }

    /// Reserves the tokens that the request may use, once.
    ///
    /// # Errors
    /// Nothing is reserved then, and the request was never counted.
    pub fn reserve(&self, tokens: u64, now_ms: u64) -> Result<(), Refused> {
        let mut inner = self.inner();
        if !inner.caller.entries.iter().any(|held| held.line.limits.has(Unit::Tokens)) {
            return Ok(());
        }
        inner.caller.take(Ask { begins: false, tokens: Some(tokens) }, now_ms).inspect_err(|_| inner.caller.retract())
    }

    /// Begins an attempt at a target with limits of its own.
    pub(super) fn enter(&self, lines: Vec<Line>, tokens: u64, accounts: &Accounts, now_ms: u64) -> Result<(), Refused> {
        let mut target = Held::of(lines, accounts, now_ms);
        let mut inner = self.inner();
        match target.take(Ask { begins: true, tokens: Some(tokens) }, now_ms) {
            Ok(()) => {
                inner.target = target;
                Ok(())
            }
            Err(refused) => {
                inner.refused.clone_from(&refused.standings);
                Err(refused)
            }
        }
    }

    /// Ends an attempt that came to nothing: so many tokens were used, or at least so many where nobody knows.
    pub fn leave(&self, tokens: u64, certain: bool, now_ms: u64) {
        let mut inner = self.inner();
        inner.target.settle(tokens, certain, now_ms);
        inner.target = Held::default();
    }

    /// Says what the attempt at hand and the whole request used.
    pub fn settle(&self, attempt: u64, whole: u64, certain: bool, now_ms: u64) {
        let mut inner = self.inner();
        inner.target.settle(attempt, certain, now_ms);
        inner.caller.settle(whole, certain, now_ms);
    }

    pub fn standings(&self, now_ms: u64) -> Vec<Standing> {
        let inner = self.inner();
        let mut standings = inner.caller.standings(now_ms);
        if inner.target.entries.is_empty() {
            standings.extend(inner.refused.iter().cloned());
        } else {
            standings.extend(inner.target.standings(now_ms));
        }
        standings
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
