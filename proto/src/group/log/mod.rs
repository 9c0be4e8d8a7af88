//! What a member has of every chain of updates, and what comes next.
//!
//! For: deciding what becomes of an update that arrives, what this node's next update names, what to send to somebody
//! who has less, and how much of one sender is kept. Not for: keeping the updates themselves (the node's database
//! does), nor for those that wait ([`pending`]).
//!
//! The idea: a log is, for each chain, everything from its *base* to its *head*. An update is taken once the one before
//! it and all that it names are here; so what is here is at every moment closed under "its sender had seen", and the
//! order in which it was taken respects that. The *frontier* are the heads that no other update here names: what this
//! node's next update names.
//!
//! A checkpoint of the host ([`Update::covers`]) raises the base of every chain to the number up to which it covers:
//! what it covers is let go of. It waits, as any update, until all that it covers is here. Whoever lacks some of it,
//! when nobody has it any more, *jumps*: its head is raised too ([`Log::jumped`]). A jump follows the word of whoever
//! answers a pull; if that was a lie, the next checkpoint that counts puts it right.
//!
//! How much is retained of one sender is bounded, by number and by the size of the signed items, which are the
//! same everywhere: what one honest member takes, all take.

mod pending;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use self::pending::{MAX_HELD, MAX_HELD_BYTES, Pending};
use super::{Chain, Covers, Heads, Link, MAX_AFTER, MAX_NUMBER, Update};
use crate::{
    identity::PeerId,
    ids::{SessionId, UpdateHash},
    rights::Verified,
    time::Timestamp,
};

/// Most updates of one sender that are retained in one session. Beyond, nothing of that sender is taken until a
/// checkpoint.
pub const MAX_RETAINED: u64 = 100_000;
/// The same by size of the signed items, bytes.
pub const MAX_RETAINED_BYTES: u64 = 64 << 20;
/// Most chains of one sender. Beyond, it cannot begin another.
pub const MAX_CHAINS: usize = 16;

/// The hash of an update that was never here, and that no checkpoint names.
const UNKNOWN: UpdateHash = UpdateHash([0; 32]);

/// Who is host, and who was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// The host of now, and its term.
    pub now: Option<(PeerId, u32)>,
    /// Everyone who is or was host.
    pub ever: BTreeSet<PeerId>,
}

impl Hosts {
    /// Whether `update` is a checkpoint that counts as it comes: of the host, made in its term.
    #[must_use]
    pub fn count(&self, update: &Update) -> bool {
        let term = update.covers.as_ref().map(|covers| covers.term);
        term.is_some() && self.now == term.map(|term| (update.sender(), term))
    }

    /// Whether one that somebody else counts can be a checkpoint of an earlier or this term.
    #[must_use]
    pub fn may_have_counted(&self, update: &Update) -> bool {
        let newest = self.now.map(|(_, term)| term);
        let term = update.covers.as_ref().map(|covers| covers.term);
        term.is_some() && term <= newest && self.ever.contains(&update.sender())
    }
}

/// What a log says to an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All that it names is here: keep it, deliver it.
    Append,
    /// A checkpoint, the same way: keep it, deliver it, let go of what it covers.
    Checkpoint,
    /// Here already, or replaced by a checkpoint.
    Duplicate,
    /// Another update with its number is here: its sender said two things.
    Fork,
    /// Something that it names is missing: hold it back, ask for that.
    Waits,
    /// As much of its sender is retained as may be.
    Full,
    /// Not deeper than the one before it in its chain, as no honest node makes one.
    Shallow,
}

/// The newest update of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tip {
    hash: UpdateHash,
    /// 0 if it is not known: of one that was never here.
    depth: u64,
}

/// Up to where checkpoints cover a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// The newest that is covered.
    pub number: u64,
    /// Its hash.
    pub hash: UpdateHash,
    /// Set if this node has not had all of it: how far it had come by itself.
    pub had: Option<u64>,
}

/// What of a log is on disk beside the updates.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// The newest update that is retained of each chain.
    pub newest: Vec<Verified<Update>>,
    /// Up to where checkpoints cover.
    pub bases: BTreeMap<Chain, Base>,
    /// What the retained updates of each sender weigh, bytes.
    pub bytes: BTreeMap<PeerId, u64>,
    /// [`Log::depth`].
    pub depth: u64,
    /// The checkpoint to which this node has jumped last, if that is retained.
    pub landed: Option<Link>,
}

