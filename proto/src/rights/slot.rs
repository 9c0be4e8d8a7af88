//! The slot: a host's signed right of one member to one copy.
//!
//! For: what admits a member to a group and to the program's bytes (ST16). Not for: choosing the next free one
//! (see [`super::ledger`]).
//!
//! A slot is number `k` of its ticket, in a `generation`: 0 at first, one more each time that its holder gave
//! it back and the host gave it to somebody else. From generation 1 on a slot carries the previous holder's
//! release, which names the slot before by its hash: so a slot commits its host to everyone who ever held the
//! number. By itself it does not show them, for that it would have to grow with its generation. Who sees two
//! neighbours finds out whether they fit ([`super::equivocation`]); a billing peer counts what it is not shown
//! (see [`crate::billing::copies`]).
//!
//! A successor of the ticket's host grants what was handed over to it, and its slots carry the [`Handover`].
//! So do those of the ticket's host itself, for numbers that came back to it.

use super::{
    Handover, HandoverError, Item, Release, Signed, Ticket, Verified, VerifyError,
    claims::{ClaimError, Claims, key},
};
use crate::{
    identity::PeerId,
    ids::{SlotHash, TicketHash},
    time::{CLOCK_SKEW, Timestamp},
};

/// Most times that one number is given back and granted again. What is kept of a ticket is bounded by it.
pub const MAX_GENERATION: u32 = 65_535;

/// One member's right to one copy. Times are whole seconds once it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The ticket it is part of.
    pub ticket: TicketHash,
    /// Its number, below the ticket's `copies`.
    pub k: u32,
    /// How many held number `k` before; at most [`MAX_GENERATION`].
    pub generation: u32,
    /// The ticket's host, or who had the number from it; signs it.
    pub host: PeerId,
    /// Whose it is.
    pub member: PeerId,
    /// When it was granted.
    pub issued_at: Timestamp,
    /// By the holder of the generation before; there if and only if there was one.
    pub release: Option<Signed<Release>>,
    /// By which the host has the number; `None` if by the ticket.
    pub handover: Option<Signed<Handover>>,
}

/// Why a slot is not one of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Of another ticket.
    #[error("the slot belongs to another ticket")]
    OtherTicket,
    /// Not signed by the ticket's host, nor by anybody to whom it handed over.
    #[error("the slot is signed by {0}, who is not the ticket's host")]
    NotTheHost(PeerId),
    /// More than the ticket has.
    #[error("the slot is number {k}, counted from 0, and the ticket is for {copies} copies")]
    BeyondCopies {
        /// Its number.
        k: u32,
        /// How many there are.
        copies: u32,
    },
    /// The host needs no slot.
    #[error("the slot names a host as the member")]
    MemberIsHost,
    /// Granted before the ticket was good, or after.
    #[error("the slot was granted when its ticket was not valid")]
    OutsideValidity,
    /// The release it carries is of something else.
    #[error("the slot carries a release of another slot")]
    OtherRelease,
    /// The release it carries is forged.
    #[error("the slot rests on a forged release: {0}")]
    ForgedRelease(#[from] VerifyError),
    /// The handover it carries hands nothing over.
    #[error("the slot rests on a bad handover: {0}")]
    Handover(#[from] HandoverError),
    /// The handover it carries is to somebody else, or of other numbers.
    #[error("the slot is not among what was handed over to its host")]
    NotHandedOver,
}

impl Verified<Slot> {
    /// Whether it is a slot of `ticket`, whatever the time is now.
    pub fn check(&self, ticket: &Verified<Ticket>) -> Result<(), SlotError> {
        if self.ticket != ticket.hash() {
            return Err(SlotError::OtherTicket);
        }
        if self.k >= ticket.copies {
            return Err(SlotError::BeyondCopies { k: self.k, copies: ticket.copies });
        }
        if self.member == self.host || self.member == ticket.host {
            return Err(SlotError::MemberIsHost);
        }
        if self.issued_at + CLOCK_SKEW < ticket.not_before || self.issued_at >= ticket.expires {
            return Err(SlotError::OutsideValidity);
        }
        match self.check_grounds()? {
            root if root == ticket.host => Ok(()),
            root => Err(SlotError::NotTheHost(root)),
        }
    }

    /// All that it carries, which needs no ticket: who had the number before anybody handed it over.
    pub(super) fn check_grounds(&self) -> Result<PeerId, SlotError> {
        let release = self.release.clone().map(Signed::verify).transpose()?;
        let before = |release: &Verified<Release>| {
            release.ticket == self.ticket
                && release.k == self.k
                && release.generation.checked_add(1) == Some(self.generation)
        };
        if !release.as_ref().is_none_or(before) {
            return Err(SlotError::OtherRelease);
        }
        let Some(handover) = self.handover.clone() else {
            return Ok(self.host);
        };
        let handover = handover.verify().map_err(HandoverError::from)?;
        if handover.ticket != self.ticket {
            return Err(HandoverError::OtherTicket.into());
        }
        let covered = match &release {
            Some(release) => handover.covers_freed(release),
            // Given back before, it would be of a later generation.
            None => self.k >= handover.first,
        };
        if handover.to != self.host || !covered {
            return Err(SlotError::NotHandedOver);
        }
        Ok(handover.check_line()?)
    }
}

impl Slot {
    /// The handovers by which its host has the number, the first one first.
    pub(super) fn line(&self) -> Vec<&Handover> {
        let latest = self.handover.as_ref().map(Signed::unverified);
        let mut line: Vec<_> = latest.into_iter().flat_map(Handover::lineage).collect();
        line.reverse();
        line
    }
}

impl Item for Slot {
    type Hash = SlotHash;

    const NAME: &'static str = "a slot";
    const CONTEXT: &'static str = "parlor slot v1";

    fn issuer(&self) -> PeerId {
        self.host
    }

    fn to_claims(&self) -> Claims {
        Claims::issued_by(self.host)
            .with(key::SUBJECT, &self.member)
            .with(key::AT, &self.issued_at)
            .with(key::TICKET, &self.ticket)
            .with(key::K, &self.k)
            .with(key::GENERATION, &self.generation)
            .with_some(key::RELEASE, self.release.as_ref())
            .with_some(key::HANDOVER, self.handover.as_ref())
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        let slot = Self {
            host: claims.take(key::ISSUER)?,
            member: claims.take(key::SUBJECT)?,
            issued_at: claims.take(key::AT)?,
            ticket: claims.take(key::TICKET)?,
            k: claims.take(key::K)?,
            generation: claims.take(key::GENERATION)?,
            release: claims.take_some(key::RELEASE)?,
            handover: claims.take_some(key::HANDOVER)?,
        };
        if slot.release.is_some() != (slot.generation > 0) {
            return Err(ClaimError::Inconsistent("a release goes with every generation but the first"));
        }
        if slot.generation > MAX_GENERATION {
            return Err(ClaimError::Inconsistent("its number was given back too often"));
        }
        Ok(slot)
    }

    fn hash_from(digest: [u8; 32]) -> SlotHash {
        SlotHash(digest)
    }
}
