//! The store: a database, a clock, and what is built on them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::{Clock, KeyId, OrganisationId, ReplicaId, RequestId, SystemClock};
use tokio::sync::Notify;

use crate::backend::Backend;
use crate::error::StoreError;
use crate::key_cache::KeyCache;
use crate::ledger::{Ledger, LedgerError, LedgerOptions};
use crate::postgres::{self, Postgres};
use crate::receipt;
use crate::sqlite::Sqlite;

/// How hard the ledger's groups are pressed to disk. Either way what was committed or stands in the journal survives `kill -9`;
/// the difference is a power loss or a crash of the kernel. Keys are always pressed to disk at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// An fsync per group: a committed row survives a power loss. What was not committed (a tenth of a second at the most, the
    /// database keeping up) stands only in the journal, which is not fsynced.
    Full,
    /// An fsync per checkpoint, which comes with every 16 MB of the write-ahead log. A power loss may take the entries and
    /// usage rows since the last one, but for what the kernel has written of itself (Linux: within some 30 s); the database
    /// stays whole, and what is lost is lost from its end.
    #[default]
    Normal,
}

/// Where the database is.
#[derive(Clone)]
pub struct StoreOptions {
    /// SQLite's file. Its directory is made with mode 0700 where it is missing, the file with 0600. Journals stand beside it,
    /// also where the database is another: they must be on a disk of this machine that outlives the process.
    pub path: PathBuf,
    /// PostgreSQL instead: `postgres://user:password@host:port/database`, with `sslmode`, `sslrootcert`, `host` (for a socket's
    /// directory) and what else libpq has as its query. It must lead to the server itself or to a pooler that keeps sessions,
    /// for it listens and locks.
    pub url: Option<String>,
    /// Of SQLite. PostgreSQL's groups wait for its own `synchronous_commit`, and for its disk where that is off.
    pub synchronous: Synchronous,
}

impl StoreOptions {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), url: None, synchronous: Synchronous::default() }
    }

    /// PostgreSQL, with the journals beside `path`.
    pub fn postgres(url: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { url: Some(url.into()), ..Self::at(path) }
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoreOptions { path, url, synchronous } = self;
        let url = url.as_ref().map(|_| "postgres://…");
        f.debug_struct("StoreOptions").field("path", path).field("url", &url).field("synchronous", synchronous).finish()
    }
}

/// For people: which database, without a password.
impl fmt::Display for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.url {
            None => write!(f, "{}", self.path.display()),
            Some(url) => f.write_str(&postgres::shown(url)),
        }
    }
}

/// Whose receipts may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptScope {
    Key(KeyId),
    Organisation(OrganisationId),
}

/// An open database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    /// Tells the cache of this process that keys changed.
    key_changes: Arc<Notify>,
    /// Where journals of this database stand.
    journals: PathBuf,
}

impl Store {
    /// Opens the database, makes it where it is missing, and migrates it forwards.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] where a newer program has migrated it; [`StoreError::Path`] where the file or its directory
    /// cannot be made.
    pub async fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        Self::open_with_clock(options, Arc::new(SystemClock)).await
    }

    pub async fn open_with_clock(options: &StoreOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let mut journals = options.path.clone().into_os_string();
        let backend: Arc<dyn Backend> = match &options.url {
            None => {
                journals.push(".ledger");
                Arc::new(Sqlite::open(options).await?)
            }
            Some(url) => {
                // What a process left for one database is not written to another.
                journals.push(".postgres.ledger");
                Arc::new(Postgres::open(url).await?)
            }
        };
        Ok(Self::over(backend, clock, journals))
    }

    /// A store over a database that is open already; `journals` is where those of its ledger stand.
    pub fn over(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>, journals: impl Into<PathBuf>) -> Self {
        Self { backend, clock, key_changes: Arc::default(), journals: journals.into() }
    }

    /// Opens this process's ledger: first what dead processes left in their journals is written, then its own journal
    /// begins. A process opens one; a command that only reads or makes keys needs none.
    pub async fn ledger(&self, options: LedgerOptions) -> Result<Ledger, LedgerError> {
        Ledger::open(self.backend.clone(), self.backend.clone(), self.clock.clone(), &self.journals, options).await
    }

    /// Loads all keys and follows their changes.
    pub async fn key_cache(&self) -> Result<KeyCache, StoreError> {
        let replica = ReplicaId::new(self.clock.now_ms(), &mut rand::rng());
        KeyCache::start(self.backend.clone(), replica, self.key_changes.clone()).await
    }

    /// The receipt as JSON, where it is written and within `scope`. [`Ledger::receipt`] sees those of the last
    /// milliseconds too.
    pub async fn receipt(&self, id: RequestId, scope: ReceiptScope) -> Result<Option<String>, StoreError> {
        self.backend.receipt(id, scope).await?.map(|kept| receipt::to_json(&kept)).transpose()
    }

    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Keys changed here: a cache of this process reads them at once, others within its interval.
    pub(crate) fn keys_changed(&self, changed: bool) {
        if changed {
            self.key_changes.notify_one();
        }
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}
