//! Members that hear one another's updates in any order, each once, and are told of them after what their senders had
//! seen.
#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    group::{
        MAX_UPDATES,
        testing::{SESSION, identity, peer},
    },
    rights::sign,
};

fn signed(update: &Update) -> Verified<Update> {
    let sender = (0..40).map(identity).find(|identity| identity.peer() == update.sender()).unwrap();
    sign(update, &sender).unwrap()
}

fn chain(number: u16) -> Chain {
    peer(number).into()
}

fn nobody(_: &PeerId) -> bool {
    false
}

fn size_of(update: &Verified<Update>) -> (UpdateHash, usize) {
    (update.hash(), update.bytes().len())
}

fn no_hosts() -> Hosts {
    Hosts::default()
}

fn host(number: u16, term: u32) -> Hosts {
    Hosts { now: Some((peer(number), term)), ever: (0..=number).map(peer).collect() }
}

/// A member as its node keeps it.
#[derive(Clone, Default)]
struct Member {
    log: Log,
    pending: Pending,
    disk: BTreeMap<(Chain, u64), Verified<Update>>,
    /// Checkpoints that count here, the earliest first.
    counted: Vec<Link>,
    /// What was delivered, in order.
    delivered: Vec<Verified<Update>>,
}

impl Member {
    fn hears(&mut self, update: &Verified<Update>, hosts: &Hosts) -> Verdict {
        let verdict = self.log.judge(update, size_of(update), hosts, nobody);
        match verdict {
            Verdict::Append | Verdict::Checkpoint => self.keeps(verdict, update),
            Verdict::Waits => drop(self.pending.hold(update.clone())),
            _ => {}
        }
        self.releases(hosts);
        verdict
    }

    fn releases(&mut self, hosts: &Hosts) {
        while let Some((verdict, update)) = self.pending.release(&self.log, hosts, nobody) {
            self.keeps(verdict, &update);
        }
    }

    fn keeps(&mut self, verdict: Verdict, update: &Verified<Update>) {
        self.disk.insert((update.chain, update.number), update.clone());
        self.delivered.push(update.clone());
        match verdict {
            Verdict::Checkpoint => {
                let let_go = self.log.covered(update);
                self.lets_go(update, &let_go);
            }
            _ => self.log.appended(update),
        }
    }

    fn lets_go(&mut self, checkpoint: &Verified<Update>, let_go: &LetGo) {
        let log = self.log.clone();
        self.disk.retain(|(chain, number), _| *number > log.base(chain));
        for (chain, number) in &let_go.back {
            let stays = |update: &Verified<Update>| update.number <= *number || update == checkpoint;
            self.disk.retain(|(of, _), update| of != chain || stays(update));
        }
        for sender in &let_go.weigh {
            let own = self.disk.values().filter(|update| update.sender() == *sender);
            self.log.weighed(*sender, own.map(|update| update.bytes().len() as u64).sum());
        }
        let name = Link { chain: checkpoint.chain, number: checkpoint.number, hash: checkpoint.hash() };
        self.counted.push(name);
        let stays = |link: &Link| {
            let kept = self.disk.get(&(link.chain, link.number));
            kept.is_some_and(|kept| kept.covered().iter().all(|link| link.number <= log.base(&link.chain)))
        };
        self.counted.retain(stays);
    }

    fn posts(&mut self, me: u16, term: Option<u32>, hosts: &Hosts) -> Verified<Update> {
        let update = signed(&self.log.compose(SESSION, chain(me), Timestamp(0), b"x".to_vec(), term));
        let verdict = self.hears(&update, hosts);
        assert!(matches!(verdict, Verdict::Append | Verdict::Checkpoint), "its own: {verdict:?}");
        update
    }

    /// As an answer is made.
    fn answer(&self, have: &Heads, most: usize) -> (Vec<Verified<Update>>, Vec<Verified<Update>>) {
        let mut have = have.clone();
        let mut checkpoints = Vec::new();
        if self.log.bases().iter().any(|(chain, base)| have.of(chain) < base.number) {
            for link in &self.counted {
                let checkpoint = self.disk[&(link.chain, link.number)].clone();
                for covered in checkpoint.covered() {
                    have.raise(covered.chain, covered.number);
                }
                have.raise(link.chain, link.number);
                checkpoints.push(checkpoint);
            }
        }
        let lacks = |update: &&Verified<Update>| update.number > have.of(update.chain);
        let mut updates: Vec<_> = self.disk.values().filter(lacks).cloned().collect();
        updates.sort_by_key(|update| update.place());
        updates.truncate(most);
        (checkpoints, updates)
    }

