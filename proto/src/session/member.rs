//! The member's machine: answering, receiving, running (ST20-29; Figs. 8 and 10).
//!
//! For: one session on the node of one invited member, from the invitation to the end. Not for: the bytes of
//! the program (the machine says under which right to fetch it, and is told when it is here).
//!
//! The idea: the same as the host's: messages over a [`Channel`], and what the node should be doing right now
//! is read off the state ([`Member::fetches`], [`Member::group`], [`Member::runs`]), so that a killed node goes
//! on from the step it was at.

use serde::{Deserialize, Serialize};

use super::{
    Channel, Contact, DeclineReason, Invitation, MAX_IN_FLIGHT, MAX_SEATS, Message, Roster, RosterEntry,
    host::INVITATION_LIFE, message::reason,
};
use crate::{
    identity::{Identity, PeerId},
    ids::SessionId,
    rights::{
        EquivocationProof, Receipt, ReceiptKind, Release, Right, SignError, Signed, Slot, Ticket,
        TicketError, Verified, VerifyError, sign,
    },
    time::Timestamp,
};

/// One session, as one of its members has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    session: SessionId,
    ticket: Verified<Ticket>,
    invited: Invited,
    state: MemberState,
    /// The whole session pauses.
    suspended_by_host: bool,
    /// This node pauses.
    suspended: bool,
    slot: Option<Verified<Slot>>,
    others: Vec<(Verified<Slot>, RosterEntry)>,
    running_since: Option<Timestamp>,
    why: Option<String>,
    /// The copy is discarded, and the slot goes back as soon as no other session uses it.
    #[serde(default)]
    gives_back: bool,
    channel: Channel,
}

/// What the invitation said, verified.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invited {
    /// Who invites.
    pub host: Contact,
    /// Where the ticket's billing peers are said to be.
    pub billing: Vec<Contact>,
    /// For people.
    pub version: String,
    /// Bytes to fetch.
    pub size: u64,
    /// After this, no answer counts; at most [`INVITATION_LIFE`] after it came.
    pub expires: Timestamp,
}

/// How far the member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// ST20: in the inbox.
    Invited,
    /// ST21-22: said yes, waits for the slot.
    Accepted,
    /// ST23: has its slot, receives the program.
    Receiving,
    /// ST25: has everything, waits for the start.
    Ready,
    /// ST26: runs.
    Running,
    /// ST20: said no.
    Declined,
    /// ST20: did not answer in time.
    Expired,
    /// ST16: there was no copy left.
    Refused,
    /// Could not receive.
    Failed,
    /// Went.
    Left,
    /// Was sent away.
    Removed,
    /// ST27-29.
    Ended,
}

impl MemberState {
    /// Whether nothing follows, unless the host invites again.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Invited | Self::Accepted | Self::Receiving | Self::Ready | Self::Running)
    }

    /// The word for people and for JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Accepted => "accepted",
            Self::Receiving => "receiving",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Ended => "ended",
        }
    }
}

/// What happens to a session, seen from a member.
#[derive(Debug)]
pub enum MemberInput {
    /// The host's messages (from its authenticated connection).
    Message {
        /// As in [`crate::wire::SessionRequest`].
        first: u64,
        /// As in [`crate::wire::SessionRequest`].
        messages: Vec<Message>,
    },
    /// The host has taken what was sent.
    Taken {
        /// Below which everything is taken.
        next: u64,
    },
    /// The host's node does not know the session any more.
    Rejected {
        /// For people.
        why: String,
    },
    /// The host came into reach.
    Reachable,
    /// ST21: the user, or a rule, says yes.
    Accept,
    /// ST20.
    Decline(DeclineReason),
    /// ST24: every byte is here and verified.
    Received,
    /// It cannot be had: for people.
    ReceptionFailed(String),
    /// Step 8: this node pauses.
    Suspend,
    /// Step 8.
    Resume,
    /// The user leaves.
    Leave,
    /// ST29: the copy is discarded: its slot goes back to the host. A member that has not left yet leaves.
    Discard,
    /// The same, while another session of the same ticket still uses the slot: it goes back later, when
    /// [`MemberInput::Discard`] says so.
    DiscardLater,
    /// The node has started anew.
    Restarted,
    /// The time that [`Member::due`] named has come.
    Tick,
}

