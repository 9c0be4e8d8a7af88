//! Which addresses are known of which peer, for dialling.
//!
//! For: remembering, within bounds, what the user, invitations, mDNS and the peers themselves say. Not for:
//! the user's address book (contacts) and for keeping anything over a restart.

use std::collections::{HashMap, VecDeque};

use libp2p::Multiaddr;
use parlor_proto::identity::PeerId;

/// Addresses kept of one peer, given ones and learned ones each. The oldest go first.
pub(crate) const MAX_PER_PEER: usize = 8;
/// Addresses kept of one peer that others said. The oldest go first.
pub(crate) const MAX_SAID_OF_PEER: usize = 4;
/// Addresses kept that others said, of all peers together. Those of the peers not used for longest go first.
pub(crate) const MAX_SAID: usize = 1024;
/// How many of one peer's addresses may be names, of those learned and those said each: what they lead to, only the call
/// shows.
const MAX_NAMES: usize = 2;
/// Peers of which addresses are kept. Those not used for longest go first.
pub(crate) const MAX_PEERS: usize = 1024;

/// Where an address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// From this node's user. Nobody can push these out by what it says.
    Given,
    /// From somebody else: in a session's roster, or on a ticket.
    Said,
    /// From the peer itself or the network.
    Learned,
}

/// The addresses known. See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: HashMap<PeerId, Entry>,
    /// Counts uses, so that the longest unused can be told.
    clock: u64,
}

/// Newest first.
#[derive(Debug, Default)]
struct Entry {
    given: VecDeque<Multiaddr>,
    said: VecDeque<Multiaddr>,
    learned: VecDeque<Multiaddr>,
    used: u64,
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.given.is_empty() && self.said.is_empty() && self.learned.is_empty()
    }
}

impl Book {
    /// Remembers a place (an address without `/p2p`).
    pub(crate) fn add(&mut self, peer: PeerId, place: Multiaddr, source: Source) {
        self.make_room(peer);
        self.clock += 1;
        let entry = self.entries.entry(peer).or_default();
        entry.used = self.clock;
        let (list, most, mut names) = match source {
            Source::Given => (&mut entry.given, MAX_PER_PEER, MAX_PER_PEER),
            Source::Said => (&mut entry.said, MAX_SAID_OF_PEER, MAX_NAMES),
            Source::Learned => (&mut entry.learned, MAX_PER_PEER, MAX_NAMES),
        };
        list.retain(|known| *known != place);
        list.push_front(place);
        list.retain(|known| !is_name(known) || names.checked_sub(1).inspect(|left| names = *left).is_some());
        list.truncate(most);
        if source == Source::Said {
            self.bound_said();
        }
    }

    fn bound_said(&mut self) {
        while self.entries.values().map(|entry| entry.said.len()).sum::<usize>() > MAX_SAID {
            let with_said = self.entries.iter_mut().filter(|(_, entry)| !entry.said.is_empty());
            let Some((oldest, entry)) = with_said.min_by_key(|(_, entry)| entry.used) else { return };
            entry.said.pop_back();
            let oldest = *oldest;
            if entry.is_empty() {
                self.entries.remove(&oldest);
            }
        }
    }

    /// Something else was found there.
    pub(crate) fn forget(&mut self, peer: &PeerId, place: &Multiaddr) {
        let Some(entry) = self.entries.get_mut(peer) else {
            return;
        };
        for list in [&mut entry.given, &mut entry.said, &mut entry.learned] {
            list.retain(|known| known != place);
        }
        if entry.is_empty() {
            self.entries.remove(peer);
        }
    }

    /// Given ones first, then those that it or the network told, then those that others said; newest first, each once.
    pub(crate) fn of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let Some(entry) = self.entries.get(peer) else {
            return Vec::new();
        };
        let mut all: Vec<Multiaddr> = Vec::new();
        for place in entry.given.iter().chain(&entry.learned).chain(&entry.said) {
            if !all.contains(place) {
                all.push(place.clone());
            }
        }
        all
    }

    fn make_room(&mut self, peer: PeerId) {
        if self.entries.len() < MAX_PEERS || self.entries.contains_key(&peer) {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(peer, _)| *peer);
        if let Some(oldest) = oldest {
            self.entries.remove(&oldest);
        }
    }
}

fn is_name(place: &Multiaddr) -> bool {
    use libp2p::multiaddr::Protocol::{Dns, Dns4, Dns6, Dnsaddr};
    matches!(place.iter().next(), Some(Dns(_) | Dns4(_) | Dns6(_) | Dnsaddr(_)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use parlor_proto::identity::Identity;

    use super::*;

    fn peer(number: u32) -> PeerId {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        Identity::from_seed(&seed).peer()
    }

    fn place(port: usize) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn newest_first_and_no_more_than_the_bound() {
        let mut book = Book::default();
        for port in 1..=2 * MAX_PER_PEER {
            book.add(peer(0), place(port), Source::Learned);
        }
        let known = book.of(&peer(0));
        assert_eq!(known.len(), MAX_PER_PEER);
        assert_eq!(known[0], place(2 * MAX_PER_PEER));
    }

    #[test]
    fn what_peers_say_does_not_push_out_what_was_given() {
        let mut book = Book::default();
        book.add(peer(0), place(1), Source::Given);
        for port in 2..100 {
            book.add(peer(0), place(port), Source::Learned);
        }
        assert_eq!(book.of(&peer(0))[0], place(1));
        book.forget(&peer(0), &place(1));
        assert!(!book.of(&peer(0)).contains(&place(1)));
    }

    #[test]
    fn what_others_say_is_bounded_of_each_peer_and_in_all() {
        let mut book = Book::default();
        book.add(peer(0), place(1), Source::Given);
        // A roster of the largest size, with as many addresses of each member as a message carries.
        for number in 0..300 {
            for port in 2..18 {
                book.add(peer(number), place(port), Source::Said);
            }
        }
        assert_eq!(book.of(&peer(299)).len(), MAX_SAID_OF_PEER);
        assert_eq!(book.of(&peer(0)), [place(1)], "what was given stays");
        let said: usize = book.entries.values().map(|entry| entry.said.len()).sum();
        assert_eq!(said, MAX_SAID);
    }

    #[test]
    fn few_names_are_kept_of_one_peer() {
        let mut book = Book::default();
        for number in 0..6 {
            let name: Multiaddr = format!("/dns4/n{number}.example.org/tcp/1").parse().unwrap();
            book.add(peer(0), name.clone(), Source::Learned);
            book.add(peer(0), name, Source::Said);
        }
        book.add(peer(0), place(1), Source::Said);
        let known = book.of(&peer(0));
        assert_eq!(known.iter().filter(|place| is_name(place)).count(), MAX_NAMES, "{known:?}");
        assert!(known.contains(&place(1)));
    }

    #[test]
    fn peers_unused_for_longest_are_forgotten() {
        let mut book = Book::default();
        for number in 0..MAX_PEERS as u32 {
            book.add(peer(number), place(1), Source::Learned);
        }
        book.add(peer(0), place(2), Source::Learned);
        book.add(peer(MAX_PEERS as u32), place(1), Source::Learned);
        assert!(!book.of(&peer(0)).is_empty());
        assert!(book.of(&peer(1)).is_empty());
        assert_eq!(book.entries.len(), MAX_PEERS);
    }
}
