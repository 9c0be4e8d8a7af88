//! A node's own clock: wrong, running a little too fast or too slow, and set now and then.

use parlor_proto::time::Timestamp;

/// What a clock that is right shows when a run begins.
pub(super) const START: Timestamp = Timestamp(1_800_000_000_000);

const MILLION: i128 = 1_000_000;

/// How far a clock is off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// Ahead of the true time, ms.
    pub(super) offset: i64,
    /// Too fast, millionths.
    pub(super) drift: i64,
}

impl Clock {
    /// What it shows at `now`, ms since the run began.
    pub(super) fn shows(&self, now: u64) -> Timestamp {
        let drifted = i128::from(now) * (MILLION + i128::from(self.drift)) / MILLION;
        let shown = i128::from(START.0) + i128::from(self.offset) + drifted;
        Timestamp(u64::try_from(shown).unwrap_or(0))
    }

    /// When it will show `due`: after `now` in any case.
    pub(super) fn when(&self, due: Timestamp, now: u64) -> u64 {
        let ahead = u128::from(due.0.saturating_sub(self.shows(now).0));
        let rate = (MILLION + i128::from(self.drift)).unsigned_abs();
        let wait = ahead * MILLION.unsigned_abs() / rate + 1;
        now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}
