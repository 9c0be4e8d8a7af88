//! Lanes: what the members of a group say to each other, sealed.
//!
//! For: turning a message into a frame that only the group's members can read, and back; telling which epoch,
//! sender, lane and session a frame belongs to; letting each frame through once. Not for: the keys themselves
//! (see [`super::keys`]), for what is in a frame, nor for getting it anywhere.
//!
//! The idea, that of SFrame and DAVE: each member has, in each epoch and lane, a key of its own, taken from the
//! MLS exporter. So a frame can be opened whatever else was lost, and no state is written for it. Frames
//! are XChaCha20-Poly1305 with [`OVERHEAD`] bytes around the plaintext:
//!
//! - *header*: epoch (8), its [`EpochTag`] (8), leaf of the sender (4), boot (8), counter (8), salt (8), big-endian;
//! - *nonce* (24 bytes): boot, counter, salt. A counter starts again with each run of the node, so **`boot` must never
//!   repeat**: the node keeps it on disk and raises it at each start, before the first frame. A node cannot tell that it
//!   was copied (a running virtual machine, or a home whose clock then stood still): the **salt is random in each frame**,
//!   so that not even copies use a nonce twice;
//! - *authenticated besides*: the header, the session, the lane. A frame passes nowhere but where it was made for.
//!
//! **What a lane does not prove is the sender**: every member can compute every member's keys. So
//! [`Lanes::open`] wants to know from whom the frame came, from something that the source cannot deny
//! (gossipsub's signature, the connection), and opens it only if that is the sender. Updates are signed inside too.
//!
//! **Epochs.** A node seals in the epoch that it has come to last. Epochs are told apart by their tags, not by their
//! numbers: two hosts of one term have epochs of the same numbers, and of two that differ the node goes with the one that
//! it is given. Frames of earlier ones, still under way, open for
//! [`GRACE_ADDED`], or [`GRACE_REMOVED`] once somebody was put out, whose own frames open no more at all. Frames
//! of later ones wait in a [`WaitingRoom`] while the commit is pulled.
//!
//! **Hosts.** The upper half of an epoch's number is its [`term`]. When another host takes over, a higher term begins,
//! with an MLS group of its own in which everyone has another leaf; after a network was torn, two hosts may have one term,
//! and all end up with one of them. Some come to the new group later than others, so the last epoch of the group before
//! opens for [`GRACE_TERM`], and whoever was in it is heard, unless the new group puts it out. However far ahead a higher
//! term's epoch is, its frames are worth waiting for.
//!
//! **Replays.** Within a run of *this* node no frame opens twice. Which frames it opened is not kept on disk, so one
//! that was opened before a restart could be opened once more after it, in the same epoch: updates are numbered
//! inside; a realtime message might be heard again.

mod epoch;
mod error;
mod frame;
#[cfg(test)]
mod tests;
mod waiting;
mod window;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use chacha20poly1305::{Tag, aead::AeadInOut as _};

pub use error::{EnterError, OpenError, SealError};
pub use waiting::{
    MAX_WAITING, MAX_WAITING_BYTES, MAX_WAITING_BYTES_OF_ONE, MAX_WAITING_OF_ONE, NoRoom, Waiting,
    WaitingRoom,
};

use self::{
    epoch::Epoch,
    frame::{HEADER_LEN, Header, TAG_LEN},
};
use super::{
    MAX_PAYLOAD,
    keys::{EpochTag, GroupKeys, MlsError},
};
use crate::{identity::PeerId, ids::SessionId, time::Timestamp};

/// What a frame is longer than its plaintext, bytes.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// Longest plaintext, bytes: an update with its signature, or a realtime message.
pub const MAX_PLAINTEXT: usize = MAX_PAYLOAD + 1_024;
/// How long frames of an epoch open after the next one began, if all its members are still in.
pub const GRACE_ADDED: Duration = Duration::from_secs(10);
/// The same, if somebody was put out: the shorter, the less it can still overhear.
pub const GRACE_REMOVED: Duration = Duration::from_secs(2);
/// How long frames of a host's last epoch open after another host's began here.
pub const GRACE_TERM: Duration = Duration::from_secs(60);
/// How far ahead in its term a frame's epoch may be to be worth waiting for.
pub const MAX_AHEAD: u64 = 2;
/// Of how many earlier epochs frames open at most: so many of this host, and so many of earlier ones.
const MAX_OLD: usize = 4;

