//! What a database shows to be proven: rows as they are, whatever somebody made of them.

use super::canonical::{Bytes, Digest, ENTRY, EVENT, Hash, Pinned, SEAL};
use super::checkpoint::Checkpoint;
use crate::error::StoreError;

/// Which links. Each kind is read once, ordered as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Entries without a place in a chain, by request, attempt and step.
    Unchained,
    /// Entries by chain and place.
    Entries,
    /// Seals by chain and place.
    Seals,
    /// Audit events by place.
    Events,
}

impl Links {
    pub const ALL: [Self; 4] = [Self::Unchained, Self::Entries, Self::Seals, Self::Events];

    pub(crate) const fn tag(self) -> &'static [u8] {
        match self {
            Self::Unchained | Self::Entries => ENTRY,
            Self::Seals => SEAL,
            Self::Events => EVENT,
        }
    }

    pub const fn table(self) -> &'static str {
        match self {
            Self::Unchained | Self::Entries => "ledger_entries",
            Self::Seals => "record_seals",
            Self::Events => "audit_events",
        }
    }
}

/// A link as it stands in its table.
#[derive(Debug, Default)]
pub struct StoredLink {
    pub chain: [u8; 16],
    /// 0 for those without a place.
    pub seq: i64,
    pub hash: Option<Hash>,
    /// Whose request, of an entry.
    pub request: Option<[u8; 16]>,
    pub(crate) body: Bytes,
    /// A column that holds what no version of this program writes.
    pub malformed: Option<String>,
    /// Of an event that tells so: an organisation's records from before this time (milliseconds since the Unix epoch) are deleted.
    pub expired: Option<([u8; 16], u64)>,
}

/// A seal, to be compared with the records that it stands for.
#[derive(Debug)]
pub struct StoredSeal {
    pub id: i64,
    pub chain: [u8; 16],
    pub seq: i64,
    pub content: Vec<u8>,
}

/// What a seal stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    Requests,
    /// Pages of receipts.
    Pages,
}

impl Records {
    pub const fn table(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Pages => "receipt_pages",
        }
    }
}

/// How many records there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCount {
    /// That have a salt.
    pub salted: u64,
    /// From before there were seals.
    pub unsalted: u64,
    /// The time of the youngest of these.
    pub youngest_unsalted_ms: Option<i64>,
}

/// A record's digest as its row makes it, or the column that holds what no version of this program writes.
pub type RecordDigest = Result<Digest, String>;

/// A database at one moment. Ids of pages are their numbers.
pub trait ChainSource {
    /// The next link of a kind; false at the end.
    fn link(&mut self, of: Links, into: &mut StoredLink) -> Result<bool, StoreError>;

    /// How far each chain goes by the table of chains, by name.
    fn heads(&mut self) -> Result<Vec<Pinned>, StoreError>;

    /// What checkpoints say of chains, by chain and place, with the checkpoint's number.
    fn pin(&mut self) -> Result<Option<(Pinned, i64)>, StoreError>;

    /// Checkpoints by number, with their heads.
    fn checkpoint(&mut self) -> Result<Option<Checkpoint>, StoreError>;

    /// The first seal whose id is greater.
    fn seal(&mut self, after: i64) -> Result<Option<StoredSeal>, StoreError>;

    /// In the order of `ids`: what there is.
    fn digests(&mut self, of: Records, ids: &[u128]) -> Result<Vec<Option<RecordDigest>>, StoreError>;

    fn count(&mut self, of: Records) -> Result<RecordCount, StoreError>;

    /// The ids after one, of records that have a salt, in order, at most so many.
    fn ids(&mut self, of: Records, after: Option<u128>, limit: usize) -> Result<Vec<u128>, StoreError>;
}
