//! Which of the addresses that others say are worth a call.
//!
//! For: keeping a roster, an answer of a rendezvous point or a peer's own word from making this node knock at doors inside
//! its network, or at those of its own machine. Not for: addresses that the user gave (contacts, links, cards, relays):
//! those are called as they are.
//!
//! The idea: an address that means the same everywhere harms nobody but by its number, and that is bounded (see `book`).
//! One that means something else in every network means something here only if this node is in that network:
//!
//! - private, shared and link-local addresses (10.0.0.0/8, 100.64.0.0/10, fc00::/7 …): in a network of one of this node's
//!   interfaces;
//! - loopback: if this node itself can be called on this machine only, as nodes on one machine that were started so are. A
//!   node that others reach over a network has no use for a loopback address that somebody else said; of a peer that has
//!   called over loopback it takes that peer's own word (see `events`);
//! - names: what they lead to is seen too late, so only few of each peer are kept; never one that is good in one network
//!   only by its look, and none that leads to a list of addresses (`dnsaddr`).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use tokio::time::Instant;

use super::address::{Reach, reach};

/// How long it is taken for granted which networks there are.
const FRESH: Duration = Duration::from_secs(5);
/// Ends of names that are good in one network only (RFC 6762, 6761, 8375, and ICANN's `internal`).
const LOCAL_NAMES: [&str; 6] = ["local", "localhost", "internal", "lan", "home", "home.arpa"];

/// The networks that this machine is in.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    /// This machine's addresses, with the length of the part that all in the network have in common.
    own: Vec<(IpAddr, u8)>,
    read: Option<Instant>,
}

impl Networks {
    /// Whether an address that somebody said is to be called. `is_only_here`: this node can be called on this machine only.
    pub(crate) fn allow(&mut self, place: &Multiaddr, is_only_here: bool) -> bool {
        match reach(place) {
            Reach::Nowhere => false,
            Reach::Memory => true,
            Reach::Loopback => is_only_here,
            Reach::Wide | Reach::Relayed => match place.iter().next() {
                Some(Protocol::Ip4(ip)) => is_public(ip.into()) || self.has(ip.into()),
                Some(Protocol::Ip6(ip)) => is_public(ip.into()) || self.has(ip.into()),
                Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => {
                    is_public_name(&name)
                }
                _ => false,
            },
        }
    }

    /// Whether the address is of a network that this machine is in.
    fn has(&mut self, ip: IpAddr) -> bool {
        if self.read.is_none_or(|read| read.elapsed() >= FRESH) {
            self.own = interfaces();
            self.read = Some(Instant::now());
        }
        self.own.iter().any(|(own, len)| is_same(*own, ip, *len))
    }
}

fn interfaces() -> Vec<(IpAddr, u8)> {
    let all = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine's networks are not known: no private address that others say is called");
        Vec::new()
    });
    let network = |interface: if_addrs::Interface| match interface.addr {
        if_addrs::IfAddr::V4(addr) => (addr.ip.into(), addr.prefixlen),
        if_addrs::IfAddr::V6(addr) => (addr.ip.into(), addr.prefixlen),
    };
    all.into_iter().map(network).collect()
}

/// Whether two addresses have their first `len` bits in common.
fn is_same(one: IpAddr, other: IpAddr, len: u8) -> bool {
    let differ = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => return false,
    };
    differ >= u32::from(len)
}

/// Whether the address means the same everywhere: none of a private or shared network, a link, a machine, or a group.
/// (The IANA's registries of special-purpose addresses. Those for documentation count as public: nobody has them inside.)
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let is_special = match ip.octets() {
        // This network; shared (RFC 6598); protocol assignments; benchmarks; reserved.
        [0, ..] | [192, 0, 0, _] | [198, 18..=19, ..] | [240..=255, ..] => true,
        [100, second, ..] => (64..128).contains(&second),
        _ => false,
    };
    !(is_special || ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let within = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // An IPv4 address inside: mapped, translated (RFC 6052), 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => within(high, low),
        [0x2002, high, low, ..] => within(high, low),
        // Teredo has one too, and nobody uses it.
        [0x2001, 0, ..] => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_local =
        |end: &&str| name.strip_suffix(*end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    name.contains('.') && name.parse::<IpAddr>().is_err() && !LOCAL_NAMES.iter().any(is_local)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn networks(own: &[(&str, u8)]) -> Networks {
        let own = own.iter().map(|(ip, len)| (ip.parse().unwrap(), *len)).collect();
        // Not read again while a test runs.
        Networks { own, read: Some(Instant::now() + Duration::from_secs(3600)) }
    }

    #[test]
    fn what_means_the_same_everywhere_is_public() {
        for public in [
            "1.2.3.4",
            "203.0.113.9",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "2a00:1450::1",
            "2001:db8::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.0.1",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::192.168.1.1",
            "64:ff9b:1::1",
            "2002:a00:1::1",
            "2002:7f00:1::",
            "2001::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
        assert!(is_public("64:ff9b::1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn what_others_say_leads_nowhere_inside_but_into_ones_own_network() {
        let mut networks = networks(&[
            ("127.0.0.1", 8),
            ("192.168.1.7", 24),
            ("10.1.2.3", 16),
            ("fd00::7", 64),
            ("100.64.9.9", 32),
        ]);
        for (place, is_called) in [
            ("/ip4/203.0.113.9/tcp/1", true),
            ("/ip4/192.168.1.200/udp/1/quic-v1", true),
            ("/ip4/192.168.2.1/tcp/1", false),
            ("/ip4/10.1.200.1/tcp/1", true),
            ("/ip4/10.2.0.1/tcp/1", false),
            ("/ip4/169.254.169.254/tcp/80", false),
            ("/ip4/100.64.9.9/tcp/1", true),
            ("/ip4/100.64.9.8/tcp/1", false),
            ("/ip6/fd00::1/tcp/1", true),
            ("/ip6/fd00:0:0:1::1/tcp/1", false),
            ("/ip6/::ffff:10.2.0.1/tcp/1", false),
            ("/ip6/::ffff:127.0.0.1/tcp/1", false),
            ("/ip4/127.0.0.1/tcp/1", false),
            ("/ip6/::1/tcp/1", false),
            ("/ip4/0.0.0.0/tcp/1", false),
            ("/dns4/relay.example.org/tcp/1", true),
            ("/dns/localhost/tcp/1", false),
            ("/dns/router/tcp/1", false),
            ("/dns4/printer.local/tcp/1", false),
            ("/dns4/db.internal./tcp/1", false),
            ("/dns4/127.0.0.1/tcp/1", false),
            ("/dnsaddr/example.org", false),
        ] {
            let place: Multiaddr = place.parse().unwrap();
            assert_eq!(networks.allow(&place, false), is_called, "{place}");
            let relay = "/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X/p2p-circuit";
            let through: Multiaddr = format!("{place}{relay}").parse().unwrap();
            assert_eq!(networks.allow(&through, false), is_called, "{through}");
        }
    }

    #[test]
    fn loopback_is_for_nodes_that_are_on_this_machine_only() {
        let mut networks = networks(&[("127.0.0.1", 8)]);
        for place in ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/udp/1/quic-v1"] {
            let place = place.parse().unwrap();
            assert!(networks.allow(&place, true) && !networks.allow(&place, false), "{place}");
        }
    }

    #[test]
    fn this_machines_networks_are_found() {
        let own = interfaces();
        assert!(own.iter().any(|(ip, len)| ip.is_loopback() && *len >= 8), "{own:?}");
    }
}
