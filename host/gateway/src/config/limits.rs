//! `[limits]`

use std::time::Duration;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Largest request body, bytes. Default 32 MiB: images travel inside requests.
    pub request_bytes: usize,
    /// Largest whole answer of a provider, bytes. Default 64 MiB. Streams have no limit.
    pub response_bytes: usize,
    /// Milliseconds a client may take to send a request's head. Default 10,000.
    pub header_timeout_ms: u64,
    /// Milliseconds without a byte from a client in the middle of its body, or without it taking one of an answer.
    /// Default 30,000.
    pub client_idle_ms: u64,
    /// Milliseconds to connect to a provider, TLS included. Default 5,000.
    pub connect_timeout_ms: u64,
    /// Milliseconds until a provider's answer begins. Default 600,000: thinking takes time.
    pub first_byte_timeout_ms: u64,
    /// Milliseconds without a word in the middle of a provider's answer; pings and comments are none. Default 120,000.
    pub upstream_idle_ms: u64,
    /// Milliseconds after which a client whose stream is silent is sent a comment, so that nothing on its way gives the connection
    /// up. Default 15,000; 0 for never.
    pub keep_alive_ms: u64,
    /// Connections from clients at once. Default 20,000.
    pub connections: usize,
    /// Output tokens that token limits set aside for an answer to a request that names no limit of its own. Default 1,024.
    pub assumed_output_tokens: u32,
    /// What to do where a guard would have to hold more than 4 KB or 2 s of a stream: `redact` (default) or `abort`.
    pub guard_overflow: GuardOverflow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardOverflow {
    Redact,
    Abort,
}

impl LimitsConfig {
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    pub fn client_idle(&self) -> Duration {
        Duration::from_millis(self.client_idle_ms)
    }

    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub fn first_byte_timeout(&self) -> Duration {
        Duration::from_millis(self.first_byte_timeout_ms)
    }

    pub fn upstream_idle(&self) -> Duration {
        Duration::from_millis(self.upstream_idle_ms)
    }

    pub fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms)
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig {
            request_bytes: 32 << 20,
            response_bytes: 64 << 20,
            header_timeout_ms: 10_000,
            client_idle_ms: 30_000,
            connect_timeout_ms: 5_000,
            first_byte_timeout_ms: 600_000,
            upstream_idle_ms: 120_000,
            keep_alive_ms: 15_000,
            connections: 20_000,
            assumed_output_tokens: 1_024,
            guard_overflow: GuardOverflow::Redact,
        }
    }
}