    fn pulls(&mut self, from: &Member, most: usize, hosts: &Hosts) {
        let (checkpoints, updates) = from.answer(self.log.heads(), most);
        for checkpoint in checkpoints {
            self.jumps(&checkpoint, from.log.heads(), hosts);
        }
        for update in updates {
            self.hears(&update, hosts);
        }
    }

    fn jumps(&mut self, checkpoint: &Verified<Update>, theirs: &Heads, hosts: &Hosts) -> bool {
        let is_needed = checkpoint.covered().iter().any(|link| link.number > self.log.heads().of(link.chain));
        let is_theirs = checkpoint.covered().iter().all(|link| link.number <= theirs.of(link.chain));
        if !is_needed || !is_theirs || !hosts.may_have_counted(checkpoint) {
            return false;
        }
        let is_new = checkpoint.number > self.log.heads().of(checkpoint.chain);
        let let_go = self.log.jumped(checkpoint);
        if is_new {
            self.disk.insert((checkpoint.chain, checkpoint.number), checkpoint.clone());
            self.delivered.push(checkpoint.clone());
        }
        self.lets_go(checkpoint, &let_go);
        self.releases(hosts);
        true
    }

    fn restarts(&mut self) {
        let mut newest: BTreeMap<Chain, Verified<Update>> = BTreeMap::new();
        let mut bytes = BTreeMap::new();
        for update in self.disk.values() {
            newest.insert(update.chain, update.clone());
            *bytes.entry(update.sender()).or_insert(0) += update.bytes().len() as u64;
        }
        let log = Log::new(Saved {
            newest: newest.into_values().collect(),
            bases: self.log.bases.clone(),
            bytes,
            depth: self.log.depth(),
            landed: self.log.landed,
        });
        assert_eq!((log.heads(), &log.bytes, log.depth), (self.log.heads(), &self.log.bytes, self.log.depth));
        assert!(log.frontier.is_superset(&self.log.frontier), "{:?} {:?}", log.frontier, self.log.frontier);
        self.log = log;
        self.pending = Pending::default();
    }

    fn said(&self) -> Vec<(Chain, u64)> {
        self.delivered.iter().map(|update| (update.chain, update.number)).collect()
    }

    /// Each once, and after all that it names, but for what a checkpoint had replaced.
    fn assert_order(&self) {
        let mut seen = Heads::default();
        for update in &self.delivered {
            assert!(update.number > seen.of(update.chain), "again: {update:?}");
            for link in update.links().filter(|_| update.covers.is_none()) {
                assert!(seen.of(link.chain) >= link.number, "{update:?} before {link:?}");
            }
            for link in update.covered() {
                seen.raise(link.chain, link.number);
            }
            seen.raise(update.chain, update.number);
        }
    }
}

#[test]
fn an_update_waits_for_all_that_it_names() {
    let (mut ann, mut ben) = (Member::default(), Member::default());
    let question = ann.posts(1, None, &no_hosts());
    ben.hears(&question, &no_hosts());
    let vote = ben.posts(2, None, &no_hosts());
    let second = ben.posts(2, None, &no_hosts());
    assert_eq!((vote.after[0].hash, vote.depth), (question.hash(), 2));
    assert!(second.after.is_empty(), "named before");

    let mut cleo = Member::default();
    assert_eq!(cleo.hears(&second, &no_hosts()), Verdict::Waits);
    assert_eq!(cleo.hears(&vote, &no_hosts()), Verdict::Waits);
    assert_eq!(cleo.pending.len(), 2);
    assert_eq!(cleo.hears(&question, &no_hosts()), Verdict::Append);
    assert_eq!(cleo.said(), [(chain(1), 1), (chain(2), 1), (chain(2), 2)]);
    assert!(cleo.pending.is_empty());
    assert_eq!(cleo.hears(&vote, &no_hosts()), Verdict::Duplicate);
    assert_eq!(cleo.log.compose(SESSION, chain(3), Timestamp(0), Vec::new(), None).after.len(), 1);
}

#[test]
fn of_many_at_once_the_deepest_are_named_and_then_the_others() {
    let mut all: Vec<_> = (0..12).map(|_| Member::default()).collect();
    let said: Vec<_> = (1..12_u16).map(|n| all[usize::from(n)].posts(n, None, &no_hosts())).collect();
    let deeper = all[11].posts(11, None, &no_hosts());
    for update in said.iter().chain([&deeper]) {
        all[0].hears(update, &no_hosts());
    }
    let sum = all[0].posts(0, None, &no_hosts());
    assert_eq!((sum.after.len(), sum.depth), (MAX_AFTER, 3));
    assert!(sum.after.iter().any(|link| link.hash == deeper.hash()));
    assert!(all[0].delivered[..12].iter().all(|update| update.place() < sum.place()), "named or not");
    let rest = all[0].posts(0, None, &no_hosts());
    assert_eq!(rest.after.len(), 11 - MAX_AFTER);
    assert!(all[0].posts(0, None, &no_hosts()).after.is_empty());
}

