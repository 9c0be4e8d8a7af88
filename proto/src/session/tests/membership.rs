//! Who belongs to a session, who may stand for host in it, and how far a single word goes.

use super::{
    succession::{candidacy, claim_of, hosts, running, wait_for_successor},
    *,
};
use crate::{
    rights::Signed,
    session::{
        Claim,
        election::{MAX_TERM_STEP, Mandate, Standing, Vote},
    },
};

/// Somebody with a copy of the same ticket, by way of another session of its host.
struct Outsider {
    identity: Identity,
    slot: Verified<Slot>,
}

impl Outsider {
    fn of(world: &World) -> Self {
        let identity = Identity::from_seed(&[88; 32]);
        let mut ledger = world.ledger().clone();
        let slot = ledger.grant(identity.peer(), &world.host_identity, world.now).unwrap();
        Self { identity, slot }
    }

    fn peer(&self) -> PeerId {
        self.identity.peer()
    }

    /// Everything that an outsider can show: nothing, the host's word for another session, its own word, and the word that
    /// a member was given.
    fn memberships(&self, world: &World) -> Vec<Option<Signed<Membership>>> {
        let (host, slot, at) = (world.host_identity.peer(), self.slot.hash(), world.now);
        let other = SessionId([8; 16]);
        let elsewhere = Membership { session: other, host, member: self.peer(), slot, at };
        let own = Membership { session: SESSION, host: self.peer(), member: self.peer(), slot, at };
        vec![
            None,
            Some(sign(&elsewhere, &world.host_identity).unwrap().to_signed()),
            Some(sign(&own, &self.identity).unwrap().to_signed()),
            world.membership(0),
        ]
    }

    fn request(&self, world: &World, term: u32, membership: Option<Signed<Membership>>) -> VoteRequest {
        let slot = Some(self.slot.to_signed());
        VoteRequest { candidate: contact(&self.identity, "o"), slot, membership, ..candidacy(world, 0, term) }
    }

    fn vote(&self, world: &World, term: u32) -> Signed<Vote> {
        let (candidate, voter) = (self.peer(), self.peer());
        let vote = Vote { session: SESSION, term, candidate, voter, at: world.now };
        sign(&vote, &self.identity).unwrap().to_signed()
    }
}

#[test]
fn a_slot_of_another_session_is_neither_candidate_nor_voter() {
    let mut world = running(5, 3);
    let outsider = Outsider::of(&world);
    let from = outsider.peer();
    world.down.insert(HOST);
    world.now = world.now + TAKEOVER * 3;

    for membership in outsider.memberships(&world) {
        let request = outsider.request(&world, 1, membership.clone());
        for node in 0..3 {
            let answer = world.ask(node, from, &request);
            assert!(matches!(answer, VoteResponse::Refused { term: 0, epoch: 0, hears: None }), "{answer:?}");
        }

        let host = contact(&outsider.identity, "o");
        let roster = super::super::Roster {
            term: 1,
            host,
            host_slot: Some(outsider.slot.to_signed()),
            host_membership: membership,
            former_hosts: vec![world.host_identity.peer()],
            takeover: TAKEOVER,
            members: vec![],
        };
        let votes = vec![outsider.vote(&world, 1)];
        let mandates = vec![Mandate { term: 1, host: from, votes }];
        let claim = Claim { mandates, roster, welcome: None, state: HostState::Running, suspended: false };
        let messages = vec![Message::Claim(Box::new(claim))];
        for node in 0..3 {
            let input = Input::Message { from, term: 1, first: 0, messages: messages.clone() };
            world.tell(node, input);
            assert_ne!(world.member(node).host().peer, from);
        }
    }

    // The host too, while it is there, is not made to ask for votes by whoever has a slot.
    world.down.remove(&HOST);
    let request = outsider.request(&world, 7, None);
    world.ask(HOST, from, &request);
    assert_eq!(world.steps_by_request, 0);
    wait_for_successor(&mut world);
    assert_eq!(hosts(&world).len(), 1);
    assert!(world.everyone().iter().all(|node| {
        let group = world.role(*node).unwrap().group().unwrap();
        group.iter().all(|contact| contact.peer != from)
    }));
}

