//! A host that is questioned asks everyone whether it is to go on.
//!
//! For: coming together again after a network was torn, when a group has two hosts, or members who lost theirs and
//! do not follow the one that is there. Not for: members who have no host, see [`crate::session::member`]; nor for
//! what convinces, see [`crate::session::election`].
//!
//! The idea: a claim of another host that does not convince, or a question of somebody who follows another one,
//! questions this host. It asks all whom it knows, and whom it has just met, for their votes in a term of its own
//! choice. Its followers give theirs because it is their host; who has lost its host, because it asks; who hears
//! another one says so. If most of those who answer want it, it goes on in that term, with their votes to show. If
//! not, or if no more want it than have voted for the other one, it yields to that one's claim when it comes again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Host, HostState, Seat, Won};
use crate::{
    identity::PeerId,
    rights::{Signed, Slot, Verified, sign},
    session::{
        MAX_SEATS, SeatState,
        election::{
            Claimant, END_OF_TERMS, LEAST_VOTES, MAX_MET, Mandate, RequestEffect, Standing, Vote,
            VoteRequest, VoteResponse, even_after, is_package, vote_for, voters,
        },
        member::{AdmissionRule, Seated},
        message::Claim,
        step::{Context, Output, StepError},
    },
    time::Timestamp,
};

/// How often those who have not answered are asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// So much of the time after which a host counts as lost is there to answer.
const PART_TO_ANSWER: u32 = 4;
/// Hosts of different places choose different terms, so many of them.
const SPREAD: u32 = 32;
/// Whoever questions a host again and again is heard ever less often, down to once in so many such times.
const MOST_PATIENCE: u32 = 60;

/// What is in question.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubt {
    poll: Option<Poll>,
    /// Who claims to be host.
    rival: Option<Rival>,
    /// To whose claim, of that term or a later one, this host yields, and since when: for as long as it would take to
    /// count a host as lost.
    yields: Option<(Standing, Timestamp)>,
    /// With a slot, but no seat: let in by another host.
    met: BTreeMap<PeerId, Seated>,
    /// When the last poll ended, and how many there were.
    last: Option<Timestamp>,
    polls: u32,
}

/// Somebody who claims to be host.
#[derive(Debug, Clone, Copy)]
struct Rival {
    standing: Standing,
    /// All votes for it, and those of others than whom this host has removed.
    votes: usize,
    good_votes: usize,
    /// Whether it stands before this host in the agreed order.
    is_earlier: bool,
}

impl Rival {
    /// Whether it is rather host than one that so many want. Whom this host has removed shall not make another one
    /// host in its place: their votes count where nobody wants this one, and where else neither would give way.
    fn is_before(&self, wanted: usize) -> bool {
        let is_elected = self.votes >= LEAST_VOTES;
        let is_wanted_more = match self.is_earlier {
            true => self.votes >= wanted,
            false => self.good_votes > wanted,
        };
        is_elected && (is_wanted_more || wanted < LEAST_VOTES)
    }
}

/// Forgotten in a crash: whoever questioned the host does so again.
#[derive(Debug, Clone)]
struct Poll {
    term: u32,
    /// The newest term before it: whoever hears of this one has nothing to vote for any more.
    before: u32,
    asked: Timestamp,
    ends: Timestamp,
    votes: BTreeMap<PeerId, (Signed<Vote>, Option<Vec<u8>>)>,
    /// Who hears another host.
    against: BTreeSet<PeerId>,
}

impl Doubt {
    /// The slot of one who was met.
    pub(super) fn met_by(&self, peer: PeerId) -> Option<&Verified<Slot>> {
        self.met.get(&peer).and_then(|(slot, _)| slot.as_ref())
    }
}

