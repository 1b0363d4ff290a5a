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
    let config = serde_json::from_str(configuration).map_err(|_| explain::<P::Config>(configuration))?;
    P::configure(config)
}

/// Names the key at fault. The operator wrote TOML, so a line and column of the JSON made from it would say nothing.
fn explain<C: DeserializeOwned>(configuration: &str) -> String {
    let value: serde_json::Value = match serde_json::from_str(configuration) {
        Ok(value) => value,
        Err(error) => return format!("configuration: {error}"),
    };
    match serde_path_to_error::deserialize::<_, C>(value) {
        Ok(_) => "configuration: a key is given twice".to_owned(),
        Err(error) => {
            let path = error.path().to_string();
            let why = error.into_inner();
            if path == "." { format!("configuration: {why}") } else { format!("configuration: {path}: {why}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Limited(u32);

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        limits: Vec<u32>,
    }

    impl Plugin for Limited {
        type Config = Limits;

        fn manifest() -> Manifest {
            Manifest::new("limited", "1.0.0", "for the test")
        }

        fn configure(config: Limits) -> Result<Self, String> {
            config.limits.first().map(|&limit| Limited(limit)).ok_or_else(|| "limits: at least one".to_owned())
        }
    }

    #[test]
    fn a_configuration_is_taken_or_explained() {
        let configured = |json: &str| configured::<Limited>(json).map(|Limited(limit)| limit);
        assert_eq!(configured(r#"{"limits": [7, 8]}"#), Ok(7));
        assert_eq!(configured(r#"{"limits": []}"#).unwrap_err(), "limits: at least one");
        let faults = [
            (r#"{"limits": [7, "x"]}"#, "configuration: limits[1]: invalid type: string \"x\", expected u32"),
            (r#"{"limit": []}"#, "configuration: limit: unknown field `limit`, expected `limits`"),
            (r#"{"limits": [1], "limits": [2]}"#, "configuration: a key is given twice"),
            ("{}", "configuration: missing field `limits`"),
            ("{", "configuration: EOF while parsing an object at line 1 column 1"),
        ];
        for (json, expected) in faults {
            assert_eq!(configured(json).unwrap_err(), expected, "{json}");
        }
    }
}
