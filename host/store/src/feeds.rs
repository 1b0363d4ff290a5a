//! What goes outside piece by piece, scheduled exports and sinks of events: how far each is, and which process has it in hand.
//!
//! Nothing here delivers. Whoever does takes a feed in hand, delivers a piece, says that it is further ([`crate::backend::FeedBackend`]) and
//! is believed only while it has it in hand and the feed is where it was: so a piece goes out at least once, and is counted once.

use portcullis_core::{OrganisationId, RequestId};

use crate::error::StoreError;
use crate::store::Store;

/// A process that delivers, by a name it made for itself.
pub type Holder = [u8; 16];

/// How far something is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    pub name: String,
    /// What that is, the feed's kind says: the end of a period, a place in the trail.
    pub position: u64,
    /// How many went out since it began.
    pub pieces: u64,
    /// When it last went on, milliseconds since the Unix epoch.
    pub done_ms: Option<u64>,
    /// In a row.
    pub failures: u32,
    /// Of the last failure, while there is one.
    pub error: Option<String>,
    /// When it is next tried after a failure.
    pub due_ms: u64,
    /// Until when a process has it in hand.
    pub held_until_ms: Option<u64>,
}

/// A stretch of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntrySpan {
    pub organisation: Option<OrganisationId>,
    /// Milliseconds since the Unix epoch, inclusive.
    pub since_ms: u64,
    /// Exclusive.
    pub until_ms: u64,
}

/// Where an entry stands among others: request and attempt.
pub type EntryPlace = (RequestId, u32);

impl Store {
    /// How far everything is that goes outside, by name.
    pub async fn feeds(&self) -> Result<Vec<Feed>, StoreError> {
        self.backend().feeds().await
    }
}
