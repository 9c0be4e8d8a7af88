//! What a member has of every sender's updates, as one number each.
//!
//! For: deciding what becomes of an update that arrives, what to send to somebody who has less, and how much of one
//! sender is kept. Not for: keeping the updates themselves (the node's database does).
//!
//! The idea: a log is, for each sender, everything from its *base* to its *head*. Updates raise the head one by one.
//! A checkpoint ([`Update::covers`]) raises the base of every sender to the number up to which it covers, and the
//! head too where that is behind: what it covers is let go of, and whoever lacks it never needs it. What is
//! retained depends on the bases and the heads alone, so members who have the same ones have the same updates.
//!
//! How much is retained of one sender is bounded, by number and by the size of the signed items, which are the
//! same everywhere: what one honest member takes, all take.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{MAX_NUMBER, Update};
use crate::identity::PeerId;

/// Most updates of one sender that are retained in one session. Beyond, nothing of that sender is taken until a
/// checkpoint.
pub const MAX_RETAINED: u64 = 100_000;
/// The same by size of the signed items, bytes.
pub const MAX_RETAINED_BYTES: u64 = 64 << 20;

/// For each sender, a number: of its newest update here, say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Heads(pub BTreeMap<PeerId, u64>);

impl Heads {
    /// The number for `sender`; 0 for none.
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

    /// Up to each number of `other`, where that is higher.
    pub fn raise(&mut self, other: &Heads) {
        for (sender, number) in &other.0 {
            let mine = self.0.entry(*sender).or_insert(0);
            *mine = (*mine).max(*number);
        }
    }
}

/// What a log says to an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The next of its sender: keep it, deliver it.
    Append,
    /// A checkpoint: keep it, deliver it, let go of what it covers.
    Checkpoint,
    /// Here already, or replaced by a checkpoint.
    Duplicate,
    /// Some before it are missing: ask whoever brought it.
    Gap,
    /// As much of its sender is retained as may be.
    Full,
}

/// Which updates are here.
#[derive(Debug, Clone, Default)]
pub struct Log {
    heads: Heads,
    bases: Heads,
    /// Size of what is retained.
    bytes: BTreeMap<PeerId, u64>,
}

impl Log {
    /// From what is on disk: up to which numbers checkpoints cover, the newest numbers that are retained, and what the
    /// retained ones of each sender weigh.
    #[must_use]
    pub fn new(mut heads: Heads, bases: Heads, bytes: BTreeMap<PeerId, u64>) -> Self {
        heads.raise(&bases);
        Self { heads, bases, bytes }
    }

    /// What is here, or need not be any more.
    #[must_use]
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// Up to where checkpoints cover.
    #[must_use]
    pub fn bases(&self) -> &Heads {
        &self.bases
    }

    /// The number of the next update of `sender`.
    #[must_use]
    pub fn next(&self, sender: &PeerId) -> u64 {
        self.heads.of(sender) + 1
    }

    /// Whether `size` more bytes of `sender` can be retained, as one update.
    #[must_use]
    pub fn has_room(&self, sender: &PeerId, size: usize) -> bool {
        let bytes = self.bytes.get(sender).copied().unwrap_or(0);
        self.next(sender) - self.bases.of(sender) <= MAX_RETAINED
            && bytes.saturating_add(size as u64) <= MAX_RETAINED_BYTES
    }

    /// What to do with `update`, which weighs `size` as a signed item. `hosts`: who is or was the session's host.
    /// Changes nothing: [`Log::appended`] and [`Log::covered`] do.
    #[must_use]
    pub fn judge(&self, update: &Update, size: usize, hosts: &BTreeSet<PeerId>) -> Verdict {
        let next = self.next(&update.sender);
        if update.number < next {
            return Verdict::Duplicate;
        }
        if update.number > MAX_NUMBER {
            return Verdict::Full;
        }
        if update.covers.is_some() && hosts.contains(&update.sender) {
            return Verdict::Checkpoint;
        }
        match update.number == next {
            true if self.has_room(&update.sender, size) => Verdict::Append,
            true => Verdict::Full,
            false => Verdict::Gap,
        }
    }

    /// The next update of its sender is kept.
    pub fn appended(&mut self, update: &Update, size: usize) {
        self.heads.0.insert(update.sender, update.number);
        *self.bytes.entry(update.sender).or_insert(0) += size as u64;
    }

    /// A checkpoint is kept: it is new, or an update that turned out to be one. Returns whose retained updates have to
    /// be weighed again ([`Log::weighed`]), now that those up to the base are gone; what is left of the others is
    /// known.
    pub fn covered(&mut self, checkpoint: &Update) -> Vec<PeerId> {
        let Some(covers) = &checkpoint.covers else { return Vec::new() };
        self.bases.raise(covers);
        self.heads.raise(covers);
        let head = self.heads.0.entry(checkpoint.sender).or_insert(0);
        *head = (*head).max(checkpoint.number);
        let concerned: BTreeSet<PeerId> = covers.0.keys().copied().chain([checkpoint.sender]).collect();
        let (left, gone): (Vec<_>, Vec<_>) =
            concerned.into_iter().partition(|sender| self.heads.of(sender) > self.bases.of(sender));
        for sender in gone {
            self.bytes.remove(&sender);
        }
        left
    }

    /// What is retained of `sender` weighs so many bytes.
    pub fn weighed(&mut self, sender: PeerId, bytes: u64) {
        self.bytes.insert(sender, bytes);
    }
}
