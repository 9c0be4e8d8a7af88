//! What is refused, and how it is said: one clear line, and nothing else happens.

use std::collections::BTreeSet;

use parlor_tests::{
    cast::{Cast, assert_slots, host, join, member, talk},
    node::items,
    programs::example,
    wait_for,
    world::World,
};

#[test]
fn the_third_invitee_of_a_two_copy_ticket_is_refused() {
    let cast = Cast::gather(&["ann", "ben", "cat"]);
    let [ann, ben, cat] = &cast.members[..] else { unreachable!("three members") };
    let name = cast.supply(&example("chat"), 2);
    let session = cast.invite_all(&name);
    for node in [ann, ben] {
        join(node, &session);
        cast.host.wait_session(&session, "a grant", |now| member(now, node)["state"] == "ready");
    }
    cat.wait_invitation(&session);
    // Whether `join` hears of it or only the session does is a matter of timing.
    let _outcome = cat.call(&["join", &session]);
    let refused = cat.wait_state(&session, "refused");
    let why = refused["why"].as_str().expect("a refusal says why");
    assert!(why.contains("cop"), "the reason speaks of copies: {why}");

    cast.host.wait_state(&session, "running");
    let seen = cast.host.wait_session(&session, "a refusal", |now| member(now, cat)["state"] == "refused");
    assert_slots(&seen, 2, 2);
    talk(&session, &[&cast.host, ann, ben], "two of three");
    assert!(!cat.call(&["send", &session, "let me in"]).stderr.is_empty(), "who was refused cannot speak");
    let programs = cat.run(&["programs"]);
    assert!(items(&programs, "programs").is_empty(), "who was refused has no copy: {programs}");
    cast.assert_bill(2, &[ann, ben]);
}

#[test]
fn a_host_gets_no_more_copies_than_the_policy_allows() {
    let cast = Cast::gather(&[]);
    cast.publish(&example("chat"), &["--copies-max", "5"]);
    let why = cast.host.refuses(&["get", "origin", "chat", "--copies", "6"]);
    assert!(why.contains('5') && why.contains('6'), "{why}");
    assert!(items(&cast.host.run(&["ticket", "list"]), "tickets").is_empty());
    assert_eq!(cast.host.run(&["get", "origin", "chat", "--copies", "5"])["copies"], 5);

    // The program's own rule: a duel is fought by two.
    cast.publish(&example("duel"), &[]);
    let why = cast.host.refuses(&["get", "origin", "duel", "--copies", "2"]);
    assert!(why.contains('1') && why.contains('2'), "{why}");
    assert_eq!(cast.host.run(&["get", "origin", "duel"])["copies"], 1);
    let outcome = cast.origin.call(&["publish", example("duel").to_str().expect("UTF-8"), "--copies", "3"]);
    assert!(outcome.refusal().contains("cop"), "an origin cannot promise more than its program's rule");
}

#[test]
fn an_origin_may_fix_the_number_of_copies() {
    let cast = Cast::gather(&[]);
    cast.publish(&example("chat"), &["--copies", "2"]);
    for copies in ["1", "3"] {
        let why = cast.host.refuses(&["get", "origin", "chat", "--copies", copies]);
        assert!(why.contains('2'), "{why}");
    }
    assert_eq!(cast.host.run(&["get", "origin", "chat"])["copies"], 2);
}

