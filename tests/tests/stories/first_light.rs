//! The main job, end to end: publish, get, invite, run, bill, with the origin switched off in between.

use parlor_tests::{
    cast::{Cast, assert_slots, host, join, member, talk},
    node::{Node, items},
    programs::example,
};
use serde_json::Value;

#[test]
fn a_group_runs_a_program_without_its_origin_and_every_copy_is_billed() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    supply(&cast);
    cast.origin.stop();

    let session = invite(&cast);
    cast.join_all(&session);
    cast.wait_running(&session);
    everybody_shows_the_same(&cast, &session);
    let all = [&cast.host, &cast.members[0], &cast.members[1]];
    talk(&session, &all, "first light");

    cast.host.run(&["end", &session]);
    for node in all {
        node.wait_state(&session, "ended");
    }
    cast.assert_bill(2, &[&cast.members[0], &cast.members[1]]);
    books_can_be_taken_elsewhere(&cast);
}

/// Steps ST1-4, 10-13.
fn supply(cast: &Cast) {
    let published = cast.publish(&example("chat"), &["--copies", "2"]);
    assert_eq!(published["name"], "chat");
    let program = published["program"].as_str().expect("a program has an id");
    assert_eq!(program.len(), 64, "{program}");

    let catalog = cast.host.run(&["catalog", "origin"]);
    let [offer] = items(&catalog, "programs") else { panic!("one program is offered: {catalog:#}") };
    assert_eq!(offer["name"], "chat");
    assert_eq!(offer["program"], program);
    assert_eq!(offer["version"], "1.0.0");
    assert!(offer["size"].as_u64().is_some_and(|size| size > 1000), "{offer:#}");
    assert_eq!(offer["price"], "copy=100EUR,reception=5EUR");

    let lines = cast.host.lines(&["get", "origin", "chat"]);
    let (got, progress) = lines.split_last().expect("get prints what was got");
    assert_eq!((&got["copies"], &got["program"]), (&2.into(), &program.into()), "{got:#}");
    for line in progress {
        assert_eq!(line["event"], "progress", "{line}");
        assert!(line["done"].as_u64() <= line["total"].as_u64(), "{line}");
    }

    let tickets = cast.host.run(&["ticket", "list"]);
    let [ticket] = items(&tickets, "tickets") else { panic!("one ticket is held: {tickets:#}") };
    assert_eq!(ticket["ticket"], got["ticket"]);
    assert_eq!(ticket["origin"], cast.origin.peer());
    assert_eq!((&ticket["copies"], &ticket["used"], &ticket["left"]), (&2.into(), &0.into(), &2.into()));
    let programs = cast.host.run(&["programs"]);
    assert_eq!(items(&programs, "programs")[0]["program"], program);
}

/// Steps ST14-15; what a member is told before it accepts.
fn invite(cast: &Cast) -> String {
    let session = cast.invite_all("chat");
    for node in &cast.members {
        let invitation = node.wait_invitation(&session);
        assert_eq!(invitation["name"], "chat");
        assert_eq!(invitation["version"], "1.0.0");
        assert_eq!(invitation["host"]["peer"], cast.host.peer());
        assert_eq!(invitation["host"]["name"], "host");
        assert_eq!(invitation["copies"], 2);
        assert!(
            invitation["price"].as_str().is_some_and(|price| price.contains("reception=5EUR")),
            "{invitation:#}"
        );
        assert!(invitation["size"].as_u64().is_some_and(|size| size > 1000), "{invitation:#}");
        assert!(invitation["expires"].as_str().is_some_and(|at| at.ends_with('Z')), "{invitation:#}");
    }
    let invited = cast.host.session(&session);
    assert_eq!((&invited["role"], &invited["state"]), (&"host".into(), &"inviting".into()), "{invited:#}");
    for node in &cast.members {
        assert_eq!(member(&invited, node)["state"], "invited", "{invited:#}");
    }
    session
}

fn everybody_shows_the_same(cast: &Cast, session: &str) {
    let joined = |now: &Value| items(now, "members").iter().all(|one| one["state"] == "joined");
    let seen = cast.host.wait_session(session, "all members to be joined", joined);
    assert_eq!(items(&seen, "members").len(), 2, "{seen:#}");
    assert_slots(&seen, 2, 2);
    for node in &cast.members {
        assert_eq!(member(&seen, node)["name"], node.name());
        let own = node.wait_state(session, "running");
        assert_eq!((&own["role"], &own["session"]), (&"member".into(), &session.into()), "{own:#}");
        assert_eq!(own["host"]["peer"], cast.host.peer());
        assert_eq!(own["program"], seen["program"]);
        let listed = node.run(&["sessions"]);
        assert!(items(&listed, "sessions").iter().any(|one| one["session"] == session), "{listed:#}");
    }
}

