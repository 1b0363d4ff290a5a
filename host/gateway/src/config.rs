//! `portcullis.toml`: typed, every key documented where it is declared, an unknown key an error with a suggestion.
//!
//! With no file at all the defaults serve. The file is read again when it changes; a bad one changes nothing.

mod access;
mod admin;
mod alerts;
mod audit;
mod capture;
mod catalogue;
mod connections;
mod conversations;
mod credential;
mod error;
mod export;
mod limits;
mod media;
mod oidc;
mod plugin;
mod pricing;
mod provider;
mod rates;
mod records;
mod routing;
mod secret;
mod server;
mod siem;
mod store;
mod telemetry;
pub mod watch;
mod webhook;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

pub use access::AdmissionConfig;
pub use admin::AdminConfig;
pub use alerts::AlertsConfig;
pub use audit::{AuditConfig, AuditKeyConfig};
pub use capture::CaptureConfig;
pub use catalogue::{
    CatalogueConfig, CatalogueEntry, CatalogueFile, CataloguePrice, CatalogueQuality, CatalogueRates, CatalogueService,
    CatalogueTier, CatalogueUnit, overlaid,
};
pub use connections::ConnectionsConfig;
pub use conversations::ConversationsConfig;
pub use credential::{AwsConfig, AwsEnvironment, EntraConfig, GoogleConfig};
pub use error::ConfigError;
pub use export::{ExportConfig, ExportWhat, S3Config, UsageBy};
pub use limits::{GuardOverflow, LimitsConfig};
pub use media::{MediaConfig, MediaTypes};
pub use oidc::OidcConfig;
pub use plugin::{AccessConfig, FailureConfig, IsolationConfig, PluginConfig, PluginsConfig, ScopeConfig};
pub use pricing::{PriceConfig, PricingConfig, UnknownPrice};
pub(crate) use provider::check_url;
pub use provider::{AuthScheme, ProviderConfig, Settle};
pub use rates::{LimitConfig, TiersConfig};
pub use records::RecordsConfig;
pub use routing::{RoutingConfig, Unsupported};
pub use secret::{Environment, ProcessEnvironment, Secret};
pub use server::{ClientAddressHeader, ServerConfig};
pub use siem::SiemConfig;
pub use store::StoreConfig;
pub use telemetry::TelemetryConfig;
pub use webhook::WebhookConfig;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where and how the gateway listens.
    pub server: ServerConfig,
    /// Lock-outs and reminders.
    pub access: AdmissionConfig,
    /// The admin API, metrics and health in detail.
    pub admin: AdminConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// Sizes and times that bound a request.
    pub limits: LimitsConfig,
    /// The limits of keys by their tier: `[tiers.free]`.
    #[serde(deserialize_with = "TiersConfig::deserialize_over_defaults")]
    pub tiers: TiersConfig,
    /// Limits besides those of keys and tiers: `[[limit]]`.
    pub limit: Vec<LimitConfig>,
    /// The database.
    pub store: StoreConfig,
    /// How the ledger and the audit trail are signed.
    pub audit: AuditConfig,
    /// How long requests and receipts are kept.
    pub records: RecordsConfig,
    /// Where plugins are and how they are watched.
    pub plugins: PluginsConfig,
    /// How each plugin runs, by its name: `[plugin.pii]`. A plugin without a section runs with the defaults.
    pub plugin: BTreeMap<String, PluginConfig>,
    /// Connections to providers, by a name of the operator's choice: `[providers.openai]`.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Connections that the database keeps.
    pub connections: ConnectionsConfig,
    /// How `auto` and shared model names find their target.
    pub routing: RoutingConfig,
    /// Media that requests name by URL.
    pub media: MediaConfig,
    /// Turns that requests can go on from.
    pub conversations: ConversationsConfig,
    /// Prompts and answers, of organisations that want them kept.
    pub capture: CaptureConfig,
    /// What things cost where the plugins' catalogues do not say.
    pub pricing: PricingConfig,
    /// Who is told when budgets are nearly or wholly used up.
    pub alerts: AlertsConfig,
    /// Files that are written for each hour, day or month: `[[export]]`.
    pub export: Vec<ExportConfig>,
    /// Who is sent the audit trail as it grows: `[[siem]]`.
    pub siem: Vec<SiemConfig>,
    /// What the operator knows of models better than the plugins' catalogues.
    pub catalogue: CatalogueConfig,
}

