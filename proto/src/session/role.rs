//! What this node is in a session, and how that changes.
//!
//! For: one value for a session on one node, host or member, with what whoever drives it needs to know of either;
//! and the change from one to the other. Not for: what a host or a member does: see [`Host`] and [`Member`].

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    CommitLog, Contact, Host, HostState, LinkRefusal, LinkSecret, Member, MemberState, Membership, Message,
    RosterEntry,
    election::{Claimant, Known, Mandate, NewestTerm, RequestEffect, VoteRequest, VoteResponse, voters},
    member::check_handover,
    message::Claim,
    step::{Context, Input, Output, Refused, StepError},
};
use crate::{
    group::keys::GroupKeys,
    identity::PeerId,
    ids::SessionId,
    rights::{Handover, Signed, Slot, Ticket, Verified},
    time::Timestamp,
    wire::CommitsResponse,
};

/// One session, as this node has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Role {
    /// It is the host.
    Host(Box<Host>),
    /// It was invited.
    Member(Box<Member>),
}

/// What stays the same when a member becomes host, or a host a member.
pub(super) struct Estate {
    pub(super) session: SessionId,
    pub(super) ticket: Verified<Ticket>,
    pub(super) version: String,
    pub(super) size: u64,
    pub(super) is_running: bool,
    pub(super) is_suspended: bool,
    pub(super) running_since: Option<Timestamp>,
    /// This node's own; `None` for the ticket's host.
    pub(super) slot: Option<Verified<Slot>>,
    /// By which its slot is for this session.
    pub(super) membership: Option<Signed<Membership>>,
    pub(super) former_hosts: Vec<PeerId>,
    pub(super) takeover: Duration,
    /// How it came to the present host.
    pub(super) mandates: Vec<Mandate>,
    /// The newest term heard of.
    pub(super) newest: NewestTerm,
    /// The last term that a majority was shown for.
    pub(super) backed: u32,
    /// Commits of before, for those who missed them.
    pub(super) commits: CommitLog,
    /// Everyone else who has or had a right to be there.
    pub(super) others: Vec<(Option<Verified<Slot>>, RosterEntry)>,
    /// Those of them who were put out and have not taken that yet.
    pub(super) untold: Vec<PeerId>,
}

