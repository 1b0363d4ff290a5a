//! `[providers.NAME]`: a connection, which is a provider plugin with an address and a credential.

use serde::{Deserialize, Deserializer};

use super::{AwsConfig, ConfigError, EntraConfig, Environment, GoogleConfig, Secret};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The provider plugin that speaks for it: the name of a file in the plugins folder.
    pub plugin: String,
    /// Where requests go: `https://api.openai.com/v1`. Only the operator says where a secret is sent, never a plugin.
    pub base_url: String,
    /// The credential, as a reference to the environment: `"${OPENAI_API_KEY}"`. Absent for servers that want none.
    pub api_key: Option<Secret>,
    /// How requests are authenticated: `bearer` (default), `header:NAME` or `query:NAME` with `api_key`; or `aws-sigv4`,
    /// `google-service-account` or `azure-entra`, whose credentials stand in the table of that cloud or are found.
    #[serde(default)]
    pub auth: AuthScheme,
    /// For `auth = "aws-sigv4"`.
    pub aws: Option<AwsConfig>,
    /// For `auth = "google-service-account"`.
    pub google: Option<GoogleConfig>,
    /// For `auth = "azure-entra"`.
    pub entra: Option<EntraConfig>,
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
    /// Opens what the account keeps to every key that may use this connection: files and batches, and what requests name (files,
    /// containers, vector stores, conversations, stored prompts). The provider knows one account and keeps nobody's apart.
    /// Default false.
    #[serde(default)]
    pub shared_objects: bool,
    /// Whether streams are asked to report usage where the protocol has a flag for it. Default true; false for
    /// compatible servers that refuse the flag.
    #[serde(default = "yes")]
    pub stream_usage: bool,
    /// What requests are settled by where the provider says itself what it charges: `computed` (default), by the gateway's prices, or
    /// `stated`, by the provider's word. The receipt shows both.
    #[serde(default)]
    pub settle: Settle,
}

/// By whose account a request is settled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Settle {
    #[default]
    Computed,
    Stated,
}

fn yes() -> bool {
    true
}

/// How requests are authenticated. What is sent, and where, is the host's business, never a plugin's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AuthScheme {
    /// `Authorization: Bearer KEY`
    #[default]
    Bearer,
    /// `NAME: KEY`
    Header(http::HeaderName),
    /// `?NAME=KEY`, for servers that take nothing else: URLs end up in logs, headers seldom do.
    Query(String),
    /// AWS Signature Version 4.
    AwsSigv4,
    /// A Google service account's access token.
    GoogleServiceAccount,
    /// A Microsoft Entra application's access token.
    AzureEntra,
}

impl<'de> Deserialize<'de> for AuthScheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (&*text, text.split_once(':')) {
            ("bearer", _) => Ok(AuthScheme::Bearer),
            ("aws-sigv4", _) => Ok(AuthScheme::AwsSigv4),
            ("google-service-account", _) => Ok(AuthScheme::GoogleServiceAccount),
            ("azure-entra", _) => Ok(AuthScheme::AzureEntra),
            (_, Some(("header", name))) => name.parse().map(AuthScheme::Header).map_err(serde::de::Error::custom),
            (_, Some(("query", name))) if !name.is_empty() => Ok(AuthScheme::Query(name.to_owned())),
            _ => Err(serde::de::Error::custom(format!(
                "auth is `bearer`, `header:NAME`, `query:NAME`, `aws-sigv4`, `google-service-account` or `azure-entra`, not `{text}`"
            ))),
        }
    }
}

