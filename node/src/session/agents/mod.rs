//! A session's agents: which run on this node, and how what happens reaches them.
//!
//! For: [`Agents`], what the driver holds for one session. Not for: the sandbox ([`crate::runtime::agent`]), nor for when
//! a program runs (the machine says so).
//!
//! The idea: a program has up to two parts that run by themselves on a node, the agent that everyone has and the host
//! part. Each has a task of its own ([`runner`]) that starts it from what it put aside last, hands it what happens, in
//! order, and puts its state aside at checkpoints and when the session pauses. A fault ends that task, with a line for
//! the user; nothing else notices. What the parts, the page and the user of this node say to one another goes over one
//! [`Link`].

mod around;
mod link;
mod packs;
mod runner;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use parlor_proto::{
    ids::SessionId,
    program::{AGENT_FILE, HOST_AGENT_FILE},
};
use tokio::{sync::mpsc, task::JoinHandle};

pub(super) use self::{
    around::Around,
    link::{Link, Speaker},
    runner::Order,
};
use super::driver::{Driver, SessionError};
use crate::{
    context::{Context, Event},
    runtime::agent::{LoadError, Readiness, Stopped, limits::Limits},
    store::Bundle,
};

/// How long the node waits, when it stops, for agents to put their state aside.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Which part of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// Everyone has it.
    Agent,
    /// The host alone has it.
    Host,
}

impl Part {
    pub(super) const ALL: [Self; 2] = [Self::Agent, Self::Host];

    /// Where its component lies in the program.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Agent => AGENT_FILE,
            Self::Host => HOST_AGENT_FILE,
        }
    }

    /// The word for people, for JSON and for the store.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Host => "host",
        }
    }
}

/// Why a program does not run on this node.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    /// Its component is no good.
    #[error("the program's {0} cannot be loaded: {1}")]
    Load(&'static str, #[source] LoadError),
    /// It refuses, or fails.
    #[error("the program's {0} cannot be set up: {1}")]
    Stopped(&'static str, #[source] Stopped),
}

/// What runs for one session.
#[derive(Default)]
pub(super) struct Agents {
    running: Option<Vec<Runner>>,
    /// Those that are to end and still put their state aside.
    leaving: Vec<(Part, JoinHandle<()>)>,
    /// Whether this node was the session's host when they were started.
    for_host: bool,
}

struct Runner {
    part: Part,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Agents {
    /// Whether they were started: they may have stopped since.
    pub(super) fn are_started(&self) -> bool {
        self.running.is_some()
    }

    /// Starts these parts, each once that of before has ended.
    pub(super) fn start(&mut self, parts: &[Part], around: &Around, bundle: &Bundle, context: &Arc<Context>) {
        let limits = Limits::of(&bundle.program().manifest().agent);
        let mut running = Vec::new();
        for part in parts.iter().copied() {
            let Some(component) = bundle.file_path(part.file()) else { continue };
            let (orders, order) = mpsc::channel(2);
            // Before it is loaded: what is said meanwhile waits.
            let (events, inbox) = mpsc::channel(runner::QUEUE);
            around.link().attach(part, events);
            let job = runner::Job {
                part,
                component,
                limits: limits.clone(),
                around: Arc::new(around.as_part(part)),
                context: Arc::clone(context),
                inbox,
                before: self.leaving.extract_if(.., |(of, _)| *of == part).map(|(_, task)| task).collect(),
            };
            let task = context.tasks.spawn_finite("a session's agent", job.run(order));
            running.push(Runner { part, orders, task });
        }
        self.running = Some(running);
    }

    /// Ends them in this way, without waiting.
    pub(super) fn stop(&mut self, order: Order) {
        for runner in self.running.take().into_iter().flatten() {
            // Fails if it has stopped by itself.
            let _ = runner.orders.try_send(order);
            self.leaving.push((runner.part, runner.task));
        }
        self.leaving.retain(|(_, task)| !task.is_finished());
    }

    /// The node stops: they put their state aside.
    pub(super) async fn finish(&mut self) {
        self.stop(Order::Suspend);
        let all = futures::future::join_all(self.leaving.drain(..).map(|(_, task)| task));
        // What is not put aside by then is told again from the last time that it was.
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
    }
}

impl Driver {
    /// ST26: agents run as long as the program does.
    pub(super) async fn reconcile_agents(&mut self, session: SessionId, wanted: bool) {
        let context = Arc::clone(&self.context);
        let Some(run) = self.runs.get_mut(&session) else { return };
        let (role, doing) = (&run.record.role, &mut run.doing);
        if !wanted {
            doing.agents.stop(if role.is_over() { Order::End } else { Order::Suspend });
            return;
        }
        let is_host = role.as_host().is_some();
        if doing.agents.are_started() && doing.agents.for_host == is_host {
            return;
        }
        let Some(group) = doing.group.clone() else { return };
        let Some(bundle) = doing.program.clone() else { return };
        let ticket = role.ticket();
        let parts: &[Part] = if is_host { &Part::ALL } else { &[Part::Agent] };
        let shared = (Arc::clone(&doing.link), Arc::clone(&doing.is_host));
        let of = (ticket.origin, ticket.name.as_str());
        let around = Around::new(session, &context, Arc::clone(&bundle), of, shared).in_group(&group);
        doing.agents.stop(Order::Suspend);
        doing.agents.for_host = is_host;
        doing.agents.start(parts, &around, &bundle, &context);
    }

    /// The node stops: agents put their state aside.
    pub(super) async fn finish_agents(&mut self) {
        let all = self.runs.values_mut().map(|run| run.doing.agents.finish());
        futures::future::join_all(all).await;
    }
}

/// ST24: the automatic portion of every part that is here. Whether any asks to go straight on.
pub(super) async fn set_up(context: &Context, around: &Around, bundle: &Bundle) -> Result<bool, SetupError> {
    let limits = Limits::of(&bundle.program().manifest().agent);
    let mut goes_on = false;
    for part in Part::ALL {
        let Some(component) = bundle.file_path(part.file()) else { continue };
        let name = part.file();
        let code = context.sandbox.load(component).await.map_err(|error| SetupError::Load(name, error))?;
        let around = Arc::new(around.as_part(part));
        let readiness = context.sandbox.setup(&code, around, &limits).await;
        goes_on |= readiness.map_err(|error| SetupError::Stopped(name, error))? == Readiness::GoOn;
    }
    Ok(goes_on)
}

/// The same for the host's own copy, before a session is opened.
pub(super) async fn set_up_host(
    context: &Arc<Context>,
    session: SessionId,
    bundle: &Arc<Bundle>,
) -> Result<bool, SessionError> {
    let name = bundle.program().manifest().name.as_str().to_owned();
    let shared = (Arc::default(), Arc::new(AtomicBool::new(true)));
    let origin = context.store.program(bundle.program().id()).await?.and_then(|entry| entry.origin);
    let of = (origin.unwrap_or(context.me()), name.as_str());
    let around = Around::new(session, context, Arc::clone(bundle), of, shared);
    set_up(context, &around, bundle).await.map_err(|error| SessionError::Setup(error.to_string()))
}

/// A part was stopped for a fault: its user hears why.
fn tell_stopped(context: &Context, around: &Around, part: Part, why: String) {
    let session = around.session();
    tracing::warn!(%session, part = part.as_str(), why, "an agent was stopped");
    context.tell(Event::Agent { session, part: part.as_str(), state: "stopped", why });
}
