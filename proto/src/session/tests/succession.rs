//! The group's keys through every change of its members, and of its host.

use super::*;
use crate::session::{
    Claim, VoteResponse,
    election::{MAX_TERM_STEP, Mandate, Standing, Vote},
};

/// A session of a host and `members` members that runs.
pub(super) fn running(copies: u32, members: usize) -> World {
    let mut world = World::new(copies, members, Tariff::FREE);
    world.settle();
    world
}

/// Until the session's patience with its host is over, for everyone who is up.
pub(super) fn wait_for_successor(world: &mut World) {
    for _ in 0..40 {
        world.tick(TAKEOVER / 8);
        world.deliver_all();
    }
}

pub(super) fn hosts(world: &World) -> Vec<usize> {
    let is_host = |i: &usize| !world.down.contains(i) && world.role(*i).unwrap().as_host().is_some();
    world.everyone().into_iter().filter(is_host).collect()
}

/// For some minutes those of one side hear only one another.
pub(super) fn live_apart(world: &mut World, here: impl Fn(usize) -> bool) {
    for _ in 0..60 {
        world.tick_apart(TAKEOVER / 8, &here);
        while let Some(parcel) = world.parcels.pop() {
            if here(parcel.from) == here(parcel.to) {
                world.deliver(parcel);
            }
        }
    }
}

#[test]
fn keys_are_those_of_the_group_through_join_leave_and_removal() {
    let mut world = running(4, 4);
    world.agree(&[0, 1, 2, 3, HOST]);
    world.tell(0, Input::Leave);
    world.settle();
    world.agree(&[1, 2, 3, HOST]);
    assert!(world.members[0].as_ref().unwrap().keys().is_none());
    let gone = world.identities[1].peer();
    world.tell_host(Input::Remove(gone)).unwrap();
    assert!(!world.host().keys().unwrap().members().contains_key(&gone), "at once");
    world.settle();
    world.agree(&[2, 3, HOST]);
    let again = contact(&world.identities[0], "m");
    world.tell_host(Input::Invite(vec![again])).unwrap();
    world.settle();
    world.agree(&[0, 2, 3, HOST]);
}

#[test]
fn keys_are_refreshed_after_a_while() {
    let mut world = running(2, 2);
    let before = world.host().keys().unwrap().epoch();
    let due = world.host().due().expect("a refresh is due");
    world.tick(due.since(world.now));
    world.settle();
    assert_eq!(world.host().keys().unwrap().epoch(), before + 1);
    world.agree(&[0, 1, HOST]);
}

#[test]
fn a_commit_that_was_missed_is_had_from_another_member_when_the_host_is_gone() {
    let mut world = running(3, 3);
    // Member 2 leaves; the host tells member 0 alone, and is gone.
    world.tell(2, Input::Leave);
    while let Some(parcel) = world.parcels.pop() {
        if parcel.to != 1 {
            world.deliver(parcel);
        }
    }
    world.down.insert(HOST);
    let newest = world.role(0).unwrap().keys().unwrap().epoch();
    assert_eq!(world.role(1).unwrap().keys().unwrap().epoch() + 1, newest);
    world.tell(1, Input::Behind(newest));
    world.deliver_all();
    assert_eq!(world.role(1).unwrap().keys().unwrap().epoch(), newest);
    assert_eq!(world.entered[&1].epoch(), newest);
}

#[test]
fn a_hint_of_an_epoch_that_does_not_exist_costs_a_bounded_number_of_questions() {
    let mut world = running(2, 2);
    world.tell(0, Input::Behind(u64::MAX));
    world.deliver_all();
    let due = world.role(0).unwrap().due().expect("the host may be lost yet");
    assert!(due >= world.now + TAKEOVER, "nobody is asked again: {due:?}");
    world.agree(&[0, 1, HOST]);
}

#[test]
fn who_lost_its_keys_is_let_in_anew() {
    let mut world = running(2, 2);
    // A commit that does not stand up, as if this node's state had been lost.
    let broken = crate::session::Change {
        commit: crate::group::keys::Commit { epoch: 3, bytes: vec![1, 2, 3] },
        added: Vec::new(),
    };
    let before = world.host().keys().unwrap().epoch();
    world.tell(0, from_host(&world, 0, Message::Keys(Box::new(broken))));
    // The host's own numbering is one behind now: it says something, which is taken for the broken one.
    world.tell_host(Input::Suspend).unwrap();
    world.settle();
    assert_eq!(world.host().keys().unwrap().epoch(), before + 2, "out and in again");
    world.agree(&[0, 1, HOST]);
}

