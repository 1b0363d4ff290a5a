//! Budgets, which concurrent requests cannot pass: invariant 3.
//!
//! What a budget counts and for how long is plain data (`budget`, `period`, `set`). A process leases slices of hard budgets
//! from the database and takes each attempt's worst case from them in memory (`slice`, `table`, `manager`): from all that count
//! the request, or from none. The journal names what every reservation holds (`held`), so that after `kill -9` what was spent
//! of a slice is known and the rest goes back. Spending is counted in the transaction that writes its entry (`count`), and
//! raises alerts there (`alert`). What nobody knows the end of is in quarantine, and counts until somebody decides
//! (`quarantine`).

mod alert;
mod budget;
mod count;
mod crud;
mod held;
mod lease;
mod manager;
mod period;
mod quarantine;
mod set;
mod slice;
mod table;

pub(crate) use alert::Alerting;
pub use alert::{Alert, AlertFilter, AlertKind};
pub use budget::{Budget, BudgetChange, InvalidBudget, Mode, NewBudget, Scope, THRESHOLDS};
pub(crate) use count::{Added, Counts};
pub use crud::{BudgetError, Standing};
pub use held::Held;
pub use lease::{BudgetUse, EpochId, GivenBack, LeaseWant, Leased, Short};
pub(crate) use manager::Budgets;
pub use manager::{Applicable, Hold, HoldError, Refusal};
pub use period::{Period, PeriodError, Span, UnknownZone, Window, Zone};
pub use quarantine::{
    DecidedEntry, Decision, EntryAt, EntryFilter, LedgerEntry, NoEntryAt, QuarantinedEntry, QuarantinedLease,
};
pub use set::Subject;
pub use slice::{Slice, sized};
