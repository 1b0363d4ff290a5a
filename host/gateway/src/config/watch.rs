//! Notices that the operator's file changed, also where it is a link that was turned to another file.
//!
//! It looks once a second, for one `stat`. A notification service would have to watch the folder (editors replace files), and the
//! folder often holds the database too, whose every write would then wake a thread.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::time::{Interval, MissedTickBehavior, interval};

const LOOK: Duration = Duration::from_secs(1);
/// Editors write a file in several steps; what counts is the last.
const SETTLE: Duration = Duration::from_millis(100);

/// The changes of one file.
pub struct Changes {
    path: PathBuf,
    looks: Interval,
    stamp: Option<(SystemTime, u64)>,
    digest: Option<[u8; 32]>,
}

/// Begins to watch.
pub fn changes(path: PathBuf) -> Changes {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (stamp, digest) = (stamp(&path), digest(&path));
    Changes { path, looks, stamp, digest }
}

impl Changes {
    /// Returns when the file holds something else than before. A file that is gone or cannot be read is no change.
    pub async fn next(&mut self) {
        loop {
            self.looks.tick().await;
            let now = stamp(&self.path);
            if now == self.stamp || now.is_none() {
                continue;
            }
            tokio::time::sleep(SETTLE).await;
            self.stamp = stamp(&self.path);
            let digest = digest(&self.path);
            if digest.is_some() && digest != self.digest {
                self.digest = digest;
                return;
            }
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn digest(path: &Path) -> Option<[u8; 32]> {
    Some(Sha256::digest(std::fs::read(path).ok()?).into())
}
