//! `[routing]`

use std::collections::BTreeMap;

use serde::Deserialize;

/// See [`RoutingConfig::unsupported`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unsupported {
    Drop,
    Refuse,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingConfig {
    /// Wishes handed to the router: `optimise = "price"`, and what the router's own documentation names.
    pub preferences: BTreeMap<String, String>,
    /// What becomes of a request that uses what a provider does not have: `drop` (default) leaves it out, with a note in the
    /// receipt; `refuse` goes to another provider that has it, or tells the client what is missing.
    pub unsupported: Unsupported,
    /// Targets tried for one request, the first included. Default 3.
    pub attempts: u32,
    /// Models that `auto` may choose, as `provider/model`; empty, the default, for all that are configured.
    pub auto: Vec<String>,
    /// Consecutive failures that open a connection's breaker. Default 5.
    pub breaker_failures: u32,
    /// Milliseconds an open breaker waits before one request may try again. Default 10,000.
    pub breaker_cooldown_ms: u64,
}

impl Default for RoutingConfig {
    fn default() -> Self {
        RoutingConfig {
            preferences: BTreeMap::new(),
            unsupported: Unsupported::Drop,
            attempts: 3,
            auto: Vec::new(),
            breaker_failures: 5,
            breaker_cooldown_ms: 10_000,
        }
    }
}
