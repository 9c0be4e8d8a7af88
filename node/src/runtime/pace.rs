//! How much a program may do: token buckets.
//!
//! For: [`Pace`], a budget that refills with time. Not for: what happens when it is spent (see [`super::web`] and
//! [`super::agent`]).

use std::time::{Duration, Instant};

/// A budget of units (messages, bytes) that refills evenly. Time is an argument.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    left: f64,
    burst: f64,
    per_second: f64,
    at: Instant,
}

impl Pace {
    /// A full budget of `burst` units that refills by `per_second`.
    pub(super) fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        let burst = f64::from(burst);
        Self { left: burst, burst, per_second: f64::from(per_second), at: now }
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * self.per_second).min(self.burst);
        self.at = now;
    }

    /// Spends `units` if the budget has them.
    pub(super) fn spend(&mut self, units: u32, now: Instant) -> bool {
        self.refill(now);
        let units = f64::from(units);
        let enough = self.left >= units;
        if enough {
            self.left -= units;
        }
        enough
    }

    /// How long until the budget has one unit; it must refill.
    pub(super) fn until_one(&mut self, now: Instant) -> Duration {
        self.refill(now);
        Duration::from_secs_f64(((1.0 - self.left) / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spends_a_burst_then_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(3, 10, start);
        assert!((0..3).all(|_| pace.spend(1, start)));
        assert!(!pace.spend(1, start));
        assert_eq!(pace.until_one(start), Duration::from_millis(100));
        let later = start + Duration::from_millis(101);
        assert_eq!(pace.until_one(later), Duration::ZERO);
        assert!(pace.spend(1, later) && !pace.spend(1, later));
        let much_later = start + Duration::from_secs(60);
        assert!(pace.spend(3, much_later), "full again");
        assert!(!pace.spend(1, much_later), "and no fuller than full");
    }
}
