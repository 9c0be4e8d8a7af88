//! The ledger: a host's book of one ticket, which copies are whose.
//!
//! For: handing out slots one by one and taking released ones back, never more than the ticket has (ST16-17);
//! and passing on to a successor what is left. Not for: storing itself. A host keeps the ledger on disk
//! *before* it sends a slot or a handover: clone it, change the clone, store that, and only then use it.
//!
//! The idea: the signed items are the whole state, as each carries its number and generation. So the stored
//! form is those items, and reading it back checks every one of them: a damaged or doctored ledger is an
//! error, never a copy too many.
//!
//! What a host may grant came to it in **holdings**: one by the ticket itself, if it is the ticket's host, and
//! one by each handover to it. A holding ends up in slots, in numbers given back, and in what was handed over
//! out of it. A number that was handed over may come back, in a later holding.

mod handing;
mod stored;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Handover, MAX_GENERATION, Release, SignError, Signed, Slot, Ticket, TicketError, Verified, VerifyError,
    sign,
};
use crate::{
    identity::{Identity, PeerId},
    time::Timestamp,
};

pub use handing::{HandOverError, HandedError, HandedOver, MAX_GIVEN, MAX_HOLDINGS};
pub use stored::RestoreError;

/// Who holds which copy of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "stored::Stored", into = "stored::Stored")]
pub struct Ledger {
    ticket: Verified<Ticket>,
    /// Whose book it is.
    holder: PeerId,
    /// In the order they came; at least one. The last that covers a number is the one that it is in.
    holdings: Vec<Holding>,
    /// By number.
    slots: BTreeMap<u32, Verified<Slot>>,
    /// Slots that were given back and neither granted again nor handed over, by number.
    released: BTreeMap<u32, Verified<Release>>,
    /// Number by holder.
    members: BTreeMap<PeerId, u32>,
}

/// Numbers that came together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holding {
    /// By what; `None` is the ticket itself, with all its numbers.
    handover: Option<Verified<Handover>>,
    /// The next number to grant that never was; the ticket's copies if there is none.
    next: u32,
    /// What was handed over out of it.
    given: Vec<HandedOver>,
}

impl Holding {
    /// The first of the numbers that had never been granted when it came.
    fn first(&self) -> u32 {
        self.handover.as_ref().map_or(0, |handover| handover.first)
    }

    fn covers(&self, k: u32) -> bool {
        self.handover.as_ref().is_none_or(|handover| handover.covers(k))
    }

    /// How many handed over one after the other until it came.
    fn depth(&self) -> usize {
        self.handover.as_ref().map_or(0, |handover| handover.depth())
    }
}

/// Why a slot is not granted.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// All are taken.
    #[error("no copies left: this host may hand out {copies} of its ticket, and all are given out")]
    NoCopiesLeft {
        /// How many this host may hand out, as [`Ledger::copies`].
        copies: u32,
    },
    /// Expired, from the future, or of another host than the one that grants.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// What is granted was handed over to somebody else than the one that grants.
    #[error("these copies were handed over to {holder}, not to {asked}")]
    OtherHolder {
        /// To whom.
        holder: PeerId,
        /// Who wants to grant them.
        asked: PeerId,
    },
    /// The host has its copy by the ticket itself, and a successor by its own slot.
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

impl Ledger {
    /// An empty book of the ticket's host.
    #[must_use]
    pub fn new(ticket: Verified<Ticket>) -> Self {
        let mut ledger = Self::of(ticket.host, ticket);
        ledger.holdings.push(Holding { handover: None, next: 0, given: Vec::new() });
        ledger
    }

