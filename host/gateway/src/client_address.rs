//! Where a request comes from: the connection's peer, or what proxies that the operator trusts say of it.
//!
//! What a client itself wrote into the header stands left of what the proxies added, so the header is read from its right, and
//! only as far as trusted proxies wrote it. Of two headers only the configured one is read: the other may be the client's.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::config::{ClientAddressHeader, ServerConfig};

/// The client's address. An IPv4 address in IPv6's clothes is an IPv4 address.
pub(crate) fn of(headers: &HeaderMap, peer: SocketAddr, config: &ServerConfig) -> IpAddr {
    let mut address = peer.ip().to_canonical();
    let trusted = |address: &IpAddr| config.trusted_proxies.iter().any(|network| network.contains(address));
    if config.trusted_proxies.is_empty() || !trusted(&address) {
        return address;
    }
    let name = config.client_address_header.name();
    // A header that is repeated is one list.
    for value in headers.get_all(name).iter().rev() {
        let Ok(value) = value.to_str() else { return address };
        for hop in value.rsplit(',') {
            let Some(named) = config.client_address_header.address(hop) else { return address };
            address = named.to_canonical();
            if !trusted(&address) {
                return address;
            }
        }
    }
    address
}

impl ClientAddressHeader {
    const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// What one hop names. `None` where it names no address: then nothing left of it is believed either.
    fn address(self, hop: &str) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => node(hop.trim()),
            // RFC 7239, section 4: `for=192.0.2.60;proto=http;by=203.0.113.43`, names in any case, values perhaps quoted.
            Self::Forwarded => hop.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                let value = value.trim();
                let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
                name.trim().eq_ignore_ascii_case("for").then(|| node(value))?
            }),
        }
    }
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(header: ClientAddressHeader) -> ServerConfig {
        ServerConfig {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:ffff::/48".parse().unwrap()],
            client_address_header: header,
            ..ServerConfig::default()
        }
    }

    fn address(header: ClientAddressHeader, peer: &str, values: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header.name(), value.parse().unwrap());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 5_000);
        of(&headers, peer, &config(header)).to_string()
    }

    #[test]
    fn the_nearest_that_is_not_trusted_is_the_client() {
        use ClientAddressHeader::{Forwarded, XForwardedFor};
        for (header, peer, values, expected) in [
            (XForwardedFor, "203.0.113.9", &["192.0.2.1"][..], "203.0.113.9"),
            (XForwardedFor, "10.0.0.1", &[], "10.0.0.1"),
            (XForwardedFor, "10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            (XForwardedFor, "::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            // What the client wrote itself is left of what the proxy added.
            (XForwardedFor, "10.0.0.1", &["127.0.0.1, 192.0.2.1"], "192.0.2.1"),
            (XForwardedFor, "10.0.0.1", &["127.0.0.1", "192.0.2.1, 10.0.0.7"], "192.0.2.1"),
            (XForwardedFor, "10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            (XForwardedFor, "10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            (XForwardedFor, "2001:db8:ffff::1", &["[2001:db8::1]:80"], "2001:db8::1"),
            // What cannot be read ends it.
            (XForwardedFor, "10.0.0.1", &["192.0.2.1, unknown, 10.0.0.7"], "10.0.0.7"),
            (XForwardedFor, "10.0.0.1", &["192.0.2.1,"], "10.0.0.1"),
            (XForwardedFor, "10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (Forwarded, "10.0.0.1", &["for=192.0.2.1"], "192.0.2.1"),
            (
                Forwarded,
                "10.0.0.1",
                &["for=127.0.0.1, For=\"[2001:db8::1]:80\";proto=https;by=10.0.0.1"],
                "2001:db8::1",
            ),
            (Forwarded, "10.0.0.1", &["proto=https;for=192.0.2.1"], "192.0.2.1"),
            (Forwarded, "10.0.0.1", &["for=192.0.2.1, for=_hidden"], "10.0.0.1"),
            (Forwarded, "10.0.0.1", &["for=192.0.2.1, proto=https"], "10.0.0.1"),
        ] {
            assert_eq!(address(header, peer, values), expected, "{header:?} {peer} {values:?}");
        }
    }

    #[test]
    fn the_other_header_is_nobody_s() {
        let mut headers = HeaderMap::new();
        headers.insert("forwarded", "for=192.0.2.1".parse().unwrap());
        let peer = SocketAddr::new("10.0.0.1".parse().unwrap(), 1);
        assert_eq!(of(&headers, peer, &config(ClientAddressHeader::XForwardedFor)), peer.ip());
        assert_eq!(of(&headers, peer, &ServerConfig::default()), peer.ip());
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(text in "[ -~]{0,60}") {
            for header in [ClientAddressHeader::XForwardedFor, ClientAddressHeader::Forwarded] {
                address(header, "10.0.0.1", &[&text]);
            }
        }
    }
}
