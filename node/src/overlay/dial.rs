//! Calls under way, and what waits for them.
//!
//! The idea: all addresses of a peer are tried at once, and each once; those that become known meanwhile, too (from
//! rendezvous points, see `search`). When nothing is under way any more, everybody who waits is told why.

use std::collections::HashMap;

use libp2p::{
    Multiaddr,
    core::transport::TransportError,
    swarm::{ConnectionId, DialError},
};
use parlor_proto::{
    identity::PeerId,
    wire::{Request, Response},
};
use tokio::sync::oneshot;

use super::{
    address::Address,
    error::{ConnectError, RequestError, innermost},
};

/// Addresses that a reason names; it is one line.
const NAMED_IN_REASON: usize = 3;

/// What is to happen once the peer is connected.
pub(crate) enum Waiter {
    /// A stream for a program's bytes: relayed connections are closed first, if there is a direct one.
    Stream(oneshot::Sender<Result<(), ConnectError>>),
    /// To know that it is a Parlor node.
    Node(oneshot::Sender<Result<(), ConnectError>>),
    /// It is a rendezvous point, and is asked what waits for it.
    Search,
    /// This request is sent.
    Request(Request, oneshot::Sender<Result<Response, RequestError>>),
}

impl Waiter {
    pub(crate) fn fail(self, error: ConnectError) {
        // Nobody waits any more: nothing to do.
        match self {
            Self::Stream(answer) | Self::Node(answer) => drop(answer.send(Err(error))),
            // The driver sees to what was to be asked.
            Self::Search => {}
            Self::Request(_, answer) => drop(answer.send(Err(error.into()))),
        }
    }
}

/// An attempt to connect to one peer, or the time from there to its identification.
#[derive(Default)]
pub(crate) struct Dial {
    /// Places tried since the peer was last connected.
    pub(crate) tried: Vec<Multiaddr>,
    /// Calls of ours that have not ended.
    pub(crate) attempts: Vec<ConnectionId>,
    /// Whether rendezvous points have been asked.
    pub(crate) is_searched: bool,
    pub(crate) waiters: Vec<Waiter>,
    reasons: Vec<String>,
}

impl Dial {
    /// Notes why an attempt failed. The place where somebody else answered, if that is why.
    pub(crate) fn failed(&mut self, error: &DialError) -> Option<Multiaddr> {
        match error {
            DialError::Transport(errors) => {
                self.reasons.extend(errors.iter().map(|(address, error)| at(address, &cause(error))));
            }
            DialError::WrongPeerId { address, .. } => {
                let place = Address::from(address.clone()).place();
                self.reasons.push(at(address, "another node answers there"));
                return Some(place);
            }
            DialError::LocalPeerId { address } => {
                self.reasons.push(at(address, "this node itself answers there"));
                return Some(Address::from(address.clone()).place());
            }
            DialError::Denied { .. } => self.reasons.push("too many connections".into()),
            // Every address is one of this node's own.
            DialError::NoAddresses => self.reasons.push("its addresses are this node's own".into()),
            DialError::Aborted | DialError::DialPeerConditionFalse(_) => {
                self.reasons.push("the attempt was given up".into());
            }
        }
        None
    }

    /// Why the peer could not be reached, after all.
    pub(crate) fn error(&self, peer: PeerId) -> ConnectError {
        if self.reasons.is_empty() {
            return ConnectError::NoAddress(peer);
        }
        let mut reason = self.reasons[..self.reasons.len().min(NAMED_IN_REASON)].join("; ");
        if let Some(more) = self.reasons.len().checked_sub(NAMED_IN_REASON).filter(|more| *more > 0) {
            reason.push_str(&format!("; and {more} more"));
        }
        ConnectError::Unreachable { peer, reason }
    }
}

/// Attempts by peer. As many as callers of this node, partners, and nodes nearby.
pub(crate) type Dials = HashMap<PeerId, Dial>;

fn at(address: &Multiaddr, reason: &str) -> String {
    format!("{}: {reason}", Address::from(address.clone()).place())
}

fn cause(error: &TransportError<std::io::Error>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => "this kind of address is not supported".into(),
        TransportError::Other(error) => innermost(error),
    }
}
