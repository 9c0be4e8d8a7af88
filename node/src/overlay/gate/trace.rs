//! What the log says of those who were refused.
//!
//! For: a line for whoever wonders why, or who tried. Not for: decisions; those are made by then.
//!
//! The idea: a refused peer chooses how often it is refused, and must not choose how long the log gets. So of
//! one kind of refusal there is at most a line a second for each group, with the number of those left out.

use std::time::Instant;

use libp2p::PeerId;
use parlor_proto::ids::SessionId;

use crate::log_pace::LogPace;

/// Why something did not get through the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A peer that is no member (any more, or not yet as far as this node knows) takes itself for one.
    Stranger,
    /// A member passed on the message of one who is none; it may know more than this node.
    Foreign,
    /// More than one member may say, whoever passed it on.
    TooMuch,
    /// No node of ours sends messages this large.
    TooLarge,
    /// No node of ours sends realtime frames like this.
    Garbled,
    /// Not the peer's fault: it is slower than realtime, so the oldest messages to it made room.
    Slow,
}

/// Of one group.
#[derive(Debug, Default)]
pub(super) struct Refusals([LogPace; 6]);

impl Refusals {
    /// Notes it in the log, unless that has just been done. A warning is what only a rogue does.
    pub(super) fn tell(&mut self, session: SessionId, peer: PeerId, what: Refusal) {
        let Some(untold) = self.due(what, Instant::now()) else {
            return;
        };
        match what {
            Refusal::Stranger => {
                tracing::debug!(%session, %peer, untold, "refused: it is no member of the group");
            }
            Refusal::Foreign => {
                tracing::debug!(%session, %peer, untold, "refused: it passed on a message of no member's");
            }
            Refusal::TooMuch => {
                tracing::warn!(%session, %peer, untold, "refused: it is more than its author may say");
            }
            Refusal::TooLarge => tracing::warn!(%session, %peer, untold, "refused: a message is too large"),
            Refusal::Garbled => {
                tracing::warn!(%session, %peer, untold, "refused: what came over a realtime stream is no message");
            }
            Refusal::Slow => {
                tracing::debug!(%session, %peer, untold, "a member is too slow: realtime messages dropped");
            }
        }
    }

    /// How many were left out since the last line, if there is to be one now.
    fn due(&mut self, what: Refusal, now: Instant) -> Option<u64> {
        self.0[what as usize].due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_pace::PAUSE;

    #[test]
    fn who_is_refused_often_does_not_fill_the_log() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        assert_eq!(refusals.due(Refusal::Garbled, start), Some(0));
        for _ in 0..1000 {
            assert_eq!(refusals.due(Refusal::Garbled, start + PAUSE / 2), None);
        }
        // Another kind has its own line.
        assert_eq!(refusals.due(Refusal::Slow, start + PAUSE / 2), Some(0));
        assert_eq!(refusals.due(Refusal::Garbled, start + PAUSE), Some(1000));
        assert_eq!(refusals.due(Refusal::Garbled, start + 3 * PAUSE), Some(0));
    }
}
