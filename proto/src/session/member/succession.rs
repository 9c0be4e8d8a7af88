//! What a member does when the host is gone: it notices, asks for votes or gives one, and follows the new host.
//!
//! For: the member's half of [`crate::session::election`]. Not for: what convinces, see there; nor for the new
//! host's first steps, see [`crate::session::host`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Invited, Keys, Member, MemberState,
    roster::{Seated, slots},
};
use crate::{
    group::keys::KeyOffer,
    identity::PeerId,
    rights::{Ledger, Signed, Slot, Verified, sign},
    session::{
        Channel, Contact, MAX_HOSTS, MAX_SEATS, Message, RosterEntry, SeatState, TAKEOVER, TAKEOVER_MAX,
        TAKEOVER_MIN,
        election::{
            Claimant, Known, MAX_MANDATES, MAX_MET, Mandate, NewestTerm, RequestEffect, Standing, Vote,
            VoteRequest, VoteResponse, is_enough, is_package, odd_after, vote_for, with_mandate,
        },
        host::Won,
        message::{Claim, HandOver, HandedCopies},
        role::Estate,
        step::{Context, Output, StepError},
    },
    time::Timestamp,
};

/// How often those who have not answered are asked again, at first.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// The longer the host is gone, the more patient a candidate is: it asks so often in the time since then.
const ASKS: u32 = 16;
/// And begins anew, in a later term, so often.
const CAMPAIGNS: u32 = 4;
/// Who can only look for a host asks less often.
const LOOKS: u32 = 8;
/// Most of those who are said to be host that are asked.
const MAX_SAID: usize = 8;

/// The host's absence, as this member lives it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Succession {
    term: u32,
    takeover: Duration,
    former_hosts: Vec<PeerId>,
    /// For whom this node has voted last, and in which term.
    voted: Option<(u32, PeerId, Signed<Vote>)>,
    /// What the host has handed over to this node.
    inherited: Option<HandOver>,
    /// How it came to the present host.
    mandates: Vec<Mandate>,
    newest: NewestTerm,
    /// The last term that a majority was shown for; before that, the term in which this node came.
    backed: u32,
    /// When there was a sign of the host last.
    #[serde(skip)]
    heard: Option<Timestamp>,
    #[serde(skip)]
    present: BTreeSet<PeerId>,
    #[serde(skip)]
    campaign: Option<Campaign>,
    /// When this node gave its vote to somebody else, who is to have time to win.
    #[serde(skip)]
    yielded: Option<Timestamp>,
    /// When it looked for a host last.
    #[serde(skip)]
    sought: Option<Timestamp>,
    /// Who is said to be host, by itself or by others: asked too. At most [`MAX_SAID`].
    #[serde(skip)]
    said_hosts: BTreeSet<PeerId>,
    /// Who looked for a host with a slot to show, though this node's host never told of them. At most [`MAX_MET`].
    #[serde(skip)]
    met: Vec<Seated>,
}

/// This node wants to be host. Forgotten in a crash: its own vote is not.
#[derive(Debug, Clone)]
struct Campaign {
    term: u32,
    since: Timestamp,
    asked: Timestamp,
    votes: BTreeMap<PeerId, (Signed<Vote>, Option<Vec<u8>>)>,
}

impl Campaign {
    /// When it has failed.
    fn ends(&self, heard: Timestamp, takeover: Duration) -> Timestamp {
        self.since + takeover.max(self.since.since(heard) / CAMPAIGNS)
    }
}

impl Succession {
    pub(super) fn new(term: u32) -> Self {
        Self {
            term,
            takeover: TAKEOVER,
            former_hosts: Vec::new(),
            voted: None,
            inherited: None,
            mandates: Vec::new(),
            newest: NewestTerm::new(term),
            backed: term,
            heard: None,
            present: BTreeSet::new(),
            campaign: None,
            yielded: None,
            sought: None,
            said_hosts: BTreeSet::new(),
            met: Vec::new(),
        }
    }

