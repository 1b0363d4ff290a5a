//! `[admin]`

use std::net::SocketAddr;

use serde::Deserialize;

use super::{ConfigError, Environment, OidcConfig};

/// The admin API, metrics and health in detail.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Whether there is an admin API. Default true: without a token nobody gets anything from it. Read at start only.
    pub enabled: bool,
    /// An address of its own to listen on; the main listener then knows nothing of `/admin` and `/metrics`. Absent, the default, for
    /// the main listener. Read at start only.
    pub listen: Option<SocketAddr>,
    /// Whether the separate listener shows metrics and health to whoever reaches it. Default false: they want a superadmin's token.
    pub open_metrics: bool,
    /// Origins whose pages may call the admin API: `https://ops.example`. Default none.
    pub origins: Vec<String>,
    /// Where people log in. Absent, the default: nowhere, and the admin API is for tokens.
    pub oidc: Option<OidcConfig>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        AdminConfig { enabled: true, listen: None, open_metrics: false, origins: Vec::new(), oidc: None }
    }
}

impl AdminConfig {
    pub(super) fn resolve(&mut self, environment: &dyn Environment) -> Result<(), ConfigError> {
        if let Some(oidc) = &mut self.oidc {
            oidc.resolve(environment)?;
        }
        self.check()
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.open_metrics && self.listen.is_none() {
            return Err(ConfigError::invalid(
                "admin.open_metrics",
                "is for a listener of its own: say where in admin.listen",
            ));
        }
        for origin in &self.origins {
            let parsed = origin.parse::<http::Uri>().ok();
            let is_origin =
                parsed.is_some_and(|uri| uri.scheme().is_some() && uri.path() == "/" && uri.query().is_none());
            if !is_origin || origin.ends_with('/') {
                return Err(ConfigError::invalid(
                    "admin.origins",
                    "an origin is a scheme, a host and perhaps a port: https://ops.example",
                ));
            }
        }
        Ok(())
    }
}
