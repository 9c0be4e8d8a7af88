//! The clock that interrupts agents which compute.
//!
//! For: [`Ticker`], a thread that moves the engine's epoch on, and [`Busy`], which says that somebody needs it. Not for:
//! how long an agent may go on (see `instance`).
//!
//! The idea: compiled code looks at the epoch in every loop and on every call; when it has moved, the agent's future
//! yields, so that it can be dropped, and others get their turn. While no agent runs, nothing ticks.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use wasmtime::Engine;

/// The longest time that an agent computes without yielding.
const TICK: Duration = Duration::from_millis(10);

/// Ticks until it is dropped, while there is a [`Busy`].
#[derive(Debug)]
pub(super) struct Ticker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    busy: usize,
    over: bool,
}

impl Ticker {
    /// Starts the thread.
    pub(super) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        thread::Builder::new().name("agents-epoch".into()).spawn(move || its.run(&engine))?;
        Ok(Self(shared))
    }

    /// From now on an agent may compute, until this is dropped.
    pub(super) fn busy(&self) -> Busy {
        self.0.change(|state| state.busy += 1);
        Busy(Arc::clone(&self.0))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.change(|state| state.over = true);
    }
}

/// An agent may compute.
#[derive(Debug)]
pub(super) struct Busy(Arc<Shared>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|state| state.busy -= 1);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// Whether there is a next tick; waits until that is known.
    fn goes_on(&self) -> bool {
        let idle = |state: &mut State| state.busy == 0 && !state.over;
        let state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        state.busy > 0
    }

    fn run(&self, engine: &Engine) {
        while self.goes_on() {
            thread::sleep(TICK);
            engine.increment_epoch();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_thread_ends_when_nobody_needs_it_any_more() {
        let ticker = Ticker::start(Engine::default()).unwrap();
        let (shared, busy) = (Arc::clone(&ticker.0), ticker.busy());
        drop(ticker);
        thread::sleep(3 * TICK);
        assert_eq!(Arc::strong_count(&shared), 3, "an agent still computes");
        drop(busy);
        while Arc::strong_count(&shared) > 1 {
            thread::sleep(TICK);
        }
    }
}
