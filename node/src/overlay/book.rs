//! Which addresses are known of which peer, for dialling.
//!
//! For: remembering, within bounds, what the user, invitations, mDNS and the peers themselves say. Not for:
//! the user's address book (contacts) and for keeping anything over a restart.

use std::collections::{HashMap, VecDeque};

use libp2p::Multiaddr;
use parlor_proto::identity::PeerId;

/// Addresses kept of one peer, from each of the two sources. The oldest go first.
pub(crate) const MAX_PER_PEER: usize = 8;
/// Peers of which addresses are kept. Those not used for longest go first.
pub(crate) const MAX_PEERS: usize = 1024;

/// Where an address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// From this node's user or its sessions. A peer cannot push these out by what it says of itself.
    Given,
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
    learned: VecDeque<Multiaddr>,
    used: u64,
}

impl Book {
    /// Remembers a place (an address without `/p2p`).
    pub(crate) fn add(&mut self, peer: PeerId, place: Multiaddr, source: Source) {
        self.make_room(peer);
        self.clock += 1;
        let entry = self.entries.entry(peer).or_default();
        entry.used = self.clock;
        let list = match source {
            Source::Given => &mut entry.given,
            Source::Learned => &mut entry.learned,
        };
        list.retain(|known| *known != place);
        list.push_front(place);
        list.truncate(MAX_PER_PEER);
    }

    /// Something else was found there.
    pub(crate) fn forget(&mut self, peer: &PeerId, place: &Multiaddr) {
        let Some(entry) = self.entries.get_mut(peer) else {
            return;
        };
        entry.given.retain(|known| known != place);
        entry.learned.retain(|known| known != place);
        if entry.given.is_empty() && entry.learned.is_empty() {
            self.entries.remove(peer);
        }
    }

    /// Given ones first, newest first, each once.
    pub(crate) fn of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let Some(entry) = self.entries.get(peer) else {
            return Vec::new();
        };
        let learned = entry.learned.iter().filter(|place| !entry.given.contains(place));
        entry.given.iter().chain(learned).cloned().collect()
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