/// What is to be done, after the machine is on disk.
#[derive(Debug)]
pub enum MemberOutput {
    /// Send to the host, over the session protocol.
    Send {
        /// The host.
        to: PeerId,
        /// As in [`crate::wire::SessionRequest`].
        first: u64,
        /// As in [`crate::wire::SessionRequest`].
        messages: Vec<Message>,
    },
    /// To the outbox, in the same transaction as the machine.
    Receipt(Box<(Right, Verified<Receipt>)>),
    /// The host gave one slot to two members: to be kept. The member is out.
    Cheat(Box<EquivocationProof>),
}

/// What the machine needs of its surroundings for one step.
pub struct MemberContext<'a> {
    /// The member's key.
    pub identity: &'a Identity,
    /// The member itself, as the others are to see it.
    pub me: &'a Contact,
    /// The time.
    pub now: Timestamp,
}

/// Why an invitation does not stand up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvitationError {
    #[error("the invitation's ticket: {0}")]
    Signature(#[from] VerifyError),
    #[error("the invitation's ticket: {0}")]
    Ticket(#[from] TicketError),
    #[error("the invitation has expired")]
    Expired,
    #[error("the invitation names another host than the one that sent it")]
    OtherHost,
    #[error("a session begins with an invitation")]
    NotAnInvitation,
    #[error("the program runs only under leases, which this version of parlor cannot hold")]
    Lease,
}

/// Why a user's wish cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum MemberError {
    #[error("the invitation was answered already")]
    Answered,
    #[error("the invitation has expired: ask the host to invite again")]
    Expired,
    #[error("the session is over for this node")]
    Over,
    #[error("the session is suspended already")]
    Suspended,
    #[error("the session is not suspended")]
    NotSuspended,
    #[error("the host suspended the session: only the host can resume it")]
    SuspendedByHost,
    #[error("the node's key cannot sign this")]
    Sign,
}

impl From<SignError> for MemberError {
    fn from(_: SignError) -> Self {
        Self::Sign
    }
}

impl Member {
    /// ST20: an invitation arrives from `from`, as the first message of a session. Checks that the ticket is
    /// good and the sender its host.
    pub fn invited(
        session: SessionId,
        from: PeerId,
        messages: &[Message],
        now: Timestamp,
    ) -> Result<Self, InvitationError> {
        // A node that was away for long finds the invitations that have expired meanwhile before the good one.
        let invitation = |message: &'_ Message| matches!(message, Message::Invite(_));
        let newest = messages.iter().take(MAX_IN_FLIGHT).rfind(|message| invitation(message));
        let (Some(Message::Invite(_)), Some(Message::Invite(invitation))) = (messages.first(), newest) else {
            return Err(InvitationError::NotAnInvitation);
        };
        let (ticket, invited) = check(invitation, from, now)?;
        Ok(Self {
            session,
            ticket,
            invited,
            state: MemberState::Invited,
            suspended_by_host: false,
            suspended: false,
            slot: None,
            others: Vec::new(),
            running_since: None,
            why: None,
            gives_back: false,
            channel: Channel::default(),
        })
    }

    /// Which session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Whose copies the host hands out.
    #[must_use]
    pub fn ticket(&self) -> &Verified<Ticket> {
        &self.ticket
    }

    /// What the invitation said.
    #[must_use]
    pub fn invitation(&self) -> &Invited {
        &self.invited
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> MemberState {
        self.state
    }

    /// Why it is no further, for people.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Whether it pauses, by its own or the host's wish.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspended || self.suspended_by_host
    }