#[test]
fn when_the_host_does_not_come_back_the_first_in_order_takes_over() {
    let mut world = running(3, 3);
    world.down.insert(HOST);
    world.tick(TAKEOVER / 2);
    world.deliver_all();
    assert!(hosts(&world).is_empty(), "not before the time that the session states");
    wait_for_successor(&mut world);
    let first =
        (0..3).min_by_key(|i| world.ledger().slot_of(world.identities[*i].peer()).unwrap().k).unwrap();
    assert_eq!(hosts(&world), [first]);
    let role = world.role(first).unwrap();
    assert_eq!(role.term(), 1);
    assert!(role.runs(), "the program goes on");
    world.agree(&[0, 1, 2]);
    assert!((0..3).all(|i| world.role(i).unwrap().term() == 1));

    // It has no copies, and can do what a host does without.
    let other = (first + 1) % 3;
    let gone = world.identities[other].peer();
    world.step(first, Input::Remove(gone)).unwrap();
    world.parcels.retain(|parcel| parcel.to != HOST);
    world.deliver_all();
    assert_eq!(world.member(other).state(), MemberState::Removed);

    // The old host is back: somebody else is host now.
    world.down.remove(&HOST);
    world.crash(HOST);
    world.step(first, Input::Reachable(world.host_identity.peer())).unwrap();
    world.settle();
    assert!(world.host.as_member().is_some_and(|member| member.runs()));
    let last = 3 - first - other;
    world.agree(&[first, last, HOST]);
    let right = world.host.as_member().unwrap().right().expect("the ticket's host needs no slot");
    assert_eq!(right.holder(), world.host_identity.peer());
}

#[test]
fn a_host_that_comes_back_in_time_is_host_still() {
    let mut world = running(2, 2);
    world.down.insert(HOST);
    for _ in 0..3 {
        world.tick(TAKEOVER / 4);
        world.deliver_all();
    }
    world.down.remove(&HOST);
    world.crash(HOST);
    wait_for_successor(&mut world);
    assert_eq!(hosts(&world), [HOST]);
    assert!((0..2).all(|i| world.role(i).unwrap().term() == 0));
    world.agree(&[0, 1, HOST]);
}

#[test]
fn a_single_member_takes_nothing_over() {
    let mut world = running(1, 1);
    world.down.insert(HOST);
    wait_for_successor(&mut world);
    assert!(hosts(&world).is_empty());
    assert!(world.role(0).unwrap().runs(), "and goes on");
}

/// What member `i` asks the others.
pub(super) fn candidacy(world: &World, i: usize, term: u32) -> VoteRequest {
    VoteRequest {
        session: SESSION,
        term,
        epoch: u64::MAX,
        candidate: contact(&world.identities[i], "m"),
        slot: world.member(i).slot().map(Verified::to_signed),
        membership: world.membership(i),
        follows: Standing { term: 0, host: world.host_identity.peer() },
    }
}

#[test]
fn members_that_still_hear_their_host_give_no_vote() {
    let mut world = running(3, 3);
    let request = candidacy(&world, 0, 1);
    let from = world.identities[0].peer();
    assert!(matches!(world.ask(1, from, &request), VoteResponse::Refused { .. }));
    assert_eq!(world.steps_by_request, 0);
}

#[test]
fn one_vote_a_term_also_after_a_crash() {
    let mut world = running(3, 3);
    world.down.insert(HOST);
    world.now = world.now + TAKEOVER * 4;
    let (one, other) = (world.identities[0].peer(), world.identities[2].peer());
    let (for_one, for_other) = (candidacy(&world, 0, 1), candidacy(&world, 2, 1));
    assert!(matches!(world.ask(1, one, &for_one), VoteResponse::Granted { .. }));
    world.crash(1);
    world.now = world.now + TAKEOVER * 4;
    assert!(matches!(world.ask(1, other, &for_other), VoteResponse::Refused { .. }));
    assert!(matches!(world.ask(1, one, &for_one), VoteResponse::Granted { .. }), "the same, again");
}

