//! Keys: what they are looked up by, and how processes learn that they changed.

use std::time::Duration;

use portcullis_core::{KeyHash, KeyId};

use super::{Answer, BoxFuture};
use crate::keys::KeyRecord;

/// A key as it is stored: what it is looked up by, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredKey {
    pub hash: KeyHash,
    pub record: KeyRecord,
    /// Grows with every change of any key.
    pub revision: i64,
}

pub trait KeyBackend: Send + Sync + 'static {
    /// Writes a new key and moves the revision on. [`crate::StoreError::NoSuchOwner`] where organisation or team do not exist.
    fn insert_key<'a>(&'a self, hash: KeyHash, record: &'a KeyRecord) -> Answer<'a, ()>;

    /// Marks a key revoked from `now_ms` and moves the revision on; one revoked before keeps its time. `false` where there is
    /// no such key.
    fn revoke_key(&self, id: KeyId, now_ms: u64) -> Answer<'_, bool>;

    fn key_by_hash(&self, hash: KeyHash) -> Answer<'_, Option<StoredKey>>;

    fn key_by_id(&self, id: KeyId) -> Answer<'_, Option<KeyRecord>>;

    /// Every key whose shown part starts with `prefix`, oldest first.
    fn keys_by_prefix<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<KeyRecord>>;

    /// Every key that changed after `revision` (0 for all), in order of change.
    fn keys_after(&self, revision: i64) -> Answer<'_, Vec<StoredKey>>;

    /// A cheap way to learn that keys changed, in whatever process.
    fn watch_keys(&self) -> Answer<'_, Box<dyn KeyWatch>>;
}

/// Asked a few times a second.
pub trait KeyWatch: Send {
    /// Whether keys may have changed since the last time this was asked; true the first time.
    fn changed(&mut self) -> Answer<'_, bool>;

    /// Returns when it is worth asking again: after `poll`, or at once where the database tells of a change by itself.
    fn wait(&mut self, poll: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(poll))
    }
}
