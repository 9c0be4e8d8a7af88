//! Questions to rendezvous points: where is this peer now?
//!
//! For: which point is being asked about whom, one question after the other. Not for: what becomes of an answer (see
//! `driver`).
//!
//! The idea: every relay is a rendezvous point too. A node registers at its own relays, under a name that only those can
//! form who know its peer id; who looks for it asks at the relays that both may have in common, and at those that its last
//! known addresses lead through. So addresses change, and a contact does not. What a point says is signed by the peer that
//! it is about; a point that pours out more than was asked for is not asked again.

use std::collections::{HashMap, HashSet, VecDeque};

use parlor_proto::identity::PeerId;

/// Questions that wait for one point, at most. Of the next ones nothing comes.
const MAX_QUESTIONS: usize = 64;
/// Points that are asked at the same time, or not asked any more, at most.
const MAX_POINTS: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    /// By point; the first question of each is under way, or waits for a connection.
    open: HashMap<PeerId, VecDeque<PeerId>>,
    floods: HashSet<PeerId>,
}

impl Searches {
    /// A question to a point. Whether it is the first one, so that the point is to be called.
    pub(crate) fn ask(&mut self, point: PeerId, about: PeerId) -> bool {
        let is_new = !self.open.contains_key(&point);
        if self.floods.contains(&point) || (is_new && self.open.len() >= MAX_POINTS) {
            return false;
        }
        let questions = self.open.entry(point).or_default();
        if questions.len() < MAX_QUESTIONS && !questions.contains(&about) {
            questions.push_back(about);
        }
        is_new
    }

    /// What to ask this point now.
    pub(crate) fn question(&self, point: &PeerId) -> Option<PeerId> {
        self.open.get(point)?.front().copied()
    }

    /// Whom this point is asked about, or is to be.
    pub(crate) fn questions(&self, point: &PeerId) -> Vec<PeerId> {
        self.open.get(point).into_iter().flatten().copied().collect()
    }

    /// A point has answered its question: whom that was about.
    pub(crate) fn answered(&mut self, point: &PeerId) -> Option<PeerId> {
        let questions = self.open.get_mut(point)?;
        let about = questions.pop_front();
        if questions.is_empty() {
            self.open.remove(point);
        }
        about
    }

    /// A point cannot be reached: whom it was to be asked about.
    pub(crate) fn failed(&mut self, point: &PeerId) -> Vec<PeerId> {
        self.open.remove(point).unwrap_or_default().into()
    }

    /// A point does not answer questions but pours. Whom it was to be asked about.
    pub(crate) fn flooded(&mut self, point: PeerId) -> Vec<PeerId> {
        if self.floods.len() >= MAX_POINTS {
            self.floods.clear();
        }
        self.floods.insert(point);
        self.failed(&point)
    }

    /// Whether somebody is being asked about this peer.
    pub(crate) fn is_about(&self, peer: &PeerId) -> bool {
        self.open.values().any(|questions| questions.contains(peer))
    }

    pub(crate) fn has_point(&self, peer: &PeerId) -> bool {
        self.open.contains_key(peer)
    }
}

#[cfg(test)]
mod tests {
    use parlor_proto::identity::Identity;

    use super::*;

    fn peer(number: u16) -> PeerId {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        Identity::from_seed(&seed).peer()
    }

    #[test]
    fn a_point_is_asked_one_question_after_the_other() {
        let mut searches = Searches::default();
        assert!(searches.ask(peer(0), peer(1)));
        assert!(!searches.ask(peer(0), peer(2)), "it waits its turn");
        assert!(!searches.ask(peer(0), peer(1)), "it is being asked already");
        assert_eq!(searches.questions(&peer(0)), [peer(1), peer(2)]);
        assert_eq!(searches.question(&peer(0)), Some(peer(1)));
        assert_eq!(searches.answered(&peer(0)), Some(peer(1)));
        assert!(!searches.is_about(&peer(1)) && searches.is_about(&peer(2)));
        assert_eq!(searches.failed(&peer(0)), [peer(2)]);
        assert!(searches.ask(peer(0), peer(1)), "from the beginning");
    }

    #[test]
    fn a_point_that_pours_is_not_asked_again() {
        let mut searches = Searches::default();
        searches.ask(peer(0), peer(1));
        assert_eq!(searches.flooded(peer(0)), [peer(1)]);
        assert!(!searches.ask(peer(0), peer(1)));
        assert!(!searches.is_about(&peer(1)));
    }

    #[test]
    fn only_so_many_questions_wait() {
        let mut searches = Searches::default();
        for number in 1..=2 * MAX_QUESTIONS as u16 {
            searches.ask(peer(0), peer(number));
        }
        assert_eq!(searches.failed(&peer(0)).len(), MAX_QUESTIONS);
    }
}
