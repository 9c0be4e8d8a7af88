//! One task that owns every session's machine.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parlor_proto::{
    identity::PeerId,
    ids::SessionId,
    rights::TicketError,
    session::{Input, StepError},
    time::Timestamp,
};
use tokio::sync::mpsc;

use super::{Command, Groups, MAX_SESSIONS, Web, links::Wishes, reconcile::Doing, trace::Oddities, view};
use crate::{
    billing::OutboxError,
    clock,
    console::Availability,
    context::Context,
    overlay,
    runtime::{agent::NotWritten, web::Launch},
    store::{Bundle, SessionRecord, StoreError},
    supply::library,
};

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
    #[error("the invitation of the link's host was turned away: {0}")]
    TurnedAway(String),
    #[error("the session does not run on this node now")]
    NotRunning,
    #[error("{0}")]
    Setup(String),
    #[error("the program's agent does not take it: it was stopped, or is too slow")]
    NotTaken,
    #[error(transparent)]
    NotWritten(#[from] NotWritten),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Library(#[from] library::LibraryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Network(#[from] overlay::Closed),
    #[error("the node is stopping")]
    Stopping,
}

/// One session: its machine, and what is being done about it.
pub(super) struct Run {
    pub(super) record: SessionRecord,
    pub(super) doing: Doing,
    /// As last told to those who watch.
    pub(super) told: (&'static str, BTreeMap<PeerId, &'static str>),
    /// The term as last told.
    pub(super) told_term: u32,
}

