//! `[store]`

use std::path::PathBuf;

use portcullis_store::StoreOptions;
use serde::Deserialize;

use super::{ConfigError, Environment, Secret};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The SQLite file; its folder is made when it is missing. Beside it stand the ledger's journal and keys that are made, also
    /// where the database is PostgreSQL. Default `.portcullis/portcullis.db`. Read at start only.
    pub path: PathBuf,
    /// PostgreSQL instead of SQLite, for several gateways on one database: `postgres://user:${PASSWORD}@host/database`, with
    /// libpq's parameters as its query (`sslmode=verify-full`). References to the environment may stand anywhere in it; what is
    /// put in must be percent-encoded where a URL needs it. Read at start only.
    pub url: Option<Secret>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig { path: PathBuf::from(".portcullis/portcullis.db"), url: None }
    }
}

impl StoreConfig {
    /// Where the store is.
    pub fn options(&self) -> StoreOptions {
        StoreOptions { url: self.url.as_ref().map(|url| url.expose().to_owned()), ..StoreOptions::at(&self.path) }
    }

    pub(super) fn resolve(&mut self, environment: &dyn Environment) -> Result<(), ConfigError> {
        self.url.as_mut().map_or(Ok(()), |url| url.fill("store.url", environment))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Config;

    #[test]
    fn a_url_takes_its_secrets_from_the_environment() {
        let url = |text: &str| {
            let environment = HashMap::from([("USER", "u"), ("PASSWORD", "sesame")]);
            let config = Config::parse(&format!("[store]\nurl = \"{text}\"\n"), "t").unwrap().finish(&environment);
            config.map(|config| config.store)
        };
        let store = url("postgres://${USER}:${PASSWORD}@db:6000/p?sslmode=require").unwrap();
        assert_eq!(store.options().url.as_deref(), Some("postgres://u:sesame@db:6000/p?sslmode=require"));
        assert_eq!(store.options().to_string(), "postgres://db:6000/p");
        assert!(!format!("{store:?} {:?}", store.options()).contains("sesame"));
        assert_eq!(url("postgres://db/${").unwrap().options().url.as_deref(), Some("postgres://db/${"));
        let error = url("postgres://u:${ABSENT}@db/p").unwrap_err().to_string();
        assert!(error.contains("store.url") && error.contains("ABSENT"), "{error}");
        assert_eq!(Config::parse("", "t").unwrap().store.options().url, None);
    }
}
