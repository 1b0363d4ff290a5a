//! The set of plugins that serves, and the transactions that change it.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Publish;
use super::loader::{Change, Loader, Look};
use super::slot::Slot;
use super::source;
use super::status::{PluginProblem, PluginState, Shared};
use crate::engine::Runtime;
use crate::error::LoadError;
use crate::plugin::{Plugin, Withdraw};
use crate::settings::PluginSettings;

/// When a file that is being written is looked at again.
const UNSETTLED: Duration = Duration::from_millis(100);

pub(super) struct Set {
    loader: Loader,
    directory: PathBuf,
    settings: HashMap<String, PluginSettings>,
    publish: Publish,
    shared: Arc<Shared>,
    slots: BTreeMap<String, Slot>,
    published: bool,
    unreadable: bool,
}

impl Set {
    pub fn new(
        runtime: Arc<Runtime>,
        directory: PathBuf,
        settings: HashMap<String, PluginSettings>,
        publish: Publish,
        withdraw: Withdraw,
        shared: Arc<Shared>,
    ) -> Set {
        Set {
            loader: Loader::new(runtime, withdraw),
            directory,
            settings,
            publish,
            shared,
            slots: BTreeMap::new(),
            published: false,
            unreadable: false,
        }
    }

    /// Reads the directory and commits what changed. Answers when something unfinished should be looked at again.
    pub fn scan(&mut self) -> Option<Duration> {
        let files = match source::list(&self.directory) {
            Ok(files) => files,
            Err(error) => {
                // A volume that is away for a moment does not take its plugins with it.
                if !std::mem::replace(&mut self.unreadable, true) {
                    tracing::error!(path = %self.directory.display(), %error, "plugin directory unreadable, nothing changes");
                }
                return None;
            }
        };
        self.unreadable = false;
        let mut changes: Vec<(String, Change)> = Vec::new();
        let mut wait = None;
        for name in self.slots.keys() {
            if files.binary_search_by(|(file, _)| file.cmp(name)).is_err() {
                changes.push((name.clone(), Change::Remove));
            }
        }
        for (name, path) in files {
            let slot = self.slots.entry(name.clone()).or_insert_with(|| Slot::new(name.clone(), path.clone()));
            let settings = self.settings.get(&name).cloned().unwrap_or_default();
            match self.loader.look(slot, &path, &settings) {
                Look::Unchanged => {}
                Look::Unsettled => wait = Some(UNSETTLED),
                Look::Changed(change) => changes.push((name, change)),
            }
        }
        if !changes.is_empty() && self.commit(changes) {
            if self.retry_conflicts() {
                wait = Some(Duration::ZERO);
            }
            let serving = |hash: &str| self.slots.values().any(|slot| slot.holds(hash));
            self.loader.prune(serving);
        }
        let now = Instant::now();
        self.slots.values_mut().for_each(|slot| slot.settle(now));
        self.show();
        wait
    }

    /// The gateway hears of a set even if the directory is empty.
    pub fn ensure_published(&mut self) {
        if !self.published {
            // An empty set that is refused leaves the gateway with what it started from: none.
            if let Err(reason) = self.offer(&[]) {
                tracing::error!(reason, "the gateway refuses to run without plugins");
            }
        }
    }