#[test]
fn a_roster_lists_nobody_in_vain_who_has_a_slot_alone() {
    let mut world = running(5, 2);
    let outsider = Outsider::of(&world);
    for membership in outsider.memberships(&world) {
        let entry = super::super::RosterEntry {
            slot: Some(outsider.slot.to_signed()),
            membership,
            contact: contact(&outsider.identity, "o"),
            state: SeatState::Joined,
            gave_back: false,
        };
        let mut members: Vec<_> = world.member(0).roster().cloned().collect();
        members.push(entry);
        let roster = roster(&world, members);
        world.tell(0, from_host(&world, 0, Message::Roster(Box::new(roster))));
        let group = world.member(0).group().unwrap();
        assert!(group.iter().all(|contact| contact.peer != outsider.peer()));
        assert_eq!(group.len(), 2, "the others are there still");
    }
}

#[test]
fn nobody_follows_a_candidate_for_its_own_vote_alone() {
    let mut world = running(5, 5);
    world.down.insert(HOST);
    let first = (0..5).min_by_key(|i| world.member(*i).slot().unwrap().k).unwrap();
    let voter = (first + 1) % 5;
    world.now = world.now + TAKEOVER;
    let from = world.identities[first].peer();
    let request = candidacy(&world, first, 1);
    assert!(matches!(world.ask(voter, from, &request), VoteResponse::Granted { .. }));

    let claim = claim_of(&world, first, 1, &[first, voter]);
    world.tell(voter, claim);
    assert_eq!(world.member(voter).term(), 0, "two of five are no majority");
    let third = (first + 2) % 5;
    let claim = claim_of(&world, first, 1, &[first, voter, third]);
    world.tell(voter, claim);
    assert_eq!(world.member(voter).host().peer, from);
}

#[test]
fn who_asks_out_of_turn_waits_its_turn() {
    let mut world = running(4, 4);
    let mut order: Vec<usize> = (0..4).collect();
    order.sort_by_key(|i| world.member(*i).slot().unwrap().k);
    world.down.insert(HOST);
    // Everyone is there to be seen, and silent.
    world.beacons(|_, _| true);
    let (last, voter) = (order[3], order[1]);
    let from = world.identities[last].peer();

    for quarters in [3, 4, 8, 12] {
        world.now = heard_at(&world, voter) + TAKEOVER * quarters / 4;
        let answer = world.ask(voter, from, &candidacy(&world, last, 1));
        assert!(matches!(answer, VoteResponse::Refused { .. }), "after {quarters} quarters: {answer:?}");
    }
    assert_eq!(world.steps_by_request, 0);
    world.now = heard_at(&world, voter) + TAKEOVER * 4;
    let answer = world.ask(voter, from, &candidacy(&world, last, MAX_TERM_STEP));
    assert!(matches!(answer, VoteResponse::Granted { .. }), "{answer:?}");
}

/// When a member's patience with its host began: its first own candidacy is due a `takeover` after that, and another one for
/// each who stands before it.
fn heard_at(world: &World, i: usize) -> Timestamp {
    world.member(i).heard_at().unwrap()
}

/// The claim of the first host, to go on in `term` by the votes of these nodes.
fn claim_of_host(world: &World, term: u32, voters: &[usize]) -> Input {
    let candidate = world.host_identity.peer();
    let vote = |voter: &usize| {
        let identity = world.identity(*voter);
        let (voter, at) = (identity.peer(), world.now);
        sign(&Vote { session: SESSION, term, candidate, voter, at }, identity).unwrap().to_signed()
    };
    let mandates = vec![Mandate { term, host: candidate, votes: voters.iter().map(vote).collect() }];
    let members = world.member(0).roster().cloned().collect();
    let roster = super::super::Roster { term, ..roster(world, members) };
    let claim = Claim { mandates, roster, welcome: None, state: HostState::Running, suspended: false };
    Input::Message { from: candidate, term, first: 0, messages: vec![Message::Claim(Box::new(claim))] }
}