    pub(super) fn term(&self) -> u32 {
        self.term
    }

    pub(super) fn takeover(&self) -> Duration {
        self.takeover
    }

    pub(super) fn former_hosts(&self) -> &[PeerId] {
        &self.former_hosts
    }

    /// What the host says of the succession.
    pub(super) fn agreed(&mut self, takeover: Duration, mut former_hosts: Vec<PeerId>) {
        former_hosts.truncate(MAX_HOSTS);
        self.takeover = takeover.clamp(TAKEOVER_MIN, TAKEOVER_MAX);
        self.former_hosts = former_hosts;
    }

    /// Why the present host is host.
    fn note(&mut self, mandate: Mandate) {
        let newest = self.mandates.last().map_or(0, |known| known.term);
        if mandate.term > newest && mandate.votes.len() <= MAX_SEATS + 1 {
            self.mandates = with_mandate(std::mem::take(&mut self.mandates), mandate);
        }
    }

    /// Begins a term of another host, or of the same one again.
    fn begin_term(&mut self, term: u32, backed: u32, now: Timestamp) {
        self.term = term;
        self.newest.reach(term);
        self.backed = backed;
        self.heard = Some(now);

        self.campaign = None;
        self.inherited = None;
        self.yielded = None;
        self.sought = None;
        self.said_hosts = BTreeSet::new();
        self.met = Vec::new();
    }
}

impl Member {
    /// A sign of the host at `now`. Nothing of it is kept on disk.
    pub(in crate::session) fn host_heard(&mut self, from: PeerId, term: u32, now: Timestamp) {
        if from == self.host().peer && term == self.term() {
            self.succession.heard = Some(now);
            self.succession.campaign = None;
            self.succession.sought = None;
        }
    }

    #[cfg(test)]
    pub(in crate::session) fn heard_at(&self) -> Option<Timestamp> {
        self.succession.heard
    }

    pub(in crate::session) fn set_present(&mut self, present: BTreeSet<PeerId>) {
        self.succession.present = present;
    }

    /// Silence is counted from now on.
    pub(super) fn lost_count(&mut self, now: Timestamp) {
        self.succession.heard = Some(now);
        self.succession.campaign = None;
    }

    /// Whether there was no sign of the host for as long as the session states; a little less counts, because
    /// no two clocks agree on when that began.
    pub(in crate::session) fn has_lost_host(&self, now: Timestamp) -> bool {
        self.succession.heard.is_some_and(|heard| heard + self.patience() <= now)
    }

    fn patience(&self) -> Duration {
        self.succession.takeover * 3 / 4
    }

    /// Whose votes count: everyone in the group but the host, this node too, and those who should be in it.
    pub(in crate::session) fn voters(&self) -> BTreeSet<PeerId> {
        let others = self.in_group().chain(&self.succession.met).map(|(_, entry)| entry.contact.peer);
        others.chain([self.me]).filter(|peer| *peer != self.host().peer).collect()
    }

    fn can_campaign(&self) -> bool {
        matches!(self.state, MemberState::Ready | MemberState::Running)
            && !self.suspended
            && self.right().is_some()
            && self.keys().is_some()
            && !self.suspended_by_host
            && self.can_win()
    }

    /// Whether those who are there are enough: nobody asks for what it cannot get.
    fn can_win(&self) -> bool {
        let voters = self.voters();
        let there = voters.iter().filter(|peer| **peer == self.me || self.succession.present.contains(*peer));
        is_enough(there.count(), voters.len())
    }

    /// When this node wants to be host: the first in the agreed order of those that are there, first.
    pub(super) fn campaign_due(&self) -> Option<Timestamp> {
        let (heard, takeover) = (self.succession.heard?, self.succession.takeover);
        if !self.can_campaign() {
            return None;
        }
        if let Some(campaign) = &self.succession.campaign {
            let gone = campaign.since.since(heard);
            return Some((campaign.asked + ASK_AGAIN.max(gone / ASKS)).min(campaign.ends(heard, takeover)));
        }
        let mine = heard + takeover.saturating_mul(self.earlier_than(self.me).saturating_add(1));
        Some(self.succession.yielded.map_or(mine, |at| mine.max(at + takeover)))
    }

