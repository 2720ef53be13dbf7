//! Which network addresses may be dialled for a client, and which are handed out to one.
//!
//! A `Public` network deals in public addresses only; a `Private` one in the ranges it was given. The same rule
//! decides both which origins are dialled (so that nobody scans our network through us) and which delegates are
//! announced (so that no inner address leaks and no client is sent nowhere). Names are resolved by the caller,
//! once, and checked here after resolution.

use ipnet::IpNet;
use multiaddr::{Multiaddr, Protocol};
use std::{collections::BTreeSet, net::IpAddr, sync::LazyLock};

/// Special-purpose ranges of the IANA registries, which are nobody's public address.
static SPECIAL: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "::1/128",
        "::/96",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ]
    .iter()
    .map(|range| range.parse().expect("the list holds well-formed ranges"))
    .collect()
});

/// The addresses that a cluster's network deals in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRule {
    public: bool,
    ranges: Vec<IpNet>,
}

impl AddressRule {
    /// The rule of a public network: every public address and, beside them, `ranges`.
    pub fn public(ranges: Vec<IpNet>) -> Self {
        Self { public: true, ranges }
    }

    /// The rule of a private network: `ranges` and nothing else.
    pub fn private(ranges: Vec<IpNet>) -> Self {
        Self { public: false, ranges }
    }

    /// Whether the network deals in `ip`. An IPv4 address inside an IPv6 one counts as itself.
    pub fn allows(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let within = |ranges: &[IpNet]| ranges.iter().any(|range| range.contains(&ip));
        within(&self.ranges) || (self.public && !within(&SPECIAL))
    }

    /// Of a node's own `addresses`, those to hand out as delegates: well-formed, allowed, distinct, at most `max`.
    /// Plain TCP and QUIC come first, since every client speaks one of them.
    pub fn delegates<'a>(&self, addresses: impl IntoIterator<Item = &'a str>, max: usize) -> Vec<String> {
        let mut good: Vec<_> = addresses
            .into_iter()
            .filter_map(|text| match Target::parse(text)? {
                Target::Ip { ip, address } if self.allows(ip) => Some(address),
                _ => None,
            })
            .collect();
        good.sort_by_key(|address| address.iter().count());
        let mut seen = BTreeSet::new();
        good.into_iter().map(|a| a.to_string()).filter(|text| seen.insert(text.clone())).take(max).collect()
    }
}

/// A peer's address of a shape that may be dialled at all: an IP address or name, a transport, a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An address to check with [`AddressRule::allows`].
    Ip {
        /// Where it leads.
        ip: IpAddr,
        /// The whole of it.
        address: Multiaddr,
    },
    /// A name to resolve first; then [`Target::resolved`].
    Dns {
        /// The name.
        host: String,
        /// The whole of it.
        address: Multiaddr,
    },
}

impl Target {
    /// Parses a multiaddr. `None` for anything but `/ip4|ip6|dns…/…/tcp|udp/…/…/p2p/PEER`, relays included.
    pub fn parse(text: &str) -> Option<Self> {
        let address: Multiaddr = text.parse().ok()?;
        let parts: Vec<_> = address.iter().collect();
        let direct = parts.iter().filter(|part| matches!(part, Protocol::P2p(_))).count() == 1
            && !parts.iter().any(|part| matches!(part, Protocol::P2pCircuit | Protocol::Unix(_)));
        if !direct || !matches!(parts.last(), Some(Protocol::P2p(_))) {
            return None;
        }
        if !matches!(parts.get(1), Some(Protocol::Tcp(_) | Protocol::Udp(_))) {
            return None;
        }
        match &parts[0] {
            Protocol::Ip4(ip) => Some(Self::Ip { ip: (*ip).into(), address }),
            Protocol::Ip6(ip) => Some(Self::Ip { ip: (*ip).into(), address }),
            Protocol::Dns(host) | Protocol::Dns4(host) | Protocol::Dns6(host) => {
                Some(Self::Dns { host: host.to_string(), address: address.clone() })
            }
            _ => None,
        }
    }

    /// The address with `ip` in place of its first part, so that nobody resolves the name a second time.
    pub fn resolved(address: &Multiaddr, ip: IpAddr) -> Multiaddr {
        let first = match ip {
            IpAddr::V4(ip) => Protocol::Ip4(ip),
            IpAddr::V6(ip) => Protocol::Ip6(ip),
        };
        std::iter::once(first).chain(address.iter().skip(1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn private() -> AddressRule {
        AddressRule::private(vec!["10.0.0.0/8".parse().unwrap()])
    }

    #[test]
    fn a_public_network_knows_no_special_address() {
        let rule = AddressRule::public(vec![]);
        for ip in ["8.8.8.8", "2606:4700::1111"] {
            assert!(rule.allows(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fe80::1",
            "fd00::1",
            "2002:7f00:1::",
            "::",
        ] {
            assert!(!rule.allows(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn a_private_network_knows_its_ranges_only() {
        assert!(private().allows("10.9.9.9".parse().unwrap()));
        assert!(private().allows("::ffff:10.9.9.9".parse().unwrap()));
        assert!(!private().allows("8.8.8.8".parse().unwrap()));
        assert!(!private().allows("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn delegates_are_few_plain_distinct_and_reachable() {
        let of = |ip: &str, rest: &str| format!("/ip4/{ip}/{rest}/p2p/{PEER}");
        let addresses = [
            of("127.0.0.1", "tcp/4001"),
            of("10.0.0.1", "udp/4001/quic-v1"),
            of("10.0.0.1", "tcp/4001"),
            of("10.0.0.1", "tcp/4001"),
            of("10.0.0.1", "udp/4001/quic-v1/webtransport"),
            "/ip4/10.0.0.1/tcp/4001".into(),
            "nonsense".into(),
        ];
        let delegates = private().delegates(addresses.iter().map(String::as_str), 2);
        assert_eq!(delegates, [of("10.0.0.1", "tcp/4001"), of("10.0.0.1", "udp/4001/quic-v1")]);
    }

    #[test]
    fn only_direct_addresses_of_a_peer_are_targets() {
        let good = format!("/dns4/example.com/tcp/443/wss/p2p/{PEER}");
        let Some(Target::Dns { host, address }) = Target::parse(&good) else { panic!("{good}") };
        assert_eq!(host, "example.com");
        let resolved = Target::resolved(&address, "10.0.0.1".parse().unwrap()).to_string();
        assert_eq!(resolved, format!("/ip4/10.0.0.1/tcp/443/wss/p2p/{PEER}"));
        for bad in [
            format!("/ip4/1.2.3.4/tcp/4001/p2p/{PEER}/p2p-circuit"),
            format!("/ip4/1.2.3.4/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{PEER}"),
            format!("/p2p/{PEER}"),
            "/ip4/1.2.3.4/tcp/4001".into(),
            format!("/unix/run/docker.sock/p2p/{PEER}"),
            format!("/dnsaddr/bootstrap.libp2p.io/p2p/{PEER}"),
        ] {
            assert_eq!(Target::parse(&bad), None, "{bad}");
        }
    }
}
