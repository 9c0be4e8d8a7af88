//! Why a message is not sealed, and why a frame is not opened.

use super::MAX_PLAINTEXT;
use crate::group::keys::MlsError;

/// Why something cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// More than [`MAX_PLAINTEXT`].
    #[error("a message of {0} bytes is too long: {MAX_PLAINTEXT} is the most")]
    TooLong(usize),
    /// 2^64 frames in one run, or lanes of a node that is not in the group: neither can happen.
    #[error("there is no key left to seal with")]
    NoKey,
}

/// Why a frame stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short or too long.
    #[error("not a frame")]
    Malformed,
    /// At most [`super::MAX_AHEAD`] epochs on, or of a later term: keep it in a [`super::WaitingRoom`] and pull the commits. Unauthenticated.
    #[error("of an epoch that is still to come ({epoch})")]
    Ahead {
        /// Which.
        epoch: u64,
    },
    /// An epoch that is over, or too far away to wait for. If it is above [`super::Lanes::epoch`], this node may have
    /// missed a lot: pulling the commits tells. Unauthenticated.
    #[error("of an epoch without keys here ({epoch})")]
    UnknownEpoch {
        /// Which.
        epoch: u64,
    },
    /// An epoch of a number for which this node has keys, but other ones: the sender follows another host of the term, or
    /// another commit. Asking the host for commits tells which of the two is astray. Unauthenticated.
    #[error("of another group's epoch {epoch}")]
    Forked {
        /// Which.
        epoch: u64,
    },
    /// Nobody's in that epoch, or of somebody who was put out.
    #[error("of nobody in the group")]
    UnknownSender,
    /// This node's own.
    #[error("this node's own")]
    Mine,
    /// Opened before, or so late that it cannot be told.
    #[error("heard before, or too late")]
    Replay,
    /// Not sealed by who it came from, or for another lane or session, or changed on the way.
    #[error("forged or damaged")]
    Forged,
}

/// Why lanes cannot go on with the keys they are given.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// Of another session or node.
    #[error("the keys are of another session or node")]
    NotOurs,
    /// Reasons inside openmls.
    #[error(transparent)]
    Mls(#[from] MlsError),
}
