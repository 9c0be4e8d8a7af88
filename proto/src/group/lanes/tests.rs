//! Tests of frames: what is sealed opens once, where it belongs, and nowhere else.
#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::group::{
    keys::{GroupName, Staged},
    testing::*,
};

const NOW: Timestamp = Timestamp(1_000_000);
const SALT: Salt = [0xa5; 8];

fn lanes(keys: &[GroupKeys]) -> Vec<Lanes> {
    keys.iter().map(|keys| Lanes::new(keys, 1).unwrap()).collect()
}

/// A group of three: 0 the host, 1 and 2.
fn three() -> (Vec<GroupKeys>, Vec<Lanes>) {
    let keys = group(3);
    let lanes = lanes(&keys);
    (keys, lanes)
}

/// Everyone but `gone` goes along.
fn all_enter(keys: &mut [GroupKeys], lanes: &mut [Lanes], staged: Staged, gone: &[usize], now: Timestamp) {
    for (i, (keys, lanes)) in keys.iter_mut().zip(lanes).enumerate().skip(1) {
        if !gone.contains(&i) {
            *keys = merged(keys, &staged.commit).keys;
            lanes.enter(keys, now).unwrap();
        }
    }
    keys[0] = staged.keys;
}

#[test]
fn everyone_opens_what_anyone_seals() {
    for size in [2, 8, 64] {
        let mut all = lanes(&group(size));
        for sender in [0, usize::from(size) - 1] {
            for lane in Lane::ALL {
                let frame = all[sender].seal(lane, b"hello", SALT).unwrap();
                assert_eq!(frame.len(), 5 + OVERHEAD);
                for (i, receiver) in all.iter_mut().enumerate().filter(|(i, _)| *i != sender) {
                    let opened = receiver.open(lane, peer(sender as u16), &frame, NOW).unwrap();
                    let expected = Opened { sender: peer(sender as u16), plaintext: b"hello".to_vec() };
                    assert_eq!(opened, expected, "receiver {i}");
                }
            }
        }
    }
}

#[test]
fn the_bytes_of_a_frame_are_as_documented() {
    let (keys, mut all) = three();
    let mut sender = Lanes::new(&keys[1], 0x0102_0304_0506_0708).unwrap();
    sender.seal(Lane::Realtime, b"", SALT).unwrap();
    let frame = sender.seal(Lane::Realtime, b"", SALT).unwrap();
    let header = [
        &[0, 0, 0, 0, 0, 0, 0, 1][..],              // epoch
        &keys[1].tag().0,                           // state
        &keys[1].members()[&peer(1)].to_be_bytes(), // leaf
        &[1, 2, 3, 4, 5, 6, 7, 8],                  // boot
        &[0, 0, 0, 0, 0, 0, 0, 1],                  // counter
        &SALT,                                      // salt
    ];
    assert_eq!(frame[..HEADER_LEN], header.concat());
    assert_eq!(OVERHEAD, 60);
    assert_eq!(all[2].open(Lane::Realtime, peer(1), &frame, NOW).unwrap().plaintext, b"");
}

#[test]
fn an_empty_and_the_longest_message_pass_and_a_longer_one_does_not() {
    let (_, mut all) = three();
    let longest = vec![7; MAX_PLAINTEXT];
    let frame = all[1].seal(Lane::Updates, &longest, SALT).unwrap();
    assert_eq!(all[2].open(Lane::Updates, peer(1), &frame, NOW).unwrap().plaintext, longest);
    let error = all[1].seal(Lane::Updates, &vec![7; MAX_PLAINTEXT + 1], SALT).unwrap_err();
    assert_eq!(error, SealError::TooLong(MAX_PLAINTEXT + 1));
    let long = vec![0; OVERHEAD + MAX_PLAINTEXT + 1];
    assert_eq!(all[2].open(Lane::Updates, peer(1), &long, NOW), Err(OpenError::Malformed));
    assert_eq!(all[2].open(Lane::Updates, peer(1), &long[..OVERHEAD - 1], NOW), Err(OpenError::Malformed));
}

