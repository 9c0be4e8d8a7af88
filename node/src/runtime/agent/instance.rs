//! One instance of an agent's component, and what it can be called for.
//!
//! For: [`Instance`], each of whose calls has an end: it returns in time, or [`Stopped`] says why not. Not for: the order
//! of events (see `actor`).
//!
//! The idea: a call is a future that yields with every tick of the engine's epoch (see `ticker`). Whatever it waits
//! for, its own computing or an import, counts; when its time is over, it is dropped where it stands. An instance that
//! has failed once is never called again: nobody knows what state it is in.

use std::time::Duration;

use tokio::time::{error::Elapsed, timeout};
use wasmtime::Store;

use super::{
    Event, Limits, MAX_STATE, Readiness, Stopped, Upon,
    guest::{Guest, MAX_CALL},
    sandbox::{Code, Sandbox},
    world::{Agent, types},
};

/// What most calls are for, as [`Stopped::Slow`] has it.
const EVENT: &str = "one event";

/// Calls one of the agent's exports, within a time.
macro_rules! call {
    ($instance:ident.$export:ident($($argument:expr),*), on $on:expr, for $limit:expr) => {{
        let limit = $limit;
        $instance.store.data_mut().memory.is_short = false;
        let _busy = $instance.sandbox.busy();
        let call = $instance.agent.parlor_agent_events().$export(&mut $instance.store, $($argument),*);
        let done = timeout(limit, call).await;
        judged(&$instance.store, done, $on, limit)
    }};
}

/// What came of a call.
fn judged<T>(
    store: &Store<Guest>,
    done: Result<wasmtime::Result<T>, Elapsed>,
    on: &'static str,
    limit: Duration,
) -> Result<T, Stopped> {
    match done {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            tracing::debug!(error = format!("{error:#}"), on, "an agent failed");
            let memory = &store.data().memory;
            match Stopped::of(&error) {
                Stopped::Trapped(_) if memory.is_short => Err(Stopped::Memory(memory.most)),
                stopped => Err(stopped),
            }
        }
        Err(_) => Err(Stopped::Slow { on, limit }),
    }
}

/// Exclusive, and dead after its first [`Stopped`].
pub(super) struct Instance {
    sandbox: Sandbox,
    store: Store<Guest>,
    agent: Agent,
    event: Duration,
    phase: Duration,
}

impl Instance {
    /// In fresh memory.
    pub(super) async fn new(
        sandbox: &Sandbox,
        code: &Code,
        guest: Guest,
        limits: &Limits,
    ) -> Result<Self, Stopped> {
        let mut store = Store::new(sandbox.engine(), guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_hostcall_fuel(MAX_CALL);
        let (event, phase) = (limits.event, limits.phase);
        let made = {
            let _busy = sandbox.busy();
            timeout(phase, code.prepared().instantiate_async(&mut store)).await
        };
        let agent = judged(&store, made, "its beginning", phase)?;
        Ok(Self { sandbox: sandbox.clone(), store, agent, event, phase })
    }

    /// The automatic portion.
    pub(super) async fn setup(&mut self) -> Result<Readiness, Stopped> {
        match call!(self.call_setup(), on "setup", for self.phase)? {
            Ok(readiness) => Ok(readiness.into()),
            Err(reason) => Err(Stopped::refused(&reason)),
        }
    }

    /// The normal portion begins.
    pub(super) async fn start(&mut self, state: Option<Vec<u8>>) -> Result<(), Stopped> {
        call!(self.call_start(state.as_deref()), on "start", for self.phase)
    }

    /// One event.
    pub(super) async fn event(&mut self, event: Event) -> Result<(), Stopped> {
        let limit = self.event;
        match event {
            Event::Message { sender, data } => {
                call!(self.call_message(&sender, &data), on EVENT, for limit)
            }
            Event::Update(update) => {
                self.store.data_mut().upon = Some(Upon { serial: update.serial, nth: 0 });
                let update = types::Update::from(update);
                let done = call!(self.call_update(&update), on EVENT, for limit);
                self.store.data_mut().upon = None;
                done
            }
            Event::Input(line) => call!(self.call_input(&line), on EVENT, for limit),
            Event::Page(json) => call!(self.call_page(&json), on EVENT, for limit),
            Event::Members(members) => {
                let members: Vec<_> = members.into_iter().map(types::Member::from).collect();
                call!(self.call_members(&members), on EVENT, for limit)
            }
        }
    }

    /// Whether something of what it wanted to write was not written since this was last asked.
    pub(super) fn was_unwritten(&mut self) -> bool {
        std::mem::take(&mut self.store.data_mut().is_unwritten)
    }

    /// Time has passed.
    pub(super) async fn tick(&mut self) -> Result<(), Stopped> {
        call!(self.call_tick(), on EVENT, for self.event)
    }

    /// The state that it puts aside.
    pub(super) async fn suspend(&mut self) -> Result<Vec<u8>, Stopped> {
        match call!(self.call_suspend(), on "suspend", for self.phase) {
            Err(Stopped::TooMuch) => Err(Stopped::State),
            Ok(state) if state.len() > MAX_STATE => Err(Stopped::State),
            other => other,
        }
    }

    /// The session is over.
    pub(super) async fn end(&mut self) -> Result<(), Stopped> {
        call!(self.call_end(), on "end", for self.phase)
    }
}
