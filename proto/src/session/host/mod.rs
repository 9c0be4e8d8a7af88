//! The host's machine: inviting, granting, starting, ending (ST14-19 and 26-29; Figs. 7 and 9).
//!
//! For: one session of one ticket, from the first invitation to the end. Not for: supply (ST1-13, or ST31-33
//! without a server: either way the machine begins when program and ticket are there); nor for counting
//! copies, which the ticket's [`Ledger`] does across all sessions of that ticket.
//!
//! The idea: a seat for everyone who was ever invited, each with a [`Channel`]. What the node should be doing
//! right now (who is in the group, does the program run) is read off the state, so that a restart needs no
//! history: see [`Host::group`] and [`Host::runs`].
//!
//! - `seats`: who is asked, gets a copy, is ready, goes (ST14-18);
//! - `course`: start, pause, end (ST19, 26-29);
//! - `links`: invitations that people hand on;
//! - `keys`: the group's keys follow the seats;
//! - `succession`: how a host comes into office after another one, and goes out of it;
//! - `poll`: whether it stays in office, when somebody else is host too.

mod course;
mod keys;
mod links;
mod poll;
mod seats;
mod succession;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use self::links::MAX_LINKS;
pub(super) use self::succession::Won;
use self::{keys::Keys, links::Links, succession::Office};
use super::{
    Channel, Contact, LinkRefusal, MAX_SEATS, Membership, SeatState,
    member::AdmissionRule,
    step::{Context, Input, Output, StepError},
};
use crate::{
    group::keys::GroupKeys,
    identity::PeerId,
    ids::{SessionId, SlotHash},
    rights::{Right, Signed, Slot, SlotError, Ticket, Verified},
    time::Timestamp,
    wire::CommitsResponse,
};

/// How long an invitation is good for.
pub const INVITATION_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// One session, as its host has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Host {
    session: SessionId,
    ticket: Verified<Ticket>,
    version: String,
    size: u64,
    state: HostState,
    /// Whether the program asked, when it was set up, to start as soon as somebody is ready.
    #[serde(default)]
    is_eager: bool,
    suspended: bool,
    seats: BTreeMap<PeerId, Seat>,
    running_since: Option<Timestamp>,
    keys: Keys,
    office: Office,
    /// They are this host's: no successor knows of them.
    #[serde(default)]
    links: Links,
}

/// How far the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// ST14-18: members are asked, receive and get ready.
    Inviting,
    /// ST19, 26: the group runs the program.
    Running,
    /// ST27-29: over.
    Ended,
}

/// What the host keeps of one invited node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seat {
    /// Who and where.
    pub contact: Contact,
    /// How far it is.
    pub state: SeatState,
    /// Why it is no further, for people.
    pub why: Option<String>,
    slot: Option<Verified<Slot>>,
    /// By which the slot is for this session.
    membership: Option<Signed<Membership>>,
    /// It gave its slot back: the slot stands only for what was.
    gave_back: bool,
    expires: Timestamp,
    /// When it was let into the keys last, and the KeyPackage that waits because that was just now.
    let_in: Option<Timestamp>,
    offer: Option<Vec<u8>>,
    channel: Channel,
}

impl Seat {
    /// Nobody yet.
    fn new(contact: Contact, expires: Timestamp) -> Self {
        let (state, why, slot, gave_back) = (SeatState::Declined, None, None, false);
        let (let_in, offer, channel) = (None, None, Channel::default());
        let membership = None;
        Self { contact, state, why, slot, membership, gave_back, expires, let_in, offer, channel }
    }

    /// Its slot, or the one that it had.
    pub(super) fn slot(&self) -> Option<&Verified<Slot>> {
        self.slot.as_ref()
    }

    /// Whether it has, or had, a slot: what it said in the group stays.
    #[must_use]
    pub fn has_slot(&self) -> bool {
        self.slot.is_some()
    }
}

