//! What happened: the last lines for people, and a hash of all of them, by which two runs are compared.

use std::{collections::VecDeque, fmt};

/// How many lines a failure shows.
const LINES: usize = 50;

/// The trace of one run.
#[derive(Debug)]
pub(super) struct Trace {
    hasher: blake3::Hasher,
    last: VecDeque<String>,
    print: bool,
    /// How many lines there were.
    pub(super) steps: u64,
}

impl Trace {
    pub(super) fn new(print: bool) -> Self {
        Self { hasher: blake3::Hasher::new(), last: VecDeque::new(), print, steps: 0 }
    }

    /// Something happened at `now`, ms since the run began.
    pub(super) fn note(&mut self, now: u64, what: fmt::Arguments<'_>) {
        self.steps += 1;
        let line = format!("{:>9}.{:03} {what}", now / 1000, now % 1000);
        self.hasher.update(line.as_bytes());
        if self.print {
            println!("{:>6} {line}", self.steps);
        }
        if self.last.len() == LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Of all lines.
    pub(super) fn hash(&self) -> String {
        self.hasher.finalize().to_hex()[..16].to_owned()
    }

    /// The newest lines, oldest first.
    pub(super) fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}
