//! Links: who opens them, how often, until when.

use super::*;
use crate::session::{
    LinkRefusal, LinkSecret,
    host::{HostError, MAX_LINKS},
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const ONE: LinkSecret = LinkSecret([1; 16]);
const OTHER: LinkSecret = LinkSecret([2; 16]);

/// A host with so many copies, and nodes of whom nobody is invited.
fn unmet(copies: u32, nodes: u8) -> World {
    let mut world = World::new(copies, 0, Tariff::FREE);
    world.identities = (1..=nodes).map(|i| Identity::from_seed(&[i; 32])).collect();
    world.members = vec![None; usize::from(nodes)];
    world
}

fn offer(world: &mut World, secret: LinkSecret, bound: Option<usize>) {
    let bound = bound.map(|i| world.identity(i).peer());
    let expires = world.now + HOUR;
    world.tell_host(Input::OfferLink { secret, expires, bound }).unwrap();
}

/// As a node's driver does: a step only if it may lead to something.
fn open(world: &mut World, i: usize, secret: LinkSecret) -> Result<(), LinkRefusal> {
    let from = world.identity(i).peer();
    world.host.may_open(from, &secret, world.now)?;
    match world.tell_host(Input::OpenLink { from, secret }) {
        Ok(()) => Ok(()),
        Err(StepError::Host(HostError::Link(why))) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

fn seat(world: &World, i: usize) -> Option<SeatState> {
    world.host().seats().get(&world.identity(i).peer()).map(|seat| seat.state)
}

#[test]
fn who_opens_a_link_is_invited_and_comes_in() {
    let mut world = unmet(1, 1);
    offer(&mut world, ONE, None);
    assert_eq!(seat(&world, 0), None, "a link is nobody's seat until it is opened");
    assert_eq!(open(&mut world, 0, ONE), Ok(()));
    assert_eq!(seat(&world, 0), Some(SeatState::Invited));
    world.deliver_all();
    for input in [Input::Accept, Input::Received] {
        world.tell(0, input);
        world.deliver_all();
    }
    assert_eq!(seat(&world, 0), Some(SeatState::Joined));
    assert_eq!(world.member(0).state(), MemberState::Running);
    let messages = world.parcels.len();
    assert_eq!(open(&mut world, 0, ONE), Ok(()), "the same node is told the same");
    assert_eq!((seat(&world, 0), world.parcels.len()), (Some(SeatState::Joined), messages));
}

#[test]
fn a_link_is_good_for_one() {
    let mut world = unmet(3, 2);
    offer(&mut world, ONE, None);
    assert_eq!(open(&mut world, 0, ONE), Ok(()));
    assert_eq!(open(&mut world, 1, ONE), Err(LinkRefusal::Taken));
    assert_eq!(seat(&world, 1), None);
    assert_eq!(open(&mut world, 0, ONE), Ok(()), "and stays so");
    // Declined, it is asked again; but nobody else.
    world.deliver_all();
    world.tell(0, Input::Decline(DeclineReason::User));
    world.deliver_all();
    assert_eq!(seat(&world, 0), Some(SeatState::Declined));
    assert_eq!(open(&mut world, 1, ONE), Err(LinkRefusal::Taken));
    assert_eq!(open(&mut world, 0, ONE), Ok(()));
    assert_eq!(seat(&world, 0), Some(SeatState::Invited));
}

#[test]
fn what_is_on_disk_says_both_or_neither() {
    let mut world = unmet(3, 2);
    offer(&mut world, ONE, None);
    let before = world.host.clone();
    open(&mut world, 0, ONE).unwrap();
    // Killed before the disk had it: neither taken nor invited.
    let opened = std::mem::replace(&mut world.host, before);
    assert_eq!((seat(&world, 0), open(&mut world, 1, ONE)), (None, Ok(())));
    // Killed right after: taken and invited, and the invitation goes out.
    world.host = reloaded(&opened);
    world.parcels.clear();
    assert_eq!(open(&mut world, 1, ONE), Err(LinkRefusal::Taken));
    world.tell_host(Input::Restarted).unwrap();
    world.deliver_all();
    assert_eq!(world.member(0).state(), MemberState::Invited);
}

/// As it comes back from the disk.
fn reloaded(role: &Role) -> Role {
    let bytes = cbor4ii::serde::to_vec(Vec::new(), role.as_host().unwrap()).unwrap();
    Role::Host(cbor4ii::serde::from_slice(&bytes).unwrap())
}

#[test]
fn a_secret_is_not_on_disk() {
    let mut world = unmet(1, 1);
    let secret = LinkSecret(*b"sixteen letters!");
    offer(&mut world, secret, None);
    let bytes = cbor4ii::serde::to_vec(Vec::new(), world.host()).unwrap();
    assert!(!bytes.windows(16).any(|window| window == secret.0));
    assert!(bytes.windows(32).any(|window| window == secret.hash()));
}

#[test]
fn a_bound_link_is_for_one_node_alone() {
    let mut world = unmet(3, 2);
    offer(&mut world, ONE, Some(1));
    assert_eq!(open(&mut world, 0, ONE), Err(LinkRefusal::NotForYou));
    assert_eq!(open(&mut world, 1, ONE), Ok(()), "whoever tried before has not used it up");
    let (me, expires) = (world.host_identity.peer(), world.now + HOUR);
    let error = world.tell_host(Input::OfferLink { secret: OTHER, expires, bound: Some(me) });
    assert_eq!(error, Err(HostError::Myself.into()));
}

#[test]
fn what_is_unknown_and_what_has_expired_is_the_same() {
    let mut world = unmet(3, 1);
    offer(&mut world, ONE, None);
    assert_eq!(open(&mut world, 0, OTHER), Err(LinkRefusal::Unknown));
    world.now = world.now + (HOUR - Duration::from_millis(1));
    assert_eq!(world.host.may_open(world.identity(0).peer(), &ONE, world.now), Ok(()));
    world.now = world.now + Duration::from_millis(1);
    assert_eq!(open(&mut world, 0, ONE), Err(LinkRefusal::Unknown));
    assert_eq!(seat(&world, 0), None);
}

#[test]
fn without_a_copy_a_link_opens_nothing_and_stays_open() {
    let mut world = unmet(1, 2);
    offer(&mut world, ONE, None);
    offer(&mut world, OTHER, None);
    open(&mut world, 0, ONE).unwrap();
    for input in [Input::Accept, Input::Received] {
        world.deliver_all();
        world.tell(0, input);
    }
    world.deliver_all();
    assert_eq!(open(&mut world, 1, OTHER), Err(LinkRefusal::NoCopiesLeft));
    assert_eq!(seat(&world, 1), None);
    // Who has a copy needs none.
    assert_eq!(open(&mut world, 0, OTHER), Ok(()));
    let mut world = unmet(1, 2);
    offer(&mut world, ONE, None);
    world.ledgers.clear();
    assert_eq!(open(&mut world, 0, ONE), Err(LinkRefusal::NoCopiesLeft), "a host without a book");
}

#[test]
fn a_link_lets_nobody_in_again_who_was_removed() {
    let mut world = unmet(3, 2);
    offer(&mut world, ONE, None);
    offer(&mut world, OTHER, None);
    let bound = LinkSecret([3; 16]);
    offer(&mut world, bound, Some(0));
    open(&mut world, 0, ONE).unwrap();
    let peer = world.identity(0).peer();
    world.tell_host(Input::Remove(peer)).unwrap();
    assert_eq!(open(&mut world, 0, ONE), Err(LinkRefusal::Unknown), "its own");
    assert_eq!(open(&mut world, 0, bound), Err(LinkRefusal::Unknown), "the one for it alone");
    assert_eq!(open(&mut world, 0, OTHER), Err(LinkRefusal::NotForYou), "one that it got hold of");
    assert_eq!(open(&mut world, 1, OTHER), Ok(()));
}

#[test]
fn after_the_end_a_link_says_so() {
    let mut world = unmet(3, 1);
    offer(&mut world, ONE, None);
    world.tell_host(Input::End).unwrap();
    assert_eq!(open(&mut world, 0, ONE), Err(LinkRefusal::Over));
    assert_eq!(open(&mut world, 0, OTHER), Err(LinkRefusal::Unknown));
    let expires = world.now + HOUR;
    let late = world.tell_host(Input::OfferLink { secret: OTHER, expires, bound: None });
    assert_eq!(late, Err(HostError::Ended.into()));
}

#[test]
fn links_are_bounded_in_number_and_expired_ones_make_room() {
    let mut world = unmet(1, 1);
    for i in 0..MAX_LINKS {
        offer(&mut world, LinkSecret([u8::try_from(i).unwrap(); 16]), None);
    }
    let one_more = |world: &World| Input::OfferLink {
        secret: LinkSecret([7; 16]),
        expires: world.now + HOUR,
        bound: None,
    };
    let input = one_more(&world);
    assert_eq!(world.tell_host(input), Err(HostError::TooManyLinks.into()));
    world.now = world.now + HOUR;
    let input = one_more(&world);
    assert_eq!(world.tell_host(input), Ok(()));
}

#[test]
fn a_member_makes_and_opens_no_links() {
    let mut world = World::new(1, 1, Tariff::FREE);
    world.deliver_all();
    let from = world.host_identity.peer();
    let (secret, expires, bound) = (ONE, world.now + HOUR, None);
    assert_eq!(world.step(0, Input::OfferLink { secret, expires, bound }), Err(StepError::NotHost));
    assert_eq!(world.step(0, Input::OpenLink { from, secret }), Err(StepError::NotHost));
    let member = world.members[0].as_ref().unwrap();
    assert_eq!(member.may_open(from, &secret, world.now), Err(LinkRefusal::Unknown));
}
