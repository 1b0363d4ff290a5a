//! Budgets, what processes have leased of them, and the alerts they raise.
//!
//! What is spent is not written here: it is written with the entries that spend it, in their transaction, and so are alerts of
//! thresholds ([`LedgerBackend::write`](super::LedgerBackend::write)).

use std::time::Duration;

use portcullis_core::{BudgetId, OrganisationId};

use super::{Answer, BoxFuture};
use crate::audit::NewEvent;
use crate::budgets::{
    Alert, AlertFilter, Budget, BudgetUse, DecidedEntry, EntryFilter, EpochId, GivenBack, LeaseWant, Leased,
    LedgerEntry, QuarantinedEntry, QuarantinedLease, Window,
};

pub trait BudgetBackend: Send + Sync + 'static {
    /// All budgets, or an organisation's, oldest first; not those that were deleted.
    fn budgets(&self, organisation: Option<OrganisationId>) -> Answer<'_, Vec<Budget>>;

    fn budget(&self, id: BudgetId) -> Answer<'_, Option<Budget>>;

    /// [`StoreError::NoSuchOwner`](crate::StoreError::NoSuchOwner) where the organisation does not exist, or the team or key it
    /// is for is not the organisation's.
    fn insert_budget<'a>(&'a self, budget: &'a Budget, event: &'a NewEvent) -> Answer<'a, ()>;

    /// Writes a budget over the one of its id. `false`: it is no longer of this revision, and nothing was written.
    fn update_budget<'a>(&'a self, budget: &'a Budget, event: &'a NewEvent) -> Answer<'a, bool>;

    /// Its entries and alerts stay. `false` as for [`update_budget`](Self::update_budget).
    fn delete_budget<'a>(&'a self, budget: &'a Budget, now_ms: u64, event: &'a NewEvent) -> Answer<'a, bool>;

    /// A cheap way to learn that budgets changed or slices are wanted back, in whatever process.
    fn watch_budgets(&self) -> Answer<'_, Box<dyn BudgetWatch>>;

    /// How much of each is spent and leased.
    fn budget_uses<'a>(&'a self, of: &'a [(BudgetId, Window)]) -> Answer<'a, Vec<BudgetUse>>;

    /// Leases what all of `wants` need, or nothing, in one durable transaction.
    fn lease<'a>(&'a self, epoch: EpochId, wants: &'a [LeaseWant]) -> Answer<'a, Leased>;

    /// Tells what an epoch keeps of its slices.
    fn give_back<'a>(&'a self, epoch: EpochId, slices: &'a [GivenBack]) -> Answer<'a, ()>;

    /// Asks every process to give back what it does not use of a budget.
    fn recall(&self, budget: BudgetId) -> Answer<'_, ()>;

    /// Ends what an epoch leased. What of it was used is written already. Where its journal proves that the rest was not,
    /// the rest is free again; else it stays taken, in quarantine, until somebody decides.
    fn close_epoch(&self, epoch: EpochId, proven: bool, now_ms: u64) -> Answer<'_, ()>;

    /// The epoch lives. Where leases end by themselves they are held on to, and those of others that have ended go into quarantine.
    fn still_here(&self, epoch: EpochId) -> Answer<'_, ()>;

    /// Puts into quarantine what epochs leased that are none of `known`, and says of how many epochs there was something.
    fn quarantine_lost<'a>(&'a self, known: &'a [EpochId], now_ms: u64) -> Answer<'a, u64>;

    /// Leases in quarantine, all or an organisation's.
    fn quarantined_leases(&self, organisation: Option<OrganisationId>) -> Answer<'_, Vec<QuarantinedLease>>;

    /// Ends a lease in quarantine: of its rest, `spent` counts as spent. `false` where there is no such lease, or its rest is
    /// another.
    fn decide_lease<'a>(&'a self, lease: &'a QuarantinedLease, spent: u64, event: &'a NewEvent) -> Answer<'a, bool>;

    /// Reservations in quarantine, all or an organisation's, oldest first, `limit` at most.
    fn quarantined_entries(
        &self,
        organisation: Option<OrganisationId>,
        limit: u32,
    ) -> Answer<'_, Vec<QuarantinedEntry>>;

    fn quarantined_entry(
        &self,
        request: portcullis_core::RequestId,
        attempt: u32,
    ) -> Answer<'_, Option<QuarantinedEntry>>;

    /// Entries, those of the newest requests first.
    fn entries<'a>(&'a self, filter: &'a EntryFilter) -> Answer<'a, Vec<LedgerEntry>>;

    /// Writes the further entry that ends a quarantine, and counts its amount where the reservation's was counted. `false`
    /// where it was decided before.
    fn decide_entry<'a>(&'a self, entry: &'a DecidedEntry, event: &'a NewEvent) -> Answer<'a, bool>;

    /// Raises an alert, where its window has none of the kind yet; says whether it was raised.
    fn raise_alert<'a>(&'a self, alert: &'a Alert) -> Answer<'a, bool>;

    /// Newest first.
    fn alerts<'a>(&'a self, filter: &'a AlertFilter) -> Answer<'a, Vec<Alert>>;

    /// Takes alerts that are due to be delivered, so that nobody else delivers them before `again_ms`. Those of more than
    /// [`Alert::GIVEN_UP_MS`] ago are no longer due.
    fn take_due_alerts(&self, now_ms: u64, again_ms: u64, limit: u32) -> Answer<'_, Vec<Alert>>;

    /// An alert was delivered, or will be tried again at `again_ms`.
    fn alert_tried(&self, id: i64, delivered_ms: Option<u64>, again_ms: u64) -> Answer<'_, ()>;
}

/// What happened since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetNews {
    /// Budgets were made, changed or deleted.
    pub changed: bool,
    /// What is not used of these is wanted back.
    pub recalled: Vec<BudgetId>,
}

/// Asked many times a second.
pub trait BudgetWatch: Send {
    fn news(&mut self) -> Answer<'_, BudgetNews>;

    /// Waits until there may be news, or for as long as this database is not asked again.
    fn wait(&mut self, poll: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(poll))
    }
}
