//! `[providers.NAME]`: a connection, which is a provider plugin with an address and a credential.

use serde::{Deserialize, Deserializer};

use super::{ConfigError, Environment, Secret};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The provider plugin that speaks for it: the name of a file in the plugins folder.
    pub plugin: String,
    /// Where requests go: `https://api.openai.com/v1`. Only the operator says where a secret is sent, never a plugin.
    pub base_url: String,
    /// The credential, as a reference to the environment: `"${OPENAI_API_KEY}"`. Absent for servers that want none.
    pub api_key: Option<Secret>,
    /// How the credential is sent: `bearer` (default) or `header:NAME`.
    #[serde(default)]
    pub auth: AuthScheme,
    /// Models this connection offers besides the plugin's catalogue; `"*"` for any name asked for as `NAME/model`.
    #[serde(default)]
    pub models: Vec<String>,
    /// Only these models of the catalogue; empty, the default, for all.
    #[serde(default)]
    pub only: Vec<String>,
    /// The region its servers stand in, for policies.
    pub region: Option<String>,
    /// Permits plain `http://` to an address that is not loopback. Default false.
    #[serde(default)]
    pub allow_http: bool,
    /// Whether streams are asked to report usage where the protocol has a flag for it. Default true; false for
    /// compatible servers that refuse the flag.
    #[serde(default = "yes")]
    pub stream_usage: bool,
}

fn yes() -> bool {
    true
}

/// How a credential is sent. The header's name and value are the host's, never a plugin's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AuthScheme {
    /// `Authorization: Bearer KEY`
    #[default]
    Bearer,
    /// `NAME: KEY`
    Header(http::HeaderName),
}

impl<'de> Deserialize<'de> for AuthScheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix("header:") {
            _ if text == "bearer" => Ok(AuthScheme::Bearer),
            Some(name) => name.parse().map(AuthScheme::Header).map_err(serde::de::Error::custom),
            None => Err(serde::de::Error::custom(format!("auth is `bearer` or `header:NAME`, not `{text}`"))),
        }
    }
}

impl ProviderConfig {
    pub(super) fn resolve(&mut self, name: &str, environment: &dyn Environment) -> Result<(), ConfigError> {
        let place = |key: &str| format!("providers.{name}.{key}");
        if name.is_empty() || name.contains('/') {
            return Err(ConfigError::invalid(place(""), "a connection's name is not empty and holds no `/`"));
        }
        if let Some(key) = &mut self.api_key {
            key.resolve(&place("api_key"), environment)?;
        }
        let uri: http::Uri = self
            .base_url
            .parse()
            .map_err(|error| ConfigError::invalid(place("base_url"), format!("is not a URL: {error}")))?;
        let host = uri.host().ok_or_else(|| ConfigError::invalid(place("base_url"), "names no host"))?;
        if uri.query().is_some() {
            return Err(ConfigError::invalid(place("base_url"), "has a query"));
        }
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.allow_http || is_loopback(host) => Ok(()),
            Some("http") => Err(ConfigError::invalid(
                place("base_url"),
                "would send the credential unencrypted; use https, or say allow_http = true",
            )),
            _ => Err(ConfigError::invalid(place("base_url"), "is neither http nor https")),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
