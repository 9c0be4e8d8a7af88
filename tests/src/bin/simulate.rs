//! Runs seeds of the simulator: many, to look for a broken invariant, or one, to see how it broke.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use clap::Parser;
use parlor_tests::sim::{Failure, Options, Run, run};

/// Simulates sessions of many nodes, and checks what must hold.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print all that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many to run at a time [default: one a core].
    #[arg(long)]
    jobs: Option<usize>,
}

/// How often to say how far it is, seeds.
const PROGRESS: u64 = 500;
/// How many failures to show in full.
const SHOWN: usize = 10;

/// What came of the runs so far.
#[derive(Default)]
struct Sum {
    done: u64,
    steps: u64,
    largest: usize,
    counts: BTreeMap<&'static str, u64>,
    failed: BTreeMap<u64, String>,
}

impl Sum {
    fn add(&mut self, seed: u64, result: Result<Run, Box<Failure>>) {
        self.done += 1;
        match result {
            Ok(run) => {
                self.steps += run.steps;
                self.largest = self.largest.max(run.nodes);
                for (what, many) in run.counts {
                    *self.counts.entry(what).or_default() += many;
                }
            }
            Err(failure) => {
                if self.failed.len() < SHOWN {
                    eprintln!("{failure}\n");
                }
                self.failed.insert(seed, failure.invariant.to_string());
            }
        }
        if self.done.is_multiple_of(PROGRESS) {
            eprintln!("{} seeds, {} failed", self.done, self.failed.len());
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return match run(seed, &Options { trace: arguments.trace, ..Options::default() }) {
            Ok(run) => {
                println!(
                    "seed {seed}: all held, {} nodes, {} steps, trace {}",
                    run.nodes, run.steps, run.hash
                );
                ExitCode::SUCCESS
            }
            Err(failure) => {
                eprintln!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    let begun = Instant::now();
    let jobs =
        arguments.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let (next, end) = (AtomicU64::new(arguments.from), arguments.from.saturating_add(arguments.seeds));
    let sum = Mutex::new(Sum::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let result = run(seed, &Options::default());
            // A sum is never left half-made: adding does not panic.
            sum.lock().unwrap_or_else(PoisonError::into_inner).add(seed, result);
        }
    };
    std::thread::scope(|scope| {
        (0..jobs.max(1)).for_each(|_| {
            scope.spawn(work);
        });
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{}",
        serde_json::json!({
            "event": "simulated", "ok": sum.failed.is_empty(), "seeds": sum.done, "from": arguments.from,
            "failed": sum.failed, "steps": sum.steps, "largest": sum.largest, "counts": sum.counts,
            "seconds": begun.elapsed().as_secs(),
        })
    );
    if sum.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
