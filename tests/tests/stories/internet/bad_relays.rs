//! Relays that do not do what they are for: whoever was told to use one reads why it is no good, once, and what goes
//! through good ones is not harmed.

use libp2p::{PeerId, identity::Keypair};
use parlor_tests::{
    cast::talk,
    internet::nat::Nat,
    node::{Node, items},
    programs::example,
    stage::{Plan, Stage},
    wait_for, wait_until,
};

use super::{
    apart,
    rogue::{NOWHERE, Rogue, Wrong},
};

/// Why a relay is no good, as soon as the node knows.
#[track_caller]
fn wait_complaint(node: &Node, relay: &PeerId) -> String {
    let relay = relay.to_string();
    let why = wait_until(&format!("{} to say what is wrong with {relay}", node.name()), || {
        let status = node.run(&["status"]);
        let about = items(&status, "relays").iter().find(|one| one["peer"] == relay);
        let why = about.filter(|one| one["reserved"] == false).and_then(|one| one["why"].as_str());
        why.map(str::to_owned).ok_or(format!("{status:#}"))
    });
    assert!(!why.is_empty() && why.lines().count() == 1, "one clear line: {why:?}");
    why
}

/// The lines of a node's log about a relay.
pub(super) fn logged(node: &Node, relay: &PeerId) -> Vec<String> {
    let relay = relay.to_string();
    node.log().lines().filter(|line| line.contains(&relay)).map(str::to_owned).collect()
}

/// A session over the relays of a plan, of nodes that were told of a bad one too.
pub(super) fn play_beside(plan: Plan, rogue: &str) -> Stage {
    let stage = apart(plan.relay_of_others(rogue), Nat::Symmetric, &["ann"]);
    let session = stage.cast.run(&example("chat"));
    talk(&session, &[&stage.cast.host, &stage.cast.members[0]], "beside it");
    stage
}

/// One line about a relay that cannot be used, once, however often it is tried again.
fn assert_told_once(stage: &Stage, relay: &PeerId) {
    for node in [&stage.cast.host, &stage.cast.members[0]] {
        let why = wait_complaint(node, relay);
        let lines = logged(node, relay);
        assert_eq!(lines.len(), 1, "{why:?} should be logged once: {lines:#?}");
    }
}

#[test]
fn a_relay_that_refuses_is_told_of_once_and_does_no_harm() {
    let plan = Plan::new().relay(&[]);
    let rogue = Rogue::up(plan.internet().host(), Wrong::Refuses);
    let stage = play_beside(plan, &rogue.address);
    // Both have asked again by then.
    wait_for("more requests", || (rogue.refused() >= 6).then_some(()));
    assert_told_once(&stage, &rogue.peer);
}

#[test]
fn a_relay_that_stalls_is_told_of_once_and_does_no_harm() {
    let plan = Plan::new().relay(&[]);
    let rogue = Rogue::up(plan.internet().host(), Wrong::Stalls);
    assert_told_once(&play_beside(plan, &rogue.address), &rogue.peer);
}

#[test]
fn a_relay_that_is_not_there_is_told_of_once_and_does_no_harm() {
    let plan = Plan::new().relay(&[]);
    // A machine on which nothing listens.
    let host = plan.internet().host();
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    let stage = play_beside(plan, &format!("/ip4/{}/udp/4001/quic-v1/p2p/{peer}", host.v4()));
    assert_told_once(&stage, &peer);
}

#[test]
fn a_relay_that_drops_every_circuit_does_no_harm_beside_a_good_one() {
    let plan = Plan::new().relay(&[]);
    let rogue = Rogue::up(plan.internet().host(), Wrong::Drops);
    play_beside(plan, &rogue.address);
}

#[test]
fn who_is_only_at_a_relay_that_drops_every_circuit_is_not_reached_and_that_is_said() {
    let plan = Plan::new();
    let rogue = Rogue::up(plan.internet().host(), Wrong::Drops);
    let stage = apart(plan.relay_of_others(&rogue.address), Nat::Symmetric, &["ann"]);
    let why = stage.cast.host.refuses(&["catalog", "ann"]);
    assert!(why.contains("ann") || why.contains(stage.cast.members[0].peer()), "{why}");
    // Nothing else is harmed by it.
    stage.cast.supply(&example("chat"), 1);
}

/// It tells nodes that they are where nobody is: AutoNAT and they themselves know better. It also says so of itself, which
/// nobody can check who cannot go there; but they know where they found it.
#[test]
fn what_a_relay_lies_about_addresses_does_no_harm() {
    let plan = Plan::new();
    let rogue = Rogue::up(plan.internet().host(), Wrong::Lies);
    let stage = play_beside(plan, &rogue.address);
    for node in [&stage.cast.host, &stage.cast.members[0]] {
        let id = node.run(&["id"]);
        let lie = format!("{NOWHERE}/p2p/{}", node.peer());
        assert!(!items(&id, "addrs").contains(&lie.into()), "{id:#}");
        let truth = format!("{}/p2p-circuit/p2p/{}", rogue.address, node.peer());
        assert!(items(&id, "addrs").contains(&truth.into()), "{id:#}");
    }
}
