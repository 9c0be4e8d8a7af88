//! The host's machine: inviting, granting, starting, ending (ST14-19 and 26-29; Figs. 7 and 9).
//!
//! For: one session of one ticket, from the first invitation to the end. Not for: supply (ST1-13, or ST31-33
//! without a server: either way the machine begins when program and ticket are there); nor for counting
//! copies, which the ticket's [`Ledger`] does across all sessions of that ticket.
//!
//! The idea: a seat for everyone who was ever invited, each with a [`Channel`]. What the node should be doing
//! right now (who is in the group, does the program run) is read off the state, so that a restart needs no
//! history: see [`Host::group`] and [`Host::runs`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Channel, Contact, DeclineReason, Invitation, MAX_SEATS, Message, Roster, RosterEntry, SeatState,
    message::reason,
};
use crate::{
    identity::{Identity, PeerId},
    ids::{SessionId, SlotHash},
    rights::{Ledger, Receipt, Right, SignError, Slot, Ticket, Verified, sign},
    time::Timestamp,
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
    suspended: bool,
    seats: BTreeMap<PeerId, Seat>,
    running_since: Option<Timestamp>,
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
    expires: Timestamp,
    channel: Channel,
}

impl Seat {
    /// Whether it has, or had, a slot: what it said in the group stays.
    #[must_use]
    pub fn has_slot(&self) -> bool {
        self.slot.is_some()
    }
}

/// What happens to a session, seen from its host.
#[derive(Debug)]
pub enum HostInput {
    /// ST14: the user invites. Seats that were given up are asked again.
    Invite(Vec<Contact>),
    /// A member's messages (from its authenticated connection).
    Message {
        /// Who speaks.
        from: PeerId,
        /// As in [`crate::wire::SessionRequest`].
        first: u64,
        /// As in [`crate::wire::SessionRequest`].
        messages: Vec<Message>,
    },
    /// The member has taken what was sent.
    Taken {
        /// Who answered.
        from: PeerId,
        /// Below which everything is taken.
        next: u64,
    },
    /// The member's node refuses the session as such.
    Rejected {
        /// Who.
        from: PeerId,
        /// For people.
        why: String,
    },
    /// A peer came into reach.
    Reachable(PeerId),
    /// ST19: the user starts with those that are ready; late ones come in.
    Start,
    /// Step 8.
    Suspend,
    /// Step 8.
    Resume,
    /// The user sends somebody away.
    Remove(PeerId),
    /// ST27: the user ends the session.
    End,
    /// The node has started anew.
    Restarted,
    /// The time that [`Host::due`] named has come.
    Tick,
}

/// What is to be done, after the machine is on disk.
#[derive(Debug)]
pub enum HostOutput {
    /// Send to a member, over the session protocol.
    Send {
        /// Whom.
        to: PeerId,
        /// As in [`crate::wire::SessionRequest`].
        first: u64,
        /// As in [`crate::wire::SessionRequest`].
        messages: Vec<Message>,
    },
    /// To the outbox, in the same transaction as the machine.
    Receipt(Box<(Right, Verified<Receipt>)>),
}

/// What the machine needs of its surroundings for one step.
pub struct HostContext<'a> {
    /// The host's key.
    pub identity: &'a Identity,
    /// The copies of the session's ticket; to be stored in the same transaction.
    pub ledger: &'a mut Ledger,
    /// Slots by which members are in other sessions ([`Host::slots_in_use`]): these are not taken back.
    pub elsewhere: &'a BTreeSet<SlotHash>,
    /// The host itself, as members are to see it.
    pub me: &'a Contact,
    /// Where the ticket's billing peers are, as far as is known.
    pub billing: &'a [Contact],
    /// The time.
    pub now: Timestamp,
}

