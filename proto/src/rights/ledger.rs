//! The ledger: a host's book of one ticket, which copies are whose.
//!
//! For: handing out slots one by one and taking released ones back, never more than the ticket has (ST16-17).
//! Not for: storing itself. A host keeps the ledger on disk *before* it sends a slot: clone it, grant, store
//! the clone, and only then use it.
//!
//! The idea: the slots with the releases are the whole state, as each carries its number and generation. So
//! the stored form is those signed items, and reading it back checks every one of them: a damaged or
//! doctored ledger is an error, never a copy too many.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Release, SignError, Signed, Slot, SlotError, Ticket, TicketError, Verified, VerifyError, sign};
use crate::{
    identity::{Identity, PeerId},
    time::Timestamp,
};

/// Who holds which copy of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Ledger {
    ticket: Verified<Ticket>,
    /// By number. Numbers `0..slots.len() + released.len()` are in exactly one of the two.
    slots: BTreeMap<u32, Verified<Slot>>,
    /// Slots that were given back and not granted again, by number.
    released: BTreeMap<u32, Verified<Release>>,
    /// Number by holder.
    members: BTreeMap<PeerId, u32>,
}

/// Why a slot is not granted.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// All are taken.
    #[error("no copies left: the ticket is for {copies}, and all are given out")]
    NoCopiesLeft {
        /// How many the ticket has.
        copies: u32,
    },
    /// Expired, from the future, or of another host than the one that grants.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The host has its copy by the ticket itself.
    #[error("the host needs no slot for its own copy")]
    IsHost,
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Why a release does not free a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// Not signed by the member it names.
    #[error(transparent)]
    Forged(#[from] VerifyError),
    /// Nobody holds that slot, or somebody else does.
    #[error("the release is not of a slot that its member holds")]
    NotHeld,
}

/// Why something stored is not a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A slot is not one of the ticket.
    #[error("the ledger is damaged: {0}")]
    Slot(#[from] SlotError),
    /// A release is not of the ticket.
    #[error("the ledger is damaged: it has a release of another ticket")]
    OtherTicket,
    /// A number or a member twice, or a number left out.
    #[error("the ledger is damaged: its slots do not add up")]
    Numbers,
}

impl Ledger {
    /// An empty book.
    #[must_use]
    pub fn new(ticket: Verified<Ticket>) -> Self {
        Self { ticket, slots: BTreeMap::new(), released: BTreeMap::new(), members: BTreeMap::new() }
    }

    /// From its parts, in any order. Checks all but that the ticket is good now.
    pub fn restore(
        ticket: Verified<Ticket>,
        slots: impl IntoIterator<Item = Verified<Slot>>,
        released: impl IntoIterator<Item = Verified<Release>>,
    ) -> Result<Self, RestoreError> {
        let mut ledger = Self::new(ticket);
        for slot in slots {
            slot.check(&ledger.ticket)?;
            let twice = ledger.members.insert(slot.member, slot.k).is_some();
            if ledger.slots.insert(slot.k, slot).is_some() || twice {
                return Err(RestoreError::Numbers);
            }
        }
        for release in released {
            if release.ticket != ledger.ticket.hash() {
                return Err(RestoreError::OtherTicket);
            }
            let k = release.k;
            if ledger.slots.contains_key(&k) || ledger.released.insert(k, release).is_some() {
                return Err(RestoreError::Numbers);
            }
        }
        // Distinct numbers, of which none is too large: so none is left out.
        let seen = ledger.slots.len() + ledger.released.len();
        let last = ledger.slots.keys().chain(ledger.released.keys()).max();
        let too_large = last.is_some_and(|last| *last as usize >= seen || *last >= ledger.ticket.copies);
        if too_large { Err(RestoreError::Numbers) } else { Ok(ledger) }
    }

