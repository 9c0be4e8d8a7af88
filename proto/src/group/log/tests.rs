//! Logs: what is taken, what is let go of, and that everyone ends with the same.
#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    group::{
        MAX_UPDATES,
        testing::{SESSION, peer},
    },
    time::Timestamp,
};

const SIZE: usize = 200;

fn update(sender: PeerId, number: u64) -> Update {
    Update { session: SESSION, sender, number, at: Timestamp(0), payload: b"x".to_vec(), covers: None }
}

fn checkpoint(sender: PeerId, covers: Heads) -> Update {
    Update { covers: Some(covers.clone()), ..update(sender, covers.of(&sender) + 1) }
}

fn nobody() -> BTreeSet<PeerId> {
    BTreeSet::new()
}

fn as_set(list: Vec<PeerId>) -> BTreeSet<PeerId> {
    list.into_iter().collect()
}

#[test]
fn each_sender_has_its_own_order() {
    let (a, b) = (peer(1), peer(2));
    let mut log = Log::default();
    assert_eq!(log.judge(&update(a, 1), SIZE, &nobody()), Verdict::Append);
    log.appended(&update(a, 1), SIZE);
    assert_eq!(log.judge(&update(a, 1), SIZE, &nobody()), Verdict::Duplicate);
    assert_eq!(log.judge(&update(a, 3), SIZE, &nobody()), Verdict::Gap);
    assert_eq!(log.judge(&update(b, 1), SIZE, &nobody()), Verdict::Append);
    assert_eq!(log.judge(&update(b, 0), SIZE, &nobody()), Verdict::Duplicate, "numbers start at 1");
}

#[test]
fn vectors_show_what_the_other_lacks() {
    let (a, b) = (peer(1), peer(2));
    let mine = Heads([(a, 5), (b, 2)].into());
    let theirs = Heads([(a, 3), (b, 2)].into());
    assert_eq!(mine.ahead_of(&theirs).collect::<Vec<_>>(), [(a, 3)]);
    assert_eq!(theirs.ahead_of(&mine).count(), 0);
}

#[test]
fn only_a_hosts_checkpoint_covers() {
    let (host, member) = (peer(0), peer(1));
    let hosts = [host].into();
    let log = Log::new(Heads([(host, 2), (member, 1)].into()), Heads::default(), BTreeMap::new());
    let covers = Heads([(host, 4), (member, 1_000_000)].into());
    let jump = checkpoint(host, covers.clone());
    assert_eq!(log.judge(&jump, SIZE, &hosts), Verdict::Checkpoint, "whatever is missing before it");
    assert_eq!(log.judge(&jump, SIZE, &nobody()), Verdict::Gap, "from anyone else it is an update");
    let members = checkpoint(member, Heads([(host, 4), (member, 1)].into()));
    assert_eq!(log.judge(&members, SIZE, &hosts), Verdict::Append);
    let old = checkpoint(host, Heads([(host, 1)].into()));
    assert_eq!(log.judge(&old, SIZE, &hosts), Verdict::Duplicate);
}

#[test]
fn a_checkpoint_moves_bases_and_heads_and_leaves_what_it_does_not_cover() {
    let (host, behind, ahead) = (peer(0), peer(1), peer(2));
    let heads = Heads([(host, 5), (behind, 3), (ahead, 9)].into());
    let bytes = [(host, 50), (behind, 30), (ahead, 90)].into();
    let mut log = Log::new(heads, Heads::default(), bytes);
    let left = log.covered(&checkpoint(host, Heads([(host, 5), (behind, 7), (ahead, 4)].into())));
    assert_eq!(as_set(left), [host, ahead].into(), "the checkpoint itself, and five of one who was ahead");
    assert_eq!(log.heads(), &Heads([(host, 6), (behind, 7), (ahead, 9)].into()));
    assert_eq!(log.bases(), &Heads([(host, 5), (behind, 7), (ahead, 4)].into()));
    assert_eq!(log.judge(&update(behind, 7), SIZE, &nobody()), Verdict::Duplicate, "let go of");
    assert_eq!(log.judge(&update(behind, 8), SIZE, &nobody()), Verdict::Append);
    assert_eq!(log.judge(&update(ahead, 10), SIZE, &nobody()), Verdict::Append);
    // One that covers less takes nothing back.
    log.covered(&checkpoint(peer(3), Heads([(behind, 2)].into())));
    assert_eq!(log.bases().of(&behind), 7);
    let again = Log::new(Heads([(ahead, 9), (host, 6)].into()), log.bases().clone(), BTreeMap::new());
    assert_eq!(again.heads().of(&behind), 7, "after a restart, with nothing of that sender on disk");
}

