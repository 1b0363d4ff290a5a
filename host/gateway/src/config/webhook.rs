//! A server that is told of things, as several sections name one.

use serde::Deserialize;

use super::provider::check_url;
use super::{ConfigError, Environment, Secret};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where messages are posted: https, or http on this machine.
    pub url: String,
    /// What messages are signed with, as a reference to the environment: `whsec_…` as Standard Webhooks writes secrets, or any text.
    pub secret: Option<Secret>,
    /// The whole value of an `Authorization` header, as a reference to the environment, for receivers that want one.
    pub authorization: Option<Secret>,
}

impl WebhookConfig {
    /// With its secrets looked up. `place` is the section it stands in, for messages.
    ///
    /// # Errors
    /// When the URL cannot be used, or a variable is not set.
    pub fn resolved(mut self, place: &str, environment: &dyn Environment) -> Result<Self, ConfigError> {
        check_url(&format!("{place}.url"), &self.url, false)?;
        for (name, secret) in [("secret", &mut self.secret), ("authorization", &mut self.authorization)] {
            if let Some(secret) = secret {
                secret.resolve(&format!("{place}.{name}"), environment)?;
            }
        }
        Ok(self)
    }
}