#[test]
fn a_frame_passes_only_once() {
    let (_, mut all) = three();
    let frame = all[1].seal(Lane::Updates, b"once", SALT).unwrap();
    assert!(all[2].open(Lane::Updates, peer(1), &frame, NOW).is_ok());
    assert_eq!(all[2].open(Lane::Updates, peer(1), &frame, NOW), Err(OpenError::Replay));
    assert!(all[0].open(Lane::Updates, peer(1), &frame, NOW).is_ok(), "but for each");
}

#[test]
fn frames_out_of_order_pass_and_lanes_do_not_age_each_other() {
    let (_, mut all) = three();
    let update = all[1].seal(Lane::Updates, b"slow", SALT).unwrap();
    let frames: Vec<_> = (0..300).map(|_| all[1].seal(Lane::Realtime, b"x", SALT).unwrap()).collect();
    for frame in frames[200..].iter().rev() {
        assert!(all[2].open(Lane::Realtime, peer(1), frame, NOW).is_ok());
    }
    assert_eq!(all[2].open(Lane::Realtime, peer(1), &frames[10], NOW), Err(OpenError::Replay), "too late");
    assert!(all[2].open(Lane::Updates, peer(1), &update, NOW).is_ok(), "in its lane it is the newest");
}

#[test]
fn relabelled_frames_are_refused() {
    let (keys, mut all) = three();
    let frame = all[1].seal(Lane::Updates, b"signed by nobody", SALT).unwrap();
    // The lane.
    assert_eq!(all[2].open(Lane::Realtime, peer(1), &frame, NOW), Err(OpenError::Forged));
    // The source: a member repeats another's frame as its own, or as the host's.
    assert_eq!(all[2].open(Lane::Updates, peer(0), &frame, NOW), Err(OpenError::Forged));
    // The leaf.
    let mut other = frame.clone();
    other[16..20].copy_from_slice(&keys[0].members()[&peer(0)].to_be_bytes());
    assert_eq!(all[2].open(Lane::Updates, peer(0), &other, NOW), Err(OpenError::Forged));
    other[16..20].copy_from_slice(&9_u32.to_be_bytes());
    assert_eq!(all[2].open(Lane::Updates, peer(1), &other, NOW), Err(OpenError::UnknownSender));
    // Each bit counts; and none of these attempts used up the frame's place.
    for i in 20..frame.len() {
        let mut other = frame.clone();
        other[i] ^= 1;
        assert_eq!(all[2].open(Lane::Updates, peer(1), &other, NOW), Err(OpenError::Forged), "byte {i}");
    }
    assert!(all[2].open(Lane::Updates, peer(1), &frame, NOW).is_ok());
}

#[test]
fn the_epoch_cannot_be_relabelled() {
    let (mut keys, mut all) = three();
    let frame = all[1].seal(Lane::Updates, b"x", SALT).unwrap();
    let staged = keys[0].refresh(&identity(0), &seed(9)).unwrap();
    all_enter(&mut keys, &mut all, staged, &[], NOW);
    let mut other = frame.clone();
    other[..8].copy_from_slice(&2_u64.to_be_bytes());
    assert_eq!(all[2].open(Lane::Updates, peer(1), &other, NOW), Err(OpenError::Forked { epoch: 2 }));
    other[8..16].copy_from_slice(&keys[2].tag().0);
    assert_eq!(all[2].open(Lane::Updates, peer(1), &other, NOW), Err(OpenError::Forged));
    for (epoch, expected) in [
        (3, OpenError::Ahead { epoch: 3 }),
        (4, OpenError::Ahead { epoch: 4 }),
        (5, OpenError::UnknownEpoch { epoch: 5 }),
        (u64::from(u32::MAX), OpenError::UnknownEpoch { epoch: u64::from(u32::MAX) }),
        (u64::MAX, OpenError::Ahead { epoch: u64::MAX }),
        (0, OpenError::UnknownEpoch { epoch: 0 }),
    ] {
        other[..8].copy_from_slice(&epoch.to_be_bytes());
        assert_eq!(all[2].open(Lane::Updates, peer(1), &other, NOW), Err(expected));
    }
    assert!(all[2].open(Lane::Updates, peer(1), &frame, NOW).is_ok(), "in its own it opens");
}

