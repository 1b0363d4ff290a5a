//! What is said between a process and the database about slices.

use portcullis_core::{BudgetId, NanoUsd};

use super::period::Window;

/// A process's life with its ledger; its journal has the same name.
pub type EpochId = [u8; 16];

/// A slice that is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseWant {
    pub budget: BudgetId,
    pub window: Window,
    /// What the epoch has of this window already.
    pub granted: u64,
    /// What is needed at once.
    pub need: u64,
    /// What would spare asking again.
    pub want: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leased {
    /// So much more of each, in their order.
    Granted(Vec<u64>),
    /// Nothing was leased.
    Short(Short),
    /// A budget is no longer there, or no longer hard. Nothing was leased.
    Stale,
}

/// What a budget had not room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// Which of those that were wanted.
    pub at: usize,
    /// Neither spent nor leased.
    pub available: u64,
    /// Leased by other processes and not spent: some of it may be idle.
    pub elsewhere: u64,
    pub spent: u64,
    pub limit: u64,
}

/// What an epoch keeps of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenBack {
    pub budget: BudgetId,
    pub start_ms: u64,
    pub granted: u64,
    /// Nothing will be taken from it any more.
    pub done: bool,
}

/// How much of a budget's window is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetUse {
    pub spent: NanoUsd,
    /// Leased by processes: held by requests under way, or ready for those to come.
    pub leased: NanoUsd,
    /// Of that, leased by processes that are gone, and not proven unspent.
    pub quarantined: NanoUsd,
}
