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
//! by [`HostInput::Restarted`] and [`MemberInput::Restarted`].
//!
//! - [`supply`]: the host's way to a ticket (ST1-4, 10-13);
//! - [`host`]: inviting, granting, starting, ending (Figs. 7 and 9);
//! - [`member`]: answering, receiving, running (Figs. 8 and 10).

pub mod channel;
pub mod host;
pub mod member;
mod message;
pub mod supply;
#[cfg(test)]
mod tests;

pub use channel::{Channel, MAX_IN_FLIGHT};
pub use host::{Host, HostInput, HostOutput, HostState};
pub use member::{Invited, Member, MemberInput, MemberOutput, MemberState};
pub use message::{
    Contact, DeclineReason, Invitation, MAX_ADDRESSES, Message, Roster, RosterEntry, SeatState, bounded,
};
pub use supply::{Supply, SupplyInput, SupplyOutput, SupplyState};

/// Most members that one session can have, the declined and departed included.
pub const MAX_SEATS: usize = 256;
