//! Not faster than: for whatever a node or a member bounds.

/// So many a second, and as many at once. A full bucket to begin with, which fills evenly.
///
/// ```
/// let mut pace = parlor_agent::Pace::per_second(2);
/// assert!(pace.take(0) && pace.take(0) && !pace.take(499));
/// assert!(pace.take(500) && !pace.take(600));
/// ```
#[derive(Debug, Clone)]
pub struct Pace {
    per_second: u64,
    /// In thousandths.
    left: u64,
    at: u64,
}

impl Pace {
    /// At most so many a second.
    #[must_use]
    pub const fn per_second(per_second: u32) -> Self {
        let per_second = per_second as u64;
        Self { per_second, left: per_second * 1000, at: 0 }
    }

    /// Whether one more may be had at this time, milliseconds, and if so, takes it. A clock that goes back fills nothing.
    #[must_use]
    pub fn take(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(self.at);
        self.at = now;
        self.left =
            self.left.saturating_add(passed.saturating_mul(self.per_second)).min(self.per_second * 1000);
        let has = self.left >= 1000;
        if has {
            self.left -= 1000;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn a_clock_that_jumps_does_no_harm() {
        let mut pace = Pace::per_second(1);
        assert!(pace.take(u64::MAX));
        assert!(!pace.take(5));
        assert!(pace.take(1005), "a second later by the new clock");
        assert!(!pace.take(1006));
    }
}
