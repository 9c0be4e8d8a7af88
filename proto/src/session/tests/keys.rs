//! The group's keys against the roster, and against what others follow: what a cheating host could hope to hide.

use super::{succession::running, *};
use crate::session::Change;

/// Some seconds pass, and everything that is said arrives.
fn wait(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.tick(Duration::from_secs(1));
        world.deliver_all();
    }
}

#[test]
fn who_followed_another_commit_than_the_others_comes_back() {
    let mut world = running(3, 3);
    // Two commits of the host's to an epoch of one number: member 0 gets the one, everybody else the other.
    let keys = Arc::clone(world.role(HOST).unwrap().keys().unwrap());
    let staged = keys.refresh(&world.host_identity, &[99; 32]).unwrap();
    let change = Change { commit: staged.commit, added: Vec::new() };
    let from = world.identities[1].peer();
    let answer = CommitsResponse { newest: change.commit.epoch, state: None, changes: vec![change] };
    world.tell(0, Input::Commits { from, answer });
    let due = world.host().due().unwrap();
    world.tick(due.since(world.now));
    world.deliver_all();
    let keys_of = |world: &World, i: usize| Arc::clone(world.role(i).unwrap().keys().unwrap());
    let [astray, right] = [0, 1].map(|i| keys_of(&world, i));
    assert_eq!(astray.epoch(), right.epoch(), "what this test is about");
    assert_ne!(astray.tag(), right.tag());

    // A frame of somebody's in the other epoch of that number is a hint.
    world.tell(0, Input::Behind(astray.epoch()));
    wait(&mut world, 20);
    world.agree(&[0, 1, 2, HOST]);
    assert_eq!(keys_of(&world, 0).tag(), keys_of(&world, 1).tag());
}

#[test]
fn a_false_hint_of_another_commit_changes_nothing() {
    let mut world = running(3, 3);
    let epoch = world.host().keys().unwrap().epoch();
    for _ in 0..10 {
        world.tell(0, Input::Behind(epoch));
        wait(&mut world, 3);
    }
    assert_eq!(world.host().keys().unwrap().epoch(), epoch, "nobody was let in anew");
    world.agree(&[0, 1, 2, HOST]);
}

#[test]
fn who_is_left_in_the_keys_though_it_has_gone_is_noticed() {
    let mut world = running(3, 3);
    let gone = world.identities[2].peer();
    let mut told: Vec<_> = world.member(0).roster().cloned().collect();
    let entry = told.iter_mut().find(|entry| entry.contact.peer == gone).unwrap();
    entry.state = SeatState::Removed;
    let roster = roster(&world, told);
    world.tell(0, from_host(&world, 0, Message::Roster(Box::new(roster))));
    // The commit that puts it out may be under way.
    wait(&mut world, 5);
    assert_eq!(world.member(0).state(), MemberState::Running);
    wait(&mut world, 15);
    assert_eq!(world.member(0).state(), MemberState::Left, "the host says that there is no such commit");
    assert!(world.member(0).why().unwrap().contains("keys"), "{:?}", world.member(0).why());
}

#[test]
fn who_has_gone_is_not_let_into_the_keys_again_without_a_slot() {
    let mut world = running(3, 3);
    let gone = world.identities[2].peer();
    world.tell_host(Input::Remove(gone)).unwrap();
    world.settle();
    world.agree(&[0, 1, HOST]);
    let offer = KeyOffer::new(&world.identities[2], &[98; 32]).unwrap();
    let keys = Arc::clone(world.role(HOST).unwrap().keys().unwrap());
    let staged = keys.add(&[(gone, offer.package())], &world.host_identity, &[99; 32]).unwrap();
    let change = Change { commit: staged.commit, added: Vec::new() };
    world.tell(0, from_host(&world, 0, Message::Keys(Box::new(change))));
    assert_eq!(world.member(0).state(), MemberState::Left);
}
