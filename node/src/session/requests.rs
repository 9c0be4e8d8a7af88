//! What other nodes say: messages of a session, and invitations (ST20-21), let in or not as the rules are.

use parlor_proto::{
    identity::PeerId,
    ids::SessionId,
    session::{DeclineReason, HostInput, Member, MemberInput, MemberState, Message},
    wire::{SessionRequest, SessionResponse},
};

use super::{
    MAX_SESSIONS,
    driver::{Driver, Run},
    step::Input,
};
use crate::{clock, console::Availability, context::Event, store::SessionRole};

/// Invitations that led nowhere yet, at most: they wait for the user's answer, or the answer waits for the host
/// to take it. More are turned away, unless a trusted contact invites.
const MAX_INBOX: usize = 64;
/// The same, of one host.
const MAX_INBOX_OF_HOST: usize = 8;
impl Driver {
    /// Another node's messages: taken by a machine, or the beginning of a session.
    pub(super) async fn request(&mut self, from: PeerId, request: SessionRequest) -> SessionResponse {
        let SessionRequest { session, first, messages } = request;
        let input = match self.runs.get(&session).map(|run| &run.record.role) {
            Some(SessionRole::Host(host)) if host.seats().contains_key(&from) => {
                Input::Host(HostInput::Message { from, first, messages })
            }
            Some(SessionRole::Member(member)) if member.ticket().host == from => {
                Input::Member(MemberInput::Message { first, messages })
            }
            Some(_) => return SessionResponse::Rejected("this node is not in that session with you".into()),
            None => return self.invited(session, from, first, messages).await,
        };
        let was_invited = self.is_invited(session);
        match self.input(session, input).await {
            Ok(()) => {
                // Asked again, after it had declined or left.
                if !was_invited {
                    self.answer_by_rule(session).await;
                }
                self.taken(session, from)
            }
            Err(error) => {
                tracing::warn!(%session, ?from, %error, "messages were not taken");
                SessionResponse::Later
            }
        }
    }

    pub(super) fn taken(&self, session: SessionId, from: PeerId) -> SessionResponse {
        let next = match self.runs.get(&session).map(|run| &run.record.role) {
            Some(SessionRole::Host(host)) => host.expected_of(from),
            Some(SessionRole::Member(member)) => Some(member.expected()),
            None => None,
        };
        next.map_or(SessionResponse::Later, |next| SessionResponse::Taken { next })
    }

    /// ST20: an invitation, let in or not as the availability says.
    pub(super) async fn invited(
        &mut self,
        session: SessionId,
        from: PeerId,
        first: u64,
        messages: Vec<Message>,
    ) -> SessionResponse {
        if first != 0 {
            return SessionResponse::Rejected("this node does not know that session".into());
        }
        match self.context.store.is_cheat(&from.to_string()).await {
            Ok(false) => {}
            Ok(true) => {
                return SessionResponse::Rejected(
                    "you were proven to have given one copy to two members".into(),
                );
            }
            Err(_) => return SessionResponse::Later,
        }
        let member = match Member::invited(session, from, &messages, clock::now()) {
            Ok(member) => member,
            Err(error) => {
                tracing::info!(%session, ?from, %error, "an invitation does not stand up");
                return SessionResponse::Rejected(error.to_string());
            }
        };
        let open = self.runs.values().filter(|run| !run.record.ended).count();
        if open >= MAX_SESSIONS {
            return SessionResponse::Later;
        }
        if self.is_crowded(from) && !self.trusts(from).await {
            return SessionResponse::Rejected("this node's inbox is full: ask its user to make room".into());
        }
        if let Err(error) = self.make_room().await {
            tracing::error!(%error, "old sessions cannot be removed");
            return SessionResponse::Later;
        }
        self.adopt(session, SessionRole::Member(Box::new(member)), clock::now());
        match self.input(session, Input::Member(MemberInput::Message { first, messages })).await {
            Ok(()) => self.answer_by_rule(session).await,
            Err(error) => {
                tracing::warn!(%session, %error, "an invitation was not taken");
                self.runs.remove(&session);
                return SessionResponse::Later;
            }
        }
        self.taken(session, from)
    }

    /// Whether there are so many invitations that one more, of this host, has no place.
    pub(super) fn is_crowded(&self, host: PeerId) -> bool {
        let open = self.runs.values().filter(|run| !run.record.ended);
        let hosts = open.filter_map(|run| match &run.record.role {
            SessionRole::Member(member) if member.slot().is_none() => Some(member.ticket().host),
            _ => None,
        });
        let (mut all, mut of_host) = (0, 0);
        for other in hosts {
            all += 1;
            of_host += usize::from(other == host);
        }
        all >= MAX_INBOX || of_host >= MAX_INBOX_OF_HOST
    }

    pub(super) async fn trusts(&self, peer: PeerId) -> bool {
        matches!(self.context.store.contact_of(peer).await, Ok(Some(contact)) if contact.trusted)
    }

    /// ST20-21: an invitation that has just come, and still stands, is declined, accepted, or left to the user.
    pub(super) async fn answer_by_rule(&mut self, session: SessionId) {
        let member = match self.runs.get(&session).map(|run| &run.record.role) {
            Some(SessionRole::Member(member)) if member.state() == MemberState::Invited => member,
            _ => return,
        };
        let (name, host) = (member.ticket().name.clone(), member.ticket().host);
        let own_name = member.invitation().host.name.clone();
        let cheat = self.context.store.is_cheat(&host.to_string()).await.unwrap_or(false);
        let answer = if cheat {
            MemberInput::Decline(DeclineReason::User)
        } else if self.is_busy() {
            MemberInput::Decline(DeclineReason::Busy)
        } else if self.trusts(host).await {
            MemberInput::Accept
        } else {
            let host_name = self.context.name_of(host, &own_name).await;
            return self.context.tell(Event::Invited { session, name, host, host_name });
        };
        // The invitation stays in the inbox: the user can answer it.
        if let Err(error) = self.input(session, Input::Member(answer)).await {
            tracing::warn!(%session, %error, "an invitation was not answered by itself");
        }
    }

    pub(super) fn is_invited(&self, session: SessionId) -> bool {
        matches!(self.runs.get(&session).map(|run| &run.record.role), Some(SessionRole::Member(member))
            if member.state() == MemberState::Invited)
    }

    pub(super) fn is_busy(&self) -> bool {
        let runs = |run: &Run| match &run.record.role {
            SessionRole::Host(host) => host.runs(),
            SessionRole::Member(member) => member.runs(),
        };
        match self.availability {
            Availability::Free => false,
            Availability::Busy => true,
            Availability::Auto => self.runs.values().any(runs),
        }
    }
}