/// What an impostor would send.
pub(super) fn claim_of(world: &World, i: usize, term: u32, voters: &[usize]) -> Input {
    let candidate = world.identities[i].peer();
    let vote = |voter: &usize| {
        let identity = world.identity(*voter);
        let (voter, at) = (identity.peer(), world.now);
        sign(&Vote { session: SESSION, term, candidate, voter, at }, identity).unwrap().to_signed()
    };
    let members = world.member(i).roster().cloned().collect();
    let slot = world.member(i).slot().unwrap().to_signed();
    let roster = super::super::Roster {
        term,
        host: contact(&world.identities[i], "m"),
        host_slot: Some(slot),
        host_membership: world.membership(i),
        former_hosts: vec![world.host_identity.peer()],
        takeover: TAKEOVER,
        members,
    };
    let mandates = vec![Mandate { term, host: candidate, votes: voters.iter().map(vote).collect() }];
    let claim = Claim { mandates, roster, welcome: None, state: HostState::Running, suspended: false };
    Input::Message { from: candidate, term, first: 0, messages: vec![Message::Claim(Box::new(claim))] }
}

#[test]
fn a_claim_without_the_votes_deposes_nobody() {
    let mut world = running(3, 3);
    for voters in [&[][..], &[0], &[0, 0, 0]] {
        let claim = claim_of(&world, 0, 1, voters);
        world.tell_host(claim.clone()).unwrap();
        world.tell(1, claim);
        assert_eq!(hosts(&world), [HOST], "{voters:?}");
        assert_eq!(world.role(1).unwrap().term(), 0, "{voters:?}");
    }
    // Who has lost its host is not fooled either.
    world.now = world.now + TAKEOVER;
    let claim = claim_of(&world, 0, 1, &[0]);
    world.tell(1, claim);
    assert_eq!(world.role(1).unwrap().term(), 0);
    let claim = claim_of(&world, 0, 1, &[0, 1]);
    world.tell_host(claim).unwrap();
    assert!(world.host.as_member().is_some(), "two of three are enough");
}

#[test]
fn a_host_hands_over_with_the_copies_that_are_left() {
    let mut world = running(4, 2);
    let successor = world.identities[1].peer();
    world.tell_host(Input::HandOver(successor)).unwrap();
    assert_eq!(world.ledger().left(), 0, "nothing is given out here any more");
    world.settle();
    assert_eq!(hosts(&world), [1]);
    world.agree(&[0, 1, HOST]);
    assert_eq!(world.ledgers[&1].left(), 2);

    // Its copies are good: for two more, and no third.
    let newcomers: Vec<_> = (20..23).map(|seed| Identity::from_seed(&[seed; 32])).collect();
    world.identities.extend(newcomers);
    world.members.extend([None, None, None]);
    let invited = (2..5).map(|i| contact(&world.identities[i], "m")).collect();
    world.step(1, Input::Invite(invited)).unwrap();
    world.settle();
    let states: Vec<_> = (2..5).map(|i| world.member(i).state()).collect();
    let count = |state| states.iter().filter(|other| **other == state).count();
    assert_eq!((count(MemberState::Running), count(MemberState::Refused)), (2, 1), "{states:?}");

    // And back again.
    let first = world.host_identity.peer();
    world.step(1, Input::HandOver(first)).unwrap();
    world.settle();
    assert_eq!(hosts(&world), [HOST]);
    assert_eq!(world.role(HOST).unwrap().term(), 2);
}

#[test]
fn two_parts_of_a_group_that_was_torn_apart_end_with_one_host() {
    let mut world = running(5, 5);
    // Members 0 and 1 with the host here, 2, 3 and 4 there.
    live_apart(&mut world, |i| matches!(i, 0 | 1 | HOST));
    let apart = hosts(&world);
    assert_eq!(apart.len(), 2, "{apart:?}");
    world.settle();
    let together = hosts(&world);
    assert_eq!(together.len(), 1, "{together:?}");
    assert_ne!(together, [HOST], "the higher term");
    world.agree(&[0, 1, 2, 3, 4, HOST]);
}

