//! `[conversations]`

use portcullis_store::MasterKey;
use serde::Deserialize;

use super::{ConfigError, Secret};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConversationsConfig {
    /// Whether turns are kept, so that requests can go on from an answer by its name (`previous_response_id`). Default false:
    /// what was said is stored nowhere.
    pub enabled: bool,
    /// Only these organisations' turns, by id; empty, the default, for all.
    pub organisations: Vec<String>,
    /// Seconds that a turn lives after the newest that goes on from it. Default 2,592,000: 30 days, as at OpenAI.
    pub ttl_seconds: u64,
    /// What turns are encrypted with: 32 random bytes in hex or base64, as a reference to the environment. Where there is none, a
    /// key is made in a file beside the database. Read at start only.
    pub key: Option<Secret>,
}

impl Default for ConversationsConfig {
    fn default() -> Self {
        ConversationsConfig { enabled: false, organisations: Vec::new(), ttl_seconds: 30 * 24 * 60 * 60, key: None }
    }
}

impl ConversationsConfig {
    /// Whether an organisation's turns are kept.
    pub fn keeps(&self, organisation: &str) -> bool {
        self.enabled && (self.organisations.is_empty() || self.organisations.iter().any(|known| known == organisation))
    }

    /// Once the key was resolved.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.key.as_ref().is_some_and(|key| key.expose().len() < MasterKey::LEAST) {
            return Err(ConfigError::invalid("conversations.key", "has less than 32 characters"));
        }
        if self.ttl_seconds == 0 {
            return Err(ConfigError::invalid("conversations.ttl_seconds", "is 0: say enabled = false to keep nothing"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Config;

    #[test]
    fn a_key_has_enough_of_it() {
        let checked = |key: &str, ttl: u64| {
            let text = format!("[conversations]\nkey = \"${{KEY}}\"\nttl_seconds = {ttl}\n");
            let config = Config::parse(&text, "t").unwrap().finish(&HashMap::from([("KEY", key)]));
            config.map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(checked("0123456789abcdef0123456789abcdef", 1), Ok(()));
        let error = checked("0123456789abcdef", 1).unwrap_err();
        assert!(error.contains("conversations.key") && !error.contains("0123"), "{error}");
        assert!(checked("0123456789abcdef0123456789abcdef", 0).unwrap_err().contains("ttl_seconds"));
    }
}
