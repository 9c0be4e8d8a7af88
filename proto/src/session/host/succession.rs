//! How a host comes into office after another one, and goes out of it.
//!
//! For: a session's second and every later host, with the copies that it may hand out; handing over. Not for:
//! who that is to be, see [`crate::session::election`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Host, HostError, HostState, Seat, keys::Keys, links::Links, poll::Doubt};
use crate::{
    identity::PeerId,
    rights::{Handover, Signed, Slot, Verified, sign},
    session::{
        Contact, Membership, Message, Roster, RosterEntry, SeatState,
        election::{Known, Mandate, NewestTerm, Vote, with_mandate},
        member::place,
        message::{Claim, HandOver, HandedCopies},
        role::Estate,
        step::{Context, Output, StepError},
    },
    time::Timestamp,
};

/// The host's office.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Office {
    pub(super) term: u32,
    pub(super) takeover: Duration,
    /// The hosts before this one.
    former: Vec<PeerId>,
    /// The host's own slot, unless it is the ticket's host.
    pub(super) slot: Option<Verified<Slot>>,
    /// By which its slot is for this session.
    pub(super) membership: Option<Signed<Membership>>,
    /// To whom this host has handed over, while that one has not claimed it yet.
    successor: Option<PeerId>,
    /// Since when.
    since: Option<Timestamp>,
    /// Why it is host, for those who have not heard; none for the first.
    mandates: Vec<Mandate>,
    /// The newest term that it has heard of, or has voted in.
    pub(super) newest: NewestTerm,
    /// The last term that a majority was shown for.
    backed: u32,
    #[serde(skip)]
    pub(super) doubt: Doubt,
}

/// How a node has become host.
#[derive(Debug)]
pub(in crate::session) struct Won {
    pub(in crate::session) mandate: Mandate,
    /// The last term that a majority was shown for.
    pub(in crate::session) backed: u32,
    /// Of those who sent one along with their vote.
    pub(in crate::session) packages: BTreeMap<PeerId, Vec<u8>>,
}

impl Office {
    /// Whether there is a successor, who may not know of anybody whom this host lets in now.
    pub(super) fn is_handed_over(&self) -> bool {
        self.successor.is_some()
    }

    pub(super) fn mandates(&self) -> Vec<Mandate> {
        self.mandates.clone()
    }

    /// Of the ticket's host.
    pub(super) fn first(takeover: Duration) -> Self {
        Self {
            term: 0,
            takeover,
            former: Vec::new(),
            slot: None,
            membership: None,
            successor: None,
            since: None,
            mandates: Vec::new(),
            newest: NewestTerm::new(0),
            backed: 0,
            doubt: Doubt::default(),
        }
    }

    pub(super) fn term(&self) -> u32 {
        self.term
    }

    /// Whether nobody was host before: the copies are those of the ticket.
    pub(super) fn is_first(&self) -> bool {
        self.term == 0
    }

    pub(super) fn slot(&self) -> Option<&Verified<Slot>> {
        self.slot.as_ref()
    }

    pub(super) fn roster(&self, host: Contact, members: Vec<RosterEntry>) -> Roster {
        Roster {
            term: self.term,
            host,
            host_slot: self.slot.as_ref().map(Verified::to_signed),
            host_membership: self.membership.clone(),
            former_hosts: self.former.clone(),
            takeover: self.takeover,
            members,
        }
    }
}

impl Host {
    /// How often the host has changed before this one came into office.
    #[must_use]
    pub fn term(&self) -> u32 {
        self.office.term
    }

    /// After how long without a sign of the host another one takes over.
    #[must_use]
    pub fn takeover(&self) -> Duration {
        self.office.takeover
    }

    /// Whether it has only just come into office.
    pub(in crate::session) fn is_new(&self, now: Timestamp) -> bool {
        self.office.since.is_some_and(|since| since <= now && since + self.office.takeover > now)
    }

    /// Who was host before.
    #[must_use]
    pub fn former_hosts(&self) -> &[PeerId] {
        &self.office.former
    }

    /// Where this host (`None`), or somebody else, stands in the agreed order.
    pub(in crate::session) fn place(&self, peer: Option<PeerId>) -> u32 {
        let right = self.right().ok();
        let own = right.as_ref().and_then(|right| right.slot());
        match peer {
            None => right.as_ref().map_or(u32::MAX, |right| place(right.holder(), own, &self.ticket)),
            Some(peer) => {
                let slot = self.seats.get(&peer).and_then(Seat::slot);
                place(peer, slot.or_else(|| self.office.doubt.met_by(peer)), &self.ticket)
            }
        }
    }

    /// By which this host has copies to give, if it is not by the ticket.
    pub(super) fn handover(&self, context: &Context<'_>) -> Option<Signed<Handover>> {
        let handover = context.ledger.as_ref()?.handover()?;
        let is_host = self.ticket.host == context.me.peer;
        (!is_host && handover.session == self.session).then(|| handover.to_signed())
    }

