//! From a file of the directory to what is to become of its name.

use std::path::Path;
use std::sync::Arc;

use super::kept::Kept;
use super::quarantine::{Instead, Quarantine, QuarantinedVersion};
use super::slot::{Seen, Slot};
use super::source::{self, Stamp};
use super::status::PluginState;
use crate::engine::Runtime;
use crate::error::LoadError;
use crate::load;
use crate::plugin::{Plugin, Withdraw};
use crate::settings::PluginSettings;

/// What is to become of one name.
pub(super) enum Change {
    Put(Arc<Plugin>),
    /// The file is quarantined, and this older version serves in its place.
    Restore {
        plugin: Arc<Plugin>,
        reason: String,
    },
    Disable,
    Remove,
}

impl Change {
    /// Which version serves after it.
    pub fn plugin(&self) -> Option<&Arc<Plugin>> {
        match self {
            Change::Put(plugin) | Change::Restore { plugin, .. } => Some(plugin),
            Change::Disable | Change::Remove => None,
        }
    }
}

/// What looking at one file gave.
pub(super) enum Look {
    Unchanged,
    Unsettled,
    Changed(Change),
}

pub(super) struct Loader {
    runtime: Arc<Runtime>,
    pub withdraw: Withdraw,
    quarantine: Quarantine,
    kept: Kept,
}

impl Loader {
    pub fn new(runtime: Arc<Runtime>, withdraw: Withdraw) -> Loader {
        let state_dir = runtime.options.state_dir.clone();
        let quarantine = Quarantine::new(state_dir.as_deref());
        let kept = Kept::new(state_dir.as_deref());
        Loader { runtime, withdraw, quarantine, kept }
    }

    /// Looks whether a file is another than the one that was read last, and loads it if so.
    pub fn look(&mut self, slot: &mut Slot, path: &Path, settings: &PluginSettings) -> Look {
        if !settings.enabled {
            return match slot.state {
                PluginState::Disabled => Look::Unchanged,
                _ => Look::Changed(Change::Disable),
            };
        }
        self.notice_release(slot);
        // A file that cannot be looked at is read for the error.
        if let (Some(seen), Ok(stamp)) = (&slot.seen, Stamp::of(path))
            && seen.stamp == stamp
            && !seen.again
        {
            return Look::Unchanged;
        }
        let (bytes, stamp) = match source::read(&self.runtime, path) {
            Ok(read) => read,
            Err(LoadError::Unsettled) => {
                slot.enter(PluginState::Pending);
                return Look::Unsettled;
            }
            Err(error) => {
                slot.seen = None;
                slot.enter(PluginState::Rejected { reason: error.to_string() });
                return Look::Unchanged;
            }
        };
        let hash = load::hash(&bytes);
        let known = slot.seen.as_ref().is_some_and(|seen| seen.hash == hash) && slot.state != PluginState::Pending;
        slot.seen = Some(Seen { again: stamp.is_fresh(), stamp, hash: hash.clone() });
        if known {
            return Look::Unchanged;
        }
        if slot.current.as_ref().is_some_and(|plugin| plugin.hash() == hash && plugin.settings() == settings) {
            slot.enter(PluginState::Loaded);
            return Look::Unchanged;
        }
        if let Some(bad) = self.quarantine.find(&hash) {
            return self.refuse(slot, bad, settings).map_or(Look::Unchanged, Look::Changed);
        }
        match self.load(slot, &bytes, settings) {
            Ok(plugin) => Look::Changed(Change::Put(plugin)),
            Err(error) => {
                if error.is_transient() {
                    // The next scan tries again, though the file is the same.
                    slot.seen = None;
                }
                slot.enter(PluginState::Rejected { reason: error.to_string() });
                Look::Unchanged
            }
        }
    }

