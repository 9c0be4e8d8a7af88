//! What a home's router does: translate addresses in one of several ways, and keep out what nobody asked for.
//!
//! For: the kinds that decide whether two nodes can reach each other (RFC 4787: how a private port is mapped to a
//! public one, and whose packets a mapping lets in). Not for: hairpins, and ports that a host asks for (see
//! [`super::ports`]).
//!
//! The idea: Linux translates connection by connection. `masquerade` keeps the port where that is free, so that
//! all of a socket's connections have the same public port; made random, each gets another. Either way only the
//! other end of a connection gets in. For a full cone the router also remembers who sent from which port, and
//! whatever comes to that port goes there.

use serde_json::Value;

use crate::{netns::Namespace, segment::SWITCH};

/// What kind of router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// A port is mapped to the same one for all destinations, and anybody may send to it.
    ///
    /// If two hosts of a home use the same port, it is his who was first.
    FullCone,
    /// The same mapping, but only whom it was used for may answer, from the very port.
    Restricted,
    /// Another port for each destination, and only that one may answer.
    Symmetric,
    /// None: IPv6 alone, with public addresses, and a firewall that lets in answers only.
    Ipv6,
}

impl Nat {
    /// For `nft`. The internet is at the interface `outside`.
    #[must_use]
    pub(super) fn rules(self, outside: &str) -> String {
        let (remember, forward, masquerade) = match self {
            Self::FullCone => (
                "meta l4proto { tcp, udp } add @cone { meta l4proto . th sport : ip saddr }",
                "dnat ip to meta l4proto . th dport map @cone",
                "masquerade",
            ),
            Self::Restricted => ("", "", "masquerade"),
            Self::Symmetric => ("", "", "masquerade fully-random"),
            Self::Ipv6 => ("", "", "accept"),
        };
        format!(
            r#"
            table inet home {{
                counter dropped {{ }}
                map cone {{
                    typeof meta l4proto . th dport : ip saddr
                    size 65535
                    flags dynamic
                }}
                chain input {{
                    type filter hook input priority filter; policy drop;
                    ct state established,related accept
                    iifname {{ "lo", "{SWITCH}" }} accept
                    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
                    meta l4proto {{ tcp, udp }} counter name dropped
                }}
                chain forward {{
                    type filter hook forward priority filter; policy drop;
                    iifname "{SWITCH}" oifname "{outside}" {remember}
                    ct state established,related accept
                    ct status dnat accept
                    iifname "{SWITCH}" accept
                    meta l4proto {{ tcp, udp }} counter name dropped
                }}
                chain prerouting {{
                    type nat hook prerouting priority dstnat;
                    iifname "{outside}" {forward}
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat;
                    oifname "{outside}" meta nfproto ipv4 {masquerade}
                }}
            }}
            "#
        )
    }
}

/// How many packets a router with these rules has dropped.
pub(super) fn dropped(router: &Namespace) -> u64 {
    let listed = router.nft(&["--json", "list", "counter", "inet", "home", "dropped"], "");
    let listed: Value = serde_json::from_str(&listed).unwrap_or_else(|e| panic!("not JSON ({e}): {listed}"));
    let counters = listed["nftables"].as_array().into_iter().flatten();
    let packets = counters.filter_map(|one| one["counter"]["packets"].as_u64()).next();
    packets.unwrap_or_else(|| panic!("no counter: {listed:#}"))
}