#[test]
fn whoever_names_what_does_not_exist_holds_back_itself_alone() {
    let (mut ann, mut cleo) = (Member::default(), Member::default());
    let nothing = Link { chain: chain(1), number: 1_000, hash: UpdateHash([1; 32]) };
    let first = Update {
        session: SESSION,
        chain: chain(2),
        number: 1,
        previous: None,
        after: vec![nothing],
        depth: 2,
        at: Timestamp(0),
        payload: vec![0; 10],
        covers: None,
    };
    let mut previous = signed(&first);
    assert_eq!(cleo.hears(&previous, &no_hosts()), Verdict::Waits);
    for number in 2..=2 * MAX_HELD as u64 {
        let next = Update {
            number,
            previous: Some(previous.hash()),
            after: Vec::new(),
            depth: number + 1,
            ..first.clone()
        };
        previous = signed(&next);
        cleo.hears(&previous, &no_hosts());
    }
    assert_eq!(cleo.pending.len(), MAX_HELD);
    assert!(cleo.pending.overdue().is_empty(), "not at once");
    assert_eq!(cleo.pending.overdue(), [peer(2)]);
    assert!(cleo.pending.overdue().is_empty(), "nor again");

    let word = ann.posts(1, None, &no_hosts());
    assert_eq!(cleo.hears(&word, &no_hosts()), Verdict::Append);
    assert!(cleo.posts(3, None, &no_hosts()).after.iter().all(|link| link.chain != chain(2)));
    // Too deep: nothing here is so deep that it could be.
    let high = signed(&Update { depth: 1 << 40, after: Vec::new(), chain: chain(4), ..first.clone() });
    assert_eq!(cleo.hears(&high, &no_hosts()), Verdict::Waits);
    // Large ones have no more room than small ones.
    let large = |number: u64| Update { payload: vec![0; 100_000], number, chain: chain(5), ..first.clone() };
    for number in 2..30 {
        let large = Update { previous: Some(UpdateHash([2; 32])), ..large(number) };
        cleo.hears(&signed(&large), &no_hosts());
    }
    assert_eq!(cleo.pending.len(), MAX_HELD + 1 + 10);
}

#[test]
fn two_updates_with_one_number_are_noticed_and_stop_nobody() {
    let (mut ann, mut cleo) = (Member::default(), Member::default());
    let make = |payload: &[u8]| {
        let update = Log::default().compose(SESSION, chain(2), Timestamp(0), payload.to_vec(), None);
        signed(&update)
    };
    let (one, other) = (make(b"one"), make(b"other"));
    ann.hears(&one, &no_hosts());
    cleo.hears(&other, &no_hosts());
    assert_eq!(cleo.hears(&one, &no_hosts()), Verdict::Fork);
    let word = ann.posts(1, None, &no_hosts());
    assert_eq!(cleo.log.contradicts(&word).map(|link| link.hash), Some(one.hash()));
    assert_eq!(cleo.hears(&word, &no_hosts()), Verdict::Append);
    let shallow = Update { previous: Some(other.hash()), number: 2, ..(*other).clone() };
    assert_eq!(cleo.hears(&signed(&shallow), &no_hosts()), Verdict::Shallow);
}

#[test]
fn a_sender_begins_a_few_chains_and_each_counts_towards_its_share() {
    let mut cleo = Member::default();
    for start in 0..MAX_CHAINS as u64 {
        let chain = Chain { sender: peer(2), start };
        let first = Log::default().compose(SESSION, chain, Timestamp(0), b"first".to_vec(), None);
        assert_eq!(cleo.hears(&signed(&first), &no_hosts()), Verdict::Append);
    }
    let chain = Chain { sender: peer(2), start: 99 };
    let more = signed(&Log::default().compose(SESSION, chain, Timestamp(0), b"first".to_vec(), None));
    assert_eq!(cleo.hears(&more, &no_hosts()), Verdict::Full);
    assert_eq!(cleo.log.heads_of(&peer(2)).len(), MAX_CHAINS);
    let left = MAX_RETAINED_BYTES - cleo.log.bytes[&peer(2)];
    assert!(cleo.log.has_room(&peer(2), left as usize) && !cleo.log.has_room(&peer(2), left as usize + 1));
}

