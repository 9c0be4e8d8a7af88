//! What the user wants of a session: opening it, inviting, answering, pausing, ending (ST14, 19-21, 27-28).

use std::{sync::Arc, time::Duration};

use parlor_proto::{
    ids::{SessionId, TicketHash},
    program::Role,
    rights::Ledger,
    session::{self, Contact, DeclineReason, Host, Input, StepError, host::HostError, member::MemberError},
    time::Timestamp,
};

use super::{
    MAX_ENDED, MAX_SESSIONS, Wish,
    driver::{Driver, Run, SessionError},
    reconcile::Doing,
    view,
};
use crate::{
    clock,
    runtime::web::Label,
    store::{Bundle, SessionRecord, StoreError},
    supply::library,
};

/// A session that is to be opened; its program is set up.
pub(super) struct Opening {
    pub(super) session: SessionId,
    /// Whole.
    pub(super) bundle: Arc<Bundle>,
    pub(super) invite: Vec<Contact>,
    pub(super) takeover: Duration,
    /// Whether the program asked to go straight on.
    pub(super) is_eager: bool,
}

impl Driver {
    /// ST14: a session of the newest ticket of that program that has a copy for each of those invited, if there
    /// is one.
    pub(super) async fn host(&mut self, opening: Opening) -> Result<SessionId, SessionError> {
        let Opening { session, bundle, invite, takeover, is_eager } = opening;
        let program = bundle.program().id();
        if self.runs.values().filter(|run| !run.record.ended).count() >= MAX_SESSIONS {
            return Err(SessionError::Full);
        }
        self.make_room().await?;
        let now = clock::now();
        if bundle.is_removed() {
            return Err(SessionError::NoProgram);
        }
        let tickets = self.context.store.tickets().await?;
        let mut unusable = None;
        let usable = |ledger: &Ledger| match ledger.ticket().check(self.context.me(), now) {
            Ok(()) => true,
            Err(error) => {
                unusable.get_or_insert(error);
                false
            }
        };
        let of_program =
            tickets.into_iter().map(|held| held.ledger).filter(|ledger| ledger.ticket().program == program);
        let mut candidates: Vec<_> = of_program.filter(usable).collect();
        candidates.sort_by_key(|ledger| (!library::has_copies_for(ledger, &invite), ledger.left() == 0));
        let none = unusable.map_or(SessionError::NoTicket, SessionError::Ticket);
        let ledger = candidates.into_iter().next().ok_or(none)?;
        let manifest = bundle.program().manifest();
        let size = bundle.program().size_for(Role::Everyone);
        let host = Host::new(session, ledger.ticket().clone(), manifest.version.clone(), size, takeover);
        self.adopt(session, session::Role::Host(Box::new(host.eager(is_eager))), now);
        self.has_program(session, bundle);
        let invited = self.input(session, Input::Invite(invite)).await;
        if let Err(error) = invited {
            self.runs.remove(&session);
            return Err(error);
        }
        Ok(session)
    }

    /// Room for one more session: of those that are over, the ones that never got anywhere go first, then the
    /// oldest. So no peer can fill the disk with invitations.
    pub(super) async fn make_room(&mut self) -> Result<(), StoreError> {
        let mut over: Vec<_> = self.runs.values().filter(|run| run.record.ended).collect();
        if over.len() < MAX_ENDED as usize {
            return Ok(());
        }
        let mattered = |run: &Run| match &run.record.role {
            session::Role::Host(_) => true,
            session::Role::Member(member) => member.right().is_some(),
        };
        over.sort_by_key(|run| (mattered(run), run.record.created_at));
        let excess = over.len() + 1 - MAX_ENDED as usize;
        let gone: Vec<_> = over.iter().take(excess).map(|run| run.record.session).collect();
        for session in gone {
            self.context.store.remove_session(session).await?;
            self.runs.remove(&session);
        }
        Ok(())
    }

    pub(super) fn adopt(&mut self, session: SessionId, role: session::Role, created_at: Timestamp) {
        let label = Label::from_bytes(rand::random()).to_string();
        let record = SessionRecord { session, role, label, created_at, ended: false };
        let told = view::states(&record, None);
        let told_term = record.role.term();
        self.runs.insert(session, Run { told, told_term, record, doing: Doing::default() });
    }

    pub(super) async fn wish(&mut self, session: SessionId, wish: Wish) -> Result<(), SessionError> {
        let input = match wish {
            Wish::Invite(contacts) => Input::Invite(contacts),
            Wish::Remove(peer) => Input::Remove(peer),
            Wish::HandOver(peer) => Input::HandOver(peer),
            Wish::Start => Input::Start,
            Wish::Join => Input::Accept,
            Wish::Decline => Input::Decline(DeclineReason::User),
            Wish::Suspend => Input::Suspend,
            Wish::Resume => Input::Resume,
            Wish::End { keep } => return self.end(session, keep).await,
        };
        self.input(session, input).await
    }

    /// ST27-29. A session that is over already can still have its program discarded.
    pub(super) async fn end(&mut self, session: SessionId, keep: bool) -> Result<(), SessionError> {
        let run = self.runs.get(&session).ok_or(SessionError::NoSuchSession(session))?;
        let role = &run.record.role;
        let (over, program, ticket) = (role.is_over(), role.ticket().program, role.ticket().hash());
        let is_host = role.as_host().is_some();
        let input = match is_host {
            true if over && keep => return Err(StepError::from(HostError::Ended).into()),
            false if over && keep => return Err(StepError::from(MemberError::Over).into()),
            true => (!over).then_some(Input::End),
            false if keep => Some(Input::Leave),
            // A member that discards gives its slot back, also after the end; but not one that it still uses.
            false if self.uses_slot(ticket, session) => Some(Input::DiscardLater),
            false => Some(Input::Discard),
        };
        if !keep {
            // Noted first: what a crash interrupts is made up for at the next start.
            self.context.store.keep_program(program, false).await?;
        }
        if let Some(input) = input {
            self.input(session, input).await?;
        }
        if !keep {
            self.discard(program).await?;
        }
        Ok(())
    }

    /// Whether this node has, or is about to get, a slot of that ticket in another session than `but`.
    pub(super) fn uses_slot(&self, ticket: TicketHash, but: SessionId) -> bool {
        let uses = |run: &Run| run.record.role.ticket().hash() == ticket && run.record.role.uses_slot();
        self.runs.values().filter(|run| run.record.session != but).any(uses)
    }
}