impl Host {
    /// Takes in a request as far as nothing of it is kept on disk, and returns whether it takes a step.
    pub(in crate::session) fn weigh(
        &mut self,
        me: PeerId,
        from: PeerId,
        request: &VoteRequest,
        now: Timestamp,
    ) -> RequestEffect {
        let is_seated = self.seats.contains_key(&from);
        if self.state == HostState::Ended {
            return if is_seated { RequestEffect::Answer } else { RequestEffect::Stranger };
        }
        if self.seats.get(&from).is_some_and(is_gone) {
            return if self.is_to_meet(from) { RequestEffect::Step } else { RequestEffect::Answer };
        }
        if !self.knows(from, me, |rule| rule.shown(request)) {
            return if is_seated { RequestEffect::Answer } else { RequestEffect::Stranger };
        }

        if request.follows == (Standing { term: self.office.term, host: me }) {
            return RequestEffect::Answer;
        }
        self.office.newest.hear(request.term.max(request.follows.term), now);
        if self.can_poll(now) { RequestEffect::Step } else { RequestEffect::Answer }
    }

    /// Somebody wants to be host, or looks for one, and [`Host::weigh`] found that it takes a step.
    pub(super) fn asked(
        &mut self,
        from: PeerId,
        request: &VoteRequest,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let me = Standing { term: self.office.term, host: context.me.peer };
        if self.seats.get(&from).is_some_and(is_gone) {
            self.meets(from, context);
            return Ok(());
        }
        if self.state == HostState::Ended || request.follows == me || !self.is_seated_or_met(from) {
            return Ok(());
        }
        self.begin_poll(context, outputs)
    }

    /// Somebody else is host too, it says, and does not convince by itself.
    pub(in crate::session) fn questioned(
        &mut self,
        claimant: Claimant,
        claim: &Claim,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let from = claimant.peer;
        let roster = &claim.roster;
        let named = (roster.host.peer, roster.term) == (from, claimant.term);
        let last = claim.mandates.last().filter(|last| (last.term, last.host) == (claimant.term, from));
        let Some(last) = last.filter(|_| named && self.state != HostState::Ended) else { return Ok(()) };
        let is_out = self.seats.get(&from).is_some_and(is_gone);
        if !is_out && !self.knows(from, context.me.peer, |rule| rule.seated(roster.host_entry())) {
            return Ok(());
        }
        self.office.doubt.rival = Some(self.rival(claimant, claim, last, context.me.peer));
        self.office.newest.hear(claimant.term, context.now);
        self.begin_poll(context, outputs)
    }

    /// By the votes of those who have a seat here, and of those whose right to be there is shown.
    fn rival(&self, claimant: Claimant, claim: &Claim, mandate: &Mandate, me: PeerId) -> Rival {
        let shown = claim.roster.members.iter().take(MAX_SEATS).cloned();
        let rule = self.admission(me);
        let shown = shown.filter_map(|entry| rule.seated(entry));
        let shown = shown.map(|(_, entry)| entry.contact.peer);
        let known = self.in_group().into_iter().chain([claimant.peer]).chain(shown).collect();
        let voted = voters(&mandate.votes, claimant, &known);
        let is_removed =
            |peer: &&PeerId| self.seats.get(peer).is_some_and(|seat| seat.state == SeatState::Removed);
        let removed = voted.iter().filter(is_removed).count();
        let (votes, good_votes) = (voted.len(), voted.len() - removed);
        let is_earlier = self.place(Some(claimant.peer)) < self.place(None);
        let standing = Standing { term: claimant.term, host: claimant.peer };
        Rival { standing, votes, good_votes, is_earlier }
    }

