//! The host goes: by accident for a while, by accident for good, or on purpose. The group goes on.

use parlor_tests::{
    cast::{Cast, join, member, talk},
    node::{Node, items},
    programs::example,
};
use serde_json::Value;

/// A running session of chat, with `spare` copies more than there are members, whose host counts as lost after
/// `takeover`.
fn run(cast: &Cast, spare: usize, takeover: &str) -> String {
    let name = cast.supply(&example("chat"), cast.members.len() + spare);
    let mut verb = vec!["host", &name, "--takeover", takeover];
    cast.members.iter().for_each(|one| verb.extend(["--invite", one.name()]));
    let session = cast.host.run(&verb)["session"].as_str().expect("a session has an id").to_owned();
    cast.join_all(&session);
    cast.wait_running(&session);
    session
}

fn is_host(now: &Value) -> bool {
    now["role"] == "host"
}

/// The one of these who is host now, and the others.
fn host_of<'a>(nodes: &[&'a Node], session: &str) -> (&'a Node, Vec<&'a Node>) {
    let now = nodes[0].wait_session(session, "somebody among them to be host", |now| {
        nodes.iter().any(|node| now["host"]["peer"] == node.peer()) && now["term"] != 0
    });
    let (hosts, others): (Vec<&Node>, Vec<&Node>) =
        nodes.iter().partition(|node| now["host"]["peer"] == node.peer());
    (hosts[0], others)
}

#[test]
fn the_host_is_gone_for_good_and_another_takes_over() {
    let mut cast = Cast::gather(&["ann", "ben", "cleo"]);
    // Short, because this story waits for it.
    let session = run(&cast, 1, "4s");
    let before = cast.host.session(&session);
    assert_eq!((&before["term"], &before["takeover_seconds"]), (&0.into(), &4.into()), "{before:#}");
    let watch = cast.members[0].watch(&session);
    cast.host.kill9();
    let members: Vec<&Node> = cast.members.iter().collect();
    talk(&session, &members, "at once");
    let (host, others) = host_of(&members, &session);
    host.wait_session(&session, "its own office", is_host);
    for other in &others {
        other.wait_session(&session, "the same host", |now| now["host"]["peer"] == host.peer());
    }
    let told = watch.wait_for("news of the new host", |line| line["event"] == "host");
    assert_eq!((&told["peer"], &told["term"]), (&host.peer().into(), &1.into()), "{told}");
    talk(&session, &members, "under the new host");

    // It has no copies, but it is the host.
    host.knows(&cast.origin);
    host.run(&["remove", &session, others[0].name()]);
    others[0].wait_state(&session, "removed");
    talk(&session, &[host, others[1]], "without the one removed");
    let seen = others[1].watch(&session);

    // The old host is back, and is a member now.
    cast.host.restart();
    let now = cast.host.wait_session(&session, "another host", |now| now["role"] == "member");
    assert_eq!(now["term"], 1, "{now:#}");
    let [host, last] = [host, others[1]].map(Node::name);
    let by_name = |name: &str| cast.members.iter().find(|one| one.name() == name).expect("one of them");
    talk(&session, &[&cast.host, by_name(host), by_name(last)], "all who are left");
    let payloads: Vec<String> = seen.payloads().iter().map(ToString::to_string).collect();
    assert!(payloads.iter().all(|text| !text.contains(others_removed(&cast, host, last))), "{payloads:#?}");
    by_name(host).run(&["end", &session]);
    for node in [&cast.host, by_name(last)] {
        node.wait_state(&session, "ended");
    }
}

/// What the one who was removed would have said.
fn others_removed<'a>(cast: &'a Cast, host: &str, last: &str) -> &'a str {
    let removed = cast.members.iter().find(|one| ![host, last].contains(&one.name()));
    match removed.expect("one of three").name() {
        "ann" => "all who are left: ann",
        "ben" => "all who are left: ben",
        _ => "all who are left: cleo",
    }
}

#[test]
fn a_host_that_is_back_in_time_is_host_still() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&example("chat"));
    assert_eq!(cast.host.session(&session)["takeover_seconds"], 60);
    cast.host.kill9();
    cast.host.restart();
    cast.host.wait_state(&session, "running");
    talk(&session, &[&cast.host, &cast.members[0], &cast.members[1]], "as before");
    for node in [&cast.host, &cast.members[0], &cast.members[1]] {
        let now = node.session(&session);
        assert_eq!((&now["term"], &now["host"]["peer"]), (&0.into(), &cast.host.peer().into()), "{now:#}");
    }
}

#[test]
fn a_host_hands_over_and_the_next_one_goes_on_inviting() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let session = run(&cast, 1, "10m");
    let dora = cast.world.node("dora");
    let eve = cast.world.node("eve");
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    for newcomer in [&dora, &eve] {
        ann.knows(newcomer);
        newcomer.knows(ann);
    }
    cast.host.run(&["hand-over", &session, "ann"]);
    ann.wait_session(&session, "its own office", is_host);
    let now = cast.host.wait_session(&session, "another host", |now| now["role"] == "member");
    assert_eq!((&now["host"]["peer"], &now["term"]), (&ann.peer().into(), &1.into()), "{now:#}");
    ben.wait_session(&session, "another host", |now| now["host"]["peer"] == ann.peer());
    talk(&session, &[&cast.host, ann, ben], "handed over");
    assert_eq!(ann.session(&session)["slots"]["left"], 1);
    let refusal = cast.host.refuses(&["hand-over", &session, "ben"]);
    assert!(refusal.contains("only the session's host"), "{refusal}");

    // The old host leaves and is switched off; the copy that was left is good without it.
    cast.host.run(&["end", &session]);
    ann.wait_session(&session, "the old host to have left", |now| member(now, &cast.host)["state"] == "left");
    cast.host.kill9();
    ann.run(&["invite", &session, "dora"]);
    join(&dora, &session);
    dora.wait_state(&session, "running");
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    talk(&session, &[ann, ben, &dora], "with dora");
    // And it was the last one: as many in all as the ticket has.
    ann.run(&["invite", &session, "eve"]);
    join(&eve, &session);
    let refused = eve.wait_state(&session, "refused");
    assert!(refused["why"].as_str().is_some_and(|why| why.contains("no copies left")), "{refused:#}");
    let joined = |now: &Value| member(now, &dora)["state"] == "joined";
    let now = ann.wait_session(&session, "dora to have joined", joined);
    let left: Vec<_> = items(&now, "members").iter().filter(|one| one["peer"] == cast.host.peer()).collect();
    assert_eq!(left[0]["state"], "left", "{now:#}");
}