#[test]
fn as_many_as_may_be_are_retained_until_a_checkpoint() {
    let (host, noisy) = (peer(0), peer(1));
    let hosts = [host].into();
    let mut log = Log::new(Heads([(noisy, MAX_RETAINED - 1)].into()), Heads::default(), BTreeMap::new());
    assert_eq!(log.judge(&update(noisy, MAX_RETAINED), SIZE, &hosts), Verdict::Append);
    log.appended(&update(noisy, MAX_RETAINED), SIZE);
    assert_eq!(log.judge(&update(noisy, MAX_RETAINED + 1), SIZE, &hosts), Verdict::Full);
    assert_eq!(log.judge(&update(peer(2), 1), SIZE, &hosts), Verdict::Append, "another is not to blame");
    log.covered(&checkpoint(host, Heads([(noisy, 10)].into())));
    log.weighed(noisy, 0);
    assert_eq!(log.judge(&update(noisy, MAX_RETAINED + 1), SIZE, &hosts), Verdict::Append);
    assert_eq!(log.judge(&update(noisy, u64::MAX), SIZE, &hosts), Verdict::Full, "no number at all");
}

#[test]
fn as_much_as_may_be_is_retained_until_a_checkpoint() {
    let (host, noisy) = (peer(0), peer(1));
    let hosts = [host].into();
    let most = MAX_RETAINED_BYTES as usize;
    let mut log = Log::default();
    assert_eq!(log.judge(&update(noisy, 1), most + 1, &hosts), Verdict::Full);
    log.appended(&update(noisy, 1), most - SIZE);
    assert_eq!(log.judge(&update(noisy, 2), SIZE + 1, &hosts), Verdict::Full);
    assert_eq!(log.judge(&update(noisy, 2), SIZE, &hosts), Verdict::Append);
    log.appended(&update(noisy, 2), SIZE);
    assert!(!log.has_room(&noisy, 1));
    let left = log.covered(&checkpoint(host, Heads([(noisy, 1)].into())));
    assert_eq!(as_set(left), [noisy, host].into());
    log.weighed(noisy, SIZE as u64);
    assert!(log.has_room(&noisy, most - SIZE) && !log.has_room(&noisy, most - SIZE + 1));
    // A host whose own share is used up can still post the checkpoint that frees it.
    log.appended(&update(host, 1), most);
    assert!(!log.has_room(&host, 1));
    assert_eq!(log.judge(&checkpoint(host, log.heads().clone()), SIZE, &hosts), Verdict::Checkpoint);
}

/// A member as its node keeps it: the log, and the updates that it stands for.
#[derive(Clone, Default)]
struct Member {
    log: Log,
    disk: BTreeMap<(PeerId, u64), Update>,
    /// What was delivered, in order.
    delivered: Vec<(PeerId, u64)>,
}

impl Member {
    fn hears(&mut self, update: &Update, hosts: &BTreeSet<PeerId>) -> Verdict {
        let verdict = self.log.judge(update, SIZE, hosts);
        match verdict {
            Verdict::Append => self.log.appended(update, SIZE),
            Verdict::Checkpoint => {
                let left = self.log.covered(update);
                let bases = self.log.bases().clone();
                self.disk.retain(|(sender, number), _| *number > bases.of(sender));
                for sender in left {
                    let count = self.disk.keys().filter(|(of, _)| *of == sender).count();
                    let own = usize::from(sender == update.sender);
                    self.log.weighed(sender, ((count + own) * SIZE) as u64);
                }
            }
            _ => return verdict,
        }
        self.disk.insert((update.sender, update.number), update.clone());
        self.delivered.push((update.sender, update.number));
        verdict
    }

    fn posts(&mut self, me: PeerId, is_checkpoint: bool, hosts: &BTreeSet<PeerId>) {
        let mut update = update(me, self.log.next(&me));
        update.covers = is_checkpoint.then(|| self.log.heads().clone());
        self.hears(&update, hosts);
    }

    /// As an answer is made: checkpoints first, then each sender's in order, so many at most.
    fn answer(&self, have: &Heads, most: usize, hosts: &BTreeSet<PeerId>) -> Vec<Update> {
        let lacks = |update: &&Update| update.number > have.of(&update.sender);
        let is_checkpoint = |update: &&Update| update.covers.is_some() && hosts.contains(&update.sender);
        let checkpoints = self.disk.values().filter(is_checkpoint);
        let plain = self.disk.values().filter(|update| !is_checkpoint(update));
        checkpoints.chain(plain).filter(lacks).take(most).cloned().collect()
    }

    fn pulls(&mut self, from: &Member, most: usize, hosts: &BTreeSet<PeerId>) {
        for update in from.answer(self.log.heads(), most, hosts) {
            self.hears(&update, hosts);
        }
    }

