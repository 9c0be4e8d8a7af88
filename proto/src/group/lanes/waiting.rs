//! Frames that came before the commit that leads to their epoch.

use std::collections::VecDeque;

use super::{Lane, frame::Header};
use crate::identity::PeerId;

/// Most frames that wait.
pub const MAX_WAITING: usize = 1_024;
/// Most bytes that wait.
pub const MAX_WAITING_BYTES: usize = 8 << 20;
/// Most frames of one source that wait, so that none takes the room of the others.
pub const MAX_WAITING_OF_ONE: usize = 256;
/// Most bytes of one source that wait.
pub const MAX_WAITING_BYTES_OF_ONE: usize = 2 << 20;

/// A frame that waits, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// In which lane.
    pub lane: Lane,
    /// From whom.
    pub source: PeerId,
    /// Its bytes, unopened.
    pub frame: Vec<u8>,
}

/// Keeps frames of coming epochs ([`super::OpenError::Ahead`]) while the commits are pulled.
///
/// What waits is unauthenticated. When there is no room the newcomer is refused, not one that waits: an update
/// comes again when heads are compared, and a realtime message is allowed to be lost. Nothing is kept on disk.
#[derive(Debug, Default)]
pub struct WaitingRoom {
    frames: VecDeque<(u64, Waiting)>,
    bytes: usize,
}

/// There is no room: for this source, or at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many messages wait for new keys")]
pub struct NoRoom;

impl WaitingRoom {
    /// Keeps a frame.
    pub fn push(&mut self, waiting: Waiting) -> Result<(), NoRoom> {
        let Some(header) = Header::read(&waiting.frame) else { return Err(NoRoom) };
        let len = waiting.frame.len();
        let theirs = || self.frames.iter().filter(|(_, other)| other.source == waiting.source);
        let fits = self.frames.len() < MAX_WAITING
            && self.bytes + len <= MAX_WAITING_BYTES
            && theirs().count() < MAX_WAITING_OF_ONE
            && theirs().map(|(_, other)| other.frame.len()).sum::<usize>() + len <= MAX_WAITING_BYTES_OF_ONE;
        if !fits {
            return Err(NoRoom);
        }
        self.bytes += len;
        self.frames.push_back((header.epoch, waiting));
        Ok(())
    }

    /// The node has entered `epoch`: what waited for it (or for one before it), in the order in which it came.
    #[must_use]
    pub fn release(&mut self, epoch: u64) -> Vec<Waiting> {
        let (due, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.frames).into_iter().partition(|(of, _)| *of <= epoch);
        self.frames = rest;
        self.bytes = self.frames.iter().map(|(_, waiting)| waiting.frame.len()).sum();
        due.into_iter().map(|(_, waiting)| waiting).collect()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}