    /// When this node looks for a host again, if it has lost its own and cannot be host itself.
    pub(super) fn look_due(&self) -> Option<Timestamp> {
        let (heard, takeover) = (self.succession.heard?, self.succession.takeover);
        if self.can_campaign() {
            return None;
        }
        let gone = |at: Timestamp| at.since(heard) / LOOKS;
        Some(self.succession.sought.map_or(heard + takeover, |at| at + ASK_AGAIN.max(gone(at))))
    }

    /// Asks everyone, in a term that is over: a host that hears of it claims this node, or asks it for its vote.
    pub(super) fn look(&mut self, context: &Context<'_>, outputs: &mut Vec<Output>) {
        if !self.state.in_group() || self.look_due().is_none_or(|due| due > context.now) {
            return;
        }
        self.succession.sought = Some(context.now);
        let request = self.vote_request(self.term(), context);
        for of in self.whom_to_ask() {
            outputs.push(Output::AskVote { of, request: request.clone() });
        }
    }

    fn vote_request(&self, term: u32, context: &Context<'_>) -> VoteRequest {
        VoteRequest {
            session: self.session,
            term,
            epoch: self.keys.epoch(),
            candidate: context.me.clone(),
            slot: self.slot.as_ref().map(Verified::to_signed),
            membership: self.membership.clone(),
            follows: self.standing(),
        }
    }

    /// Whoever might be host, too.
    fn whom_to_ask(&self) -> BTreeSet<PeerId> {
        let hosts = self.former_hosts().iter().chain(&self.succession.said_hosts).copied();
        let hosts = hosts.chain([self.host().peer, self.ticket.host]);
        self.voters().into_iter().chain(hosts).filter(|peer| *peer != self.me).collect()
    }

    fn standing(&self) -> Standing {
        Standing { term: self.term(), host: self.host().peer }
    }

    /// Notes that somebody says that it is host, though that convinces nobody here.
    pub(in crate::session) fn heard_claim(&mut self, claimant: Claimant, now: Timestamp) {
        self.heard_host(claimant.peer);
        self.succession.newest.hear(claimant.term, now);
    }

    /// Notes that somebody is said to be host.
    fn heard_host(&mut self, host: PeerId) {
        if self.succession.said_hosts.len() < MAX_SAID && host != self.me {
            self.succession.said_hosts.insert(host);
        }
    }

    /// Asks for votes, if it is time.
    pub(super) fn campaign(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if !self.state.in_group() || self.campaign_due().is_none_or(|due| due > context.now) {
            return Ok(());
        }
        let now = context.now;
        let is_late = |due: Timestamp| due + self.succession.takeover / 2 < now;
        if self.succession.campaign.is_none() && self.campaign_due().is_some_and(is_late) {
            // This node slept: whether the host is silent, it cannot know yet.
            self.lost_count(now);
            return Ok(());
        }
        let (heard, takeover) = (self.succession.heard.unwrap_or(now), self.succession.takeover);
        let running = self.succession.campaign.take();
        let running = running.filter(|campaign| campaign.ends(heard, takeover) > now);
        let mut campaign = match running {
            Some(campaign) => campaign,
            None => self.begin_campaign(context)?,
        };
        campaign.asked = now;
        let request = self.vote_request(campaign.term, context);
        for of in self.whom_to_ask().into_iter().filter(|peer| !campaign.votes.contains_key(peer)) {
            outputs.push(Output::AskVote { of, request: request.clone() });
        }
        self.succession.campaign = Some(campaign);
        Ok(())
    }

