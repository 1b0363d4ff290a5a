//! Keys, and what processes that hold them in memory say of themselves.

use std::time::Duration;

use portcullis_core::{KeyHash, KeyId, ReplicaId};

use super::{Answer, BoxFuture};
use crate::audit::NewEvent;
use crate::keys::{KeyFilter, KeyRecord};
use crate::policy::AccessPolicy;
use crate::replicas::Replica;

/// A key as it is stored: what it is looked up by, what it says, and what binds it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredKey {
    pub hash: KeyHash,
    /// The secret before this one; it holds until `record.previous_until_ms`.
    pub previous_hash: Option<KeyHash>,
    pub record: KeyRecord,
    /// Grows with every change of any key, and with every change of what binds it.
    pub revision: i64,
    pub bounds: Bounds,
}

/// What a key's organisation and team say. Read with the key, never written with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    pub organisation: AccessPolicy,
    pub team: Option<AccessPolicy>,
    pub organisation_suspended_ms: Option<u64>,
    pub team_suspended_ms: Option<u64>,
    pub retention_days: Option<u16>,
    pub capture_days: Option<u16>,
}

pub trait KeyBackend: Send + Sync + 'static {
    /// Writes a new key with its event and moves the revision on. [`StoreError::NoSuchOwner`] where organisation, team or member do
    /// not exist, or the team is another organisation's.
    ///
    /// [`StoreError::NoSuchOwner`]: crate::StoreError::NoSuchOwner
    fn insert_key<'a>(&'a self, hash: KeyHash, record: &'a KeyRecord, event: &'a NewEvent) -> Answer<'a, ()>;

    /// Writes what changed of a key, with its event, and moves the revision on; `false` where the key's revision is no longer
    /// `key.revision`, or there is no such key. A revocation is never undone: a key that was revoked keeps its time.
    fn update_key<'a>(&'a self, key: &'a StoredKey, event: &'a NewEvent) -> Answer<'a, bool>;

    /// By the hash of its secret, or of the one before.
    fn key_by_hash(&self, hash: KeyHash) -> Answer<'_, Option<StoredKey>>;

    fn key_by_id(&self, id: KeyId) -> Answer<'_, Option<StoredKey>>;

    /// Every key whose shown part starts with `prefix`, oldest first.
    fn keys_by_prefix<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<KeyRecord>>;

    /// The keys that match, oldest first.
    fn keys<'a>(&'a self, filter: &'a KeyFilter) -> Answer<'a, Vec<StoredKey>>;

    /// Every key that changed after `revision` (0 for all), in order of change.
    fn keys_after(&self, revision: i64) -> Answer<'_, Vec<StoredKey>>;

    /// The newest revision.
    fn keys_revision(&self) -> Answer<'_, i64>;

    /// Notes that somebody was reminded of a key on a day since the epoch, and writes the event; `false` where they were already.
    fn remind_key<'a>(&'a self, id: KeyId, day: u64, event: &'a NewEvent) -> Answer<'a, bool>;

    /// A cheap way to learn that keys changed, in whatever process.
    fn watch_keys(&self) -> Answer<'_, Box<dyn KeyWatch>>;

    /// The processes that have said something of themselves, with their ages by the database's own clock.
    fn replicas(&self) -> Answer<'_, Vec<Replica>>;

    /// Says that a process is gone.
    fn forget_replica(&self, id: ReplicaId) -> Answer<'_, ()>;
}

/// Asked a few times a second.
pub trait KeyWatch: Send {
    /// Whether keys may have changed since the last time this was asked; true the first time.
    fn changed(&mut self) -> Answer<'_, bool>;

    /// Returns when it is worth asking again: after `poll`, or at once where the database tells of a change by itself.
    fn wait(&mut self, poll: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(poll))
    }

    /// Says that the process is there and holds what was up to `revision`. It may be lost in a power failure.
    fn beat<'a>(&'a mut self, id: ReplicaId, name: &'a str, revision: i64) -> Answer<'a, ()>;
}
