//! The right: a ticket, and for a member its slot, that hang together.
//!
//! For: the one value that says "this node may have a copy". Not for: finding out whether two nodes show the
//! same slot (see [`super::equivocation`]).
//!
//! N slots and the host itself, which needs none: N+1 nodes with the program in all.

use serde::{Deserialize, Serialize};

use super::{Signed, Slot, SlotError, Ticket, TicketError, Verified, VerifyError};
use crate::{identity::PeerId, time::Timestamp};

/// Proof that its holder may have a copy. Only made out of items that were checked against one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    ticket: Verified<Ticket>,
    slot: Option<Verified<Slot>>,
}

/// A right as it is sent: nothing is checked but the structure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRight {
    /// The origin's ticket.
    pub ticket: Signed<Ticket>,
    /// The host's slot; `None` is the host's own right.
    pub slot: Option<Signed<Slot>>,
}

/// Why something is not a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RightError {
    /// A forged ticket or slot.
    #[error(transparent)]
    Forged(#[from] VerifyError),
    /// The ticket is not good now.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The slot is not one of the ticket.
    #[error(transparent)]
    Slot(#[from] SlotError),
}

impl Right {
    /// The right of the ticket's host itself, if it is good at `now`.
    pub fn host(ticket: Verified<Ticket>, now: Timestamp) -> Result<Self, RightError> {
        ticket.check_time(now)?;
        Ok(Self { ticket, slot: None })
    }

    /// The right of the slot's member, if it is good at `now`.
    pub fn member(
        ticket: Verified<Ticket>,
        slot: Verified<Slot>,
        now: Timestamp,
    ) -> Result<Self, RightError> {
        ticket.check_time(now)?;
        slot.check(&ticket)?;
        Ok(Self { ticket, slot: Some(slot) })
    }

    /// The right of the ticket's host itself, whenever it is good.
    #[must_use]
    pub fn of_host(ticket: Verified<Ticket>) -> Self {
        Self { ticket, slot: None }
    }

    /// The right of the slot's member, whenever it is good.
    pub fn of_member(ticket: Verified<Ticket>, slot: Verified<Slot>) -> Result<Self, SlotError> {
        slot.check(&ticket)?;
        Ok(Self { ticket, slot: Some(slot) })
    }

    /// Who may have a copy.
    #[must_use]
    pub fn holder(&self) -> PeerId {
        self.slot.as_ref().map_or(self.ticket.host, |slot| slot.member)
    }

    /// Who gave it: the origin to a host, a host to a member.
    #[must_use]
    pub fn granted_by(&self) -> PeerId {
        self.slot.as_ref().map_or(self.ticket.origin, |slot| slot.host)
    }

    /// All the hosts whose word it rests on: the ticket's, those who handed the number over, and the one who
    /// granted it. If one of them is a proven cheat, it is worth nothing.
    #[must_use]
    pub fn hosts(&self) -> Vec<PeerId> {
        let line = self.slot.as_ref().map(|slot| slot.line()).unwrap_or_default();
        let mut hosts = vec![self.ticket.host];
        hosts.extend(line.into_iter().map(|handover| handover.to));
        hosts
    }

    /// The ticket.
    #[must_use]
    pub fn ticket(&self) -> &Verified<Ticket> {
        &self.ticket
    }

    /// The slot; `None` if the holder is the host.
    #[must_use]
    pub fn slot(&self) -> Option<&Verified<Slot>> {
        self.slot.as_ref()
    }

    /// Whether it is good at `now`.
    pub fn check_time(&self, now: Timestamp) -> Result<(), TicketError> {
        self.ticket.check_time(now)
    }

    /// For sending it to somebody, who will verify it for themselves.
    #[must_use]
    pub fn to_signed(&self) -> SignedRight {
        SignedRight { ticket: self.ticket.to_signed(), slot: self.slot.as_ref().map(Verified::to_signed) }
    }
}

impl SignedRight {
    /// Checks all of it: whether it is a right, and good at `now`.
    pub fn verify(self, now: Timestamp) -> Result<Right, RightError> {
        let right = self.verify_chain()?;
        right.check_time(now)?;
        Ok(right)
    }

    /// Checks all but the time: whether it is a right that is, was or will be good. For those who look back,
    /// a billing peer say.
    pub fn verify_chain(self) -> Result<Right, RightError> {
        let ticket = self.ticket.verify()?;
        let slot = self.slot.map(Signed::verify).transpose()?;
        if let Some(slot) = &slot {
            slot.check(&ticket)?;
        }
        Ok(Right { ticket, slot })
    }
}
