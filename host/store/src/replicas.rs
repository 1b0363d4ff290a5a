//! Processes that serve with keys from memory: who they are, and up to where they have read.
//!
//! A process may let a key pass only while its lease lasts: [`LEASE`] from the start of a round in which it read the keys' changes
//! *and* wrote here how far it read. So whoever revokes a key needs to wait only for those who wrote within that time; who did not
//! has stopped by itself.

use std::time::{Duration, Instant};

use portcullis_core::ReplicaId;

use crate::error::StoreError;
use crate::store::Store;

/// How long a process goes on with what it read.
pub const LEASE: Duration = Duration::from_secs(5);
/// How often it writes that it is there.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// How often one who waits looks.
const LOOK: Duration = Duration::from_millis(25);

/// A process that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub id: ReplicaId,
    /// Machine and process, for people.
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Milliseconds since it last wrote, by the database's clock.
    pub age_ms: u64,
    /// The revision of the keys that it holds.
    pub keys_revision: i64,
}

impl Replica {
    /// Whether it may still let requests pass.
    pub fn is_live(&self) -> bool {
        u128::from(self.age_ms) <= LEASE.as_millis()
    }
}

impl Store {
    /// Processes that serve, or did so a short while ago.
    pub async fn replicas(&self) -> Result<Vec<Replica>, StoreError> {
        self.backend().replicas().await
    }

    /// Returns when every process that serves holds the keys as they are now, or its lease has ended.
    pub async fn await_replicas(&self) -> Result<(), StoreError> {
        let revision = self.backend().keys_revision().await?;
        let begun = Instant::now();
        loop {
            let replicas = self.backend().replicas().await?;
            if replicas.iter().all(|replica| replica.keys_revision >= revision || !replica.is_live()) {
                return Ok(());
            }
            // Whoever has not read it by now has no lease that began before the change.
            if begun.elapsed() > LEASE {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What people know this process by.
pub(crate) fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}:{}", if host.is_empty() { "localhost" } else { host }, std::process::id())
}
