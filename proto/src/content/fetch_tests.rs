#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    frames::{Kind, MAX_WANT_CHUNKS, Request},
    *,
};
use crate::{
    identity::{Identity, PeerId},
    program::{ChunkIndex, ChunkSet},
    time::Timestamp,
};

const NOW: Timestamp = Timestamp(1_000);

fn peer(n: u8) -> PeerId {
    Identity::from_seed(&[n; 32]).peer()
}

fn start(wanted: u32) -> Fetch {
    Fetch::new(&ChunkSet::full(wanted), &ChunkSet::empty(wanted))
}

fn added(n: u8, has: u32) -> Event {
    Event::SourceAdded { peer: peer(n), has: ChunkSet::full(has) }
}

fn verified(n: u8, chunk: u32) -> Event {
    Event::Verified { peer: peer(n), chunk: ChunkIndex(chunk) }
}

#[test]
fn nothing_missing_is_done_at_once_and_said_once() {
    let mut fetch = Fetch::new(&ChunkSet::full(3), &ChunkSet::full(3));
    assert_eq!(fetch.handle(Event::Tick, NOW), [Output::Done]);
    assert_eq!(fetch.handle(added(1, 3), NOW), []);
}

#[test]
fn only_what_is_missing_is_asked_for() {
    let mut have = ChunkSet::empty(10);
    have.insert_range(0..4);
    have.insert_range(6..7);
    let mut fetch = Fetch::new(&ChunkSet::full(10), &have);
    assert_eq!(fetch.handle(Event::Tick, NOW), [Output::Stuck]);
    assert_eq!(fetch.handle(added(1, 10), NOW), [Output::Ask { peer: peer(1), ranges: vec![4..6, 7..10] }]);
    for chunk in [4, 5, 7, 8] {
        assert_eq!(fetch.handle(verified(1, chunk), NOW), []);
    }
    assert_eq!(fetch.handle(verified(1, 9), NOW), [Output::Done]);
}

#[test]
fn a_window_refills_when_half_of_it_is_free() {
    let mut fetch = start(3 * WINDOW);
    assert_eq!(
        fetch.handle(added(1, 3 * WINDOW), NOW),
        [Output::Ask { peer: peer(1), ranges: vec![0..WINDOW] }]
    );
    for chunk in 0..WINDOW / 2 - 1 {
        assert_eq!(fetch.handle(verified(1, chunk), NOW), []);
    }
    let more = WINDOW..WINDOW + WINDOW / 2;
    let asked = fetch.handle(verified(1, WINDOW / 2 - 1), NOW);
    assert_eq!(asked, [Output::Ask { peer: peer(1), ranges: vec![more] }]);
}

#[test]
fn what_a_lost_source_owed_is_asked_of_another() {
    let mut fetch = start(20);
    assert_eq!(fetch.handle(added(1, 20), NOW), [Output::Ask { peer: peer(1), ranges: vec![0..20] }]);
    assert_eq!(fetch.handle(added(2, 20), NOW), []);
    fetch.handle(verified(1, 0), NOW);
    let asked = fetch.handle(Event::SourceLost { peer: peer(1) }, NOW);
    assert_eq!(asked, [Output::Ask { peer: peer(2), ranges: vec![1..20] }]);
    // What the lost one had sent is verified late: it need not come again, but may.
    assert_eq!(fetch.handle(verified(1, 1), NOW), []);
    assert_eq!(fetch.missing(), 18);
}

#[test]
fn a_source_that_lies_is_dropped_for_good() {
    let mut fetch = start(2);
    fetch.handle(added(1, 2), NOW);
    let blamed = fetch.handle(Event::Bad { peer: peer(1), chunk: ChunkIndex(1) }, NOW);
    assert_eq!(blamed, [Output::Drop { peer: peer(1), why: Blame::BadChunk(ChunkIndex(1)) }, Output::Stuck]);
    assert_eq!(fetch.handle(added(1, 2), NOW), [Output::Drop { peer: peer(1), why: Blame::Broken }]);
    assert_eq!(fetch.handle(added(2, 2), NOW), [Output::Ask { peer: peer(2), ranges: vec![0..2] }]);
}

#[test]
fn a_source_that_stalls_is_dropped_and_may_come_back() {
    let mut fetch = start(2);
    assert_eq!(fetch.deadline(), None);
    fetch.handle(added(1, 2), NOW);
    fetch.handle(verified(1, 0), NOW + STALL / 2);
    let deadline = fetch.deadline().unwrap();
    assert_eq!(deadline, NOW + STALL / 2 + STALL);
    assert_eq!(fetch.handle(Event::Tick, Timestamp(deadline.0 - 1)), []);
    let dropped = fetch.handle(Event::Tick, deadline);
    assert_eq!(dropped, [Output::Drop { peer: peer(1), why: Blame::Stalled }, Output::Stuck]);
    assert_eq!(fetch.handle(added(1, 2), deadline), [Output::Ask { peer: peer(1), ranges: vec![1..2] }]);
}

