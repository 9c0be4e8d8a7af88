//! What goes out to a session's group and comes in from it: sealed, opened, and no more than may be.
//!
//! For: [`Door`], which turns what this node says into packets and packets into what a member said. Not for: what
//! becomes of that; nor for updates that are pulled, which go over a member's own connection unsealed.
//!
//! The idea: a packet is the byte of its lane and a sealed frame. It is dropped as early as can be: unread, if it is
//! of no member or of one that says too much; then if it cannot be opened; nothing here waits for the disk.
//! Frames of keys that this node has not got yet wait for them, in a bounded room. Without any keys nothing is sealed
//! and nothing waits: updates are pulled once there are some.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parlor_proto::{
    group::{
        keys::{GroupKeys, MlsError},
        lanes::{EnterError, Lane, Lanes, OpenError, Salt, SealError, Waiting, WaitingRoom},
        rate::{Allowance, Limits},
    },
    identity::PeerId,
    time::Timestamp,
};
use rand::{TryRng as _, rngs::SysRng};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::complaint::Complaint;

/// How many updates of one member may wait for the writer.
const MAX_QUEUED_OF_ONE: usize = 256;
/// How many questions of one member are answered at a time.
const MAX_ASKED_BY_ONE: usize = 2;

/// Why this node's words do not go out.
#[derive(Debug, thiserror::Error)]
pub(super) enum SayError {
    #[error("this node has no keys of the group yet")]
    NoKeys,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the operating system gives no randomness: {0}")]
    Random(#[from] rand::rngs::SysError),
}

/// What a member said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) author: PeerId,
    pub(super) lane: Lane,
    pub(super) plaintext: Vec<u8>,
}

/// What becomes of a frame of somebody's.
pub(super) type Opened = (PeerId, Result<Said, Shut>);

/// What becomes of a packet that is not opened.
#[derive(Debug)]
pub(super) enum Shut {
    /// It is dropped.
    Dropped(Option<Lane>, Complaint),
    /// It waits for the keys of that epoch.
    Waits(u64),
}

pub(super) struct Door {
    boot: u64,
    lanes: Option<Lanes>,
    waiting: WaitingRoom,
    members: BTreeMap<PeerId, Member>,
}

/// What one member may still say.
struct Member {
    left: [Allowance; Lane::ALL.len()],
    /// Places in the writer's queue.
    places: Arc<Semaphore>,
    /// Answers that it may be waiting for.
    answers: Arc<Semaphore>,
}

impl Member {
    fn new(now: Timestamp) -> Self {
        let left = Lane::ALL.map(|lane| Allowance::new(Limits::of(lane), now));
        let [places, answers] =
            [MAX_QUEUED_OF_ONE, MAX_ASKED_BY_ONE].map(|most| Arc::new(Semaphore::new(most)));
        Self { left, places, answers }
    }
}

impl Door {
    /// See [`Lanes::new`] on `boot`.
    pub(super) fn new(boot: u64, keys: Option<&GroupKeys>) -> Result<Self, MlsError> {
        let lanes = keys.map(|keys| Lanes::new(keys, boot)).transpose()?;
        Ok(Self { boot, lanes, waiting: WaitingRoom::default(), members: BTreeMap::new() })
    }

    pub(super) fn set_members(&mut self, members: &BTreeSet<PeerId>, now: Timestamp) {
        self.members.retain(|peer, _| members.contains(peer));
        for peer in members {
            self.members.entry(*peer).or_insert_with(|| Member::new(now));
        }
    }

    /// The keys of now; see [`Lanes::enter`]. What waited for them comes out.
    pub(super) fn enter(&mut self, keys: &GroupKeys, now: Timestamp) -> Result<Vec<Opened>, EnterError> {
        let before = self.epoch();
        match &mut self.lanes {
            Some(lanes) => lanes.enter(keys, now)?,
            None => self.lanes = Some(Lanes::new(keys, self.boot)?),
        }
        // Another host's epochs may have lower numbers: all come out, and wait again if it is not their time.
        let reached = if self.epoch() < before { u64::MAX } else { self.epoch() };
        let waited = self.waiting.release(reached);
        let open = |Waiting { lane, source, frame }| (source, self.open_frame(source, lane, &frame, now));
        Ok(waited.into_iter().map(open).collect())
    }

