//! Sums over requests.

use super::Answer;
use crate::usage::{UsageFilter, UsageRow};

pub trait UsageBackend: Send + Sync + 'static {
    fn usage<'a>(&'a self, filter: &'a UsageFilter) -> Answer<'a, Vec<UsageRow>>;
}
