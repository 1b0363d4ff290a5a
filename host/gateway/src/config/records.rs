//! `[records]`

use portcullis_store::RETENTION_DAYS;
use serde::Deserialize;

use super::ConfigError;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordsConfig {
    /// Days that requests and receipts are kept of organisations that do not say so themselves, 7 to 365. Default 90. Money entries
    /// and the audit trail stay.
    pub retention_days: u16,
}

impl Default for RecordsConfig {
    fn default() -> Self {
        RecordsConfig { retention_days: 90 }
    }
}

impl RecordsConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !RETENTION_DAYS.contains(&self.retention_days) {
            return Err(ConfigError::invalid("records.retention_days", "is not 7 to 365"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Config;

    #[test]
    fn records_live_for_a_week_to_a_year() {
        let days = |days: u16| {
            let config = Config::parse(&format!("[records]\nretention_days = {days}\n"), "t").unwrap();
            let config = config.finish(&HashMap::<&str, &str>::new());
            config.map(|config| config.records.retention_days).map_err(|error| error.to_string())
        };
        assert_eq!((days(7), days(365)), (Ok(7), Ok(365)));
        for wrong in [0, 6, 366] {
            assert!(days(wrong).unwrap_err().contains("records.retention_days"), "{wrong}");
        }
    }
}
