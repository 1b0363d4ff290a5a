//! Checkpoints, and everything that is proven read in one piece.

use std::any::Any;

use portcullis_core::OrganisationId;

use super::Answer;
use crate::audit::NewEvent;
use crate::chain::source::ChainSource;
use crate::chain::{Checkpoint, Expired, ExpiryBatch, ExpiryStep, Newest, Pinned};
use crate::error::StoreError;

/// What a checkpoint is made of in its transaction: the newest one, and the heads of the chains that went on since, by name.
pub type MakeCheckpoint<'a> =
    &'a (dyn Fn(&Newest, Vec<Pinned>) -> Result<Option<Checkpoint>, StoreError> + Send + Sync);

/// What only one process does at a time, until this is dropped.
pub type Turn = Box<dyn Any + Send>;

/// What reads a database whole.
pub type Examine<'a> = &'a mut (dyn FnMut(&mut dyn ChainSource) -> Result<(), StoreError> + Send);

pub trait ChainBackend: Send + Sync + 'static {
    /// Writes what `make` makes, in one transaction that no other checkpoint comes between.
    fn write_checkpoint<'a>(&'a self, make: MakeCheckpoint<'a>) -> Answer<'a, Option<Checkpoint>>;

    /// How many of an organisation's requests and pages of receipts are from before a time, looking for requests after `after`.
    fn expirable(&self, organisation: OrganisationId, before_ms: u64, after: [u8; 16]) -> Answer<'_, Expired>;

    /// Deletes a batch in one transaction, with the event where one is given. The event of what is deleted is written first: it says for
    /// all batches what may be missing from then on.
    fn expire_records<'a>(&'a self, batch: &'a ExpiryBatch, event: Option<&'a NewEvent>) -> Answer<'a, ExpiryStep>;

    /// Permission to expire records, which one process at a time has until it drops it; `None` while another has it.
    fn expiry_turn(&self) -> Answer<'_, Option<Turn>>;

    /// Without their heads, the newest first: those before this number (`None`: from the newest on), at most so many.
    fn checkpoints(&self, before: Option<i64>, limit: u32) -> Answer<'_, Vec<Checkpoint>>;

    /// Without its heads.
    fn newest_checkpoint(&self) -> Answer<'_, Option<Checkpoint>>;

    /// Shows the database as it is at one moment. It may block the thread that polls it.
    fn examine<'a>(&'a self, examine: Examine<'a>) -> Answer<'a, ()>;
}