    fn restarts(&mut self) {
        let (mut heads, mut bytes) = (Heads::default(), BTreeMap::new());
        for (sender, number) in self.disk.keys() {
            heads.raise(&Heads([(*sender, *number)].into()));
            *bytes.entry(*sender).or_insert(0) += SIZE as u64;
        }
        let log = Log::new(heads, self.log.bases().clone(), bytes);
        assert_eq!((log.heads(), &log.bytes), (self.log.heads(), &self.log.bytes));
        self.log = log;
    }
}

#[test]
fn a_session_of_a_million_updates_is_joined_with_what_came_after_the_checkpoint() {
    let hosts = [peer(0)].into();
    let mut old = Member {
        log: Log::new(
            Heads((0..10).map(|n| (peer(n), 100_000)).collect()),
            Heads::default(),
            BTreeMap::new(),
        ),
        ..Member::default()
    };
    old.posts(peer(0), true, &hosts);
    for n in 0..10 {
        for _ in 0..30 {
            old.posts(peer(n), false, &hosts);
        }
    }
    assert_eq!(old.log.heads().0.values().sum::<u64>(), 1_000_301);
    let (mut joiner, mut pulls) = (Member::default(), 0);
    while joiner.log.heads() != old.log.heads() {
        joiner.pulls(&old, MAX_UPDATES, &hosts);
        pulls += 1;
    }
    assert_eq!((joiner.disk.len(), pulls), (301, 2));
    assert_eq!(joiner.delivered[0], (peer(0), 100_001), "the checkpoint first");
}

#[derive(Debug, Clone)]
enum Event {
    Post {
        who: usize,
        is_checkpoint: bool,
    },
    /// By gossip, of what `from` has: any, in any order, perhaps again.
    Gossip {
        from: usize,
        to: usize,
        which: prop::sample::Index,
    },
    Pull {
        from: usize,
        to: usize,
        most: usize,
    },
    Restart(usize),
}

const MEMBERS: usize = 4;

fn event() -> impl Strategy<Value = Event> {
    let one = || 0..MEMBERS;
    prop_oneof![
        4 => (one(), prop::bool::weighted(0.2)).prop_map(|(who, is_checkpoint)| Event::Post { who, is_checkpoint }),
        6 => (one(), one(), any::<prop::sample::Index>()).prop_map(|(from, to, which)| Event::Gossip { from, to, which }),
        2 => (one(), one(), 1..6_usize).prop_map(|(from, to, most)| Event::Pull { from, to, most }),
        1 => one().prop_map(Event::Restart),
    ]
}

proptest! {
    #[test]
    fn everyone_ends_with_the_same_each_once_and_in_order(events in vec(event(), 0..250)) {
        // Two have been hosts; all try to post checkpoints.
        let hosts: BTreeSet<_> = [peer(0), peer(1)].into();
        let name = |n: usize| peer(n as u16);
        let mut all = vec![Member::default(); MEMBERS];
        for event in events {
            match event {
                Event::Post { who, is_checkpoint } => all[who].posts(name(who), is_checkpoint, &hosts),
                Event::Gossip { from, to, which } => {
                    let said: Vec<_> = all[from].disk.values().cloned().collect();
                    if !said.is_empty() {
                        all[to].hears(which.get(&said), &hosts);
                    }
                }
                Event::Pull { from, to, most } => {
                    let from = all[from].clone();
                    all[to].pulls(&from, most, &hosts);
                }
                Event::Restart(who) => all[who].restarts(),
            }
        }
        // Everyone in reach of everyone, often enough.
        for _ in 0..MEMBERS {
            for (from, to) in (0..MEMBERS).flat_map(|from| (0..MEMBERS).map(move |to| (from, to))) {
                let from = all[from].clone();
                while from.log.heads().ahead_of(all[to].log.heads()).next().is_some() {
                    let before = all[to].log.heads().clone();
                    all[to].pulls(&from, MAX_UPDATES, &hosts);
                    prop_assert_ne!(&before, all[to].log.heads(), "a pull that leads nowhere");
                }
            }
        }
        for member in &mut all {
            member.restarts();
        }
        for member in &all {
            prop_assert_eq!(member.log.heads(), all[0].log.heads());
            prop_assert_eq!(member.log.bases(), all[0].log.bases());
            prop_assert_eq!(&member.disk, &all[0].disk);
            let mut newest = Heads::default();
            for (sender, number) in &member.delivered {
                prop_assert!(*number > newest.of(sender), "again, or out of order");
                newest.0.insert(*sender, *number);
            }
            let delivered: BTreeSet<_> = member.delivered.iter().copied().collect();
            prop_assert!(member.disk.keys().all(|key| delivered.contains(key)));
        }
    }
}
