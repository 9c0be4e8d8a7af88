//! Groups that were torn, and come together again.

use super::{
    succession::{candidacy, hosts, live_apart, running, wait_for_successor},
    *,
};
use crate::session::{
    Claim,
    election::{Mandate, Standing, Vote},
};

/// More nodes, of whom nobody knows yet.
fn strangers(world: &mut World, many: usize) {
    world.identities.extend((20..).take(many).map(|seed| Identity::from_seed(&[seed; 32])));
    world.members.extend(vec![None; many]);
}

/// The host lets these in, while 0 and 1 hear only each other.
fn grow(world: &mut World, newcomers: std::ops::Range<usize>) {
    let invited = newcomers.clone().map(|i| contact(&world.identities[i], "m")).collect();
    world.tell_host(Input::Invite(invited)).unwrap();
    for _ in 0..4 {
        live_apart(world, |i| !matches!(i, 0 | 1));
        newcomers.clone().for_each(|i| {
            world.tell(i, Input::Accept);
            world.tell(i, Input::Received);
        });
    }
}

/// For as long as it may take.
fn come_together(world: &mut World) {
    for _ in 0..12 {
        wait_for_successor(world);
    }
}

#[test]
fn a_host_whose_group_grew_while_others_elected_another_one_goes_on() {
    let mut world = running(6, 3);
    strangers(&mut world, 3);
    grow(&mut world, 3..6);
    assert_eq!(hosts(&world).len(), 2, "two of three elected one of them");
    come_together(&mut world);
    assert_eq!(hosts(&world), [HOST]);
    assert!(world.role(HOST).unwrap().term() > 1, "beyond the other one's term");
    world.agree(&[0, 1, 2, 3, 4, 5, HOST]);
}

#[test]
fn those_who_came_after_a_tear_and_lost_their_host_are_found_by_the_other_part() {
    let mut world = running(6, 3);
    strangers(&mut world, 1);
    grow(&mut world, 3..4);
    world.down.insert(HOST);
    // 0 and 1 have elected one of them; it never heard of 3, and 2 and 3 alone are not enough of the four they know.
    come_together(&mut world);
    let elected = hosts(&world);
    assert!(matches!(elected[..], [0 | 1]), "{elected:?}");
    world.agree(&[0, 1, 2, 3]);
}

#[test]
fn who_followed_a_host_that_is_lost_comes_back_to_the_one_before() {
    let mut world = running(3, 3);
    // Members 0 and 1 elect one of them, out of the host's sight, and that one is lost.
    live_apart(&mut world, |i| matches!(i, 2 | HOST));
    let elected = (0..2).find(|i| world.role(*i).unwrap().as_host().is_some()).expect("two are enough");
    let gone = world.identities[2].peer();
    world.tell_host(Input::Remove(gone)).unwrap();
    world.down.insert(elected);
    come_together(&mut world);
    assert_eq!(hosts(&world), [HOST]);
    world.agree(&[1 - elected, HOST]);
}

#[test]
fn a_host_that_was_voted_out_does_not_come_back_by_its_own_word() {
    let mut world = running(3, 3);
    world.down.insert(HOST);
    wait_for_successor(&mut world);
    let boss = hosts(&world)[0];
    let voter = world.host_identity.peer();
    let vote = Vote { session: SESSION, term: 2, candidate: voter, voter, at: world.now };
    let vote = sign(&vote, &world.host_identity).unwrap().to_signed();
    let Role::Host(before) = &world.host else { panic!("it has not heard yet") };
    let members = before.estate().others.into_iter().map(|(_, entry)| entry).collect();
    let roster = crate::session::Roster {
        term: 2,
        host: contact(&world.host_identity, "host"),
        host_slot: None,
        host_membership: None,
        former_hosts: vec![],
        takeover: TAKEOVER,
        members,
    };
    let mandates = vec![Mandate { term: 2, host: voter, votes: vec![vote] }];
    let claim = Claim { mandates, roster, welcome: None, state: HostState::Running, suspended: false };
    let messages = vec![Message::Claim(Box::new(claim))];
    for node in 0..3 {
        let messages = messages.clone();
        world.step(node, Input::Message { from: voter, term: 2, first: 0, messages }).unwrap();
    }
    wait_for_successor(&mut world);
    assert_eq!(hosts(&world), [boss]);
    world.agree(&[0, 1, 2]);
}

#[test]
fn who_was_put_out_and_not_told_finds_out_when_it_looks_for_its_host() {
    let mut world = running(3, 3);
    let gone = world.identities[0].peer();
    world.tell_host(Input::Remove(gone)).unwrap();
    world.parcels.retain(|parcel| parcel.to != 0);
    // What was to tell it is lost, whatever happens: the host has begun a new conversation with everyone.
    let request = candidacy(&world, 0, 0);
    let answer = world.host.vote_for(world.host_identity.peer(), gone, &request, world.now);
    assert!(matches!(answer, VoteResponse::Out), "{answer:?}");
    let from = world.host_identity.peer();
    world.tell(0, Input::VoteAnswered { from, answer: VoteResponse::Out });
    assert_eq!(world.member(0).state(), MemberState::Removed);
}

#[test]
fn only_its_own_host_puts_a_member_out() {
    let mut world = running(3, 3);
    let from = world.identities[1].peer();
    world.tell(0, Input::VoteAnswered { from, answer: VoteResponse::Out });
    assert_eq!(world.member(0).state(), MemberState::Running);
}

#[test]
fn who_questions_the_host_again_and_again_is_heard_ever_less_often() {
    let mut world = running(3, 3);
    let from = world.identities[0].peer();
    let other = Standing { term: 0, host: world.identities[1].peer() };
    let mut polls = 0;
    for _ in 0..240 {
        let follows = Standing { term: world.role(HOST).unwrap().term() + 7, ..other };
        let request = VoteRequest { follows, ..candidacy(&world, 0, 0) };
        let before = world.role(HOST).unwrap().term();
        world.ask(HOST, from, &request);
        world.deliver_all();
        world.tick(TAKEOVER / 4);
        world.deliver_all();
        polls += u32::from(world.role(HOST).unwrap().term() != before);
    }
    assert!((2..12).contains(&polls), "in an hour: {polls}");
    assert_eq!(hosts(&world), [HOST]);
    world.agree(&[0, 1, 2, HOST]);
}

#[test]
fn who_has_no_slot_is_no_voter_and_is_not_found() {
    let mut world = running(3, 3);
    let stranger = Identity::from_seed(&[77; 32]);
    world.now = world.now + TAKEOVER;
    let follows = Standing { term: 0, host: world.host_identity.peer() };
    let slot = world.member(0).slot().map(Verified::to_signed);
    let request =
        |slot| VoteRequest { candidate: contact(&stranger, "s"), slot, follows, ..candidacy(&world, 0, 1) };
    let from = stranger.peer();
    for request in [request(None), request(slot)] {
        for node in [1, HOST] {
            let answer = world.ask(node, from, &request);
            assert!(matches!(answer, VoteResponse::Refused { term: 0, epoch: 0, hears: None }), "{answer:?}");
        }
        assert_eq!(world.steps_by_request, 0);
    }
}
