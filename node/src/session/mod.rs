//! Sessions on this node: the driver of the host's and the member's machines.
//!
//! For: [`Sessions`], to which commands, other nodes' messages and finished transfers go, one after the other;
//! and what follows from a step: messages, the group, the transfer, the web part. Not for: deciding (the
//! machines in `parlor_proto::session` do).
//!
//! The idea: every step is the same four moves. An input goes into a machine; what changed goes to disk in one
//! transaction (machine, ledger, receipts, proofs); the outputs are carried out; and what the node should be
//! doing now (group, transfer, program) is compared with what it does, and the difference is made up. A
//! restart is just the last move for every session on disk.

mod agents;
mod driver;
mod instance;
mod keeping;
mod keys;
mod links;
mod reconcile;
mod requests;
mod step;
mod trace;
mod view;
mod wishes;

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parlor_proto::{
    identity::PeerId,
    ids::{ProgramId, SessionId},
    session::{Contact, Input, VoteRequest, VoteResponse},
    wire::{CommitsRequest, CommitsResponse, LinkRequest, LinkResponse, SessionRequest, SessionResponse},
};
use tokio::sync::{mpsc, oneshot};

pub use driver::SessionError;
pub use links::FollowError;
pub use view::{InvitationView, MemberView, SessionView, SlotsView, TransferView};

use crate::{
    console::Availability,
    context::Context,
    group::{Beacon, Group},
    runtime::{
        agent::NotWritten,
        web::{Launch, WebServer},
    },
    store::{Bundle, BundleError, StoreError},
    supply::library::LibraryError,
};

/// What may wait for the driver.
const QUEUE: usize = 1024;
/// Most sessions that are not over, on one node.
pub const MAX_SESSIONS: usize = 256;
/// Sessions that are over and still listed.
pub const MAX_ENDED: u32 = 100;

/// All sessions of a node. Clones share them.
#[derive(Clone)]
pub struct Sessions {
    commands: mpsc::Sender<Command>,
    groups: Groups,
    context: Arc<Context>,
    /// The driver was asked to end.
    is_stopped: Arc<AtomicBool>,
}

/// The groups that are open now, for whoever must not wait for the driver.
type Groups = Arc<RwLock<HashMap<SessionId, Group>>>;

/// How the driver shows web parts.
pub struct Web {
    /// Serves them.
    pub server: WebServer,
    /// Opens the user's browser when a session starts.
    pub open_browser: bool,
}

type Reply<T> = oneshot::Sender<Result<T, SessionError>>;

