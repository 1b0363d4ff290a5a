//! What new entries add to the budgets that they name.

use foldhash::{HashMap, HashMapExt};
use portcullis_core::BudgetId;

use super::held::Held;
use crate::rows::{EndKind, EntryRow};

#[derive(Default)]
pub(crate) struct Counts<'b> {
    windows: HashMap<(BudgetId, u64), Added>,
    /// Where each quarantined entry was counted.
    pub quarantined: Vec<(&'b EntryRow<'b>, Held)>,
}

/// To one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    pub spent: u64,
    /// Of that, out of slices.
    pub used: u64,
    pub time_ms: u64,
}

impl<'b> Counts<'b> {
    pub fn new() -> Self {
        Self { windows: HashMap::new(), quarantined: Vec::new() }
    }

    /// An entry that was not there before.
    pub fn add(&mut self, entry: &'b EntryRow<'b>) {
        for held in Held::all(entry.held) {
            let added = self.windows.entry((held.budget, held.start_ms)).or_default();
            added.spent = added.spent.saturating_add(entry.amount_nano);
            if held.sliced {
                added.used = added.used.saturating_add(entry.amount_nano);
            }
            added.time_ms = added.time_ms.max(entry.ended_ms);
            if entry.kind == EndKind::Quarantined {
                self.quarantined.push((entry, held));
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// By budget and window, in one order for all processes: those who write the same wait for each other and never in a circle.
    pub fn windows(&self) -> Vec<(BudgetId, u64, Added)> {
        let mut windows: Vec<_> =
            self.windows.iter().map(|(&(budget, start_ms), &added)| (budget, start_ms, added)).collect();
        windows.sort_unstable_by_key(|&(budget, start_ms, _)| (budget, start_ms));
        windows
    }
}
