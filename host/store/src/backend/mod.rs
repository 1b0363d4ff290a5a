//! What a database must do for the store, one trait for each area. One contract test-suite (`tests/contract`) holds for every
//! implementation.

mod access;
mod audit;
mod budgets;
mod captures;
mod chain;
mod connections;
mod conversations;
mod feeds;
mod identity;
mod keys;
mod ledger;
mod requests;
mod usage;

use std::future::Future;
use std::pin::Pin;

pub use access::AccessBackend;
pub use audit::AuditBackend;
pub use budgets::{BudgetBackend, BudgetNews, BudgetWatch};
pub use captures::CaptureBackend;
pub use chain::{ChainBackend, Examine, MakeCheckpoint, Turn};
pub use connections::ConnectionBackend;
pub use conversations::ConversationBackend;
pub use feeds::FeedBackend;
pub use identity::IdentityBackend;
pub use keys::{Bounds, KeyBackend, KeyWatch, StoredKey};
pub use ledger::LedgerBackend;
pub use requests::RequestBackend;
pub use usage::UsageBackend;

use crate::error::StoreError;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A database: all of the areas.
pub trait Backend:
    AccessBackend
    + AuditBackend
    + BudgetBackend
    + CaptureBackend
    + ChainBackend
    + ConnectionBackend
    + ConversationBackend
    + FeedBackend
    + IdentityBackend
    + KeyBackend
    + LedgerBackend
    + RequestBackend
    + UsageBackend
{
}

impl<T> Backend for T where
    T: AccessBackend
        + AuditBackend
        + BudgetBackend
        + CaptureBackend
        + ChainBackend
        + ConnectionBackend
        + ConversationBackend
        + FeedBackend
        + IdentityBackend
        + KeyBackend
        + LedgerBackend
        + RequestBackend
        + UsageBackend
{
}
