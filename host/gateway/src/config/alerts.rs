//! `[alerts]`

use serde::Deserialize;

use super::{ConfigError, Environment, WebhookConfig};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsConfig {
    /// Who is told when a budget passes a threshold or refuses its first request in a window. None by default.
    pub webhook: Option<WebhookConfig>,
}

impl AlertsConfig {
    pub(super) fn resolve(&mut self, environment: &dyn Environment) -> Result<(), ConfigError> {
        self.webhook =
            self.webhook.take().map(|webhook| webhook.resolved("alerts.webhook", environment)).transpose()?;
        Ok(())
    }
}
