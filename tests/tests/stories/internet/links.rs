//! Invited by a link from a home that lets nobody in: everything about it goes over the host's relay.

use parlor_tests::{
    cast::{host, talk},
    internet::{Home, nat::Nat},
    programs::example,
    stage::{Plan, wait_path, wait_reachable},
};

/// A host and one who gets its link meet, though neither's router lets anybody in. Each may have more arguments.
fn meet(plan: &Plan, host_args: &[String], ann_args: &[String]) {
    let homes = [Nat::Symmetric; 2].map(|nat| plan.internet().home(nat));
    let machines = homes.each_ref().map(Home::host);
    let host_node = plan.up("host", &machines[0], host_args);
    let ann = plan.up("ann", &machines[1], ann_args);
    wait_reachable(&host_node);
    host_node.run(&["publish", &example("chat").to_string_lossy(), "--copies", "1"]);
    let session = host(&host_node, "chat", &[]);
    let link = host_node.run(&["invite", &session, "--link"]);
    let joined = ann.run(&["join", link["link"].as_str().expect("a link")]);
    assert_eq!(joined["host"]["peer"], host_node.peer());
    ann.wait_state(&session, "running");
    talk(&session, &[&host_node, &ann], "met");
    wait_path(&host_node, &ann, "relayed");
}

#[test]
fn two_homes_that_never_met_talk_after_one_link_over_the_relay_of_both() {
    let plan = Plan::new().relay(&[]);
    let told = plan.told(Nat::Symmetric);
    meet(&plan, &told, &told);
}

#[test]
fn who_has_no_relay_follows_a_link_over_that_of_the_host() {
    let plan = Plan::new().relay(&[]);
    meet(&plan, &plan.told(Nat::Symmetric), &[]);
}

/// At home too it listens to itself alone.
#[test]
fn a_link_with_nothing_but_relayed_addresses_is_enough() {
    let plan = Plan::new().relay(&[]);
    let deaf = ["--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"].map(str::to_owned);
    meet(&plan, &[plan.told(Nat::Symmetric), deaf.to_vec()].concat(), &[]);
}