fn two_outsiders_claim(
    world: &World,
    boss: usize,
    friend: usize,
    slots: [crate::rights::Signed<crate::rights::Slot>; 2],
) -> Input {
    let [boss_slot, friend_slot] = slots;
    let candidate = world.identities[boss].peer();
    let vote = |voter: usize| {
        let identity = world.identity(voter);
        let (voter, at) = (identity.peer(), world.now);
        sign(&Vote { session: SESSION, term: 1, candidate, voter, at }, identity).unwrap().to_signed()
    };
    let members = vec![super::super::RosterEntry {
        slot: Some(friend_slot),
        membership: world.membership(friend),
        contact: contact(&world.identities[friend], "m"),
        state: SeatState::Joined,
        gave_back: false,
    }];
    let roster = super::super::Roster {
        term: 1,
        host: contact(&world.identities[boss], "m"),
        host_slot: Some(boss_slot),
        host_membership: world.membership(boss),
        former_hosts: vec![world.host_identity.peer()],
        takeover: TAKEOVER,
        members,
    };
    let mandates = vec![Mandate { term: 1, host: candidate, votes: vec![vote(boss), vote(friend)] }];
    let claim = Claim { mandates, roster, welcome: None, state: HostState::Running, suspended: false };
    Input::Message { from: candidate, term: 1, first: 0, messages: vec![Message::Claim(Box::new(claim))] }
}

#[test]
fn two_removed_members_do_not_become_hosts_of_one_that_lost_its_host() {
    let mut world = running(5, 5);
    let slots = [3, 4].map(|i| world.member(i).slot().unwrap().to_signed());
    for i in [3, 4] {
        let gone = world.identities[i].peer();
        world.tell_host(Input::Remove(gone)).unwrap();
    }
    world.settle();
    world.agree(&[0, 1, 2, HOST]);
    world.now = world.now + TAKEOVER;
    let claim = two_outsiders_claim(&world, 3, 4, slots);
    world.tell(0, claim);
    let host = world.member(0).host().peer;
    assert_eq!(host, world.host_identity.peer(), "a removed member is host now");
}

#[test]
fn a_vote_for_the_last_term_does_not_end_elections() {
    let mut world = running(3, 3);
    world.now = world.now + TAKEOVER;
    let from = world.identities[0].peer();
    let last = candidacy(&world, 0, u32::MAX);
    for _ in 0..100 {
        world.ask(1, from, &last);
    }
    let answer = world.ask(1, from, &candidacy(&world, 0, 1));
    assert!(
        matches!(answer, VoteResponse::Refused { term, .. } if term <= MAX_TERM_STEP),
        "one word in some time counts: {answer:?}"
    );
}

#[test]
fn who_waits_for_the_answer_to_its_offer_makes_no_other() {
    let mut world = running(2, 2);
    let from = world.host_identity.peer();
    let newest = world.role(0).unwrap().keys().unwrap().epoch() + 9;
    for _ in 0..100 {
        let answer = CommitsResponse { newest, ..CommitsResponse::default() };
        world.tell(0, Input::Commits { from, answer });
        world.now = world.now + Duration::from_secs(30);
        world.tell(0, Input::Tick);
    }

    let offers = world.parcels.iter().filter_map(|parcel| match &parcel.load {
        Load::Messages { messages, .. } => {
            Some(messages.iter().filter(|message| matches!(message, Message::Offer(_))).count())
        }
        _ => None,
    });
    assert_eq!(offers.max(), Some(1));
    world.settle();
    world.agree(&[0, 1, HOST]);
}

fn newcomer_without_telling_0() -> (World, crate::session::Change) {
    let mut world = running(5, 3);
    world.identities.push(Identity::from_seed(&[77; 32]));
    world.members.push(None);
    let who = contact(&world.identities[3], "m");
    world.tell_host(Input::Invite(vec![who])).unwrap();
    for _ in 0..6 {
        let parcels = std::mem::take(&mut world.parcels);
        for parcel in parcels {
            if parcel.to != 0 {
                world.deliver(parcel);
            }
        }
        world.tell(3, Input::Accept);
        world.tell(3, Input::Received);
    }
    let me = world.identities[0].peer();
    let answer = world.host().commits_after(me, world.role(0).unwrap().keys().unwrap().epoch());
    assert_eq!(answer.changes.len(), 1);
    assert_eq!(answer.changes[0].added.len(), 1);
    (world, answer.changes[0].clone())
}

#[test]
fn a_member_that_withholds_a_slot_does_not_drive_another_out() {
    let (mut world, mut change) = newcomer_without_telling_0();
    change.added.clear();
    let from = world.identities[1].peer();
    let answer = CommitsResponse { newest: change.commit.epoch, state: None, changes: vec![change] };
    world.tell(0, Input::Commits { from, answer });
    assert!(world.member(0).state() == MemberState::Running, "{:?}", world.member(0).why());
}

