//! What every plugin is, whatever its roles.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::manifest::Manifest;

/// A plugin: what it says of itself and how it takes the operator's configuration.
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The operator's configuration, from the `config` table of the plugin's section. Use
    /// `#[serde(deny_unknown_fields, default)]`: a misspelt key should not load.
    type Config: DeserializeOwned;

    /// The same answer every time.
    fn manifest() -> Manifest;

    /// Builds the plugin. An error is a sentence for the operator; the plugin then does not load.
    fn configure(config: Self::Config) -> Result<Self, String>;
}

/// For plugins that take no configuration: any key is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

pub(crate) fn configured<P: Plugin>(configuration: &str) -> Result<P, String> {
    let config = serde_json::from_str(configuration).map_err(|error| format!("configuration: {error}"))?;
    P::configure(config)
}
