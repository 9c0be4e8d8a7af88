//! The newest of a group's commits, kept for members that missed them.
//!
//! For: letting a member that was away catch up from anybody in the group, so that messaging does not hang on
//! the host. Not for: the commits themselves, nor the keys that they lead to: see [`crate::group::keys`].

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::message::Change;

/// Most commits kept. Who missed more is let in anew.
pub const MAX_COMMITS: usize = 64;
/// What they may weigh together, bytes.
pub const MAX_COMMITS_SIZE: usize = 256 << 10;
/// Most commits in one answer.
pub const MAX_COMMITS_SENT: usize = 32;
/// What the commits of one answer may weigh together, bytes; one alone may weigh more.
pub const MAX_COMMITS_SENT_SIZE: usize = 128 << 10;

/// Commits of one term, in order and without gaps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CommitLog {
    changes: VecDeque<Change>,
}

impl CommitLog {
    /// Adds the next one; the oldest give way.
    pub fn push(&mut self, change: Change) {
        self.changes.push_back(change);
        while self.changes.len() > MAX_COMMITS || (self.changes.len() > 1 && self.size() > MAX_COMMITS_SIZE) {
            self.changes.pop_front();
        }
    }

    /// What leads on from `epoch`, as much as fits into one answer; nothing if the next one is not here.
    #[must_use]
    pub fn after(&self, epoch: u64) -> Vec<Change> {
        let next = self.changes.iter().position(|change| Some(change.commit.epoch) == epoch.checked_add(1));
        let Some(next) = next else { return Vec::new() };
        let mut size = 0;
        let fits = |change: &&Change| {
            let first = size == 0;
            size += weight(change);
            first || size <= MAX_COMMITS_SENT_SIZE
        };
        self.changes.range(next..).take(MAX_COMMITS_SENT).take_while(fits).cloned().collect()
    }

    fn size(&self) -> usize {
        self.changes.iter().map(weight).sum()
    }
}

fn weight(change: &Change) -> usize {
    let slots = change.added.iter().map(|entry| entry.slot.as_ref().map_or(0, |slot| slot.bytes().len()));
    change.commit.bytes.len() + slots.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::keys::Commit;

    fn change(epoch: u64, size: usize) -> Change {
        Change { commit: Commit { epoch, bytes: vec![0; size] }, added: Vec::new() }
    }

    #[test]
    fn the_oldest_give_way() {
        let mut log = CommitLog::default();
        (1..=MAX_COMMITS as u64 + 5).for_each(|epoch| log.push(change(epoch, 1)));
        assert!(log.after(4).is_empty(), "5 is gone");
        assert_eq!(log.after(5).len(), MAX_COMMITS_SENT);
        assert!(log.after(MAX_COMMITS as u64 + 5).is_empty(), "nothing newer");
        assert!(log.after(u64::MAX).is_empty(), "whatever is asked");
    }

    #[test]
    fn neither_the_log_nor_an_answer_grows_without_bound() {
        let mut log = CommitLog::default();
        (1..=20).for_each(|epoch| log.push(change(epoch, MAX_COMMITS_SIZE / 10)));
        assert_eq!(log.changes.len(), 10);
        assert_eq!(log.after(10).len(), MAX_COMMITS_SENT_SIZE / (MAX_COMMITS_SIZE / 10));
        log.push(change(21, MAX_COMMITS_SIZE));
        assert_eq!(log.after(20).len(), 1, "one alone may be large");
    }
}
