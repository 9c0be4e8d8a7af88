//! The stored form of a ledger, and reading it back without believing any of it.
//!
//! For: what serde sees. Not for: databases.
//!
//! Every item is verified, and every number of every holding has to be somewhere: in a slot, free again, or
//! handed over. What is not stored, like the next number to grant, follows from that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{HandedError, HandedOver, Holding, Ledger, handing::releases_of};
use crate::rights::{Handover, Release, Signed, Slot, SlotError, Ticket, Verified};

/// Why something stored is not a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A slot is not one of the ticket.
    #[error("the ledger is damaged: {0}")]
    Slot(#[from] SlotError),
    /// A release is not of the ticket, or of what the holder may grant.
    #[error("the ledger is damaged: it has a release of something else")]
    OtherRelease,
    /// A handover is not of the ticket, or neither by the holder nor to it.
    #[error("the ledger is damaged: {0}")]
    Handover(#[from] HandedError),
    /// A slot or handover is not by whose book it is, or rests on something that is not in the book.
    #[error("the ledger is damaged: it has something that its holder did not sign on these grounds")]
    OtherGrounds,
    /// A number or a member twice, or a number left out.
    #[error("the ledger is damaged: its slots do not add up")]
    Numbers,
}

/// What serde sees.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    ticket: Verified<Ticket>,
    slots: Vec<Verified<Slot>>,
    released: Vec<Verified<Release>>,
    /// To the holder.
    #[serde(default)]
    handed: Vec<Verified<Handover>>,
    /// By the holder.
    #[serde(default)]
    given: Vec<StoredGiven>,
}

#[derive(Serialize, Deserialize)]
struct StoredGiven {
    handover: Verified<Handover>,
    released: Vec<Signed<Release>>,
}

impl From<Ledger> for Stored {
    fn from(ledger: Ledger) -> Self {
        let (mut handed, mut given) = (Vec::new(), Vec::new());
        for holding in ledger.holdings {
            handed.extend(holding.handover);
            let stored = |HandedOver { handover, released }| StoredGiven { handover, released };
            given.extend(holding.given.into_iter().map(stored));
        }
        Self {
            ticket: ledger.ticket,
            slots: ledger.slots.into_values().collect(),
            released: ledger.released.into_values().collect(),
            handed,
            given,
        }
    }
}

impl TryFrom<Stored> for Ledger {
    type Error = RestoreError;

    /// Checks all but that the ticket is good now.
    fn try_from(stored: Stored) -> Result<Self, RestoreError> {
        let mut ledger = stored.holdings()?;
        for slot in stored.slots {
            ledger.put_slot(slot)?;
        }
        for release in stored.released {
            ledger.put_release(release)?;
        }
        for index in 0..ledger.holdings.len() {
            ledger.holdings[index].next = ledger.add_up(index)?;
        }
        Ok(ledger)
    }
}

impl Stored {
    /// The book with its holdings, each with what was handed over out of it, and nothing else.
    fn holdings(&self) -> Result<Ledger, RestoreError> {
        let ticket = self.ticket.clone();
        let mut ledger = match self.handed.first() {
            Some(first) if first.to != ticket.host => Ledger::of(first.to, ticket),
            _ => Ledger::new(ticket),
        };
        let mut handed = self.handed.iter();
        loop {
            for given in &self.given {
                ledger.put_given(given)?;
            }
            let Some(handover) = handed.next() else { break };
            ledger.may_come(handover)?;
            let handover = Some(handover.clone());
            ledger.holdings.push(Holding { handover, next: ledger.ticket.copies, given: Vec::new() });
        }
        // Each went out of the holding that it names.
        if ledger.given().count() == self.given.len() { Ok(ledger) } else { Err(RestoreError::OtherGrounds) }
    }
}

impl Ledger {
    /// Puts something handed over to the latest holding, if it went out of that.
    fn put_given(&mut self, given: &StoredGiven) -> Result<(), RestoreError> {
        let StoredGiven { handover, released } = given;
        let Some(latest) = self.holdings.last_mut() else { return Ok(()) };
        if handover.via.as_ref().map(Signed::unverified) != latest.handover.as_deref() {
            return Ok(());
        }
        handover.check(&self.ticket).map_err(HandedError::from)?;
        if handover.host != self.holder {
            return Err(RestoreError::OtherGrounds);
        }
        releases_of(handover, released.clone())?;
        latest.given.push(HandedOver { handover: handover.clone(), released: released.clone() });
        Ok(())
    }

    fn put_slot(&mut self, slot: Verified<Slot>) -> Result<(), RestoreError> {
        slot.check(&self.ticket)?;
        let holding = self.holding_of(slot.k).map(|index| &self.holdings[index]);
        let holding = holding.ok_or(RestoreError::OtherGrounds)?;
        let grounds = slot.handover.as_ref().map(Signed::unverified);
        if slot.host != self.holder || grounds != holding.handover.as_deref() {
            return Err(RestoreError::OtherGrounds);
        }
        let twice = self.members.insert(slot.member, slot.k).is_some();
        if self.slots.insert(slot.k, slot).is_some() || twice {
            return Err(RestoreError::Numbers);
        }
        Ok(())
    }

    fn put_release(&mut self, release: Verified<Release>) -> Result<(), RestoreError> {
        let (k, holding) = (release.k, self.holding_of(release.k).map(|index| &self.holdings[index]));
        let covered = |holding: &Holding| {
            holding.handover.as_ref().is_none_or(|handover| handover.covers_freed(&release))
        };
        if release.ticket != self.ticket.hash() || !holding.is_some_and(covered) {
            return Err(RestoreError::OtherRelease);
        }
        if self.slots.contains_key(&k) || self.released.insert(k, release).is_some() {
            return Err(RestoreError::Numbers);
        }
        Ok(())
    }

    /// The next number to grant of a holding, if all those before are somewhere, and in one place only.
    fn add_up(&self, index: usize) -> Result<u32, RestoreError> {
        let (holding, copies) = (&self.holdings[index], self.ticket.copies);
        let here = self.slots.keys().chain(self.released.keys()).copied();
        let here = here.filter(|k| self.holding_of(*k) == Some(index));
        let gone = holding.given.iter().flat_map(|given| &given.handover.numbers).map(|freed| freed.k);
        let mut seen = BTreeSet::new();
        if !here.chain(gone).all(|k| seen.insert(k)) {
            return Err(RestoreError::Numbers);
        }
        let first = holding.first();
        let fresh = seen.range(first..).count();
        // Once handed over, what had never been granted does not come back into the same holding.
        let next = match holding.given.split_first() {
            Some((given, rest)) if rest.iter().all(|later| later.handover.first == copies) => {
                given.handover.first
            }
            Some(_) => return Err(RestoreError::Numbers),
            None => first.saturating_add(u32::try_from(fresh).unwrap_or(u32::MAX)),
        };
        let older = holding.handover.as_ref().map_or(0, |handover| handover.numbers.len());
        let complete = fresh as u64 + u64::from(first) == u64::from(next) && seen.len() - fresh == older;
        if !complete || next > copies || seen.last().is_some_and(|last| *last >= next) {
            return Err(RestoreError::Numbers);
        }
        Ok(if holding.given.is_empty() { next } else { copies })
    }
}