    /// A new term, with this node's own vote.
    fn begin_campaign(&mut self, context: &Context<'_>) -> Result<Campaign, StepError> {
        let term = odd_after(self.newest_term());
        let vote = self.vote(term, self.me, context)?;
        let votes = BTreeMap::from([(self.me, (vote, None))]);
        Ok(Campaign { term, since: context.now, asked: context.now, votes })
    }

    fn newest_term(&self) -> u32 {
        self.succession.newest.get()
    }

    /// This node's only vote in that term.
    fn vote(
        &mut self,
        term: u32,
        candidate: PeerId,
        context: &Context<'_>,
    ) -> Result<Signed<Vote>, StepError> {
        let vote = Vote { session: self.session, term, candidate, voter: self.me, at: context.now };
        let vote = sign(&vote, context.identity)?.to_signed();
        self.succession.voted = Some((term, candidate, vote.clone()));
        self.succession.newest.reach(term);
        Ok(vote)
    }

    /// Takes in a request as far as nothing of it is kept on disk, and returns whether it takes a step.
    pub(in crate::session) fn weigh(
        &mut self,
        from: PeerId,
        request: &VoteRequest,
        now: Timestamp,
    ) -> RequestEffect {
        let is_mine = self.is_of_host(from, request);
        if !self.state.in_group() || !(is_mine || self.knows(from, request, now)) {
            return RequestEffect::Stranger;
        }

        if is_mine {
            self.host_heard(from, self.term(), now);
        }
        self.keys.heard_of(request.epoch, from, now);
        if self.gives_vote(from, request, now) {
            return RequestEffect::Step;
        }
        self.succession.newest.hear(request.term, now);
        RequestEffect::Answer
    }

    /// A member wants to be host, and [`Member::weigh`] found that it takes a step. The answer is [`Member::vote_for`].
    pub(super) fn vote_asked(
        &mut self,
        from: PeerId,
        request: &VoteRequest,
        context: &mut Context<'_>,
    ) -> Result<(), StepError> {
        let is_known = from == self.host().peer || self.voters().contains(&from);
        if !self.state.in_group() || !is_known || !self.gives_vote(from, request, context.now) {
            return Ok(());
        }

        self.succession.campaign = None;
        self.succession.yielded = Some(context.now);
        self.vote(request.term, from, context)?;

        let seed = context.random.seed();
        let offer = KeyOffer::new(context.identity, &seed).map_err(|_| StepError::Keys)?;
        self.keys.offered_with_vote(offer);
        Ok(())
    }

    /// Returns whether this node's own host asks, to go on in a later term.
    fn is_of_host(&self, from: PeerId, request: &VoteRequest) -> bool {
        from == self.host().peer && request.follows == self.standing()
    }

    /// Returns whether the candidate gets this node's vote now.
    fn gives_vote(&self, candidate: PeerId, request: &VoteRequest, now: Timestamp) -> bool {
        let is_free = match self.is_of_host(candidate, request) {
            true => !self.has_just_voted(now, |voted| voted == candidate),
            false => self.is_turn_of(candidate, now) && !self.has_just_voted(now, |voted| voted != self.me),
        };
        let knows_enough = request.epoch >= self.keys.epoch();
        is_free && knows_enough && self.succession.newest.allows_vote(request.term)
    }

    /// Returns whether this node has lost its host, and for so long that the candidate's turn has come: those who stand
    /// before it in the agreed order, and are there, have had theirs.
    fn is_turn_of(&self, candidate: PeerId, now: Timestamp) -> bool {
        let wait = self.succession.takeover.saturating_mul(self.earlier_than(candidate));
        self.has_lost_host(now)
            && self.succession.heard.is_some_and(|heard| heard + wait + self.patience() <= now)
    }