/// Why a user's wish cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum HostError {
    #[error("the session has ended")]
    Ended,
    #[error("a session has at most {MAX_SEATS} seats")]
    Full,
    #[error("this node is the host: it needs no invitation")]
    Myself,
    #[error("nobody of that name was invited")]
    NotInvited,
    #[error("the session runs already")]
    Running,
    #[error("the session is suspended: resume it first")]
    Suspended,
    #[error("the session is not suspended")]
    NotSuspended,
    #[error("the node's key cannot sign this")]
    Sign,
}

impl From<SignError> for HostError {
    fn from(_: SignError) -> Self {
        Self::Sign
    }
}

impl Host {
    /// ST14: program and ticket are there; nobody is invited yet. `session` is fresh randomness; `size` is
    /// what a member has to fetch, bytes.
    #[must_use]
    pub fn new(session: SessionId, ticket: Verified<Ticket>, version: String, size: u64) -> Self {
        Self {
            session,
            ticket,
            version,
            size,
            state: HostState::Inviting,
            suspended: false,
            seats: BTreeMap::new(),
            running_since: None,
        }
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

    /// Whether the program runs on this node now (ST26).
    #[must_use]
    pub fn runs(&self) -> bool {
        self.state == HostState::Running && !self.suspended
    }

    /// When the machine wants its next [`HostInput::Tick`].
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let messages = self.seats.values().filter_map(|seat| seat.channel.due());
        let unanswered = |seat: &&Seat| seat.state == SeatState::Invited && self.state != HostState::Ended;
        let expiries = self.seats.values().filter(unanswered).map(|seat| seat.expires);
        messages.chain(expiries).min()
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

    /// Takes an input. The machine and the ledger must be on disk before the outputs are carried out.
    pub fn handle(
        &mut self,
        input: HostInput,
        context: &mut HostContext<'_>,
    ) -> Result<Vec<HostOutput>, HostError> {
        let mut outputs = Vec::new();
        let now = context.now;
        match input {
            HostInput::Invite(contacts) => self.invite(contacts, context)?,
            HostInput::Message { from, first, messages } => {
                let heard = self.seats.get_mut(&from).map(|seat| seat.channel.hear(first, messages));
                for message in heard.unwrap_or_default() {
                    self.heard(from, message, context);
                }
            }
            HostInput::Taken { from, next } => self.with_channel(from, |channel| channel.taken(next, now)),
            HostInput::Rejected { from, why } => self.rejected(from, why, context),
            HostInput::Reachable(peer) => self.with_channel(peer, |channel| channel.hurry(now)),
            HostInput::Start => self.start_by_user(context, &mut outputs)?,
            HostInput::Suspend => self.suspend(context, &mut outputs)?,
            HostInput::Resume => self.resume(now)?,
            HostInput::Remove(peer) => self.remove(peer, context)?,
            HostInput::End => self.end(context, &mut outputs)?,
            HostInput::Restarted => self.seats.values_mut().for_each(|seat| seat.channel.hurry(now)),
            HostInput::Tick => self.expire(now),
        }
        self.give_up_the_silent(context);
        self.start_when_everyone_is_ready(context, &mut outputs)?;
        for (to, seat) in &mut self.seats {
            if let Some((first, messages)) = seat.channel.poll(now) {
                outputs.push(HostOutput::Send { to: *to, first, messages });
            }
        }
        Ok(outputs)
    }

    /// ST14-15.
    fn invite(&mut self, contacts: Vec<Contact>, context: &HostContext<'_>) -> Result<(), HostError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended);
        }
        let new = contacts.iter().filter(|contact| !self.seats.contains_key(&contact.peer)).count();
        if self.seats.len() + new > MAX_SEATS {
            return Err(HostError::Full);
        }
        if contacts.iter().any(|contact| contact.peer == context.me.peer) {
            return Err(HostError::Myself);
        }
        let expires = context.now + INVITATION_LIFE;
        let invitation = Invitation {
            ticket: self.ticket.to_signed(),
            host: context.me.clone(),
            billing: context.billing.to_vec(),
            version: self.version.clone(),
            size: self.size,
            expires,
        };
        for contact in contacts {
            let seat = self.seats.entry(contact.peer).or_insert_with(|| Seat {
                contact: contact.clone(),
                state: SeatState::Declined,
                why: None,
                slot: None,
                expires,
                channel: Channel::default(),
            });
            if seat.state.in_group() || seat.state == SeatState::Invited || seat.channel.is_closed() {
                continue;
            }
            (seat.state, seat.why, seat.expires) = (SeatState::Invited, None, expires);
            seat.channel.say(Message::Invite(Box::new(invitation.clone())), context.now);
        }
        Ok(())
    }

