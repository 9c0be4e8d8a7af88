//! Whether a node answers all the while.
//!
//! For: [`meanwhile`], around whatever may keep a node from answering. Not for: how fast it is: on a busy machine, the
//! time on the wall says little about that. The longest answer is told, and only one that nobody would wait for fails.
//!
//! The idea: another thread asks for `status` again and again, as an impatient user would.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::node::Node;

/// Whoever waits longer for an answer takes the node for dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does something while the node is asked for its `status`, and prints how long it took at most. `what` is being done.
#[track_caller]
pub fn meanwhile<T>(node: &Node, what: &str, act: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    let (result, pulse) = thread::scope(|scope| {
        let pulse = scope.spawn(|| Pulse::take(node, &is_done));
        let result = {
            let _done = Set(&is_done);
            act()
        };
        (result, pulse.join().expect("the node answers"))
    });
    let Pulse { answers, longest } = pulse;
    let name = node.name();
    eprintln!("{name}, {what}: {answers} times `status`, {} ms at most", longest.as_millis());
    assert!(longest < PATIENCE, "{name} did not answer for {longest:?}: {what}");
    result
}

struct Pulse {
    answers: u32,
    longest: Duration,
}

impl Pulse {
    /// At least once.
    fn take(node: &Node, is_done: &AtomicBool) -> Self {
        let mut pulse = Self { answers: 0, longest: Duration::ZERO };
        while pulse.answers == 0 || !is_done.load(Ordering::Relaxed) {
            let asked = Instant::now();
            node.run(&["status"]);
            pulse.longest = pulse.longest.max(asked.elapsed());
            pulse.answers += 1;
        }
        pulse
    }
}

/// Says so when it goes, also in a panic: nobody would wait for the end of it otherwise.
struct Set<'a>(&'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
