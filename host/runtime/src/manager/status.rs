//! What the operator sees of the directory.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::plugin::Plugin;

/// How a file fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum PluginState {
    /// It serves as it stands on disk.
    Loaded,
    /// The operator switched it off.
    Disabled,
    /// It is still being written.
    Pending,
    /// It does not load; the version before, if there is one, goes on.
    Rejected { reason: String },
    /// It failed in service; the version before goes on, until the file's content changes.
    Quarantined { reason: String },
}

/// The version that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunningVersion {
    pub version: String,
    /// SHA-256 of its file, in hex.
    pub hash: String,
    /// `probation`, `trusted`, `held` or `withdrawn`.
    pub health: &'static str,
}

/// One file of the plugin directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginStatus {
    /// The file's name without `.wasm`.
    pub name: String,
    pub file: PathBuf,
    #[serde(flatten)]
    pub state: PluginState,
    /// Since when it is so.
    pub since: SystemTime,
    /// Absent where no version serves.
    pub running: Option<RunningVersion>,
}

/// Why new settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginProblem {
    /// Empty where the set as a whole is at fault.
    pub plugin: String,
    pub reason: String,
}

/// One row, with the version whose health is asked when somebody looks.
pub(super) struct Row {
    pub name: String,
    pub file: PathBuf,
    pub state: PluginState,
    pub since: SystemTime,
    pub running: Option<Arc<Plugin>>,
}

/// What the manager's thread shows to others.
#[derive(Default)]
pub(super) struct Shared {
    rows: Mutex<Vec<Row>>,
    plugins: ArcSwap<Vec<Arc<Plugin>>>,
}

impl Shared {
    pub fn status(&self) -> Vec<PluginStatus> {
        let rows = self.rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        rows.iter()
            .map(|row| PluginStatus {
                name: row.name.clone(),
                file: row.file.clone(),
                state: row.state.clone(),
                since: row.since,
                running: row.running.as_ref().map(|plugin| RunningVersion {
                    version: plugin.version().to_owned(),
                    hash: plugin.hash().to_owned(),
                    health: plugin.health(),
                }),
            })
            .collect()
    }

    pub fn plugins(&self) -> Arc<Vec<Arc<Plugin>>> {
        self.plugins.load_full()
    }

    pub fn show(&self, rows: Vec<Row>) {
        let old = std::mem::replace(&mut *self.rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), rows);
        // Dropped outside the lock: a row may hold a plugin's last reference, and with it its instances.
        drop(old);
    }

    pub fn published(&self, plugins: Vec<Arc<Plugin>>) {
        self.plugins.store(Arc::new(plugins));
    }
}
