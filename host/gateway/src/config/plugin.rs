//! `[plugins]` and `[plugin.NAME]`

use std::path::PathBuf;
use std::time::Duration;

use portcullis_runtime::{FailureMode, Isolation, PluginSettings};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// The folder of plugins, watched: `NAME.wasm` each. Default `plugins`. Read at start only.
    pub directory: PathBuf,
    /// Where compiled code is kept, by content hash. Default `.portcullis/cache`. Read at start only.
    pub cache: PathBuf,
    /// Where it is kept which versions failed in service, and copies of what they replaced. No cache: without it they serve again
    /// after a restart. Default `.portcullis/plugins`. Read at start only.
    pub state: PathBuf,
    /// Seconds between looks at the folder for volumes that send no notice of change. Default 5. Read at start only.
    pub rescan_seconds: u64,
    /// Instances at once over all plugins. Default 256: calls are synchronous, so a few per worker thread and plugin do, and
    /// tenants' warm ones on top. Read at start only.
    pub instances: u32,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        PluginsConfig {
            directory: PathBuf::from("plugins"),
            cache: PathBuf::from(".portcullis/cache"),
            state: PathBuf::from(".portcullis/plugins"),
            rescan_seconds: 5,
            instances: 256,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginConfig {
    /// False keeps the file in place and the plugin out of service. Default true.
    pub enabled: bool,
    /// Plugins of one role run from the lowest order to the highest, then by name. Default 0. Of routers the first decides.
    pub order: i32,
    /// `fresh` (default): an instance serves one request; `tenant`: it stays warm for one organisation; `shared`: warm for all,
    /// only for plugins without access to content.
    pub isolation: IsolationConfig,
    /// What a failure of a guard or policy means: `closed` (default) refuses the request, `open` goes on without it.
    pub failure: FailureConfig,
    /// Milliseconds of its own time a call may take. Default 50.
    pub deadline_ms: u64,
    /// Milliseconds of wall time a call may take. Default 1,000.
    pub wall_deadline_ms: u64,
    /// Largest memory of an instance, MiB. Default 32.
    pub memory_mb: u32,
    /// Narrows what the plugin asked for.
    pub access: AccessConfig,
    /// The requests it sees. Empty lists mean all.
    pub scope: ScopeConfig,
    /// The plugin's own configuration.
    pub config: toml::Table,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IsolationConfig {
    Fresh,
    Tenant,
    Shared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureConfig {
    Closed,
    Open,
}

/// `[plugin.NAME.access]`: a `false` takes away what the plugin asked for; nothing here can give more.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    pub content_read: Option<bool>,
    pub content_write: Option<bool>,
}

/// `[plugin.NAME.scope]`: policies and guards run for requests that match every list that is not empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScopeConfig {
    pub organisations: Vec<String>,
    pub teams: Vec<String>,
    /// `production`, `development`.
    pub environments: Vec<String>,
    /// Key ids.
    pub keys: Vec<String>,
    /// Models as the client names them; a trailing `*` matches any rest.
    pub models: Vec<String>,
}

impl Default for PluginConfig {
    fn default() -> Self {
        PluginConfig {
            enabled: true,
            order: 0,
            isolation: IsolationConfig::Fresh,
            failure: FailureConfig::Closed,
            deadline_ms: 50,
            wall_deadline_ms: 1_000,
            memory_mb: 32,
            access: AccessConfig::default(),
            scope: ScopeConfig::default(),
            config: toml::Table::new(),
        }
    }
}

impl PluginConfig {
    /// As the runtime takes it.
    pub fn settings(&self) -> PluginSettings {
        PluginSettings {
            enabled: self.enabled,
            order: self.order,
            isolation: match self.isolation {
                IsolationConfig::Fresh => Isolation::Fresh,
                IsolationConfig::Tenant => Isolation::Tenant,
                IsolationConfig::Shared => Isolation::Shared,
            },
            failure: match self.failure {
                FailureConfig::Closed => FailureMode::Closed,
                FailureConfig::Open => FailureMode::Open,
            },
            deadline: Duration::from_millis(self.deadline_ms),
            wall_deadline: Duration::from_millis(self.wall_deadline_ms),
            memory_bytes: (self.memory_mb as usize) << 20,
            content_read: self.access.content_read,
            content_write: self.access.content_write,
            configuration: serde_json::to_value(&self.config).unwrap_or_default(),
        }
    }
}

impl ScopeConfig {
    /// Whether it asks for no caller in particular.
    pub fn is_everybody(&self) -> bool {
        self.organisations.is_empty() && self.teams.is_empty() && self.environments.is_empty() && self.keys.is_empty()
    }

    /// Whether a request of this caller for this model is within the scope.
    pub fn covers(&self, organisation: &str, team: Option<&str>, environment: &str, key: &str, model: &str) -> bool {
        let named = |list: &[String], value: &str| list.is_empty() || list.iter().any(|item| item == value);
        named(&self.organisations, organisation)
            && (self.teams.is_empty() || team.is_some_and(|team| named(&self.teams, team)))
            && named(&self.environments, environment)
            && named(&self.keys, key)
            && (self.models.is_empty() || self.models.iter().any(|pattern| matches(pattern, model)))
    }
}

fn matches(pattern: &str, model: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => model.starts_with(prefix),
        None => pattern == model,
    }
}
