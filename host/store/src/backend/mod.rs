//! What a database must do for the store, one trait for each area. One contract test-suite (`tests/contract`) holds for every
//! implementation.

mod audit;
mod conversations;
mod keys;
mod ledger;
mod usage;

use std::future::Future;
use std::pin::Pin;

pub use audit::AuditBackend;
pub use conversations::ConversationBackend;
pub use keys::{KeyBackend, KeyWatch, StoredKey};
pub use ledger::LedgerBackend;
pub use usage::UsageBackend;

use crate::error::StoreError;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A database: all of the areas.
pub trait Backend: AuditBackend + ConversationBackend + KeyBackend + LedgerBackend + UsageBackend {}

impl<T: AuditBackend + ConversationBackend + KeyBackend + LedgerBackend + UsageBackend> Backend for T {}
