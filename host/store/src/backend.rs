//! What a database must do for the store. One contract test-suite (`tests/contract`) holds for every implementation.

use std::future::Future;
use std::pin::Pin;

use portcullis_core::{KeyHash, KeyId, RequestId};

use crate::conversations::{TurnOwner, TurnRow};
use crate::error::StoreError;
use crate::keys::KeyRecord;
use crate::rows::Batch;
use crate::store::ReceiptScope;
use crate::usage::{UsageFilter, UsageRow};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A key as it is stored: what it is looked up by, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredKey {
    pub hash: KeyHash,
    pub record: KeyRecord,
    /// Grows with every change of any key.
    pub revision: i64,
}

pub trait Backend: Send + Sync + 'static {
    // --- keys ---

    /// Writes a new key and moves the revision on. [`StoreError::NoSuchOwner`] where organisation or team do not exist.
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

    // --- ledger ---

    /// Writes a batch in one durable transaction: all of it or nothing. What is already there stays as it is.
    ///
    /// It may block the thread that polls it: the ledger asks on one where that hurts nobody.
    fn write<'a>(&'a self, writer: [u8; 16], batch: &'a Batch<'a>) -> Answer<'a, ()>;

    // --- reading ---

    /// As it was written. `None` where there is none, or it is somebody else's.
    fn receipt(&self, id: RequestId, scope: ReceiptScope) -> Answer<'_, Option<Vec<u8>>>;

    fn usage<'a>(&'a self, filter: &'a UsageFilter) -> Answer<'a, Vec<UsageRow>>;

    // --- conversations ---

    /// Writes a turn; those before it live as long as it does at least.
    fn insert_turn<'a>(&'a self, turn: &'a TurnRow) -> Answer<'a, ()>;

    /// The turn of this name, which is the owner's and lives at `now_ms`; of several the newest.
    fn turn<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64) -> Answer<'a, Option<TurnRow>>;

    /// The turns that lead to the one of this name, with it, oldest first; where one of them is gone, those after it.
    /// [`StoreError::TooLong`] where they hold more than `limit` bytes.
    fn turns<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64, limit: usize) -> Answer<'a, Vec<TurnRow>>;

    /// `false` where there is no such turn.
    fn delete_turn<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64) -> Answer<'a, bool>;

    /// Deletes the turns that have expired, and returns how many those were.
    fn expire_turns(&self, now_ms: u64) -> Answer<'_, u64>;
}

/// Asked a few times a second.
pub trait KeyWatch: Send {
    /// Whether keys may have changed since the last time this was asked; true the first time.
    fn changed(&mut self) -> Answer<'_, bool>;
}
