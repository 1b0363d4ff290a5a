//! `[capture]`

use portcullis_store::MasterKey;
use serde::Deserialize;

use super::{ConfigError, Environment, Secret};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureConfig {
    /// Bytes of a request's body that are kept at most; what is longer is cut, and marked so. Default 262,144: 256 KiB.
    pub request_bytes: usize,
    /// The same of an answer.
    pub answer_bytes: usize,
    /// What is kept is encrypted with this: 32 random bytes in hex or base64, as a reference to the environment. Where there is none, a
    /// key is made in a file beside the database when it is first needed; several gateways on one database need one to share. Read at
    /// start only.
    pub key: Option<Secret>,
    /// Keys before it, which open what was encrypted then. Read at start only.
    pub previous_keys: Vec<Secret>,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        CaptureConfig { request_bytes: 256 << 10, answer_bytes: 256 << 10, key: None, previous_keys: Vec::new() }
    }
}

impl CaptureConfig {
    /// More would be held in memory for every request under way.
    const MOST: usize = 4 << 20;

    pub(super) fn resolve(&mut self, environment: &dyn Environment) -> Result<(), ConfigError> {
        for (name, key) in self
            .key
            .iter_mut()
            .map(|key| ("capture.key", key))
            .chain(self.previous_keys.iter_mut().map(|key| ("capture.previous_keys", key)))
        {
            key.resolve(name, environment)?;
            if key.expose().len() < MasterKey::LEAST {
                return Err(ConfigError::invalid(name, "has less than 32 characters"));
            }
        }
        for (name, bytes) in
            [("capture.request_bytes", self.request_bytes), ("capture.answer_bytes", self.answer_bytes)]
        {
            if bytes > Self::MOST {
                return Err(ConfigError::invalid(name, "is more than 4,194,304"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Config;

    #[test]
    fn keys_have_enough_of_them_and_lengths_are_bounded() {
        let checked = |text: &str| {
            let environment =
                HashMap::from([("LONG", "0123456789abcdef0123456789abcdef"), ("SHORT", "0123456789abcdef")]);
            let config = Config::parse(&format!("[capture]\n{text}\n"), "t").unwrap().finish(&environment);
            config.map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(checked("key = \"${LONG}\"\nprevious_keys = [\"${LONG}\"]\nanswer_bytes = 4194304"), Ok(()));
        for (text, expected) in [
            ("key = \"${SHORT}\"", "capture.key"),
            ("previous_keys = [\"${LONG}\", \"${SHORT}\"]", "capture.previous_keys"),
            ("request_bytes = 4194305", "capture.request_bytes"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("0123"), "{error}");
        }
    }
}
