//! Which connections with a peer are direct, and which go through a relay.
//!
//! The idea: two nodes behind routers begin through a relay, and then find a direct path. Groups move to it as soon as it is
//! there (see `gate`), and what went through the relay is closed a little later, so that what is under way can end; or at
//! once, if a program is to be fetched: libp2p opens streams on any connection, and that is no load for a relay. A direct connection that does not last that long has cost nothing. Where no hole has to be
//! punched (one of the two has a public address, or both are in the same network), the addresses that the peer tells are
//! enough: each is tried once.

use std::{collections::HashMap, time::Duration};

use libp2p::{Multiaddr, swarm::ConnectionId};
use parlor_proto::identity::PeerId;
use tokio::time::Instant;

/// How long a relayed connection is kept beside a direct one.
const GRACE: Duration = Duration::from_secs(3);

/// Direct addresses that are tried of one peer while it is reached through a relay.
const MAX_TRIED: usize = 16;

/// How a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// With nobody in between.
    Direct,
    /// Through a relay, which sees who speaks with whom and how much, and nothing of what is said.
    Relayed,
}

/// Of all peers that are connected. Bounded by the limits on connections.
#[derive(Debug, Default)]
pub(crate) struct Paths(HashMap<PeerId, Peer>);

#[derive(Debug, Default)]
struct Peer {
    direct: Vec<ConnectionId>,
    relayed: Vec<ConnectionId>,
    /// Relayed ones that are being closed.
    closing: Vec<ConnectionId>,
    /// Since when there have been both.
    both_since: Option<Instant>,
    /// Where it was called while only a relay led to it.
    tried: Vec<Multiaddr>,
}

impl Peer {
    fn look(&mut self, now: Instant) {
        let both = !self.direct.is_empty() && !self.relayed.is_empty();
        self.both_since = both.then(|| self.both_since.unwrap_or(now));
    }

    /// The relayed ones, which are being closed from now on.
    fn close_relayed(&mut self) -> Vec<ConnectionId> {
        self.both_since = None;
        let relayed = std::mem::take(&mut self.relayed);
        self.closing.extend(&relayed);
        relayed
    }
}

impl Paths {
    pub(crate) fn opened(&mut self, peer: PeerId, connection: ConnectionId, path: Path, now: Instant) {
        let peer = self.0.entry(peer).or_default();
        match path {
            Path::Direct => peer.direct.push(connection),
            Path::Relayed => peer.relayed.push(connection),
        }
        peer.look(now);
    }

    pub(crate) fn closed(&mut self, peer: &PeerId, connection: ConnectionId, now: Instant) {
        let Some(known) = self.0.get_mut(peer) else { return };
        known.direct.retain(|id| *id != connection);
        known.relayed.retain(|id| *id != connection);
        known.closing.retain(|id| *id != connection);
        known.look(now);
        if known.direct.is_empty() && known.relayed.is_empty() && known.closing.is_empty() {
            self.0.remove(peer);
        }
    }

    /// The best there is.
    pub(crate) fn of(&self, peer: &PeerId) -> Option<Path> {
        let peer = self.0.get(peer)?;
        Some(if peer.direct.is_empty() { Path::Relayed } else { Path::Direct })
    }

    /// Of these direct addresses of a peer that only a relay leads to, those not tried yet: they are from now on.
    pub(crate) fn untried(&mut self, peer: &PeerId, mut places: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let Some(peer) = self.0.get_mut(peer).filter(|peer| peer.direct.is_empty()) else {
            return Vec::new();
        };
        places.retain(|place| !peer.tried.contains(place));
        places.truncate(MAX_TRIED.saturating_sub(peer.tried.len()));
        peer.tried.extend(places.iter().cloned());
        places
    }

    /// When a relayed connection is not needed any more.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|peer| peer.both_since).min().map(|since| since + GRACE)
    }

    /// Relayed connections to be closed now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<ConnectionId> {
        let due =
            self.0.values_mut().filter(|peer| peer.both_since.is_some_and(|since| since + GRACE <= now));
        due.flat_map(Peer::close_relayed).collect()
    }

    /// Much is to be sent: if there is a direct connection, the relayed ones, to be closed now.
    pub(crate) fn make_direct(&mut self, peer: &PeerId) -> Vec<ConnectionId> {
        let peer = self.0.get_mut(peer).filter(|peer| !peer.direct.is_empty());
        peer.map(Peer::close_relayed).unwrap_or_default()
    }

    /// Whether relayed connections with a peer are being closed.
    pub(crate) fn is_closing(&self, peer: &PeerId) -> bool {
        self.0.get(peer).is_some_and(|peer| !peer.closing.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use parlor_proto::identity::Identity;

    use super::*;

    #[test]
    fn what_goes_through_a_relay_is_closed_once_a_direct_connection_has_lasted() {
        let peer = Identity::from_seed(&[1; 32]).peer();
        let [relayed, first, second] = [1, 2, 3].map(ConnectionId::new_unchecked);
        let start = Instant::now();
        let mut paths = Paths::default();
        paths.opened(peer, relayed, Path::Relayed, start);
        assert_eq!((paths.of(&peer), paths.next()), (Some(Path::Relayed), None));
        let place: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().expect("an address");
        assert_eq!(paths.untried(&peer, vec![place.clone()]), std::slice::from_ref(&place));
        assert!(paths.untried(&peer, vec![place]).is_empty(), "once");

        // One that is gone again at once.
        paths.opened(peer, first, Path::Direct, start);
        assert_eq!((paths.of(&peer), paths.next()), (Some(Path::Direct), Some(start + GRACE)));
        paths.closed(&peer, first, start);
        assert_eq!((paths.of(&peer), paths.next()), (Some(Path::Relayed), None));

        let later = start + GRACE;
        paths.opened(peer, second, Path::Direct, later);
        assert!(paths.due(later).is_empty());
        assert_eq!(paths.due(later + GRACE), [relayed]);
        assert_eq!((paths.of(&peer), paths.next()), (Some(Path::Direct), None));
        assert!(paths.is_closing(&peer));
        paths.closed(&peer, relayed, later + GRACE);
        assert!(!paths.is_closing(&peer));
        paths.closed(&peer, second, later + GRACE);
        assert_eq!(paths.of(&peer), None);
    }

    #[test]
    fn for_much_a_direct_connection_is_taken_at_once() {
        let peer = Identity::from_seed(&[1; 32]).peer();
        let [relayed, direct] = [1, 2].map(ConnectionId::new_unchecked);
        let now = Instant::now();
        let mut paths = Paths::default();
        paths.opened(peer, relayed, Path::Relayed, now);
        assert!(paths.make_direct(&peer).is_empty(), "there is no other");
        paths.opened(peer, direct, Path::Direct, now);
        assert_eq!(paths.make_direct(&peer), [relayed]);
        assert!(paths.make_direct(&peer).is_empty() && paths.is_closing(&peer));
        paths.closed(&peer, relayed, now);
        assert!(!paths.is_closing(&peer));
    }
}
