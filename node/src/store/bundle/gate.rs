//! Who may write to the folder of bundles: everybody, until it is closed; then nobody.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::BundleError;

/// Shared by a folder and all bundles in it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    writers: usize,
    is_closed: bool,
}

/// Somebody writes; dropped, it does not any more.
#[derive(Debug)]
pub(crate) struct Writing(Arc<Gate>);

impl Gate {
    /// Lets one more write, unless it is closed. Whoever writes may come in once more.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Writing, BundleError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(BundleError::Stopping);
        }
        state.writers += 1;
        Ok(Writing(Arc::clone(self)))
    }

    /// Lets nobody in from now on, and returns once everybody is out. Blocks.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        while state.writers > 0 {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in a locked section leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.state().writers -= 1;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_closes_when_the_last_one_is_out_and_lets_nobody_in_meanwhile() {
        let gate = Arc::new(Gate::default());
        let (first, second) = (gate.enter().unwrap(), gate.enter().unwrap());
        drop(first);
        let closing = std::thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.close()
        });
        while gate.enter().is_ok() {
            std::thread::yield_now();
        }
        assert!(!closing.is_finished(), "somebody still writes");
        drop(second);
        closing.join().unwrap();
        assert!(matches!(gate.enter(), Err(BundleError::Stopping)));
    }
}
