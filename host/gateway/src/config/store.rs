//! `[store]`

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The SQLite file; its folder is made when it is missing. Default `.portcullis/portcullis.db`. Read at start only.
    pub path: PathBuf,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig { path: PathBuf::from(".portcullis/portcullis.db") }
    }
}