    /// What new settings make of one plugin; nothing where they are what it has.
    pub fn under(&mut self, slot: &mut Slot, wanted: PluginSettings) -> Result<Option<Change>, LoadError> {
        if !wanted.enabled {
            return Ok((slot.state != PluginState::Disabled).then_some(Change::Disable));
        }
        if let Some(current) = &slot.current {
            if *current.settings() == wanted {
                return Ok(None);
            }
            let plugin = current.under(wanted, slot.previous.is_some(), Some(self.withdraw.clone()))?;
            plugin.rehearse()?;
            return Ok(Some(Change::Put(Arc::new(plugin))));
        }
        if slot.state == PluginState::Disabled {
            let (bytes, stamp) = source::read(&self.runtime, &slot.file)?;
            let hash = load::hash(&bytes);
            let change = match self.quarantine.find(&hash) {
                Some(bad) => self.refuse(slot, bad, &wanted),
                None => Some(Change::Put(self.load(slot, &bytes, &wanted)?)),
            };
            slot.seen = Some(Seen { again: stamp.is_fresh(), stamp, hash });
            return Ok(change);
        }
        Ok(None)
    }

    /// Keeps a version out from now on.
    pub fn quarantine(&mut self, bad: &Plugin, instead: Option<&Plugin>) {
        let bad = QuarantinedVersion::now(bad.name(), bad.version(), bad.hash(), instead.map(instead_of));
        self.quarantine.add(bad);
    }

    /// Removes copies that nobody goes back to. `serving` says which hashes are in service.
    pub fn prune(&self, serving: impl Fn(&str) -> bool) {
        let quarantined = self.quarantine.list().unwrap_or_default();
        let instead =
            |hash: &str| quarantined.iter().filter_map(|one| one.instead.as_ref()).any(|one| one.hash == hash);
        self.kept.prune(|hash| serving(hash) || instead(hash));
    }

    /// What serves where the file is quarantined: what serves already, else what did when the version was withdrawn.
    fn refuse(&mut self, slot: &mut Slot, mut bad: QuarantinedVersion, settings: &PluginSettings) -> Option<Change> {
        let name = if bad.version.is_empty() { "it" } else { &bad.version };
        let failed = format!("{name} failed in service for several keys");
        if let Some(current) = &slot.current {
            let serving = Some(instead_of(current));
            let reason = format!("{failed}; {} goes on", current.version());
            if bad.instead != serving {
                bad.instead = serving;
                self.quarantine.add(bad);
            }
            slot.enter(PluginState::Quarantined { reason });
            return None;
        }
        let Some(instead) = &bad.instead else {
            slot.enter(PluginState::Quarantined { reason: failed });
            return None;
        };
        let version = instead.version.clone();
        let restored = match self.kept.bytes(&instead.hash) {
            Some(bytes) => self.load(slot, &bytes, settings).map_err(|error| error.to_string()),
            None => Err("no copy of it was kept".to_owned()),
        };
        match restored {
            Ok(plugin) => Some(Change::Restore { plugin, reason: format!("{failed}; {version} is back") }),
            Err(why) => {
                slot.enter(PluginState::Quarantined { reason: format!("{failed}; {version} is not back: {why}") });
                None
            }
        }
    }

    /// An operator who lifted a quarantine wants the file looked at again.
    fn notice_release(&self, slot: &mut Slot) {
        if let (PluginState::Quarantined { .. }, Some(seen)) = (&slot.state, &slot.seen)
            && self.quarantine.find(&seen.hash).is_none()
        {
            tracing::info!(plugin = %slot.name, hash = %seen.hash, "quarantine lifted");
            slot.seen = None;
        }
    }

    fn load(&mut self, slot: &Slot, bytes: &[u8], settings: &PluginSettings) -> Result<Arc<Plugin>, LoadError> {
        let replaces = slot.current.is_some();
        let loaded = load::load(&self.runtime, &slot.name, bytes, settings, replaces, Some(self.withdraw.clone()))?;
        self.kept.keep(loaded.plugin.hash(), bytes);
        Ok(Arc::new(loaded.plugin))
    }
}

fn instead_of(plugin: &Plugin) -> Instead {
    Instead { version: plugin.version().to_owned(), hash: plugin.hash().to_owned() }
}
