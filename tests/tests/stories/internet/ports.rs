//! At home behind a router that opens ports: called from everywhere, with no relay at all.

use parlor_tests::{
    cast::{host, talk},
    internet::{nat::Nat, ports::Ask},
    node::{Node, items},
    programs::example,
    stage::{Plan, wait_path},
    wait_until,
};

/// Waits until a node says that it is at an address of its router's, by QUIC and by TCP: these two.
fn wait_opened(node: &Node, ip: &str) -> [String; 2] {
    wait_until(&format!("{} to have ports at {ip}", node.name()), || {
        let id = node.run(&["id"]);
        let with = |transport: &str| {
            let mut addresses = items(&id, "addrs").iter().filter_map(|one| one.as_str());
            let start = format!("/ip4/{ip}/{transport}/");
            addresses.find(|one| one.starts_with(&start)).map(str::to_owned)
        };
        let both = with("udp").zip(with("tcp")).map(<[_; 2]>::from);
        both.ok_or(format!("{id:#}"))
    })
}

fn is_called_from_everywhere(ask: Ask) {
    let plan = Plan::new();
    let home = plan.internet().home(Nat::Symmetric);
    let router = home.opens_ports(ask);
    let machine = home.host();
    let mut host_node = plan.up("host", &machine, &[]);
    let opened = wait_opened(&host_node, &router.address.to_string());
    host_node.run(&["publish", &example("chat").to_string_lossy(), "--copies", "2"]);

    let machines = [plan.internet().host(), plan.internet().host()];
    let far = [0, 1].map(|number| plan.up(["ann", "ben"][number], &machines[number], &[]));
    for (node, address) in far.iter().zip(&opened) {
        node.run(&["contact", "add", "host", address]);
        assert_eq!(items(&node.run(&["catalog", "host"]), "programs").len(), 1, "at {address}");
    }
    let session = host(&host_node, "chat", &[]);
    for node in &far {
        let link = host_node.run(&["invite", &session, "--link"]);
        node.run(&["join", link["link"].as_str().expect("a link")]);
        node.wait_state(&session, "running");
        wait_path(&host_node, node, "direct");
    }
    talk(&session, &[&host_node, &far[0], &far[1]], "through the opened port");
    assert_eq!(router.opened(), 2);
    host_node.stop();
    assert_eq!(router.opened(), 0, "what it does not need it gives back");
}

#[test]
fn a_router_that_speaks_upnp_opens_ports_by_which_everybody_comes_in() {
    is_called_from_everywhere(Ask::Upnp);
}

#[test]
fn a_router_that_speaks_nat_pmp_opens_ports_by_which_everybody_comes_in() {
    is_called_from_everywhere(Ask::NatPmp);
}
