//! What was captured and is not written yet. Requests do not wait for the database: what waits is bounded in bytes, and a task writes it in
//! groups. What a process that dies had not written is lost, as are those that come while too much waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{CaptureRow, Captures, Inner, NewCapture};
use crate::error::StoreError;

/// Bytes that wait at most.
const MOST: usize = 32 << 20;
/// Bytes in one transaction, about.
const GROUP: usize = 1 << 20;
/// Collected for this long.
const TOGETHER: Duration = Duration::from_millis(20);
/// Between two tries where the database does not take it.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Waiting {
    list: Mutex<List>,
    come: Notify,
    /// One at a time takes from the list and writes, so that who flushes waits for what is being written.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct List {
    captures: Vec<NewCapture>,
    bytes: usize,
}

impl Waiting {
    /// False where there is no room.
    pub fn add(&self, new: NewCapture) -> bool {
        {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            let size = new.content.size();
            if list.bytes + size > MOST {
                return false;
            }
            list.bytes += size;
            list.captures.push(new);
        }
        self.come.notify_one();
        true
    }

    /// About [`GROUP`] bytes, the oldest first.
    fn take(&self) -> Vec<NewCapture> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let count = list.captures.iter().take_while(|one| {
            let fits = bytes < GROUP;
            bytes += one.content.size();
            fits
        });
        let count = count.count();
        let taken: Vec<_> = list.captures.drain(..count).collect();
        list.bytes -= taken.iter().map(|one| one.content.size()).sum::<usize>();
        taken
    }

    /// What could not be written waits again, before all that came since.
    fn put_back(&self, taken: Vec<NewCapture>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.bytes += taken.iter().map(|one| one.content.size()).sum::<usize>();
        drop(list.captures.splice(0..0, taken));
    }
}

impl Captures {
    /// Writes what is kept, for as long as anybody else holds this.
    pub async fn run(self) {
        let mut said = false;
        loop {
            let come = self.inner.waiting.come.notified();
            if tokio::time::timeout(AGAIN, come).await.is_err() && Arc::strong_count(&self.inner) == 1 {
                return;
            }
            tokio::time::sleep(TOGETHER).await;
            while let Err(error) = self.flush().await {
                if !std::mem::replace(&mut said, true) {
                    tracing::error!(%error, "captured content cannot be written");
                }
                tokio::time::sleep(AGAIN).await;
                if Arc::strong_count(&self.inner) == 1 {
                    return;
                }
            }
            said = false;
        }
    }

    /// Writes what waits. What cannot be written waits on.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let waiting = &self.inner.waiting;
        let _alone = waiting.writing.lock().await;
        loop {
            let taken = waiting.take();
            if taken.is_empty() {
                return Ok(());
            }
            let written = match self.sealed(&taken).await {
                Ok(rows) => self.inner.backend.insert_captures(&rows).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                waiting.put_back(taken);
                return Err(error);
            }
        }
    }

    async fn sealed(&self, taken: &[NewCapture]) -> Result<Vec<CaptureRow>, StoreError> {
        let inner = Arc::clone(&self.inner);
        // The first time it may read a file or run a command.
        let unlocked = tokio::task::spawn_blocking(move || inner.keys.unlock()).await;
        unlocked.map_err(|_| StoreError::Key("could not be fetched"))??;
        let keys = &self.inner.keys;
        let master = keys.name()?;
        let row = |new: &NewCapture| -> Result<CaptureRow, StoreError> {
            let mut row = CaptureRow {
                id: new.id,
                organisation: new.organisation,
                expires_ms: new.expires_ms,
                master: master.clone(),
                content: Vec::new(),
            };
            row.content = keys.seal(&row, new.content.encode())?;
            Ok(row)
        };
        taken.iter().map(row).collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let lost = self.waiting.list.get_mut().unwrap_or_else(PoisonError::into_inner).captures.len();
        if lost > 0 {
            tracing::error!(requests = lost, "captured content was not written");
        }
    }
}
