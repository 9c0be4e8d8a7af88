//! The closed group's third lock: who gets the bytes of a group at all.
//!
//! For: [`Gate`], a libp2p behaviour that carries any number of groups, each over its own gossipsub, each
//! shown to that group's members only. Not for: who is a member (the roster says so) and what the bytes mean
//! (they are encrypted, and their senders checked, above).
//!
//! The idea: gossipsub has no way to close a topic: whoever connects and subscribes is served. So every group
//! has a gossipsub of its own behind this gate, and the gate decides whom it ever hears of. On a connection to
//! a stranger the group's protocol is neither offered nor accepted nor listed, and that gossipsub does not
//! know the stranger exists. Membership may begin and end on a live connection.
//!
//! Two nodes may have several connections, and gossipsub loses messages if it sees more than one. So exactly
//! one connection carries a group between two members, and one of the two chooses it:
//!
//! - **the leader**, the one with the smaller peer id, opens a stream on the connection of its choice, and
//!   again on another one when that is lost;
//! - **the follower** takes every stream of the leader's as a fresh start, on the connection where it arrives,
//!   and answers there with its own;
//! - a follower that (again) admits its leader says so by opening the group's *ready* protocol, upon which
//!   the leader starts afresh. So nobody has to poll, and a member that was removed and admitted again works
//!   on the same connection: both ends start with new handlers.
//!
//! A fresh start is what makes this safe: gossipsub announces its subscription only once per connection it
//! knows of, and gives up on a connection after a handful of streams. Behind the gate, a *lane* (one
//! gossipsub handler on one connection) stands for a connection, and can be replaced as often as needed.
//! Refused streams, after which gossipsub would give up for good, are hidden from it and tried again.
//!
//! Beside each lane runs the direct path: a stream each way, on the same connection, of bare frames. It is for
//! realtime messages, which may be lost, and need no signature because the peer at the other end is their
//! author. Members without such a path get them by gossipsub.

mod attempt;
mod behaviour;
mod gossip;
mod group;
mod handler;
mod lane;
mod members;
mod place;
mod queue;
mod realtime;
mod trace;
mod upgrade;

#[cfg(test)]
mod tests;

pub(crate) use group::{Event, MAX_PAYLOAD, PublishError};
pub(crate) use members::Gate;