/// The billing peer's books in the forms in which other programs read them.
fn books_can_be_taken_elsewhere(cast: &Cast) {
    let receipts = cast.billing.run(&["bill", "receipts"]);
    let received = items(&receipts, "receipts").iter().filter(|one| one["kind"] == "received");
    let mut holders: Vec<&str> = received.filter_map(|one| one["member"].as_str()).collect();
    let mut expected: Vec<&str> = [&cast.host].into_iter().chain(&cast.members).map(Node::peer).collect();
    holders.sort_unstable();
    expected.sort_unstable();
    assert_eq!(holders, expected);

    let export = |format| {
        let outcome = cast.billing.plain(&["bill", "export", "--format", format]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.stdout
    };
    let csv = export("csv");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let columns = reader.headers().expect("a header").len();
    let rows: Vec<csv::StringRecord> =
        reader.records().map(|row| row.expect("a row as long as the header")).collect();
    assert!(rows.len() >= 4 && columns >= 4, "three receptions and the issue of the copies: {csv}");
    let json: Value = serde_json::from_str(&export("json")).expect("JSON");
    assert!(json.is_object(), "{json}");
    let journal = export("hledger");
    assert!(journal.lines().any(|line| line.starts_with("20")), "transactions begin with a date: {journal}");
    let invoice = cast.billing.plain(&["bill", "invoice", "--payer", cast.host.peer()]);
    assert!(invoice.code == 0 && invoice.stdout.contains("2.05"), "2 copies and a reception: {invoice:?}");
}

/// A session may start with those who are ready; who comes later comes in, with all that was said before.
#[test]
fn a_late_member_comes_in_and_hears_what_was_said() {
    let cast = Cast::gather(&["ann", "ben"]);
    let name = cast.supply(&example("chat"), 2);
    let session = host(&cast.host, &name, &["ann", "ben"]);
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    join(ann, &session);
    cast.host.wait_session(&session, "ann to be ready", |now| member(now, ann)["state"] == "ready");
    cast.host.run(&["start", &session]);
    ann.wait_state(&session, "running");
    talk(&session, &[&cast.host, ann], "early");

    join(ben, &session);
    ben.wait_state(&session, "running");
    let heard = ben.watch(&session);
    heard.wait_update("early: ann speaks");
    heard.wait_update("early: host speaks");
    talk(&session, &[&cast.host, ann, ben], "late");
    assert_slots(&cast.host.session(&session), 2, 2);
}

/// Step 8, for one member: it pauses, and hears afterwards what it missed.
#[test]
fn a_member_pauses_and_comes_back() {
    let cast = Cast::gather(&["ann", "ben"]);
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    let session = cast.run(&example("chat"));
    ann.run(&["suspend", &session]);
    ann.wait_state(&session, "suspended");
    cast.host.wait_session(&session, "ann to be away", |now| member(now, ann)["state"] == "away");
    talk(&session, &[&cast.host, ben], "meanwhile");
    ann.run(&["resume", &session]);
    ann.wait_state(&session, "running");
    ann.watch(&session).wait_update("meanwhile: ben speaks");
    cast.host.wait_session(&session, "ann to be back", |now| member(now, ann)["state"] == "joined");
    talk(&session, &[&cast.host, ann, ben], "together again");
    assert_slots(&cast.host.session(&session), 2, 2);
}

/// Every node can be host in one session and member in another at the same time.
#[test]
fn a_node_is_host_and_member_at_once() {
    let cast = Cast::gather(&["ann"]);
    let [ann] = &cast.members[..] else { unreachable!("one member") };
    for node in [&cast.host, ann] {
        node.run(&["availability", "free"]);
    }
    let first = cast.run(&example("chat"));
    ann.run(&["get", "origin", "chat"]);
    let second = host(ann, "chat", &["host"]);
    join(&cast.host, &second);
    cast.host.wait_state(&second, "running");
    talk(&second, &[&cast.host, ann], "second");
    talk(&first, &[&cast.host, ann], "first");
    let heard = ann.watch(&first);
    heard.wait_update("first: host speaks");
    let strays = heard.payloads().iter().filter(|said| said.to_string().contains("second")).count();
    assert_eq!(strays, 0, "what is said in one session is not heard in another");
}