    /// Changes all settings, or none.
    pub fn apply_settings(&mut self, settings: HashMap<String, PluginSettings>) -> Result<(), Vec<PluginProblem>> {
        let mut changes = Vec::new();
        let mut problems = Vec::new();
        for (name, slot) in &mut self.slots {
            let wanted = settings.get(name).cloned().unwrap_or_default();
            match self.loader.under(slot, wanted) {
                Ok(Some(change)) => changes.push((name.clone(), change)),
                Ok(None) => {}
                Err(error) => problems.push(PluginProblem { plugin: name.clone(), reason: error.to_string() }),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if !changes.is_empty() {
            let every: Vec<_> = changes.iter().collect();
            self.offer(&every).map_err(|reason| vec![PluginProblem { plugin: String::new(), reason }])?;
            for (name, change) in changes {
                match (change, self.slots.get_mut(&name)) {
                    (Change::Put(plugin), Some(slot)) => slot.reconfigure(plugin),
                    (change, _) => self.settle(&name, change),
                }
            }
            self.retry_conflicts();
        }
        self.settings = settings;
        for slot in self.slots.values_mut() {
            let wanted = self.settings.get(&slot.name).cloned().unwrap_or_default();
            if let Some(previous) = &slot.previous
                && *previous.settings() != wanted
                && let Ok(previous) = previous.under(wanted, false, Some(self.loader.withdraw.clone()))
            {
                slot.previous = Some(Arc::new(previous));
            }
            let out = matches!(slot.state, PluginState::Quarantined { .. }) && slot.current.is_none();
            if out || matches!(slot.state, PluginState::Rejected { .. }) {
                // The old settings may have been why.
                slot.seen = None;
            }
        }
        self.show();
        Ok(())
    }

    /// Brings the version before back.
    pub fn withdraw(&mut self, name: &str, hash: &str) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let Some(bad) = slot.current.clone().filter(|plugin| plugin.hash() == hash && plugin.health() == "withdrawn")
        else {
            return;
        };
        self.loader.quarantine(&bad, slot.previous.as_deref());
        let reason = match slot.previous.clone() {
            Some(previous) => {
                let version = previous.version().to_owned();
                match self.offer(&[&(name.to_owned(), Change::Put(previous.clone()))]) {
                    Ok(()) => {
                        let Some(slot) = self.slots.get_mut(name) else { return };
                        slot.current = Some(previous);
                        slot.previous = None;
                        format!("{} failed in service for several keys; {version} is back", bad.version())
                    }
                    Err(why) => format!("{} failed in service and {version} is refused: {why}", bad.version()),
                }
            }
            None => format!("{} failed in service for several keys", bad.version()),
        };
        if let Some(slot) = self.slots.get_mut(name) {
            slot.enter(PluginState::Quarantined { reason });
        }
        self.show();
    }

    /// Drops instances nobody used for a while.
    pub fn trim(&self, idle: Duration) {
        let Some(then) = Instant::now().checked_sub(idle) else { return };
        for slot in self.slots.values() {
            for plugin in slot.current.iter().chain(&slot.previous) {
                plugin.trim(then);
            }
        }
    }

    /// Commits changes together, or where that fails each by itself; true if the set is another one now.
    fn commit(&mut self, changes: Vec<(String, Change)>) -> bool {
        let every: Vec<_> = changes.iter().collect();
        let outcome = self.offer(&every);
        match outcome {
            Ok(()) => {
                for (name, change) in changes {
                    self.settle(&name, change);
                }
                true
            }
            Err(reason) if changes.len() == 1 => {
                for (name, change) in changes {
                    self.refuse(&name, &change, &reason);
                }
                false
            }
            Err(_) => {
                let mut changed = false;
                let mut changes = changes;
                // What goes makes room for what comes.
                changes.sort_by_key(|(name, change)| match change.plugin() {
                    None => (0, 0, name.clone()),
                    Some(plugin) => (1, plugin.settings().order, name.clone()),
                });
                for change in changes {
                    changed |= self.commit(vec![change]);
                }
                changed
            }
        }
    }

    fn settle(&mut self, name: &str, change: Change) {
        match change {
            Change::Remove => {
                if self.slots.remove(name).is_some_and(|slot| slot.current.is_some()) {
                    tracing::info!(plugin = name, "plugin removed");
                }
            }
            Change::Disable => {
                if let Some(slot) = self.slots.get_mut(name) {
                    (slot.current, slot.previous, slot.seen) = (None, None, None);
                    slot.enter(PluginState::Disabled);
                }
            }
            Change::Put(plugin) => {
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.replace(plugin);
                }
            }
            Change::Restore { plugin, reason } => {
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.restore(plugin, reason);
                }
            }
        }
    }

    fn refuse(&mut self, name: &str, change: &Change, reason: &str) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let reason = match change.plugin() {
            Some(_) => LoadError::Conflict(reason.to_owned()).to_string(),
            None => format!("the other plugins need it: {reason}"),
        };
        slot.conflicts = change.plugin().is_some();
        slot.enter(PluginState::Rejected { reason });
    }

    /// The set has changed: what conflicted with it may fit now.
    fn retry_conflicts(&mut self) -> bool {
        let mut any = false;
        for slot in self.slots.values_mut().filter(|slot| slot.conflicts) {
            (slot.conflicts, slot.seen, any) = (false, None, true);
        }
        any
    }

    /// Publishes the set as it would be after the changes.
    fn offer(&mut self, changes: &[&(String, Change)]) -> Result<(), String> {
        let mut plugins: BTreeMap<&str, &Arc<Plugin>> =
            self.slots.values().filter_map(|slot| Some((slot.name.as_str(), slot.current.as_ref()?))).collect();
        for (name, change) in changes {
            match change.plugin() {
                Some(plugin) => plugins.insert(name, plugin),
                None => plugins.remove(name.as_str()),
            };
        }
        let mut plugins: Vec<Arc<Plugin>> = plugins.into_values().cloned().collect();
        plugins.sort_by(|a, b| (a.settings().order, a.name()).cmp(&(b.settings().order, b.name())));
        let unchanged = {
            let old = self.shared.plugins();
            old.len() == plugins.len() && old.iter().zip(&plugins).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        if self.published && unchanged {
            return Ok(());
        }
        catch_unwind(AssertUnwindSafe(|| (self.publish)(&plugins)))
            .unwrap_or_else(|_| Err("publishing it panicked".to_owned()))?;
        self.published = true;
        self.shared.published(plugins);
        Ok(())
    }

    fn show(&self) {
        self.shared.show(self.slots.values().map(Slot::row).collect());
    }
}