    /// Returns how many who could be host stand before `peer` in the agreed order, and are there.
    fn earlier_than(&self, peer: PeerId) -> u32 {
        let place = self.place(peer);
        let pauses = |peer: PeerId| {
            let of_peer = |(_, entry): &&Seated| entry.contact.peer == peer;
            self.others.iter().find(of_peer).is_some_and(|(_, entry)| entry.state == SeatState::Away)
        };
        let is_there = |peer: PeerId| match peer == self.me {
            true => self.can_campaign(),
            false => self.succession.present.contains(&peer) && !pauses(peer),
        };
        let earlier =
            self.voters().into_iter().filter(|other| self.place(*other) < place && is_there(*other));
        u32::try_from(earlier.count()).unwrap_or(u32::MAX)
    }

    /// Whether this peer is in the group, or shows that it could be, while nobody is there to say.
    fn knows(&mut self, peer: PeerId, request: &VoteRequest, now: Timestamp) -> bool {
        if self.voters().contains(&peer) || peer == self.host().peer {
            return true;
        }
        let is_out = self.others.iter().any(|(_, entry)| entry.contact.peer == peer);
        let is_room = self.succession.met.len() < MAX_MET && self.others.len() + MAX_MET < MAX_SEATS;
        if is_out || !is_room || !self.has_lost_host(now) {
            return false;
        }
        let Some(seated) = self.admission().shown(request) else { return false };
        let is_free = seated.0.as_ref().is_none_or(|slot| !self.is_taken(slot));
        if is_free {
            self.succession.met.push(seated);
        }
        is_free
    }

    /// Whether the number is somebody else's, as far as this node knows.
    fn is_taken(&self, slot: &Slot) -> bool {
        let known = self.slot.iter().chain(&self.host_slot).chain(slots(&self.others));
        let mut known = known.chain(slots(&self.succession.met));
        known.any(|other| other.k == slot.k && other.generation >= slot.generation)
    }

    /// Returns whether this node has voted a moment ago for somebody of whom `counts` holds, so that nobody drives it
    /// through the terms. Its own vote, of a campaign that failed, holds nobody up.
    fn has_just_voted(&self, now: Timestamp, counts: impl Fn(PeerId) -> bool) -> bool {
        self.succession.voted.as_ref().is_some_and(|(_, candidate, vote)| {
            let at = vote.unverified().at;
            counts(*candidate) && at <= now && at + self.succession.takeover / 4 > now
        })
    }

    /// What a candidate is to be told.
    #[must_use]
    pub fn vote_for(&self, from: PeerId, request: &VoteRequest, now: Timestamp) -> VoteResponse {
        match (&self.succession.voted, self.keys.vote_offer()) {
            (Some((term, candidate, vote)), Some(offer)) if (*term, *candidate) == (request.term, from) => {
                VoteResponse::Granted { vote: vote.clone(), package: offer.package().to_vec() }
            }
            _ if !self.voters().contains(&from) && from != self.host().peer => VoteResponse::UNKNOWN,
            _ => {
                let hears = (self.state.in_group() && !self.has_lost_host(now)).then(|| self.standing());
                VoteResponse::Refused { term: self.newest_term(), epoch: self.keys.epoch(), hears }
            }
        }
    }

    pub(super) fn vote_answered(
        &mut self,
        from: PeerId,
        answer: VoteResponse,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let (voters, now) = (self.voters(), context.now);
        match answer {
            VoteResponse::Granted { vote, package } => {
                let (session, me) = (self.session, self.me);
                let Some(campaign) = &mut self.succession.campaign else { return Ok(()) };
                let claimant = Claimant { session, term: campaign.term, peer: me };
                if voters.contains(&from) && vote_for(&vote, claimant) == Some(from) {
                    let package = is_package(from, &package).then_some(package);
                    campaign.votes.insert(from, (vote, package));
                }
            }
            VoteResponse::Refused { hears, .. }
                if hears == Some(self.standing()) && from == self.host().peer =>
            {
                self.host_heard(from, self.term(), now);
            }
            VoteResponse::Refused { term, epoch, hears } if voters.contains(&from) => {
                self.succession.newest.hear(term, now);
                self.keys.heard_of(epoch, from, now);
                if let Some(hears) = hears {
                    self.heard_host(hears.host);
                }
            }
            // In a term of its own host that it has not followed into.
            VoteResponse::Out if from == self.host().peer && !self.state.is_final() => {
                self.removed(context, outputs)?;
            }
            VoteResponse::Refused { .. } | VoteResponse::Out => {}
        }
        Ok(())
    }