    /// One message of a member that has a seat.
    fn heard(&mut self, from: PeerId, message: Message, context: &mut HostContext<'_>) {
        let Some(seat) = self.seats.get_mut(&from) else {
            return;
        };
        match message {
            Message::Accept(contact) if contact.peer == from => {
                // From here on it is called what it calls itself, not what the host's address book does.
                seat.contact = contact.bounded();
                self.grant(from, context);
            }
            Message::Decline(why) if matches!(seat.state, SeatState::Invited | SeatState::Accepted) => {
                let why = match why {
                    DeclineReason::Busy => "busy",
                    DeclineReason::User => "declined",
                };
                self.give_up(from, SeatState::Declined, Some(why.into()), context);
            }
            Message::Ready if seat.state == SeatState::Accepted => self.ready(from, context),
            // Resumed: as if it had just got ready. That it paused may never have been said, if it was short.
            Message::Resume if matches!(seat.state, SeatState::Away | SeatState::Ready) => {
                self.ready(from, context);
            }
            Message::Started if seat.state == SeatState::Ready => {
                seat.state = SeatState::Joined;
                self.tell_roster(context);
            }
            Message::Suspend if matches!(seat.state, SeatState::Ready | SeatState::Joined) => {
                seat.state = SeatState::Away;
                self.tell_roster(context);
            }
            Message::Fail(why) if seat.state.in_group() => {
                self.give_up(from, SeatState::Failed, Some(reason(why)), context);
            }
            Message::Leave if seat.state.in_group() => {
                self.give_up(from, SeatState::Left, None, context);
            }
            Message::Release(release) => {
                let in_group = seat.state.in_group();
                // One that does not stand up frees nothing, but who says so has gone all the same.
                let said = release.unverified();
                // A release may be overtaken by the same member's coming in elsewhere, on the same slot.
                let is_free = said.member == from && !context.elsewhere.contains(&said.slot);
                let released = is_free && context.ledger.release(release).is_ok();
                if seat.state == SeatState::Invited {
                    self.give_up(from, SeatState::Declined, Some("gave its copy back".into()), context);
                } else if in_group {
                    let why = released.then(|| "gave its copy back".to_owned());
                    self.give_up(from, SeatState::Left, why, context);
                }
            }
            // Anything else is out of step: a member that misbehaves, or one that speaks after it was let go.
            _ => {}
        }
    }

    /// ST16-17: the next slot, or no copy left. Whoever accepts too late is told so, and waits for nothing.
    fn grant(&mut self, member: PeerId, context: &mut HostContext<'_>) {
        let (ended, now) = (self.state == HostState::Ended, context.now);
        let Some(seat) = self.seats.get_mut(&member) else {
            return;
        };
        if seat.state == SeatState::Accepted
            && let Some(slot) = &seat.slot
        {
            // An earlier answer was taken for the one to the newest invitation; the member still waits.
            seat.channel.say(Message::Grant(slot.to_signed()), now);
            return self.tell_roster(context);
        }
        if seat.state.in_group() {
            return;
        }
        let refusal = if ended {
            Some((SeatState::Refused, "the session has ended".to_owned()))
        } else if !matches!(seat.state, SeatState::Invited | SeatState::Expired) {
            Some((seat.state, "the invitation does not stand any more".to_owned()))
        } else if seat.state == SeatState::Expired || seat.expires <= now {
            Some((SeatState::Expired, "the invitation has expired".to_owned()))
        } else {
            match context.ledger.grant(member, context.identity, now) {
                Ok(slot) => {
                    seat.channel.say(Message::Grant(slot.to_signed()), now);
                    (seat.slot, seat.state) = (Some(slot), SeatState::Accepted);
                    None
                }
                Err(error) => Some((SeatState::Refused, error.to_string())),
            }
        };
        if let Some((state, why)) = refusal {
            seat.channel.say(Message::Refuse(why.clone()), now);
            (seat.state, seat.why) = (state, Some(why));
        }
        self.tell_roster(context);
    }

