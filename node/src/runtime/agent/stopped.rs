//! Why an agent does not run any more.
//!
//! For: [`Stopped`], whose text is shown to the user. Not for: what is wrong with components (see [`LoadError`]).

use std::time::Duration;

use wasmtime::{Error, Trap};
use wasmtime_wasi::I32Exit;

use super::{LoadError, guest::MAX_CALL, text::shown};

/// The longest reason of an agent's own that is shown, bytes.
const MAX_REASON: usize = 512;
/// What Wasmtime says when an agent hands over more than [`MAX_CALL`]; it has no type for it.
const TOO_MUCH: &str = "too much data is being copied";

/// Why an agent was stopped: one line for the user, which goes on from the program's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It could not even be begun: what [`LoadError`] says.
    #[error("it cannot be loaded: {0}")]
    Unloadable(String),
    /// Something took too long.
    #[error("it ran for more than {limit:?} on {on}")]
    Slow {
        /// What it worked on: `one event`, or the phase's name.
        on: &'static str,
        /// How long that may take.
        limit: Duration,
    },
    /// It did what WebAssembly does not allow, or gave up.
    #[error("it trapped: {0}")]
    Trapped(String),
    /// It wanted more than so many bytes, and could not go on without.
    #[error("it needs more memory than {} MiB", .0 >> 20)]
    Memory(u64),
    /// It went on although it was refused.
    #[error("it said more than {0} messages a second")]
    Messages(u32),
    /// The same, with lines and values for the page.
    #[error("it wrote more than {0} lines a second")]
    Output(u32),
    /// Its state is too large.
    #[error("it put more than {} MiB aside", super::MAX_STATE >> 20)]
    State,
    /// What it gave to an import, or returned, is more than anything takes.
    #[error("it handed over more than {} MiB at once", MAX_CALL >> 20)]
    TooMuch,
    /// Its setup returned an error.
    #[error("it refused to run here: {0}")]
    Refused(String),
    /// It was ended. No fault.
    #[error("it has ended")]
    Ended,
    /// Not the agent's fault.
    #[error("this node failed to run it")]
    Broken,
}

impl From<LoadError> for Stopped {
    fn from(error: LoadError) -> Self {
        Self::Unloadable(error.to_string())
    }
}

impl Stopped {
    /// Setup's error.
    pub(super) fn refused(reason: &str) -> Self {
        Self::Refused(shown(reason, MAX_REASON))
    }

    /// What Wasmtime says. What an import stopped it for is in there too.
    pub(super) fn of(error: &Error) -> Self {
        if let Some(stopped) = error.downcast_ref::<Self>() {
            return stopped.clone();
        }
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return Self::Trapped(format!("exit with code {code}"));
        }
        let reason = match error.downcast_ref() {
            Some(Trap::UnreachableCodeReached) => "unreachable".to_owned(),
            Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
            None => error.root_cause().to_string(),
        };
        if reason.starts_with(TOO_MUCH) {
            return Self::TooMuch;
        }
        Self::Trapped(shown(&reason, MAX_REASON))
    }
}
