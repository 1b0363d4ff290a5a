//! `[server]`

use std::net::SocketAddr;

use ipnet::IpNet;
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
    /// Networks of proxies that are believed in what they say of a client's address: `["10.0.0.0/8", "2001:db8::1/128"]`. Default
    /// none: a client is who connects.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they say it: `x-forwarded-for` (default) or `forwarded` (RFC 7239). The other one is not read.
    pub client_address_header: ClientAddressHeader,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAddressHeader {
    #[default]
    XForwardedFor,
    Forwarded,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            drain_seconds: 30,
            worker_threads: 0,
            development: false,
            trusted_proxies: Vec::new(),
            client_address_header: ClientAddressHeader::XForwardedFor,
        }
    }
}