impl ProviderConfig {
    /// Every secret of the connection with the key it stands under.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &Secret)> {
        let aws = self.aws.as_ref();
        let all = [
            ("api_key", self.api_key.as_ref()),
            ("aws.access_key_id", aws.and_then(|aws| aws.access_key_id.as_ref())),
            ("aws.secret_access_key", aws.and_then(|aws| aws.secret_access_key.as_ref())),
            ("aws.session_token", aws.and_then(|aws| aws.session_token.as_ref())),
            ("entra.client_secret", self.entra.as_ref().and_then(|entra| entra.client_secret.as_ref())),
        ];
        all.into_iter().filter_map(|(key, secret)| Some((key, secret?)))
    }

    pub(crate) fn resolve(&mut self, name: &str, environment: &dyn Environment) -> Result<(), ConfigError> {
        let place = |key: &str| format!("providers.{name}.{key}");
        if name.is_empty() || name.contains('/') {
            return Err(ConfigError::invalid(place(""), "a connection's name is not empty and holds no `/`"));
        }
        if let Some(key) = &mut self.api_key {
            key.resolve(&place("api_key"), environment)?;
        }
        let host = check_url(&place("base_url"), &self.base_url, self.allow_http)?;
        self.resolve_cloud(&place, &host, environment)
    }

    /// Fills in the table of the cloud whose scheme is used, and refuses what would go unused.
    fn resolve_cloud(
        &mut self,
        place: &dyn Fn(&str) -> String,
        host: &str,
        environment: &dyn Environment,
    ) -> Result<(), ConfigError> {
        let tables = [
            ("aws", self.aws.is_some(), AuthScheme::AwsSigv4),
            ("google", self.google.is_some(), AuthScheme::GoogleServiceAccount),
            ("entra", self.entra.is_some(), AuthScheme::AzureEntra),
        ];
        let in_use = tables.iter().any(|(_, _, scheme)| *scheme == self.auth);
        for (table, given, scheme) in &tables {
            if *given && *scheme != self.auth {
                return Err(ConfigError::invalid(place(table), "belongs to another `auth` than this connection's"));
            }
        }
        if in_use && self.api_key.is_some() {
            return Err(ConfigError::invalid(place("api_key"), "is not used with this `auth`"));
        }
        match self.auth {
            AuthScheme::AwsSigv4 => {
                let region = self.region.as_deref();
                self.aws.get_or_insert_default().resolve(place, host, region, environment)
            }
            AuthScheme::GoogleServiceAccount => {
                self.google.get_or_insert_default().resolve(environment);
                Ok(())
            }
            AuthScheme::AzureEntra => self.entra.get_or_insert_default().resolve(place, environment),
            AuthScheme::Bearer | AuthScheme::Header(_) | AuthScheme::Query(_) => Ok(()),
        }
    }
}

/// Checks where a credential is sent; returns the host.
pub(crate) fn check_url(place: &str, url: &str, allow_http: bool) -> Result<String, ConfigError> {
    let invalid = |why: &str| ConfigError::invalid(place, why);
    let uri: http::Uri = url.parse().map_err(|error| invalid(&format!("is not a URL: {error}")))?;
    let host = uri.host().ok_or_else(|| invalid("names no host"))?;
    if uri.query().is_some() {
        return Err(invalid("has a query"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(host.to_owned()),
        Some("http") if allow_http || is_loopback(host) => Ok(host.to_owned()),
        Some("http") => Err(invalid("would send the credential unencrypted; use https, or say allow_http = true")),
        _ => Err(invalid("is neither http nor https")),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn resolved(text: &str) -> Result<ProviderConfig, String> {
        let text = format!("plugin = \"p\"\nbase_url = \"https://bedrock-runtime.us-east-1.amazonaws.com\"\n{text}");
        let mut config: ProviderConfig = toml::from_str(&text).map_err(|error| error.to_string())?;
        config.resolve("b", &HashMap::<&str, &str>::new()).map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn every_scheme_has_its_word() {
        for (word, scheme) in [
            ("bearer", AuthScheme::Bearer),
            ("header:api-key", AuthScheme::Header(http::HeaderName::from_static("api-key"))),
            ("query:key", AuthScheme::Query("key".to_owned())),
            ("aws-sigv4", AuthScheme::AwsSigv4),
            ("google-service-account", AuthScheme::GoogleServiceAccount),
        ] {
            assert_eq!(resolved(&format!("auth = \"{word}\"")).unwrap().auth, scheme);
        }
        for word in ["", "basic", "query:", "header:", "header:a b"] {
            assert!(resolved(&format!("auth = \"{word}\"")).is_err(), "{word}");
        }
    }

    #[test]
    fn what_would_go_unused_is_an_error() {
        let error = resolved("auth = \"aws-sigv4\"\napi_key = \"k\"").unwrap_err();
        assert!(error.contains("providers.b.api_key"), "{error}");
        let error = resolved("[aws]\nprofile = \"x\"").unwrap_err();
        assert!(error.contains("providers.b.aws"), "{error}");
    }

    #[test]
    fn a_literal_secret_is_found_wherever_it_stands() {
        let keys = "[aws]\naccess_key_id = \"AKID\"\nsecret_access_key = \"s\"";
        let config = resolved(&format!("auth = \"aws-sigv4\"\n{keys}")).unwrap();
        let literal: Vec<_> = config.secrets().filter(|(_, secret)| secret.is_literal()).map(|(key, _)| key).collect();
        assert_eq!(literal, ["aws.access_key_id", "aws.secret_access_key"]);
    }

    #[test]
    fn the_clouds_table_may_be_left_out() {
        let config = resolved("auth = \"aws-sigv4\"").unwrap();
        assert_eq!(config.aws.unwrap().region.as_deref(), Some("us-east-1"));
    }
}