#[test]
fn only_the_hosts_checkpoint_of_its_own_term_covers() {
    let (mut ann, mut ben) = (Member::default(), Member::default());
    let word = ben.posts(2, None, &no_hosts());
    ann.hears(&word, &no_hosts());
    let checkpoint = signed(&ann.log.compose(SESSION, chain(0), Timestamp(0), b"sum".to_vec(), Some(3)));
    let judged =
        |member: &Member, hosts: &Hosts| member.log.judge(&checkpoint, size_of(&checkpoint), hosts, nobody);
    assert_eq!(judged(&ben, &host(0, 3)), Verdict::Checkpoint);
    assert_eq!(judged(&ben, &host(1, 3)), Verdict::Append, "of somebody else");
    assert_eq!(judged(&ben, &host(0, 4)), Verdict::Append, "of another term");
    assert_eq!(judged(&ben, &host(1, 4)), Verdict::Append, "of one that was host");
    assert_eq!(judged(&Member::default(), &host(0, 3)), Verdict::Waits, "of what is not here");
}

#[test]
fn a_checkpoint_that_covers_what_nobody_has_said_destroys_nothing() {
    let hosts = host(0, 0);
    let (ann, mut ben, mut cleo) = (Member::default(), Member::default(), Member::default());
    let word = ben.posts(2, None, &hosts);
    cleo.hears(&word, &hosts);
    let mut bad = ann.log.compose(SESSION, chain(0), Timestamp(0), b"nothing".to_vec(), Some(0));
    let all = [1, 2, 3].map(|n| Link { chain: chain(n), number: MAX_NUMBER, hash: UpdateHash([6; 32]) });
    let mut all = all.to_vec();
    all.sort();
    bad.covers = Some(Covers { term: 0, links: all });
    bad.depth = MAX_NUMBER;
    let bad = signed(&bad);
    for member in [&mut ben, &mut cleo] {
        assert_eq!(member.hears(&bad, &hosts), Verdict::Waits);
    }
    let again = ben.posts(2, None, &hosts);
    assert_eq!(cleo.hears(&again, &hosts), Verdict::Append);
    assert_eq!(cleo.disk.len(), 2);

    // Who comes late can be lied to, by whoever it asks first.
    let mut dan = Member::default();
    let mut lie = Heads(bad.covered().iter().map(|link| (link.chain, link.number)).collect());
    assert!(!dan.jumps(&bad, &Heads::default(), &hosts), "who does not say so itself is not believed");
    assert!(!dan.jumps(&bad, &lie, &Hosts::default()), "nor anybody about somebody who never was host");
    lie.raise(chain(0), 1);
    assert!(dan.jumps(&bad, &lie, &hosts));
    assert_eq!(dan.hears(&word, &hosts), Verdict::Duplicate);
    dan.restarts();

    // The next host's checkpoint puts it right, and everyone goes on together.
    let hosts = host(1, 1);
    let mut eve = Member::default();
    eve.pulls(&ben, MAX_UPDATES, &hosts);
    let good = eve.posts(1, Some(1), &hosts);
    let next = eve.posts(1, None, &hosts);
    for update in [&good, &next] {
        for member in [&mut ben, &mut cleo, &mut dan] {
            member.hears(update, &hosts);
        }
    }
    let said = dan.posts(3, None, &hosts);
    assert_eq!(ben.hears(&said, &hosts), Verdict::Append);
    let said = ben.posts(2, None, &hosts);
    assert_eq!(dan.hears(&said, &hosts), Verdict::Append);
    assert_eq!(dan.log.heads(), ben.log.heads());
    assert_eq!(dan.disk, ben.disk);
    dan.restarts();
    assert_eq!(dan.log.heads(), ben.log.heads());
}