impl Role {
    /// Which session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        match self {
            Self::Host(host) => host.session(),
            Self::Member(member) => member.session(),
        }
    }

    /// Whose copies are handed out.
    #[must_use]
    pub fn ticket(&self) -> &Verified<Ticket> {
        match self {
            Self::Host(host) => host.ticket(),
            Self::Member(member) => member.ticket(),
        }
    }

    /// The host, if this node is.
    #[must_use]
    pub fn as_host(&self) -> Option<&Host> {
        match self {
            Self::Host(host) => Some(host),
            Self::Member(_) => None,
        }
    }

    /// The member, if this node is.
    #[must_use]
    pub fn as_member(&self) -> Option<&Member> {
        match self {
            Self::Host(_) => None,
            Self::Member(member) => Some(member),
        }
    }

    /// How often the host has changed.
    #[must_use]
    pub fn term(&self) -> u32 {
        match self {
            Self::Host(host) => host.term(),
            Self::Member(member) => member.term(),
        }
    }

    /// After how long without a sign of the host another one takes over.
    #[must_use]
    pub fn takeover(&self) -> Duration {
        match self {
            Self::Host(host) => host.takeover(),
            Self::Member(member) => member.takeover(),
        }
    }

    /// Who is or was host.
    #[must_use]
    pub fn hosts(&self, me: PeerId) -> BTreeSet<PeerId> {
        let (now, former) = match self {
            Self::Host(host) => (me, host.former_hosts()),
            Self::Member(member) => (member.host().peer, member.former_hosts()),
        };
        former.iter().copied().chain([now, self.ticket().host]).collect()
    }

    /// Who is in the group now, this node not counted; `None` while this node is not in it.
    #[must_use]
    pub fn group(&self) -> Option<Vec<Contact>> {
        match self {
            Self::Host(host) => host.group(),
            Self::Member(member) => member.group(),
        }
    }

    /// The group's keys, as long as this node is in it.
    #[must_use]
    pub fn keys(&self) -> Option<&Arc<GroupKeys>> {
        match self {
            Self::Host(host) => host.keys(),
            Self::Member(member) => member.keys(),
        }
    }

    /// Whether this node is in the session, or about to be, by a slot.
    #[must_use]
    pub fn uses_slot(&self) -> bool {
        match self {
            Self::Host(host) => host.state() != HostState::Ended && host.has_slot(),
            Self::Member(member) => !member.state().is_final() && member.state() != MemberState::Invited,
        }
    }

    /// ST26: whether the program runs on this node now.
    #[must_use]
    pub fn runs(&self) -> bool {
        match self {
            Self::Host(host) => host.runs(),
            Self::Member(member) => member.runs(),
        }
    }

    /// Whether it pauses.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        match self {
            Self::Host(host) => host.is_suspended(),
            Self::Member(member) => member.is_suspended(),
        }
    }

    /// Whether the session is over for this node.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Host(host) => host.state() == HostState::Ended,
            Self::Member(member) => member.state().is_final(),
        }
    }

    /// Whether it is over, and nothing is tried any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Host(host) => host.is_settled(),
            Self::Member(member) => member.state().is_final() && member.due().is_none(),
        }
    }

    /// When the machine wants its next [`Input::Tick`].
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Host(host) => host.due(),
            Self::Member(member) => member.due(),
        }
    }

    /// Whether something is to be said to this peer as soon as it can be reached.
    #[must_use]
    pub fn waits_for(&self, peer: PeerId) -> bool {
        match self {
            Self::Host(host) => host.waits_for(peer),
            Self::Member(member) => member.host().peer == peer && member.waits_for_host(),
        }
    }

    /// What a peer is to be told was heard of it in this term; `None` if it is no partner of that term's.
    #[must_use]
    pub fn expected_of(&self, peer: PeerId, term: u32) -> Option<u64> {
        match self {
            Self::Host(host) if host.term() == term => host.expected_of(peer),
            Self::Member(member) if member.term() == term && member.host().peer == peer => {
                Some(member.expected())
            }
            _ => None,
        }
    }

    /// What a peer in epoch `after` missed, if it is in the group.
    #[must_use]
    pub fn commits_after(&self, from: PeerId, after: u64) -> CommitsResponse {
        match self {
            Self::Host(host) => host.commits_after(from, after),
            Self::Member(member) => member.commits_after(from, after),
        }
    }

    /// What a candidate is to be told, once it has asked ([`Input::VoteAsked`]).
    #[must_use]
    pub fn vote_for(&self, me: PeerId, from: PeerId, request: &VoteRequest, now: Timestamp) -> VoteResponse {
        match self {
            Self::Member(member) => member.vote_for(from, request, now),
            Self::Host(host) => host.vote_for(me, from),
        }
    }

    /// Takes in a request for this node's vote, as far as nothing of it is kept on disk, and returns what it calls for.
    pub fn weigh(
        &mut self,
        me: PeerId,
        from: PeerId,
        request: &VoteRequest,
        now: Timestamp,
    ) -> RequestEffect {
        if request.session != self.session() || request.candidate.peer != from {
            return RequestEffect::Stranger;
        }
        match self {
            Self::Host(host) => host.weigh(me, from, request, now),
            Self::Member(member) => member.weigh(from, request, now),
        }
    }

    /// Whether the secret would open anything for this peer ([`Input::OpenLink`]): what else is asked is not worth a
    /// step. Links are their host's: who is a member knows of none.
    pub fn may_open(&self, from: PeerId, secret: &LinkSecret, now: Timestamp) -> Result<(), LinkRefusal> {
        match self {
            Self::Host(host) => host.may_open(from, secret, now),
            Self::Member(_) => Err(LinkRefusal::Unknown),
        }
    }

    /// A sign of a host at `now`, of no consequence for what is on disk.
    pub fn host_heard(&mut self, from: PeerId, term: u32, now: Timestamp) {
        if let Self::Member(member) = self {
            member.host_heard(from, term, now);
        }
    }

    /// Who of the group can be reached now, of no consequence for what is on disk.
    pub fn set_present(&mut self, present: BTreeSet<PeerId>) {
        if let Self::Member(member) = self {
            member.set_present(present);
        }
    }

    /// Takes an input. What changed (the ledger too) must be on disk before the outputs are carried out. On an
    /// error the machine must be thrown away, and the one before kept.
    pub fn handle(&mut self, input: Input, context: &mut Context<'_>) -> Result<Vec<Output>, StepError> {
        let mut outputs = Vec::new();
        if let Input::Message { from, term, first: 0, messages } = &input
            && let Some(Message::Claim(claim)) = messages.first()
        {
            self.follow(*from, *term, claim, context, &mut outputs)?;
            // Between two who are both host of one term, nothing else is said.
            if self.as_member().is_none_or(|member| (member.host().peer, member.term()) != (*from, *term)) {
                if let Self::Host(host) = self {
                    host.handle(Input::Tick, context, &mut outputs)?;
                }
                return Ok(outputs);
            }
        }
        if let Input::Message { from, term, first: 0, messages } = &input
            && let Self::Member(member) = self
            && let Some(anew) = member.invited_by_successor(*from, *term, messages, context.now)
        {
            **member = anew;
        }
        match self {
            Self::Host(host) => host.handle(input, context, &mut outputs)?,
            Self::Member(member) => {
                member.handle(input, context, &mut outputs)?;
                if let Some(won) = member.won(context) {
                    let host = Host::succeed(member.estate(), won, context, &mut outputs)?;
                    *self = Self::Host(Box::new(host));
                }
            }
        }
        Ok(outputs)
    }

    /// Whether somebody who begins a term by these messages would be taken for the host, or has anybody of this node's
    /// group behind it: what else is said so is not worth a step.
    #[must_use]
    pub fn believes(&self, me: PeerId, from: PeerId, term: u32, messages: &[Message]) -> bool {
        let mandates = match messages.first() {
            Some(Message::Claim(claim)) => &claim.mandates,
            Some(Message::Invite(invitation)) => {
                let is_handed_over = |handover: &Signed<Handover>| {
                    check_handover(handover, self.ticket(), self.session(), from, term).is_ok()
                };
                if from == self.ticket().host || invitation.handover.as_ref().is_some_and(is_handed_over) {
                    return true;
                }
                &invitation.mandates
            }
            _ => return false,
        };
        let claimant = Claimant { session: self.session(), term, peer: from };
        let mut known = self.known(me);
        if known.is_led_to(claimant, mandates).is_some() {
            return true;
        }
        // Enough to be asked about, by whoever is host or has none.
        known.voters.insert(from);
        let last = mandates.last().filter(|mandate| (mandate.term, mandate.host) == (term, from));
        last.is_some_and(|mandate| !voters(&mandate.votes, claimant, &known.voters).is_empty())
    }

    /// Somebody says that it is host now: this node follows it into its term, if that convinces.
    fn follow(
        &mut self,
        from: PeerId,
        term: u32,
        claim: &Claim,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let claimant = Claimant { session: self.session(), term, peer: from };
        let named = (claim.roster.host.peer, claim.roster.term) == (from, term);
        let me = context.me.peer;
        let is_later = self.is_later(claimant);
        if !named || (!is_later && self.as_host().is_none()) {
            return Ok(());
        }

        let known = self.known(me);
        let led = known.is_led_to(claimant, &claim.mandates).or_else(|| {
            let yields = self.as_host().is_some_and(|host| host.yields_to(claimant, context.now));
            yields.then_some(known.backed)
        });
        let Some(backed) = led.filter(|_| is_later) else {
            outputs.push(Output::Refused { from, what: Refused::Claim });
            return match self {
                Self::Host(host) => host.questioned(claimant, claim, context, outputs),
                Self::Member(member) => {
                    member.heard_claim(claimant, context.now);
                    Ok(())
                }
            };
        };

        let host = claim.roster.host.clone();
        match self {
            Self::Host(host) if host.state() == HostState::Ended => {}
            Self::Host(deposed) => {
                let estate = Estate { backed, ..deposed.estate() };
                *self = Self::Member(Box::new(Member::deposed(estate, me, term, host, context.now)));
            }
            Self::Member(member) => member.follow(term, backed, host, context.now),
        }
        Ok(())
    }

    /// A later term; or the same, of somebody before the present host in the agreed order.
    fn is_later(&self, claimant: Claimant) -> bool {
        let (term, host) = match self {
            Self::Host(host) => (host.term(), None),
            Self::Member(member) => (member.term(), Some(member.host().peer)),
        };
        let before = || match self {
            Self::Host(host) => host.place(None) > host.place(Some(claimant.peer)),
            Self::Member(member) => member.place(member.host().peer) > member.place(claimant.peer),
        };
        claimant.term > term || (claimant.term == term && host != Some(claimant.peer) && before())
    }

    /// What it takes to convince this node of another host.
    fn known(&self, me: PeerId) -> Known {
        match self {
            Self::Host(host) => host.known(me),
            Self::Member(member) => member.known(),
        }
    }
}