    /// Grants `member` a slot, signed by the host. Asking again gives the same slot, byte for byte, also when
    /// the ticket has expired or is used up meanwhile.
    pub fn grant(
        &mut self,
        member: PeerId,
        host: &Identity,
        now: Timestamp,
    ) -> Result<Verified<Slot>, GrantError> {
        if let Some(slot) = self.slot_of(member) {
            return Ok(slot.clone());
        }
        self.ticket.check(host.peer(), now)?;
        if member == self.ticket.host {
            return Err(GrantError::IsHost);
        }
        let (k, generation, release) = self.next_place()?;
        let ticket = self.ticket.hash();
        let slot = Slot { ticket, k, generation, host: host.peer(), member, issued_at: now, release };
        let slot = sign(&slot, host)?;
        self.released.remove(&k);
        self.members.insert(member, k);
        self.slots.insert(k, slot.clone());
        Ok(slot)
    }

    /// The place to grant next: one that was given back, else the next new number.
    fn next_place(&self) -> Result<(u32, u32, Option<Signed<Release>>), GrantError> {
        for (k, release) in &self.released {
            if let Some(generation) = release.generation.checked_add(1) {
                return Ok((*k, generation, Some(release.to_signed())));
            }
        }
        let copies = self.ticket.copies;
        let next = u32::try_from(self.slots.len() + self.released.len()).unwrap_or(u32::MAX);
        if next < copies { Ok((next, 0, None)) } else { Err(GrantError::NoCopiesLeft { copies }) }
    }

    /// Takes a slot back. The same release again changes nothing.
    pub fn release(&mut self, release: Signed<Release>) -> Result<(), ReleaseError> {
        let release = release.verify()?;
        let k = release.k;
        let known = |other: &Signed<Release>| other.unverified() == &*release;
        let taken_back = self.released.get(&k).is_some_and(|other| other.hash() == release.hash());
        let slot = self.slots.get(&k);
        if taken_back || slot.and_then(|slot| slot.release.as_ref()).is_some_and(known) {
            return Ok(());
        }
        let slot = slot.filter(|slot| {
            (slot.ticket, slot.hash(), slot.generation, slot.member)
                == (release.ticket, release.slot, release.generation, release.member)
        });
        let member = slot.ok_or(ReleaseError::NotHeld)?.member;
        self.slots.remove(&k);
        self.members.remove(&member);
        self.released.insert(k, release);
        Ok(())
    }

    /// The ticket.
    #[must_use]
    pub fn ticket(&self) -> &Verified<Ticket> {
        &self.ticket
    }

    /// How many copies members may have.
    #[must_use]
    pub fn copies(&self) -> u32 {
        self.ticket.copies
    }

    /// How many of them are given out.
    #[must_use]
    pub fn used(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// How many are left to give.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.copies().saturating_sub(self.used())
    }

    /// The slots given out, by number.
    pub fn slots(&self) -> impl Iterator<Item = &Verified<Slot>> {
        self.slots.values()
    }

    /// The slots taken back and not given out again, by number.
    pub fn released(&self) -> impl Iterator<Item = &Verified<Release>> {
        self.released.values()
    }

    /// The slot of `member`.
    #[must_use]
    pub fn slot_of(&self, member: PeerId) -> Option<&Verified<Slot>> {
        self.slots.get(self.members.get(&member)?)
    }
}

/// What serde sees.
#[derive(Serialize, Deserialize)]
struct Stored {
    ticket: Verified<Ticket>,
    slots: Vec<Verified<Slot>>,
    released: Vec<Verified<Release>>,
}

impl From<Ledger> for Stored {
    fn from(ledger: Ledger) -> Self {
        Self {
            ticket: ledger.ticket,
            slots: ledger.slots.into_values().collect(),
            released: ledger.released.into_values().collect(),
        }
    }
}

impl TryFrom<Stored> for Ledger {
    type Error = RestoreError;

    fn try_from(stored: Stored) -> Result<Self, RestoreError> {
        Self::restore(stored.ticket, stored.slots, stored.released)
    }
}