    /// Everyone who has or had a slot, this node too, as the host last told.
    pub fn roster(&self) -> impl Iterator<Item = &RosterEntry> {
        self.others.iter().map(|(_, entry)| entry)
    }

    /// This node's slot.
    #[must_use]
    pub fn slot(&self) -> Option<&Verified<Slot>> {
        self.slot.as_ref()
    }

    /// Whether the slot is to go back to the host: see [`MemberInput::DiscardLater`].
    #[must_use]
    pub fn gives_back(&self) -> bool {
        self.gives_back
    }

    /// The right to a copy, once granted.
    #[must_use]
    pub fn right(&self) -> Option<Right> {
        let slot = self.slot.clone()?;
        Right::of_member(self.ticket.clone(), slot).ok()
    }

    /// ST23: the right under which to fetch the program now, if that is the step.
    #[must_use]
    pub fn fetches(&self) -> Option<Right> {
        (self.state == MemberState::Receiving && !self.is_suspended()).then(|| self.right()).flatten()
    }

    /// Who is in the group now, host included and this node not; `None` while this node is not in it. Who gave
    /// its slot back is not, once somebody else has it.
    #[must_use]
    pub fn group(&self) -> Option<Vec<Contact>> {
        if !matches!(self.state, MemberState::Receiving | MemberState::Ready | MemberState::Running) {
            return None;
        }
        let me = self.slot.as_ref().map(|slot| slot.member);
        let passed_on = |slot: &Slot| {
            self.others.iter().any(|(other, _)| other.k == slot.k && other.generation > slot.generation)
        };
        let others = self.others.iter().filter(|(slot, entry)| entry.state.in_group() && !passed_on(slot));
        let others = others.map(|(_, entry)| &entry.contact).filter(|contact| Some(contact.peer) != me);
        Some(std::iter::once(&self.invited.host).chain(others).cloned().collect())
    }