/// The term of an epoch: the upper half of its number.
#[must_use]
pub fn term(epoch: u64) -> u32 {
    (epoch >> 32) as u32
}

/// Fresh randomness for one frame, straight from the operating system: a generator in the node's memory is copied with it.
pub type Salt = [u8; 8];

/// Which kind of traffic a frame belongs to. Each has its own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Durable; for everyone.
    Updates,
    /// Fire and forget.
    Realtime,
    /// What nodes say to each other for themselves ([`super::Control`]).
    Control,
}

impl Lane {
    /// Each of them, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Updates, Self::Realtime, Self::Control];

    /// How it is written where keys are derived and frames authenticated, and before a frame on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Updates => 1,
            Self::Realtime => 2,
            Self::Control => 3,
        }
    }

    /// The reverse of [`Lane::code`].
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.code() == code)
    }

    /// Its place in a table of what there is once for each lane.
    fn index(self) -> usize {
        usize::from(self.code()) - 1
    }
}

/// Seals and opens the frames of one node in one session.
pub struct Lanes {
    session: SessionId,
    me: PeerId,
    boot: u64,
    /// How many frames were sealed in this run, by lane.
    sealed: [u64; Lane::ALL.len()],
    current: Epoch,
    /// Earlier epochs, the newest first, and until when their frames open.
    old: VecDeque<(Epoch, Timestamp)>,
}

/// A frame's contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who sealed it.
    pub sender: PeerId,
    /// What it says.
    pub plaintext: Vec<u8>,
}

impl Lanes {
    /// With the keys of the epoch that the node is in. `boot`: greater than in any earlier run of this node in
    /// this session, and on disk already.
    ///
    /// Fails only for reasons inside openmls.
    pub fn new(keys: &GroupKeys, boot: u64) -> Result<Self, MlsError> {
        Ok(Self {
            session: keys.session(),
            me: keys.me(),
            boot,
            sealed: [0; Lane::ALL.len()],
            current: Epoch::of(keys)?,
            old: VecDeque::new(),
        })
    }

