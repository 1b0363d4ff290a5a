//! Keys, the ledger, receipts and usage, behind one trait: SQLite or PostgreSQL.
//!
//! Only this crate writes money (invariant 2). Nothing is spent that was not reserved, and what was reserved ends settled,
//! refunded or quarantined, also across `kill -9` (invariant 3): see [`ledger`]. Receipts answer only to the key or the
//! organisation they belong to (invariant 11).

mod actor;
mod audit;
pub mod backend;
pub mod budgets;
mod captures;
pub mod chain;
mod codec;
mod connections;
pub mod conversations;
mod encode;
mod error;
mod fail;
mod feeds;
mod identity;
mod key_cache;
mod keys;
pub mod ledger;
mod lockout;
mod pages;
mod pattern;
pub mod policy;
mod postgres;
mod receipt;
mod replicas;
mod requests;
mod retention;
mod rows;
mod seal;
mod sqlite;
mod store;
mod usage;

pub use actor::{Actor, ActorKind};
pub use audit::{AuditEvent, AuditFilter, AuditPage, NewEvent};
pub use captures::{CaptureKeys, CaptureRow, CapturedContent, CapturedPart, Captures, NewCapture};
pub use chain::{Anchor, AuditKey, AuditKeySource, Checkpoint, PublicKey, Verification};
pub use connections::{
    ConnectionEdit, ConnectionRecord, ConnectionSecret, Envelope, Keyring, NewConnection, OpenConnection,
    StoredConnection,
};
pub use conversations::{Conversation, Conversations, NewTurn, Turn, TurnOwner, TurnRow};
pub use error::StoreError;
pub use feeds::{EntryPlace, EntrySpan, Feed, Holder};
pub use identity::{
    CAPTURE_DAYS, CreatedToken, Member, MemberEdit, NewMember, NewOrganisation, NewTeam, NewToken, Organisation,
    OrganisationEdit, RETENTION_DAYS, Team, TeamEdit, TokenRecord, TokenRefusal,
};
pub use key_cache::{Cached, KeyCache};
pub use keys::{
    ActiveKey, CreatedKey, ExpiringKey, KeyEdit, KeyFilter, KeyRecord, KeyRefusal, NewKey, RequestDefaults, Suspension,
};
pub use ledger::{Ledger, LedgerOptions, Reservation, ReserveRequest, Settlement};
pub use lockout::{AccessCounters, AccessFailure, AccessGuard, FailedAccess, LockoutKind, LockoutRow, LockoutSettings};
pub use policy::{AccessPolicy, EffectivePolicy, PolicyDenial, PolicyField, PolicyLine, PolicyOrigin};
pub use replicas::{LEASE, Replica};
pub use requests::{RequestFilter, RequestRecord};
pub use retention::{Retained, Retention};
pub use rows::{Batch, EndKind, EntryRow, RequestRow};
pub use seal::MasterKey;
pub use store::{ReceiptScope, Store, StoreOptions, Synchronous};
pub use usage::{UsageFilter, UsageGroup, UsageRow};
