//! The node's one clock. Everything that decides takes the time as an argument; the drivers read it here.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp as Calendar;
use parlor_proto::time::Timestamp;

/// The time, as this machine has it.
#[must_use]
pub fn now() -> Timestamp {
    // A clock before 1970 reads as 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default() + since
}

/// As people and JSON see it: RFC 3339, UTC, whole seconds.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    // What a calendar cannot hold (after the year 9999) is shown as its end.
    Calendar::from_second(seconds).unwrap_or(Calendar::MAX).to_string()
}
