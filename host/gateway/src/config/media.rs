//! `[media]`

use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;

/// Media that a request names by URL, for providers that take it inline only.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaConfig {
    /// Whether the gateway fetches it. Default false: it is then left out or refused, as `[routing] unsupported` says.
    pub fetch: bool,
    /// Bytes of one request's files together. Default 20 MiB.
    pub max_bytes: usize,
    /// Files of one request. Default 16.
    pub max_files: usize,
    /// Milliseconds for one file, from the look-up of its host to its last byte. Default 10,000.
    pub timeout_ms: u64,
    /// Plain http too. Default false.
    pub allow_http: bool,
    /// Hosts in this machine's own networks too: loopback, private and link-local addresses, metadata services of clouds. Default
    /// false, and dangerous: whoever has a key can then have the gateway read what only it can reach.
    pub allow_private: bool,
    /// What may be fetched.
    pub types: MediaTypes,
}

/// Media types by kind, each `type/subtype` or `type/*`. A server's word counts, or, where it has none, the request's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaTypes {
    pub image: Vec<String>,
    pub audio: Vec<String>,
    pub video: Vec<String>,
    pub document: Vec<String>,
}

impl MediaConfig {
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let MediaTypes { image, audio, video, document } = &self.types;
        match [image, audio, video, document].into_iter().flatten().find(|name| !name.contains('/')) {
            Some(name) => Err(ConfigError::invalid("media.types", format!("`{name}` is not a media type"))),
            None => Ok(()),
        }
    }
}

impl Default for MediaConfig {
    fn default() -> Self {
        MediaConfig {
            fetch: false,
            max_bytes: 20 << 20,
            max_files: 16,
            timeout_ms: 10_000,
            allow_http: false,
            allow_private: false,
            types: MediaTypes::default(),
        }
    }
}

impl Default for MediaTypes {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        MediaTypes {
            // No SVG: it is a document that loads others.
            image: list(&["image/png", "image/jpeg", "image/gif", "image/webp"]),
            audio: list(&["audio/*"]),
            video: list(&["video/*"]),
            document: list(&[
                "application/pdf",
                "application/msword",
                "application/vnd.ms-excel",
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                "text/plain",
                "text/csv",
                "text/html",
                "text/markdown",
            ]),
        }
    }
}