#[test]
fn a_member_does_not_bring_a_removed_one_back() {
    let mut world = running(5, 3);
    let entry =
        world.member(0).roster().find(|e| e.contact.peer == world.identities[2].peer()).unwrap().clone();
    let gone = world.identities[2].peer();
    world.tell_host(Input::Remove(gone)).unwrap();
    world.settle();
    world.agree(&[0, 1, HOST]);
    // A refresh that member 0 misses, brought by 1 with the removed member's entry.
    let due = world.host().due().unwrap();
    world.tick(due.since(world.now));
    let me = world.identities[0].peer();
    let mut answer = world.host().commits_after(me, world.role(0).unwrap().keys().unwrap().epoch());
    assert_eq!(answer.changes.len(), 1);
    answer.changes[0].added.push(entry);
    let from = world.identities[1].peer();
    world.tell(0, Input::Commits { from, answer });
    let group = world.member(0).group().unwrap();
    assert!(!group.iter().any(|c| c.peer == gone), "the removed one is in the group again");
}

#[test]
fn who_has_no_slot_is_not_made_host_by_a_deposed_one() {
    let mut world = running(3, 3);
    world.down.insert(HOST);
    wait_for_successor(&mut world);
    let boss = hosts(&world)[0];
    let follower = (boss + 1) % 3;
    let outsider = Identity::from_seed(&[78; 32]);
    let (voter, candidate) = (world.host_identity.peer(), outsider.peer());
    let vote = Vote { session: SESSION, term: 9, candidate, voter, at: world.now };
    let vote = sign(&vote, &world.host_identity).unwrap().to_signed();
    let mandates = vec![Mandate { term: 9, host: candidate, votes: vec![vote] }];
    let roster = super::super::Roster {
        term: 9,
        host: contact(&outsider, "o"),
        host_slot: None,
        host_membership: None,
        former_hosts: vec![],
        takeover: TAKEOVER,
        members: vec![],
    };
    let claim = Claim { mandates, roster, welcome: None, state: HostState::Running, suspended: false };
    world.tell(
        follower,
        Input::Message {
            from: outsider.peer(),
            term: 9,
            first: 0,
            messages: vec![Message::Claim(Box::new(claim))],
        },
    );
    assert_ne!(
        world.member(follower).host().peer,
        outsider.peer(),
        "somebody without a slot is host, by the word of a deposed one"
    );
}

#[test]
fn a_commit_does_not_seat_two_in_one_place() {
    let (mut world, mut change) = newcomer_without_telling_0();
    // The host gives the newcomer the number of member 1.
    let other = world.member(1).slot().unwrap().clone();
    let forged = crate::rights::Slot { member: world.identities[3].peer(), ..(*other).clone() };
    let forged = sign(&forged, &world.host_identity).unwrap();
    change.added[0].slot = Some(forged.to_signed());
    change.added[0].membership = membership(&world, &forged);
    let out = world.hears(0, from_host(&world, 0, Message::Keys(Box::new(change))));
    assert!(
        out.iter().any(|o| matches!(o, Output::Cheat(_))),
        "an equivocation in a commit goes unnoticed; state {:?}",
        world.member(0).state()
    );
}

#[test]
fn who_was_ready_when_the_host_was_lost_is_started_by_the_next() {
    let mut world = running(5, 2);
    world.identities.push(Identity::from_seed(&[77; 32]));
    world.members.push(None);
    let who = contact(&world.identities[2], "m");
    world.tell_host(Input::Invite(vec![who])).unwrap();
    for _ in 0..4 {
        world.deliver_all();
        world.tell(2, Input::Accept);
    }
    assert_eq!(world.member(2).state(), MemberState::Receiving);
    world.tell(2, Input::Received);
    // Its notice gets through; the start does not get back.
    while let Some(parcel) = world.parcels.pop() {
        if parcel.to != 2 {
            world.deliver(parcel);
        }
    }
    assert_eq!(seat_of(&world, 2), SeatState::Ready);
    world.down.insert(HOST);
    wait_for_successor(&mut world);
    assert_eq!(hosts(&world).len(), 1);
    for _ in 0..10 {
        world.tick(std::time::Duration::from_secs(31));
        world.deliver_all();
    }
    let role = world.role(2).unwrap();
    assert!(role.runs(), "{:?}", role.as_member().map(|m| m.state()));
}

#[test]
fn a_host_without_copies_can_hand_over() {
    let mut world = running(3, 3);
    world.down.insert(HOST);
    wait_for_successor(&mut world);
    let boss = hosts(&world)[0];
    let next = world.identities[(boss + 1) % 3].peer();
    world.step(boss, Input::HandOver(next)).unwrap();
}