#[test]
fn who_is_behind_a_checkpoint_jumps_and_what_it_does_not_cover_is_kept() {
    let hosts = host(0, 0);
    let (mut ann, mut ben, mut cleo) = (Member::default(), Member::default(), Member::default());
    let words: Vec<_> = (0..5).map(|_| ben.posts(2, None, &hosts)).collect();
    for word in &words {
        ann.hears(word, &hosts);
    }
    cleo.hears(&words[0], &hosts);
    let apart = cleo.posts(3, None, &hosts);
    let checkpoint = ann.posts(0, Some(0), &hosts);
    assert_eq!((ann.disk.len(), ann.log.base(&chain(2))), (1, 5));
    assert_eq!(cleo.hears(&checkpoint, &hosts), Verdict::Waits);

    cleo.pulls(&ann, MAX_UPDATES, &hosts);
    assert!(cleo.pending.is_empty());
    assert_eq!(cleo.said(), [(chain(2), 1), (chain(3), 1), (chain(0), 1)]);
    assert_eq!(cleo.disk.len(), 2, "what was said meanwhile, and the checkpoint");
    let after = cleo.posts(3, None, &hosts);
    for update in [&apart, &after] {
        assert_eq!(ann.hears(update, &hosts), Verdict::Append);
    }
    assert_eq!(ann.log.heads(), cleo.log.heads());
    assert_eq!(ann.disk, cleo.disk);
    cleo.restarts();
    // Ben, who had all of it, lets it go.
    assert_eq!(ben.hears(&checkpoint, &hosts), Verdict::Checkpoint);
    assert_eq!(ben.disk.len(), 1);
    ben.restarts();
}

#[test]
fn as_many_as_may_be_are_retained_until_a_checkpoint() {
    let hosts = host(0, 0);
    let mut noisy = Member::default();
    let last = noisy.posts(1, None, &hosts);
    noisy.log.heads.raise(chain(1), MAX_RETAINED - 1);
    let next = |log: &Log| signed(&log.compose(SESSION, chain(1), Timestamp(0), b"x".to_vec(), None));
    let one = next(&noisy.log);
    assert_eq!(noisy.hears(&one, &hosts), Verdict::Append);
    let one = next(&noisy.log);
    assert_eq!(noisy.hears(&one, &hosts), Verdict::Full);
    let other = signed(&noisy.log.compose(SESSION, chain(2), Timestamp(0), b"x".to_vec(), None));
    assert_eq!(noisy.hears(&other, &hosts), Verdict::Append, "another is not to blame");
    noisy.posts(0, Some(0), &hosts);
    let one = next(&noisy.log);
    assert_eq!(noisy.hears(&one, &hosts), Verdict::Append);

    // By size; and a host whose own share is used up can still post the checkpoint that frees it.
    let mut heavy = Member::default();
    heavy.hears(&last, &hosts);
    heavy.log.weighed(peer(1), MAX_RETAINED_BYTES);
    heavy.log.weighed(peer(0), MAX_RETAINED_BYTES);
    let one = next(&heavy.log);
    assert_eq!(heavy.hears(&one, &hosts), Verdict::Full);
    heavy.posts(0, Some(0), &hosts);
    let one = next(&heavy.log);
    assert_eq!(heavy.hears(&one, &hosts), Verdict::Append);
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

const MEMBERS: usize = 5;

fn event() -> impl Strategy<Value = Event> {
    let one = || 0..MEMBERS;
    prop_oneof![
        4 => (one(), prop::bool::weighted(0.1)).prop_map(|(who, is_checkpoint)| Event::Post { who, is_checkpoint }),
        6 => (one(), one(), any::<prop::sample::Index>()).prop_map(|(from, to, which)| Event::Gossip { from, to, which }),
        2 => (one(), one(), 1..6_usize).prop_map(|(from, to, most)| Event::Pull { from, to, most }),
        1 => one().prop_map(Event::Restart),
    ]
}

fn joins(from: &Member, hosts: &Hosts) -> Member {
    let mut late = Member::default();
    while from.log.heads().ahead_of(late.log.heads()).next().is_some() {
        let before = late.log.heads().clone();
        late.pulls(from, 7, hosts);
        assert_ne!(&before, late.log.heads(), "a pull that leads nowhere");
    }
    late
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn everyone_is_told_of_each_once_and_after_what_its_sender_had_seen(events in vec(event(), 0..250)) {
        // Number 0 is host; others try to post checkpoints as well.
        let hosts = host(0, 0);
        let mut all = vec![Member::default(); MEMBERS];
        for event in events {
            match event {
                Event::Post { who, is_checkpoint } => {
                    drop(all[who].posts(who as u16, is_checkpoint.then_some(0), &hosts));
                }
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
            prop_assert!(member.pending.is_empty());
            member.restarts();
        }
        for member in &all {
            prop_assert_eq!(member.log.heads(), all[0].log.heads());
            prop_assert_eq!(&member.disk, &all[0].disk);
            member.assert_order();
        }

        // Two that come late, to different members, are told the same in the same order.
        let late = [joins(&all[0], &hosts), joins(&all[MEMBERS - 1], &hosts)];
        late[0].assert_order();
        prop_assert_eq!(&late[0].delivered, &late[1].delivered);
    }
}