    /// In which frames are sealed.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.current.number
    }

    /// The node has these keys now, and they are on disk. To be told of each, in order: then [`WaitingRoom::release`].
    /// Whatever their number: another host of the same term begins anew, and its keys replace the ones before. What was
    /// sealed so far goes on being counted, so that no nonce comes again, not even with keys that come again.
    pub fn enter(&mut self, keys: &GroupKeys, now: Timestamp) -> Result<(), EnterError> {
        if (keys.session(), keys.me()) != (self.session, self.me) {
            return Err(EnterError::NotOurs);
        }
        if self.current.is_of(keys.epoch(), keys.tag()) {
            return Ok(());
        }
        self.move_on(Epoch::of(keys)?, now);
        Ok(())
    }

    /// To another epoch.
    fn move_on(&mut self, mut next: Epoch, now: Timestamp) {
        let known = self.old.iter().position(|(old, _)| old.is_of(next.number, next.state));
        if let Some((known, _)) = known.and_then(|known| self.old.remove(known)) {
            next.go_on_from(known);
        }
        let left = std::mem::replace(&mut self.current, next);
        if left.is_of_same_group(&self.current) {
            self.leave_epoch(left, now);
        } else {
            // Leaves of different groups have nothing to do with one another.
            self.old.push_front((left, now + GRACE_TERM));
        }
        let mut room = [MAX_OLD; 2];
        let current = &self.current;
        self.old.retain(|(epoch, _)| {
            let room = &mut room[usize::from(epoch.is_of_same_group(current))];
            let fits = *room > 0;
            *room = room.saturating_sub(1);
            fits
        });
        self.forget(now);
    }

    /// `left` was the epoch before this one, of the same group: whoever was put out is heard no more.
    fn leave_epoch(&mut self, left: Epoch, now: Timestamp) {
        let current = &self.current;
        let gone: BTreeSet<PeerId> = left
            .senders
            .iter()
            .filter(|(leaf, sender)| !current.has(**leaf, sender.peer))
            .map(|(_, sender)| sender.peer)
            .collect();
        self.old.push_front((left, now + GRACE_ADDED));
        for (epoch, until) in &mut self.old {
            if epoch.is_of_same_group(current) {
                epoch.senders.retain(|leaf, sender| current.has(*leaf, sender.peer));
                if !gone.is_empty() {
                    *until = (*until).min(now + GRACE_REMOVED);
                }
            } else {
                epoch.senders.retain(|_, sender| !gone.contains(&sender.peer));
            }
        }
    }

    /// Forgets the keys of epochs whose time is up. [`Lanes::open`] does so too; on a quiet line, call it at
    /// [`Lanes::due`].
    pub fn forget(&mut self, now: Timestamp) {
        self.old.retain(|(_, until)| *until > now);
    }

    /// When [`Lanes::forget`] next has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.old.iter().map(|(_, until)| *until).min()
    }

    /// A frame for everyone in the group. `salt`: see [`Salt`].
    pub fn seal(&mut self, lane: Lane, plaintext: &[u8], salt: Salt) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(SealError::TooLong(plaintext.len()));
        }
        let leaf = self.current.mine;
        let sender = self.current.senders.get_mut(&leaf).ok_or(SealError::NoKey)?;
        let counter = &mut self.sealed[lane.index()];
        let (epoch, state) = (self.current.number, self.current.state);
        let header = Header { epoch, state, leaf, boot: self.boot, counter: *counter, salt };
        // Before anything is sealed: whatever happens now, this nonce is used.
        *counter = counter.checked_add(1).ok_or(SealError::NoKey)?;

        let mut frame = Vec::with_capacity(plaintext.len() + OVERHEAD);
        frame.extend_from_slice(&header.write());
        frame.extend_from_slice(plaintext);
        let tag = sender
            .track(lane)
            .cipher
            .encrypt_inout_detached(
                &header.nonce(),
                &header.aad(self.session, lane),
                (&mut frame[HEADER_LEN..]).into(),
            )
            .map_err(|_| SealError::TooLong(plaintext.len()))?;
        frame.extend_from_slice(&tag);
        Ok(frame)
    }

    /// What is in a frame that came in `lane` from `source` (see the module's remarks on who that is).
    pub fn open(
        &mut self,
        lane: Lane,
        source: PeerId,
        frame: &[u8],
        now: Timestamp,
    ) -> Result<Opened, OpenError> {
        self.forget(now);
        if frame.len() < OVERHEAD || frame.len() > OVERHEAD + MAX_PLAINTEXT {
            return Err(OpenError::Malformed);
        }
        let header = Header::read(frame).ok_or(OpenError::Malformed)?;
        let (session, me) = (self.session, self.me);
        let sender = self.epoch_mut(header.epoch, header.state)?.senders.get_mut(&header.leaf);
        let sender = sender.ok_or(OpenError::UnknownSender)?;
        let peer = sender.peer;
        if peer != source {
            return Err(OpenError::Forged);
        }
        if peer == me {
            return Err(OpenError::Mine);
        }
        let track = sender.track(lane);
        if !track.window.is_new(header.boot, header.counter) {
            return Err(OpenError::Replay);
        }
        let (ciphertext, tag) =
            frame[HEADER_LEN..].split_last_chunk::<TAG_LEN>().ok_or(OpenError::Malformed)?;
        let mut plaintext = ciphertext.to_vec();
        track
            .cipher
            .decrypt_inout_detached(
                &header.nonce(),
                &header.aad(session, lane),
                plaintext.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| OpenError::Forged)?;
        track.window.note(header.boot, header.counter);
        Ok(Opened { sender: peer, plaintext })
    }

    fn epoch_mut(&mut self, epoch: u64, state: EpochTag) -> Result<&mut Epoch, OpenError> {
        let (newest, newest_term) = (self.current.number, self.current.term());
        let mut known = std::iter::once(&mut self.current).chain(self.old.iter_mut().map(|(old, _)| old));
        let mut has_number = false;
        let known = known.find(|known| {
            has_number |= known.number == epoch;
            known.is_of(epoch, state)
        });
        let is_near = (1..=MAX_AHEAD).contains(&epoch.saturating_sub(newest));
        match known {
            Some(known) => Ok(known),
            None if is_near || term(epoch) > newest_term => Err(OpenError::Ahead { epoch }),
            None if has_number => Err(OpenError::Forked { epoch }),
            None => Err(OpenError::UnknownEpoch { epoch }),
        }
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes")
            .field("session", &self.session)
            .field("epoch", &self.current.number)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}
