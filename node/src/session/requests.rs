//! What other nodes say: messages of a session, and invitations (ST20-21), let in or not as the rules are.

use parlor_proto::{
    identity::PeerId,
    ids::SessionId,
    session::{DeclineReason, Input, Member, MemberState, Message, Role},
    wire::{SessionRequest, SessionResponse},
};

use super::{
    MAX_SESSIONS,
    driver::{Driver, SessionError},
    trace::Odd,
};
use crate::{clock, console::Availability, context::Event};

/// Invitations that led nowhere yet, at most: they wait for the user's answer, or the answer waits for the host
/// to take it. More are turned away, unless a trusted contact invites.
const MAX_INBOX: usize = 64;
/// The same, of one host.
const MAX_INBOX_OF_HOST: usize = 8;
/// The same whether this node knows of the session or not.
const UNKNOWN: &str = "this node is not in that session with you";
const CHEAT: &str = "you were proven to have given one copy to two members";
/// The same, to this node's user.
const CHEAT_OF_HOST: &str = "it was proven to have given one copy to two members";

impl Driver {
    /// Another node's messages: taken by a machine, or the beginning of a session.
    pub(super) async fn request(&mut self, from: PeerId, request: SessionRequest) -> SessionResponse {
        let session = request.session;
        let Some(role) = self.runs.get(&session).map(|run| &run.record.role) else {
            return self.invited(from, request).await;
        };
        let is_partner = role.expected_of(from, request.term).is_some();
        let begins_term = !is_partner && begins_term(role, &request);
        if !is_partner && !begins_term {
            return self.out_of_term(from, &request);
        }
        if begins_term && !role.believes(self.context.me(), from, request.term, &request.messages) {
            self.oddities.tell(session, from, Odd::Claim);
            return self.out_of_term(from, &request);
        }
        // Who cheated as host before is none again.
        if begins_term && !matches!(self.context.store.is_cheat(&from.to_string()).await, Ok(false)) {
            return SessionResponse::Rejected(CHEAT.into());
        }
        let was_invited = self.is_invited(session);
        let SessionRequest { term, first, messages, .. } = request;
        match self.input(session, Input::Message { from, term, first, messages }).await {
            Ok(()) => {
                // Asked again, after it had declined or left.
                if !was_invited {
                    self.answer_by_rule(session).await;
                }
                self.taken(session, from, term)
            }
            Err(error) => {
                tracing::warn!(%session, ?from, %error, "messages were not taken");
                SessionResponse::Later
            }
        }
    }

    /// From somebody that is no partner in this term: not now, while hosts change; or never.
    fn out_of_term(&mut self, from: PeerId, request: &SessionRequest) -> SessionResponse {
        let Some(role) = self.runs.get(&request.session).map(|run| &run.record.role) else {
            return SessionResponse::Later;
        };
        let me = self.context.me();
        let is_known = role.hosts(me).contains(&from)
            || role.group().is_some_and(|group| group.iter().any(|contact| contact.peer == from));
        let is_over = role.is_over();
        self.oddities.tell(request.session, from, Odd::Stranger);
        if is_known && !is_over { SessionResponse::Later } else { SessionResponse::Rejected(UNKNOWN.into()) }
    }

    fn taken(&self, session: SessionId, from: PeerId, term: u32) -> SessionResponse {
        let next = self.runs.get(&session).and_then(|run| run.record.role.expected_of(from, term));
        next.map_or(SessionResponse::Later, |next| SessionResponse::Taken { next })
    }

