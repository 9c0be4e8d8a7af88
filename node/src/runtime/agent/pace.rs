//! How often an agent may do something.
//!
//! For: [`Pace`], the budget of [`crate::runtime::pace`] that also notices who does not care. Not for: what becomes of what is too
//! much (see `imports`).
//!
//! The idea: who is refused now and then was merely fast. Who is refused four times as often within a second as it
//! would have been allowed does not listen, and costs the node time: it is to be stopped. Time is an argument.

use std::time::{Duration, Instant};

/// So many times what is allowed may be refused within one [`WINDOW`].
const PATIENCE: u32 = 4;
const WINDOW: Duration = Duration::from_secs(1);

/// A budget of so much a second, and as much at once.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    per_second: u32,
    budget: crate::runtime::pace::Pace,
    refused: u32,
    window: Instant,
}

/// What becomes of the next thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is within the budget.
    Passes,
    /// It is not.
    TooFast,
    /// Neither were many before it.
    Flood,
}

impl Pace {
    /// A full budget.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let budget = crate::runtime::pace::Pace::new(per_second, per_second, now);
        Self { per_second, budget, refused: 0, window: now }
    }

    /// What was given to [`Pace::new`].
    pub(super) fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Spends one, if there is one.
    pub(super) fn spend(&mut self, now: Instant) -> Verdict {
        if self.budget.spend(1, now) { Verdict::Passes } else { self.refuse(now) }
    }

    fn refuse(&mut self, now: Instant) -> Verdict {
        if now.saturating_duration_since(self.window) >= WINDOW {
            (self.window, self.refused) = (now, 0);
        }
        self.refused = self.refused.saturating_add(1);
        if self.refused > self.per_second.max(1).saturating_mul(PATIENCE) {
            Verdict::Flood
        } else {
            Verdict::TooFast
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        assert!((0..10).all(|_| pace.spend(start) == Verdict::Passes));
        assert_eq!(pace.spend(start), Verdict::TooFast);
        let later = start + Duration::from_millis(101);
        assert_eq!(pace.spend(later), Verdict::Passes);
        assert_eq!(pace.spend(later), Verdict::TooFast);
    }

    #[test]
    fn who_does_not_listen_is_noticed_and_who_is_hasty_now_and_then_is_not() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        assert!((0..50).all(|_| pace.spend(start) != Verdict::Flood));
        assert_eq!(pace.spend(start), Verdict::Flood);

        let mut pace = Pace::new(10, start);
        for second in 0..20 {
            let now = start + Duration::from_secs(second);
            assert!((0..45).all(|_| pace.spend(now) != Verdict::Flood), "{second}");
        }
    }

    #[test]
    fn who_may_not_at_all_is_refused() {
        let start = Instant::now();
        let mut pace = Pace::new(0, start);
        assert!((0..4).all(|_| pace.spend(start + Duration::from_secs(60)) == Verdict::TooFast));
        assert_eq!(pace.spend(start + Duration::from_secs(60)), Verdict::Flood);
    }
}
