//! One file of the directory, and what serves in its name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::source::Stamp;
use super::status::{PluginState, Row};
use crate::plugin::Plugin;

/// What was read last.
pub(super) struct Seen {
    pub stamp: Stamp,
    /// Another change might have left the same stamp: read once more.
    pub again: bool,
    pub hash: String,
}

pub(super) struct Slot {
    pub name: String,
    pub file: PathBuf,
    pub seen: Option<Seen>,
    pub current: Option<Arc<Plugin>>,
    /// What to go back to while `current` is on probation.
    pub previous: Option<Arc<Plugin>>,
    pub state: PluginState,
    pub since: SystemTime,
    /// Rejected for the sake of other plugins: tried again when those change.
    pub conflicts: bool,
}

impl Slot {
    pub fn new(name: String, file: PathBuf) -> Slot {
        Slot {
            name,
            file,
            seen: None,
            current: None,
            previous: None,
            state: PluginState::Pending,
            since: SystemTime::now(),
            conflicts: false,
        }
    }

    /// Moves to a state and says so in the log, once.
    pub fn enter(&mut self, state: PluginState) {
        if self.state == state {
            return;
        }
        match &state {
            PluginState::Rejected { reason } => {
                tracing::error!(plugin = %self.name, reason, serving = self.serving(), "plugin file rejected");
            }
            PluginState::Quarantined { reason } => {
                let hash = self.seen.as_ref().map_or("", |seen| &seen.hash);
                tracing::error!(plugin = %self.name, hash, reason, serving = self.serving(), "plugin version quarantined");
            }
            PluginState::Disabled => tracing::info!(plugin = %self.name, "plugin disabled"),
            PluginState::Pending | PluginState::Loaded => {}
        }
        self.state = state;
        self.since = SystemTime::now();
    }

    fn serving(&self) -> &str {
        self.current.as_ref().map_or("nothing", |plugin| plugin.version())
    }

    /// A new version serves.
    pub fn replace(&mut self, plugin: Arc<Plugin>) {
        let now = Instant::now();
        tracing::info!(
            plugin = plugin.name(),
            version = plugin.version(),
            hash = plugin.hash(),
            replaces = self.serving(),
            "plugin loaded"
        );
        let old = self.current.replace(plugin.clone());
        self.previous = match old {
            // Of two unproven versions neither is what to go back to.
            Some(old) if old.health.on_probation(now) => self.previous.take().or(Some(old)),
            old => old,
        };
        if !plugin.health.on_probation(now) {
            self.previous = None;
        }
        self.conflicts = false;
        self.enter(PluginState::Loaded);
    }

    /// An older version serves in place of the file's, which is quarantined.
    pub fn restore(&mut self, plugin: Arc<Plugin>, reason: String) {
        (self.current, self.previous, self.conflicts) = (Some(plugin), None, false);
        self.enter(PluginState::Quarantined { reason });
    }

    /// Whether a version serves or may be gone back to.
    pub fn holds(&self, hash: &str) -> bool {
        self.current.iter().chain(&self.previous).any(|plugin| plugin.hash() == hash)
    }

    /// The same version serves under other settings; what stands on disk fares as before.
    pub fn reconfigure(&mut self, plugin: Arc<Plugin>) {
        tracing::info!(plugin = plugin.name(), version = plugin.version(), "plugin settings changed");
        self.current = Some(plugin);
        if self.state == PluginState::Disabled {
            self.enter(PluginState::Loaded);
        }
    }

    /// Forgets the version before once there is no way back to it.
    pub fn settle(&mut self, now: Instant) {
        if self.previous.is_some() && self.current.as_ref().is_none_or(|plugin| !plugin.health.on_probation(now)) {
            self.previous = None;
        }
    }

    pub fn row(&self) -> Row {
        Row {
            name: self.name.clone(),
            file: self.file.clone(),
            state: self.state.clone(),
            since: self.since,
            running: self.current.clone(),
        }
    }
}
