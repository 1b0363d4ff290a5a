//! Where a connection goes.

use std::net::SocketAddr;

use http::{HeaderValue, Uri};

/// Scheme, host and port of a provider's server, with the path that its endpoints are appended to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub tls: bool,
    /// Without brackets where it is an IPv6 address.
    pub host: String,
    pub port: u16,
    /// Without a trailing slash; empty for the root.
    pub base_path: String,
    /// As the `Host` header says it.
    pub authority: HeaderValue,
    /// What the host is known to resolve to; it is looked up anew where this is absent.
    pub resolved: Option<SocketAddr>,
}

impl Address {
    /// From a base URL that the configuration has checked; `None` for one it would have refused.
    pub fn parse(base_url: &str) -> Option<Self> {
        let uri: Uri = base_url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.host()?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let authority = match uri.port_u16() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Some(Address {
            tls,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            base_path: uri.path().trim_end_matches('/').to_owned(),
            authority: authority.parse().ok()?,
            resolved: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_base_url() {
        let address = Address::parse("https://api.openai.com/v1/").unwrap();
        assert_eq!((address.tls, address.port, address.base_path.as_str()), (true, 443, "/v1"));
        assert_eq!(address.authority, "api.openai.com");
        let address = Address::parse("http://[::1]:4100").unwrap();
        assert_eq!((address.host.as_str(), address.port, address.base_path.as_str()), ("::1", 4100, ""));
        assert_eq!(address.authority, "[::1]:4100");
    }
}
