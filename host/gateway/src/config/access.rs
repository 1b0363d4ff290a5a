//! `[access]`

use portcullis_store::LockoutSettings;
use serde::Deserialize;

use super::ConfigError;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionConfig {
    /// Wrong keys that one address, or one beginning of a key, may show before it is locked out. A correct key always passes.
    /// Default 10. Read at start only.
    pub lockout_failures: u32,
    /// Seconds of the first lock-out; each further wrong key doubles it. Default 1. Read at start only.
    pub lockout_seconds: u64,
    /// Seconds of the longest lock-out. Default 900. Read at start only.
    pub lockout_longest_seconds: u64,
    /// Seconds without a wrong key after which all is forgotten. Default 3,600. Read at start only.
    pub lockout_quiet_seconds: u64,
    /// Days before its expiry from which on a key is reminded of, once a day in the log and the audit trail; 0 for never.
    /// Default 14.
    pub remind_days: u64,
}

impl AdmissionConfig {
    pub fn lockout(&self) -> LockoutSettings {
        LockoutSettings {
            failures: self.lockout_failures,
            first_ms: self.lockout_seconds.saturating_mul(1_000),
            longest_ms: self.lockout_longest_seconds.saturating_mul(1_000),
            quiet_ms: self.lockout_quiet_seconds.saturating_mul(1_000),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.lockout_seconds == 0 || self.lockout_longest_seconds < self.lockout_seconds {
            return Err(ConfigError::invalid(
                "access.lockout_seconds",
                "is at least 1 and no more than lockout_longest_seconds",
            ));
        }
        if self.lockout_quiet_seconds == 0 {
            return Err(ConfigError::invalid("access.lockout_quiet_seconds", "is at least 1"));
        }
        Ok(())
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        AdmissionConfig {
            lockout_failures: 10,
            lockout_seconds: 1,
            lockout_longest_seconds: 900,
            lockout_quiet_seconds: 3_600,
            remind_days: 14,
        }
    }
}