#[test]
fn a_hosts_own_word_does_not_carry_its_followers_to_the_last_term() {
    let mut world = running(5, 5);
    for term in [0x7fff_ffff, 0x7fff_fffe, MAX_TERM_STEP + 1] {
        let claim = claim_of_host(&world, term, &[HOST]);
        world.tell(0, claim);
        assert_eq!(world.member(0).term(), 0, "{term}");
    }
    world.down.insert(HOST);
    wait_for_successor(&mut world);
    assert_eq!(hosts(&world).len(), 1, "elections go on");
}

#[test]
fn who_follows_a_host_without_a_majority_returns_to_one_that_shows_one() {
    let mut world = running(5, 5);
    // The host goes ever higher to keep its only follower, as far as its word carries.
    for term in [2, MAX_TERM_STEP, MAX_TERM_STEP + 2, MAX_TERM_STEP * 2] {
        let claim = claim_of_host(&world, term, &[HOST]);
        world.tell(0, claim);
    }
    assert_eq!(world.member(0).term(), MAX_TERM_STEP);

    // The others have elected one of them, which has heard of that term.
    let claim = claim_of(&world, 1, MAX_TERM_STEP + 1, &[1, 2, 3]);
    world.tell(0, claim);
    assert_eq!(world.member(0).host().peer, world.identities[1].peer());
}

#[test]
fn requests_for_a_vote_take_a_step_only_when_a_vote_is_given() {
    let mut world = running(4, 4);
    let first = (0..4).min_by_key(|i| world.member(*i).slot().unwrap().k).unwrap();
    let voter = (first + 1) % 4;
    let from = world.identities[first].peer();
    for term in 0..100 {
        world.ask(voter, from, &candidacy(&world, first, term));
        world.ask(HOST, from, &candidacy(&world, first, term));
    }
    assert_eq!(world.steps_by_request, 0, "they hear their host, and the host is not in question");

    world.now = world.now + TAKEOVER;
    for term in 100..200 {
        world.ask(voter, from, &candidacy(&world, first, term));
        world.ask(voter, from, &candidacy(&world, first, 100));
    }
    assert_eq!(world.steps_by_request, 1);
}

#[test]
fn a_host_that_follows_another_one_by_now_can_be_voted_for() {
    let mut world = running(3, 3);
    world.now = world.now + TAKEOVER;
    let from = world.host_identity.peer();
    let candidate = contact(&world.host_identity, "host");
    // It handed over to member 1, of which member 0 has not heard, and that one is lost.
    let follows = Standing { term: 1, host: world.identities[1].peer() };
    let request = VoteRequest { candidate, slot: None, membership: None, follows, ..candidacy(&world, 0, 3) };
    let answer = world.ask(0, from, &request);
    assert!(matches!(answer, VoteResponse::Granted { .. }), "{answer:?}");
}

#[test]
fn an_invitation_by_copies_that_were_not_handed_over_is_not_worth_a_step() {
    let mut world = running(3, 2);
    let outsider = Outsider::of(&world);
    let accomplice = Identity::from_seed(&[89; 32]);
    let ticket = world.host().ticket().clone();
    world.tell(0, Input::Leave);
    let handover = |by: &Identity, session| {
        let (ticket, term, host, to) = (ticket.hash(), 1, by.peer(), outsider.peer());
        let handover = crate::rights::Handover {
            ticket,
            session,
            term,
            host,
            to,
            first: 2,
            numbers: vec![],
            at: world.now,
            via: None,
        };
        sign(&handover, by).unwrap().to_signed()
    };

    let is_worth_a_step = |handover| {
        let invitation = super::super::Invitation {
            ticket: ticket.to_signed(),
            host: contact(&outsider.identity, "o"),
            billing: vec![],
            handover: Some(handover),
            mandates: vec![],
            version: "1".into(),
            size: 1,
            expires: world.now + TAKEOVER,
        };
        let messages = [Message::Invite(Box::new(invitation))];
        let me = world.identities[0].peer();
        world.role(0).unwrap().believes(me, outsider.peer(), 1, &messages)
    };
    assert!(!is_worth_a_step(handover(&accomplice, SESSION)), "by somebody who had none");
    assert!(!is_worth_a_step(handover(&world.host_identity, SessionId([8; 16]))), "in another session");
    assert!(is_worth_a_step(handover(&world.host_identity, SESSION)));
}
