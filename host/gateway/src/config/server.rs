//! `[server]`

use std::net::SocketAddr;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// The address to listen on. Default `127.0.0.1:8080`: other machines reach the gateway only when this says so.
    /// Read at start only.
    pub listen: SocketAddr,
    /// Seconds that requests under way may take to end after SIGTERM. Default 30.
    pub drain_seconds: u64,
    /// Threads that serve requests; 0, the default, for one per core. Read at start only.
    pub worker_threads: usize,
    /// Development mode: plugins' free text and panics reach the log and receipts. Default false.
    pub development: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            drain_seconds: 30,
            worker_threads: 0,
            development: false,
        }
    }
}
