//! Entries, requests and receipts: written in groups by the ledger alone (invariant 2).

use portcullis_core::RequestId;

use super::Answer;
use crate::rows::Batch;
use crate::store::ReceiptScope;

pub trait LedgerBackend: Send + Sync + 'static {
    /// Writes a batch in one durable transaction: all of it or nothing. What is already there stays as it is.
    ///
    /// It may block the thread that polls it: the ledger asks on one where that hurts nobody.
    fn write<'a>(&'a self, writer: [u8; 16], batch: &'a Batch<'a>) -> Answer<'a, ()>;

    /// As it was written. `None` where there is none, or it is somebody else's.
    fn receipt(&self, id: RequestId, scope: ReceiptScope) -> Answer<'_, Option<Vec<u8>>>;
}
