//! Where a node can be reached, and the border between our names and libp2p's.
//!
//! For: [`Address`], a multiaddr that people and other modules can hold without knowing libp2p, and the
//! conversion of identities. Not for: remembering addresses (see [`super::book`]).

use std::{fmt, net::IpAddr, str::FromStr};

use libp2p::{Multiaddr, identity::Keypair, multiaddr::Protocol};
use parlor_proto::identity::{Identity, PeerId};

/// Longest address that is accepted, bytes in binary form. Relayed ones have two peer ids in them.
const MAX_LEN: usize = 256;

/// A multiaddr: `/ip4/192.0.2.7/udp/4001/quic-v1`, with or without `/p2p/<peer>` at its end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Multiaddr);

/// Text that is no [`Address`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not a multiaddr.
    #[error("not an address (like /ip4/192.0.2.7/udp/4001/quic-v1): {0}")]
    Syntax(#[source] std::sync::Arc<libp2p::multiaddr::Error>),
    /// Far longer than any address.
    #[error("not an address: too long")]
    TooLong,
}

impl Address {
    /// Its TCP or UDP port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.0.iter().find_map(|part| match part {
            Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
            _ => None,
        })
    }

    /// The peer that is to be found there, if the address ends in `/p2p/<peer>` with an Ed25519 identity.
    #[must_use]
    pub fn peer(&self) -> Option<PeerId> {
        match self.0.iter().last() {
            Some(Protocol::P2p(peer)) => ours(&peer),
            _ => None,
        }
    }

    /// The same place, ending in `/p2p/<peer>`.
    #[must_use]
    pub fn with_peer(&self, peer: PeerId) -> Self {
        Self(self.place().with(Protocol::P2p(theirs(peer))))
    }

    /// Without `/p2p/<peer>` at the end, as addresses are kept and dialled.
    pub(crate) fn place(&self) -> Multiaddr {
        let mut place = self.0.clone();
        if let Some(Protocol::P2p(_)) = place.iter().last() {
            place.pop();
        }
        place
    }

    pub(crate) fn multiaddr(&self) -> &Multiaddr {
        &self.0
    }
}

impl From<Multiaddr> for Address {
    fn from(address: Multiaddr) -> Self {
        Self(address)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // In text every byte is written as at most four characters.
        if text.len() > 4 * MAX_LEN {
            return Err(AddressError::TooLong);
        }
        let address: Multiaddr =
            text.parse().map_err(|error| AddressError::Syntax(std::sync::Arc::new(error)))?;
        if address.len() > MAX_LEN {
            return Err(AddressError::TooLong);
        }
        Ok(Self(address))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.0)
    }
}

/// libp2p's form of a peer id.
pub(crate) fn theirs(peer: PeerId) -> libp2p::PeerId {
    libp2p::PeerId::from_bytes(&peer.to_bytes()).expect("the binary form is libp2p's own")
}

/// Our form of a peer id; none for other kinds of keys than strong Ed25519 ones, which are no Parlor nodes.
pub(crate) fn ours(peer: &libp2p::PeerId) -> Option<PeerId> {
    PeerId::from_bytes(&peer.to_bytes()).ok()
}

/// libp2p's form of a signing key.
pub(crate) fn keypair(identity: &Identity) -> Keypair {
    Keypair::ed25519_from_bytes(identity.seed()).expect("any 32 bytes are an Ed25519 seed")
}

/// How far an address carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Other machines, at least in the same network.
    Wide,
    /// This process.
    Memory,
    /// This machine.
    Loopback,
    /// Nobody: unspecified, multicast, or good on one link only and without its name.
    Nowhere,
}

/// How far `address` carries. Names count as wide.
pub(crate) fn reach(address: &Multiaddr) -> Reach {
    let port_is_set = !address.iter().any(|part| matches!(part, Protocol::Tcp(0) | Protocol::Udp(0)));
    match address.iter().next() {
        _ if address.len() > MAX_LEN || !port_is_set => Reach::Nowhere,
        Some(Protocol::Ip4(ip)) => ip_reach(ip.into()),
        Some(Protocol::Ip6(ip)) => ip_reach(ip.into()),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => Reach::Wide,
        Some(Protocol::Memory(_)) => Reach::Memory,
        _ => Reach::Nowhere,
    }
}

fn ip_reach(ip: IpAddr) -> Reach {
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if ip.is_loopback() {
        Reach::Loopback
    } else if ip.is_unspecified() || ip.is_multicast() || link_local {
        Reach::Nowhere
    } else {
        Reach::Wide
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_knows_its_peer() {
        let peer = Identity::from_seed(&[3; 32]).peer();
        let place: Address = "/ip4/192.0.2.7/udp/4001/quic-v1".parse().unwrap();
        assert_eq!(place.peer(), None);
        let address = place.with_peer(peer);
        assert_eq!(address.to_string(), format!("/ip4/192.0.2.7/udp/4001/quic-v1/p2p/{peer}"));
        assert_eq!(address.to_string().parse::<Address>().unwrap().peer(), Some(peer));
        assert_eq!(Address::from(address.place()), place);
        // Naming another one replaces the first.
        let other = Identity::from_seed(&[4; 32]).peer();
        assert_eq!(address.with_peer(other).peer(), Some(other));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let refused = "192.0.2.7:80".parse::<Address>().unwrap_err();
        assert!(refused.to_string().starts_with("not an address"), "{refused}");
        let long = "/dns4/example".to_owned() + &"a".repeat(300) + "/tcp/1";
        assert!(matches!(long.parse::<Address>(), Err(AddressError::TooLong)));
        assert!(matches!("/".repeat(5000).parse::<Address>(), Err(AddressError::TooLong)));
    }

    #[test]
    fn identities_cross_the_border_unchanged() {
        let identity = Identity::from_seed(&[5; 32]);
        let key = keypair(&identity);
        assert_eq!(key.public().to_peer_id(), theirs(identity.peer()));
        assert_eq!(ours(&theirs(identity.peer())), Some(identity.peer()));
        assert_eq!(ours(&libp2p::PeerId::random()), None, "not an Ed25519 identity");
    }

    #[test]
    fn reach_of_addresses() {
        for (address, wanted) in [
            ("/ip4/10.0.0.1/tcp/1", Reach::Wide),
            ("/dns4/example.org/tcp/1", Reach::Wide),
            ("/ip4/127.0.0.1/tcp/1", Reach::Loopback),
            ("/ip6/::1/udp/1/quic-v1", Reach::Loopback),
            ("/ip4/0.0.0.0/tcp/1", Reach::Nowhere),
            ("/ip4/10.0.0.1/tcp/0", Reach::Nowhere),
            ("/ip4/224.0.0.1/udp/1/quic-v1", Reach::Nowhere),
            ("/ip6/fe80::1/tcp/1", Reach::Nowhere),
            ("/memory/7", Reach::Memory),
            ("/unix/run", Reach::Nowhere),
        ] {
            assert_eq!(reach(&address.parse().unwrap()), wanted, "{address}");
        }
    }
}
