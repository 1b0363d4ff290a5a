//! `[admin.oidc]`: people log in to the admin API at an issuer.

use serde::Deserialize;

use super::provider::check_url;
use super::{ConfigError, Environment, Secret};

/// An OpenID Connect issuer. Who it vouches for is let in where a member has that e-mail address, with that member's roles.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// As the issuer writes itself: `https://login.example.com/realms/main`. Its `/.well-known/openid-configuration` says the rest.
    pub issuer: String,
    pub client_id: String,
    /// As a reference to the environment; absent for a client that has none.
    pub client_secret: Option<Secret>,
    /// What the issuer sends people back to: this gateway's `/admin/v1/login/callback`, as their browsers reach it.
    pub redirect_url: String,
    /// Asked for besides `openid`. Default `email` and `profile`.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// Whether an address counts that the issuer does not say it has verified: for issuers where people cannot choose it themselves.
    /// Default false.
    #[serde(default)]
    pub trust_email: bool,
    /// Hours until somebody has to log in again, 1 to 168. Default 12.
    #[serde(default = "hours")]
    pub session_hours: u64,
}

fn scopes() -> Vec<String> {
    ["email", "profile"].map(str::to_owned).to_vec()
}

fn hours() -> u64 {
    12
}

impl OidcConfig {
    pub(super) fn resolve(&mut self, environment: &dyn Environment) -> Result<(), ConfigError> {
        check_url("admin.oidc.issuer", &self.issuer, false)?;
        check_url("admin.oidc.redirect_url", &self.redirect_url, false)?;
        if !self.redirect_url.ends_with("/admin/v1/login/callback") {
            return Err(ConfigError::invalid("admin.oidc.redirect_url", "ends with /admin/v1/login/callback"));
        }
        if !(1..=168).contains(&self.session_hours) {
            return Err(ConfigError::invalid("admin.oidc.session_hours", "is 1 to 168"));
        }
        if let Some(secret) = &mut self.client_secret {
            secret.resolve("admin.oidc.client_secret", environment)?;
        }
        Ok(())
    }

    /// Whether browsers reach the gateway by TLS, so that cookies may be kept to it.
    pub(crate) fn is_secure(&self) -> bool {
        self.redirect_url.starts_with("https:")
    }
}
