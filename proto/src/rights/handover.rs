//! The handover: a host passes the copies it has left on to a successor, who goes on granting them.
//!
//! For: a host that leaves on purpose, so that the rest of its ticket is not lost with it. Not for: who is host
//! of a session (see [`crate::session`]); a successor without a handover is a host all the same, of no copies.
//!
//! The idea: copies are numbers, and a number is in one hand at a time. A handover names the numbers that
//! change hands. Those from `first` on were never granted. Those in `numbers` were given back, and each is bound
//! to the release that freed it: the successor goes on from exactly there. So for every slot of such a number
//! it can be told from signatures alone who may have granted it, and of two hosts that both did, who cheated
//! (see [`super::equivocation`]).
//!
//! A successor may hand over in turn. Its handover then carries the one by which it held the numbers itself,
//! down to the ticket's host: the slot of a successor proves all of it, with nobody else to ask. That is why
//! there is a bound on how many hand over, one after the other, and how many numbers given back go along.

use super::{
    Item, Release, Signed, Ticket, Verified, VerifyError,
    claims::{Claim, ClaimError, Claims, key},
};
use crate::{
    identity::PeerId,
    ids::{HandoverHash, SessionId, TicketHash},
    time::Timestamp,
};

/// Most handovers one after the other: a slot of the last host carries them all, and is an item with a bound.
pub const MAX_HANDOVERS: usize = 4;

/// Most numbers given back that go along with one handover. More of them stay with the host.
pub const MAX_HANDED_NUMBERS: usize = 20;

/// Copies passed on. Times are whole seconds once it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// The ticket of the copies.
    pub ticket: TicketHash,
    /// The session whose host changes.
    pub session: SessionId,
    /// The term that the successor's time as host has in the session; from 1.
    pub term: u32,
    /// Who hands over; signs it.
    pub host: PeerId,
    /// The successor, who is not the host.
    pub to: PeerId,
    /// All numbers from here up to the ticket's copies. None of them was ever granted.
    pub first: u32,
    /// Numbers below `first` that were given back and are free: ascending, at most [`MAX_HANDED_NUMBERS`].
    pub numbers: Vec<Freed>,
    /// When.
    pub at: Timestamp,
    /// By which `host` held these numbers itself; `None` if it is by the ticket. At most [`MAX_HANDOVERS`]
    /// with this one.
    pub via: Option<Signed<Handover>>,
}

/// A number that was given back, and by which release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freed {
    /// The number.
    pub k: u32,
    /// The generation that was given back.
    pub generation: u32,
    /// The beginning of the release's hash. Long enough that nobody finds another release with the same.
    pub release: [u8; 16],
}

impl Freed {
    /// What `release` freed.
    #[must_use]
    pub fn by(release: &Verified<Release>) -> Self {
        let mut start = [0; 16];
        start.copy_from_slice(&release.hash().0[..16]);
        Self { k: release.k, generation: release.generation, release: start }
    }

    /// Whether `later`, of the same number, is the same or from a later generation.
    fn allows(&self, later: &Self) -> bool {
        later == self || later.generation > self.generation
    }
}

/// Why a handover hands nothing over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// Of another ticket.
    #[error("the handover is of another ticket")]
    OtherTicket,
    /// The first of those who handed over is not the ticket's host.
    #[error("the handover goes back to {0}, who is not the ticket's host")]
    NotTheHost(PeerId),
    /// Somebody handed over to whom nothing had been handed over.
    #[error("the handover is by {0}, to whom nothing was handed over")]
    Gap(PeerId),
    /// A later one of the same session has no higher term.
    #[error("the handover does not have a higher term than those before it")]
    Term,
    /// It begins beyond the ticket's copies.
    #[error("the handover begins with number {first}, and the ticket is for {copies} copies")]
    BeyondCopies {
        /// Where it begins.
        first: u32,
        /// How many there are.
        copies: u32,
    },
    /// More than its host had.
    #[error("the handover is of copies that its host did not have")]
    Widened,
    /// One that it rests on is forged.
    #[error("the handover rests on a forged one: {0}")]
    Forged(#[from] VerifyError),
}

