//! Keys in memory, so that authentication costs a look-up and no database.
//!
//! All keys are loaded at the start, each with what binds it. A task asks the database a few times a second whether keys changed, in
//! whatever process, and reads those that did; so a revocation holds everywhere within [`POLL`], and at once where the database tells of it. A hash that is not here is read
//! once: a key made a moment ago works at once. That it does not exist is remembered for a second, for a bounded number of hashes,
//! so that guessing costs the database little.
//!
//! No key passes after the lease has ended ([`crate::replicas`]): who cannot read what changed must not go by what was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use portcullis_core::{KeyHash, KeyId, ReplicaId};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use crate::backend::{Backend, KeyWatch, StoredKey};
use crate::error::StoreError;
use crate::keys::{ActiveKey, KeyRefusal};
use crate::replicas::{self, BEAT, LEASE};

/// How often changes are asked for.
pub const POLL: Duration = Duration::from_millis(200);
const ABSENT_FOR: Duration = Duration::from_secs(1);
const ABSENT_MOST: usize = 4096;
/// Reads for unknown hashes at a time; the others wait their turn.
const READS: usize = 2;
const SHARDS: usize = 16;
/// How long a request waits for a lease to begin anew: a machine that slept has lost it and has it back at once.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// What memory says of a hash.
#[derive(Clone, Debug)]
pub enum Cached {
    Found(Arc<ActiveKey>),
    Refused(KeyRefusal),
    /// Not here: [`KeyCache::find`] asks the database.
    Unknown,
    /// The lease has ended: [`KeyCache::find`] waits a moment for another.
    Lapsed,
}

/// A key under one of its secrets.
struct Held {
    key: Arc<ActiveKey>,
    /// Of a secret that was rotated away.
    until_ms: Option<u64>,
}

type Shard = RwLock<HashMap<KeyHash, Held>>;

struct Inner {
    backend: Arc<dyn Backend>,
    shards: [Shard; SHARDS],
    /// By which hashes each key is held, and as of which revision. Whoever changes a shard holds this.
    known: Mutex<HashMap<KeyId, Known>>,
    absent: Mutex<HashMap<KeyHash, Instant>>,
    reads: Semaphore,
    /// The newest revision that a whole read has covered.
    revision: AtomicI64,
    /// One refresh at a time.
    refreshing: tokio::sync::Mutex<()>,
    started: Instant,
    /// Milliseconds after `started` until which keys may pass.
    lease: AtomicU64,
    replica: ReplicaId,
    name: String,
    /// Somebody changed keys, or waits for a lease.
    wake: Arc<Notify>,
}

struct Known {
    hash: KeyHash,
    previous: Option<KeyHash>,
    revision: i64,
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
    pub(crate) async fn start(
        backend: Arc<dyn Backend>,
        replica: ReplicaId,
        wake: Arc<Notify>,
    ) -> Result<Self, StoreError> {
        let watch = backend.watch_keys().await?;
        let inner = Arc::new(Inner {
            backend,
            shards: std::array::from_fn(|_| Shard::default()),
            known: Mutex::default(),
            absent: Mutex::default(),
            reads: Semaphore::new(READS),
            revision: AtomicI64::new(0),
            refreshing: tokio::sync::Mutex::new(()),
            started: Instant::now(),
            lease: AtomicU64::new(0),
            replica,
            name: replicas::name(),
            wake,
        });
        let mut following = Following { watch, behind: true, said: None };
        following.round(&inner).await?;
        let follower = tokio::spawn({
            let inner = inner.clone();
            async move {
                loop {
                    tokio::select! {
                        () = following.watch.wait(POLL) => {}
                        () = inner.wake.notified() => {}
                    }
                    if let Err(error) = following.round(&inner).await {
                        tracing::warn!(%error, "key changes could not be read");
                    }
                }
            }
        });
        Ok(Self { inner, follower })
    }

    /// What memory knows, at `now_ms`: no I/O, a read lock on one shard.
    pub fn get(&self, hash: &KeyHash, now_ms: u64) -> Cached {
        if !self.inner.has_lease() {
            return Cached::Lapsed;
        }
        match self.inner.cached(hash, now_ms) {
            Some(Ok(key)) => match key.check(now_ms) {
                Ok(()) => Cached::Found(key),
                Err(refusal) => Cached::Refused(refusal),
            },
            Some(Err(refusal)) => Cached::Refused(refusal),
            None if self.inner.known_absent(hash) => Cached::Refused(KeyRefusal::Unknown),
            None => Cached::Unknown,
        }
    }

