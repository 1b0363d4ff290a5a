//! The provable ledger and audit trail.
//!
//! Every entry and every audit event is a link of a hash chain: one for each process that writes entries, one for the audit trail. Each
//! group of requests and receipts, which expire, is one further link that holds their salted digests ([`canonical`] has the bytes).
//! Checkpoints join the heads of the chains and are signed with a key outside the database ([`AuditKey`]); what an operator keeps of them
//! elsewhere is an [`Anchor`]. [`crate::Store::verify`] proves all of it.
//!
//! Who can write the database can add rows, but cannot change, take away or exchange what a checkpoint has signed without being found; with
//! an anchor of the newest checkpoint not even by cutting the end off. What a running process wrote it remembers itself, so that its chain
//! is not bent between two checkpoints either.

pub mod canonical;
mod checkpoint;
pub(crate) mod expiry;
mod key;
mod seal;
pub mod source;
mod text;
mod verify;

pub use canonical::{Hash, Pinned};
pub use checkpoint::{Anchor, Checkpoint, Newest};
pub use expiry::{Expired, ExpiryBatch, ExpiryStep};
pub use key::{AuditKey, AuditKeySource, PublicKey, PublicKeyError};
pub use seal::Head;
pub(crate) use seal::{AsIs, Known, Linker, Records, Texts};
pub(crate) use verify::{AUDIT, BEFORE};
pub use verify::{Fault, Presence, Report, Verification, chain_name};
