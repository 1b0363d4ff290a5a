//! Checkpoints, and everything that is proven read in one piece.

use portcullis_core::OrganisationId;

use super::Answer;
use crate::audit::NewEvent;
use crate::chain::source::ChainSource;
use crate::chain::{Checkpoint, Expired, Newest, Pinned};
use crate::error::StoreError;

/// What a checkpoint is made of in its transaction: the newest one, and the heads of the chains that went on since, by name.
pub type MakeCheckpoint<'a> =
    &'a (dyn Fn(&Newest, Vec<Pinned>) -> Result<Option<Checkpoint>, StoreError> + Send + Sync);

/// What reads a database whole.
pub type Examine<'a> = &'a mut (dyn FnMut(&mut dyn ChainSource) -> Result<(), StoreError> + Send);

pub trait ChainBackend: Send + Sync + 'static {
    /// Writes what `make` makes, in one transaction that no other checkpoint comes between.
    fn write_checkpoint<'a>(&'a self, make: MakeCheckpoint<'a>) -> Answer<'a, Option<Checkpoint>>;

    /// Deletes an organisation's requests and receipts from before a time, and writes the event of it in the same transaction.
    fn expire_records<'a>(
        &'a self,
        organisation: OrganisationId,
        before_ms: u64,
        event: &'a (dyn Fn(Expired) -> NewEvent + Send + Sync),
    ) -> Answer<'a, Expired>;

    /// Without its heads.
    fn newest_checkpoint(&self) -> Answer<'_, Option<Checkpoint>>;

    /// Shows the database as it is at one moment. It may block the thread that polls it.
    fn examine<'a>(&'a self, examine: Examine<'a>) -> Answer<'a, ()>;
}
