//! Groups across an internet of homes whose routers let nobody in: over a relay, through holes in the routers, or
//! past both; what the relay's machine sends tells which.

mod bad_relays;
mod limits;
mod links;
mod moving;
mod points;
mod ports;
mod rogue;

use parlor_tests::{
    cast::{assert_slots, talk},
    internet::nat::Nat,
    programs::{bulky, example},
    stage::{Plan, Stage, wait_path},
};

/// MiB of a program that cannot be overlooked among the bytes of a relay.
const HEAVY: u64 = 16;
/// What a relay sends at most while others do their business without it: keep-alives, and who is where.
const ASIDE: u64 = 1 << 20;

/// The host and everybody else of a session, at a home of their own each.
fn apart(plan: Plan, nat: Nat, members: &[&str]) -> Stage {
    let names: Vec<[&str; 1]> = ["host"].iter().chain(members).map(|name| [*name]).collect();
    let homes: Vec<(Nat, &[&str])> = names.iter().map(|name| (nat, &name[..])).collect();
    let stage = plan.stage(&homes);
    stage.wait_reachable();
    stage
}

/// Publishes something heavy and runs it, beside whatever else runs. Returns the session.
fn run_heavy(stage: &Stage) -> String {
    for node in [&stage.cast.host].into_iter().chain(&stage.cast.members) {
        node.run(&["availability", "free"]);
    }
    stage.cast.run(&bulky(stage.cast.world.file("bulky"), HEAVY))
}

#[test]
fn a_group_whose_routers_allow_nothing_meets_and_plays_over_a_relay() {
    let stage = apart(Plan::new().relay(&[]), Nat::Symmetric, &["ann", "ben"]);
    let cast = &stage.cast;
    let session = cast.run(&example("chat"));
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    talk(&session, &[&cast.host, ann, ben], "from far away");
    for member in [ann, ben] {
        wait_path(&cast.host, member, "relayed");
    }
    assert_slots(&cast.host.session(&session), 2, 2);
    cast.host.run(&["end", &session]);
    for member in [ann, ben] {
        member.wait_state(&session, "ended");
    }
    cast.assert_bill(2, &[ann, ben]);
}

#[test]
fn where_routers_allow_it_a_group_talks_directly_and_needs_its_relay_no_more() {
    let mut stage = apart(Plan::new().relay(&[]), Nat::Restricted, &["ann", "ben"]);
    let session = stage.cast.run(&example("chat"));
    let [ann, ben] = &stage.cast.members[..] else { unreachable!("two members") };
    for member in [ann, ben] {
        wait_path(&stage.cast.host, member, "direct");
    }
    let before = stage.relayed();
    let heavy = run_heavy(&stage);
    talk(&heavy, &[&stage.cast.host, ann, ben], "past the relay");
    let relayed = stage.relayed() - before;
    assert!(relayed < ASIDE, "{relayed} bytes of a program of {HEAVY} MiB went through the relay");

    stage.relays[0].node.kill9();
    let [ann, ben] = &stage.cast.members[..] else { unreachable!("two members") };
    for session in [&session, &heavy] {
        talk(session, &[&stage.cast.host, ann, ben], "without the relay");
    }
}

/// Who is behind the worst router is reached directly nevertheless, if the other one's is the best.
#[test]
fn a_full_cone_is_reached_from_everywhere() {
    let stage = Plan::new().relay(&[]).stage(&[(Nat::FullCone, &["host"]), (Nat::Symmetric, &["ann"])]);
    stage.wait_reachable();
    let session = stage.cast.run(&example("chat"));
    let ann = &stage.cast.members[0];
    wait_path(&stage.cast.host, ann, "direct");
    talk(&session, &[&stage.cast.host, ann], "into the cone");
}

#[test]
fn neighbours_behind_one_router_talk_at_home() {
    let stage = Plan::new().relay(&[]).stage(&[(Nat::Symmetric, &["host", "ann"])]);
    let (cast, router) = (&stage.cast, stage.homes[0].router());
    let heavy = stage.cast.supply(&bulky(cast.world.file("bulky"), HEAVY), 1);
    let before = router.sent();
    let session = cast.invite_all(&heavy);
    cast.join_all(&session);
    cast.wait_running(&session);
    talk(&session, &[&cast.host, &cast.members[0]], "next door");
    wait_path(&cast.host, &cast.members[0], "direct");
    let sent = router.sent() - before;
    assert!(sent < ASIDE, "{sent} bytes left the home");
}

#[test]
fn two_homes_with_ipv6_alone_talk_directly_through_their_firewalls() {
    let stage = apart(Plan::new().relay(&[]), Nat::Ipv6, &["ann"]);
    let (cast, ann) = (&stage.cast, &stage.cast.members[0]);
    let session = cast.run(&example("chat"));
    wait_path(&cast.host, ann, "direct");
    let before = stage.relayed();
    let heavy = run_heavy(&stage);
    for session in [&session, &heavy] {
        talk(session, &[&cast.host, ann], "by IPv6");
    }
    let relayed = stage.relayed() - before;
    assert!(relayed < ASIDE, "{relayed} bytes of a program of {HEAVY} MiB went through the relay");
}

/// Neither could send the other a packet, whatever their routers do: the relay speaks to each as it can.
#[test]
fn a_home_with_ipv4_and_one_with_ipv6_meet_at_a_relay_that_has_both() {
    let stage = Plan::new().relay(&[]).stage(&[(Nat::Restricted, &["host"]), (Nat::Ipv6, &["ann"])]);
    stage.wait_reachable();
    let (cast, ann) = (&stage.cast, &stage.cast.members[0]);
    let session = cast.run(&example("chat"));
    talk(&session, &[&cast.host, ann], "across");
    wait_path(&cast.host, ann, "relayed");
    cast.assert_bill(1, &[ann]);
}
