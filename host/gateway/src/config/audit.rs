//! `[audit]`

use std::path::{Path, PathBuf};

use portcullis_store::AuditKeySource;
use serde::Deserialize;

use super::{ConfigError, Environment, Secret, WebhookConfig};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// What checkpoints are signed with: a reference to the environment, `{ file = "…" }` or `{ command = ["…"] }`; 32 random bytes
    /// as they are, in hex or in base64. By default a file beside the store, which is made. Read at start only.
    pub key: Option<AuditKeyConfig>,
    /// The key before, while it hands over to a new one that is in no file. Read at start only.
    pub previous_key: Option<AuditKeyConfig>,
    /// How often how far the ledger goes is signed, where it went on; 0 for at the end only. Default 60. Read at start only.
    pub checkpoint_seconds: u64,
    /// Each checkpoint is appended here, a line of JSON each. Best on another machine's disk. Read at start only.
    pub anchor_file: Option<PathBuf>,
    /// Each checkpoint is posted here; of several that were not taken, the newest. Read at start only.
    pub anchor_webhook: Option<WebhookConfig>,
}

impl Default for AuditConfig {
    fn default() -> Self {
        AuditConfig { key: None, previous_key: None, checkpoint_seconds: 60, anchor_file: None, anchor_webhook: None }
    }
}

/// Where a signing key comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a reference to the environment, { file = \"…\" } or { command = [\"…\"] }")]
pub enum AuditKeyConfig {
    Given(Secret),
    File(AuditKeyFile),
    Command(AuditKeyCommand),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditKeyFile {
    file: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditKeyCommand {
    command: Vec<String>,
}

impl AuditKeyConfig {
    pub fn source(&self) -> AuditKeySource {
        match self {
            Self::Given(secret) => AuditKeySource::Given(secret.expose().to_owned()),
            Self::File(AuditKeyFile { file }) => AuditKeySource::File(file.clone()),
            Self::Command(AuditKeyCommand { command }) => AuditKeySource::Command(command.clone()),
        }
    }
}

impl AuditConfig {
    /// The key's source. `store` is the store's path, beside which it is made where nothing is configured.
    pub fn key(&self, store: &Path) -> AuditKeySource {
        self.key.as_ref().map_or_else(
            || {
                let mut path = store.as_os_str().to_owned();
                path.push(".audit.key");
                AuditKeySource::File(path.into())
            },
            AuditKeyConfig::source,
        )
    }

    pub(super) fn resolve(&mut self, environment: &dyn Environment) -> Result<(), ConfigError> {
        for (name, key) in [("key", &mut self.key), ("previous_key", &mut self.previous_key)] {
            if let Some(AuditKeyConfig::Given(secret)) = key {
                secret.resolve(&format!("audit.{name}"), environment)?;
            }
        }
        self.anchor_webhook = match self.anchor_webhook.take() {
            Some(webhook) => Some(webhook.resolved("audit.anchor_webhook", environment)?),
            None => None,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Config;
    use super::*;

    fn audit(text: &str) -> Result<AuditConfig, ConfigError> {
        let environment = HashMap::from([("KEY", "s3cret")]);
        Config::parse(&format!("[audit]\n{text}\n"), "t")?.finish(&environment).map(|config| config.audit)
    }

    #[test]
    fn a_key_comes_from_the_environment_a_file_or_a_command() {
        let source = |text: &str| audit(text).map(|audit| audit.key(Path::new("/x/p.db")));
        assert_eq!(source("").unwrap(), AuditKeySource::File("/x/p.db.audit.key".into()));
        assert_eq!(source("key = { file = \"/k\" }").unwrap(), AuditKeySource::File("/k".into()));
        assert_eq!(
            source("key = { command = [\"a\", \"b\"] }").unwrap(),
            AuditKeySource::Command(vec!["a".into(), "b".into()])
        );
        assert_eq!(source("key = \"${KEY}\"").unwrap(), AuditKeySource::Given("s3cret".into()));
        assert!(source("key = \"${ABSENT}\"").unwrap_err().to_string().contains("audit.key"));
        assert!(source("key = { files = \"/k\" }").unwrap_err().to_string().contains("{ file"));
        assert!(!format!("{:?}", audit("key = \"${KEY}\"").unwrap()).contains("s3cret"));
    }
}
