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

    /// In binary form, as links carry it: without `/p2p/<peer>` at the end.
    #[must_use]
    pub fn place_bytes(&self) -> Vec<u8> {
        self.place().to_vec()
    }

    /// The reverse of [`Self::place_bytes`].
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AddressError> {
        if bytes.len() > MAX_LEN {
            return Err(AddressError::TooLong);
        }
        let address = Multiaddr::try_from(bytes.to_vec());
        address.map(Self).map_err(|error| AddressError::Syntax(std::sync::Arc::new(error)))
    }

    /// Whether it leads nowhere but to this machine, or this process.
    #[must_use]
    pub fn is_local(&self) -> bool {
        !matches!(reach(&self.0), Reach::Wide | Reach::Relayed)
    }

    /// Whether it leads over a relay.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        reach(&self.0) == Reach::Relayed
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
    /// The same, through a relay.
    Relayed,
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
    let direct = match address.iter().next() {
        _ if address.len() > MAX_LEN || !port_is_set => Reach::Nowhere,
        Some(Protocol::Ip4(ip)) => ip_reach(ip.into()),
        Some(Protocol::Ip6(ip)) => ip_reach(ip.into()),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => Reach::Wide,
        Some(Protocol::Memory(_)) => Reach::Memory,
        _ => Reach::Nowhere,
    };
    let is_relayed = address.iter().any(|part| part == Protocol::P2pCircuit);
    if direct == Reach::Wide && is_relayed { Reach::Relayed } else { direct }
}

/// Through which relay an address leads, and where that is; none for a direct one.
pub(crate) fn relay_of(address: &Multiaddr) -> Option<(PeerId, Multiaddr)> {
    let mut relay: Multiaddr = address.iter().take_while(|part| *part != Protocol::P2pCircuit).collect();
    if relay.len() == address.len() {
        return None;
    }
    match relay.pop() {
        Some(Protocol::P2p(peer)) => Some((ours(&peer)?, relay)),
        _ => None,
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
    fn an_address_may_lead_through_a_relay() {
        let relay = Identity::from_seed(&[3; 32]).peer();
        let place: Multiaddr = "/ip4/192.0.2.7/tcp/4001".parse().unwrap();
        let through: Multiaddr = format!("{place}/p2p/{relay}/p2p-circuit").parse().unwrap();
        assert_eq!(relay_of(&through), Some((relay, place.clone())));
        assert_eq!(relay_of(&place), None);
        assert_eq!(
            relay_of(&"/ip4/192.0.2.7/tcp/4001/p2p-circuit".parse().unwrap()),
            None,
            "nobody is named"
        );
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
    fn bytes_come_back_and_garbage_does_not() {
        let peer = Identity::from_seed(&[3; 32]).peer();
        let relay = Identity::from_seed(&[4; 32]).peer();
        for (text, local, relayed) in [
            ("/ip4/192.0.2.7/udp/4001/quic-v1".to_owned(), false, false),
            (format!("/ip4/192.0.2.7/tcp/4001/p2p/{relay}/p2p-circuit"), false, true),
            ("/ip4/127.0.0.1/tcp/4001".to_owned(), true, false),
        ] {
            let place: Address = text.parse().unwrap();
            assert_eq!(Address::from_bytes(&place.with_peer(peer).place_bytes()).unwrap(), place);
            assert_eq!((place.is_local(), place.is_relayed()), (local, relayed), "{place}");
        }
        assert!(Address::from_bytes(&[4, 1]).is_err());
        assert!(matches!(Address::from_bytes(&[4; 300]), Err(AddressError::TooLong)));
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
            ("/ip4/10.0.0.1/tcp/1/p2p-circuit", Reach::Relayed),
            ("/ip4/127.0.0.1/tcp/1/p2p-circuit", Reach::Loopback),
            ("/unix/run", Reach::Nowhere),
        ] {
            assert_eq!(reach(&address.parse().unwrap()), wanted, "{address}");
        }
    }
}