    /// 0 without keys.
    pub(super) fn epoch(&self) -> u64 {
        self.lanes.as_ref().map_or(0, Lanes::epoch)
    }

    pub(super) fn has_keys(&self) -> bool {
        self.lanes.is_some()
    }

    /// Keys whose time is up are erased.
    pub(super) fn forget(&mut self, now: Timestamp) {
        if let Some(lanes) = &mut self.lanes {
            lanes.forget(now);
        }
    }

    /// A packet for everyone in the group.
    pub(super) fn seal(&mut self, lane: Lane, plaintext: &[u8]) -> Result<Vec<u8>, SayError> {
        let mut salt = Salt::default();
        SysRng.try_fill_bytes(&mut salt)?;
        let frame = self.lanes.as_mut().ok_or(SayError::NoKeys)?.seal(lane, plaintext, salt)?;
        let mut packet = Vec::with_capacity(1 + frame.len());
        packet.push(lane.code());
        packet.extend_from_slice(&frame);
        Ok(packet)
    }

    /// What is in a packet of `author`, who cannot deny it (see [`parlor_proto::group::lanes`]).
    pub(super) fn open(&mut self, author: PeerId, packet: &[u8], now: Timestamp) -> Result<Said, Shut> {
        let member = self.members.get_mut(&author).ok_or(Shut::Dropped(None, Complaint::NotAMember))?;
        let (lane, frame) = packet
            .split_first()
            .and_then(|(code, frame)| Some((Lane::from_code(*code)?, frame)))
            .ok_or(Shut::Dropped(None, Complaint::NoLane))?;
        let index = usize::from(lane.code()) - 1;
        if !member.left[index].spend(packet.len(), now) {
            return Err(Shut::Dropped(Some(lane), Complaint::TooMuch));
        }
        let opened = self.open_frame(author, lane, frame, now);
        // What came over two ways was said once; telling that costs next to nothing.
        if let (Err(Shut::Dropped(_, Complaint::Closed(OpenError::Replay))), Some(member)) =
            (&opened, self.members.get_mut(&author))
        {
            member.left[index].refund(packet.len());
        }
        opened
    }

    fn open_frame(&mut self, author: PeerId, lane: Lane, frame: &[u8], now: Timestamp) -> Result<Said, Shut> {
        let dropped = |complaint| Shut::Dropped(Some(lane), complaint);
        let lanes = self.lanes.as_mut().ok_or(dropped(Complaint::NoKeys))?;
        match lanes.open(lane, author, frame, now) {
            Ok(opened) => Ok(Said { author: opened.sender, lane, plaintext: opened.plaintext }),
            Err(OpenError::Ahead { epoch }) => {
                let waiting = Waiting { lane, source: author, frame: frame.to_vec() };
                self.waiting.push(waiting).map_err(|full| dropped(full.into()))?;
                Err(Shut::Waits(epoch))
            }
            Err(error) => Err(dropped(error.into())),
        }
    }

    /// A place for an update of `author` in the writer's queue; it is given back when dropped.
    pub(super) fn place(&self, author: &PeerId) -> Result<OwnedSemaphorePermit, Complaint> {
        let places = &self.members.get(author).ok_or(Complaint::NotAMember)?.places;
        Arc::clone(places).try_acquire_owned().map_err(|_| Complaint::Busy)
    }

    /// Whether `asker` is to be answered; for as long as what is returned is kept.
    pub(super) fn answer(&self, asker: &PeerId) -> Result<OwnedSemaphorePermit, Complaint> {
        let answers = &self.members.get(asker).ok_or(Complaint::AskedByNonMember)?.answers;
        Arc::clone(answers).try_acquire_owned().map_err(|_| Complaint::AsksTooMuch)
    }
}