#[test]
fn another_sessions_frame_is_refused_even_under_the_same_key() {
    let (keys, mut all) = three();
    let mut elsewhere = Lanes::new(&keys[1], 1).unwrap();
    elsewhere.session = SessionId([1; 16]);
    let frame = elsewhere.seal(Lane::Updates, b"x", SALT).unwrap();
    assert_eq!(all[2].open(Lane::Updates, peer(1), &frame, NOW), Err(OpenError::Forged));
}

#[test]
fn another_groups_frame_is_refused() {
    let (keys, mut all) = three();
    // The same people, the same names, other randomness.
    let offer = crate::group::keys::KeyOffer::new(&identity(1), &seed(77)).unwrap();
    let alone = GroupKeys::create(SESSION, &identity(0), &seed(78)).unwrap();
    let staged = alone.add(&[(peer(1), offer.package())], &identity(0), &seed(79)).unwrap();
    let mut outside = Lanes::new(&join(&offer, &staged), 1).unwrap();
    let mut frame = outside.seal(Lane::Updates, b"x", SALT).unwrap();
    assert_eq!(all[2].open(Lane::Updates, peer(1), &frame, NOW), Err(OpenError::Forked { epoch: 1 }));
    frame[8..16].copy_from_slice(&keys[2].tag().0);
    assert_eq!(all[2].open(Lane::Updates, peer(1), &frame, NOW), Err(OpenError::Forged), "whatever it says");
}

#[test]
fn ones_own_frame_is_not_news() {
    let (_, mut all) = three();
    let frame = all[1].seal(Lane::Updates, b"x", SALT).unwrap();
    assert_eq!(all[1].open(Lane::Updates, peer(1), &frame, NOW), Err(OpenError::Mine));
}

#[test]
fn a_crash_between_seal_and_send_repeats_no_nonce() {
    let (mut keys, mut all) = three();
    let lost = all[1].seal(Lane::Updates, b"never sent", SALT).unwrap();
    // Killed; the next run has a greater boot, and the same keys out of the snapshot.
    keys[1] = restarted(&keys[1]);
    all[1] = Lanes::new(&keys[1], 2).unwrap();
    let next = all[1].seal(Lane::Updates, b"never sent", SALT).unwrap();
    let nonce = |frame: &[u8]| Header::read(frame).unwrap().nonce();
    assert_ne!(nonce(&lost), nonce(&next));
    assert_ne!(lost[HEADER_LEN..], next[HEADER_LEN..]);
    assert!(all[2].open(Lane::Updates, peer(1), &next, NOW).is_ok());
    assert!(
        all[2].open(Lane::Updates, peer(1), &lost, NOW).is_ok(),
        "had it been sent, it would have passed"
    );
    assert_eq!(all[2].open(Lane::Updates, peer(1), &next, NOW), Err(OpenError::Replay));
    assert_eq!(all[2].open(Lane::Updates, peer(1), &lost, NOW), Err(OpenError::Replay));
}

#[test]
fn a_removed_member_opens_nothing_newer_and_is_heard_no_more() {
    let (mut keys, mut all) = three();
    let (late, other) = (
        all[2].seal(Lane::Updates, b"still here?", SALT).unwrap(),
        all[1].seal(Lane::Updates, b"late", SALT).unwrap(),
    );
    let staged = keys[0].remove(&[peer(2)], &identity(0), &seed(9)).unwrap();
    all_enter(&mut keys, &mut all, staged, &[2], NOW);
    // It cannot read: not under its old keys, nor under a label that it would have keys for.
    let mut frame = all[1].seal(Lane::Updates, b"he is gone", SALT).unwrap();
    assert_eq!(all[2].open(Lane::Updates, peer(1), &frame, NOW), Err(OpenError::Ahead { epoch: 2 }));
    frame[..8].copy_from_slice(&1_u64.to_be_bytes());
    frame[8..16].copy_from_slice(&keys[2].tag().0);
    assert_eq!(all[2].open(Lane::Updates, peer(1), &frame, NOW), Err(OpenError::Forged));
    // It cannot speak, at once; others' late frames pass for two seconds.
    assert_eq!(all[1].open(Lane::Updates, peer(2), &late, NOW), Err(OpenError::UnknownSender));
    assert_eq!(all[1].due(), Some(NOW + GRACE_REMOVED));
    let mut receiver = Lanes::new(&group(3)[0], 1).unwrap();
    receiver.enter(&keys[0], NOW).unwrap();
    let last = NOW + (GRACE_REMOVED - Duration::from_millis(1));
    assert!(receiver.open(Lane::Updates, peer(1), &other, last).is_ok());
    let again = receiver.open(Lane::Updates, peer(1), &other, NOW + GRACE_REMOVED);
    assert_eq!(again, Err(OpenError::UnknownEpoch { epoch: 1 }));
    assert_eq!(receiver.due(), None, "forgotten");
}

