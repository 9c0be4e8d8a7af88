//! Parlor and a libp2p that shares no code with it: js-libp2p as a client, as a stranger, and as the relay between
//! two nodes. What the client knows of Parlor is docs/protocol.md.

use std::fs;

use parlor_tests::{
    cast::{Cast, talk},
    internet::nat::Nat,
    interop::script,
    node::{Node, items},
    programs::{bulky, example},
    stage::{Plan, wait_path},
    world::{World, repository},
};
use serde_json::{Value, json};

/// With an offer that has a limit and a price, and one that has neither.
fn origin(world: &World) -> Node {
    let origin = world.node("origin");
    let publish = |name: &str, policy: &[&str]| {
        let path = example(name);
        origin.run(&[&["publish", path.to_str().expect("UTF-8")], policy].concat())
    };
    publish("chat", &["--copies-max", "3", "--price", "copy=100EUR,reception=5EUR"]);
    publish("dice", &[]);
    origin
}

#[test]
fn a_foreign_client_reads_the_catalog_as_the_page_has_it() {
    let world = World::new();
    assert_served(&origin(&world));
}

/// A foreign client that is new to a node finds what there is to find.
#[track_caller]
fn assert_served(origin: &Node) {
    let client = script(None, "client.mjs", &[&origin.address()]);
    let told = |event: &str| client.wait_for(event, |line| line["event"] == event);

    let identity = told("identify");
    assert_eq!(identity["protocolVersion"], "/parlor/1");
    assert_eq!(identity["agentVersion"], format!("parlor/{} origin", env!("CARGO_PKG_VERSION")));
    let offered = items(&identity, "protocols");
    for protocol in protocols_of_the_page() {
        assert!(offered.contains(&json!(protocol)), "{protocol} is not offered: {identity:#}");
    }

    assert!(told("ping")["milliseconds"].is_number());

    let read = told("catalog");
    let shown = origin.run(&["catalog"]);
    let (read, shown) = (items(&read, "programs"), items(&shown, "programs"));
    assert_eq!(read.len(), shown.len(), "{read:#?}");
    for (read, shown) in read.iter().zip(shown) {
        for field in ["name", "program", "version", "summary", "size", "lease"] {
            assert_eq!(read[field], shown[field], "{read:#} is not {shown:#}");
        }
        assert_eq!(read["tariff"]["price"], shown["price"], "{read:#} is not {shown:#}");
        let least = read["copies"].get("min").unwrap_or(&json!(1)).clone();
        assert_eq!(least, shown["copies"]["min"], "{read:#} is not {shown:#}");
        assert_eq!(read["copies"]["max"], shown["copies"]["max"], "{read:#} is not {shown:#}");
    }
}

/// Those of section 2 that are there for everybody.
fn protocols_of_the_page() -> Vec<String> {
    let page = fs::read_to_string(repository().join("docs/protocol.md")).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `/parlor/")?.split_once('`'));
    let found: Vec<String> = rows.map(|(name, _)| format!("/parlor/{name}")).collect();
    let found: Vec<String> = found.into_iter().filter(|name| !name.contains("SESSION")).collect();
    assert!(found.len() >= 8, "the table of protocols is not where it was: {found:?}");
    found
}

#[test]
fn a_foreign_node_misbehaves_and_others_are_served() {
    let world = World::new();
    let origin = origin(&world);
    let rude = script(None, "rude.mjs", &[&origin.address()]);
    rude.wait_for("every bad request to be refused", |line| line["event"] == "waiting");
    // Now it opens a stream of every protocol, and says nothing on it.
    assert_served(&origin);
    rude.wait_for("every unused stream to be closed", |line| line["event"] == "done");
    let seen = rude.seen();
    let misdeeds: Vec<&Value> = seen.iter().filter(|line| line["event"] == "misdeed").collect();
    assert!(misdeeds.len() > 40, "{misdeeds:#?}");
    for misdeed in misdeeds {
        let fates: &[&str] =
            if misdeed["what"] == "unknown" { &["unsupported"] } else { &["ended", "reset"] };
        assert!(misdeed["fate"].as_str().is_some_and(|fate| fates.contains(&fate)), "{misdeed}");
        assert_eq!(misdeed["answer"], 0, "{misdeed}");
        assert_eq!(misdeed["connection"], "open", "{misdeed}");
    }
    assert_served(&origin);
}

#[test]
fn a_foreign_gossipsub_hears_nothing_of_a_group() {
    let cast = Cast::gather(&["ann"]);
    let session = cast.run(&example("chat"));
    let stranger = script(None, "eavesdrop.mjs", &[&cast.host.address(), &session]);
    let asked = |lines: &[Value]| lines.iter().filter(|line| line["event"] == "asked").count();
    stranger.wait_until("three streams to be asked for", |lines| (asked(lines) == 3).then_some(()));
    talk(&session, &[&cast.host, &cast.members[0]], "among ourselves");
    for line in stranger.seen() {
        assert_eq!(line["event"], "asked", "{line}");
        assert_eq!(line["refused"], "UnsupportedProtocolError", "{line}");
    }
}

/// Behind routers that give each destination another port, two nodes find no direct way. A relay that knows nothing of
/// Parlor carries the session, and the program.
#[test]
fn two_nodes_meet_through_a_foreign_relay() {
    let plan = Plan::new();
    let place = plan.internet().host();
    let relay = script(Some(place.name()), "relay.mjs", &[&format!("/ip4/{}/tcp/0", place.v4())]);
    let ready = relay.wait_for("the relay to be ready", |line| line["event"] == "ready");
    let address = ready["addresses"][0].as_str().expect("an address");
    let homes: [(Nat, &[&str]); 2] = [(Nat::Symmetric, &["host"]), (Nat::Symmetric, &["ann"])];
    let stage = plan.relay_of_others(address).stage(&homes);
    stage.wait_reachable();

    let Cast { host, members, world, .. } = &stage.cast;
    let ann = &members[0];
    let session = stage.cast.run(&bulky(world.file("bulky"), 8));
    talk(&session, &[host, ann], "by way of another");
    wait_path(host, ann, "relayed");
    let ends = [host.peer(), ann.peer()];
    relay.wait_for("a circuit between the two", |line| {
        line["event"] == "circuit" && ends.iter().all(|end| line["from"] == *end || line["to"] == *end)
    });
}