    /// ST26: whether the program runs on this node now.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.state == MemberState::Running && !self.is_suspended()
    }

    /// When the machine wants its next [`MemberInput::Tick`].
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let expiry = (self.state == MemberState::Invited).then_some(self.invited.expires);
        self.channel.due().into_iter().chain(expiry).min()
    }

    /// Whether something is to be said to the host as soon as it can be reached.
    #[must_use]
    pub fn waits_for_host(&self) -> bool {
        !self.channel.is_idle()
    }

    /// What the host is to be told was heard of it: see [`Channel::expected`].
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.channel.expected()
    }

    /// Takes an input. What changed must be on disk before the outputs are carried out.
    pub fn handle(
        &mut self,
        input: MemberInput,
        context: &MemberContext<'_>,
    ) -> Result<Vec<MemberOutput>, MemberError> {
        let mut outputs = Vec::new();
        let now = context.now;
        match input {
            MemberInput::Message { first, messages } => {
                for message in self.channel.hear(first, messages) {
                    self.heard(message, context, &mut outputs)?;
                }
            }
            MemberInput::Taken { next } => self.channel.taken(next, now),
            MemberInput::Rejected { why } => {
                // Should the host invite again, both begin anew.
                self.channel = Channel::default();
                if !self.state.is_final() {
                    self.finish(MemberState::Ended, Some(reason(why)), context, &mut outputs)?;
                }
            }
            MemberInput::Reachable | MemberInput::Restarted => self.channel.hurry(now),
            MemberInput::Accept => self.accept(context)?,
            MemberInput::Decline(why) => self.decline(why, now)?,
            MemberInput::Received => self.received(context, &mut outputs)?,
            MemberInput::ReceptionFailed(why) if self.state == MemberState::Receiving => {
                self.channel.say(Message::Fail(why.clone()), now);
                self.finish(MemberState::Failed, Some(why), context, &mut outputs)?;
            }
            MemberInput::ReceptionFailed(_) => {}
            MemberInput::Suspend => self.suspend(context, &mut outputs)?,
            MemberInput::Resume => self.resume(now)?,
            MemberInput::Leave => self.leave(context, &mut outputs)?,
            MemberInput::Discard => self.discard(context, &mut outputs)?,
            MemberInput::DiscardLater => {
                if !self.state.is_final() {
                    self.leave(context, &mut outputs)?;
                }
                self.gives_back = self.slot.is_some();
            }
            MemberInput::Tick => self.expire(now),
        }
        if let Some((first, messages)) = self.channel.poll(now) {
            outputs.push(MemberOutput::Send { to: self.ticket.host, first, messages });
        }
        Ok(outputs)
    }

    fn heard(
        &mut self,
        message: Message,
        context: &MemberContext<'_>,
        outputs: &mut Vec<MemberOutput>,
    ) -> Result<(), MemberError> {
        match message {
            Message::Invite(invitation) if self.state.is_final() => {
                self.invited_again(&invitation, context.now)
            }
            Message::Grant(slot) if self.state == MemberState::Accepted => self.granted(slot, context),
            Message::Refuse(why) if self.state == MemberState::Accepted => {
                self.finish(MemberState::Refused, Some(reason(why)), context, outputs)?;
            }
            Message::Roster(roster) if !self.state.is_final() => {
                self.take_roster(*roster, context, outputs)?
            }
            Message::Start => self.start(context, outputs)?,
            Message::Suspend if !self.state.is_final() => {
                self.suspended_by_host = true;
                self.used(context, outputs)?;
            }
            Message::Resume if !self.state.is_final() => {
                self.suspended_by_host = false;
                self.count_from(context.now);
            }
            Message::Remove if !self.state.is_final() => {
                self.finish(MemberState::Removed, Some("removed by the host".into()), context, outputs)?;
            }
            Message::End if !self.state.is_final() => {
                self.finish(MemberState::Ended, None, context, outputs)?;
            }
            // Anything else is out of step, or meant for a host.
            _ => {}
        }
        Ok(())
    }

    /// The host asks again somebody who declined, left or was refused.
    fn invited_again(&mut self, invitation: &Invitation, now: Timestamp) {
        let Ok((ticket, invited)) = check(invitation, self.ticket.host, now) else {
            return;
        };
        if ticket.hash() != self.ticket.hash() {
            return;
        }
        (self.invited, self.state, self.why) = (invited, MemberState::Invited, None);
        (self.suspended, self.suspended_by_host, self.gives_back) = (false, false, false);
    }

    /// ST21-22: accepting is a supply request to the host.
    fn accept(&mut self, context: &MemberContext<'_>) -> Result<(), MemberError> {
        if self.state != MemberState::Invited {
            return Err(MemberError::Answered);
        }
        if self.invited.expires <= context.now {
            return Err(MemberError::Expired);
        }
        self.state = MemberState::Accepted;
        self.channel.say(Message::Accept(context.me.clone()), context.now);
        Ok(())
    }

    /// ST20.
    fn decline(&mut self, why: DeclineReason, now: Timestamp) -> Result<(), MemberError> {
        if self.state != MemberState::Invited {
            return Err(MemberError::Answered);
        }
        self.state = MemberState::Declined;
        self.why = Some(match why {
            DeclineReason::Busy => "busy".into(),
            DeclineReason::User => "declined".into(),
        });
        self.channel.say(Message::Decline(why), now);
        Ok(())
    }

    /// ST20: nobody answered. The host knows by its own clock.
    fn expire(&mut self, now: Timestamp) {
        if self.state == MemberState::Invited && self.invited.expires <= now {
            (self.state, self.why) = (MemberState::Expired, Some("not answered in time".into()));
        }
    }

    /// ST16-17, 23: the slot must be the host's, of this ticket, and for this node.
    fn granted(&mut self, slot: Signed<Slot>, context: &MemberContext<'_>) {
        let slot = slot
            .verify()
            .ok()
            .filter(|slot| slot.member == context.me.peer && slot.check(&self.ticket).is_ok());
        match slot {
            Some(slot) => {
                self.slot = Some(slot);
                self.state = MemberState::Receiving;
            }
            None => {
                let why = "the host sent a slot that does not stand up";
                self.channel.say(Message::Fail(why.into()), context.now);
                (self.state, self.why) = (MemberState::Failed, Some(why.into()));
            }
        }
    }

    /// ST24-25: the reception-completion notice to the host, and the receipt to billing.
    fn received(
        &mut self,
        context: &MemberContext<'_>,
        outputs: &mut Vec<MemberOutput>,
    ) -> Result<(), MemberError> {
        let (MemberState::Receiving, Some(right)) = (self.state, self.right()) else {
            return Ok(());
        };
        let receipt = Receipt::new(&right, Some(self.session), ReceiptKind::Received, context.now);
        outputs.push(MemberOutput::Receipt(Box::new((right, sign(&receipt, context.identity)?))));
        self.state = MemberState::Ready;
        self.channel.say(Message::Ready, context.now);
        if self.suspended {
            self.channel.say(Message::Suspend, context.now);
        }
        Ok(())
    }

    /// Step 5, "admission is the slot": who has no verified slot of this ticket is not in the roster,
    /// whatever the host says; two slots that contradict each other prove that it cheats.
    fn take_roster(
        &mut self,
        roster: Roster,
        context: &MemberContext<'_>,
        outputs: &mut Vec<MemberOutput>,
    ) -> Result<(), MemberError> {
        if roster.host.peer == self.ticket.host {
            self.invited.host = roster.host.bounded();
        }
        let mut others = Vec::new();
        for mut entry in roster.members.into_iter().take(MAX_SEATS) {
            let Ok(slot) = entry.slot.clone().verify() else {
                continue;
            };
            if slot.check(&self.ticket).is_err() || entry.contact.peer != slot.member {
                continue;
            }
            entry.contact = entry.contact.bounded();
            others.push((slot, entry));
        }
        let mine = self.slot.as_ref().into_iter();
        let known = mine.chain(self.others.iter().map(|(slot, _)| slot)).chain(others.iter().map(|(s, _)| s));
        let known: Vec<_> = known.collect();
        for (i, slot) in known.iter().enumerate() {
            let proof = known[..i].iter().find_map(|other| EquivocationProof::find(other, slot));
            if let Some(proof) = proof {
                outputs.push(MemberOutput::Cheat(Box::new(proof)));
                self.channel.say(Message::Leave, context.now);
                let why = "the host gave one slot to two members";
                return self.finish(MemberState::Left, Some(why.into()), context, outputs);
            }
        }
        self.others = others;
        Ok(())
    }

    /// ST26. Said again by the host after a resume: answered again, unless this node pauses.
    fn start(
        &mut self,
        context: &MemberContext<'_>,
        outputs: &mut Vec<MemberOutput>,
    ) -> Result<(), MemberError> {
        if !matches!(self.state, MemberState::Ready | MemberState::Running) {
            return Ok(());
        }
        if self.state == MemberState::Ready {
            self.state = MemberState::Running;
            let right = self.right();
            if let Some((right, receipt)) = right
                .and_then(|right| Receipt::started(&right, self.session, context.now).map(|r| (right, r)))
            {
                outputs.push(MemberOutput::Receipt(Box::new((right, sign(&receipt, context.identity)?))));
            }
        }
        if !self.suspended {
            self.count_from(context.now);
            self.channel.say(Message::Started, context.now);
        }
        Ok(())
    }

    fn suspend(
        &mut self,
        context: &MemberContext<'_>,
        outputs: &mut Vec<MemberOutput>,
    ) -> Result<(), MemberError> {
        if self.state.is_final() {
            return Err(MemberError::Over);
        }
        if self.suspended {
            return Err(MemberError::Suspended);
        }
        self.suspended = true;
        if matches!(self.state, MemberState::Ready | MemberState::Running) {
            self.channel.say(Message::Suspend, context.now);
        }
        self.used(context, outputs)
    }

    fn resume(&mut self, now: Timestamp) -> Result<(), MemberError> {
        if self.state.is_final() {
            return Err(MemberError::Over);
        }
        if !self.suspended {
            let by_host = self.suspended_by_host;
            return Err(if by_host { MemberError::SuspendedByHost } else { MemberError::NotSuspended });
        }
        self.suspended = false;
        self.count_from(now);
        if matches!(self.state, MemberState::Ready | MemberState::Running) {
            self.channel.say(Message::Resume, now);
        }
        Ok(())
    }

    fn leave(
        &mut self,
        context: &MemberContext<'_>,
        outputs: &mut Vec<MemberOutput>,
    ) -> Result<(), MemberError> {
        match self.state {
            state if state.is_final() => return Err(MemberError::Over),
            MemberState::Invited => return self.decline(DeclineReason::User, context.now),
            _ => self.channel.say(Message::Leave, context.now),
        }
        self.finish(MemberState::Left, None, context, outputs)
    }

    /// ST29. From here on the slot is worth nothing to this node.
    fn discard(
        &mut self,
        context: &MemberContext<'_>,
        outputs: &mut Vec<MemberOutput>,
    ) -> Result<(), MemberError> {
        let Some(slot) = self.slot.clone() else {
            return if self.state.is_final() { Ok(()) } else { self.leave(context, outputs) };
        };
        if !self.state.is_final() {
            self.finish(MemberState::Left, None, context, outputs)?;
        }
        let release = Release {
            ticket: slot.ticket,
            slot: slot.hash(),
            k: slot.k,
            generation: slot.generation,
            member: slot.member,
            released_at: context.now,
        };
        let release = sign(&release, context.identity)?;
        self.channel.say(Message::Release(release.to_signed()), context.now);
        (self.slot, self.gives_back) = (None, false);
        Ok(())
    }

    /// ST27: over for this node, in one way or another.
    fn finish(
        &mut self,
        state: MemberState,
        why: Option<String>,
        context: &MemberContext<'_>,
        outputs: &mut Vec<MemberOutput>,
    ) -> Result<(), MemberError> {
        self.used(context, outputs)?;
        (self.state, self.why) = (state, why);
        Ok(())
    }

    fn count_from(&mut self, now: Timestamp) {
        if self.runs() && self.running_since.is_none() {
            self.running_since = Some(now);
        }
    }

    /// The time since the last start or resume is used up: a receipt, where the tariff counts minutes.
    fn used(
        &mut self,
        context: &MemberContext<'_>,
        outputs: &mut Vec<MemberOutput>,
    ) -> Result<(), MemberError> {
        let (Some(from), Some(right)) = (self.running_since.take(), self.right()) else {
            return Ok(());
        };
        if let Some(receipt) = Receipt::used(&right, self.session, from, context.now) {
            outputs.push(MemberOutput::Receipt(Box::new((right, sign(&receipt, context.identity)?))));
        }
        Ok(())
    }
}

fn check(
    invitation: &Invitation,
    from: PeerId,
    now: Timestamp,
) -> Result<(Verified<Ticket>, Invited), InvitationError> {
    let ticket = invitation.ticket.clone().verify()?;
    ticket.check(from, now)?;
    if ticket.terms.lease.is_some() {
        return Err(InvitationError::Lease);
    }
    if invitation.host.peer != from {
        return Err(InvitationError::OtherHost);
    }
    if invitation.expires <= now {
        return Err(InvitationError::Expired);
    }
    let invited = Invited {
        host: invitation.host.clone().bounded(),
        billing: ticket.places(&invitation.billing),
        version: super::message::bounded(invitation.version.clone(), crate::wire::MAX_NAME),
        size: invitation.size,
        expires: invitation.expires.min(now + INVITATION_LIFE),
    };
    Ok((ticket, invited))
}