#[test]
fn an_earlier_epoch_opens_for_a_while_after_an_addition() {
    let (mut keys, mut all) = three();
    let (early, late) =
        (all[1].seal(Lane::Updates, b"1", SALT).unwrap(), all[1].seal(Lane::Updates, b"2", SALT).unwrap());
    let newcomer = offer(3);
    let staged = add(&keys[0], &newcomer, 3);
    let mut joined = Lanes::new(&join(&newcomer, &staged), 1).unwrap();
    all_enter(&mut keys, &mut all, staged, &[], NOW);
    let before = NOW + (GRACE_ADDED - Duration::from_millis(1));
    assert!(all[2].open(Lane::Updates, peer(1), &early, before).is_ok());
    assert_eq!(
        all[2].open(Lane::Updates, peer(1), &late, NOW + GRACE_ADDED),
        Err(OpenError::UnknownEpoch { epoch: 1 })
    );
    let unknown = Err(OpenError::UnknownEpoch { epoch: 1 });
    assert_eq!(joined.open(Lane::Updates, peer(1), &early, NOW), unknown, "before its time");
    let frame = joined.seal(Lane::Realtime, b"hello", SALT).unwrap();
    assert!(all[1].open(Lane::Realtime, peer(3), &frame, NOW).is_ok());
}

#[test]
fn few_earlier_epochs_are_kept_and_a_removal_shortens_them_all() {
    let (mut keys, mut all) = three();
    let mut frames = Vec::new();
    for round in 0..6 {
        frames.push(all[1].seal(Lane::Updates, b"x", SALT).unwrap());
        let staged = keys[0].refresh(&identity(0), &seed(10 + round)).unwrap();
        all_enter(&mut keys, &mut all, staged, &[], NOW);
    }
    assert_eq!(all[2].old.len(), MAX_OLD);
    let opened: Vec<_> =
        frames.iter().map(|frame| all[2].open(Lane::Updates, peer(1), frame, NOW).is_ok()).collect();
    assert_eq!(opened, [false, false, true, true, true, true]);
    let now = NOW + Duration::from_secs(5);
    let staged = keys[0].remove(&[peer(1)], &identity(0), &seed(30)).unwrap();
    all_enter(&mut keys, &mut all, staged, &[1], now);
    assert!(all[2].old.iter().all(|(_, until)| *until <= now + GRACE_REMOVED));
    assert!(all[2].old.iter().all(|(epoch, _)| epoch.senders.values().all(|s| s.peer != peer(1))));
}

#[test]
fn a_seat_that_changed_hands_is_not_its_old_owners() {
    let (mut keys, mut all) = three();
    let leaf = keys[0].members()[&peer(2)];
    let late = all[2].seal(Lane::Updates, b"late", SALT).unwrap();
    let out = keys[0].remove(&[peer(2)], &identity(0), &seed(9)).unwrap();
    all_enter(&mut keys, &mut all, out, &[2], NOW);
    let newcomer = offer(3);
    let staged = add(&keys[0], &newcomer, 3);
    assert_eq!(staged.keys.members()[&peer(3)], leaf, "MLS gives the free leaf to the next");
    all_enter(&mut keys, &mut all, staged, &[2], NOW);
    for source in [2, 3] {
        assert_eq!(all[1].open(Lane::Updates, peer(source), &late, NOW), Err(OpenError::UnknownSender));
    }
}