impl Run {
    /// Who of the group can be reached over the topic now, this node not counted.
    pub(super) fn present(&self) -> BTreeSet<PeerId> {
        let Some(group) = &self.doing.group else { return BTreeSet::new() };
        let members = self.record.role.group().unwrap_or_default();
        members.iter().map(|contact| contact.peer).filter(|peer| group.is_present(*peer)).collect()
    }
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
    pub(super) availability: Availability,
    pub(super) in_flight: HashSet<(SessionId, PeerId)>,
    pub(super) oddities: Oddities,
    pub(super) wishes: Wishes,
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
            let told_term = record.role.term();
            let program = at_hand(&context, &record).await;
            let mut doing = Doing::default();
            doing.program = program;
            let run = Run { told, told_term, record, doing };
            runs.insert(run.record.session, run);
        }
        let (in_flight, oddities, wishes) = (HashSet::new(), Oddities::default(), Wishes::default());
        Ok(Self { context, web, groups, commands, runs, availability, in_flight, oddities, wishes })
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
                    Some(Command::Stop(reply)) => {
                        self.stop().await;
                        // Who asked does not wait any more: no harm done.
                        let _ = reply.send(());
                        return;
                    }
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
            self.input_or_log(session, Input::Restarted).await;
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.runs.values().filter_map(|run| run.record.role.due()).min()
    }

    /// Whether all went well.
    async fn tick(&mut self) -> bool {
        let now = clock::now();
        let is_due = |run: &&Run| run.record.role.due().is_some_and(|due| due <= now);
        let due: Vec<_> = self.runs.values().filter(is_due).map(|run| run.record.session).collect();
        let mut well = true;
        for session in due {
            well &= self.input_or_log(session, Input::Tick).await;
        }
        well
    }

    async fn command(&mut self, command: Command) {
        // Whoever asked may have stopped waiting for the answer: then it goes nowhere.
        match command {
            Command::Host(opening, reply) => drop(reply.send(self.host(*opening).await)),
            Command::Wish(session, wish, reply) => drop(reply.send(self.wish(session, wish).await)),
            Command::Request(from, request, reply) => drop(reply.send(self.request(from, request).await)),
            Command::Reached(peer) => self.reached(peer).await,
            Command::Presence(session) => self.presence(session).await,
            Command::HostHeard(session, beacon) => {
                if let Some(run) = self.runs.get_mut(&session) {
                    run.record.role.host_heard(beacon.author, beacon.term, clock::now());
                }
            }
            Command::Input(session, input) => {
                self.input_or_log(session, *input).await;
            }
            Command::Vote(from, request, reply) => drop(reply.send(self.vote(from, *request).await)),
            Command::Commits(from, request, reply) => drop(reply.send(self.commits(from, &request))),
            Command::OfferLink(session, offer, reply) => {
                drop(reply.send(self.input(session, *offer).await));
            }
            Command::OpenLink(from, request, reply) => drop(reply.send(self.open_link(from, request).await)),
            Command::Expect(session, host, reply) => drop(reply.send(self.expect(session, host).await)),
            Command::GiveUp(session) => self.wishes.give_up(session),
            Command::Sent(delivery) => self.sent(delivery).await,
            Command::Received(session, result) => self.received(session, result).await,
            Command::Found(session, found) => self.found(session, found).await,
            Command::Transferring(session, transfer) => self.transferring(session, transfer),
            Command::View(session, reply) => drop(reply.send(self.view(session).await)),
            Command::List(reply) => drop(reply.send(self.list().await)),
            Command::Launch(session, reply) => drop(reply.send(self.launch(session))),
            Command::RemoveProgram(program, reply) => drop(reply.send(self.remove_program(program).await)),
            Command::SetAvailability(availability, reply) => {
                self.availability = availability;
                let _ = reply.send(());
            }
            Command::Tell(session, text, reply) => {
                let link = self.runs.get(&session).map(|run| &run.doing.link);
                let _ = reply.send(link.and_then(|link| link.type_line(text)));
            }
            Command::Lines(session, reply) => {
                let lines = self.runs.get(&session).map(|run| run.doing.link.lines());
                drop(reply.send(lines.unwrap_or_default()));
            }
            // Ends the loop that calls this.
            Command::Stop(_) => {}
            #[cfg(test)]
            Command::Crash => panic!("told to"),
        }
    }

    /// Ends what is being done, so that nothing of it writes any more.
    async fn stop(&mut self) {
        self.finish_agents().await;
        for run in self.runs.values_mut() {
            if let Some(transfer) = run.doing.transfer.take() {
                transfer.stop().await;
            }
            if let Some(group) = run.doing.group.take() {
                group.close().await;
            }
        }
    }

    async fn reached(&mut self, peer: PeerId) {
        let partner = |run: &&Run| run.record.role.waits_for(peer);
        let sessions: Vec<_> = self.runs.values().filter(partner).map(|run| run.record.session).collect();
        for session in sessions {
            self.input_or_log(session, Input::Reachable(peer)).await;
        }
    }

    async fn received(&mut self, session: SessionId, result: Result<Arc<Bundle>, String>) {
        let Some(run) = self.runs.get_mut(&session) else { return };
        run.doing.transfer = None;
        let input = match result {
            Ok(bundle) => {
                run.doing.program = Some(bundle);
                Input::Received
            }
            Err(why) => Input::ReceptionFailed(why),
        };
        if let Err(error) = self.input(session, input).await {
            tracing::error!(%session, %error, "a reception was not noted");
        }
    }

    fn launch(&self, session: SessionId) -> Result<Launch, SessionError> {
        let run = self.runs.get(&session).ok_or(SessionError::NoSuchSession(session))?;
        let label = run.doing.mounted.ok_or(SessionError::NotRunning)?;
        self.web.server.launch(label, None).map_err(|_| SessionError::NotRunning)
    }
}

/// The program of a session that goes on, if it is here: before the driver has anything else to do.
async fn at_hand(context: &Context, record: &SessionRecord) -> Option<Arc<Bundle>> {
    let (role, program) = (&record.role, record.role.ticket().program);
    // What was received in part is looked at when its transfer goes on.
    let may_be_here = role.runs() || context.bundles.complete(program).is_some();
    if role.is_over() || !may_be_here {
        return None;
    }
    let found = context.bundle(program).await;
    let found = found.inspect_err(|error| {
        tracing::error!(session = %record.session, %error, "the program's files cannot be used");
    });
    found.ok().flatten().filter(|bundle| bundle.complete().is_some())
}
