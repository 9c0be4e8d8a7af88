//! What can go wrong, one small type per operation, each one line for a user.

use std::io;

use libp2p::relay::outbound::hop::{ConnectError as CircuitError, ReserveError};
use parlor_proto::identity::PeerId;

use super::{address::Address, gate};

/// This node's own network has ended: it was stopped, or has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node's network has ended")]
pub struct Closed;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// One of the addresses asked for, or all of the default ones, cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Which one.
        address: Address,
        /// Why not.
        reason: String,
    },
    /// A part of the network stack is not available.
    #[error("cannot set up the network: {0}")]
    Setup(#[source] io::Error),
}

/// Why a peer is not connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address of it is known.
    #[error("cannot reach {0}: none of its addresses is known")]
    NoAddress(PeerId),
    /// None of its addresses led to it.
    #[error("cannot reach {peer}: {reason}")]
    Unreachable {
        /// Whom.
        peer: PeerId,
        /// What happened at its addresses, in short.
        reason: String,
    },
    /// There is something at its addresses that does not answer.
    #[error("cannot reach {0}: no answer")]
    TimedOut(PeerId),
    /// It runs some other libp2p program, or an incompatible version.
    #[error("{0} is not a Parlor node of this version")]
    NotParlor(PeerId),
    /// This is the node itself.
    #[error("{0} is this node")]
    Myself(PeerId),
    /// This node is shutting down.
    #[error("this node is shutting down")]
    Closed,
}

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The peer could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The peer heard the request and did not answer: it is busy, or has no answer.
    #[error("{0} refused the request")]
    Refused(PeerId),
    /// This node has as many requests to it under way as it may; the request was not sent.
    #[error("too many requests to {0} at once: try again")]
    TooMany(PeerId),
    /// The peer does not speak this protocol.
    #[error("{0} does not understand this request")]
    Unsupported(PeerId),
    /// No answer in time. The peer may have acted on the request.
    #[error("{0} did not answer in time")]
    TimedOut(PeerId),
    /// The connection was lost before the answer. The peer may have acted on the request.
    #[error("the connection to {0} was lost")]
    Lost(PeerId),
    /// The answer made no sense, or was too large.
    #[error("{peer} gave an answer that cannot be read: {reason}")]
    Garbled {
        /// Who.
        peer: PeerId,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The peer does not serve programs' bytes.
    #[error("{0} does not send programs")]
    Unsupported(PeerId),
    /// No answer in time.
    #[error("{0} did not answer in time")]
    TimedOut(PeerId),
    /// The connection was lost.
    #[error("the connection to {peer} was lost")]
    Io {
        /// To whom.
        peer: PeerId,
        /// How.
        source: io::Error,
    },
}

/// Why a message was not sent to a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// This group is not open here.
    #[error("this group is not open on this node")]
    NoGroup,
    /// More than [`super::MAX_GROUP_PAYLOAD`].
    #[error("a message of {0} bytes is too large: at most {max} are allowed", max = gate::MAX_PAYLOAD)]
    TooLarge(usize),
    /// No member is connected.
    #[error("no other member of the group is connected")]
    Alone,
    /// All members are slower than this node sends. Back-pressure: try again.
    #[error("the group cannot take messages this fast: try again")]
    Full,
    /// This node is shutting down.
    #[error("this node is shutting down")]
    Closed,
}

/// The innermost cause, which says it best, on one line.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        if let Some(words) = of_relay(cause) {
            return words.into();
        }
        cause = inner;
    }
    let words = of_relay(cause).map(str::to_owned);
    words.unwrap_or_else(|| cause.to_string().lines().next().unwrap_or_default().chars().take(120).collect())
}

/// What relays answer, in words for people.
fn of_relay(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<ReserveError>() {
        return match error {
            ReserveError::Refused => Some("the relay refuses"),
            ReserveError::ResourceLimitExceeded => Some("the relay has no room"),
            ReserveError::Unsupported => Some("it is no relay"),
            ReserveError::Io(_) | ReserveError::Protocol(_) => None,
        };
    }
    match error.downcast_ref::<CircuitError>()? {
        CircuitError::ResourceLimitExceeded => Some("the relay has no room"),
        CircuitError::ConnectionFailed => Some("the relay does not reach it"),
        CircuitError::NoReservation => Some("it is not at this relay now"),
        CircuitError::PermissionDenied => Some("the relay refuses"),
        CircuitError::Unsupported => Some("that is no relay"),
        CircuitError::Io(_) | CircuitError::Protocol(_) => None,
    }
}
