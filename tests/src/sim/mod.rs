//! The simulator: the machines of 2 to 64 nodes, run through everything that can go wrong, from one seed.
//!
//! For: finding the order of events in which a promise of the design (section 9) does not hold, and showing it
//! again. Not for: transports, disks, sandboxes, speed; nor for what a single machine does in a known order (see
//! the tests next to it).
//!
//! The idea: a world in which nothing is real but the machines of `parlor-proto`. Time is a number, the network a
//! queue, a disk is what survives [`node`]'s crash. All chance comes from one seed ([`dice`]), so a run is the same
//! however often it is made: its [`trace`] has a hash to tell by. A run has three parts: a busy one, in which
//! users want things ([`plan`]), things break ([`fault`]) and somebody may cheat ([`cheat`]); one in which everything
//! is mended and settles; and a quiet one. What must hold is checked at every step ([`check`]) and in the end
//! ([`verdict`]); that each of it can fail is shown by planting a mistake ([`bug`]) in the nodes around the machines.
//!
//! - [`world`]: time, and what happens next;
//! - [`step`], [`arrival`], [`group`], [`billing`]: what a node does around its machines;
//! - [`network`], [`clock`], [`log`]: what it stands on.

mod arrival;
mod billing;
mod bug;
mod cheat;
mod check;
mod clock;
mod dice;
mod event;
mod fault;
mod group;
mod log;
mod network;
mod node;
mod plan;
mod step;
mod trace;
mod verdict;
mod world;

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

pub use bug::Bug;
pub use check::Invariant;

use self::world::World;

/// How long a mended world has to settle, ms.
const SETTLES: u64 = 25 * 60_000;
/// How long the quiet part is, ms.
const QUIET: u64 = 20 * 60_000;

/// How to run a seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A mistake to plant.
    pub bug: Option<Bug>,
    /// Whether to print every line of the trace.
    pub trace: bool,
    /// At most so many nodes, for runs that must not take long.
    pub largest: Option<usize>,
}

/// What came of a run in which everything held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Of the trace: the same for the same seed.
    pub hash: String,
    /// How many lines the trace has.
    pub steps: u64,
    /// How many nodes there were.
    pub nodes: usize,
    /// How often something of note happened.
    pub counts: BTreeMap<&'static str, u64>,
}

/// What came of a run in which something did not.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub invariant: Invariant,
    /// How it showed.
    pub how: String,
    /// At which line of the trace.
    pub step: u64,
    /// The last lines of the trace.
    pub last: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {}: {} is broken at step {}: {}", self.seed, self.invariant, self.step, self.how)?;
        write!(
            f,
            "replay: cargo run --release -p parlor-tests --bin simulate -- --seed {} --trace",
            self.seed
        )
    }
}

impl std::error::Error for Failure {}

/// One run.
pub fn run(seed: u64, options: &Options) -> Result<Run, Box<Failure>> {
    let mut world = World::new(seed, options);
    let panicked = catch_unwind(AssertUnwindSafe(|| live(&mut world))).err();
    if let Some(panic) = panicked {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        world.breaks(Invariant::Panic, text.to_owned());
    }
    let (step, last) = (world.trace.steps, world.trace.last());
    match world.broken {
        Some((invariant, how)) => Err(Box::new(Failure { seed, invariant, how, step, last })),
        None => Ok(Run {
            hash: world.trace.hash(),
            steps: step,
            nodes: world.nodes.len(),
            counts: world.truth.counts,
        }),
    }
}

/// Busy, mended, quiet.
fn live(world: &mut World) {
    let settled = world.truth.heals_at + SETTLES;
    world.run_until(settled);
    if world.broken.is_none() {
        world.check_end();
    }
    world.said = 0;
    world.run_until(settled + QUIET);
    if world.broken.is_none() {
        world.check_end();
        world.check_rest();
    }
}
