//! Why something that a member said is dropped, and how often that is told.
//!
//! For: one line in the log for each kind of thing that goes wrong, at once; and not one line a frame, however many
//! come. Not for: deciding what is dropped.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parlor_proto::{
    group::lanes::{Lane, NoRoom, OpenError},
    identity::PeerId,
    ids::SessionId,
    rights::{DecodeError, VerifyError},
};

/// How often the same is told of the same member.
const EVERY: Duration = Duration::from_secs(1);
/// About how many members and reasons together it is told apart.
const MAX_KINDS: usize = 512;

/// Why it is dropped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Complaint {
    #[error("who says it is not a member")]
    NotAMember,
    #[error("who asks for updates is not a member")]
    AskedByNonMember,
    #[error("who asks for updates is being answered already")]
    AsksTooMuch,
    #[error("it is no frame of a lane")]
    NoLane,
    #[error("it is more than one member may say")]
    TooMuch,
    #[error("this node has no keys of the group")]
    NoKeys,
    #[error("it came before its keys, and {0}")]
    NoRoom(#[from] NoRoom),
    #[error("it is {0}")]
    Closed(#[from] OpenError),
    #[error("what is in it cannot be read")]
    Unreadable,
    #[error("what is in it is no update: {0}")]
    NoUpdate(#[from] DecodeError),
    #[error("it is an update of another session")]
    AnotherSession,
    #[error("it is an update by {0}, who is not known here to be or to have been a member")]
    Stranger(PeerId),
    #[error("it is an update in the name of {0}")]
    AnotherName(PeerId),
    #[error("it is an update that is forged: {0}")]
    ForgedUpdate(#[from] VerifyError),
    #[error("{0} has said two things under one number")]
    Fork(PeerId),
    #[error("it is not deeper than the update before it")]
    Shallow,
    #[error("as much as may be of its updates is kept")]
    Full,
    #[error("more of it waits to be written than one member may have waiting")]
    Busy,
}

impl Complaint {
    /// Sets kinds apart, whatever a frame says.
    fn kind(&self) -> u8 {
        match self {
            Self::NotAMember => 0,
            Self::NoLane => 1,
            Self::TooMuch => 2,
            Self::NoKeys => 3,
            Self::NoRoom(_) => 4,
            Self::Unreadable => 5,
            Self::NoUpdate(_) => 6,
            Self::AnotherName(_) => 7,
            Self::ForgedUpdate(_) => 8,
            Self::Full => 9,
            Self::Busy => 10,
            Self::Fork(_) => 22,
            Self::Shallow => 23,
            Self::AskedByNonMember => 20,
            Self::AsksTooMuch => 21,
            Self::AnotherSession => 18,
            Self::Stranger(_) => 19,
            Self::Closed(OpenError::Malformed) => 11,
            Self::Closed(OpenError::Ahead { .. }) => 12,
            Self::Closed(OpenError::UnknownEpoch { .. }) => 13,
            Self::Closed(OpenError::UnknownSender) => 14,
            Self::Closed(OpenError::Mine) => 15,
            Self::Closed(OpenError::Replay) => 16,
            Self::Closed(OpenError::Forged) => 17,
            Self::Closed(OpenError::Forked { .. }) => 22,
        }
    }

    /// Whether it happens among honest members: while keys or the roster change, to a node that is busy, and with
    /// realtime messages, which may come over two ways.
    fn is_common(&self, lane: Option<Lane>) -> bool {
        match self {
            Self::NoKeys | Self::NoRoom(_) | Self::Stranger(_) | Self::Full | Self::Busy => true,
            Self::Closed(OpenError::Ahead { .. } | OpenError::UnknownEpoch { .. } | OpenError::Mine) => true,
            // While one part of a torn group comes over to the other's host.
            Self::Closed(OpenError::Forked { .. }) => true,
            Self::Closed(OpenError::Replay) => lane == Some(Lane::Realtime),
            _ => false,
        }
    }
}

/// What was told of a session's group.
#[derive(Debug)]
pub(super) struct Complaints {
    session: SessionId,
    told: HashMap<Kind, Told>,
}

/// Whose, and what. Those who are no members are told as one: there may be any number of them.
type Kind = (Option<PeerId>, u8);

fn kind_of(author: PeerId, complaint: &Complaint) -> Kind {
    let is_member = !matches!(complaint, Complaint::NotAMember | Complaint::AskedByNonMember);
    (is_member.then_some(author), complaint.kind())
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// How many of the kind came.
    in_all: u64,
}

impl Complaints {
    pub(super) fn new(session: SessionId) -> Self {
        Self { session, told: HashMap::new() }
    }

    /// Something that `author` said, in that lane if it is known, is dropped.
    pub(super) fn tell(&mut self, author: PeerId, lane: Option<Lane>, complaint: &Complaint) {
        let Some(in_all) = self.count(kind_of(author, complaint), Instant::now()) else { return };
        let session = self.session;
        if complaint.is_common(lane) {
            tracing::debug!(%session, %author, ?lane, in_all, why = %complaint, "what a member said is dropped");
        } else {
            tracing::warn!(%session, %author, ?lane, in_all, why = %complaint, "what a member said is dropped");
        }
    }

    /// How many there were, if it is to be told now.
    fn count(&mut self, kind: Kind, now: Instant) -> Option<u64> {
        if let Some(told) = self.told.get_mut(&kind) {
            told.in_all += 1;
            let is_due = now.saturating_duration_since(told.at) >= EVERY;
            if is_due {
                told.at = now;
            }
            return is_due.then_some(told.in_all);
        }
        if self.told.len() >= MAX_KINDS {
            self.told.retain(|_, told| now.saturating_duration_since(told.at) < EVERY);
        }
        // A flood of kinds is told no further than there is room.
        let has_room = self.told.len() < MAX_KINDS;
        if has_room {
            self.told.insert(kind, Told { at: now, in_all: 1 });
        }
        has_room.then_some(1)
    }
}

#[cfg(test)]
impl Complaints {
    /// How many there were of that kind.
    pub(super) fn times(&self, author: PeerId, complaint: &Complaint) -> u64 {
        self.told.get(&kind_of(author, complaint)).map_or(0, |told| told.in_all)
    }
}

#[cfg(test)]
mod tests {
    use parlor_proto::identity::Identity;

    use super::*;

    fn peer(number: u16) -> PeerId {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        Identity::from_seed(&seed).peer()
    }

    #[test]
    fn each_kind_is_told_at_once_and_then_once_a_second() {
        let (mut complaints, start) = (Complaints::new(SessionId([1; 16])), Instant::now());
        let forged = kind_of(peer(1), &Complaint::Closed(OpenError::Forged));
        let replay = kind_of(peer(1), &Complaint::Closed(OpenError::Replay));
        assert_eq!(complaints.count(forged, start), Some(1));
        assert_eq!(complaints.count(replay, start), Some(1), "another kind");
        assert_eq!(complaints.count((Some(peer(2)), forged.1), start), Some(1), "another member");
        for _ in 0..99 {
            assert_eq!(complaints.count(forged, start), None);
        }
        assert_eq!(complaints.count(forged, start + EVERY), Some(101));
        assert_eq!(complaints.count(forged, start + EVERY), None);
    }

    #[test]
    fn a_flood_of_kinds_takes_no_more_room() {
        let (mut complaints, start) = (Complaints::new(SessionId([1; 16])), Instant::now());
        let told = (0..600).filter(|n| complaints.count((Some(peer(*n)), 0), start).is_some()).count();
        assert_eq!((told, complaints.told.len()), (MAX_KINDS, MAX_KINDS));
        assert_eq!(complaints.count((Some(peer(600)), 0), start + EVERY), Some(1), "old ones make room");
        assert_eq!(complaints.told.len(), 1);
        let strangers = (0..600).map(|n| kind_of(peer(n), &Complaint::NotAMember));
        let told = strangers.filter(|kind| complaints.count(*kind, start + EVERY).is_some()).count();
        assert_eq!((told, complaints.told.len()), (1, 2), "any number of strangers");
    }

    #[test]
    fn a_realtime_message_that_comes_twice_is_nothing_special() {
        let replay = Complaint::Closed(OpenError::Replay);
        assert!(replay.is_common(Some(Lane::Realtime)));
        assert!(!replay.is_common(Some(Lane::Updates)));
        assert!(!Complaint::Closed(OpenError::Forged).is_common(Some(Lane::Realtime)));
    }
}
