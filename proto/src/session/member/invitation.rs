//! What is checked of an invitation, and the answer (ST20-22).

use serde::{Deserialize, Serialize};

use super::{Keys, Member, MemberError, MemberState, Succession};
use crate::{
    group::keys::KeyOffer,
    identity::PeerId,
    ids::SessionId,
    rights::{Handover, Signed, Ticket, TicketError, Verified, VerifyError},
    session::{
        Channel, Contact, DeclineReason, Invitation, MAX_IN_FLIGHT, Message,
        election::Claimant,
        host::INVITATION_LIFE,
        message::{Acceptance, bounded},
        step::{Context, StepError},
    },
    time::Timestamp,
    wire::MAX_NAME,
};

/// What the invitation said, verified.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invited {
    /// The host: who invited, or whoever is host now.
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

impl Member {
    /// ST20: an invitation arrives at `me` from `from`, as the first message of a term of a session. Checks that
    /// the ticket is good and the sender its host, or one to whom the copies were handed over.
    pub fn invited(
        session: SessionId,
        me: PeerId,
        from: PeerId,
        term: u32,
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
        check_host(invitation, &ticket, session, from, term, now)?;
        Ok(Self {
            session,
            ticket,
            me,
            invited,
            state: MemberState::Invited,
            suspended_by_host: false,
            suspended: false,
            slot: None,
            membership: None,
            host_slot: None,
            host_membership: None,
            others: Vec::new(),
            running_since: None,
            why: None,
            gives_back: false,
            gave_back: Vec::new(),
            channel: Channel::default(),
            keys: Keys::default(),
            succession: Succession::new(term),
        })
    }

    /// The host asks again somebody who declined, left or was refused.
    pub(super) fn invited_again(&mut self, invitation: &Invitation, now: Timestamp) {
        // Who the host is, this node knows.
        let Ok((ticket, invited)) = check(invitation, self.host().peer, now) else {
            return;
        };
        if ticket.hash() != self.ticket.hash() {
            return;
        }
        self.is_invited(invited);
    }

    fn is_invited(&mut self, invited: Invited) {
        (self.invited, self.state, self.why) = (invited, MemberState::Invited, None);
        (self.suspended, self.suspended_by_host, self.gives_back) = (false, false, false);
        self.keys = Keys::default();
    }

    /// A later host than the one this node has left, or never came to, asks it to come: both begin anew. `None`
    /// while this node is in the group: it waits for the host's claim.
    pub(in crate::session) fn invited_by_successor(
        &self,
        from: PeerId,
        term: u32,
        messages: &[Message],
        now: Timestamp,
    ) -> Option<Self> {
        if self.state.in_group() || term <= self.term() {
            return None;
        }
        let Some(Message::Invite(invitation)) = messages.first() else { return None };
        let (ticket, invited) = check(invitation, from, now).ok()?;
        let claimant = Claimant { session: self.session, term, peer: from };
        let led = self.known().is_led_to(claimant, &invitation.mandates);
        let is_host = || check_host(invitation, &ticket, self.session, from, term, now).is_ok();
        let backed = led.or_else(|| is_host().then_some(term))?;
        if ticket.hash() != self.ticket.hash() {
            return None;
        }
        let mut anew = self.clone();
        anew.follow(term, backed, invited.host.clone(), now);
        anew.is_invited(invited);
        Some(anew)
    }

    /// ST21-22: accepting is a supply request to the host.
    pub(super) fn accept(&mut self, context: &mut Context<'_>) -> Result<(), StepError> {
        if self.state != MemberState::Invited {
            return Err(MemberError::Answered.into());
        }
        if self.invited.expires <= context.now {
            return Err(MemberError::Expired.into());
        }
        self.state = MemberState::Accepted;
        self.accept_anew(context)
    }

    /// The yes, to whoever is host now.
    pub(super) fn accept_anew(&mut self, context: &mut Context<'_>) -> Result<(), StepError> {
        let seed = context.random.seed();
        let offer = KeyOffer::new(context.identity, &seed).map_err(|_| StepError::Keys)?;
        let acceptance = Acceptance { contact: context.me.clone(), package: offer.package().to_vec() };
        self.keys.offered(offer);
        self.channel.say(Message::Accept(Box::new(acceptance)), context.now);
        Ok(())
    }

    /// ST20.
    pub(super) fn decline(&mut self, why: DeclineReason, now: Timestamp) -> Result<(), StepError> {
        if self.state != MemberState::Invited {
            return Err(MemberError::Answered.into());
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
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.state == MemberState::Invited && self.invited.expires <= now {
            (self.state, self.why) = (MemberState::Expired, Some("not answered in time".into()));
        }
    }
}

/// Whether whoever invites may, by the ticket or by a handover: for a node that knows nothing else of the session.
fn check_host(
    invitation: &Invitation,
    ticket: &Verified<Ticket>,
    session: SessionId,
    from: PeerId,
    term: u32,
    now: Timestamp,
) -> Result<(), InvitationError> {
    match &invitation.handover {
        Some(handover) => check_handover(handover, ticket, session, from, term),
        None => Ok(ticket.check(from, now)?),
    }
}

/// Whether the ticket's copies were handed over to `to` in this session, in this term or an earlier one.
pub(in crate::session) fn check_handover(
    handover: &Signed<Handover>,
    ticket: &Verified<Ticket>,
    session: SessionId,
    to: PeerId,
    term: u32,
) -> Result<(), InvitationError> {
    let said = handover.unverified();
    if (said.session, said.to) != (session, to) || said.term > term {
        return Err(InvitationError::OtherHost);
    }
    let handover = handover.clone().verify()?;
    handover.check(ticket).map_err(|_| InvitationError::OtherHost)
}

/// All but whether it is the host who invites.
fn check(
    invitation: &Invitation,
    from: PeerId,
    now: Timestamp,
) -> Result<(Verified<Ticket>, Invited), InvitationError> {
    let ticket = invitation.ticket.clone().verify()?;
    ticket.check_time(now)?;
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
        version: bounded(invitation.version.clone(), MAX_NAME),
        size: invitation.size,
        expires: invitation.expires.min(now + INVITATION_LIFE),
    };
    Ok((ticket, invited))
}
