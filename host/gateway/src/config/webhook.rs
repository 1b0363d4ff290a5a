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
        // Taken for a text it would sign what no receiver can verify.
        if self.secret.as_ref().is_some_and(|secret| crate::webhook::secret_bytes(secret.expose()).is_none()) {
            return Err(ConfigError::invalid(
                format!("{place}.secret"),
                "begins with `whsec_`, and what follows is not base64",
            ));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_coded_secret_that_is_none_is_an_error_that_does_not_show_it() {
        let resolved = |secret: &str| {
            let config: WebhookConfig =
                toml::from_str("url = \"https://hooks.example/in\"\nsecret = \"${S}\"").unwrap();
            config.resolved("alerts.webhook", &HashMap::from([("S", secret)]))
        };
        for good in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "any text", "whsek_%%%"] {
            assert!(resolved(good).is_ok(), "{good}");
        }
        for bad in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "whsec_MfKQ%r8G", "whsec_"] {
            let error = resolved(bad).unwrap_err().to_string();
            assert!(error.contains("alerts.webhook.secret") && !error.contains("MfKQ"), "{error}");
        }
    }
}