    /// The office, if it is this node's now.
    pub(in crate::session) fn won(&mut self, context: &mut Context<'_>) -> Option<Won> {
        if let Some(hand_over) = self.succession.inherited.take() {
            return self.heir(hand_over, context);
        }
        if !self.can_campaign() {
            return None;
        }
        let voters = self.voters();
        let campaign = self.succession.campaign.as_ref()?;
        let votes: Vec<_> = campaign.votes.iter().filter(|(peer, _)| voters.contains(peer)).collect();
        if !is_enough(votes.len(), voters.len()) || !self.has_lost_host(context.now) {
            return None;
        }
        let own_votes = votes.iter().take(MAX_SEATS).map(|(_, (vote, _))| vote.clone()).collect();
        let packages = votes.iter().filter_map(|(peer, (_, package))| Some((**peer, package.clone()?)));
        let (term, packages) = (campaign.term, packages.collect());
        Some(Won { mandate: Mandate { term, host: self.me, votes: own_votes }, packages, backed: term })
    }

    /// The host makes this node the host.
    pub(super) fn inherit(
        &mut self,
        hand_over: HandOver,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        self.take_roster(hand_over.roster.clone(), context, outputs)?;
        if matches!(self.state, MemberState::Ready | MemberState::Running) {
            self.succession.inherited = Some(hand_over);
        }
        Ok(())
    }

    /// The office, by the host's own word, with whatever copies it brings.
    fn heir(&self, hand_over: HandOver, context: &mut Context<'_>) -> Option<Won> {
        let (session, me, term) = (self.session, self.me, self.term() + 1);
        let mandate = Mandate { term, host: me, votes: vec![hand_over.vote] };
        let claimant = Claimant { session, term, peer: me };
        let backed = self.known().is_led_to(claimant, std::slice::from_ref(&mandate))?;
        if let Some(copies) = hand_over.copies {
            self.take_copies(copies, context);
        }
        Some(Won { mandate, packages: BTreeMap::new(), backed })
    }

    /// Copies that do not stand up are not taken over; the office is.
    fn take_copies(&self, copies: HandedCopies, context: &mut Context<'_>) {
        let Ok(handover) = copies.handover.verify() else { return };
        match context.ledger.as_mut() {
            Some(ledger) => ledger.take_over(handover, copies.released).unwrap_or_default(),
            None if handover.to != self.me => {}
            None => *context.ledger = Ledger::handed(self.ticket.clone(), handover, copies.released).ok(),
        }
    }

    /// What it takes to convince this node of another host.
    pub(in crate::session) fn known(&self) -> Known {
        let (session, term, host) = (self.session, self.term(), self.host().peer);
        let own_vote = self.succession.voted.as_ref().map(|(.., vote)| vote.clone());
        Known { session, term, host, backed: self.succession.backed, voters: self.voters(), own_vote }
    }

    /// What this node keeps of the session when it is host itself. The deposed host has a seat: it may be back.
    pub(in crate::session) fn estate(&self) -> Estate {
        let others = self.others.iter().filter(|(_, entry)| entry.contact.peer != self.me);
        let others = others.filter(|(_, entry)| entry.contact.peer != self.host().peer);
        let host_slot = self.host_slot.clone();
        let slot = host_slot.as_ref().map(|slot| slot.to_signed());
        let host = RosterEntry {
            slot,
            membership: self.host_membership.clone(),
            contact: self.host().clone(),
            state: SeatState::Away,
            gave_back: false,
        };
        let mut former_hosts = self.succession.former_hosts.clone();
        former_hosts.push(self.host().peer);
        if former_hosts.len() > MAX_HOSTS {
            former_hosts.remove(0);
        }
        Estate {
            session: self.session,
            ticket: self.ticket.clone(),
            version: self.invited.version.clone(),
            size: self.invited.size,
            is_running: self.state == MemberState::Running,
            is_suspended: self.suspended_by_host,
            running_since: self.running_since,
            slot: self.slot.clone(),
            membership: self.membership.clone(),
            former_hosts,
            takeover: self.succession.takeover,
            mandates: self.succession.mandates.clone(),
            newest: self.succession.newest.clone(),
            backed: self.succession.backed,
            commits: self.keys.log(),
            others: others.chain(&self.succession.met).cloned().chain([(host_slot, host)]).collect(),
            untold: Vec::new(),
        }
    }

