//! Passing on what is left of a ticket, and taking it over.
//!
//! For: the two ends of a [`Handover`]. Not for: when to do it (see [`crate::session`]).
//!
//! The rule that keeps the count: what was handed over out of a holding is never granted in that holding again.
//! It can only come back by a handover that rests on the one by which it went. So a book refuses numbers that
//! it still has, and those that it ought to have handed over itself and knows nothing of.

use std::cmp::Reverse;

use super::{Holding, Ledger};
use crate::{
    identity::{Identity, PeerId},
    ids::SessionId,
    rights::{
        Handover, HandoverError, Release, SignError, Signed, Ticket, TicketError, Verified, VerifyError,
        handover::{Freed, MAX_HANDED_NUMBERS, MAX_HANDOVERS},
        sign,
    },
    time::Timestamp,
};

/// Most handovers to one holder under one ticket.
pub const MAX_HOLDINGS: usize = 64;

/// Most handovers by one holder under one ticket.
pub const MAX_GIVEN: usize = 64;

/// What a successor needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// What it may grant.
    pub handover: Verified<Handover>,
    /// The releases of the handover's `numbers`, in their order.
    pub released: Vec<Signed<Release>>,
}

/// Why copies are not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// Only the holder of the book hands over.
    #[error("the copies are {holder}'s to hand over, not {asked}'s")]
    OtherHolder {
        /// Whose they are.
        holder: PeerId,
        /// Who wants to hand them over.
        asked: PeerId,
    },
    /// The successor is the host itself.
    #[error("a host cannot hand its copies over to itself")]
    ToItself,
    /// Expired, or from the future.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// There are [`MAX_HANDOVERS`] already, one after the other.
    #[error("the copies left were handed over {MAX_HANDOVERS} times already, and cannot be once more")]
    TooDeep,
    /// There are [`MAX_GIVEN`] already.
    #[error("copies of this ticket were handed over {MAX_GIVEN} times by this node, and cannot be once more")]
    TooMany,
    /// It would be refused: a term that was there before, say.
    #[error("the copies cannot be handed over: {0}")]
    Handover(#[from] HandoverError),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Why copies are not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandedError {
    /// The handover hands nothing over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// It is to somebody else than the one whose book this is.
    #[error("the copies were handed over to {0}, whose book this is not")]
    OtherHolder(PeerId),
    /// Some of the copies are in the book already, by something else.
    #[error("the handover is of copies that its receiver had already: its host gave them away twice")]
    HadAlready,
    /// Its receiver handed them over before, and the book does not say so.
    #[error("the handover rests on one by its receiver that is not in the receiver's book")]
    NotInTheBook,
    /// There are [`MAX_HOLDINGS`] already.
    #[error(
        "copies of this ticket were handed over to this node {MAX_HOLDINGS} times, and cannot be once more"
    )]
    TooMany,
    /// The releases with it are not those of its numbers.
    #[error("the handover comes without the releases that freed its numbers")]
    OtherReleases,
    /// One of the releases is forged.
    #[error("the handover comes with a forged release: {0}")]
    ForgedRelease(#[from] VerifyError),
}

impl Ledger {
    /// The book of a successor that has none of the ticket yet: what was handed to it, `released` being those
    /// of the handover's numbers. The ticket's host always has a book, and takes [back](Self::take_over).
    pub fn handed(
        ticket: Verified<Ticket>,
        handover: Verified<Handover>,
        released: Vec<Signed<Release>>,
    ) -> Result<Self, HandedError> {
        if handover.to == ticket.host {
            return Err(HandedError::NotInTheBook);
        }
        let mut ledger = Self::of(handover.to, ticket);
        ledger.take_over(handover, released)?;
        Ok(ledger)
    }

    /// Adds what was handed to the holder of this book. The same handover again changes nothing.
    pub fn take_over(
        &mut self,
        handover: Verified<Handover>,
        released: Vec<Signed<Release>>,
    ) -> Result<(), HandedError> {
        let is_known = |holding: &Holding| holding.handover.as_deref() == Some(&*handover);
        if self.holdings.iter().any(is_known) {
            return Ok(());
        }
        if self.holdings.len() >= MAX_HOLDINGS {
            return Err(HandedError::TooMany);
        }
        self.may_come(&handover)?;
        for release in releases_of(&handover, released)? {
            self.released.insert(release.k, release);
        }
        let next = handover.first;
        self.holdings.push(Holding { handover: Some(handover), next, given: Vec::new() });
        Ok(())
    }