#[test]
fn what_is_not_there_is_said_so() {
    let mut cast = Cast::gather(&["ann"]);
    let host = &cast.host;
    assert!(host.refuses(&["get", "origin", "nonesuch"]).contains("nonesuch"));
    assert!(host.refuses(&["catalog", "stranger"]).contains("stranger"));
    assert!(host.refuses(&["host", "nonesuch"]).contains("nonesuch"));
    assert!(host.refuses(&["session", &"0".repeat(32)]).contains("session"));
    assert!(host.refuses(&["join", "not-a-session"]).contains("not-a-session"));
    assert!(host.refuses(&["contact", "add", "eve", "not-a-peer"]).contains("not-a-peer"));
    assert!(host.refuses(&["contact", "remove", "nonesuch"]).contains("nonesuch"));
    assert!(host.refuses(&["ticket", "show", "ffff"]).contains("ffff"));
    assert!(host.refuses(&["program", "remove", "nonesuch"]).contains("nonesuch"));
    assert!(host.refuses(&["publish", "/nonexistent/place"]).contains("/nonexistent/place"));
    cast.publish(&example("chat"), &["--copies", "1"]);
    assert!(cast.host.refuses(&["host", "chat"]).contains("chat"), "published elsewhere is not held here");

    cast.host.run(&["get", "origin", "chat"]);
    assert!(cast.host.refuses(&["host", "chat", "--invite", "stranger"]).contains("stranger"));
    cast.origin.stop();
    let why = cast.host.refuses(&["catalog", "origin"]);
    assert!(why.contains("origin") || why.contains(cast.origin.peer()), "who was not reached: {why}");
    assert!(cast.host.call(&["get", "origin", "chat"]).code == 1);
}

#[test]
fn exit_codes_tell_usage_and_absence_from_refusal() {
    let world = World::new();
    let node = world.node("solo");
    for usage in
        [&["no-such-verb"][..], &["contact", "add"], &["send"], &["availability", "sometimes"], &["bill"]]
    {
        let outcome = node.call(usage);
        assert_eq!(outcome.code, 2, "{usage:?}: {outcome:?}");
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{usage:?}: {outcome:?}");
    }
    let price = node.call(&["publish", example("chat").to_str().expect("UTF-8"), "--price", "copy=lots"]);
    assert!(matches!(price.code, 1 | 2) && price.stderr.contains("lots"), "{price:?}");

    let mut node = node;
    node.stop();
    let absent = node.call(&["status"]);
    assert!(absent.failure(3).contains("up"), "says how to start one");
}

#[test]
fn a_home_has_one_node_at_a_time() {
    let world = World::new();
    let mut node = world.node("solo");
    let why = world.setup("solo").fails().refusal();
    assert!(why.contains("run"), "{why}");
    assert_eq!(node.run(&["id"])["peer"], node.peer(), "the first one is unharmed");
    // What a killed node leaves behind is no obstacle.
    node.kill9();
    let peer = node.peer().to_owned();
    node.restart();
    assert_eq!(node.peer(), peer, "a restarted node is the same");
}

#[test]
fn who_declines_is_left_out_and_the_others_start() {
    let cast = Cast::gather(&["ann", "ben"]);
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    let name = cast.supply(&example("chat"), 2);
    let session = cast.invite_all(&name);
    join(ann, &session);
    ben.wait_invitation(&session);
    ben.run(&["decline", &session]);
    let seen = cast.host.wait_state(&session, "running");
    assert_eq!(member(&seen, ben)["state"], "declined", "{seen:#}");
    assert_slots(&seen, 2, 1);
    assert!(items(&ben.run(&["inbox"]), "invitations").is_empty());
    cast.assert_bill(2, &[ann]);
}

#[test]
fn a_busy_node_declines_by_itself() {
    let cast = Cast::gather(&["ann"]);
    let [ann] = &cast.members[..] else { unreachable!("one member") };
    let name = cast.supply(&example("chat"), 1);
    ann.run(&["availability", "busy"]);
    assert_eq!(ann.run(&["status"])["availability"], "busy");
    let session = cast.invite_all(&name);
    cast.host.wait_session(&session, "a refusal by itself", |now| member(now, ann)["state"] == "declined");
    assert!(items(&ann.run(&["inbox"]), "invitations").is_empty());
    assert_slots(&cast.host.session(&session), 1, 0);
    // Asked again when it is free, it hears of it.
    ann.run(&["availability", "free"]);
    cast.host.run(&["invite", &session, "ann"]);
    join(ann, &session);
    ann.wait_state(&session, "running");
}

