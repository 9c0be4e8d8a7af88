//! The lanes of one epoch: everyone's keys.

use std::collections::BTreeMap;

use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};

use super::{Lane, term, window::Window};
use crate::{
    group::keys::{EpochTag, GroupKeys, MlsError},
    identity::PeerId,
};

/// One epoch's keys; overwritten when dropped (by the cipher).
pub(super) struct Epoch {
    pub(super) number: u64,
    /// Tells it from others of that number.
    pub(super) state: EpochTag,
    /// Who is host in it.
    pub(super) host: PeerId,
    /// This node's leaf.
    pub(super) mine: u32,
    /// By leaf.
    pub(super) senders: BTreeMap<u32, Sender>,
}

/// What one member says in one epoch.
pub(super) struct Sender {
    pub(super) peer: PeerId,
    /// By lane.
    tracks: [Track; Lane::ALL.len()],
}

/// One lane of one sender in one epoch.
pub(super) struct Track {
    pub(super) cipher: XChaCha20Poly1305,
    pub(super) window: Window,
}

impl Epoch {
    pub(super) fn of(keys: &GroupKeys) -> Result<Self, MlsError> {
        let track = |peer, lane| -> Result<Track, MlsError> {
            let secret = keys.lane_secret(peer, lane)?;
            Ok(Track { cipher: XChaCha20Poly1305::new((&*secret).into()), window: Window::default() })
        };
        let sender = |peer| -> Result<Sender, MlsError> {
            let [updates, realtime, control] = Lane::ALL;
            let tracks = [track(peer, updates)?, track(peer, realtime)?, track(peer, control)?];
            Ok(Sender { peer, tracks })
        };
        let senders: Result<_, MlsError> =
            keys.members().iter().map(|(peer, leaf)| Ok((*leaf, sender(*peer)?))).collect();
        let (number, state, host) = (keys.epoch(), keys.tag(), keys.host());
        Ok(Self { number, state, host, mine: keys.leaf(), senders: senders? })
    }

    pub(super) fn term(&self) -> u32 {
        term(self.number)
    }

    /// Whether it has the keys of this frame.
    pub(super) fn is_of(&self, number: u64, state: EpochTag) -> bool {
        (self.number, self.state) == (number, state)
    }

    /// Whether both are of one MLS group: of one term and host. Only then their leaves have to do with one another.
    pub(super) fn is_of_same_group(&self, other: &Self) -> bool {
        (self.term(), self.host) == (other.term(), other.host)
    }

    /// The same epoch, which was left before: what was opened in it stays opened.
    pub(super) fn go_on_from(&mut self, left: Self) {
        self.senders.extend(left.senders);
    }

    /// Whether `peer` is here, at `leaf`.
    pub(super) fn has(&self, leaf: u32, peer: PeerId) -> bool {
        self.senders.get(&leaf).is_some_and(|sender| sender.peer == peer)
    }
}

impl Sender {
    pub(super) fn track(&mut self, lane: Lane) -> &mut Track {
        &mut self.tracks[lane.index()]
    }
}
