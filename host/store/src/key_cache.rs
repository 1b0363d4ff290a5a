//! Keys in memory, so that authentication costs a look-up and no database.
//!
//! All keys are loaded at the start. A task asks the database a few times a second whether keys changed, in whatever process,
//! and reads those that did; so a revocation holds everywhere within [`POLL`], and at once where the database tells of it. A hash that is not here is read once: a key
//! made a moment ago works at once. That it does not exist is remembered for a second, for a bounded number of hashes, so that
//! guessing costs the database little.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use portcullis_core::KeyHash;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::backend::{KeyBackend, StoredKey};
use crate::error::StoreError;
use crate::keys::{KeyRecord, KeyRefusal};

/// How often changes are asked for.
pub const POLL: Duration = Duration::from_millis(200);
const ABSENT_FOR: Duration = Duration::from_secs(1);
const ABSENT_MOST: usize = 4096;
/// Reads for unknown hashes at a time; the others wait their turn.
const READS: usize = 2;
const SHARDS: usize = 16;

/// What memory says of a hash.
#[derive(Clone, Debug)]
pub enum Cached {
    Found(Arc<KeyRecord>),
    Refused(KeyRefusal),
    /// Not here: [`KeyCache::find`] asks the database.
    Unknown,
}

type Shard = RwLock<HashMap<KeyHash, Arc<KeyRecord>>>;

struct Inner {
    backend: Arc<dyn KeyBackend>,
    shards: [Shard; SHARDS],
    absent: Mutex<HashMap<KeyHash, Instant>>,
    reads: Semaphore,
    /// The newest revision that a whole read has covered.
    revision: AtomicI64,
    /// One refresh at a time.
    refreshing: tokio::sync::Mutex<()>,
}

/// Handle on the cache; following ends when it is dropped.
pub struct KeyCache {
    inner: Arc<Inner>,
    follower: JoinHandle<()>,
}

impl Drop for KeyCache {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl KeyCache {
    pub(crate) async fn start(backend: Arc<dyn KeyBackend>) -> Result<Self, StoreError> {
        let mut watch = backend.watch_keys().await?;
        watch.changed().await?;
        let inner = Arc::new(Inner {
            backend,
            shards: std::array::from_fn(|_| Shard::default()),
            absent: Mutex::default(),
            reads: Semaphore::new(READS),
            revision: AtomicI64::new(0),
            refreshing: tokio::sync::Mutex::new(()),
        });
        inner.refresh().await?;
        let follower = tokio::spawn({
            let inner = inner.clone();
            async move {
                let mut behind = false;
                loop {
                    watch.wait(POLL).await;
                    // A change that could not be read is asked for again, though the watch has reported it.
                    let outcome = match watch.changed().await {
                        Ok(changed) if changed || behind => inner.refresh().await,
                        Ok(_) => Ok(()),
                        Err(error) => Err(error),
                    };
                    behind = outcome.is_err();
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "key changes could not be read");
                    }
                }
            }
        });
        Ok(Self { inner, follower })
    }

    /// What memory knows, at `now_ms`: no I/O, a read lock on one shard.
    pub fn get(&self, hash: &KeyHash, now_ms: u64) -> Cached {
        match self.inner.cached(hash) {
            Some(record) => match record.check(now_ms) {
                Ok(()) => Cached::Found(record),
                Err(refusal) => Cached::Refused(refusal),
            },
            None if self.inner.known_absent(hash) => Cached::Refused(KeyRefusal::Unknown),
            None => Cached::Unknown,
        }
    }

    /// As [`KeyCache::get`], with one read of the database where memory knows nothing.
    pub async fn find(&self, hash: &KeyHash, now_ms: u64) -> Result<Result<Arc<KeyRecord>, KeyRefusal>, StoreError> {
        for look in 0..2 {
            match self.get(hash, now_ms) {
                Cached::Found(record) => return Ok(Ok(record)),
                Cached::Refused(refusal) => return Ok(Err(refusal)),
                Cached::Unknown if look == 0 => {}
                Cached::Unknown => break,
            }
            // Whoever waited here may find that another has read the same hash meanwhile.
            let _turn = self.inner.reads.acquire().await.expect("the semaphore is never closed");
            if matches!(self.get(hash, now_ms), Cached::Unknown) {
                match self.inner.backend.key_by_hash(*hash).await? {
                    Some(stored) => self.inner.put(stored),
                    None => self.inner.remember_absent(*hash),
                }
            }
        }
        Ok(Err(KeyRefusal::Unknown))
    }

    /// Reads changes now: after a revocation in this process, so that it holds from the next request.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.inner.refresh().await
    }

    /// Keys held, revoked and expired ones too.
    pub fn len(&self) -> usize {
        self.inner.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inner {
    fn shard(&self, hash: &KeyHash) -> &Shard {
        &self.shards[usize::from(hash.as_bytes()[0]) % SHARDS]
    }

    fn cached(&self, hash: &KeyHash) -> Option<Arc<KeyRecord>> {
        self.shard(hash).read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    fn put(&self, stored: StoredKey) {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).remove(&stored.hash);
        let mut shard = self.shard(&stored.hash).write().unwrap_or_else(PoisonError::into_inner);
        // A single read may be older than a refresh that overtook it: revocation is never undone.
        let revoked = shard.get(&stored.hash).is_some_and(|held| held.revoked_ms.is_some());
        if !revoked || stored.record.revoked_ms.is_some() {
            shard.insert(stored.hash, Arc::new(stored.record));
        }
    }

    fn known_absent(&self, hash: &KeyHash) -> bool {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.get(hash).is_some_and(|since| since.elapsed() < ABSENT_FOR)
    }

    fn remember_absent(&self, hash: KeyHash) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= ABSENT_MOST {
            absent.retain(|_, since| since.elapsed() < ABSENT_FOR);
            if absent.len() >= ABSENT_MOST {
                absent.clear();
            }
        }
        absent.insert(hash, Instant::now());
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let _one = self.refreshing.lock().await;
        let known = self.revision.load(Ordering::Acquire);
        let changed = self.backend.keys_after(known).await?;
        let newest = changed.iter().map(|stored| stored.revision).max().unwrap_or(known);
        for stored in changed {
            self.put(stored);
        }
        self.revision.store(newest, Ordering::Release);
        Ok(())
    }
}