#[test]
fn lanes_follow_their_own_keys_only() {
    let (keys, mut all) = three();
    assert!(matches!(all[1].enter(&keys[2], NOW), Err(EnterError::NotOurs)));
    let staged = keys[0].refresh(&identity(0), &seed(9)).unwrap();
    let next = merged(&keys[1], &staged.commit).keys;
    let early = all[0].seal(Lane::Updates, b"x", SALT).unwrap();
    assert!(all[1].open(Lane::Updates, peer(0), &early, NOW).is_ok());
    all[1].enter(&next, NOW).unwrap();
    assert_eq!((all[1].epoch(), all[1].old.len()), (2, 1));
    all[1].enter(&next, NOW).unwrap();
    assert_eq!((all[1].epoch(), all[1].old.len()), (2, 1), "it is there already");
    all[1].enter(&keys[1], NOW).unwrap();
    assert_eq!((all[1].epoch(), all[1].old.len()), (1, 1), "whatever it is given");
    assert_eq!(all[1].open(Lane::Updates, peer(0), &early, NOW), Err(OpenError::Replay));
}

/// Two hosts of one term, as there may be after a network was torn: everyone follows the one before the other in the
/// agreed order, from an epoch with a higher number to one with a lower.
#[test]
fn another_host_of_the_same_term_replaces_the_keys_whatever_their_number() {
    // Peer 0's group has come to epoch 3 of term 1; peer 1's to epoch 1, without 4.
    let name = GroupName { session: SESSION, term: 1 };
    let offers = [(2, offer(2)), (4, offer(4))];
    let packages: Vec<_> = offers.iter().map(|(n, offer)| (peer(*n), offer.package())).collect();
    let alone = GroupKeys::create(name, &identity(0), &seed(800)).unwrap();
    let staged = alone.add(&packages, &identity(0), &seed(801)).unwrap();
    let welcome = staged.welcome.as_deref().unwrap();
    let mut theirs: Vec<_> =
        offers.iter().map(|(_, offer)| GroupKeys::join(offer, welcome, name, peer(0)).unwrap()).collect();
    let mut host = staged.keys;
    for round in 0..2 {
        let staged = host.refresh(&identity(0), &seed(810 + round)).unwrap();
        theirs = theirs.iter().map(|keys| merged(keys, &staged.commit).keys).collect();
        host = staged.keys;
    }
    let (others, _) = another_term(1);
    let mut here = Lanes::new(&theirs[0], 1).unwrap();
    let mut removed = Lanes::new(&theirs[1], 1).unwrap();
    assert!(theirs[0].epoch() > others[1].epoch(), "what this test is about");

    let before = here.seal(Lane::Updates, b"before", SALT).unwrap();
    assert!(removed.open(Lane::Updates, peer(2), &before, NOW).is_ok(), "so far it reads");
    let late = removed.seal(Lane::Realtime, b"late", SALT).unwrap();
    here.enter(&others[1], NOW).unwrap();
    assert_eq!(here.epoch(), others[1].epoch());
    let mut frame = here.seal(Lane::Updates, b"after", SALT).unwrap();
    let mut new_host = Lanes::new(&others[0], 1).unwrap();
    assert_eq!(new_host.open(Lane::Updates, peer(2), &frame, NOW).unwrap().plaintext, b"after");
    assert!(removed.open(Lane::Updates, peer(2), &frame, NOW).is_err(), "from now on it does not");
    for number in 1..4 {
        frame[..8].copy_from_slice(&((1 << 32) | number as u64).to_be_bytes());
        frame[8..16].copy_from_slice(&removed.current.state.0);
        assert!(removed.open(Lane::Updates, peer(2), &frame, NOW).is_err(), "whatever the label says");
    }

    // What was under way is heard for a while; who seals with the old keys on, is told apart.
    let soon = NOW + Duration::from_secs(1);
    assert!(here.open(Lane::Realtime, peer(4), &late, soon).is_ok());
    let late = removed.seal(Lane::Realtime, b"too late", SALT).unwrap();
    let after = NOW + GRACE_TERM;
    assert_eq!(
        here.open(Lane::Realtime, peer(4), &late, after),
        Err(OpenError::Ahead { epoch: theirs[1].epoch() })
    );
}