    /// A host that is host no more: somebody else is, in `term`.
    pub(in crate::session) fn deposed(
        estate: Estate,
        me: PeerId,
        term: u32,
        host: Contact,
        now: Timestamp,
    ) -> Self {
        let (version, size) = (estate.version, estate.size);
        let mut succession = Succession::new(term);
        succession.agreed(estate.takeover, estate.former_hosts);
        succession.mandates = estate.mandates;
        succession.newest = estate.newest;
        succession.begin_term(term, estate.backed, now);
        let mut keys = Keys::default();
        keys.inherit(estate.commits);
        Self {
            session: estate.session,
            ticket: estate.ticket,
            me,
            invited: Invited { host: host.bounded(), billing: Vec::new(), version, size, expires: now },
            state: if estate.is_running { MemberState::Running } else { MemberState::Ready },
            suspended_by_host: estate.is_suspended,
            suspended: false,
            slot: estate.slot,
            membership: estate.membership,
            host_slot: None,
            host_membership: None,
            others: estate.others,
            running_since: estate.running_since,
            why: None,
            gives_back: false,
            gave_back: Vec::new(),
            channel: Channel::default(),
            keys,
            succession,
        }
    }

    /// Somebody else is host from now on, and begins a new conversation.
    pub(in crate::session) fn follow(&mut self, term: u32, backed: u32, host: Contact, now: Timestamp) {
        self.invited.host = host.bounded();
        self.channel = Channel::default();
        self.keys.begin_term(term == self.term());
        self.succession.begin_term(term, backed, now);
    }

    /// The new host's first word: this node says what it is, where the host could not know.
    pub(super) fn claimed(
        &mut self,
        claim: Claim,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if self.state.is_final() {
            self.channel.say(Message::Leave, context.now);
            return Ok(());
        }
        let seat = claim.roster.members.iter().find(|entry| entry.contact.peer == self.me);
        let told = seat.map(|entry| entry.state);
        claim.mandates.into_iter().take(MAX_MANDATES).for_each(|mandate| self.succession.note(mandate));
        self.suspended_by_host = claim.suspended;
        if claim.suspended {
            self.used(context, outputs)?;
        }
        self.take_roster(claim.roster, context, outputs)?;
        if self.state.is_final() {
            return Ok(());
        }
        if let Some(welcome) = claim.welcome {
            self.join(&welcome, context, outputs)?;
        }
        if self.state == MemberState::Accepted {
            // Its slot was under way when the host changed: the new one knows of it.
            return self.accept_anew(context);
        }
        let entered = self.keys().is_some_and(|keys| keys.term() == self.term());
        if !entered && self.state.in_group() {
            self.offer_anew(context)?;
        }
        let says = match self.state {
            MemberState::Running if self.suspended => SeatState::Away,
            MemberState::Running => SeatState::Joined,
            MemberState::Ready if self.suspended => SeatState::Away,
            MemberState::Ready => SeatState::Ready,
            _ => SeatState::Accepted,
        };
        // Who waits for the start says so in any case: the host before may not have got to it.
        let is_news = told != Some(says) || says == SeatState::Ready;
        if is_news && says != SeatState::Accepted {
            self.say_ready(context.now);
        }
        Ok(())
    }
}
