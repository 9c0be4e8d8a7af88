//! One running agent.
//!
//! For: [`Agent`], the handle that a session holds, and the task behind it. Not for: what a single call may do (see
//! `instance`).
//!
//! The idea: the task owns the instance and takes one command after the other from a queue with a bound, so that nothing
//! ever happens to an agent twice at the same time. It ends on its agent's first fault. It does not outlive its last
//! handle: then it is dropped where it stands.

use std::{future::pending, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::AbortHandle,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::{Event, Limits, NotWritten, Sandbox, Stopped, Surroundings, guest::Guest, instance::Instance};

/// What waits for an agent, at most; then whoever tells it something waits too, or drops it.
const QUEUE: usize = 256;

/// State that an agent put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    /// The agent's own bytes.
    pub state: Vec<u8>,
    /// The `serial` of the last update that it had been told of since it started. `None`: of none.
    pub serial: Option<u64>,
}

/// A running agent. When the last clone is dropped, it is killed at once, also in the middle of an event.
#[derive(Debug, Clone)]
pub struct Agent(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    queue: mpsc::Sender<Command>,
    /// Set before the task ends, unless that is the node's fault.
    stopped: watch::Receiver<Option<Stopped>>,
    task: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
enum Command {
    /// And who is to know when it has been taken.
    Event(Event, Option<oneshot::Sender<Result<(), NotWritten>>>),
    Suspend(oneshot::Sender<Suspended>),
    End(oneshot::Sender<()>),
}

impl Agent {
    /// Tells it of something; waits while its queue is full.
    ///
    /// # Errors
    ///
    /// It does not run any more.
    pub async fn tell(&self, event: Event) -> Result<(), Stopped> {
        self.command(Command::Event(event, None)).await
    }

    /// The same; what is returned says when the agent has taken it, and whether all that it wrote upon it is written; it
    /// is cut off if the agent was stopped before.
    ///
    /// # Errors
    ///
    /// It does not run any more.
    pub async fn hand(&self, event: Event) -> Result<oneshot::Receiver<Result<(), NotWritten>>, Stopped> {
        let (taken, answer) = oneshot::channel();
        self.command(Command::Event(event, Some(taken))).await?;
        Ok(answer)
    }

    /// Tells it of something, unless its queue is full or it does not run any more: `false`.
    pub fn try_tell(&self, event: Event) -> bool {
        self.0.queue.try_send(Command::Event(event, None)).is_ok()
    }

    /// Has it put its state aside, after everything that it was told before. It goes on.
    ///
    /// # Errors
    ///
    /// It does not run any more, or was stopped by this.
    pub async fn suspend(&self) -> Result<Suspended, Stopped> {
        let (answer, suspended) = oneshot::channel();
        self.command(Command::Suspend(answer)).await?;
        match suspended.await {
            Ok(suspended) => Ok(suspended),
            Err(_) => Err(self.fate().await),
        }
    }

    /// Ends it, after everything that it was told before; returns when it is over, whatever became of it.
    pub async fn end(&self) {
        let (answer, ended) = oneshot::channel();
        if self.command(Command::End(answer)).await.is_ok() {
            // Dropped when it was stopped meanwhile: over, too.
            let _ = ended.await;
        }
    }

    /// Returns when it was stopped for a fault: never, if it was ended.
    pub async fn stopped(&self) -> Stopped {
        match self.fate().await {
            Stopped::Ended => pending().await,
            fault => fault,
        }
    }

    async fn command(&self, command: Command) -> Result<(), Stopped> {
        match self.0.queue.send(command).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.fate().await),
        }
    }

    /// Why it does not run any more, once it does not.
    async fn fate(&self) -> Stopped {
        let mut stopped = self.0.stopped.clone();
        let fate = match stopped.wait_for(Option::is_some).await {
            Ok(fate) => fate.clone(),
            // The task has panicked.
            Err(_) => None,
        };
        fate.unwrap_or(Stopped::Broken)
    }
}

/// What an agent starts with.
pub(super) struct Beginning {
    pub(super) component: PathBuf,
    pub(super) surroundings: Arc<dyn Surroundings>,
    pub(super) limits: Limits,
    pub(super) state: Option<Vec<u8>>,
}

/// Starts an agent on the sandbox's threads.
pub(super) fn start(sandbox: Sandbox, beginning: Beginning) -> Agent {
    let (queue, commands) = mpsc::channel(QUEUE);
    let (tell, stopped) = watch::channel(None);
    let threads = sandbox.threads();
    let task = threads.spawn(async move {
        let stopped = match run(sandbox, beginning, commands).await {
            Ok(()) => Stopped::Ended,
            Err(stopped) => stopped,
        };
        // Nobody listens: then nobody wants to know.
        let _ = tell.send(Some(stopped));
    });
    Agent(Arc::new(Handle { queue, stopped, task: task.abort_handle() }))
}

async fn run(
    sandbox: Sandbox,
    beginning: Beginning,
    mut commands: mpsc::Receiver<Command>,
) -> Result<(), Stopped> {
    let Beginning { component, surroundings, limits, state } = beginning;
    let code = sandbox.loader().load(&sandbox, &component).await?;
    let guest = Guest::new(surroundings, &limits, true);
    let mut instance = Instance::new(&sandbox, &code, guest, &limits).await?;
    instance.start(state).await?;
    let mut ticks = limits.tick.map(every);
    let mut serial = None;
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            () = next(&mut ticks) => {
                instance.tick().await?;
                continue;
            }
        };
        match command {
            Some(Command::Event(event, taken)) => {
                if let Event::Update(update) = &event {
                    serial = Some(update.serial);
                }
                // What came of ticks is nobody's concern here.
                instance.was_unwritten();
                instance.event(event).await?;
                let is_written = if instance.was_unwritten() { Err(NotWritten) } else { Ok(()) };
                if let Some(taken) = taken {
                    // Who asked does not wait any more: no harm done.
                    let _ = taken.send(is_written);
                }
            }
            Some(Command::Suspend(answer)) => {
                let state = instance.suspend().await?;
                // Who asked does not wait any more: no harm done.
                let _ = answer.send(Suspended { state, serial });
            }
            Some(Command::End(answer)) => return end(instance, commands, answer).await,
            None => return Ok(()),
        }
    }
}

/// A fault in the very last event is nobody's concern any more.
async fn end(
    mut instance: Instance,
    commands: mpsc::Receiver<Command>,
    answer: oneshot::Sender<()>,
) -> Result<(), Stopped> {
    drop(commands);
    if let Err(stopped) = instance.end().await {
        tracing::debug!(%stopped, "an agent failed on its end");
    }
    let _ = answer.send(());
    Ok(())
}

/// Ticks that were missed, since the agent was at something else, do not come later.
fn every(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

async fn next(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => pending().await,
    }
}
