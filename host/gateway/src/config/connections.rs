//! `[connections]`: what the connections in the database are sealed with, and where organisations' own may lead.

use portcullis_store::MasterKey;
use serde::Deserialize;

use super::{ConfigError, Secret};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsConfig {
    /// The master key that wraps the keys of credentials: 32 random bytes in hex or base64, as a reference to the environment. Where
    /// neither this nor one of the next two is there, a key is made in a file beside the database. Read at start only.
    pub key: Option<Secret>,
    /// A file of 32 random bytes; made where it is not there.
    pub key_file: Option<String>,
    /// A program that prints the key, as a key service's client does: `["aws", "kms", "decrypt", …]`. Run once, without a shell.
    pub key_command: Option<Vec<String>>,
    /// Keys that wrapped before, so that `portcullis connection rewrap` can open what they did.
    pub previous_keys: Vec<Secret>,
    /// Hosts that organisations' own connections may lead to: `api.openai.com`, `*.openai.azure.com`. Shared connections, which the
    /// operator makes, may lead anywhere.
    pub hosts: Vec<String>,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        const HOSTS: &[&str] = &[
            "api.openai.com",
            "api.anthropic.com",
            "generativelanguage.googleapis.com",
            "*.openai.azure.com",
            "*.amazonaws.com",
            "api.cohere.com",
            "api.deepseek.com",
            "api.groq.com",
            "api.cerebras.ai",
            "api.mistral.ai",
            "api.perplexity.ai",
            "api.together.xyz",
            "api.x.ai",
            "openrouter.ai",
        ];
        ConnectionsConfig {
            key: None,
            key_file: None,
            key_command: None,
            previous_keys: Vec::new(),
            hosts: HOSTS.iter().map(|&host| host.to_owned()).collect(),
        }
    }
}

impl ConnectionsConfig {
    /// Whether an organisation's own connection may lead to a host.
    pub fn allows_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|allowed| match allowed.strip_prefix("*.") {
            Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            None => host.eq_ignore_ascii_case(allowed),
        })
    }

    /// Once the keys were resolved.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let sources = [self.key.is_some(), self.key_file.is_some(), self.key_command.is_some()]
            .into_iter()
            .filter(|&given| given);
        if sources.count() > 1 {
            return Err(ConfigError::invalid("connections", "key, key_file and key_command: keep one of them"));
        }
        let keys = self.key.iter().map(|key| ("connections.key", key));
        let previous = self.previous_keys.iter().map(|key| ("connections.previous_keys", key));
        for (place, key) in keys.chain(previous) {
            if key.expose().len() < MasterKey::LEAST {
                return Err(ConfigError::invalid(place, "has less than 32 characters"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Config;
    use super::*;

    #[test]
    fn hosts_are_names_and_domains() {
        let config = ConnectionsConfig { hosts: vec!["a.example".into(), "*.b.example".into()], ..Default::default() };
        for host in ["a.example", "A.example", "x.b.example", "x.y.b.example"] {
            assert!(config.allows_host(host), "{host}");
        }
        for host in ["b.example", ".b.example", "xb.example", "xa.example", "a.example.evil", "127.0.0.1", ""] {
            assert!(!config.allows_host(host), "{host}");
        }
    }

    #[test]
    fn one_key_of_enough_characters() {
        let checked = |text: &str| {
            let environment = HashMap::from([("GOOD", "0123456789abcdef0123456789abcdef"), ("SHORT", "0123")]);
            let config = Config::parse(&format!("[connections]\n{text}"), "t").unwrap().finish(&environment);
            config.map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(checked("key = \"${GOOD}\"\nprevious_keys = [\"${GOOD}\"]"), Ok(()));
        assert!(checked("key = \"${SHORT}\"").unwrap_err().contains("connections.key"));
        assert!(checked("previous_keys = [\"${SHORT}\"]").unwrap_err().contains("previous_keys"));
        assert!(checked("key = \"${GOOD}\"\nkey_file = \"x\"").unwrap_err().contains("keep one"));
    }
}
