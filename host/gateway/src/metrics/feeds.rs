//! How exports and sinks of events fare. They are few, named by the operator's file, and counted off every request's path.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What one came to in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feeding {
    /// Files written or events taken.
    pub pieces: u64,
    pub failures: u64,
    /// Events, or milliseconds, that it is behind.
    pub behind: u64,
}

/// All of one kind, by name.
#[derive(Debug, Default)]
pub struct Feeds(Mutex<BTreeMap<String, Feeding>>);

impl Feeds {
    pub fn delivered(&self, name: &str, pieces: u64) {
        self.of(name, |one| one.pieces += pieces);
    }

    pub fn failed(&self, name: &str) {
        self.of(name, |one| one.failures += 1);
    }

    pub fn behind(&self, name: &str, behind: u64) {
        self.of(name, |one| one.behind = behind);
    }

    /// Forgets those that are configured no more.
    pub fn keep(&self, names: &[&str]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| names.contains(&name.as_str()));
    }

    pub fn each(&self) -> Vec<(String, Feeding)> {
        let feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.iter().map(|(name, one)| (name.clone(), one.clone())).collect()
    }

    fn of(&self, name: &str, change: impl FnOnce(&mut Feeding)) {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match feeds.get_mut(name) {
            Some(one) => change(one),
            None => change(feeds.entry(name.to_owned()).or_default()),
        }
    }
}
