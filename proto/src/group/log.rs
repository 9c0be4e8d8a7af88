//! What a member has of every sender's updates, as one number each.
//!
//! For: deciding what becomes of an update that arrives, and what to send to somebody who has less. Not for:
//! keeping the updates themselves (the node's database does).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Update;
use crate::identity::PeerId;

/// Most updates of one sender in one session. Beyond, nothing of that sender is taken any more.
pub const MAX_NUMBER: u64 = 1_000_000;

/// For each sender, the number of its newest update here: all up to it are here too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Heads(pub BTreeMap<PeerId, u64>);

impl Heads {
    /// The number of the newest update of `sender`; 0 for none.
    #[must_use]
    pub fn of(&self, sender: &PeerId) -> u64 {
        self.0.get(sender).copied().unwrap_or(0)
    }

    /// For whom `self` has more than `other`, and after which number.
    pub fn ahead_of<'a>(&'a self, other: &'a Heads) -> impl Iterator<Item = (PeerId, u64)> + 'a {
        self.0.iter().filter_map(|(sender, head)| {
            let theirs = other.of(sender);
            (*head > theirs).then_some((*sender, theirs))
        })
    }
}

/// What a log says to an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The next of its sender: keep it, deliver it.
    Append,
    /// Here already.
    Duplicate,
    /// Some before it are missing: ask whoever brought it.
    Gap,
    /// Its sender has said too much.
    TooMany,
}

/// Which updates are here.
#[derive(Debug, Clone, Default)]
pub struct Log {
    heads: Heads,
}

impl Log {
    /// From what is on disk.
    #[must_use]
    pub fn new(heads: Heads) -> Self {
        Self { heads }
    }

    /// What is here.
    #[must_use]
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// The number of the next update of `sender`.
    #[must_use]
    pub fn next(&self, sender: &PeerId) -> u64 {
        self.heads.of(sender) + 1
    }

    /// What to do with `update`. Changes nothing: [`Log::appended`] does, once the update is on disk.
    #[must_use]
    pub fn judge(&self, update: &Update) -> Verdict {
        let next = self.next(&update.sender);
        match update.number {
            number if number > MAX_NUMBER => Verdict::TooMany,
            number if number == next => Verdict::Append,
            number if number < next => Verdict::Duplicate,
            _ => Verdict::Gap,
        }
    }

    /// The next update of `sender` is on disk.
    pub fn appended(&mut self, sender: PeerId) {
        *self.heads.0.entry(sender).or_insert(0) += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::Identity, ids::SessionId, time::Timestamp};

    fn update(sender: PeerId, number: u64) -> Update {
        let session = SessionId([1; 16]);
        Update { session, sender, number, at: Timestamp(0), payload: b"x".to_vec() }
    }

    #[test]
    fn each_sender_has_its_own_order() {
        let (a, b) = (Identity::from_seed(&[1; 32]).peer(), Identity::from_seed(&[2; 32]).peer());
        let mut log = Log::default();
        assert_eq!(log.judge(&update(a, 1)), Verdict::Append);
        log.appended(a);
        assert_eq!(log.judge(&update(a, 1)), Verdict::Duplicate);
        assert_eq!(log.judge(&update(a, 3)), Verdict::Gap);
        assert_eq!(log.judge(&update(b, 1)), Verdict::Append);
        assert_eq!(log.judge(&update(b, 0)), Verdict::Duplicate, "numbers start at 1");
    }

    #[test]
    fn vectors_show_what_the_other_lacks() {
        let (a, b) = (Identity::from_seed(&[1; 32]).peer(), Identity::from_seed(&[2; 32]).peer());
        let mine = Heads([(a, 5), (b, 2)].into());
        let theirs = Heads([(a, 3), (b, 2)].into());
        assert_eq!(mine.ahead_of(&theirs).collect::<Vec<_>>(), [(a, 3)]);
        assert_eq!(theirs.ahead_of(&mine).count(), 0);
    }
}
