//! Notices changes in the directory. Where the system offers no notices, or none came, the periodic rescan finds them.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::Message;

pub(super) struct Watch {
    directory: PathBuf,
    messages: Sender<Message>,
    /// The directory that is watched, links resolved: what a link points to may change.
    watched: Option<(PathBuf, RecommendedWatcher)>,
    complained: bool,
}

impl Watch {
    pub fn new(directory: PathBuf, messages: Sender<Message>) -> Watch {
        Watch { directory, messages, watched: None, complained: false }
    }

    /// Sees to it that the right directory is watched.
    pub fn renew(&mut self) {
        let Ok(resolved) = self.directory.canonicalize() else { return };
        if self.watched.as_ref().is_some_and(|(watched, _)| *watched == resolved) {
            return;
        }
        match self.watcher(&resolved) {
            Ok(watcher) => {
                self.watched = Some((resolved, watcher));
                self.complained = false;
            }
            Err(error) => {
                self.watched = None;
                if !self.complained {
                    tracing::warn!(path = %resolved.display(), %error, "plugin directory not watched, only rescanned");
                    self.complained = true;
                }
            }
        }
    }

    fn watcher(&self, resolved: &Path) -> notify::Result<RecommendedWatcher> {
        let messages = self.messages.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let noticed = match event {
                Ok(event) => changes(event.kind) || event.need_rescan(),
                // Notices were lost; what changed is found by looking.
                Err(_) => true,
            };
            if noticed {
                let _ = messages.send(Message::Noticed);
            }
        })?;
        watcher.watch(resolved, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Reading a file is no change; our own reading would wake us for ever.
fn changes(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