#[test]
fn offers_have_a_pace() {
    let mut world = running(2, 2);
    let before = world.host().keys().unwrap().epoch();
    let from = world.identities[0].peer();
    for n in 0..20u8 {
        let first = world.host().expected_of(from).unwrap();
        let offer = KeyOffer::new(&world.identities[0], &[n + 1; 32]).unwrap();
        let messages = vec![Message::Offer(offer.package().to_vec())];
        world.tell_host(Input::Message { from, term: 0, first, messages }).unwrap();
    }
    let after = world.host().keys().unwrap().epoch();
    assert!(after - before <= 4, "{} commits at one instant", after - before);
}

#[test]
fn a_host_without_copies_invites_again_who_left() {
    let mut world = running(3, 3);
    world.down.insert(HOST);
    wait_for_successor(&mut world);
    let boss = hosts(&world)[0];
    let other = (boss + 1) % 3;
    world.tell(other, Input::Leave);
    world.deliver_all();
    assert_eq!(world.member(other).state(), MemberState::Left);
    let again = contact(&world.identities[other], "m");
    world.step(boss, Input::Invite(vec![again])).unwrap();
    for _ in 0..10 {
        world.deliver_all();
        world.tell(other, Input::Accept);
        world.tell(other, Input::Received);
    }
    assert_eq!(world.member(other).state(), MemberState::Running);
}

/// Member 1 is host now, and nobody has heard of it yet.
fn just_handed_over(copies: u32, members: usize) -> World {
    let mut world = running(copies, members);
    let successor = world.identities[1].peer();
    world.tell_host(Input::HandOver(successor)).unwrap();
    let parcels = std::mem::take(&mut world.parcels);
    parcels.into_iter().filter(|parcel| parcel.to == 1).for_each(|parcel| world.deliver(parcel));
    assert!(world.role(1).unwrap().as_host().is_some());
    world
}

#[test]
fn a_new_host_that_removes_somebody_stops_using_the_old_keys_at_once() {
    let mut world = just_handed_over(3, 3);
    let gone = world.identities[0].peer();
    assert!(
        world.entered[&1].members().contains_key(&gone),
        "until others have the new keys, the old ones serve"
    );
    world.step(1, Input::Remove(gone)).unwrap();
    assert!(!world.entered[&1].members().contains_key(&gone));
    world.settle();
    world.agree(&[1, 2, HOST]);
}

#[test]
fn who_left_under_one_host_can_be_invited_by_the_next() {
    let mut world = running(3, 3);
    world.tell(0, Input::Leave);
    world.settle();
    let successor = world.identities[1].peer();
    world.tell_host(Input::HandOver(successor)).unwrap();
    world.settle();
    let again = contact(&world.identities[0], "m");
    world.step(1, Input::Invite(vec![again])).unwrap();
    world.settle();
    assert!(world.role(0).unwrap().runs());
    world.agree(&[0, 1, 2, HOST]);
}

#[test]
fn a_slot_that_was_given_back_is_not_good_under_the_next_host_either() {
    let mut world = running(2, 2);
    world.tell(0, Input::Discard);
    world.settle();
    let successor = world.identities[1].peer();
    world.tell_host(Input::HandOver(successor)).unwrap();
    world.settle();
    world.identities.push(Identity::from_seed(&[20; 32]));
    world.members.push(None);
    let newcomer = contact(&world.identities[2], "m");
    world.step(1, Input::Invite(vec![newcomer])).unwrap();
    world.settle();
    assert!(world.role(2).unwrap().runs(), "it has the copy that came back");
    let again = contact(&world.identities[0], "m");
    world.step(1, Input::Invite(vec![again])).unwrap();
    world.settle();
    assert_eq!(world.member(0).state(), MemberState::Refused, "there is none left");
}

#[test]
fn who_has_left_is_not_elected() {
    let mut world = running(3, 3);
    world.down.insert(HOST);
    let candidate =
        (0..3).min_by_key(|i| world.ledger().slot_of(world.identities[*i].peer()).unwrap().k).unwrap();
    while !world.parcels.iter().any(|parcel| matches!(parcel.load, Load::Ask(_))) {
        world.tick(TAKEOVER / 8);
    }
    world.tell(candidate, Input::Discard);
    world.deliver_all();
    assert!(world.role(candidate).unwrap().as_host().is_none());
}