/// Why a wish of the host's user cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum HostError {
    #[error("the session has ended")]
    Ended,
    #[error("a session has at most {MAX_SEATS} seats")]
    Full,
    #[error("this node is the host: it needs no invitation")]
    Myself,
    #[error("a session has at most {MAX_LINKS} links that have not expired: wait until one has")]
    TooManyLinks,
    #[error(transparent)]
    Link(#[from] LinkRefusal),
    #[error("nobody of that name was invited")]
    NotInvited,
    #[error("only a member that is ready or runs the program can be host")]
    NotReady,
    #[error("the session was handed over to another member already, which has not taken over yet")]
    HandedOver,
    #[error("the session runs already")]
    Running,
    #[error("the session is suspended: resume it first")]
    Suspended,
    #[error("the session is not suspended")]
    NotSuspended,
}

impl Host {
    /// ST14: program and ticket are there; nobody is invited yet. `session` is fresh randomness; `size` is
    /// what a member has to fetch, bytes. Without a sign of the host for `takeover`, another one takes over.
    #[must_use]
    pub fn new(
        session: SessionId,
        ticket: Verified<Ticket>,
        version: String,
        size: u64,
        takeover: Duration,
    ) -> Self {
        Self {
            session,
            ticket,
            version,
            size,
            state: HostState::Inviting,
            is_eager: false,
            suspended: false,
            seats: BTreeMap::new(),
            running_since: None,
            keys: Keys::default(),
            office: Office::first(takeover),
            links: Links::default(),
        }
    }

    /// ST24: its program asked to go straight on: it starts as soon as anybody is ready.
    #[must_use]
    pub fn eager(self, is_eager: bool) -> Self {
        Self { is_eager, ..self }
    }

    /// Which session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Whose copies it hands out.
    #[must_use]
    pub fn ticket(&self) -> &Verified<Ticket> {
        &self.ticket
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> HostState {
        self.state
    }

    /// Whether it pauses.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Everyone ever invited.
    #[must_use]
    pub fn seats(&self) -> &BTreeMap<PeerId, Seat> {
        &self.seats
    }

    /// The slots by which members are in this session.
    pub fn slots_in_use(&self) -> impl Iterator<Item = SlotHash> {
        let going_on = self.state != HostState::Ended;
        let seats = self.seats.values().filter(move |seat| going_on && seat.state.in_group());
        seats.filter_map(|seat| seat.slot.as_ref().map(Verified::hash))
    }

    /// Who is in the group now, the host not counted; `None` once there is no group any more.
    #[must_use]
    pub fn group(&self) -> Option<Vec<Contact>> {
        let in_group = |seat: &&Seat| seat.state.in_group();
        (self.state != HostState::Ended)
            .then(|| self.seats.values().filter(in_group).map(|seat| seat.contact.clone()).collect())
    }

    /// Whether the host is in the session by a slot, and not by the ticket.
    #[must_use]
    pub fn has_slot(&self) -> bool {
        self.office.slot().is_some()
    }

    /// The group's keys, once somebody was invited and until the session ends.
    #[must_use]
    pub fn keys(&self) -> Option<&Arc<GroupKeys>> {
        self.keys.current().filter(|_| self.state != HostState::Ended)
    }

    /// Whether the program runs on this node now (ST26).
    #[must_use]
    pub fn runs(&self) -> bool {
        self.state == HostState::Running && !self.suspended
    }

    /// When the machine wants its next [`Input::Tick`].
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let messages = self.seats.values().filter_map(|seat| seat.channel.due());
        let going_on = self.state != HostState::Ended;
        let unanswered = |seat: &&Seat| seat.state == SeatState::Invited && going_on;
        let expiries = self.seats.values().filter(unanswered).map(|seat| seat.expires);
        let keys = self.refresh_due().into_iter().chain(self.offers_due());
        messages.chain(expiries).chain(keys).chain(self.poll_due()).min()
    }