impl Handover {
    /// This one and those that it rests on, the latest first.
    pub(super) fn lineage(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |handover| handover.via.as_ref().map(Signed::unverified))
    }

    /// How many follow one another.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.lineage().count()
    }

    /// Whether number `k` is among what is handed over, if the ticket has it.
    #[must_use]
    pub fn covers(&self, k: u32) -> bool {
        k >= self.first || self.freed(k).is_some()
    }

    /// Whether the successor, or whoever it hands over to, may grant what `release` freed.
    pub(super) fn covers_freed(&self, release: &Verified<Release>) -> bool {
        let freed = Freed::by(release);
        freed.k >= self.first || self.freed(freed.k).is_some_and(|start| start.allows(&freed))
    }

    fn freed(&self, k: u32) -> Option<&Freed> {
        self.numbers.iter().find(|freed| freed.k == k)
    }

    /// Whether some number is in both, of a ticket with so many copies.
    pub(super) fn overlaps(&self, other: &Self, copies: u32) -> bool {
        self.first.max(other.first) < copies
            || self.numbers.iter().any(|freed| other.covers(freed.k))
            || other.numbers.iter().any(|freed| self.covers(freed.k))
    }

    /// Whether it hands on what `older` handed over, and no more.
    fn follows(&self, older: &Self) -> Result<(), HandoverError> {
        if self.ticket != older.ticket {
            return Err(HandoverError::OtherTicket);
        }
        if self.host != older.to {
            return Err(HandoverError::Gap(self.host));
        }
        let had = |later: &Freed| {
            later.k >= older.first || older.freed(later.k).is_some_and(|start| start.allows(later))
        };
        if self.first < older.first || !self.numbers.iter().all(had) {
            return Err(HandoverError::Widened);
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), ClaimError> {
        let wrong = |what| Err(ClaimError::Inconsistent(what));
        if self.term == 0 {
            return wrong("its term is not the one of a successor");
        }
        if self.to == self.host {
            return wrong("it hands over to its own host");
        }
        let ascending = self.numbers.windows(2).all(|pair| pair[0].k < pair[1].k);
        if !ascending || self.numbers.last().is_some_and(|last| last.k >= self.first) {
            return wrong("its numbers are not in order");
        }
        if self.depth() > MAX_HANDOVERS {
            return wrong("it rests on too many others");
        }
        Ok(())
    }
}

impl Verified<Handover> {
    /// Whether it is about `ticket`, and each in its line had from the one before what it handed on, down to
    /// the ticket's host, whatever the time is now.
    pub fn check(&self, ticket: &Verified<Ticket>) -> Result<(), HandoverError> {
        if self.ticket != ticket.hash() {
            return Err(HandoverError::OtherTicket);
        }
        if self.first > ticket.copies {
            return Err(HandoverError::BeyondCopies { first: self.first, copies: ticket.copies });
        }
        match self.check_line()? {
            root if root == ticket.host => Ok(()),
            root => Err(HandoverError::NotTheHost(root)),
        }
    }

    /// All of [`check`](Self::check) that needs no ticket: who was the first to hand over.
    pub(super) fn check_line(&self) -> Result<PeerId, HandoverError> {
        let mut newer = self.clone();
        while let Some(via) = newer.via.clone() {
            let older = via.verify()?;
            newer.follows(&older)?;
            let risen = older.lineage().all(|old| old.session != newer.session || old.term < newer.term);
            if !risen {
                return Err(HandoverError::Term);
            }
            newer = older;
        }
        Ok(newer.host)
    }
}

impl Item for Handover {
    type Hash = HandoverHash;

    const NAME: &'static str = "a handover";
    const CONTEXT: &'static str = "parlor handover v1";

    fn issuer(&self) -> PeerId {
        self.host
    }

    fn to_claims(&self) -> Claims {
        Claims::issued_by(self.host)
            .with(key::AUDIENCE, &self.to)
            .with(key::AT, &self.at)
            .with(key::TICKET, &self.ticket)
            .with(key::K, &self.first)
            .with(key::SESSION, &self.session)
            .with(key::TERM, &self.term)
            .with(key::NUMBERS, &self.numbers)
            .with_some(key::HANDOVER, self.via.as_ref())
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        let handover = Self {
            ticket: claims.take(key::TICKET)?,
            session: claims.take(key::SESSION)?,
            term: claims.take(key::TERM)?,
            host: claims.take(key::ISSUER)?,
            to: claims.take(key::AUDIENCE)?,
            first: claims.take(key::K)?,
            numbers: claims.take(key::NUMBERS)?,
            at: claims.take(key::AT)?,
            via: claims.take_some(key::HANDOVER)?,
        };
        handover.validate()?;
        Ok(handover)
    }

    fn hash_from(digest: [u8; 32]) -> HandoverHash {
        HandoverHash(digest)
    }
}

/// An array of `[k, generation, beginning of the release's hash]`.
impl Claim for Vec<Freed> {
    const WANTED: &'static str = "a short list of numbers given back";

    fn to_value(&self) -> ciborium::Value {
        let entry = |freed: &Freed| {
            let release = ciborium::Value::Bytes(freed.release.to_vec());
            ciborium::Value::Array(vec![freed.k.into(), freed.generation.into(), release])
        };
        ciborium::Value::Array(self.iter().map(entry).collect())
    }

    fn from_value(value: ciborium::Value) -> Option<Self> {
        let entry = |value: ciborium::Value| {
            let [k, generation, release]: [ciborium::Value; 3] = value.into_array().ok()?.try_into().ok()?;
            let (k, generation) = (u32::from_value(k)?, u32::from_value(generation)?);
            Some(Freed { k, generation, release: release.into_bytes().ok()?.try_into().ok()? })
        };
        let list = value.into_array().ok().filter(|list| list.len() <= MAX_HANDED_NUMBERS)?;
        list.into_iter().map(entry).collect()
    }
}
