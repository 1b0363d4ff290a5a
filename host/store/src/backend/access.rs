//! Lock-outs.

use super::Answer;
use crate::lockout::LockoutRow;

pub trait AccessBackend: Send + Sync + 'static {
    /// Writes rows; what is stored of a later failure stays, and no lock ends sooner by it.
    fn save_lockouts<'a>(&'a self, rows: &'a [LockoutRow]) -> Answer<'a, ()>;

    /// Those whose last failure was at `since_ms` or after.
    fn lockouts(&self, since_ms: u64) -> Answer<'_, Vec<LockoutRow>>;

    /// Forgets those whose last failure was before `before_ms`.
    fn expire_lockouts(&self, before_ms: u64) -> Answer<'_, ()>;
}
