//! Making, changing and deleting budgets. Every change stands in the audit trail.

use portcullis_core::{BudgetId, NanoUsd, OrganisationId, Permission, Scope as Place};
use serde_json::{Value, json};

use super::budget::{Budget, BudgetChange, InvalidBudget, NewBudget, Scope};
use super::lease::BudgetUse;
use super::period::{Period, Window};
use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::error::StoreError;
use crate::store::Store;

/// How often a change is tried again that others were faster than.
const TRIES: usize = 5;

/// Why a budget was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    #[error(transparent)]
    Invalid(#[from] InvalidBudget),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Budget {
    /// As it is shown: amounts in nano-USD and, for people, in USD.
    pub fn shown(&self, used: Option<&BudgetUse>) -> Value {
        let mut shown = told(self);
        shown["id"] = json!(self.id);
        shown["organisation"] = json!(self.organisation);
        shown["created_ms"] = json!(self.created_ms);
        shown["limit_usd"] = json!(self.limit.to_string());
        if let Some(used) = used.filter(|_| self.period != Period::Request) {
            let left = self.limit.saturating_sub(used.spent).saturating_sub(used.leased);
            shown["spent_nano"] = json!(used.spent);
            shown["spent_usd"] = json!(used.spent.to_string());
            shown["leased_nano"] = json!(used.leased);
            shown["quarantined_nano"] = json!(used.quarantined);
            shown["left_nano"] = json!(left);
        }
        shown
    }
}

impl Budget {
    /// Where somebody must be permitted: a team's budget is its team's.
    pub const fn place(&self) -> Place {
        match self.scope {
            Scope::Team(team) => Place::Team(self.organisation, team),
            _ => Place::Organisation(self.organisation),
        }
    }
}

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The window of now.
    pub window: Window,
    pub used: BudgetUse,
    /// What is neither spent nor leased.
    pub remaining: NanoUsd,
}

/// As the audit trail has it.
fn told(budget: &Budget) -> Value {
    json!({
        "name": budget.name,
        "scope": budget.scope.kind(),
        "value": budget.scope.value(),
        "period": budget.period.name(),
        "rolling": budget.period.is_rolling(),
        "time_zone": budget.period.zone(),
        "limit_nano": budget.limit,
        "mode": budget.mode,
        "thresholds": budget.thresholds,
    })
}

impl Store {
    /// Makes a budget. Processes that serve requests count by it within a fifth of a second; what they spent earlier in its
    /// window is not counted.
    ///
    /// # Errors
    /// [`BudgetError::Invalid`], or [`StoreError::NoSuchOwner`] where what it is for does not exist in its organisation.
    pub async fn create_budget(&self, actor: &Actor, new: NewBudget) -> Result<Budget, BudgetError> {
        let now_ms = self.clock().now_ms();
        let budget = new.checked(BudgetId::new(now_ms, &mut rand::rng()), now_ms)?;
        actor.require(Permission::BudgetsWrite, &budget.place())?;
        let event = NewEvent::new(actor, now_ms, Some(budget.organisation), "budget.create", budget.id)
            .changed(None, Some(told(&budget)));
        self.backend().insert_budget(&budget, &event).await?;
        Ok(budget)
    }

    /// All budgets, or an organisation's, oldest first.
    pub async fn budgets(&self, organisation: Option<OrganisationId>) -> Result<Vec<Budget>, StoreError> {
        self.backend().budgets(organisation).await
    }

    /// # Errors
    /// [`StoreError::NotFound`], for budgets that were deleted too.
    pub async fn budget(&self, id: BudgetId) -> Result<Budget, StoreError> {
        self.backend().budget(id).await?.ok_or(StoreError::NotFound { what: "budget" })
    }

    /// How much of each budget is spent and leased at present. A budget of single requests has spent nothing.
    pub async fn budget_uses(&self, budgets: &[Budget]) -> Result<Vec<BudgetUse>, StoreError> {
        let standings = self.budget_standings(budgets).await?;
        Ok(standings.into_iter().map(|standing| standing.map(|standing| standing.used).unwrap_or_default()).collect())
    }

