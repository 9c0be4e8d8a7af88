//! What the log says of other nodes that say or ask what is not theirs to.
//!
//! For: a line for whoever wonders why, or who tried. Not for: decisions; those are made by then.
//!
//! The idea: whoever is refused chooses how often it is refused, and must not choose how long the log gets. So of one
//! kind there is at most a line a second, with the number of those left out.

use std::time::Instant;

use parlor_proto::{identity::PeerId, ids::SessionId, session::step::Refused};

use crate::log_pace::LogPace;

/// What another node tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Odd {
    /// To speak in a session in which it is no partner; while hosts change, an honest one may.
    Stranger,
    /// To get a group's commits; who was just removed may not know yet.
    Commits,
    /// To get a vote; rosters may differ for a moment.
    Vote,
    /// To open a link that does not open for it; who was too slow is honest.
    Link,
    /// To be host, without evidence.
    Claim,
    /// As host, to have somebody in the group whose slot does not stand up.
    Roster,
    /// To change the group's keys by a commit that does not stand up.
    Commit,
}

impl From<Refused> for Odd {
    fn from(what: Refused) -> Self {
        match what {
            Refused::Claim => Self::Claim,
            Refused::Roster => Self::Roster,
            Refused::Commit => Self::Commit,
        }
    }
}

/// Of all sessions of this node.
#[derive(Debug, Default)]
pub(super) struct Oddities([LogPace; 7]);

impl Oddities {
    /// Notes it in the log, unless that has just been done. A warning is what no honest node does.
    pub(super) fn tell(&mut self, session: SessionId, from: PeerId, what: Odd) {
        let Some(untold) = self.due(what, Instant::now()) else {
            return;
        };
        match what {
            Odd::Stranger => {
                tracing::debug!(%session, %from, untold, "refused: who speaks is no partner in the session");
            }
            Odd::Commits => {
                tracing::debug!(%session, %from, untold, "refused: who asks for commits is not in the group");
            }
            Odd::Vote => {
                tracing::debug!(%session, %from, untold, "refused: who asks for a vote is not in the group");
            }
            Odd::Link => {
                tracing::debug!(%session, %from, untold, "refused: a link does not open for who shows it");
            }
            Odd::Claim => {
                tracing::warn!(%session, %from, untold, "refused: a claim to be host does not convince");
            }
            Odd::Commit => {
                tracing::warn!(%session, %from, untold, "refused: a change of the group's keys does not stand up");
            }
            Odd::Roster => {
                tracing::warn!(%session, %from, untold, "left out: the host names members without a slot of theirs");
            }
        }
    }

    /// How many were left out since the last line, if there is to be one now.
    fn due(&mut self, what: Odd, now: Instant) -> Option<u64> {
        self.0[what as usize].due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_pace::PAUSE;

    #[test]
    fn who_tries_often_does_not_fill_the_log() {
        let (mut oddities, start) = (Oddities::default(), Instant::now());
        assert_eq!(oddities.due(Odd::Claim, start), Some(0));
        for _ in 0..1_000 {
            assert_eq!(oddities.due(Odd::Claim, start + PAUSE / 2), None);
        }
        assert_eq!(oddities.due(Odd::Vote, start + PAUSE / 2), Some(0), "another kind has its own line");
        assert_eq!(oddities.due(Odd::Claim, start + PAUSE), Some(1_000));
    }
}