#[test]
fn copies_of_a_node_share_no_nonce() {
    let (keys, _) = three();
    // All that a copy has in common with its original: keys, boot, counters.
    let mut copies = [0, 1].map(|_| Lanes::new(&keys[1], 7).unwrap());
    let mut nonces = BTreeSet::new();
    for round in 0..100_u64 {
        for (copy, lanes) in copies.iter_mut().enumerate() {
            // As the operating system gives it to each.
            let salt = (round << 1 | copy as u64).to_be_bytes();
            let frame = lanes.seal(Lane::Updates, b"the same", salt).unwrap();
            let header = Header::read(&frame).unwrap();
            assert_eq!((header.boot, header.counter, header.salt), (7, round, salt));
            assert!(nonces.insert(header.nonce().to_vec()), "round {round}");
        }
    }
}

#[test]
fn two_commits_for_one_epoch_are_told_apart() {
    let (keys, mut all) = three();
    let [one, other] = [9, 10].map(|number| keys[0].refresh(&identity(0), &seed(number)).unwrap());
    all[1].enter(&merged(&keys[1], &one.commit).keys, NOW).unwrap();
    all[2].enter(&merged(&keys[2], &other.commit).keys, NOW).unwrap();
    let frame = all[2].seal(Lane::Updates, b"x", SALT).unwrap();
    assert_eq!(all[1].open(Lane::Updates, peer(2), &frame, NOW), Err(OpenError::Forked { epoch: 2 }));
    // The host lets it in anew: to the same number, say. What it seals then is for those who are there too.
    all[1].enter(&merged(&keys[1], &other.commit).keys, NOW).unwrap();
    assert!(all[1].open(Lane::Updates, peer(2), &frame, NOW).is_ok());
}

#[test]
fn frames_of_a_coming_epoch_wait_for_its_commit() {
    let (keys, mut all) = three();
    let first = keys[0].refresh(&identity(0), &seed(9)).unwrap();
    let second = first.keys.refresh(&identity(0), &seed(10)).unwrap();
    let mut room = WaitingRoom::default();
    let mut expected = Vec::new();
    for (keys, text) in [(&second.keys, "second"), (&first.keys, "first")] {
        let frame = Lanes::new(keys, 1).unwrap().seal(Lane::Updates, text.as_bytes(), SALT).unwrap();
        let error = all[2].open(Lane::Updates, peer(0), &frame, NOW).unwrap_err();
        assert_eq!(error, OpenError::Ahead { epoch: keys.epoch() });
        let waiting = Waiting { lane: Lane::Updates, source: peer(0), frame };
        room.push(waiting.clone()).unwrap();
        expected.insert(0, waiting);
    }
    assert_eq!(room.release(all[2].epoch()), []);
    let next = merged(&keys[2], &first.commit).keys;
    all[2].enter(&next, NOW).unwrap();
    assert_eq!(room.release(all[2].epoch()), expected[..1]);
    let next = merged(&next, &second.commit).keys;
    all[2].enter(&next, NOW).unwrap();
    let released = room.release(all[2].epoch());
    assert_eq!(released, expected[1..]);
    assert!(room.is_empty());
    let Waiting { lane, source, frame } = &released[0];
    assert_eq!(all[2].open(*lane, *source, frame, NOW).unwrap().plaintext, b"second");
}