    /// How each budget stands in its window of now; `None` for one of single requests, which has no window.
    pub async fn budget_standings(&self, budgets: &[Budget]) -> Result<Vec<Option<Standing>>, StoreError> {
        let now_ms = self.clock().now_ms();
        let windows: Vec<_> = budgets.iter().map(|budget| budget.period.window(now_ms)).collect();
        let asked: Vec<_> =
            budgets.iter().zip(&windows).filter_map(|(budget, window)| Some((budget.id, (*window)?))).collect();
        let mut uses = self.backend().budget_uses(&asked).await?.into_iter();
        let standing = |(budget, window): (&Budget, Option<Window>)| {
            let (window, used) = (window?, uses.next()?);
            let remaining = budget.limit.saturating_sub(used.spent).saturating_sub(used.leased);
            Some(Standing { window, used, remaining })
        };
        Ok(budgets.iter().zip(windows).map(standing).collect())
    }

    /// Changes a budget. A lower limit holds for what is leased from now on.
    pub async fn change_budget(
        &self,
        actor: &Actor,
        id: BudgetId,
        change: &BudgetChange,
    ) -> Result<Budget, BudgetError> {
        self.change_budget_if(actor, id, change, |_| true).await
    }

    /// The same, where the budget is as expected when it is written.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn change_budget_if(
        &self,
        actor: &Actor,
        id: BudgetId,
        change: &BudgetChange,
        expected: impl Fn(&Budget) -> bool,
    ) -> Result<Budget, BudgetError> {
        self.rewrite(actor, id, "budget.edit", expected, |budget| budget.changed(change)).await
    }

    /// Adds credit to a budget in total.
    ///
    /// # Errors
    /// [`InvalidBudget::NotCredit`] where it is of another period.
    pub async fn top_up_budget(&self, actor: &Actor, id: BudgetId, amount: NanoUsd) -> Result<Budget, BudgetError> {
        self.top_up_budget_if(actor, id, amount, |_| true).await
    }

    /// The same, where the budget is as expected when it is written: who asks again does not add twice.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn top_up_budget_if(
        &self,
        actor: &Actor,
        id: BudgetId,
        amount: NanoUsd,
        expected: impl Fn(&Budget) -> bool,
    ) -> Result<Budget, BudgetError> {
        self.rewrite(actor, id, "budget.top-up", expected, |budget| budget.topped_up(amount)).await
    }

    async fn rewrite(
        &self,
        actor: &Actor,
        id: BudgetId,
        action: &str,
        expected: impl Fn(&Budget) -> bool,
        change: impl Fn(&Budget) -> Result<Budget, InvalidBudget>,
    ) -> Result<Budget, BudgetError> {
        for _ in 0..TRIES {
            let before = self.budget(id).await?;
            actor.require(Permission::BudgetsWrite, &before.place())?;
            if !expected(&before) {
                return Err(StoreError::Changed { what: "budget" }.into());
            }
            let after = change(&before)?;
            let now_ms = self.clock().now_ms();
            let event = NewEvent::new(actor, now_ms, Some(after.organisation), action, id)
                .changed(Some(told(&before)), Some(told(&after)));
            if self.backend().update_budget(&after, &event).await? {
                return Ok(self.budget(id).await?);
            }
        }
        Err(StoreError::Contended { what: "budget" }.into())
    }

    /// Deletes a budget: nothing is counted by it any more. Entries and alerts stay.
    pub async fn delete_budget(&self, actor: &Actor, id: BudgetId) -> Result<Budget, BudgetError> {
        self.delete_budget_if(actor, id, |_| true).await
    }

    /// The same, where the budget is as expected when it is deleted.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn delete_budget_if(
        &self,
        actor: &Actor,
        id: BudgetId,
        expected: impl Fn(&Budget) -> bool,
    ) -> Result<Budget, BudgetError> {
        for _ in 0..TRIES {
            let budget = self.budget(id).await?;
            actor.require(Permission::BudgetsWrite, &budget.place())?;
            if !expected(&budget) {
                return Err(StoreError::Changed { what: "budget" }.into());
            }
            let now_ms = self.clock().now_ms();
            let event = NewEvent::new(actor, now_ms, Some(budget.organisation), "budget.delete", id)
                .changed(Some(told(&budget)), None);
            if self.backend().delete_budget(&budget, now_ms, &event).await? {
                return Ok(budget);
            }
        }
        Err(StoreError::Contended { what: "budget" }.into())
    }
}
