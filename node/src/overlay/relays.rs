//! The relays through which this node can be reached.
//!
//! For: which of those that the user named hold a reservation, and when to ask again. Not for: connecting to others through
//! a relay (that is an address like any other), nor for being one (see `serve`).
//!
//! The idea: a reservation at every relay, all the time, so that the loss of one costs nothing. libp2p renews a
//! reservation, but does not ask again for one that was lost or denied; this does, ever less often.

use std::{collections::BTreeMap, time::Duration};

use libp2p::{Multiaddr, core::transport::ListenerId, multiaddr::Protocol};
use parlor_proto::identity::PeerId;
use tokio::time::Instant;

use super::address::{Address, theirs};

/// Relays of one node, at most.
pub const MAX_RELAYS: usize = 8;
/// Wait before a relay that was lost is asked again; doubled with every failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two questions.
const LONGEST: Duration = Duration::from_secs(60);
/// Addresses of its own that a relay may name. All of them are told to others, so it must not have too many.
const MAX_NAMED: usize = 8;
/// A relay that has not granted a reservation by then is not going to.
const PATIENCE: Duration = Duration::from_secs(30);

/// How it stands with a relay.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RelayStatus {
    /// Which one.
    pub peer: PeerId,
    /// Where it is.
    #[serde(serialize_with = "as_text")]
    pub address: Address,
    /// Whether this node can be reached through it now.
    pub reserved: bool,
    /// Why not, as far as is known.
    pub why: Option<String>,
}

fn as_text<S: serde::Serializer>(address: &Address, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(address)
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Relays(BTreeMap<PeerId, Relay>);

#[derive(Debug)]
struct Relay {
    place: Multiaddr,
    state: State,
    failures: u32,
    why: Option<String>,
    /// Addresses that it has named since it was asked.
    named: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// To be asked then.
    Waits(Instant),
    /// Asked; given up then.
    Asked(ListenerId, Instant),
    Reserved(ListenerId),
}

/// What is to be done about a relay.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A reservation is to be asked for, by listening on this address.
    Ask(PeerId, Multiaddr),
    /// This listener is to be removed: the relay does not answer.
    GiveUp(ListenerId),
}

impl Relay {
    /// Whether that is news.
    fn lost(&mut self, why: String, now: Instant) -> bool {
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waits(now + wait);
        self.failures == 1 && self.why.replace(why).is_none()
    }

    fn listener(&self) -> Option<ListenerId> {
        match self.state {
            State::Waits(_) => None,
            State::Asked(listener, _) | State::Reserved(listener) => Some(listener),
        }
    }
}

/// Through this relay.
fn circuit(relay: PeerId, place: &Multiaddr) -> Multiaddr {
    place.clone().with(Protocol::P2p(theirs(relay))).with(Protocol::P2pCircuit)
}

impl Relays {
    /// Each address names its peer.
    pub(crate) fn new(addresses: &[Address], now: Instant) -> Self {
        let relay = |address: &Address| {
            let relay =
                Relay { place: address.place(), state: State::Waits(now), failures: 0, why: None, named: 0 };
            Some((address.peer()?, relay))
        };
        Self(addresses.iter().filter_map(relay).take(MAX_RELAYS).collect())
    }

    pub(crate) fn has(&self, peer: &PeerId) -> bool {
        self.0.contains_key(peer)
    }

