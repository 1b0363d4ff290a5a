//! A process's budgets: which there are, and its slices of them, extended when they are too small and given back when they idle.
//!
//! Whoever finds the slices large enough waits for nobody. Extenders go one at a time: those behind the first mostly find that
//! it brought enough for them, or that there is no more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use portcullis_core::{BudgetId, Clock, NanoUsd};
use tokio::sync::Mutex;

use super::alert::{Alert, AlertKind};
use super::budget::Budget;
use super::lease::{EpochId, LeaseWant, Leased, Short};
use super::period::Period;
use super::set::{BudgetSet, Subject};
use super::table::{Lack, Table, Taken};
use crate::backend::{BudgetBackend, BudgetWatch};
use crate::error::StoreError;
use crate::fail::point;

/// How often news are asked for, with budgets and without.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_WITHOUT: Duration = Duration::from_millis(200);
/// Slices that nothing was taken from for so long go back.
const IDLE: Duration = Duration::from_secs(10);
const SWEEP: Duration = Duration::from_secs(1);
/// How long other processes have to give back what they do not use, before somebody is refused.
const RECALL: Duration = Duration::from_millis(400);
const RECALL_STEP: Duration = Duration::from_millis(25);
/// How long a database that failed is not asked again: those who wait behind the first to find out are not kept.
const RESPITE: Duration = Duration::from_millis(500);
/// How long a request waits for the database at most.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Budgets {
    backend: Arc<dyn BudgetBackend>,
    clock: Arc<dyn Clock>,
    epoch: EpochId,
    set: ArcSwap<BudgetSet>,
    any: AtomicBool,
    table: Table,
    /// Held by whoever talks to the database about slices.
    talking: Mutex<Talk>,
}

#[derive(Default)]
struct Talk {
    /// Nothing may be leased any more.
    closed: bool,
    /// When the database last failed to answer.
    failed: Option<Instant>,
}

/// The budgets that count a request at a target.
#[derive(Clone, Debug, Default)]
pub struct Applicable(Vec<Arc<Budget>>);

impl Applicable {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them refuses what does not fit.
    pub fn has_hard(&self) -> bool {
        self.0.iter().any(|budget| budget.is_hard())
    }

    pub fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.0.iter().map(|budget| &**budget)
    }
}

/// A budget has no room.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub budget: Arc<Budget>,
    pub needed: NanoUsd,
    /// What could be held instead.
    pub affordable: NanoUsd,
    /// When the budget is next counted anew, wholly or in part. Milliseconds since the Unix epoch.
    pub resets_ms: Option<u64>,
}

/// Why nothing was held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    #[error("the budget `{}` has no room for {}", .0.budget.name, .0.needed)]
    Refused(Box<Refusal>),
    /// What applies is no longer so: look again.
    #[error("budgets have just changed")]
    Changed,
    #[error("the database does not answer about slices")]
    Slow,
    #[error("the ledger is closed")]
    Closed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Money held in all budgets that count an attempt, for a reservation to come. Dropped without one it is free again.
#[must_use = "a hold that is dropped holds nothing"]
pub struct Hold {
    budgets: Option<Arc<Budgets>>,
    held: Vec<u8>,
    amount: u64,
}

impl Hold {
    /// Of a request that no budget counts.
    pub fn unbudgeted() -> Self {
        Self { budgets: None, held: Vec::new(), amount: 0 }
    }

    /// What is held in each budget.
    pub fn amount(&self) -> NanoUsd {
        NanoUsd::new(self.amount).unwrap_or(NanoUsd::MAX)
    }

    /// The reservation has it now. The bytes are [`super::Held`].
    pub(crate) fn into_held(mut self) -> Vec<u8> {
        self.budgets = None;
        std::mem::take(&mut self.held)
    }

    /// Whether it holds nothing in any budget.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(crate) fn held(&self) -> &[u8] {
        &self.held
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(budgets) = &self.budgets {
            budgets.table.end(&self.held, self.amount, 0);
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("amount", &self.amount).finish_non_exhaustive()
    }
}

impl Budgets {
    /// Reads what budgets there are, and follows their changes.
    pub async fn start(
        backend: Arc<dyn BudgetBackend>,
        clock: Arc<dyn Clock>,
        epoch: EpochId,
    ) -> Result<Arc<Self>, StoreError> {
        let mut watch = backend.watch_budgets().await?;
        watch.news().await?;
        let budgets = Arc::new(Self {
            backend,
            clock,
            epoch,
            set: ArcSwap::default(),
            any: AtomicBool::new(false),
            table: Table::default(),
            talking: Mutex::default(),
        });
        budgets.reload().await?;
        tokio::spawn(follow(Arc::downgrade(&budgets), watch));
        Ok(budgets)
    }

    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub fn applicable(&self, subject: &Subject<'_>) -> Applicable {
        if !self.any() {
            return Applicable::default();
        }
        Applicable(self.set.load().of(subject))
    }

