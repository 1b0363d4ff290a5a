//! Keys, the ledger, receipts and usage, behind one trait: SQLite or PostgreSQL.
//!
//! Only this crate writes money (invariant 2). Nothing is spent that was not reserved, and what was reserved ends settled,
//! refunded or quarantined, also across `kill -9` (invariant 3): see [`ledger`]. Receipts answer only to the key or the
//! organisation they belong to (invariant 11).

mod actor;
mod audit;
pub mod backend;
mod codec;
pub mod conversations;
mod encode;
mod error;
mod key_cache;
mod keys;
pub mod ledger;
mod pages;
mod postgres;
mod receipt;
mod rows;
mod sqlite;
mod store;
mod usage;

pub use actor::{Actor, ActorKind};
pub use audit::{AuditEvent, AuditFilter, AuditPage, NewEvent};
pub use conversations::{Conversation, Conversations, MasterKey, NewTurn, Turn, TurnOwner, TurnRow};
pub use error::{KeySelectError, StoreError};
pub use key_cache::{Cached, KeyCache};
pub use keys::{CreatedKey, KeyRecord, KeyRefusal, NewKey, RequestDefaults};
pub use ledger::{Ledger, LedgerOptions, Reservation, ReserveRequest, Settlement};
pub use rows::{Batch, EndKind, EntryRow, RequestRow};
pub use store::{ReceiptScope, Store, StoreOptions, Synchronous};
pub use usage::{UsageFilter, UsageGroup, UsageRow};
