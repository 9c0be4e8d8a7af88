//! The life of a session, from supply to end, as state machines.
//!
//! For: deciding, at every step of the flow charts (design, section 2), what a host and a member do next; and
//! going on from that step after a crash. Not for: doing it. A machine is a plain value; its driver
//! 1. hands it an input with the time,
//! 2. puts the changed machine (and what must be durable with it: slots, receipts) on disk in one transaction,
//! 3. only then carries out the outputs.
//!
//! The idea: machines talk over a [`Channel`], which survives loss, duplication and crashes, so that a step
//! is written down once, as if nothing ever failed. Outputs are either idempotent or repeated after a restart
//! by [`Input::Restarted`].
//!
//! - [`supply`]: the host's way to a ticket (ST1-4, 10-13);
//! - [`role`]: host or member, and how the one becomes the other;
//! - [`host`]: inviting, granting, starting, ending (Figs. 7 and 9);
//! - [`member`]: answering, receiving, running (Figs. 8 and 10);
//! - [`membership`]: a host's word that somebody belongs to its session;
//! - [`election`]: who is host when the host is gone;
//! - [`link`]: an invitation that people hand on.

pub mod channel;
mod commits;
pub mod election;
pub mod host;
pub mod link;
pub mod member;
pub mod membership;
mod message;
pub mod role;
mod shared;
pub mod step;
pub mod supply;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use channel::{Channel, MAX_IN_FLIGHT};
pub use commits::{CommitLog, MAX_COMMITS, MAX_COMMITS_SENT, MAX_COMMITS_SENT_SIZE, MAX_COMMITS_SIZE};
pub use election::{VoteRequest, VoteResponse};
pub use host::{Host, HostState};
pub use link::{Link, LinkRefusal, LinkSecret};
pub use member::{Invited, Member, MemberState};
pub use membership::Membership;
pub use message::{
    Acceptance, Admission, Change, Claim, Contact, DeclineReason, Grant, HandOver, Invitation, MAX_ADDRESSES,
    Message, Roster, RosterEntry, SeatState, bounded,
};
pub use role::Role;
pub use step::{Context, Input, Output, Randomness, StepError};
pub use supply::{Supply, SupplyInput, SupplyOutput, SupplyState};

/// Most members that one session can have, the declined and departed included.
pub const MAX_SEATS: usize = 256;
/// Most changes of the host that a session remembers; the oldest are forgotten.
pub const MAX_HOSTS: usize = 16;
/// After how long without a sign of the host another one takes over, unless the host says otherwise.
pub const TAKEOVER: Duration = Duration::from_secs(60);
/// The shortest such time.
pub const TAKEOVER_MIN: Duration = Duration::from_secs(2);
/// The longest.
pub const TAKEOVER_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