    /// Whether `handover` brings what is not here: nothing that this book has, or that it should have handed
    /// over itself.
    pub(super) fn may_come(&self, handover: &Verified<Handover>) -> Result<(), HandedError> {
        handover.check(&self.ticket)?;
        if handover.to != self.holder {
            return Err(HandedError::OtherHolder(handover.to));
        }
        let own = |older: &&Handover| older.host == self.holder;
        let in_book = |older: &Handover| self.given().any(|given| *given.handover == *older);
        if !handover.lineage().filter(own).all(in_book) {
            return Err(HandedError::NotInTheBook);
        }
        let copies = self.ticket.copies;
        let is_gone = |holding: &Holding| {
            let went_by = |older: &Handover| holding.given.iter().any(|given| *given.handover == *older);
            handover.lineage().any(went_by)
        };
        let overlaps = |holding: &Holding| {
            let had = holding.handover.as_ref();
            had.is_none_or(|had| had.overlaps(handover, copies)) && !is_gone(holding)
        };
        // What has no number in it can be there twice.
        let is_empty = handover.first >= copies && handover.numbers.is_empty();
        if !is_empty && self.holdings.iter().any(overlaps) {
            return Err(HandedError::HadAlready);
        }
        Ok(())
    }

    /// Everything that is left goes to `to`, who is host of `session` with `term` from then on. Nothing of it is
    /// granted here any more, ever, whatever happens to the session. The same session, term and successor again
    /// give the same item.
    ///
    /// One item passes on one holding, and [`MAX_HANDED_NUMBERS`] of the numbers given back. What is beyond
    /// that stays, and is granted here or handed over another time; [`left`](Self::left) tells.
    pub fn hand_over(
        &mut self,
        to: PeerId,
        session: SessionId,
        term: u32,
        host: &Identity,
        now: Timestamp,
    ) -> Result<HandedOver, HandOverError> {
        let same = |given: &&HandedOver| {
            let handover = &given.handover;
            (handover.session, handover.term, handover.to) == (session, term, to)
        };
        if let Some(given) = self.given().find(same) {
            return Ok(given.clone());
        }
        if host.peer() != self.holder {
            return Err(HandOverError::OtherHolder { holder: self.holder, asked: host.peer() });
        }
        if to == self.holder {
            return Err(HandOverError::ToItself);
        }
        self.ticket.check_time(now)?;
        if self.given().count() >= MAX_GIVEN {
            return Err(HandOverError::TooMany);
        }
        let from = self.fullest().filter(|from| self.holdings[*from].depth() < MAX_HANDOVERS);
        let from = from.ok_or(HandOverError::TooDeep)?;
        let released: Vec<_> = self.released_in(from).take(MAX_HANDED_NUMBERS).cloned().collect();
        let handover = Handover {
            ticket: self.ticket.hash(),
            session,
            term,
            host: self.holder,
            to,
            first: self.holdings[from].next,
            numbers: released.iter().map(Freed::by).collect(),
            at: now,
            via: self.holdings[from].handover.as_ref().map(Verified::to_signed),
        };
        let handover = sign(&handover, host)?;
        handover.check(&self.ticket)?;
        for release in &released {
            self.released.remove(&release.k);
        }
        let given = HandedOver { handover, released: released.iter().map(Verified::to_signed).collect() };
        self.holdings[from].next = self.ticket.copies;
        self.holdings[from].given.push(given.clone());
        Ok(given)
    }

    /// The holding with most left; of several, the one that can be handed on more often.
    fn fullest(&self) -> Option<usize> {
        (0..self.holdings.len()).max_by_key(|index| {
            let holding = &self.holdings[*index];
            let fresh = (self.ticket.copies - holding.next) as usize;
            (fresh + self.released_in(*index).count(), Reverse(holding.depth()))
        })
    }

    /// What is free again of a holding.
    fn released_in(&self, holding: usize) -> impl Iterator<Item = &Verified<Release>> {
        self.released.values().filter(move |release| self.holding_of(release.k) == Some(holding))
    }

    /// What was handed over, the oldest first within each holding.
    pub fn given(&self) -> impl Iterator<Item = &HandedOver> {
        self.holdings.iter().flat_map(|holding| &holding.given)
    }
}

/// The releases that go with `handover`, if these are they.
pub(super) fn releases_of(
    handover: &Handover,
    released: Vec<Signed<Release>>,
) -> Result<Vec<Verified<Release>>, HandedError> {
    if released.len() != handover.numbers.len() {
        return Err(HandedError::OtherReleases);
    }
    let released = released.into_iter().map(Signed::verify).collect::<Result<Vec<_>, _>>()?;
    let fits = |(release, freed): (&Verified<Release>, &Freed)| {
        release.ticket == handover.ticket && Freed::by(release) == *freed
    };
    if released.iter().zip(&handover.numbers).all(fits) {
        Ok(released)
    } else {
        Err(HandedError::OtherReleases)
    }
}