    /// Whether the session is over, and everyone knows who can be reached: see [`Host::waits_for`].
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state == HostState::Ended && self.seats.values().all(|seat| seat.channel.is_at_rest())
    }

    /// Whether something is to be said to this peer as soon as it can be reached.
    #[must_use]
    pub fn waits_for(&self, peer: PeerId) -> bool {
        self.seats.get(&peer).is_some_and(|seat| !seat.channel.is_idle())
    }

    /// What the member is to be told was heard of it: see [`Channel::expected`].
    #[must_use]
    pub fn expected_of(&self, peer: PeerId) -> Option<u64> {
        self.seats.get(&peer).map(|seat| seat.channel.expected())
    }

    /// What a member of the group that is in epoch `after` missed.
    #[must_use]
    pub fn commits_after(&self, from: PeerId, after: u64) -> CommitsResponse {
        match self.seats.get(&from) {
            Some(seat) if seat.state.in_group() => self.keys.after(after),
            _ => CommitsResponse::default(),
        }
    }

    /// Takes an input. The machine and the ledger must be on disk before the outputs are carried out.
    pub fn handle(
        &mut self,
        input: Input,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let now = context.now;
        let in_term = |term| term == self.office.term();
        match input {
            Input::Invite(contacts) => self.invite(contacts, context, outputs)?,
            Input::OfferLink { secret, expires, bound } => {
                self.offer_link(&secret, expires, bound, context)?;
            }
            Input::OpenLink { from, secret } => self.open_link(from, &secret, context, outputs)?,
            Input::Message { from, term, first, messages } if in_term(term) => {
                let heard = self.seats.get_mut(&from).map(|seat| seat.channel.hear(first, messages));
                for message in heard.unwrap_or_default() {
                    self.heard(from, message, context, outputs)?;
                }
            }
            Input::Taken { from, term, next } if in_term(term) => {
                self.with_channel(from, |channel| channel.taken(next, now));
            }
            Input::Rejected { from, term, why } if in_term(term) => {
                self.rejected(from, why, context, outputs)?;
            }
            Input::Reachable(peer) => self.with_channel(peer, |channel| channel.hurry(now)),
            Input::Start => self.start_by_user(context, outputs)?,
            Input::Suspend => self.suspend(context, outputs)?,
            Input::Resume => self.resume(now)?,
            Input::Remove(peer) => self.remove(peer, context, outputs)?,
            Input::End => self.end(context, outputs)?,
            Input::HandOver(peer) => self.hand_over(peer, context)?,
            Input::Restarted => self.seats.values_mut().for_each(|seat| seat.channel.hurry(now)),
            Input::Tick => {
                self.expire(now);
                self.refresh_keys(context, outputs)?;
                self.take_offers(context, outputs)?;
                self.go_on_with_poll(context, outputs)?;
            }
            Input::Accept | Input::Decline(_) | Input::Leave | Input::Discard | Input::DiscardLater => {
                return Err(StepError::NotMember);
            }
            // Of another term, or what members do with one another.
            Input::Message { .. } | Input::Taken { .. } | Input::Rejected { .. } => {}
            Input::VoteAsked { from, request } => self.asked(from, &request, context, outputs)?,
            Input::VoteAnswered { from, answer } => self.answered(from, answer, context),
            Input::Commits { .. } | Input::Behind(_) => {}
            Input::Received | Input::ReceptionFailed(_) => {}
        }
        self.finish_step(context, outputs)
    }

    /// What follows from any input.
    fn finish_step(&mut self, context: &mut Context<'_>, outputs: &mut Vec<Output>) -> Result<(), StepError> {
        self.give_up_the_silent(context, outputs)?;
        self.start_by_itself(context, outputs)?;
        let term = self.office.term();
        for (to, seat) in &mut self.seats {
            if let Some((first, messages)) = seat.channel.poll(context.now) {
                outputs.push(Output::Send { to: *to, term, first, messages });
            }
        }
        Ok(())
    }

    /// The host's own right to its copy.
    pub(super) fn right(&self) -> Result<Right, SlotError> {
        match self.office.slot() {
            Some(slot) => Right::of_member(self.ticket.clone(), slot.clone()),
            None => Ok(Right::of_host(self.ticket.clone())),
        }
    }

    /// Returns what shows a right to be in this session, as far as this host knows those before it.
    pub(super) fn admission(&self, me: PeerId) -> AdmissionRule<'_> {
        let hosts = self.former_hosts().iter().copied().chain([me, self.ticket.host]).collect();
        AdmissionRule { session: self.session, ticket: &self.ticket, hosts }
    }

    fn with_channel(&mut self, peer: PeerId, act: impl FnOnce(&mut Channel)) {
        if let Some(seat) = self.seats.get_mut(&peer) {
            act(&mut seat.channel);
        }
    }

    /// Everyone in the group, by what it counts for the keys and for votes.
    fn in_group(&self) -> BTreeSet<PeerId> {
        self.seats.iter().filter(|(_, seat)| seat.state.in_group()).map(|(peer, _)| *peer).collect()
    }
}
