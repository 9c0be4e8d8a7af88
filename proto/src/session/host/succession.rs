//! How a host comes into office after another one, and goes out of it.
//!
//! For: a session's second and every later host, with the copies that it may hand out; handing over. Not for:
//! who that is to be, see [`crate::session::election`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Host, HostError, HostState, Seat, keys::Keys};
use crate::{
    identity::PeerId,
    rights::{Handover, Signed, Slot, Verified},
    session::{
        Contact, MAX_HOSTS, MAX_SEATS, Message, Roster, RosterEntry, SeatState,
        election::{Evidence, VoteRequest},
        message::{Claim, HandOver},
        role::Estate,
        step::{Context, Output, StepError},
    },
};

/// The host's office.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Office {
    term: u32,
    takeover: Duration,
    /// The hosts before this one.
    former: Vec<PeerId>,
    /// The host's own slot, unless it is the ticket's host.
    slot: Option<Verified<Slot>>,
    /// To whom this host has handed over, while that one has not claimed it yet.
    successor: Option<PeerId>,
    /// Why it is host, for those who have not heard; `None` for the first.
    evidence: Option<Evidence>,
}

/// How a node has become host.
#[derive(Debug)]
pub(in crate::session) struct Won {
    pub(in crate::session) term: u32,
    pub(in crate::session) evidence: Evidence,
    /// Of those who sent one along with their vote.
    pub(in crate::session) packages: BTreeMap<PeerId, Vec<u8>>,
}

impl Office {
    /// Of the ticket's host.
    pub(super) fn first(takeover: Duration) -> Self {
        Self { term: 0, takeover, former: Vec::new(), slot: None, successor: None, evidence: None }
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

    /// Whether it is host because the one before it was thought lost.
    pub(in crate::session) fn is_elected(&self) -> bool {
        self.office.evidence.as_ref().is_some_and(Evidence::is_election)
    }

    /// Who was host before.
    #[must_use]
    pub fn former_hosts(&self) -> &[PeerId] {
        &self.office.former
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
            (seat.state, seat.slot, seat.gave_back) = (entry.state, slot, entry.gave_back);
            seats.insert(seat.contact.peer, seat);
        }
        let (takeover, former, slot) = (estate.takeover, estate.former_hosts, estate.slot);
        let mut host = Self {
            session: estate.session,
            ticket: estate.ticket,
            version: estate.version,
            size: estate.size,
            state: if estate.is_running { HostState::Running } else { HostState::Inviting },
            suspended: estate.is_suspended,
            seats,
            running_since: estate.running_since,
            keys: Keys::default(),
            office: Office {
                term: won.term,
                takeover,
                former,
                slot,
                successor: None,
                evidence: Some(won.evidence.clone()),
            },
        };
        let in_group = host.voters();
        let packages: Vec<_> = won.packages.iter().filter(|(peer, _)| in_group.contains(peer)).collect();
        let welcome = host.let_in_together(&packages, context, outputs)?;
        let welcomed: BTreeSet<PeerId> = packages.iter().map(|(peer, _)| **peer).collect();
        host.claim(&won.evidence, |peer| welcome.clone().filter(|_| welcomed.contains(peer)), context);
        host.finish_step(context, outputs)?;
        Ok(host)
    }

    fn claim(
        &mut self,
        evidence: &Evidence,
        welcome: impl Fn(&PeerId) -> Option<Vec<u8>>,
        context: &Context<'_>,
    ) {
        let roster = self.roster(context);
        let (state, suspended) = (self.state, self.suspended);
        for (peer, seat) in self.seats.iter_mut().filter(|(_, seat)| seat.state.in_group()) {
            let (evidence, roster, welcome) = (evidence.clone(), roster.clone(), welcome(peer));
            let claim = Claim { evidence, roster, welcome, state, suspended };
            seat.channel.say(Message::Claim(Box::new(claim)), context.now);
        }
    }

    /// Somebody with a slot, whom the host before this one let in at the last moment, wants a host: here is one.
    pub(super) fn meets(&mut self, from: PeerId, request: VoteRequest, context: &Context<'_>) {
        let (Some(slot), Some(evidence)) = (request.slot, self.office.evidence.clone()) else { return };
        if request.session != self.session || self.state == HostState::Ended {
            return;
        }
        if self.seats.get(&from).is_some_and(|seat| !seat.state.in_group() && seat.channel.is_idle()) {
            // It was put out, and the host that did so could not tell it any more.
            self.say_claim(from, evidence, context);
            self.with_channel(from, |channel| channel.say(Message::Remove, context.now));
            return;
        }
        let slot = slot.verify().ok().filter(|slot| slot.member == from && slot.check(&self.ticket).is_ok());
        let taken = |slot: &Slot| {
            let seats = self.seats.values().filter_map(|seat| seat.slot()).map(|other| other.k);
            seats.chain(self.office.slot().map(|own| own.k)).any(|k| k == slot.k)
        };
        let Some(slot) = slot.filter(|slot| !taken(slot)) else { return };
        let is_full = self.seats.len() >= MAX_SEATS;
        if is_full || self.seats.contains_key(&from) || request.candidate.peer != from {
            return;
        }
        let mut seat = Seat::new(request.candidate.bounded(), context.now);
        (seat.state, seat.slot) = (SeatState::Accepted, Some(slot));
        self.seats.insert(from, seat);
        self.say_claim(from, evidence, context);
        self.tell_roster(context);
    }

    fn say_claim(&mut self, to: PeerId, evidence: Evidence, context: &Context<'_>) {
        let (roster, state, suspended) = (self.roster(context), self.state, self.suspended);
        let claim = Claim { evidence, roster, welcome: None, state, suspended };
        self.with_channel(to, |channel| channel.say(Message::Claim(Box::new(claim)), context.now));
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
        if self.office.former.len() + 1 >= MAX_HOSTS {
            return Err(HostError::NoFurther.into());
        }
        let (session, term, now) = (self.session, self.office.term + 1, context.now);
        let identity = context.identity;
        let ledger = context.ledger.as_mut().ok_or(HostError::NoFurther)?;
        let handed =
            ledger.hand_over(peer, session, term, identity, now).map_err(|_| HostError::NoFurther)?;
        self.office.successor = Some(peer);
        let message = HandOver { handover: handed.handover.to_signed(), released: handed.released };
        self.with_channel(peer, |channel| channel.say(Message::HandOver(Box::new(message)), now));
        Ok(())
    }

    /// What this node keeps of the session when another one is host.
    pub(in crate::session) fn estate(&self) -> Estate {
        let entry = |(peer, seat): (&PeerId, &Seat)| Some((seat.slot.clone(), self.entry(*peer, seat)?));
        Estate {
            session: self.session,
            ticket: self.ticket.clone(),
            version: self.version.clone(),
            size: self.size,
            is_running: self.state == HostState::Running,
            is_suspended: self.suspended,
            running_since: self.running_since,
            slot: self.office.slot.clone(),
            former_hosts: self.office.former.clone(),
            takeover: self.office.takeover,
            others: self.seats.iter().filter_map(entry).collect(),
        }
    }

    /// Members, by what counts for votes.
    pub(in crate::session) fn voters(&self) -> BTreeSet<PeerId> {
        self.in_group()
    }
}
