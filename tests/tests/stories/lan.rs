//! Four hosts on one LAN that were told nothing of each other: mDNS alone brings them together.

use parlor_tests::{
    cast::{assert_slots, host, join, talk, wait_outbox_empty},
    lan::Lan,
    node::{Node, Setup, items},
    programs::example,
    wait_for,
    world::World,
};

#[test]
fn four_hosts_on_a_lan_find_each_other_and_hold_a_session() {
    let world = World::new();
    let lan = Lan::new(4);
    let names = ["origin", "host", "ann", "ben"];
    let on_lan = |(number, name): (usize, &&str)| {
        Setup::by_default(name, world.file(name)).within(lan.host(number)).up()
    };
    let mut nodes: Vec<Node> = names.iter().enumerate().map(on_lan).collect();
    for node in &nodes {
        for other in nodes.iter().filter(|other| other.peer() != node.peer()) {
            wait_near(node, other);
        }
    }
    // They are named by PeerId: nobody is in anybody's contacts, and no address was given.
    let published = nodes[0].run(&[
        "publish",
        example("chat").to_str().expect("UTF-8"),
        "--copies",
        "2",
        "--price",
        "copy=100EUR,reception=5EUR",
    ]);
    nodes[1].run(&["get", nodes[0].peer(), published["name"].as_str().expect("a name")]);
    let session = host(&nodes[1], "chat", &[nodes[2].peer(), nodes[3].peer()]);
    join(&nodes[2], &session);
    join(&nodes[3], &session);
    for node in &nodes[1..] {
        node.wait_state(&session, "running");
    }
    // The origin is not needed for the session, only, here, for the bill.
    nodes[0].kill9();
    let group: Vec<&Node> = nodes[1..].iter().collect();
    talk(&session, &group, "on the wire");
    assert_slots(&nodes[1].session(&session), 2, 2);
    nodes[1].run(&["end", &session]);
    nodes[2].wait_state(&session, "ended");

    nodes[0].restart();
    nodes[1..].iter().for_each(wait_outbox_empty);
    assert_eq!(nodes[0].run(&["bill", "statement"])["statement"]["receptions"], 3);
}

fn wait_near(node: &Node, other: &Node) {
    let what = format!("{} to find {} by mDNS", node.name(), other.name());
    let found = wait_for(&what, || {
        let peers = node.run(&["peers"]);
        items(&peers, "peers").iter().find(|one| one["peer"] == other.peer()).cloned()
    });
    assert_eq!(found["name"], other.name(), "{found:#}");
}