/// What follows from a checkpoint for what is on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetGo {
    /// Whose retained updates have to be weighed again ([`Log::weighed`]); what is left of the others is known.
    pub weigh: Vec<PeerId>,
    /// Chains that went back, and to which number: what comes after it is void.
    pub back: Vec<(Chain, u64)>,
}

/// Which updates are here.
#[derive(Debug, Clone, Default)]
pub struct Log {
    heads: Heads,
    bases: BTreeMap<Chain, Base>,
    tips: BTreeMap<Chain, Tip>,
    /// Chains whose head no other update here names.
    frontier: BTreeSet<Chain>,
    /// Size of what is retained.
    bytes: BTreeMap<PeerId, u64>,
    depth: u64,
    /// The checkpoint to which this node has jumped last.
    landed: Option<Link>,
}

impl Log {
    /// From what is on disk. The frontier may then hold more than before: what only an update that is not the newest of
    /// its chain names. This node's next update names it once more, which does no harm.
    #[must_use]
    pub fn new(saved: Saved) -> Self {
        let Saved { newest, bases, bytes, depth, landed } = saved;
        let mut log = Self { bytes, depth, landed, ..Self::default() };
        for (chain, base) in &bases {
            log.heads.raise(*chain, base.number);
            log.tips.insert(*chain, Tip { hash: base.hash, depth: 0 });
        }
        log.bases = bases;

        for update in &newest {
            log.heads.raise(update.chain, update.number);
            log.tips.insert(update.chain, Tip { hash: update.hash(), depth: update.depth });
            log.depth = log.depth.max(update.depth);
        }
        log.frontier = newest.iter().map(|update| update.chain).collect();
        for link in newest.iter().flat_map(|update| update.links()) {
            log.named(&link);
        }
        log
    }

    /// What is here, or need not be any more.
    #[must_use]
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// Up to where checkpoints cover.
    #[must_use]
    pub fn bases(&self) -> &BTreeMap<Chain, Base> {
        &self.bases
    }

    /// Up to which number checkpoints cover a chain.
    #[must_use]
    pub fn base(&self, chain: &Chain) -> u64 {
        self.bases.get(chain).map_or(0, |base| base.number)
    }