    /// Who and where they are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Multiaddr)> {
        self.0.iter().map(|(peer, relay)| (*peer, &relay.place))
    }

    /// The ways to others through those relays that this node is connected to.
    pub(crate) fn circuits(&self) -> impl Iterator<Item = Multiaddr> {
        let reserved = self.0.iter().filter(|(_, relay)| matches!(relay.state, State::Reserved(_)));
        reserved.map(|(peer, relay)| circuit(*peer, &relay.place))
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        let due = self.0.values().filter_map(|relay| match relay.state {
            State::Waits(when) | State::Asked(_, when) => Some(when),
            State::Reserved(_) => None,
        });
        due.min()
    }

    /// What is to be done now. Each [`Due::Ask`] is followed by [`Self::asked`] or [`Self::refused`], each
    /// [`Due::GiveUp`] by [`Self::lost`].
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Due> {
        let due = |(peer, relay): (&PeerId, &Relay)| match relay.state {
            State::Waits(when) if when <= now => Some(Due::Ask(*peer, circuit(*peer, &relay.place))),
            State::Asked(listener, until) if until <= now => Some(Due::GiveUp(listener)),
            _ => None,
        };
        self.0.iter().filter_map(due).collect()
    }

    pub(crate) fn asked(&mut self, peer: &PeerId, listener: ListenerId, now: Instant) {
        if let Some(relay) = self.0.get_mut(peer) {
            relay.state = State::Asked(listener, now + PATIENCE);
            relay.named = 0;
        }
    }

    /// It could not even be asked. Whether that is news.
    pub(crate) fn refused(&mut self, peer: &PeerId, why: String, now: Instant) -> bool {
        self.0.get_mut(peer).is_some_and(|relay| relay.lost(why, now))
    }

    /// It has named an address of its own on granting a reservation. Whether that is one too many.
    pub(crate) fn named(&mut self, listener: ListenerId) -> bool {
        let Some(relay) = self.0.values_mut().find(|relay| relay.listener() == Some(listener)) else {
            return false;
        };
        relay.named += 1;
        relay.named > MAX_NAMED
    }

    /// It has granted a reservation, or renewed it. Whether that is news.
    pub(crate) fn reserved(&mut self, peer: &PeerId) -> bool {
        let Some(relay) = self.0.get_mut(peer) else { return false };
        let State::Asked(listener, _) = relay.state else { return false };
        relay.state = State::Reserved(listener);
        relay.failures = 0;
        relay.why = None;
        true
    }

    /// A listener has ended. The relay, if that is what it was for, and whether that is news.
    pub(crate) fn lost(&mut self, listener: ListenerId, why: String, now: Instant) -> Option<(PeerId, bool)> {
        let (peer, relay) = self.0.iter_mut().find(|(_, relay)| relay.listener() == Some(listener))?;
        Some((*peer, relay.lost(why, now)))
    }

    pub(crate) fn status(&self) -> Vec<RelayStatus> {
        let status = |(peer, relay): (&PeerId, &Relay)| RelayStatus {
            peer: *peer,
            address: Address::from(relay.place.clone()).with_peer(*peer),
            reserved: matches!(relay.state, State::Reserved(_)),
            why: relay.why.clone(),
        };
        self.0.iter().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use parlor_proto::identity::Identity;

    use super::*;

    fn relay() -> (PeerId, Address) {
        let peer = Identity::from_seed(&[1; 32]).peer();
        (peer, format!("/ip4/203.0.113.1/tcp/1/p2p/{peer}").parse().unwrap())
    }

    #[test]
    fn a_relay_is_asked_again_ever_less_often_until_it_grants_a_reservation() {
        let (peer, address) = relay();
        let mut now = Instant::now();
        let mut relays = Relays::new(&[address], now);
        let mut waits = Vec::new();
        for round in 0..9 {
            let asked = relays.due(now);
            assert!(
                matches!(&asked[..], [Due::Ask(who, place)] if *who == peer && place.to_string().ends_with("/p2p-circuit"))
            );
            let listener = ListenerId::next();
            relays.asked(&peer, listener, now);
            assert_eq!(
                relays.lost(listener, "it has no room".into(), now),
                Some((peer, round == 0)),
                "news once"
            );
            let next = relays.next().unwrap();
            waits.push(next - now);
            now = next;
        }
        assert_eq!((waits[0], waits[1], waits[8]), (FIRST, 2 * FIRST, LONGEST));
        assert_eq!(relays.status()[0].why.as_deref(), Some("it has no room"));

        let listener = ListenerId::next();
        relays.asked(&peer, listener, now);
        assert!(relays.reserved(&peer) && !relays.reserved(&peer), "news once");
        assert_eq!((relays.next(), relays.circuits().count()), (None, 1));
        assert!(relays.status()[0].reserved);
        relays.lost(listener, "gone".into(), now);
        assert_eq!((relays.next(), relays.circuits().count()), (Some(now + FIRST), 0));
    }

    #[test]
    fn a_relay_that_does_not_answer_is_given_up() {
        let (peer, address) = relay();
        let now = Instant::now();
        let mut relays = Relays::new(&[address], now);
        let listener = ListenerId::next();
        relays.asked(&peer, listener, now);
        assert!(relays.due(now).is_empty());
        assert_eq!(relays.due(now + PATIENCE), [Due::GiveUp(listener)]);
        assert_eq!(relays.lost(listener, "it does not answer".into(), now + PATIENCE), Some((peer, true)));
        assert_eq!(relays.next(), Some(now + PATIENCE + FIRST));
        assert_eq!(relays.lost(listener, "closed".into(), now), None, "of no concern any more");
    }

    #[test]
    fn a_relay_names_only_so_many_addresses() {
        let (peer, address) = relay();
        let now = Instant::now();
        let mut relays = Relays::new(&[address], now);
        let listener = ListenerId::next();
        relays.asked(&peer, listener, now);
        assert!((0..MAX_NAMED).all(|_| !relays.named(listener)));
        assert!(relays.named(listener));
        assert!(!relays.named(ListenerId::next()), "another listener");
    }
}
