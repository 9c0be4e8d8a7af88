//! Who is host when the host is gone: votes, and what justifies a claim.
//!
//! For: the signed [`Vote`], the evidence that a new host shows ([`Evidence`]), and whether it convinces. Not for:
//! when to ask for votes and when to give one (see [`super::member`]), nor for what a new host does (see
//! [`super::host`]).
//!
//! The idea is Raft's (Ongaro and Ousterhout 2014, section 5.2): time is cut into *terms*, each with at most one
//! host; a member gives one vote a term, on disk before it is on the wire; whoever has more than half of the
//! members behind it is host of that term; a higher term overrules a lower one. What differs:
//!
//! - the deposed host has no vote and is not counted: it is gone, or it would be heard;
//! - two votes at least: a single member that has lost its host has nobody to govern;
//! - no dice: the members stand in an agreed order (that of their slots), and the first of those that are there
//!   asks first;
//! - votes are signed, so that who was away, the deposed host too, can see for itself. **Who still hears its host
//!   wants more than half of the members that it knows of; who has lost its host follows more than half of those
//!   that are left.**
//! - a host that was not lost, and in whose part of a torn network the group has grown meanwhile, goes on in a term
//!   after that of the elected one: who is elected is host because another one was gone, and yields to it;
//! - a host that hands over on purpose needs no votes: its signed [`Handover`] is the evidence.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Contact;
use crate::{
    identity::PeerId,
    ids::{SessionId, VoteHash},
    rights::{
        Handover, Item, Signed, Slot, Ticket, Verified,
        claims::{ClaimError, Claims, key},
    },
    time::Timestamp,
};

/// Fewest votes that make a host.
pub const LEAST_VOTES: usize = 2;

/// A member's word for who is to be host in a term. It gives one a term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// In which session.
    pub session: SessionId,
    /// For which term.
    pub term: u32,
    /// Who is to be host.
    pub candidate: PeerId,
    /// Who says so; signs.
    pub voter: PeerId,
    /// When.
    pub at: Timestamp,
}

impl Item for Vote {
    type Hash = VoteHash;

    const NAME: &'static str = "a vote";
    const CONTEXT: &'static str = "parlor vote v1";

    fn issuer(&self) -> PeerId {
        self.voter
    }

    fn to_claims(&self) -> Claims {
        Claims::issued_by(self.voter)
            .with(key::AUDIENCE, &self.candidate)
            .with(key::AT, &self.at)
            .with(key::SESSION, &self.session)
            .with(key::TERM, &self.term)
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        Ok(Self {
            voter: claims.take(key::ISSUER)?,
            candidate: claims.take(key::AUDIENCE)?,
            at: claims.take(key::AT)?,
            session: claims.take(key::SESSION)?,
            term: claims.take(key::TERM)?,
        })
    }

    fn hash_from(digest: [u8; 32]) -> VoteHash {
        VoteHash(digest)
    }
}

/// A candidate asks: may I be host?
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VoteRequest {
    /// Of which session.
    pub session: SessionId,
    /// In which term.
    pub term: u32,
    /// The epoch of the candidate's keys: who knows a newer group does not vote for it.
    pub epoch: u64,
    /// The candidate, as the others are to see it.
    pub candidate: Contact,
    /// Its right to be in the group, for those who were not told of it yet; `None` for the ticket's host.
    #[serde(default)]
    pub slot: Option<Signed<Slot>>,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum VoteResponse {
    /// Yes.
    Granted {
        /// Signed.
        vote: Signed<Vote>,
        /// The voter's KeyPackage for the new term's keys.
        #[serde(with = "serde_bytes")]
        package: Vec<u8>,
    },
    /// No: the host is there, the vote is given away, or the candidate knows too little.
    Refused {
        /// The newest term that the answering node knows of.
        term: u32,
        /// The epoch that its keys are in.
        epoch: u64,
    },
}

/// Why somebody is host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Evidence {
    /// It was voted for; at most [`super::MAX_SEATS`].
    Votes(Vec<Signed<Vote>>),
    /// The host before it handed over.
    Handover(Signed<Handover>),
}

/// Whose claim it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant {
    pub(super) session: SessionId,
    pub(super) term: u32,
    pub(super) peer: PeerId,
}

impl Evidence {
    /// The handover, if it stands up for this claimant.
    pub(super) fn handover(
        &self,
        claimant: Claimant,
        ticket: &Verified<Ticket>,
    ) -> Option<Verified<Handover>> {
        let Self::Handover(handover) = self else { return None };
        let handover = handover.clone().verify().ok()?;
        let named = Claimant { session: handover.session, term: handover.term, peer: handover.to };
        (named.is(claimant) && handover.check(ticket).is_ok()).then_some(handover)
    }

    /// Whether it is one of votes.
    pub(super) fn is_election(&self) -> bool {
        matches!(self, Self::Votes(votes) if !votes.is_empty())
    }

    /// Those of `voters` that voted for this claimant.
    pub(super) fn voters(&self, claimant: Claimant, voters: &BTreeSet<PeerId>) -> BTreeSet<PeerId> {
        let Self::Votes(votes) = self else { return BTreeSet::new() };
        let votes =
            votes.iter().take(super::MAX_SEATS).filter(|vote| voters.contains(&vote.unverified().voter));
        votes.filter_map(|vote| vote_for(vote, claimant)).collect()
    }
}

impl Claimant {
    fn is(self, other: Self) -> bool {
        (self.session, self.term, self.peer) == (other.session, other.term, other.peer)
    }
}

/// Who signed this vote, if it is one for the claimant.
pub(super) fn vote_for(vote: &Signed<Vote>, claimant: Claimant) -> Option<PeerId> {
    let vote = vote.clone().verify().ok()?;
    let named = Claimant { session: vote.session, term: vote.term, peer: vote.candidate };
    named.is(claimant).then_some(vote.voter)
}

/// Whether so many votes make a host among `members`, the deposed host not counted.
pub(super) fn is_enough(votes: usize, members: usize) -> bool {
    votes >= LEAST_VOTES && votes * 2 > members
}