    /// Without any holding.
    fn of(holder: PeerId, ticket: Verified<Ticket>) -> Self {
        Self {
            ticket,
            holder,
            holdings: Vec::new(),
            slots: BTreeMap::new(),
            released: BTreeMap::new(),
            members: BTreeMap::new(),
        }
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
        if self.holder == self.ticket.host {
            self.ticket.check(host.peer(), now)?;
        } else if self.holder == host.peer() {
            self.ticket.check_time(now)?;
        } else {
            return Err(GrantError::OtherHolder { holder: self.holder, asked: host.peer() });
        }
        if member == self.ticket.host || member == self.holder {
            return Err(GrantError::IsHost);
        }
        let (k, generation, release) = self.next_place()?;
        let holding = self.holding_of(k).ok_or(GrantError::NoCopiesLeft { copies: self.copies() })?;
        let handover = self.holdings[holding].handover.as_ref().map(Verified::to_signed);
        let ticket = self.ticket.hash();
        let host_id = host.peer();
        let slot = Slot { ticket, k, generation, host: host_id, member, issued_at: now, release, handover };
        let slot = sign(&slot, host)?;
        if self.released.remove(&k).is_none() {
            self.holdings[holding].next = k + 1;
        }
        self.members.insert(member, k);
        self.slots.insert(k, slot.clone());
        Ok(slot)
    }

    /// The place to grant next: one that was given back, else the next new number.
    fn next_place(&self) -> Result<(u32, u32, Option<Signed<Release>>), GrantError> {
        for (k, release) in &self.released {
            let generation = release.generation.saturating_add(1);
            if generation <= MAX_GENERATION {
                return Ok((*k, generation, Some(release.to_signed())));
            }
        }
        let fresh = self.holdings.iter().map(|holding| holding.next).find(|next| *next < self.ticket.copies);
        fresh.map(|k| (k, 0, None)).ok_or(GrantError::NoCopiesLeft { copies: self.copies() })
    }

    /// Which holding number `k` is in, or was last.
    fn holding_of(&self, k: u32) -> Option<usize> {
        self.holdings.iter().rposition(|holding| holding.covers(k))
    }

    /// Takes a slot back. The same release again changes nothing.
    pub fn release(&mut self, release: Signed<Release>) -> Result<(), ReleaseError> {
        let release = release.verify()?;
        let k = release.k;
        let known = |other: &Signed<Release>| other.unverified() == &*release;
        let taken_back = self.released.get(&k).is_some_and(|other| other.hash() == release.hash());
        let slot = self.slots.get(&k);
        let gone = || self.given().any(|given| given.released.iter().any(known));
        if taken_back || slot.and_then(|slot| slot.release.as_ref()).is_some_and(known) || gone() {
            return Ok(());
        }
        let member = slot.filter(|slot| release.gives_back(slot)).ok_or(ReleaseError::NotHeld)?.member;
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

    /// By which its holder grants, the latest if there are several; `None` for the ticket's host, unless
    /// something was handed back to it.
    #[must_use]
    pub fn handover(&self) -> Option<&Verified<Handover>> {
        self.holdings.last()?.handover.as_ref()
    }

    /// Who grants by it.
    #[must_use]
    pub fn holder(&self) -> PeerId {
        self.holder
    }

    /// How many copies its holder may hand out: what it has granted and what it has left. Less than the
    /// ticket's, once some were handed over.
    #[must_use]
    pub fn copies(&self) -> u32 {
        self.used() + self.left()
    }

    /// How many of them are given out.
    #[must_use]
    pub fn used(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// How many are left to give.
    #[must_use]
    pub fn left(&self) -> u32 {
        let fresh: u32 = self.holdings.iter().map(|holding| self.ticket.copies - holding.next).sum();
        fresh + u32::try_from(self.released.len()).unwrap_or(u32::MAX)
    }

    /// The slots given out, by number.
    pub fn slots(&self) -> impl Iterator<Item = &Verified<Slot>> {
        self.slots.values()
    }

    /// The slots taken back and neither given out again nor handed over, by number.
    pub fn released(&self) -> impl Iterator<Item = &Verified<Release>> {
        self.released.values()
    }

    /// The slot of `member`.
    #[must_use]
    pub fn slot_of(&self, member: PeerId) -> Option<&Verified<Slot>> {
        self.slots.get(self.members.get(&member)?)
    }
}
