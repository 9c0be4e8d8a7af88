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
//! - votes are signed, so that who was away, the deposed host too, can see for itself: a node follows whom **more
//!   than half of the members that it knows of** voted for, and nobody for its own vote alone. Whom it does not know of,
//!   it learns from commits;
//! - only members of the session vote, stand and are counted, and show that they are by a membership
//!   ([`super::Membership`]): a slot of the ticket is not enough;
//! - a host that is there is host until it sees that more want another one: after a network was torn there may be two,
//!   and each asks (see [`super::host`]);
//! - a host hands over on purpose by a vote of its own for its successor: that one is enough.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Contact, Membership};
use crate::{
    group::keys::KeyOffer,
    identity::PeerId,
    ids::{SessionId, VoteHash},
    rights::{
        Item, Signed, Slot,
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

/// A candidate asks: may I be host? A host asks the same, when somebody has questioned that it is ([`super::host`]); and
/// so does a member that has lost its host and wants nothing but to be found by one: in a term that is over, so that
/// there is nothing to vote for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VoteRequest {
    /// Of which session.
    pub session: SessionId,
    /// In which term.
    pub term: u32,
    /// The epoch of the candidate's keys: who knows a newer group does not vote for it. Of a host: of those to come.
    pub epoch: u64,
    /// The candidate, as the others are to see it.
    pub candidate: Contact,
    /// Its right to be there, for those who do not know it; `None` only of the ticket's host.
    pub slot: Option<Signed<Slot>>,
    /// A host's word that it belongs to the session; `None` only of the ticket's host.
    pub membership: Option<Signed<Membership>>,
    /// Whom it follows.
    pub follows: Standing,
}

/// Who is host, as a node has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// In which term.
    pub term: u32,
    /// Who.
    pub host: PeerId,
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
        /// The host that it hears, or is.
        hears: Option<Standing>,
    },
    /// The answering node is host, and has put the asking one out.
    Out,
}

impl VoteResponse {
    /// To somebody who is nobody here.
    pub const UNKNOWN: Self = Self::Refused { term: 0, epoch: 0, hears: None };
}

/// Why somebody is host: the votes for it, or the one vote of the host before, who hands over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mandate {
    /// In which term.
    pub term: u32,
    /// Who.
    pub host: PeerId,
    /// At most [`super::MAX_SEATS`].
    pub votes: Vec<Signed<Vote>>,
}

/// Most mandates that are kept and shown, the newest: so many changes of the host one may have missed.
pub const MAX_MANDATES: usize = 4;
/// Terms from here on are nobody's: no session has so many hosts.
pub const END_OF_TERMS: u32 = 1 << 31;
/// How far one word carries a term. A request, a refusal or a claim moves the newest term that a node knows of by no more;
/// a vote is given for no later term; and a host goes on by its own word, without the votes of a majority, no further
/// beyond the last term that a majority was shown for.
pub const MAX_TERM_STEP: u32 = 1 << 10;
/// How often a word moves the newest term that a node knows of: whoever says ever higher ones comes to the end of the
/// terms after weeks.
const TERM_PACE: Duration = Duration::from_secs(2);
/// Most others that a node remembers to have met in one session though its host never told of them.
pub(super) const MAX_MET: usize = 64;

/// Whose claim it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant {
    pub(super) session: SessionId,
    pub(super) term: u32,
    pub(super) peer: PeerId,
}

/// Who is host, as far as a node knows, and whose votes make another one.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) session: SessionId,
    pub(super) term: u32,
    pub(super) host: PeerId,
    /// The last term that a majority was shown for; of a node that came later, the term in which it came.
    pub(super) backed: u32,
    /// Everyone in the group but the host.
    pub(super) voters: BTreeSet<PeerId>,
    /// This node's own last vote, which counts though a candidate may have won without it.
    pub(super) own_vote: Option<Signed<Vote>>,
}

impl Known {
    /// Returns the last term that a majority is shown for, if these mandates, one after the other, convince this node that
    /// `claimant` is host now; `None` if they do not.
    pub(super) fn is_led_to(&self, claimant: Claimant, mandates: &[Mandate]) -> Option<u32> {
        let mut known = self.clone();
        for mandate in mandates.iter().take(MAX_MANDATES) {
            if mandate.term <= claimant.term {
                known.follow(mandate);
            }
        }
        let led = Claimant { session: known.session, term: known.term, peer: known.host };
        led.is(claimant).then_some(known.backed)
    }

