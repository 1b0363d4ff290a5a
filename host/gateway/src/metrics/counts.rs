//! What happens seldom, or to no request that leaves a receipt: plain counters by fixed words.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A counter that any thread may add to.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters by a word of the program's own: there are as many as the source has.
#[derive(Debug, Default)]
pub struct ByCode(Mutex<BTreeMap<&'static str, u64>>);

impl ByCode {
    pub fn add(&self, code: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    pub fn each(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(&code, &count)| (code, count)).collect()
    }
}

#[derive(Debug, Default)]
pub struct Counts {
    /// Calls of the admin API that were refused, by why.
    pub admin_refused: ByCode,
    /// Calls of the admin API.
    pub admin_calls: Count,
    /// Connections of clients: accepted, and over.
    pub accepted: Count,
    pub closed: Count,
    /// New configurations: `applied`, `refused`.
    pub reloads: ByCode,
    /// New sets of plugins: `applied`, `refused`.
    pub swaps: ByCode,
    /// Records that were lost because the journal was full.
    pub lost_records: Count,
    pub lost_captures: Count,
}
