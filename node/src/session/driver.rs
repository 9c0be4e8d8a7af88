//! One task that owns every session's machine.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parlor_proto::{
    identity::PeerId,
    ids::{ProgramId, SessionId, SlotHash, TicketHash},
    program::Role,
    rights::{Ledger, Receipt, Right, TicketError, Verified},
    session::{
        Contact, DeclineReason, Host, HostInput, HostOutput, HostState, Member, MemberInput, MemberOutput,
        MemberState, Message,
        host::{HostContext, HostError},
        member::{MemberContext, MemberError},
    },
    time::Timestamp,
    wire::{Request, Response, SessionRequest, SessionResponse},
};
use tokio::sync::mpsc;

use super::{Command, Groups, MAX_ENDED, MAX_SESSIONS, Web, Wish, reconcile::Doing, view};
use crate::{
    billing::OutboxError,
    clock,
    console::Availability,
    context::{Context, Event},
    overlay::RequestError,
    runtime::web::Label,
    store::{SessionRecord, SessionRole, StoreError},
    supply::library,
};

/// Invitations that led nowhere yet, at most: they wait for the user's answer, or the answer waits for the host
/// to take it. More are turned away, unless a trusted contact invites.
const MAX_INBOX: usize = 64;
/// The same, of one host.
const MAX_INBOX_OF_HOST: usize = 8;
/// A machine that is due at once again and again does not spin the driver.
const LEAST_SLEEP: Duration = Duration::from_millis(10);
/// The same, when its step failed: the disk is full, say.
const SLEEP_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How soon it is noticed that the clock was set back, and all that is due with it.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Why something cannot be done with a session.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SessionError {
    #[error("there is no session {0}: `parlor sessions` lists them")]
    NoSuchSession(SessionId),
    #[error("only the session's host can do that")]
    NotHost,
    #[error("this node hosts the session: only members can do that")]
    NotMember,
    #[error("this node has no ticket for the program that is good now: get one with `parlor get`")]
    NoTicket,
    #[error(transparent)]
    Ticket(#[from] TicketError),
    #[error("the program is not complete on this node: get it again with `parlor get`")]
    NoProgram,
    #[error("the program is in use by a session: end it first")]
    InUse,
    #[error("there are {MAX_SESSIONS} sessions already: end one first")]
    Full,
    #[error("the session does not run on this node now")]
    NotRunning,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error(transparent)]
    Library(#[from] library::LibraryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("the node is stopping")]
    Stopping,
}

/// What became of messages that were sent.
pub(super) struct Delivery {
    session: SessionId,
    to: PeerId,
    result: Result<SessionResponse, RequestError>,
}

/// One session: its machine, and what is being done about it.
pub(super) struct Run {
    pub(super) record: SessionRecord,
    pub(super) doing: Doing,
    /// As last told to those who watch.
    told: (&'static str, BTreeMap<PeerId, &'static str>),
}

/// What the driver works with.
pub(super) struct Surroundings {
    pub(super) context: Arc<Context>,
    pub(super) web: Web,
    pub(super) groups: Groups,
}

pub(super) struct Driver {
    pub(super) context: Arc<Context>,
    pub(super) web: Web,
    pub(super) groups: Groups,
    pub(super) commands: mpsc::WeakSender<Command>,
    pub(super) runs: HashMap<SessionId, Run>,
    availability: Availability,
    in_flight: HashSet<(SessionId, PeerId)>,
}

/// What one step asks for besides a changed machine.
enum Output {
    Send { to: PeerId, first: u64, messages: Vec<Message> },
    Receipt(Box<(Right, Verified<Receipt>)>),
    Cheat(Box<parlor_proto::rights::EquivocationProof>),
}

/// An input for either kind of machine.
enum Input {
    Host(HostInput),
    Member(MemberInput),
}

impl Driver {
    pub(super) async fn load(
        surroundings: Surroundings,
        availability: Availability,
        commands: mpsc::WeakSender<Command>,
    ) -> Result<Self, StoreError> {
        let Surroundings { context, web, groups } = surroundings;
        let mut runs = HashMap::new();
        for record in context.store.sessions().await? {
            let told = view::states(&record, None);
            let run = Run { told, record, doing: Doing::default() };
            runs.insert(run.record.session, run);
        }
        Ok(Self { context, web, groups, commands, runs, availability, in_flight: HashSet::new() })
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        self.restart_all().await;
        if let Err(error) = self.sweep_all().await {
            tracing::warn!(%error, "discarded programs' files are still there");
        }
        let (mut least, mut before) = (LEAST_SLEEP, clock::now());
        loop {
            let now = clock::now();
            if now < std::mem::replace(&mut before, now) {
                self.restart_all().await;
            }
            let sleep = self.next_due().map_or(LONGEST_SLEEP, |due| due.since(now));
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                () = tokio::time::sleep(sleep.clamp(least, LONGEST_SLEEP)) => {
                    least = if self.tick().await { LEAST_SLEEP } else { SLEEP_AFTER_FAILURE };
                }
            }
        }
    }

    /// Whatever waits is said now: the node has just started, or what its clock said before counts no more.
    async fn restart_all(&mut self) {
        let open: Vec<_> =
            self.runs.values().filter(|run| !run.record.ended).map(|run| run.record.session).collect();
        for session in open {
            let (host, member) = (HostInput::Restarted, MemberInput::Restarted);
            self.input_or_log(session, Input::Host(host), Input::Member(member)).await;
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let due = |run: &Run| match &run.record.role {
            SessionRole::Host(host) => host.due(),
            SessionRole::Member(member) => member.due(),
        };
        self.runs.values().filter_map(due).min()
    }

    /// Whether all went well.
    async fn tick(&mut self) -> bool {
        let now = clock::now();
        let is_due = |run: &&Run| match &run.record.role {
            SessionRole::Host(host) => host.due().is_some_and(|due| due <= now),
            SessionRole::Member(member) => member.due().is_some_and(|due| due <= now),
        };
        let due: Vec<_> = self.runs.values().filter(is_due).map(|run| run.record.session).collect();
        let mut well = true;
        for session in due {
            let (host, member) = (Input::Host(HostInput::Tick), Input::Member(MemberInput::Tick));
            well &= self.input_or_log(session, host, member).await;
        }
        well
    }

    async fn command(&mut self, command: Command) {
        // Whoever asked may have stopped waiting for the answer: then it goes nowhere.
        match command {
            Command::Host(program, invite, reply) => drop(reply.send(self.host(program, invite).await)),
            Command::Wish(session, wish, reply) => drop(reply.send(self.wish(session, wish).await)),
            Command::Request(from, request, reply) => drop(reply.send(self.request(from, request).await)),
            Command::Reached(peer) => self.reached(peer).await,
            Command::Presence(session) => self.tell_changes(session).await,
            Command::Sent(delivery) => self.sent(delivery).await,
            Command::Received(session, result) => self.received(session, result).await,
            Command::Transferring(session, transfer) => self.transferring(session, transfer),
            Command::View(session, reply) => drop(reply.send(self.view(session).await)),
            Command::List(reply) => drop(reply.send(self.list().await)),
            Command::Launch(session, reply) => drop(reply.send(self.launch(session))),
            Command::RemoveProgram(program, reply) => drop(reply.send(self.remove_program(program).await)),
            Command::SetAvailability(availability, reply) => {
                self.availability = availability;
                let _ = reply.send(());
            }
        }
    }

    /// ST14: a session of the newest ticket of that program that has a copy for each of those invited, if there
    /// is one.
    async fn host(&mut self, program: ProgramId, invite: Vec<Contact>) -> Result<SessionId, SessionError> {
        if self.runs.values().filter(|run| !run.record.ended).count() >= MAX_SESSIONS {
            return Err(SessionError::Full);
        }
        self.make_room().await?;
        let now = clock::now();
        let bundle = self.context.bundle(program).await.map_err(library::LibraryError::from)?;
        let bundle = bundle.filter(|bundle| bundle.complete().is_some()).ok_or(SessionError::NoProgram)?;
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
        let session = SessionId(rand::random());
        let size = bundle.program().size_for(Role::Everyone);
        let host = Host::new(session, ledger.ticket().clone(), manifest.version.clone(), size);
        self.adopt(session, SessionRole::Host(Box::new(host)), now);
        let invited = self.input(session, Input::Host(HostInput::Invite(invite))).await;
        if let Err(error) = invited {
            self.runs.remove(&session);
            return Err(error);
        }
        Ok(session)
    }

    /// Room for one more session: of those that are over, the ones that never got anywhere go first, then the
    /// oldest. So no peer can fill the disk with invitations.
    async fn make_room(&mut self) -> Result<(), StoreError> {
        let mut over: Vec<_> = self.runs.values().filter(|run| run.record.ended).collect();
        if over.len() < MAX_ENDED as usize {
            return Ok(());
        }
        let mattered = |run: &Run| match &run.record.role {
            SessionRole::Host(_) => true,
            SessionRole::Member(member) => member.slot().is_some(),
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

    fn adopt(&mut self, session: SessionId, role: SessionRole, created_at: Timestamp) {
        let label = Label::from_bytes(rand::random()).to_string();
        let record = SessionRecord { session, role, label, created_at, ended: false };
        let told = view::states(&record, None);
        self.runs.insert(session, Run { told, record, doing: Doing::default() });
    }

    async fn wish(&mut self, session: SessionId, wish: Wish) -> Result<(), SessionError> {
        let run = self.runs.get_mut(&session).ok_or(SessionError::NoSuchSession(session))?;
        let is_host = matches!(run.record.role, SessionRole::Host(_));
        let input = match (wish, is_host) {
            (Wish::Invite(contacts), true) => Input::Host(HostInput::Invite(contacts)),
            (Wish::Remove(peer), true) => Input::Host(HostInput::Remove(peer)),
            (Wish::Start, true) => Input::Host(HostInput::Start),
            (Wish::Suspend, true) => Input::Host(HostInput::Suspend),
            (Wish::Resume, true) => Input::Host(HostInput::Resume),
            (Wish::Invite(_) | Wish::Remove(_) | Wish::Start, false) => return Err(SessionError::NotHost),
            (Wish::Join, false) => Input::Member(MemberInput::Accept),
            (Wish::Decline, false) => Input::Member(MemberInput::Decline(DeclineReason::User)),
            (Wish::Suspend, false) => Input::Member(MemberInput::Suspend),
            (Wish::Resume, false) => Input::Member(MemberInput::Resume),
            (Wish::Join | Wish::Decline, true) => return Err(SessionError::NotMember),
            (Wish::End { keep }, _) => return self.end(session, keep).await,
        };
        self.input(session, input).await
    }

    /// ST27-29. A session that is over already can still have its program discarded.
    async fn end(&mut self, session: SessionId, keep: bool) -> Result<(), SessionError> {
        let run = self.runs.get_mut(&session).ok_or(SessionError::NoSuchSession(session))?;
        let (over, program, ticket) = match &run.record.role {
            SessionRole::Host(host) => (host.state() == HostState::Ended, host.ticket().program, None),
            SessionRole::Member(member) => {
                let ticket = member.ticket();
                (member.state().is_final(), ticket.program, Some(ticket.hash()))
            }
        };
        let input = match ticket {
            None if over && keep => return Err(HostError::Ended.into()),
            Some(_) if over && keep => return Err(MemberError::Over.into()),
            None => (!over).then_some(Input::Host(HostInput::End)),
            Some(_) if keep => Some(Input::Member(MemberInput::Leave)),
            // A member that discards gives its slot back, also after the end; but not one that it still uses.
            Some(ticket) if self.uses_slot(ticket, session) => Some(Input::Member(MemberInput::DiscardLater)),
            Some(_) => Some(Input::Member(MemberInput::Discard)),
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
    fn uses_slot(&self, ticket: TicketHash, but: SessionId) -> bool {
        self.runs.values().filter(|run| run.record.session != but).any(|run| match &run.record.role {
            SessionRole::Host(_) => false,
            SessionRole::Member(member) => {
                let open = !member.state().is_final() && member.state() != MemberState::Invited;
                member.ticket().hash() == ticket && open
            }
        })
    }

    fn is_needed(&self, program: ProgramId) -> bool {
        self.runs.values().any(|run| match &run.record.role {
            SessionRole::Host(host) => host.ticket().program == program && host.group().is_some(),
            SessionRole::Member(member) => member.ticket().program == program && !member.state().is_final(),
        })
    }

    /// ST29: the program's files go, unless another session needs them.
    async fn discard(&self, program: ProgramId) -> Result<(), SessionError> {
        let offered = self.context.store.offers().await?.iter().any(|offer| offer.program == program);
        if offered {
            // Discarding a copy does not withdraw an offer: `program remove` does.
            self.context.store.keep_program(program, true).await?;
            return Ok(());
        }
        if self.is_needed(program) {
            return Ok(());
        }
        Ok(library::remove(&self.context, program).await?)
    }

    /// What the user takes out of the library, which no session may need.
    async fn remove_program(&self, program: ProgramId) -> Result<(), SessionError> {
        if self.is_needed(program) {
            return Err(SessionError::InUse);
        }
        Ok(library::remove(&self.context, program).await?)
    }

    /// Another node's messages: taken by a machine, or the beginning of a session.
    async fn request(&mut self, from: PeerId, request: SessionRequest) -> SessionResponse {
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

    fn taken(&self, session: SessionId, from: PeerId) -> SessionResponse {
        let next = match self.runs.get(&session).map(|run| &run.record.role) {
            Some(SessionRole::Host(host)) => host.expected_of(from),
            Some(SessionRole::Member(member)) => Some(member.expected()),
            None => None,
        };
        next.map_or(SessionResponse::Later, |next| SessionResponse::Taken { next })
    }

    /// ST20: an invitation, let in or not as the availability says.
    async fn invited(
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
    fn is_crowded(&self, host: PeerId) -> bool {
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

    async fn trusts(&self, peer: PeerId) -> bool {
        matches!(self.context.store.contact_of(peer).await, Ok(Some(contact)) if contact.trusted)
    }

    /// ST20-21: an invitation that has just come, and still stands, is declined, accepted, or left to the user.
    async fn answer_by_rule(&mut self, session: SessionId) {
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

    fn is_invited(&self, session: SessionId) -> bool {
        matches!(self.runs.get(&session).map(|run| &run.record.role), Some(SessionRole::Member(member))
            if member.state() == MemberState::Invited)
    }

    fn is_busy(&self) -> bool {
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

    async fn reached(&mut self, peer: PeerId) {
        let partner = |run: &&Run| match &run.record.role {
            SessionRole::Host(host) => host.waits_for(peer),
            SessionRole::Member(member) => member.ticket().host == peer && member.waits_for_host(),
        };
        let sessions: Vec<_> = self.runs.values().filter(partner).map(|run| run.record.session).collect();
        for session in sessions {
            let (host, member) = (HostInput::Reachable(peer), MemberInput::Reachable);
            self.input_or_log(session, Input::Host(host), Input::Member(member)).await;
        }
    }

    async fn sent(&mut self, delivery: Delivery) {
        let Delivery { session, to: from, result } = delivery;
        self.in_flight.remove(&(session, from));
        let (host, member) = match result {
            Ok(SessionResponse::Taken { next }) => {
                (HostInput::Taken { from, next }, MemberInput::Taken { next })
            }
            Ok(SessionResponse::Rejected(why)) => {
                (HostInput::Rejected { from, why: why.clone() }, MemberInput::Rejected { why })
            }
            // The channel tries again by itself.
            Ok(SessionResponse::Later) => return,
            Err(error) => {
                tracing::debug!(%session, to = ?from, %error, "messages were not delivered");
                return;
            }
        };
        self.input_or_log(session, Input::Host(host), Input::Member(member)).await;
    }

    async fn received(&mut self, session: SessionId, result: Result<(), String>) {
        let Some(run) = self.runs.get_mut(&session) else { return };
        run.doing.transfer = None;
        let input = match result {
            Ok(()) => MemberInput::Received,
            Err(why) => MemberInput::ReceptionFailed(why),
        };
        if let Err(error) = self.input(session, Input::Member(input)).await {
            tracing::error!(%session, %error, "a reception was not noted");
        }
    }

    /// Whether it went well.
    async fn input_or_log(&mut self, session: SessionId, host: Input, member: Input) -> bool {
        let is_host =
            matches!(self.runs.get(&session).map(|run| &run.record.role), Some(SessionRole::Host(_)));
        let done = self.input(session, if is_host { host } else { member }).await;
        if let Err(error) = &done {
            tracing::warn!(%session, %error, "a step of a session failed");
        }
        done.is_ok()
    }

    /// The four moves of every step.
    async fn input(&mut self, session: SessionId, input: Input) -> Result<(), SessionError> {
        let outputs = self.step(session, input).await?;
        for output in outputs {
            self.carry_out(session, output).await;
        }
        self.reconcile(session).await;
        self.tell_changes(session).await;
        Ok(())
    }

    /// The machine's step, and all of it on disk in one transaction. On failure nothing has changed.
    async fn step(&mut self, session: SessionId, input: Input) -> Result<Vec<Output>, SessionError> {
        let (context, now) = (Arc::clone(&self.context), clock::now());
        let me = context.contact().await;
        let elsewhere = &self.slots_outside(session);
        let run = self.runs.get_mut(&session).ok_or(SessionError::NoSuchSession(session))?;
        let mut record = run.record.clone();
        let mut ledger = None;
        let outputs: Vec<Output> = match (&mut record.role, input) {
            (SessionRole::Host(host), Input::Host(input)) => {
                let ledger = ledger.insert(load_ledger(&context, host).await?);
                let before = ledger.clone();
                let identity = &context.identity;
                let billing = &context.places_of(&host.ticket().billing).await;
                let mut surroundings = HostContext { identity, ledger, elsewhere, me: &me, billing, now };
                let outputs = host.handle(input, &mut surroundings)?;
                record.ended = host.is_settled();
                if *ledger == before {
                    // Slots that have not changed need no writing.
                    return self.commit(record, None, outputs.into_iter().map(Output::from).collect()).await;
                }
                outputs.into_iter().map(Output::from).collect()
            }
            (SessionRole::Member(member), Input::Member(input)) => {
                let surroundings = MemberContext { identity: &context.identity, me: &me, now };
                let outputs = member.handle(input, &surroundings)?;
                record.ended = member.state().is_final() && member.due().is_none();
                outputs.into_iter().map(Output::from).collect()
            }
            (SessionRole::Host(_), Input::Member(_)) => return Err(SessionError::NotMember),
            (SessionRole::Member(_), Input::Host(_)) => return Err(SessionError::NotHost),
        };
        self.commit(record, ledger, outputs).await
    }

    /// Slots by which members are in this host's other sessions.
    fn slots_outside(&self, session: SessionId) -> BTreeSet<SlotHash> {
        let others = self.runs.values().map(|run| &run.record).filter(|record| record.session != session);
        let hosts = others.filter_map(|record| match &record.role {
            SessionRole::Host(host) => Some(host),
            SessionRole::Member(_) => None,
        });
        hosts.flat_map(|host| host.slots_in_use()).collect()
    }

    async fn commit(
        &mut self,
        record: SessionRecord,
        ledger: Option<Ledger>,
        outputs: Vec<Output>,
    ) -> Result<Vec<Output>, SessionError> {
        let (context, now) = (&self.context, clock::now());
        let mut write = context.store.write().await?;
        context.store.put_session(&mut write, &record).await?;
        if let Some(ledger) = &ledger {
            context.store.put_ledger(&mut write, ledger).await?;
        }
        for output in &outputs {
            match output {
                Output::Receipt(item) => context.outbox.enqueue(&mut write, &item.0, &item.1, now).await?,
                Output::Cheat(proof) => {
                    let (ticket, host) = (proof.ticket().to_string(), proof.host().to_string());
                    context.store.keep_cheat(&mut write, &ticket, &host, now, &proof.encode()).await?;
                }
                Output::Send { .. } => {}
            }
        }
        write.commit().await.map_err(StoreError::from)?;
        if let Some(run) = self.runs.get_mut(&record.session) {
            run.record = record;
        }
        Ok(outputs)
    }

    async fn carry_out(&mut self, session: SessionId, output: Output) {
        match output {
            Output::Send { to, first, messages } => self.send(session, to, first, messages).await,
            Output::Receipt(_) => self.context.outbox.wake(),
            Output::Cheat(proof) => {
                tracing::warn!(%session, host = %proof.host(), "the host gave one slot to two members");
                self.context.tell(Event::Cheat { session, host: proof.host() });
            }
        }
    }

    /// One delivery a peer at a time; the channel repeats what is not taken.
    async fn send(&mut self, session: SessionId, to: PeerId, first: u64, messages: Vec<Message>) {
        if !self.in_flight.insert((session, to)) {
            return;
        }
        let Some(commands) = self.commands.upgrade() else { return };
        let overlay = self.context.overlay.clone();
        tokio::spawn(async move {
            let request = Request::Session(SessionRequest { session, first, messages });
            let result = overlay.request(to, request).await.map(|response| match response {
                Response::Session(response) => response,
                // The overlay answers a request with a response of its protocol.
                _ => SessionResponse::Later,
            });
            // Fails only while the node stops.
            let _ = commands.send(Command::Sent(Delivery { session, to, result })).await;
        });
    }

    /// Those who watch hear of every state that changed.
    async fn tell_changes(&mut self, session: SessionId) {
        let Some(run) = self.runs.get_mut(&session) else { return };
        let (state, members) = view::states(&run.record, run.doing.group.as_ref());
        let why = view::why(&run.record);
        let before = std::mem::replace(&mut run.told, (state, members.clone()));
        let names = view::names(&run.record);
        for (peer, state) in members {
            if before.1.get(&peer) != Some(&state) {
                let own_name = names.get(&peer).map(String::as_str).unwrap_or_default();
                let name = self.context.name_of(peer, own_name).await;
                self.context.tell(Event::Member { session, peer, name, state });
            }
        }
        if before.0 != state {
            self.context.tell(Event::State { session, state, why });
            self.sweep(session).await;
        }
    }

    /// ST29: a program that was to be discarded goes with the last session that needed it, and a slot that was
    /// to be given back with the last session that used it.
    async fn sweep(&mut self, session: SessionId) {
        let program = match self.runs.get(&session).map(|run| &run.record.role) {
            Some(SessionRole::Host(host)) => host.ticket().program,
            Some(SessionRole::Member(member)) => member.ticket().program,
            None => return,
        };
        let unwanted = matches!(self.context.store.program(program).await, Ok(Some(entry)) if !entry.kept);
        if unwanted && let Err(error) = self.discard(program).await {
            tracing::warn!(%session, %error, "a discarded program's files are still there");
        }
        if let Err(error) = self.give_back().await {
            tracing::warn!(%session, %error, "a discarded copy was not given back");
        }
    }

    /// At start: what a crash left to be discarded.
    async fn sweep_all(&mut self) -> Result<(), SessionError> {
        for entry in self.context.store.programs().await?.into_iter().filter(|entry| !entry.kept) {
            self.discard(entry.program).await?;
        }
        self.give_back().await
    }

    async fn give_back(&mut self) -> Result<(), SessionError> {
        let due = |run: &&Run| match &run.record.role {
            SessionRole::Host(_) => false,
            SessionRole::Member(member) => {
                member.gives_back() && !self.uses_slot(member.ticket().hash(), run.record.session)
            }
        };
        let due: Vec<_> = self.runs.values().filter(due).map(|run| run.record.session).collect();
        for session in due {
            // Neither the group nor what others see of the session changes with it.
            for output in self.step(session, Input::Member(MemberInput::Discard)).await? {
                self.carry_out(session, output).await;
            }
        }
        Ok(())
    }

    fn launch(&self, session: SessionId) -> Result<String, SessionError> {
        let run = self.runs.get(&session).ok_or(SessionError::NoSuchSession(session))?;
        let label = run.doing.mounted.ok_or(SessionError::NotRunning)?;
        self.web.server.launch(label, None).map_err(|_| SessionError::NotRunning)
    }
}

async fn load_ledger(context: &Context, host: &Host) -> Result<Ledger, SessionError> {
    context.store.ledger(host.ticket().hash()).await?.ok_or(SessionError::NoTicket)
}

impl From<HostOutput> for Output {
    fn from(output: HostOutput) -> Self {
        match output {
            HostOutput::Send { to, first, messages } => Self::Send { to, first, messages },
            HostOutput::Receipt(item) => Self::Receipt(item),
        }
    }
}

impl From<MemberOutput> for Output {
    fn from(output: MemberOutput) -> Self {
        match output {
            MemberOutput::Send { to, first, messages } => Self::Send { to, first, messages },
            MemberOutput::Receipt(item) => Self::Receipt(item),
            MemberOutput::Cheat(proof) => Self::Cheat(proof),
        }
    }
}
