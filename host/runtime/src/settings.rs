//! What the operator says about one plugin.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::contract::manifest;

/// Whom an instance may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// One request: nothing a guest kept in memory is ever seen by another.
    #[default]
    Fresh,
    /// The requests of one organisation, until the instance is recycled.
    Tenant,
    /// Anybody's. Refused for plugins that see content.
    Shared,
}

/// What a failing guard or policy means for the request. Carried for the gateway, which acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureMode {
    /// The request fails.
    #[default]
    Closed,
    /// The request goes on without the plugin.
    Open,
}

/// What a plugin may see and change: its manifest's wish, narrowed by the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Access {
    /// Prompts and answers may be read.
    pub content_read: bool,
    /// Prompts and answers may be changed.
    pub content_write: bool,
}

/// The operator's settings of one plugin. Two plugins of the same file and equal settings are the same plugin: a reload
/// keeps it, with its warm instances.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginSettings {
    /// False keeps the file from loading.
    pub enabled: bool,
    /// Plugins of one role run in ascending order, then by name.
    pub order: i32,
    pub isolation: Isolation,
    pub failure: FailureMode,
    /// Processor time the guest may take for one call. Kept in ticks of 10 ms: a call ends at most two ticks later.
    pub deadline: Duration,
    /// Time on the clock one call may take, the processor's other work included. Keep it well above `deadline`: what only
    /// this stops fails the call and does not count against the plugin.
    pub wall_deadline: Duration,
    /// Bytes of linear memory an instance may have.
    pub memory_bytes: usize,
    /// Narrows the manifest's `content-read`; `Some(true)` grants nothing that the manifest does not ask for.
    pub content_read: Option<bool>,
    /// Narrows the manifest's `content-write`.
    pub content_write: Option<bool>,
    /// The plugin's own configuration: an object, or null for none.
    pub configuration: serde_json::Value,
}

impl Default for PluginSettings {
    fn default() -> Self {
        PluginSettings {
            enabled: true,
            order: 0,
            isolation: Isolation::default(),
            failure: FailureMode::default(),
            deadline: Duration::from_millis(50),
            wall_deadline: Duration::from_secs(1),
            memory_bytes: 32 << 20,
            content_read: None,
            content_write: None,
            configuration: serde_json::Value::Null,
        }
    }
}

impl PluginSettings {
    /// The manifest's access, narrowed.
    pub(crate) fn narrow(&self, asked: &manifest::Access) -> Access {
        Access {
            content_read: asked.content_read && self.content_read.unwrap_or(true),
            content_write: asked.content_write && self.content_write.unwrap_or(true),
        }
    }

    /// The configuration as the contract wants it.
    pub(crate) fn configuration_text(&self) -> String {
        match &self.configuration {
            serde_json::Value::Null => "{}".to_owned(),
            value => value.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_narrows_and_never_widens() {
        for (asked, said, granted) in [
            (true, None, true),
            (true, Some(true), true),
            (true, Some(false), false),
            (false, None, false),
            (false, Some(true), false),
            (false, Some(false), false),
        ] {
            let settings = PluginSettings { content_read: said, content_write: said, ..PluginSettings::default() };
            let access = settings.narrow(&manifest::Access { content_read: asked, content_write: asked });
            assert_eq!(access, Access { content_read: granted, content_write: granted }, "{asked} {said:?}");
        }
    }
}