    fn follow(&mut self, mandate: &Mandate) {
        let Mandate { term, host, ref votes } = *mandate;
        // Of the same term the one before the other in the agreed order is host: whoever asks looks at that.
        let is_later = term > self.term || (term == self.term && host != self.host);
        if !is_later || term >= END_OF_TERMS {
            return;
        }
        let is_known = host == self.host || self.voters.contains(&host);
        let claimant = Claimant { session: self.session, term, peer: host };
        let known: BTreeSet<PeerId> = self.voters.iter().copied().chain([self.host]).collect();
        let mut voted = voters(votes, claimant, &known);
        voted.extend(self.own_vote.as_ref().and_then(|vote| vote_for(vote, claimant)));
        // The host itself goes on in a later term, or hands over.
        let is_its_word = voted.remove(&self.host);
        let is_elected = is_known && is_enough(voted.len(), self.voters.len());
        let is_near = term.saturating_sub(self.backed) <= MAX_TERM_STEP;
        if is_elected {
            self.backed = term;
        }
        if is_elected || (term > self.term && is_its_word && is_near) {
            let before = std::mem::replace(&mut self.host, host);
            self.term = term;
            self.voters.insert(before);
            self.voters.remove(&host);
        }
    }
}

/// The newest term that a node knows of: it stands for host, and votes, in later ones only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NewestTerm {
    term: u32,
    /// When somebody's word raised it last.
    #[serde(skip)]
    raised: Option<Timestamp>,
}

impl NewestTerm {
    pub(super) fn new(term: u32) -> Self {
        Self { term, raised: None }
    }

    pub(super) fn get(&self) -> u32 {
        self.term
    }

    /// Notes a term that this node has come to, or has voted in.
    pub(super) fn reach(&mut self, term: u32) {
        self.term = self.term.max(term);
    }

    /// Notes that somebody speaks of `term`: see [`MAX_TERM_STEP`]. One word every [`TERM_PACE`] counts.
    pub(super) fn hear(&mut self, term: u32, now: Timestamp) {
        let is_too_soon = self.raised.is_some_and(|at| at <= now && at + TERM_PACE > now);
        if term <= self.term || is_too_soon {
            return;
        }
        self.term = term.min(self.term.saturating_add(MAX_TERM_STEP)).min(END_OF_TERMS - 1);
        self.raised = Some(now);
    }

    /// Returns whether a vote may be given for `term`.
    pub(super) fn allows_vote(&self, term: u32) -> bool {
        term > self.term && term < END_OF_TERMS && term - self.term <= MAX_TERM_STEP
    }
}

/// What a [`VoteRequest`] calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestEffect {
    /// It comes from somebody who does not belong to the session, and is answered by [`VoteResponse::UNKNOWN`].
    Stranger,
    /// It changes nothing that is kept on disk, and can be answered at once.
    Answer,
    /// It takes a step, [`super::Input::VoteAsked`], before it is answered.
    Step,
}

/// Those of `known` that voted for this claimant.
pub(super) fn voters(
    votes: &[Signed<Vote>],
    claimant: Claimant,
    known: &BTreeSet<PeerId>,
) -> BTreeSet<PeerId> {
    let mut named = BTreeSet::new();
    let votes = votes.iter().take(super::MAX_SEATS + 1).filter(|vote| {
        // Signatures cost time: one try each.
        let voter = vote.unverified().voter;
        known.contains(&voter) && named.insert(voter)
    });
    votes.filter_map(|vote| vote_for(vote, claimant)).collect()
}

/// The newest mandates, with one more.
pub(super) fn with_mandate(mut mandates: Vec<Mandate>, mandate: Mandate) -> Vec<Mandate> {
    mandates.push(mandate);
    let excess = mandates.len().saturating_sub(MAX_MANDATES);
    mandates.drain(..excess);
    mandates
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

/// The term for which a member asks for votes, after one that it knows of: odd, and a host's are even, so that two parts
/// of a group that know nothing of each other do not get a host each of one term.
pub(super) fn odd_after(term: u32) -> u32 {
    term.saturating_add(1) | 1
}

/// The first term for which a host asks for votes, after one that it knows of.
pub(super) fn even_after(term: u32) -> u32 {
    (term | 1).saturating_add(1)
}

/// Whether it is a KeyPackage of this peer's that stands up.
pub(super) fn is_package(peer: PeerId, package: &[u8]) -> bool {
    KeyOffer::check(peer, package).is_ok()
}

/// Whether so many votes make a host among `members`, the deposed host not counted.
pub(super) fn is_enough(votes: usize, members: usize) -> bool {
    votes >= LEAST_VOTES && votes * 2 > members
}