    /// In office after another one: everyone is told, and those who voted get the new keys at once.
    pub(in crate::session) fn succeed(
        estate: Estate,
        won: Won,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<Self, StepError> {
        let mut seats = BTreeMap::new();
        for (slot, entry) in estate.others {
            let mut seat = Seat::new(entry.contact, context.now);
            seat.state = entry.state;
            seat.slot = slot;
            seat.membership = entry.membership;
            seat.gave_back = entry.gave_back;
            seats.insert(seat.contact.peer, seat);
        }
        let term = won.mandate.term;
        let mut newest = estate.newest;
        newest.reach(term);
        let mandates = with_mandate(estate.mandates, won.mandate);
        let mut host = Self {
            session: estate.session,
            ticket: estate.ticket,
            version: estate.version,
            size: estate.size,
            state: if estate.is_running { HostState::Running } else { HostState::Inviting },
            is_eager: false,
            suspended: estate.is_suspended,
            seats,
            running_since: estate.running_since,
            keys: Keys::default(),
            office: Office {
                term,
                takeover: estate.takeover,
                former: estate.former_hosts,
                slot: estate.slot,
                membership: estate.membership,
                successor: None,
                since: Some(context.now),
                mandates,
                newest,
                backed: won.backed,
                doubt: Doubt::default(),
            },
            links: Links::default(),
        };
        host.keys.inherit(estate.commits);
        let in_group = host.voters();
        let packages: Vec<_> = won.packages.iter().filter(|(peer, _)| in_group.contains(peer)).collect();
        let welcome = host.let_in_together(&packages, context, outputs)?;
        let welcomed: BTreeSet<PeerId> = packages.iter().map(|(peer, _)| **peer).collect();
        for peer in in_group {
            let welcome = welcome.clone().filter(|_| welcomed.contains(&peer));
            host.claim(peer, welcome, context);
        }
        for peer in estate.untold {
            host.put_out_again(peer, context);
        }
        host.finish_step(context, outputs)?;
        Ok(host)
    }

    /// This node is host now, and begins a conversation with `to`.
    fn claim(&mut self, to: PeerId, welcome: Option<Vec<u8>>, context: &Context<'_>) {
        let (roster, state, suspended) = (self.roster(context), self.state, self.suspended);
        let claim = Claim { mandates: self.office.mandates.clone(), roster, welcome, state, suspended };
        self.with_channel(to, |channel| channel.say(Message::Claim(Box::new(claim)), context.now));
    }

    /// Somebody who was put out, and whom the host that did so could not tell any more, looks for a host.
    pub(super) fn meets(&mut self, from: PeerId, context: &Context<'_>) {
        if self.is_to_meet(from) {
            self.put_out_again(from, context);
        }
    }

    /// Returns whether this peer was put out by a host before, and is to be told so.
    pub(super) fn is_to_meet(&self, from: PeerId) -> bool {
        let was_put_out = |seat: &Seat| !seat.state.in_group() && seat.channel.is_idle();
        let is_first = self.office.is_first() || self.state == HostState::Ended;
        !is_first && self.seats.get(&from).is_some_and(was_put_out)
    }

    /// Whoever was put out in an earlier term learns so in this one.
    fn put_out_again(&mut self, peer: PeerId, context: &Context<'_>) {
        self.claim(peer, None, context);
        self.with_channel(peer, |channel| channel.say(Message::Remove, context.now));
    }

    /// From here on no copy is given out here any more, whatever becomes of the successor.
    pub(super) fn hand_over(&mut self, peer: PeerId, context: &mut Context<'_>) -> Result<(), StepError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended.into());
        }
        let seat = self.seats.get(&peer).ok_or(HostError::NotInvited)?;
        if !matches!(seat.state, SeatState::Ready | SeatState::Joined) {
            return Err(HostError::NotReady.into());
        }
        if self.office.successor.is_some_and(|successor| successor != peer) {
            return Err(HostError::HandedOver.into());
        }
        let (session, term, now) = (self.session, self.office.term + 1, context.now);
        let vote = Vote { session, term, candidate: peer, voter: context.me.peer, at: now };
        let vote = sign(&vote, context.identity)?.to_signed();
        let identity = context.identity;
        // Without copies, or with such as were handed on too often, the office still can be.
        let handed = match context.ledger.as_mut() {
            Some(ledger) => ledger.hand_over(peer, session, term, identity, now).ok(),
            None => None,
        };
        let copies = handed
            .map(|handed| HandedCopies { handover: handed.handover.to_signed(), released: handed.released });
        self.office.successor = Some(peer);
        self.office.newest.reach(term);
        let message = HandOver { vote, roster: self.roster(context), copies };
        self.with_channel(peer, |channel| channel.say(Message::HandOver(Box::new(message)), now));
        Ok(())
    }

    /// What this node keeps of the session when another one is host.
    pub(in crate::session) fn estate(&self) -> Estate {
        let entry = |(peer, seat): (&PeerId, &Seat)| Some((seat.slot.clone(), self.entry(*peer, seat)?));
        let is_untold = |seat: &Seat| !seat.state.in_group() && seat.has_slot() && !seat.channel.is_idle();
        Estate {
            session: self.session,
            ticket: self.ticket.clone(),
            version: self.version.clone(),
            size: self.size,
            is_running: self.state == HostState::Running,
            is_suspended: self.suspended,
            running_since: self.running_since,
            slot: self.office.slot.clone(),
            membership: self.office.membership.clone(),
            former_hosts: self.office.former.clone(),
            takeover: self.office.takeover,
            mandates: self.office.mandates.clone(),
            newest: self.office.newest.clone(),
            backed: self.office.backed,
            commits: self.keys.log(),
            others: self.seats.iter().filter_map(entry).collect(),
            untold: self.seats.iter().filter(|(_, seat)| is_untold(seat)).map(|(peer, _)| *peer).collect(),
        }
    }

    /// What it takes to convince this host that another one is.
    pub(in crate::session) fn known(&self, me: PeerId) -> Known {
        let (session, term, backed) = (self.session, self.office.term, self.office.backed);
        Known { session, term, host: me, backed, voters: self.voters(), own_vote: None }
    }

    /// Members, by what counts for votes.
    pub(in crate::session) fn voters(&self) -> BTreeSet<PeerId> {
        self.in_group()
    }
}