    /// ST20: an invitation, let in or not as the availability says.
    pub(super) async fn invited(&mut self, from: PeerId, request: SessionRequest) -> SessionResponse {
        let SessionRequest { session, term, first, messages } = request;
        if first != 0 {
            return SessionResponse::Rejected(UNKNOWN.into());
        }
        match self.context.store.is_cheat(&from.to_string()).await {
            Ok(false) => {}
            Ok(true) => {
                if self.wishes.has(session, from) {
                    self.wishes.end(session, Err(SessionError::TurnedAway(CHEAT_OF_HOST.into())));
                }
                tracing::info!(%session, %from, "an invitation of a host that was proven to cheat is refused");
                return SessionResponse::Rejected(CHEAT.into());
            }
            Err(_) => return SessionResponse::Later,
        }
        let me = self.context.me();
        let member = match Member::invited(session, me, from, term, &messages, clock::now()) {
            Ok(member) => member,
            Err(error) => {
                if self.wishes.has(session, from) {
                    self.wishes.end(session, Err(SessionError::TurnedAway(error.to_string())));
                }
                tracing::info!(%session, ?from, %error, "an invitation does not stand up");
                return SessionResponse::Rejected(error.to_string());
            }
        };
        let open = self.runs.values().filter(|run| !run.record.ended).count();
        if open >= MAX_SESSIONS {
            return SessionResponse::Later;
        }
        let is_wanted = self.wishes.has(session, from);
        if self.is_crowded(from) && !is_wanted && !self.trusts(from).await {
            return SessionResponse::Rejected("this node's inbox is full: ask its user to make room".into());
        }
        if let Err(error) = self.make_room().await {
            tracing::error!(%error, "old sessions cannot be removed");
            return SessionResponse::Later;
        }
        self.adopt(session, Role::Member(Box::new(member)), clock::now());
        match self.input(session, Input::Message { from, term, first, messages }).await {
            Ok(()) => self.answer_by_rule(session).await,
            Err(error) => {
                tracing::warn!(%session, %error, "an invitation was not taken");
                self.runs.remove(&session);
                return SessionResponse::Later;
            }
        }
        self.taken(session, from, term)
    }

    /// Whether there are so many invitations that one more, of this host, has no place.
    pub(super) fn is_crowded(&self, host: PeerId) -> bool {
        let open = self.runs.values().filter(|run| !run.record.ended);
        let waits = |member: &&Member| matches!(member.state(), MemberState::Invited | MemberState::Accepted);
        let members = open.filter_map(|run| run.record.role.as_member()).filter(waits);
        let hosts = members.map(|member| member.host().peer);
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
            Some(Role::Member(member)) if member.state() == MemberState::Invited => member,
            _ => return,
        };
        let (name, host) = (member.ticket().name.clone(), member.host().peer);
        let own_name = member.host().name.clone();
        let cheat = match self.context.store.is_cheat(&host.to_string()).await {
            Ok(cheat) => cheat,
            // The invitation stays in the inbox: the user can answer it.
            Err(error) => {
                tracing::error!(%session, %error, "an invitation was not answered by itself");
                if self.wishes.has(session, host) {
                    self.wishes.end(session, Err(error.into()));
                }
                return;
            }
        };
        // Whoever follows a link has asked for it: neither availability nor trust has a say.
        let is_wanted = self.wishes.has(session, host);
        let answer = if cheat {
            Input::Decline(DeclineReason::User)
        } else if is_wanted {
            Input::Accept
        } else if self.is_busy() {
            Input::Decline(DeclineReason::Busy)
        } else if self.trusts(host).await {
            Input::Accept
        } else {
            let host_name = self.context.name_of(host, &own_name).await;
            return self.context.tell(Event::Invited { session, name, host, host_name });
        };
        let done = self.input(session, answer).await;
        // The invitation stays in the inbox: the user can answer it.
        if let Err(error) = &done {
            tracing::warn!(%session, %error, "an invitation was not answered by itself");
        }
        if is_wanted {
            let turned_away = cheat.then(|| SessionError::TurnedAway(CHEAT_OF_HOST.into()));
            self.wishes.end(session, turned_away.map_or(done, Err));
        }
    }

    pub(super) fn is_invited(&self, session: SessionId) -> bool {
        matches!(self.runs.get(&session).map(|run| &run.record.role), Some(Role::Member(member))
            if member.state() == MemberState::Invited)
    }

    pub(super) fn is_busy(&self) -> bool {
        match self.availability {
            Availability::Free => false,
            Availability::Busy => true,
            Availability::Auto => self.runs.values().any(|run| run.record.role.runs()),
        }
    }
}

/// Whether somebody says that it is host now: to those in the group, or to one who had gone.
fn begins_term(role: &Role, request: &SessionRequest) -> bool {
    let first = if request.first == 0 { request.messages.first() } else { None };
    match first {
        Some(Message::Claim(_)) => true,
        Some(Message::Invite(_)) => request.term > role.term() && role.group().is_none(),
        _ => false,
    }
}