/// The host's and two members' keys of another host's group, in that term: peer 1 is its host, 2 comes along, 3 is new.
/// And the keys of 3 once 2 is put out.
fn another_term(term: u32) -> (Vec<GroupKeys>, GroupKeys) {
    let name = GroupName { session: SESSION, term };
    let offers = [(2, offer(2)), (3, offer(3))];
    let packages: Vec<_> = offers.iter().map(|(n, offer)| (peer(*n), offer.package())).collect();
    let alone = GroupKeys::create(name, &identity(1), &seed(900)).unwrap();
    let staged = alone.add(&packages, &identity(1), &seed(901)).unwrap();
    let join = |offer| GroupKeys::join(offer, staged.welcome.as_deref().unwrap(), name, peer(1)).unwrap();
    let mut keys: Vec<_> = offers.iter().map(|(_, offer)| join(offer)).collect();
    let without = staged.keys.remove(&[peer(2)], &identity(1), &seed(902)).unwrap();
    let later = merged(&keys[1], &without.commit).keys;
    keys.insert(0, staged.keys);
    (keys, later)
}

/// As if the group had come so far.
fn numbered(keys: &GroupKeys, number: u64) -> Epoch {
    Epoch { number, state: EpochTag(number.to_be_bytes()), ..Epoch::of(keys).unwrap() }
}

#[test]
fn a_term_is_the_upper_half_of_an_epochs_number() {
    assert_eq!([0, u64::from(u32::MAX), 1 << 32, u64::MAX].map(term), [0, 0, 1, u32::MAX]);
}

#[test]
fn frames_of_a_later_term_wait_however_far_it_is() {
    let (_, mut all) = three();
    let (keys, _) = another_term(7);
    let first = keys[0].epoch();
    assert_eq!(term(first), 7);
    let mut host = Lanes::new(&keys[0], 1).unwrap();
    host.current = numbered(&keys[0], first + 40);
    let frame = host.seal(Lane::Control, b"here", SALT).unwrap();
    let ahead = Err(OpenError::Ahead { epoch: first + 40 });
    assert_eq!(all[2].open(Lane::Control, peer(1), &frame, NOW), ahead);
    all[2].enter(&keys[1], NOW).unwrap();
    let far = Err(OpenError::UnknownEpoch { epoch: first + 40 });
    assert_eq!(all[2].open(Lane::Control, peer(1), &frame, NOW), far, "within a term it is too far");
    all[2].move_on(numbered(&keys[1], first + 40), NOW);
    assert_eq!(all[2].open(Lane::Control, peer(1), &frame, NOW).unwrap().plaintext, b"here");
}

#[test]
fn a_terms_last_epoch_opens_for_a_minute_for_all_who_were_in_it() {
    let (_, mut all) = three();
    let (keys, _) = another_term(1);
    // 0, the old host, does not come along; 1 has another leaf now.
    let from_0: Vec<_> = (0..2).map(|_| all[0].seal(Lane::Realtime, b"old", SALT).unwrap()).collect();
    let from_1 = all[1].seal(Lane::Updates, b"old", SALT).unwrap();
    assert_ne!(all[1].current.mine, keys[0].leaf(), "what this test is about");
    all[2].enter(&keys[1], NOW).unwrap();
    let last = NOW + (GRACE_TERM - Duration::from_millis(1));
    assert!(all[2].open(Lane::Realtime, peer(0), &from_0[0], last).is_ok());
    assert!(all[2].open(Lane::Updates, peer(1), &from_1, last).is_ok());
    assert_eq!(all[2].open(Lane::Updates, peer(1), &from_1, last), Err(OpenError::Replay));
    let over = Err(OpenError::UnknownEpoch { epoch: 1 });
    assert_eq!(all[2].open(Lane::Realtime, peer(0), &from_0[1], NOW + GRACE_TERM), over);
    // Back to a host of a lower term, should the node turn out to belong there.
    all[2].enter(&group(3)[2], NOW).unwrap();
    assert_eq!(all[2].epoch(), 1);
}

#[test]
fn who_is_put_out_in_the_new_term_is_not_heard_in_the_old_one_either() {
    let (_, mut all) = three();
    let (keys, later) = another_term(1);
    let frames = [0, 1, 2].map(|from| all[from].seal(Lane::Updates, b"old", SALT).unwrap());
    let mut receiver = Lanes::new(&keys[2], 1).unwrap();
    // As if it had been in the old term too.
    receiver.current = Epoch { mine: 9, ..Epoch::of(&group(3)[0]).unwrap() };
    receiver.enter(&keys[2], NOW).unwrap();
    receiver.enter(&later, NOW).unwrap();
    assert_eq!(receiver.open(Lane::Updates, peer(2), &frames[2], NOW), Err(OpenError::UnknownSender));
    let later = NOW + GRACE_REMOVED + Duration::from_secs(1);
    for from in [0, 1] {
        assert!(receiver.open(Lane::Updates, peer(from), &frames[usize::from(from)], later).is_ok());
    }
}