    /// ST18: the member can run; if the session does already, it comes in late.
    fn ready(&mut self, member: PeerId, context: &HostContext<'_>) {
        let Some(seat) = self.seats.get_mut(&member) else {
            return;
        };
        seat.state = SeatState::Ready;
        if self.state == HostState::Running {
            seat.channel.say(Message::Start, context.now);
        }
        if self.suspended {
            seat.channel.say(Message::Suspend, context.now);
        }
        self.tell_roster(context);
    }

    /// The member's node knows nothing of the session, or wants nothing of it. Should the host invite again,
    /// both begin anew.
    fn rejected(&mut self, from: PeerId, why: String, context: &HostContext<'_>) {
        self.with_channel(from, |channel| *channel = Channel::default());
        self.give_up(from, SeatState::Failed, Some(reason(why)), context);
    }

    /// Members who take nothing of what is said to them, however long it gets.
    fn give_up_the_silent(&mut self, context: &HostContext<'_>) {
        let silent = |seat: &Seat| seat.channel.is_closed() && seat.state != SeatState::Failed;
        let silent: Vec<_> =
            self.seats.iter().filter(|(_, seat)| silent(seat)).map(|(peer, _)| *peer).collect();
        for peer in silent {
            self.give_up(peer, SeatState::Failed, Some("its node takes no messages".into()), context);
        }
    }

    /// A seat is no longer part of the group.
    fn give_up(&mut self, peer: PeerId, state: SeatState, why: Option<String>, context: &HostContext<'_>) {
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        let was_in_group = seat.state.in_group();
        if state == SeatState::Failed && !was_in_group && seat.state != SeatState::Invited {
            return;
        }
        (seat.state, seat.why) = (state, why);
        if was_in_group {
            self.tell_roster(context);
        }
    }

    /// ST18: everyone in the group learns who is in it.
    fn tell_roster(&mut self, context: &HostContext<'_>) {
        let entry = |seat: &Seat| {
            let slot = seat.slot.as_ref()?.to_signed();
            Some(RosterEntry { slot, contact: seat.contact.clone(), state: seat.state })
        };
        let roster =
            Roster { host: context.me.clone(), members: self.seats.values().filter_map(entry).collect() };
        for seat in self.seats.values_mut().filter(|seat| seat.state.in_group()) {
            seat.channel.say(Message::Roster(Box::new(roster.clone())), context.now);
        }
    }

    /// A session starts by itself once every invited node is ready or has declined.
    fn start_when_everyone_is_ready(
        &mut self,
        context: &HostContext<'_>,
        outputs: &mut Vec<HostOutput>,
    ) -> Result<(), HostError> {
        let ready = self.seats.values().any(|seat| seat.state == SeatState::Ready);
        let waiting = self.seats.values().any(|seat| seat.state.holds_up_start());
        if self.state == HostState::Inviting && !self.suspended && ready && !waiting {
            self.start(context, outputs)?;
        }
        Ok(())
    }

    fn start_by_user(
        &mut self,
        context: &HostContext<'_>,
        outputs: &mut Vec<HostOutput>,
    ) -> Result<(), HostError> {
        match self.state {
            HostState::Ended => Err(HostError::Ended),
            HostState::Running => Err(HostError::Running),
            HostState::Inviting if self.suspended => Err(HostError::Suspended),
            HostState::Inviting => self.start(context, outputs),
        }
    }