#[test]
fn waiting_for_work_is_not_stalling() {
    let mut fetch = start(1);
    let empty = Event::SourceAdded { peer: peer(1), has: ChunkSet::empty(1) };
    assert_eq!(fetch.handle(empty, NOW), [Output::Stuck]);
    assert_eq!(fetch.deadline(), None);
    let later = NOW + STALL * 3;
    assert_eq!(fetch.handle(added(1, 1), later), [Output::Ask { peer: peer(1), ranges: vec![0..1] }]);
    assert_eq!(fetch.deadline(), Some(later + STALL));
}

#[test]
fn sources_are_bounded() {
    let mut fetch = start(1);
    // Cheap distinct peers: only their number counts here.
    let peers = (0u32..).map(|n| {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&n.to_be_bytes());
        Identity::from_seed(&seed).peer()
    });
    let has = ChunkSet::empty(1);
    let mut last = Vec::new();
    for peer in peers.take(MAX_SOURCES + 1) {
        last = fetch.handle(Event::SourceAdded { peer, has: has.clone() }, NOW);
    }
    assert!(matches!(last[..], [Output::Drop { why: Blame::Surplus, .. }]), "{last:?}");
}

/// A world of sources, some of which lie, stall, or come and go, as the seed has it. The machine must always
/// end: done if an honest source had every chunk, never asking twice at once, never a source for what it lacks.
#[derive(Default)]
struct World {
    asked: BTreeMap<PeerId, Vec<u32>>,
    done: bool,
}

impl World {
    fn apply(&mut self, outputs: Vec<Output>, has: &BTreeMap<PeerId, ChunkSet>) {
        for output in outputs {
            assert!(!self.done, "nothing follows Done: {output:?}");
            match output {
                Output::Ask { peer, ranges } => {
                    let frame = Request::Want(ranges.clone()).encode();
                    assert!(Request::parse(Kind::Want, &frame[frames::HEADER_LEN..]).is_ok(), "{ranges:?}");
                    for chunk in ranges.into_iter().flatten() {
                        assert!(has[&peer].contains(ChunkIndex(chunk)));
                        assert!(
                            self.asked.values().all(|asked| !asked.contains(&chunk)),
                            "{chunk} asked twice"
                        );
                        self.asked.entry(peer).or_default().push(chunk);
                    }
                    assert!(self.asked[&peer].len() <= WINDOW as usize);
                }
                Output::Drop { peer, .. } => {
                    self.asked.remove(&peer);
                }
                Output::Done => self.done = true,
                Output::Stuck => assert!(self.asked.values().all(Vec::is_empty)),
            }
        }
    }
}

proptest! {
    #[test]
    fn any_order_of_arrivals_losses_and_lies_ends_with_everything(
        chunks in 1u32..1500,
        partial in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..64), 0..4),
        steps in prop::collection::vec((any::<u8>(), any::<prop::sample::Index>()), 0..400),
    ) {
        let honest = peer(0);
        let mut has = BTreeMap::from([(honest, ChunkSet::full(chunks))]);
        for (n, pattern) in partial.iter().enumerate() {
            let mut set = ChunkSet::empty(chunks);
            for (chunk, there) in (0..chunks).zip(pattern.iter().cycle()) {
                if *there { set.insert(ChunkIndex(chunk)); }
            }
            has.insert(peer(n as u8 + 1), set);
        }
        let peers: Vec<PeerId> = has.keys().copied().collect();
        let (mut fetch, mut world, mut now) = (start(chunks), World::default(), NOW);
        let mut here = ChunkSet::empty(chunks);

        for (what, which) in steps {
            let peer = *which.get(&peers);
            let event = match what % 8 {
                0 => Event::SourceLost { peer },
                1 if peer != honest => Event::Bad { peer, chunk: ChunkIndex(0) },
                2 => { now = now + STALL; Event::Tick }
                3..=5 => match world.asked.get_mut(&peer).and_then(Vec::pop) {
                    Some(chunk) => { here.insert(ChunkIndex(chunk)); Event::Verified { peer, chunk: ChunkIndex(chunk) } }
                    None => Event::Tick,
                },
                _ => Event::SourceAdded { peer, has: has[&peer].clone() },
            };
            if matches!(event, Event::SourceLost { .. }) { world.asked.remove(&peer); }
            let outputs = if world.done { break } else { fetch.handle(event, now) };
            world.apply(outputs, &has);
        }
        // From here on the honest source is there and brings what it is asked for; nobody else does.
        for peer in peers.into_iter().filter(|peer| *peer != honest) {
            world.asked.remove(&peer);
            if !world.done { world.apply(fetch.handle(Event::SourceLost { peer }, now), &has); }
        }
        if !world.done {
            world.apply(fetch.handle(Event::SourceAdded { peer: honest, has: has[&honest].clone() }, now), &has);
        }
        while !world.done {
            let chunk = world.asked.get_mut(&honest).and_then(Vec::pop);
            let chunk = ChunkIndex(chunk.expect("not done, so something is asked for"));
            here.insert(chunk);
            world.apply(fetch.handle(Event::Verified { peer: honest, chunk }, now), &has);
        }
        prop_assert_eq!(here, ChunkSet::full(chunks));
        prop_assert_eq!(fetch.missing(), 0);
    }
}

#[test]
fn a_window_fits_one_want() {
    const { assert!(WINDOW <= MAX_WANT_CHUNKS) };
}