#[test]
fn commits_of_a_new_term_do_not_push_the_old_one_out() {
    let (_, mut all) = three();
    let (keys, _) = another_term(1);
    let frame = all[1].seal(Lane::Updates, b"old", SALT).unwrap();
    for number in 1..10 {
        all[2].move_on(numbered(&keys[1], (1 << 32) | number), NOW);
    }
    assert!(all[2].open(Lane::Updates, peer(1), &frame, NOW).is_ok());
    for number in 2..20 {
        all[2].move_on(numbered(&keys[1], number << 32), NOW);
    }
    assert!(all[2].old.len() <= 2 * MAX_OLD, "however many terms there are");
    let over = Err(OpenError::UnknownEpoch { epoch: 1 });
    assert_eq!(all[2].open(Lane::Updates, peer(1), &frame, NOW), over);
}

/// A frame-like thing of an epoch, `len` bytes.
fn waiting(source: u16, epoch: u64, len: usize) -> Waiting {
    let mut frame = vec![0; len];
    frame[..8].copy_from_slice(&epoch.to_be_bytes());
    Waiting { lane: Lane::Realtime, source: peer(source), frame }
}

#[test]
fn the_waiting_room_is_bounded_in_all_and_for_each() {
    let mut room = WaitingRoom::default();
    for _ in 0..MAX_WAITING_OF_ONE {
        room.push(waiting(1, 5, OVERHEAD)).unwrap();
    }
    assert_eq!(room.push(waiting(1, 5, OVERHEAD)), Err(NoRoom), "one's share by number");
    for source in 2..5 {
        for _ in 0..MAX_WAITING_OF_ONE {
            room.push(waiting(source, 5, OVERHEAD)).unwrap();
        }
    }
    assert_eq!(room.push(waiting(9, 5, OVERHEAD)), Err(NoRoom), "all by number");
    assert_eq!(room.release(5).len(), MAX_WAITING);

    let half = MAX_WAITING_BYTES_OF_ONE / 2;
    for source in 1..5 {
        room.push(waiting(source, 6, half)).unwrap();
        room.push(waiting(source, 7, half)).unwrap();
        assert_eq!(room.push(waiting(source, 6, OVERHEAD)), Err(NoRoom), "one's share by size");
    }
    assert_eq!(room.push(waiting(9, 6, OVERHEAD)), Err(NoRoom), "all by size");
    assert_eq!(room.release(6).len(), 4);
    room.push(waiting(9, 7, OVERHEAD)).unwrap();
    let stump = Waiting { lane: Lane::Realtime, source: peer(9), frame: vec![0; 3] };
    assert_eq!(room.push(stump), Err(NoRoom), "not a frame");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_open_nothing(bytes in vec(any::<u8>(), 0..200), epoch in 0..4_u64, leaf in 0..4_u32) {
        let (_, mut all) = three();
        let state = all[2].current.state;
        let mut near = Header { epoch, state, leaf, boot: 1, counter: 0, salt: SALT }.write().to_vec();
        near.extend_from_slice(&bytes);
        for frame in [bytes, near] {
            for lane in Lane::ALL {
                prop_assert!(all[2].open(lane, peer(1), &frame, NOW).is_err());
            }
        }
    }

    #[test]
    fn any_message_comes_through(text in vec(any::<u8>(), 0..3_000), lane in 0..Lane::ALL.len()) {
        let (_, mut all) = three();
        let lane = Lane::ALL[lane];
        let frame = all[0].seal(lane, &text, SALT).unwrap();
        let opened = all[1].open(lane, peer(0), &frame, NOW).unwrap();
        prop_assert_eq!(opened, Opened { sender: peer(0), plaintext: text });
    }
}
