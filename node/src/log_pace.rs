//! At most one line a second in the log of what other nodes can bring about as often as they like.
//!
//! For: refusals, where a peer chooses how often it is refused and must not choose how long the log gets. Not for:
//! what happens on this node's own account, which is told every time.

use std::time::{Duration, Instant};

/// Between two lines of one kind.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// The lines of one kind.
#[derive(Debug, Default)]
pub(crate) struct LogPace {
    /// The last line.
    told: Option<Instant>,
    untold: u64,
}

impl LogPace {
    /// How many were left out since the last line, if there is to be one now.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now.duration_since(told) < PAUSE) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}