#[test]
fn availability_auto_means_busy_while_a_session_runs() {
    let cast = Cast::gather(&["ann"]);
    let [ann] = &cast.members[..] else { unreachable!("one member") };
    ann.run(&["availability", "auto"]);
    let first = cast.run(&example("chat"));
    let second = host(&cast.host, "chat", &["ann"]);
    cast.host.wait_session(&second, "a refusal by itself", |now| member(now, ann)["state"] == "declined");
    cast.host.run(&["end", &first]);
    ann.wait_state(&first, "ended");
    cast.host.run(&["invite", &second, "ann"]);
    ann.wait_invitation(&second);
}

#[test]
fn a_trusted_contact_needs_no_answer() {
    let cast = Cast::gather(&["ann"]);
    let [ann] = &cast.members[..] else { unreachable!("one member") };
    ann.run(&["contact", "add", "host", &cast.host.address(), "--trust"]);
    let contacts = ann.run(&["contact", "list"]);
    let trusted = items(&contacts, "contacts").iter().find(|one| one["peer"] == cast.host.peer());
    assert_eq!(trusted.map(|one| &one["trust"]), Some(&true.into()), "{contacts:#}");
    let name = cast.supply(&example("chat"), 1);
    let session = cast.invite_all(&name);
    ann.wait_state(&session, "running");
    talk(&session, &[&cast.host, ann], "trusted");
}

/// One copy serves its holder in every session, so that none of them can give it away under the others.
#[test]
fn a_copy_in_use_in_another_session_is_not_given_back() {
    let cast = Cast::gather(&["ann", "ben"]);
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    ann.run(&["availability", "free"]);
    let name = cast.supply(&example("chat"), 1);
    let [first, second] = [(); 2].map(|()| host(&cast.host, &name, &["ann"]));
    for session in [&first, &second] {
        join(ann, session);
        ann.wait_state(session, "running");
    }
    ann.run(&["end", &first, "--discard"]);
    cast.host.wait_session(&first, "ann to have left", |now| member(now, ann)["state"] == "left");
    talk(&second, &[&cast.host, ann], "still here");
    cast.host.run(&["invite", &second, "ben"]);
    ben.wait_invitation(&second);
    let _outcome = ben.call(&["join", &second]);
    ben.wait_state(&second, "refused");
    assert_slots(&cast.host.session(&second), 1, 1);

    // Given back where it is used last, it goes to ben.
    ann.run(&["end", &second, "--discard"]);
    cast.host.wait_session(&second, "ann to have left", |now| member(now, ann)["state"] == "left");
    cast.host.run(&["invite", &second, "ben"]);
    join(ben, &second);
    ben.wait_state(&second, "running");
    assert_slots(&cast.host.session(&second), 1, 1);
}

#[test]
fn a_removed_member_hears_and_says_nothing_more() {
    let cast = Cast::gather(&["ann", "ben"]);
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    let session = cast.run(&example("chat"));
    let heard = ben.watch(&session);
    talk(&session, &[&cast.host, ann, ben], "together");
    heard.wait_update("together: ann speaks");
    cast.host.run(&["remove", &session, "ben"]);
    ben.wait_state(&session, "removed");
    assert_slots(&cast.host.session(&session), 2, 2);
    talk(&session, &[&cast.host, ann], "apart");
    assert_eq!(ben.call(&["send", &session, "still here"]).code, 1);
    assert_eq!(heard.payloads().iter().filter(|said| said.to_string().contains("apart")).count(), 0);
}

#[test]
fn a_session_is_nobodys_business_but_its_groups() {
    let cast = Cast::gather(&["ann"]);
    let [ann] = &cast.members[..] else { unreachable!("one member") };
    let session = cast.run(&example("chat"));
    // The billing peer is known to all, but it was not invited.
    assert_eq!(cast.billing.call(&["join", &session]).code, 1);
    assert_eq!(cast.billing.call(&["session", &session]).code, 1);
    let peers = wait_for("the members to be near", || {
        let peers = ann.run(&["peers"]);
        let known: BTreeSet<_> =
            items(&peers, "peers").iter().filter_map(|one| one["peer"].as_str()).collect();
        known.contains(cast.host.peer()).then(|| peers.clone())
    });
    let host = items(&peers, "peers").iter().find(|one| one["peer"] == cast.host.peer());
    assert_eq!(host.map(|one| &one["name"]), Some(&"host".into()), "{peers:#}");
}