/// To the driver.
enum Command {
    Host(Box<wishes::Opening>, Reply<SessionId>),
    Wish(SessionId, Wish, Reply<()>),
    Request(PeerId, SessionRequest, oneshot::Sender<SessionResponse>),
    Reached(PeerId),
    Presence(SessionId),
    HostHeard(SessionId, Beacon),
    Input(SessionId, Box<Input>),
    Vote(PeerId, Box<VoteRequest>, oneshot::Sender<VoteResponse>),
    Commits(PeerId, CommitsRequest, oneshot::Sender<CommitsResponse>),
    OfferLink(SessionId, Box<Input>, Reply<()>),
    OpenLink(PeerId, LinkRequest, oneshot::Sender<Option<LinkResponse>>),
    Expect(SessionId, PeerId, Reply<links::Expecting>),
    GiveUp(SessionId),
    Sent(step::Delivery),
    Received(SessionId, Result<Arc<Bundle>, String>),
    Found(SessionId, Result<Option<Arc<Bundle>>, BundleError>),
    Transferring(SessionId, TransferView),
    View(SessionId, Reply<SessionView>),
    List(oneshot::Sender<Vec<SessionView>>),
    Launch(SessionId, Reply<Launch>),
    RemoveProgram(ProgramId, Reply<()>),
    SetAvailability(Availability, oneshot::Sender<()>),
    Tell(SessionId, String, oneshot::Sender<Option<oneshot::Receiver<Result<(), NotWritten>>>>),
    Stop(oneshot::Sender<()>),
    Lines(SessionId, oneshot::Sender<Vec<(&'static str, String)>>),
    #[cfg(test)]
    Crash,
}

/// What a user wants of one session.
#[derive(Debug, Clone)]
pub enum Wish {
    /// ST14: more members.
    Invite(Vec<Contact>),
    /// Fewer.
    Remove(PeerId),
    /// Another host, with all copies that are left.
    HandOver(PeerId),
    /// ST21.
    Join,
    /// ST20.
    Decline,
    /// ST19.
    Start,
    /// Step 8.
    Suspend,
    /// Step 8.
    Resume,
    /// ST27-29; a member leaves.
    End {
        /// Whether the program stays in the library.
        keep: bool,
    },
}

impl Sessions {
    /// Starts the driver, which goes on with what is on disk.
    pub async fn start(
        context: Arc<Context>,
        web: Web,
        availability: Availability,
    ) -> Result<Self, StoreError> {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let groups = Groups::default();
        let surroundings =
            driver::Surroundings { context: Arc::clone(&context), web, groups: Arc::clone(&groups) };
        let driver = driver::Driver::load(surroundings, availability, commands.downgrade()).await?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (handles, asked) = (commands.downgrade(), Arc::clone(&is_stopped));
        let was_asked = move || asked.load(Ordering::SeqCst) || handles.strong_count() == 0;
        context.tasks.spawn("the sessions", was_asked, driver.run(inbox));
        Ok(Self { commands, groups, context, is_stopped })
    }

    /// ST14: opens a session for a program of the library and invites. Without a sign of this node for `takeover`,
    /// another one takes over.
    pub async fn host(
        &self,
        program: ProgramId,
        invite: Vec<Contact>,
        takeover: Duration,
    ) -> Result<SessionId, SessionError> {
        let session = SessionId(rand::random());
        // Not by the driver: to load a program and to set it up may take their time.
        let bundle = self.context.bundle(program).await.map_err(LibraryError::from)?;
        let bundle = bundle.filter(|bundle| bundle.complete().is_some()).ok_or(SessionError::NoProgram)?;
        let is_eager = agents::set_up_host(&self.context, session, &bundle).await?;
        let opening = wishes::Opening { session, bundle, invite, takeover, is_eager };
        self.ask(|reply| Command::Host(Box::new(opening), reply)).await
    }

    /// Carries out what a user wants of a session.
    pub async fn wish(&self, session: SessionId, wish: Wish) -> Result<(), SessionError> {
        self.ask(|reply| Command::Wish(session, wish, reply)).await
    }

    /// One session as the user sees it.
    pub async fn view(&self, session: SessionId) -> Result<SessionView, SessionError> {
        self.ask(|reply| Command::View(session, reply)).await
    }

    /// All sessions, oldest first.
    pub async fn list(&self) -> Result<Vec<SessionView>, SessionError> {
        self.hear(Command::List).await
    }

    /// The group of a session, if this node is in it now.
    #[must_use]
    pub fn group(&self, session: SessionId) -> Option<Group> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(&session).cloned()
    }

    /// An address that shows the session's web part once.
    pub async fn launch(&self, session: SessionId) -> Result<Launch, SessionError> {
        self.ask(|reply| Command::Launch(session, reply)).await
    }

    /// Takes a program out of the library, if no session needs it.
    pub async fn remove_program(&self, program: ProgramId) -> Result<(), SessionError> {
        self.ask(|reply| Command::RemoveProgram(program, reply)).await
    }

    /// Sets what becomes of invitations from now on.
    pub async fn set_availability(&self, availability: Availability) -> Result<(), SessionError> {
        self.hear(|reply| Command::SetAvailability(availability, reply)).await
    }

    /// What the user types, for the session's agent on this node: `true` once it has taken it, and what it has posted
    /// upon it is on disk. `false` if there is none: then it is for the group.
    pub async fn tell_agent(&self, session: SessionId, text: String) -> Result<bool, SessionError> {
        match self.hear(|reply| Command::Tell(session, text, reply)).await? {
            Some(taken) => {
                taken.await.map_err(|_| SessionError::NotTaken)??;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// The lines that the session's agents wrote last, and which part each is of; the newest last.
    pub async fn agent_lines(&self, session: SessionId) -> Result<Vec<(&'static str, String)>, SessionError> {
        self.hear(|reply| Command::Lines(session, reply)).await
    }

    /// Ends everything that is done for sessions, which go on at the next start: agents put their state aside,
    /// transfers stop where they are, and what groups have under way is written.
    pub async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        self.is_stopped.store(true, Ordering::SeqCst);
        // Fails only if it has stopped already.
        let _ = self.commands.send(Command::Stop(reply)).await;
        let _ = answer.await;
    }

    /// Another node's messages.
    pub async fn request(&self, from: PeerId, request: SessionRequest) -> SessionResponse {
        let (reply, answer) = oneshot::channel();
        if self.commands.try_send(Command::Request(from, request, reply)).is_err() {
            return SessionResponse::Later;
        }
        answer.await.unwrap_or(SessionResponse::Later)
    }

    /// Another node wants to be host of a session. `None` if nothing can be said now: it may ask again.
    pub async fn vote(&self, from: PeerId, request: VoteRequest) -> Option<VoteResponse> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Vote(from, Box::new(request), reply)).ok()?;
        answer.await.ok()
    }

    /// Another node missed changes of a group's keys. `None` if nothing can be said now: it may ask again.
    pub async fn commits(&self, from: PeerId, request: CommitsRequest) -> Option<CommitsResponse> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Commits(from, request, reply)).ok()?;
        answer.await.ok()
    }

    /// A peer came into reach: what waits for it is sent.
    pub async fn reached(&self, peer: PeerId) {
        // Fails only while the node stops.
        let _ = self.commands.send(Command::Reached(peer)).await;
    }

    /// Somebody came onto the session's topic, or went.
    pub async fn presence_changed(&self, session: SessionId) {
        // Fails only while the node stops.
        let _ = self.commands.send(Command::Presence(session)).await;
    }

    /// What the driver makes of a command that may fail.
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, SessionError> {
        self.hear(command).await?
    }

    /// The driver's answer. One that is gone has none.
    async fn hear<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, SessionError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| SessionError::Stopping)?;
        answer.await.map_err(|_| SessionError::Stopping)
    }

    /// Makes the driver panic.
    #[cfg(test)]
    pub(crate) async fn crash(&self) {
        let _ = self.commands.send(Command::Crash).await;
    }
}
