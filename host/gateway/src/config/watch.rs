//! Notices that the operator's file changed, also where it is a link that was turned to another file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// Editors write a file in several steps; what counts is the last.
const SETTLE: Duration = Duration::from_millis(150);
/// Network volumes send no notice.
const LOOK: Duration = Duration::from_secs(5);

/// The changes of one file.
pub struct Changes {
    path: PathBuf,
    noticed: mpsc::Receiver<()>,
    seen: Option<[u8; 32]>,
    /// Watching ends with it. Absent where the system offers none: then the file is looked at every 5 s.
    _watcher: Option<notify::RecommendedWatcher>,
}

/// Begins to watch.
pub fn changes(path: PathBuf) -> Changes {
    let (notice, noticed) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |_| {
        // A notice that is already waiting says the same.
        let _ = notice.try_send(());
    });
    let mut watcher = watcher.ok();
    // The folder, since a file that is replaced is another file. Links are followed by the periodic look.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Some(watching) = &mut watcher
        && let Err(error) = watching.watch(folder, RecursiveMode::NonRecursive)
    {
        tracing::warn!(%error, "the configuration's folder cannot be watched; it is looked at every 5 s");
    }
    let seen = digest(&path);
    Changes { path, noticed, seen, _watcher: watcher }
}

impl Changes {
    /// Returns when the file holds something else than before. A file that is gone or cannot be read is no change.
    pub async fn next(&mut self) -> Option<()> {
        loop {
            tokio::select! {
                notice = self.noticed.recv() => {
                    if notice.is_none() {
                        tokio::time::sleep(LOOK).await;
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            tokio::time::sleep(SETTLE).await;
            let now = digest(&self.path);
            if now.is_some() && now != self.seen {
                self.seen = now;
                return Some(());
            }
        }
    }
}

fn digest(path: &Path) -> Option<[u8; 32]> {
    Some(Sha256::digest(std::fs::read(path).ok()?).into())
}
