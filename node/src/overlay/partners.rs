//! Peers in a session with this node: exempt from the connection limits, and called again when lost.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parlor_proto::{identity::PeerId, ids::SessionId};
use tokio::time::Instant;

/// Wait before the first try to get a lost partner back; doubled with every failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(60);

/// How soon to look again when so many are being called that another one has to wait.
const NO_ROOM: Duration = Duration::from_millis(250);

/// As many as this node's own sessions have.
#[derive(Debug, Default)]
pub(crate) struct Partners {
    kept: HashMap<PeerId, Kept>,
    rosters: HashMap<SessionId, HashSet<PeerId>>,
}

#[derive(Debug)]
struct Kept {
    /// How often it was asked for: by how many sessions, say.
    times: usize,
    failures: u32,
    /// When to call it; none while it is connected or being called.
    next: Option<Instant>,
}

impl Partners {
    /// Keeps a connection to this peer from now on; it is called at `now` if it is not connected.
    pub(crate) fn keep(&mut self, peer: PeerId, is_connected: bool, now: Instant) {
        let next = (!is_connected).then_some(now);
        self.kept.entry(peer).or_insert(Kept { times: 0, failures: 0, next }).times += 1;
    }

    /// Undoes one [`Self::keep`].
    pub(crate) fn unkeep(&mut self, peer: &PeerId) {
        let Some(kept) = self.kept.get_mut(peer) else {
            return;
        };
        kept.times -= 1;
        if kept.times == 0 {
            self.kept.remove(peer);
        }
    }

    /// A group has these members. Those that it had.
    pub(crate) fn open(&mut self, session: SessionId, members: &[PeerId]) -> HashSet<PeerId> {
        self.rosters.insert(session, members.iter().copied().collect()).unwrap_or_default()
    }

    /// The members of an open group.
    pub(crate) fn roster(&mut self, session: SessionId) -> Option<&mut HashSet<PeerId>> {
        self.rosters.get_mut(&session)
    }

    /// The members that the group had.
    pub(crate) fn close(&mut self, session: &SessionId) -> HashSet<PeerId> {
        self.rosters.remove(session).unwrap_or_default()
    }

    /// Whether the peer is to be exempt from the connection limits.
    pub(crate) fn has(&self, peer: &PeerId) -> bool {
        self.kept.contains_key(peer) || self.rosters.values().any(|roster| roster.contains(peer))
    }

    pub(crate) fn connected(&mut self, peer: &PeerId) {
        if let Some(kept) = self.kept.get_mut(peer) {
            kept.failures = 0;
            kept.next = None;
        }
    }

    /// The last connection is gone, or a call failed.
    pub(crate) fn lost(&mut self, peer: &PeerId, now: Instant) {
        if let Some(kept) = self.kept.get_mut(peer) {
            let wait = FIRST.saturating_mul(1 << kept.failures.min(16)).min(LONGEST);
            kept.failures = kept.failures.saturating_add(1);
            kept.next = Some(now + wait);
        }
    }

    /// When the next one is to be called.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.kept.values().filter_map(|kept| kept.next).min()
    }

    /// Those to be called now, at most `room`: who waits for longest first. Each then waits for [`Self::connected`] or
    /// [`Self::lost`].
    pub(crate) fn due(&mut self, now: Instant, room: usize) -> Vec<PeerId> {
        let is_due = |(_, kept): &(&PeerId, &mut Kept)| kept.next.is_some_and(|next| next <= now);
        let mut due: Vec<_> = self.kept.iter_mut().filter(is_due).collect();
        due.sort_by_key(|(_, kept)| kept.next);
        for (_, kept) in due.iter_mut().skip(room) {
            kept.next = Some(now + NO_ROOM);
        }
        due.truncate(room);
        due.into_iter()
            .map(|(peer, kept)| {
                kept.next = None;
                *peer
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use parlor_proto::identity::Identity;

    use super::*;

    #[test]
    fn a_lost_partner_is_called_again_ever_less_often_until_it_is_back() {
        let peer = Identity::from_seed(&[1; 32]).peer();
        let start = Instant::now();
        let mut partners = Partners::default();
        partners.keep(peer, false, start);
        assert_eq!(partners.due(start, 9), [peer]);
        assert_eq!(partners.next(), None, "it is being called");
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..10 {
            partners.lost(&peer, now);
            let next = partners.next().unwrap_or(now);
            waits.push(next - now);
            assert!(partners.due(next - Duration::from_millis(1), 9).is_empty());
            assert_eq!(partners.due(next, 9), [peer]);
            now = next;
        }
        assert_eq!((waits[0], waits[1], waits[9]), (FIRST, 2 * FIRST, LONGEST));
        partners.connected(&peer);
        partners.lost(&peer, now);
        assert_eq!(partners.next(), Some(now + FIRST), "once back, it starts over");
        partners.keep(peer, false, now);
        partners.unkeep(&peer);
        assert!(partners.next().is_some(), "another session still wants it");
        partners.unkeep(&peer);
        assert_eq!(partners.next(), None);
        partners.unkeep(&peer);
    }

    #[test]
    fn only_so_many_are_called_at_a_time_and_all_in_turn() {
        let mut partners = Partners::default();
        let mut now = Instant::now();
        let all: HashSet<PeerId> = (0..50).map(|seed| Identity::from_seed(&[seed; 32]).peer()).collect();
        all.iter().for_each(|peer| partners.keep(*peer, false, now));
        let mut called = HashSet::new();
        for _ in 0..5 {
            let due = partners.due(now, 10);
            assert_eq!(due.len(), 10);
            called.extend(due);
            assert!(partners.due(now, 0).is_empty());
            now = partners.next().unwrap_or(now);
        }
        assert_eq!(called, all);
    }

    #[test]
    fn partners_are_those_kept_and_those_in_a_group() {
        let peer = Identity::from_seed(&[1; 32]).peer();
        let [one, other] = [1, 2].map(|number| SessionId([number; 16]));
        let mut partners = Partners::default();
        partners.open(one, &[peer]);
        partners.open(other, &[peer]);
        partners.close(&one);
        assert!(partners.has(&peer));
        partners.close(&other);
        assert!(!partners.has(&peer));
    }
}