    /// Holds `amount` in every budget, if slices are at hand. `None`: [`Budgets::hold`] asks the database. `before` is what the
    /// request's earlier attempts have cost.
    pub fn try_hold(
        self: &Arc<Self>,
        applicable: &Applicable,
        amount: NanoUsd,
        before: NanoUsd,
        now_ms: u64,
    ) -> Result<Option<Hold>, Box<Refusal>> {
        if applicable.is_empty() {
            return Ok(Some(Hold::unbudgeted()));
        }
        for budget in applicable.0.iter().filter(|budget| budget.period == Period::Request && budget.is_hard()) {
            let affordable = budget.limit.saturating_sub(before);
            if amount > affordable {
                return Err(Box::new(Refusal {
                    budget: Arc::clone(budget),
                    needed: amount,
                    affordable,
                    resets_ms: None,
                }));
            }
        }
        match self.table.take(&applicable.0, amount.get(), now_ms) {
            Taken::Wait => Ok(None),
            Taken::Short(lack) => Err(self.refusal(applicable, amount, &lack, now_ms)),
            Taken::Held(held) => {
                point("hold.taken");
                Ok(Some(Hold { budgets: Some(Arc::clone(self)), held, amount: amount.get() }))
            }
        }
    }

    /// As [`Budgets::try_hold`], extending what slices are too small.
    pub async fn hold(
        self: &Arc<Self>,
        applicable: &Applicable,
        amount: NanoUsd,
        before: NanoUsd,
        now_ms: u64,
    ) -> Result<Hold, HoldError> {
        let hold = self.extend_and_hold(applicable, amount, before, now_ms);
        tokio::time::timeout(PATIENCE, hold).await.unwrap_or(Err(HoldError::Slow))
    }

    async fn extend_and_hold(
        self: &Arc<Self>,
        applicable: &Applicable,
        amount: NanoUsd,
        before: NanoUsd,
        now_ms: u64,
    ) -> Result<Hold, HoldError> {
        let try_hold = || self.try_hold(applicable, amount, before, now_ms).map_err(HoldError::Refused);
        let mut returned = false;
        let mut recalled: Option<Instant> = None;
        loop {
            let mut talking = self.talking.lock().await;
            if talking.closed {
                return Err(HoldError::Closed);
            }
            if let Some(hold) = try_hold()? {
                return Ok(hold);
            }
            let wants = self.table.wants(&applicable.0, amount.get(), now_ms);
            if wants.is_empty() {
                // Somebody ended meanwhile, and gave back what was lacking.
                continue;
            }
            if talking.failed.is_some_and(|when| when.elapsed() < RESPITE) {
                return Err(HoldError::Slow);
            }
            let asked: Vec<LeaseWant> = wants.iter().map(|(_, want)| *want).collect();
            point("lease.before");
            let leased = self.backend.lease(self.epoch, &asked).await;
            point("lease.after");
            talking.failed = leased.is_err().then(Instant::now);
            let leased = leased?;
            let short = match leased {
                Leased::Granted(granted) => {
                    self.table.grant(&wants, &granted);
                    if let Some(hold) = try_hold()? {
                        return Ok(hold);
                    }
                    continue;
                }
                Leased::Stale => {
                    drop(talking);
                    self.reload().await?;
                    return Err(HoldError::Changed);
                }
                Leased::Short(short) => short,
            };
            let (at, want) = wants[short.at];
            // What stands in windows that are over is this process's own, and counts against a rolling one.
            if !std::mem::replace(&mut returned, true) && self.return_slices(Some(&[want.budget]), IDLE).await? {
                continue;
            }
            let may_come = short.elsewhere > 0 && want.need <= short.available.saturating_add(short.elsewhere);
            if may_come && recalled.is_none_or(|since| since.elapsed() < RECALL) {
                drop(talking);
                if recalled.is_none() {
                    self.backend.recall(want.budget).await?;
                    recalled = Some(Instant::now());
                }
                tokio::time::sleep(RECALL_STEP).await;
                continue;
            }
            let (affordable, first) = self.table.exhausted(&want, &short);
            drop(talking);
            let budget = &applicable.0[at];
            if first {
                self.tell_refused(budget, &want, &short).await;
            }
            return Err(HoldError::Refused(self.refusal(applicable, amount, &Lack { at, affordable }, now_ms)));
        }
    }

