//! Where the opening of one stream stands, and when it is tried again.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Sleep;

/// Wait before a refused stream is tried again; doubled each time up to [`RETRY_MAX`]. It is the fallback:
/// normally the other side's *ready* comes first.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Where the opening of a stream stands.
pub(super) enum Attempt {
    /// Not wanted.
    Idle,
    /// Wanted as soon as possible.
    Due,
    /// Under way.
    Asked,
    /// Refused or failed; wanted later.
    Waiting(Pin<Box<Sleep>>),
    /// Negotiated.
    Open,
}

impl Attempt {
    /// After so many refusals before this one.
    pub(super) fn later(refusals: u32) -> Self {
        let wait = RETRY_FIRST.saturating_mul(1 << refusals.min(16));
        Self::Waiting(Box::pin(tokio::time::sleep(wait.min(RETRY_MAX))))
    }

    /// Whether the stream is to be asked for now; then it counts as asked for.
    pub(super) fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let due = match self {
            Self::Due => true,
            Self::Waiting(timer) => matches!(timer.as_mut().poll(cx), Poll::Ready(())),
            Self::Idle | Self::Asked | Self::Open => false,
        };
        if due {
            *self = Self::Asked;
        }
        due
    }
}