    /// ST19.
    fn start(&mut self, context: &HostContext<'_>, outputs: &mut Vec<HostOutput>) -> Result<(), HostError> {
        self.state = HostState::Running;
        self.running_since = Some(context.now);
        for seat in self.seats.values_mut().filter(|seat| seat.state == SeatState::Ready) {
            seat.channel.say(Message::Start, context.now);
        }
        if let Some(receipt) = Receipt::started(&self.right(), self.session, context.now) {
            outputs.push(self.receipt(receipt, context)?);
        }
        Ok(())
    }

    fn suspend(&mut self, context: &HostContext<'_>, outputs: &mut Vec<HostOutput>) -> Result<(), HostError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended);
        }
        if self.suspended {
            return Err(HostError::Suspended);
        }
        self.suspended = true;
        self.tell_group(&Message::Suspend, context.now);
        self.used(context, outputs)
    }

    fn resume(&mut self, now: Timestamp) -> Result<(), HostError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended);
        }
        if !self.suspended {
            return Err(HostError::NotSuspended);
        }
        self.suspended = false;
        self.running_since = (self.state == HostState::Running).then_some(now);
        self.tell_group(&Message::Resume, now);
        Ok(())
    }

    fn remove(&mut self, peer: PeerId, context: &HostContext<'_>) -> Result<(), HostError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended);
        }
        let seat = self.seats.get_mut(&peer).ok_or(HostError::NotInvited)?;
        if !seat.state.in_group() && seat.state != SeatState::Invited {
            return Err(HostError::NotInvited);
        }
        seat.channel.say(Message::Remove, context.now);
        self.give_up(peer, SeatState::Removed, None, context);
        Ok(())
    }

    /// ST27.
    fn end(&mut self, context: &HostContext<'_>, outputs: &mut Vec<HostOutput>) -> Result<(), HostError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended);
        }
        if !self.suspended {
            self.used(context, outputs)?;
        }
        self.state = HostState::Ended;
        let told = |seat: &&mut Seat| seat.state.in_group() || seat.state == SeatState::Invited;
        for seat in self.seats.values_mut().filter(told) {
            seat.channel.say(Message::End, context.now);
        }
        Ok(())
    }

    /// Invitations nobody answered.
    fn expire(&mut self, now: Timestamp) {
        let open = self.state != HostState::Ended;
        for seat in self.seats.values_mut().filter(|seat| open && seat.state == SeatState::Invited) {
            if seat.expires <= now {
                (seat.state, seat.why) = (SeatState::Expired, Some("no answer in time".into()));
            }
        }
    }

    fn used(&mut self, context: &HostContext<'_>, outputs: &mut Vec<HostOutput>) -> Result<(), HostError> {
        let since = self.running_since.take();
        let receipt = since.and_then(|from| Receipt::used(&self.right(), self.session, from, context.now));
        if let Some(receipt) = receipt {
            outputs.push(self.receipt(receipt, context)?);
        }
        Ok(())
    }

    fn receipt(&self, receipt: Receipt, context: &HostContext<'_>) -> Result<HostOutput, HostError> {
        Ok(HostOutput::Receipt(Box::new((self.right(), sign(&receipt, context.identity)?))))
    }

    fn right(&self) -> Right {
        Right::of_host(self.ticket.clone())
    }

    fn tell_group(&mut self, message: &Message, now: Timestamp) {
        for seat in self.seats.values_mut().filter(|seat| seat.state.in_group()) {
            seat.channel.say(message.clone(), now);
        }
    }

    fn with_channel(&mut self, peer: PeerId, act: impl FnOnce(&mut Channel)) {
        if let Some(seat) = self.seats.get_mut(&peer) {
            act(&mut seat.channel);
        }
    }
}
