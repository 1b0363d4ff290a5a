//! Which addresses are the public internet's. What is not known to be is not: the test is on the address that is connected to, so
//! a name that resolves to something else the next time gains nothing.
//!
//! IANA's special-purpose registries, "globally reachable" being false:
//! <https://www.iana.org/assignments/iana-ipv4-special-registry>, <https://www.iana.org/assignments/iana-ipv6-special-registry>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 blocks that are nobody's on the internet, by first address and length of prefix.
const V4: &[(Ipv4Addr, u32)] = &[
    // This network.
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    // Private use, RFC 1918.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Carrier-grade NAT, RFC 6598; Alibaba's metadata service is in it (100.100.100.200).
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local; the metadata services of most clouds are in it (169.254.169.254).
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // IETF protocol assignments; Oracle's metadata service is in it (192.0.0.192).
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Relays to 6to4, deprecated.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Benchmarking.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Azure's host: DNS and the guest agent's secrets
    // (<https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>).
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    // Multicast, and what is reserved, broadcast included.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Of the internet's IPv6 block: what is not.
const V6: &[(Ipv6Addr, u32)] = &[
    // IETF protocol assignments: Teredo, which wraps an IPv4 address, ORCHID, benchmarking.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4, which wraps an IPv4 address.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];

/// Where IPv6 addresses of the internet are: all others (unspecified, loopback, IPv4-mapped, NAT64, unique local, link-local,
/// site-local, multicast) are not. RFC 4291, section 2.4; allocations in
/// <https://www.iana.org/assignments/ipv6-unicast-address-assignments>.
const GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Whether an address is the public internet's.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !V4.iter().any(|block| within_v4(address, block)),
        IpAddr::V6(address) => within_v6(address, &GLOBAL) && !V6.iter().any(|block| within_v6(address, block)),
    }
}

fn within_v4(address: Ipv4Addr, (first, prefix): &(Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ first.to_bits()) >> (32 - prefix) == 0
}

fn within_v6(address: Ipv6Addr, (first, prefix): &(Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ first.to_bits()) >> (128 - prefix) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn the_internet_is_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450:4001::200e",
            "2001:200::",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn what_is_not_the_internet_is_refused() {
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    /// The first of an IPv4 block, and how many of its bits are given.
    fn private_v4() -> impl Strategy<Value = Ipv4Addr> {
        let blocks =
            ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10"];
        (proptest::sample::select(blocks.to_vec()), any::<u32>()).prop_map(|(block, bits)| {
            let (first, prefix) = block.split_once('/').unwrap();
            let host = u32::MAX >> prefix.parse::<u32>().unwrap();
            Ipv4Addr::from_bits(first.parse::<Ipv4Addr>().unwrap().to_bits() | bits & host)
        })
    }

    proptest! {
        /// The standard library's own tests know the same blocks.
        #[test]
        fn the_library_agrees(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let refused = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_unspecified();
            prop_assert!(!refused || !is_public(address.into()));
        }

        #[test]
        fn a_private_address_is_refused_in_every_guise(address in private_v4(), interface: u64) {
            prop_assert!(!is_public(address.into()));
            prop_assert!(!is_public(address.to_ipv6_mapped().into()));
            prop_assert!(!is_public(address.to_ipv6_compatible().into()));
            let bits = u128::from(address.to_bits());
            for wrapped in [0x0064_ff9b_u128 << 96 | bits, 0x2002_u128 << 112 | bits << 80 | u128::from(interface), 0x2001_u128 << 112 | bits] {
                prop_assert!(!is_public(Ipv6Addr::from_bits(wrapped).into()), "{:?}", Ipv6Addr::from_bits(wrapped));
            }
        }

        #[test]
        fn only_the_global_block_of_ipv6_is_public(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            if is_public(address.into()) {
                prop_assert_eq!(address.segments()[0] >> 13, 1);
                prop_assert!(!address.is_loopback() && !address.is_multicast() && !address.is_unique_local());
                prop_assert!(address.to_ipv4().is_none());
            }
        }
    }
}