    /// Whether this peer has a seat, or shows that it could have one.
    fn knows(
        &mut self,
        peer: PeerId,
        me: PeerId,
        shown: impl FnOnce(&AdmissionRule<'_>) -> Option<Seated>,
    ) -> bool {
        if self.is_seated_or_met(peer) {
            return true;
        }
        let Some((slot, entry)) = shown(&self.admission(me)) else { return false };
        let is_free = slot.as_ref().is_none_or(|slot| !self.is_taken(slot));
        let is_room = self.office.doubt.met.len() < MAX_MET && self.seats.len() + MAX_MET < MAX_SEATS;
        if is_free && is_room && peer != me {
            self.office.doubt.met.insert(peer, (slot, entry));
            return true;
        }
        false
    }

    fn is_seated_or_met(&self, peer: PeerId) -> bool {
        let is_seated = self.seats.get(&peer).is_some_and(|seat| seat.state.in_group() || is_gone(seat));
        is_seated || self.office.doubt.met.contains_key(&peer)
    }

    /// Whether the number is somebody else's here.
    fn is_taken(&self, slot: &Verified<Slot>) -> bool {
        let is_same = |other: &Slot| other.k == slot.k && other.generation >= slot.generation;
        let mut seats = self.seats.values().filter_map(Seat::slot).chain(self.office.slot());
        seats.any(|other| is_same(other))
    }

    /// Returns whether a poll may begin now: none is under way, the last was long enough ago, and so was this host's coming
    /// into office.
    fn can_poll(&self, now: Timestamp) -> bool {
        let doubt = &self.office.doubt;
        let patience = self.office.takeover.saturating_mul(doubt.polls.min(MOST_PATIENCE));
        let was_just_now = doubt.last.is_some_and(|last| last <= now && last + patience > now);
        doubt.poll.is_none() && !was_just_now && !self.is_new(now)
    }

    fn begin_poll(&mut self, context: &Context<'_>, outputs: &mut Vec<Output>) -> Result<(), StepError> {
        let now = context.now;
        if !self.can_poll(now) {
            return Ok(());
        }

        let apart = 2 * (self.place(None) % SPREAD);
        let before = self.office.newest.get();
        let term = even_after(before).saturating_add(apart);
        if term >= END_OF_TERMS {
            return Ok(());
        }
        let me = context.me.peer;
        let vote = Vote { session: self.session, term, candidate: me, voter: me, at: now };
        let votes = BTreeMap::from([(me, (sign(&vote, context.identity)?.to_signed(), None))]);
        let ends = now + self.office.takeover / PART_TO_ANSWER;
        self.office.newest.reach(term);
        self.office.doubt.polls += 1;
        self.office.doubt.poll =
            Some(Poll { term, before, asked: now, ends, votes, against: BTreeSet::new() });
        self.ask_all(context, outputs);
        Ok(())
    }

    /// A host gives no vote.
    pub(in crate::session) fn vote_for(&self, me: PeerId, from: PeerId) -> VoteResponse {
        let is_met = self.office.doubt.met.contains_key(&from);
        match self.seats.get(&from) {
            Some(seat) if !seat.state.in_group() && !is_met => return VoteResponse::Out,
            None if !is_met => return VoteResponse::UNKNOWN,
            _ => {}
        }
        let standing = Standing { term: self.office.term, host: me };
        let hears = (self.state != HostState::Ended).then_some(standing);
        let epoch = self.keys.current().map_or(0, |keys| keys.epoch());
        let term = self.office.doubt.poll.as_ref().map_or(self.office.newest.get(), |poll| poll.before);
        VoteResponse::Refused { term, epoch, hears }
    }

    /// Everyone who has not answered.
    fn ask_all(&mut self, context: &Context<'_>, outputs: &mut Vec<Output>) {
        let all: BTreeSet<PeerId> =
            self.in_group().into_iter().chain(self.office.doubt.met.keys().copied()).collect();
        let follows = Standing { term: self.office.term, host: context.me.peer };
        let slot = self.office.slot.as_ref().map(Verified::to_signed);
        let membership = self.office.membership.clone();
        let Some(poll) = &mut self.office.doubt.poll else { return };
        poll.asked = context.now;
        let request = VoteRequest {
            session: self.session,
            term: poll.term,
            epoch: u64::from(poll.term) << 32,
            candidate: context.me.clone(),
            slot,
            membership,
            follows,
        };
        for of in all {
            if !poll.votes.contains_key(&of) && !poll.against.contains(&of) {
                outputs.push(Output::AskVote { of, request: request.clone() });
            }
        }
    }

    /// A peer's answer.
    pub(super) fn answered(&mut self, from: PeerId, answer: VoteResponse, context: &Context<'_>) {
        let (me, now) = (context.me.peer, context.now);
        let is_known = self.in_group().contains(&from) || self.office.doubt.met.contains_key(&from);
        let Some(poll) = self.office.doubt.poll.as_mut().filter(|_| is_known) else { return };
        match answer {
            VoteResponse::Granted { vote, package } => {
                let claimant = Claimant { session: self.session, term: poll.term, peer: me };
                if vote_for(&vote, claimant) == Some(from) {
                    let package = is_package(from, &package).then_some(package);
                    poll.votes.insert(from, (vote, package));
                }
            }
            VoteResponse::Refused { term, hears, .. } => {
                if hears.is_some_and(|hears| hears.host != me) {
                    poll.against.insert(from);
                }
                self.office.newest.hear(term, now);
            }
            VoteResponse::Out => {
                poll.against.insert(from);
            }
        }
    }

    /// When the poll goes on.
    pub(super) fn poll_due(&self) -> Option<Timestamp> {
        let poll = self.office.doubt.poll.as_ref().filter(|_| self.state != HostState::Ended)?;
        Some((poll.asked + ASK_AGAIN).min(poll.ends))
    }

    pub(super) fn go_on_with_poll(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if self.poll_due().is_none_or(|due| due > context.now) {
            return Ok(());
        }
        let is_over = self.office.doubt.poll.as_ref().is_some_and(|poll| poll.ends <= context.now);
        let Some(poll) = self.office.doubt.poll.take_if(|_| is_over) else {
            self.ask_all(context, outputs);
            return Ok(());
        };
        self.office.doubt.last = Some(context.now);
        let rival = self.office.doubt.rival.take();
        let (wanted, against) = (poll.votes.len(), poll.against.len());
        let is_wanted = wanted > against;
        let least = if is_wanted { wanted } else { LEAST_VOTES - 1 };
        match rival.filter(|rival| rival.is_before(least)) {
            Some(rival) => self.office.doubt.yields = Some((rival.standing, context.now)),
            None if is_wanted && wanted >= LEAST_VOTES => self.confirmed(poll, context, outputs)?,
            None => {}
        }
        Ok(())
    }

    /// Goes on as host in a later term, with whoever has come along.
    fn confirmed(
        &mut self,
        poll: Poll,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let me = context.me.peer;
        let votes = poll.votes.values().take(MAX_SEATS).map(|(vote, _)| vote.clone()).collect();
        let mandate = Mandate { term: poll.term, host: me, votes };
        let mut known = self.known(me);
        known.voters.extend(self.office.doubt.met.keys());
        let claimant = Claimant { session: self.session, term: poll.term, peer: me };
        let Some(backed) = known.is_led_to(claimant, std::slice::from_ref(&mandate)) else {
            // Without a majority, a host's own word does not carry it that far.
            return Ok(());
        };

        for (peer, (slot, entry)) in std::mem::take(&mut self.office.doubt.met) {
            let contact = entry.contact;
            let seat = self.seats.entry(peer).or_insert_with(|| Seat::new(contact, context.now));
            if !seat.state.in_group() && !is_gone(seat) {
                seat.state = SeatState::Accepted;
                seat.slot = slot;
                seat.membership = entry.membership;
                seat.why = None;
            }
        }

        let packages = poll.votes.into_iter().filter_map(|(peer, (_, package))| Some((peer, package?)));
        let won = Won { mandate, packages: packages.collect(), backed };
        let (last, polls) = (self.office.doubt.last, self.office.doubt.polls);
        *self = Self::succeed(self.estate(), won, context, outputs)?;
        self.office.doubt = Doubt { last, polls, ..Doubt::default() };
        Ok(())
    }

    /// Whether this host has found that the others want that one.
    pub(in crate::session) fn yields_to(&self, claimant: Claimant, now: Timestamp) -> bool {
        self.office.doubt.yields.is_some_and(|(to, since)| {
            let is_meant = to.host == claimant.peer && to.term <= claimant.term;
            is_meant && since <= now && since + self.office.takeover > now
        })
    }
}

/// Whether somebody was in this host's group, and is no longer: not just asked, by it, without an answer.
fn is_gone(seat: &Seat) -> bool {
    !seat.state.in_group() && (seat.has_slot() || seat.state == SeatState::Removed)
}
