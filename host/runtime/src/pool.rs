//! Warm instances between requests, generic over what is kept so that it is tested without WebAssembly.
//!
//! Keeps invariant 11: what served one organisation is handed to that organisation only.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::engine::Counts;
use crate::session::Tenant;

/// Idle instances one plugin keeps for everybody, and for one organisation.
const MOST: usize = 64;
const MOST_OF_TENANT: usize = 8;

struct Kept<T> {
    value: T,
    since: Instant,
}

struct Shelf<T> {
    kept: HashMap<Tenant, Vec<Kept<T>>, BuildHasherDefault<Hashed>>,
    count: usize,
}

/// For keys that bring their hash.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a tenant is hashed by its own hash");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The idle instances of one plugin. Instances that anybody may use stand under the empty tenant.
pub(crate) struct Pool<T> {
    shelf: Mutex<Shelf<T>>,
    /// Idle instances of all plugins, and how many there may be.
    idle: Arc<Counts>,
    limit: usize,
}

impl<T> Pool<T> {
    pub fn new(idle: Arc<Counts>, limit: usize) -> Self {
        Pool { shelf: Mutex::new(Shelf { kept: HashMap::default(), count: 0 }), idle, limit }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf<T>> {
        // A panic while it was locked leaves a shelf that is at worst miscounted.
        self.shelf.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The instance that was used last, so that what is idle longest stays so and can be trimmed.
    pub fn take(&self, tenant: Tenant) -> Option<T> {
        let mut shelf = self.shelf();
        let kept = shelf.kept.get_mut(&tenant)?.pop()?;
        shelf.count -= 1;
        drop(shelf);
        self.idle.idle.fetch_sub(1, Ordering::Relaxed);
        Some(kept.value)
    }

    /// Keeps an instance, or drops it where there are enough.
    pub fn put(&self, tenant: Tenant, value: T, now: Instant) {
        let most_here = if tenant.is_nobody() { MOST } else { MOST_OF_TENANT };
        if self.idle.idle.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.idle.idle.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let kept = Kept { value, since: now };
        let mut shelf = self.shelf();
        let surplus = shelf.put(tenant, kept, most_here);
        // What is dropped is dropped outside the lock.
        drop(shelf);
        if surplus.is_some() {
            self.idle.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Drops what was idle since before `then`.
    pub fn trim(&self, then: Instant) {
        let mut old = Vec::new();
        let mut shelf = self.shelf();
        for kept in shelf.kept.values_mut() {
            // Pushed and popped at the end: the oldest stand first.
            let until = kept.partition_point(|kept| kept.since < then);
            old.extend(kept.drain(..until));
        }
        shelf.count -= old.len();
        shelf.kept.retain(|_, kept| !kept.is_empty());
        drop(shelf);
        self.idle.idle.fetch_sub(old.len(), Ordering::Relaxed);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shelf().count
    }
}

impl<T> Shelf<T> {
    /// Answers what there is no room for.
    fn put(&mut self, tenant: Tenant, kept: Kept<T>, most_here: usize) -> Option<Kept<T>> {
        if self.count < MOST {
            let here = self.kept.entry(tenant).or_default();
            if here.len() >= most_here {
                return Some(kept);
            }
            here.push(kept);
            self.count += 1;
            return None;
        }
        if self.kept.get(&tenant).is_some_and(|here| here.len() >= most_here) {
            return Some(kept);
        }
        let surplus = self.remove_oldest();
        self.kept.entry(tenant).or_default().push(kept);
        self.count += 1;
        surplus
    }

    fn remove_oldest(&mut self) -> Option<Kept<T>> {
        let (tenant, _) = self
            .kept
            .iter()
            .filter_map(|(tenant, kept)| Some((*tenant, kept.first()?.since)))
            .min_by_key(|(_, since)| *since)?;
        let kept = self.kept.get_mut(&tenant)?;
        let oldest = kept.remove(0);
        if kept.is_empty() {
            self.kept.remove(&tenant);
        }
        self.count -= 1;
        Some(oldest)
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        let count = self.shelf().count;
        self.idle.idle.fetch_sub(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name)
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let idle = Arc::new(Counts::default());
        let pool = Pool::new(idle.clone(), 1000);
        let start = Instant::now();
        for n in 0..MOST + 1 {
            pool.put(tenant(&format!("t{n}")), n, start + Duration::from_secs(n as u64));
        }
        assert_eq!(pool.take(tenant("t0")), None, "made room for the last");
        assert_eq!(pool.take(tenant("t1")), Some(1));
        pool.trim(start + Duration::from_secs(10));
        assert_eq!((pool.take(tenant("t9")), pool.take(tenant("t10"))), (None, Some(10)));
        drop(pool);
        assert_eq!(idle.idle.load(Ordering::Relaxed), 0);
    }

    proptest! {
        #[test]
        fn nobody_gets_anothers_and_nothing_is_miscounted(
            steps in prop::collection::vec((0..3_u8, 0..12_u8), 0..400),
            limit in 0..80_usize,
        ) {
            let idle = Arc::new(Counts::default());
            let pool = Pool::new(idle.clone(), limit);
            let mut now = Instant::now();
            for (step, tenant) in steps {
                now += Duration::from_millis(1);
                // Tenant 0 stands for everybody.
                let name = if tenant == 0 { Tenant::default() } else { super::tests::tenant(&tenant.to_string()) };
                match step {
                    0 | 1 => pool.put(name, tenant, now),
                    _ => prop_assert!(pool.take(name).is_none_or(|value| value == tenant)),
                }
                prop_assert_eq!(pool.len(), idle.idle.load(Ordering::Relaxed));
                prop_assert!(pool.len() <= limit.min(MOST));
            }
            pool.trim(now + Duration::from_secs(1));
            prop_assert_eq!(idle.idle.load(Ordering::Relaxed), 0);
        }
    }
}
