//! How much one member may say, in each lane.
//!
//! For: [`Allowance`], two budgets (messages and bytes) that refill with time; [`Limits`], the numbers that hold in a
//! group. Not for: what becomes of what is too much (the node drops it, or waits), nor for how much is kept (see
//! [`super::Log`]).
//!
//! The idea: token buckets, with the same numbers at both ends. A sender's own node holds back first; whoever
//! receives more than that has to do with somebody who does not, and drops it unread: updates can be pulled later, at
//! the puller's pace. Time is an argument; a clock that goes back refills nothing.

use std::time::Duration;

use super::lanes::Lane;
use crate::time::Timestamp;

/// So much a second in the long run, and so much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Greater than 0.
    pub per_second: u32,
    /// The most at once; nothing larger ever passes.
    pub burst: u32,
}

/// What one member may say in one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// By number.
    pub messages: Rate,
    /// By size of the frames, bytes.
    pub bytes: Rate,
}

const MIB: u32 = 1 << 20;

impl Limits {
    /// Of a lane.
    #[must_use]
    pub fn of(lane: Lane) -> Self {
        let (messages, bytes) = match lane {
            Lane::Updates => ((100, 2_000), (MIB, 16 * MIB)),
            Lane::Realtime => ((240, 480), (4 * MIB, 8 * MIB)),
            Lane::Control => ((2, 8), (1_024, 4_096)),
        };
        let rate = |(per_second, burst)| Rate { per_second, burst };
        Self { messages: rate(messages), bytes: rate(bytes) }
    }
}

/// One budget. In thousandths of a unit, so that milliseconds refill it evenly.
#[derive(Debug, Clone)]
struct Bucket {
    rate: Rate,
    left: u64,
}

impl Bucket {
    fn full(rate: Rate) -> Self {
        Self { rate, left: Self::thousandths(rate.burst) }
    }

    fn thousandths(units: u32) -> u64 {
        u64::from(units) * 1_000
    }

    fn refill(&mut self, since: Duration) {
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let gained = millis.saturating_mul(u64::from(self.rate.per_second));
        self.left = self.left.saturating_add(gained).min(Self::thousandths(self.rate.burst));
    }

    /// How many milliseconds until it has so many units, were it not to be spent meanwhile.
    fn until(&self, units: u32) -> u64 {
        let wanted = Self::thousandths(units.min(self.rate.burst));
        wanted.saturating_sub(self.left).div_ceil(u64::from(self.rate.per_second.max(1)))
    }
}

/// What one member has left to say, in one lane.
#[derive(Debug, Clone)]
pub struct Allowance {
    messages: Bucket,
    bytes: Bucket,
    at: Timestamp,
}

impl Allowance {
    /// All of it.
    #[must_use]
    pub fn new(limits: Limits, now: Timestamp) -> Self {
        Self { messages: Bucket::full(limits.messages), bytes: Bucket::full(limits.bytes), at: now }
    }

    /// One message of `len` bytes: whether it passes. One that does not costs nothing.
    pub fn spend(&mut self, len: usize, now: Timestamp) -> bool {
        let since = now.since(self.at);
        self.messages.refill(since);
        self.bytes.refill(since);
        self.at = now;
        let Ok(len) = u32::try_from(len) else { return false };
        let cost = Bucket::thousandths(len);
        let passes = self.messages.left >= 1_000 && self.bytes.left >= cost;
        if passes {
            self.messages.left -= 1_000;
            self.bytes.left -= cost;
        }
        passes
    }

    /// What was spent on a message of `len` bytes, which turned out to count for nothing, is given back.
    pub fn refund(&mut self, len: usize) {
        let bytes = u32::try_from(len).unwrap_or(0);
        for (bucket, units) in [(&mut self.messages, 1), (&mut self.bytes, bytes)] {
            let most = Bucket::thousandths(bucket.rate.burst);
            bucket.left = (bucket.left + Bucket::thousandths(units)).min(most);
        }
    }

    /// How long after the last [`Allowance::spend`] one of `len` bytes would pass.
    #[must_use]
    pub fn wait(&self, len: usize) -> Duration {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Duration::from_millis(self.messages.until(1).max(self.bytes.until(len)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const START: Timestamp = Timestamp(1_000_000);

    fn limits() -> Limits {
        Limits { messages: Rate { per_second: 10, burst: 3 }, bytes: Rate { per_second: 100, burst: 50 } }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut left = Allowance::new(limits(), START);
        assert!((0..3).all(|_| left.spend(0, START)));
        assert!(!left.spend(0, START));
        assert_eq!(left.wait(0), Duration::from_millis(100));
        assert!(!left.spend(0, START + Duration::from_millis(99)));
        assert!(left.spend(0, START + Duration::from_millis(100)));
        let later = START + Duration::from_secs(60);
        assert!((0..3).all(|_| left.spend(0, later)), "full again");
        assert!(!left.spend(0, later), "and no fuller than full");
    }

    #[test]
    fn bytes_count_as_well_and_what_does_not_pass_costs_nothing() {
        let mut left = Allowance::new(limits(), START);
        assert!(!left.spend(51, START), "more than ever passes");
        assert!(left.spend(50, START));
        assert!(!left.spend(20, START));
        assert_eq!(left.wait(20), Duration::from_millis(200));
        assert!(left.spend(20, START + left.wait(20)));
        assert!(!left.spend(usize::MAX, START + Duration::from_secs(60)));
    }

    #[test]
    fn what_is_given_back_can_be_spent_again_and_no_more() {
        let mut left = Allowance::new(limits(), START);
        assert!(left.spend(50, START) && !left.spend(1, START));
        left.refund(50);
        left.refund(50);
        assert!(left.spend(25, START) && left.spend(25, START) && !left.spend(1, START));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_and_takes_nothing_away() {
        let mut left = Allowance::new(limits(), START);
        assert!((0..3).all(|_| left.spend(0, START)));
        assert!(!left.spend(0, Timestamp(0)));
        assert!(left.spend(0, Timestamp(100)));
    }

    #[test]
    fn the_largest_message_of_each_lane_passes() {
        use crate::group::lanes::{MAX_PLAINTEXT, OVERHEAD};
        for (lane, len) in [
            (Lane::Updates, MAX_PLAINTEXT + OVERHEAD + 1),
            (Lane::Realtime, MAX_PLAINTEXT + OVERHEAD + 1),
            (Lane::Control, crate::group::MAX_CONTROL + OVERHEAD + 1),
        ] {
            assert!(Allowance::new(Limits::of(lane), START).spend(len, START), "{lane:?}");
        }
    }

    proptest! {
        #[test]
        fn no_more_passes_than_a_burst_and_the_rate(steps in vec((0..500_u64, 0..80_usize), 0..200)) {
            let (mut left, mut now) = (Allowance::new(limits(), START), START);
            let (mut messages, mut bytes) = (0, 0);
            for (pause, len) in steps {
                now = now + Duration::from_millis(pause);
                if left.spend(len, now) {
                    (messages, bytes) = (messages + 1, bytes + len as u64);
                } else if len <= 50 {
                    prop_assert!(left.clone().spend(len, now + left.wait(len)), "the wait is long enough");
                }
            }
            let millis = now.since(START).as_millis() as u64;
            prop_assert!(messages <= 3 + millis * 10 / 1_000);
            prop_assert!(bytes <= 50 + millis * 100 / 1_000);
        }
    }
}