/// What serves when there is no file: the two providers whose keys are in the environment.
const DEFAULT: &str = include_str!("config/default.toml");

impl Config {
    /// Reads a file; with `None`, the defaults.
    ///
    /// # Errors
    /// When the file or the catalogue it names cannot be read, is not TOML, has an unknown key or a value of the wrong type, or
    /// names an environment variable that is not set.
    pub fn load(path: Option<&Path>, environment: &dyn Environment) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            let mut config = Config::parse(DEFAULT, "defaults")?;
            config.providers.retain(|_, provider| provider.api_key.as_ref().is_some_and(|key| key.is_set(environment)));
            return config.finish(environment);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Config::parse(&text, &path.display().to_string())?.finish(environment)
    }

    /// Parses a file's text without resolving its environment references or reading the catalogue it names.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for the environment and the catalogue.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::from_toml(name, text, &error))
    }

    fn finish(mut self, environment: &dyn Environment) -> Result<Self, ConfigError> {
        for (name, provider) in &mut self.providers {
            provider.resolve(name, environment)?;
        }
        self.store.resolve(environment)?;
        self.audit.resolve(environment)?;
        for price in &self.pricing.price {
            price.check()?;
        }
        if let Some(key) = &mut self.conversations.key {
            key.resolve("conversations.key", environment)?;
        }
        rates::check(&self.limit)?;
        self.records.check()?;
        let keys = self.connections.key.iter_mut().map(|key| ("connections.key", key));
        let previous = self.connections.previous_keys.iter_mut().map(|key| ("connections.previous_keys", key));
        for (place, key) in keys.chain(previous) {
            key.resolve(place, environment)?;
        }
        self.connections.check()?;
        self.capture.resolve(environment)?;
        self.conversations.check()?;
        self.alerts.resolve(environment)?;
        export::resolve(&mut self.export, environment)?;
        siem::resolve(&mut self.siem, environment)?;
        self.media.check()?;
        self.access.check()?;
        self.admin.resolve(environment)?;
        self.telemetry.resolve(environment)?;
        self.catalogue.read()?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    impl Environment for HashMap<&str, &str> {
        fn get(&self, name: &str) -> Option<String> {
            HashMap::get(self, name).map(|value| (*value).to_owned())
        }
    }

    #[test]
    fn the_example_is_the_documentation_and_parses() {
        let text = include_str!("../../../portcullis.example.toml");
        let config = Config::parse(text, "example").unwrap();
        assert!(!config.providers.is_empty());
        assert!(!config.plugin.is_empty());
    }

    #[test]
    fn an_unknown_key_is_an_error_with_a_suggestion() {
        let error = Config::parse("[server]\nlistn = \"127.0.0.1:1\"\n", "portcullis.toml").unwrap_err().to_string();
        assert!(error.contains("portcullis.toml:2"), "{error}");
        assert!(error.contains("did you mean `listen`"), "{error}");
    }

    #[test]
    fn secrets_come_from_the_environment() {
        let text = "[providers.x]\nplugin = \"openai\"\nbase_url = \"https://x.example/v1\"\napi_key = \"${X_KEY}\"\n";
        let config = Config::parse(text, "t").unwrap().finish(&HashMap::from([("X_KEY", "s3cret")])).unwrap();
        let provider = &config.providers["x"];
        assert_eq!(provider.api_key.as_ref().unwrap().expose(), "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
        let error = Config::parse(text, "t").unwrap().finish(&HashMap::new()).unwrap_err().to_string();
        assert!(error.contains("X_KEY") && error.contains("providers.x.api_key"), "{error}");
    }

    #[test]
    fn with_no_file_only_providers_with_keys_are_there() {
        let config = Config::load(None, &HashMap::from([("ANTHROPIC_API_KEY", "k")])).unwrap();
        assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["anthropic"]);
    }
}