    /// What was held is over: of `taken` so much was used.
    pub fn end(&self, held: &[u8], taken: NanoUsd, used: NanoUsd) {
        self.table.end(held, taken.get(), used.get());
    }

    /// Nothing is leased after this.
    pub async fn close(&self) {
        self.talking.lock().await.closed = true;
    }

    /// Gives back all that is leased. Nothing is held any more, and every entry is written.
    pub async fn end_leases(&self) -> Result<(), StoreError> {
        self.backend.close_epoch(self.epoch, true, self.clock.now_ms()).await
    }

    pub fn free(&self, budget: BudgetId) -> u64 {
        self.table.free(budget)
    }

    fn refusal(&self, applicable: &Applicable, needed: NanoUsd, lack: &Lack, now_ms: u64) -> Box<Refusal> {
        let budget = Arc::clone(&applicable.0[lack.at]);
        let resets_ms = budget.period.window(now_ms).and_then(|window| window.end_ms);
        let affordable = NanoUsd::new(lack.affordable).unwrap_or(NanoUsd::MAX);
        Box::new(Refusal { budget, needed, affordable, resets_ms })
    }

    /// Once a window and process; the database keeps the first.
    async fn tell_refused(&self, budget: &Budget, want: &LeaseWant, short: &Short) {
        let alert = Alert {
            id: 0,
            kind: AlertKind::Refused,
            organisation: budget.organisation,
            budget: budget.id,
            name: budget.name.clone(),
            start_ms: want.window.start_ms,
            spent: NanoUsd::new(short.spent).unwrap_or(NanoUsd::MAX),
            limit: NanoUsd::new(short.limit).unwrap_or(NanoUsd::MAX),
            time_ms: self.clock.now_ms(),
            delivered_ms: None,
            attempts: 0,
        };
        if let Err(error) = self.backend.raise_alert(&alert).await {
            tracing::warn!(%error, budget = %budget.id, "an alert could not be raised");
        }
    }

    async fn reload(&self) -> Result<(), StoreError> {
        let set = BudgetSet::new(self.backend.budgets(None).await?);
        let any = !set.is_empty();
        self.set.store(Arc::new(set));
        self.any.store(any, Ordering::Release);
        self.table.doubt();
        Ok(())
    }

    /// Does what the news ask for.
    async fn hear(&self, watch: &mut dyn BudgetWatch, behind: bool, sweep: bool) -> Result<(), StoreError> {
        let news = watch.news().await?;
        if sweep && self.any() {
            self.backend.still_here(self.epoch).await?;
        }
        let changed = news.changed || behind;
        if changed {
            self.reload().await?;
        }
        if !changed && !sweep && news.recalled.is_empty() {
            return Ok(());
        }
        let talking = self.talking.lock().await;
        if talking.closed {
            return Ok(());
        }
        if changed {
            // A limit may be lower now: what was leased under the old one and is idle goes back.
            self.return_slices(None, Duration::ZERO).await?;
        } else if !news.recalled.is_empty() {
            self.return_slices(Some(&news.recalled), IDLE).await?;
        } else {
            self.return_slices(None, IDLE).await?;
        }
        Ok(())
    }

    /// Gives back what is not used. The caller is the one who talks. Says whether there was anything.
    async fn return_slices(&self, only: Option<&[BudgetId]>, idle: Duration) -> Result<bool, StoreError> {
        let given = self.table.give_back(only, idle, self.clock.now_ms());
        if given.is_empty() {
            return Ok(false);
        }
        point("return.before");
        // Where it fails the database believes that more is leased than is; the next thing it is told is right again.
        self.backend.give_back(self.epoch, &given).await?;
        point("return.after");
        Ok(true)
    }
}

/// Hears of changes and recalls as long as the budgets live, and gives back what idles.
async fn follow(budgets: Weak<Budgets>, mut watch: Box<dyn BudgetWatch>) {
    let mut behind = false;
    let mut swept = Instant::now();
    loop {
        let Some(budgets) = budgets.upgrade() else { return };
        let sweep = swept.elapsed() >= SWEEP;
        if sweep {
            swept = Instant::now();
        }
        let heard = budgets.hear(&mut *watch, behind, sweep).await;
        behind = heard.is_err();
        if let Err(error) = heard {
            tracing::warn!(%error, "budgets could not be followed");
        }
        let pause = if budgets.any.load(Ordering::Relaxed) { LOOK } else { LOOK_WITHOUT };
        drop(budgets);
        watch.wait(pause).await;
    }
}