    /// As [`KeyCache::get`], with one read of the database where memory knows nothing.
    ///
    /// # Errors
    /// [`StoreError::Lapsed`] where changes of keys could not be read for [`LEASE`] and cannot be now.
    pub async fn find(&self, hash: &KeyHash, now_ms: u64) -> Result<Result<Arc<ActiveKey>, KeyRefusal>, StoreError> {
        for look in 0..2 {
            match self.get(hash, now_ms) {
                Cached::Found(key) => return Ok(Ok(key)),
                Cached::Refused(refusal) => return Ok(Err(refusal)),
                Cached::Lapsed => {
                    self.inner.await_lease().await?;
                    continue;
                }
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
        match self.get(hash, now_ms) {
            Cached::Found(key) => Ok(Ok(key)),
            Cached::Refused(refusal) => Ok(Err(refusal)),
            Cached::Lapsed => Err(StoreError::Lapsed),
            Cached::Unknown => Ok(Err(KeyRefusal::Unknown)),
        }
    }

    /// Reads changes now: after a revocation in this process, so that it holds from the next request.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.inner.refresh().await
    }

    /// Says that this process serves no more, so that nobody waits for it. To be called when the last request has ended.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.follower.abort();
        self.inner.lease.store(0, Ordering::Release);
        self.inner.backend.forget_replica(self.inner.replica).await
    }

    /// Keys held, revoked and expired ones too.
    pub fn len(&self) -> usize {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the task that follows changes needs for itself.
struct Following {
    watch: Box<dyn KeyWatch>,
    /// A change was reported that could not be read yet.
    behind: bool,
    /// When this process last said how far it has read, and how far that was.
    said: Option<(Instant, i64)>,
}

impl Following {
    /// Reads what changed, and says so where that is news or a while ago; the lease then begins anew, from before the reading.
    async fn round(&mut self, inner: &Inner) -> Result<(), StoreError> {
        let begun = inner.started.elapsed();
        self.behind |= self.watch.changed().await?;
        if self.behind {
            inner.refresh().await?;
            self.behind = false;
        }
        let revision = inner.revision.load(Ordering::Acquire);
        let fresh = |&(at, said): &(Instant, i64)| said == revision && at.elapsed() < BEAT;
        if self.said.as_ref().is_some_and(fresh) && inner.has_lease() {
            return Ok(());
        }
        self.watch.beat(inner.replica, &inner.name, revision).await?;
        self.said = Some((Instant::now(), revision));
        inner.lease.store(millis(begun + LEASE), Ordering::Release);
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Inner {
    fn shard(&self, hash: &KeyHash) -> &Shard {
        &self.shards[usize::from(hash.as_bytes()[0]) % SHARDS]
    }

    fn has_lease(&self) -> bool {
        millis(self.started.elapsed()) < self.lease.load(Ordering::Acquire)
    }

    async fn await_lease(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.has_lease() {
                return Ok(());
            }
            self.wake.notify_one();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if self.has_lease() { Ok(()) } else { Err(StoreError::Lapsed) }
    }

    fn cached(&self, hash: &KeyHash, now_ms: u64) -> Option<Result<Arc<ActiveKey>, KeyRefusal>> {
        let shard = self.shard(hash).read().unwrap_or_else(PoisonError::into_inner);
        let held = shard.get(hash)?;
        let ended = held.until_ms.is_some_and(|until| now_ms >= until);
        Some(if ended { Err(KeyRefusal::Rotated) } else { Ok(Arc::clone(&held.key)) })
    }

    fn put(&self, stored: StoredKey) {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).remove(&stored.hash);
        let (hash, previous, revision) = (stored.hash, stored.previous_hash, stored.revision);
        let key = Arc::new(ActiveKey::from(stored));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // A single read may be older than a refresh that overtook it: what it says was undone since.
        if known.get(&key.id).is_some_and(|known| known.revision > revision) {
            return;
        }
        let before = known.insert(key.id, Known { hash, previous, revision });
        let write = |hash: &KeyHash, held: Option<Held>| {
            let mut shard = self.shard(hash).write().unwrap_or_else(PoisonError::into_inner);
            match held {
                Some(held) => shard.insert(*hash, held),
                None => shard.remove(hash),
            };
        };
        let until_ms = key.previous_until_ms;
        write(&hash, Some(Held { key: Arc::clone(&key), until_ms: None }));
        if let Some(previous) = &previous {
            write(previous, Some(Held { key, until_ms }));
        }
        for gone in before.into_iter().flat_map(|before| [Some(before.hash), before.previous]).flatten() {
            if gone != hash && Some(gone) != previous {
                write(&gone, None);
            }
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
        // Before the keys: what was there then is among them. A revision may touch no key at all.
        let newest = self.backend.keys_revision().await?;
        let changed = self.backend.keys_after(known).await?;
        let newest = changed.iter().map(|stored| stored.revision).fold(newest.max(known), i64::max);
        for stored in changed {
            self.put(stored);
        }
        self.revision.store(newest, Ordering::Release);
        Ok(())
    }
}
