//! The harness of the stories: real nodes, driven the way a user drives them.
//!
//! For: starting `parlor up` processes with homes of their own, calling verbs on them, watching what they say,
//! killing and restarting them, and the surroundings a story needs (a LAN, an internet, a small disk, a browser).
//! Not for: what is inside a node. A story knows the command line and its JSON and nothing else, so that it holds
//! for any implementation of the same contract.
//!
//! The idea: everything here panics with a readable reason when the world is not as the story says, and shows
//! the logs of all nodes involved. Nothing sleeps in the hope that something has happened by then; whoever
//! waits, waits for a condition, with a deadline that only a failure reaches.
//!
//! Read in this order: [`world`] (where nodes live), [`node`] (one process), [`watch`] (a stream of events),
//! [`cast`] (the usual roles of a session), [`stage`] (the same, far apart), then what surrounds them.

pub mod browser;
pub mod cast;
pub mod disk;
pub mod internet;
pub mod interop;
pub mod lan;
pub mod netns;
pub mod node;
pub mod page;
pub mod programs;
pub mod pulse;
pub mod segment;
pub mod sim;
pub mod stage;
pub mod watch;
pub mod world;

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// How long anything may take before it counts as failed. Generous: a busy machine is not a failure.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How often a condition is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(100);

/// Waits until `look` finds something and returns that. Panics with `what` after [`DEADLINE`].
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    wait_until(what, || look().ok_or("nothing"))
}

/// The same for a `look` that says what there is instead.
#[track_caller]
pub fn wait_until<T, E: Display>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) if started.elapsed() >= DEADLINE => {
                panic!("waited {DEADLINE:?} in vain for {what}; there is {instead}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