    /// The depth of the deepest update that ever was here.
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.depth
    }

    /// The number of the next update of a chain.
    #[must_use]
    pub fn next(&self, chain: impl Into<Chain>) -> u64 {
        self.heads.of(chain) + 1
    }

    /// The name of the newest update of a chain.
    #[must_use]
    pub fn head(&self, chain: &Chain) -> Option<Link> {
        let tip = self.tips.get(chain)?;
        Some(Link { chain: *chain, number: self.heads.of(chain), hash: tip.hash })
    }

    /// The newest of each chain of `sender`.
    #[must_use]
    pub fn heads_of(&self, sender: &PeerId) -> Vec<Link> {
        self.chains_of(sender).filter_map(|chain| self.head(chain)).collect()
    }

    fn chains_of(&self, sender: &PeerId) -> impl Iterator<Item = &Chain> {
        let all = Chain { sender: *sender, start: 0 }..=Chain { sender: *sender, start: u64::MAX };
        self.tips.range(all).map(|(chain, _)| chain)
    }

    /// Whether `size` more bytes of `sender` can be retained, as one update.
    #[must_use]
    pub fn has_room(&self, sender: &PeerId, size: usize) -> bool {
        let retained: u64 = self.chains_of(sender).map(|chain| self.heads.of(chain) - self.base(chain)).sum();
        let bytes = self.bytes.get(sender).copied().unwrap_or(0);
        retained < MAX_RETAINED && bytes.saturating_add(size as u64) <= MAX_RETAINED_BYTES
    }

    /// This node's next update in `chain`, all but its signature: it comes after everything that is here.
    /// `term`: of this node as host, for a checkpoint that covers everything.
    #[must_use]
    pub fn compose(
        &self,
        session: SessionId,
        chain: Chain,
        at: Timestamp,
        payload: Vec<u8>,
        term: Option<u32>,
    ) -> Update {
        let all = || self.tips.keys().filter_map(|chain| self.head(chain)).collect();
        let covers = term.map(|term| Covers { term, links: all() });
        let after = if covers.is_none() { self.after(&chain) } else { Vec::new() };
        Update {
            session,
            chain,
            number: self.next(chain),
            previous: self.head(&chain).map(|link| link.hash),
            after,
            depth: self.depth + 1,
            at,
            payload,
            covers,
        }
    }

    /// What an update of `chain` names: of the frontier the deepest, among equals the first chains.
    fn after(&self, own: &Chain) -> Vec<Link> {
        let others = self.frontier.iter().filter(|chain| *chain != own);
        let mut deepest: Vec<_> =
            others.filter_map(|chain| Some((self.tips.get(chain)?.depth, self.head(chain)?))).collect();
        deepest.sort_by_key(|(depth, link)| (std::cmp::Reverse(*depth), link.chain));
        let mut after: Vec<_> = deepest.into_iter().take(MAX_AFTER).map(|(_, link)| link).collect();
        after.sort();
        after
    }

    /// What to do with `update`, which weighs `size` as a signed item. `is_unknown`: senders for whose updates there is
    /// no use in waiting. Changes nothing: [`Log::appended`] and [`Log::covered`] do.
    #[must_use]
    pub fn judge(
        &self,
        update: &Update,
        (hash, size): (UpdateHash, usize),
        hosts: &Hosts,
        is_unknown: impl Fn(&PeerId) -> bool,
    ) -> Verdict {
        let (chain, next) = (&update.chain, self.next(update.chain));
        let tip = self.tips.get(chain);
        if update.number < next {
            let is_head = |tip: &&Tip| update.number + 1 == next && tip.hash != UNKNOWN;
            return match tip.filter(is_head) {
                _ if hosts.count(update) && self.is_doubtful(chain, update.number) => Verdict::Checkpoint,
                Some(tip) if tip.hash != hash => Verdict::Fork,
                _ => Verdict::Duplicate,
            };
        }
        let begins = tip.is_none() && update.number == 1;
        if update.number > MAX_NUMBER || (begins && self.chains_of(&chain.sender).count() >= MAX_CHAINS) {
            return Verdict::Full;
        }

        let is_here =
            |link: &Link| self.heads.of(link.chain) >= link.number || is_unknown(&link.chain.sender);
        let is_next = update.number == next && update.depth <= self.depth + 1;
        if !is_next || !update.links().all(|link| is_here(&link)) {
            return Verdict::Waits;
        }
        if tip.is_some_and(|tip| update.depth <= tip.depth) {
            return Verdict::Shallow;
        }
        match hosts.count(update) {
            true => Verdict::Checkpoint,
            false if self.has_room(&chain.sender, size) => Verdict::Append,
            false => Verdict::Full,
        }
    }

    /// Whether this node takes it from somebody else's word alone that its sender has said `number`.
    fn is_doubtful(&self, chain: &Chain, number: u64) -> bool {
        let base = self.bases.get(chain).filter(|base| base.number == self.heads.of(chain));
        base.and_then(|base| base.had).is_some_and(|had| had < number)
    }

    /// Whether `update` names as a chain's newest what is not: its sender has another update under that number than this
    /// node, so that somebody said two things. It is taken nevertheless: who names it is not to blame.
    #[must_use]
    pub fn contradicts(&self, update: &Update) -> Option<Link> {
        let differs = |link: &Link| {
            let head = self.head(&link.chain).filter(|head| head.number == link.number);
            head.is_some_and(|head| head.hash != link.hash && head.hash != UNKNOWN)
        };
        update.links().find(differs)
    }

    /// The next update of its chain is kept.
    pub fn appended(&mut self, update: &Verified<Update>) {
        for link in update.links() {
            self.named(&link);
        }
        self.tip(update);
        *self.bytes.entry(update.sender()).or_insert(0) += update.bytes().len() as u64;
    }

    fn tip(&mut self, update: &Verified<Update>) {
        self.heads.raise(update.chain, update.number);
        self.tips.insert(update.chain, Tip { hash: update.hash(), depth: update.depth });
        self.frontier.insert(update.chain);
        self.depth = self.depth.max(update.depth);
    }

    fn named(&mut self, link: &Link) {
        if self.heads.of(link.chain) <= link.number {
            self.frontier.remove(&link.chain);
        }
    }

    /// A checkpoint counts, and is kept: it is new, or an update that turned out to be one. A chain in which this node
    /// had jumped further than the checkpoint covers, and of which nothing came since, goes back to what it covers or to
    /// what this node had by itself; and so does the chain of the checkpoint to which it had jumped.
    pub fn covered(&mut self, checkpoint: &Verified<Update>) -> LetGo {
        let covers = Heads(checkpoint.covered().iter().map(|link| (link.chain, link.number)).collect());
        let jumped: Vec<_> =
            self.bases.iter().filter_map(|(chain, base)| Some((*chain, base.had?, base.number))).collect();
        let mut back: Vec<_> = jumped
            .into_iter()
            .filter(|(chain, _, base)| self.heads.of(chain) == *base)
            .map(|(chain, had, base)| (chain, covers.of(chain).max(had), base))
            .filter(|(_, number, base)| number < base)
            .map(|(chain, number, _)| (chain, number))
            .collect();
        let wrong = self.landed.filter(|link| !back.is_empty() && covers.of(link.chain) < link.number);
        if let Some(link) = wrong {
            let had = self.bases.get(&link.chain).and_then(|base| base.had).unwrap_or(link.number - 1);
            back.push((link.chain, covers.of(link.chain).max(had)));
            self.landed = None;
        }

        for (chain, number) in &back {
            self.go_back(*chain, *number, checkpoint);
        }
        if !back.is_empty() {
            self.depth = self.tips.values().map(|tip| tip.depth).max().unwrap_or(0);
        }
        let senders = back.iter().map(|(chain, _)| chain.sender).collect();
        LetGo { weigh: self.cover(checkpoint, senders), back }
    }

    fn go_back(&mut self, chain: Chain, number: u64, checkpoint: &Update) {
        self.frontier.remove(&chain);
        if number == 0 {
            self.heads.0.remove(&chain);
            self.bases.remove(&chain);
            self.tips.remove(&chain);
            return;
        }
        let link = checkpoint.covered().iter().find(|link| link.chain == chain && link.number == number);
        let hash = link.map_or(UNKNOWN, |link| link.hash);
        self.heads.0.insert(chain, number);
        self.tips.insert(chain, Tip { hash, depth: 0 });
        if self.base(&chain) > number {
            let had = self.bases.get(&chain).and_then(|base| base.had);
            self.bases.insert(chain, Base { number, hash, had });
        }
    }

    /// The same for a checkpoint that somebody else counts, and that covers what is missing here and nobody has any more:
    /// it takes its place. Goes back nowhere.
    pub fn jumped(&mut self, checkpoint: &Verified<Update>) -> LetGo {
        let weigh = self.cover(checkpoint, BTreeSet::new());
        self.landed =
            Some(Link { chain: checkpoint.chain, number: checkpoint.number, hash: checkpoint.hash() });
        LetGo { weigh, back: Vec::new() }
    }

    /// `concerned`: whose retained updates have changed already.
    fn cover(&mut self, checkpoint: &Verified<Update>, mut concerned: BTreeSet<PeerId>) -> Vec<PeerId> {
        for link in checkpoint.covered() {
            let (base, head) = (self.base(&link.chain), self.heads.of(link.chain));
            if link.number > head {
                self.heads.raise(link.chain, link.number);
                self.tips.insert(link.chain, Tip { hash: link.hash, depth: 0 });
            }
            if link.number > base {
                let known = self.bases.get(&link.chain).and_then(|base| base.had);
                let had = known.or((link.number > head).then_some(head));
                self.bases.insert(link.chain, Base { number: link.number, hash: link.hash, had });
            }
            self.named(link);
        }
        self.depth = self.depth.max(checkpoint.depth);
        if checkpoint.number > self.heads.of(checkpoint.chain) {
            self.tip(checkpoint);
        }

        concerned.extend(checkpoint.covered().iter().map(|link| link.chain.sender));
        concerned.insert(checkpoint.sender());
        let is_left =
            |sender: &PeerId| self.chains_of(sender).any(|chain| self.heads.of(chain) > self.base(chain));
        let (left, gone): (Vec<_>, Vec<_>) = concerned.into_iter().partition(is_left);
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
