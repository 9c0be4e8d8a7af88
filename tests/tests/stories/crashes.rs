//! kill -9 at every step: whoever it hits comes back and goes on from that step, no more copies exist than
//! were paid for, and the bill is the one that would have come without it.

use std::{thread, time::Duration};

use parlor_tests::{
    cast::{Cast, SLACK, assert_slots, join, member, talk, wait_midway, wait_outbox_empty},
    node::{Node, items},
    programs::{BULK, bulky, example},
    wait_for,
};
use serde_json::Value;

/// Talks, ends and asserts the bill of a session of host, ann and ben, however it came to run.
fn ends_as_if_nothing_had_happened(cast: &Cast, session: &str) {
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    cast.wait_running(session);
    let whole = |now: &Value| items(now, "members").iter().all(|one| one["state"] == "joined");
    let seen = cast.host.wait_session(session, "both members to be joined", whole);
    assert_slots(&seen, 2, 2);
    talk(session, &[&cast.host, ann, ben], "after all");
    cast.host.run(&["end", session]);
    for node in [&cast.host, ann, ben] {
        node.wait_state(session, "ended");
    }
    cast.assert_bill(2, &[ann, ben]);
}

fn ann(cast: &mut Cast) -> &mut Node {
    &mut cast.members[0]
}

#[test]
fn the_host_is_killed_before_it_grants() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let name = cast.supply(&example("chat"), 2);
    let session = cast.invite_all(&name);
    cast.members.iter().for_each(|one| drop(one.wait_invitation(&session)));
    cast.host.kill9();
    cast.join_all(&session);
    for one in &cast.members {
        one.wait_state(&session, "accepted");
    }
    cast.host.restart();
    ends_as_if_nothing_had_happened(&cast, &session);
}

#[test]
fn a_member_is_killed_before_its_grant() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let name = cast.supply(&example("chat"), 2);
    let session = cast.invite_all(&name);
    cast.members.iter().for_each(|one| drop(one.wait_invitation(&session)));
    // Once with an invitation that is not answered yet, once with an answer that nobody heard.
    ann(&mut cast).kill9();
    ann(&mut cast).restart();
    ann(&mut cast).wait_invitation(&session);
    cast.host.kill9();
    cast.join_all(&session);
    ann(&mut cast).wait_state(&session, "accepted");
    ann(&mut cast).kill9();
    ann(&mut cast).restart();
    cast.host.restart();
    ends_as_if_nothing_had_happened(&cast, &session);
}

#[test]
fn a_member_is_killed_while_it_receives_and_does_not_fetch_twice() {
    let mut cast = Cast::gather_slowly(&["ann", "ben"]);
    let name = cast.supply(&bulky(cast.world.file("bulky"), BULK), 2);
    let session = cast.invite_all(&name);
    join(&cast.members[0], &session);
    let (done, total) = wait_midway(ann(&mut cast), &session);
    ann(&mut cast).kill9();
    ann(&mut cast).restart();
    let killed = ann(&mut cast);
    killed.wait_state(&session, "ready");
    let fetched = killed.run(&["status"])["transfers"]["fetched"].as_u64().expect("a number of bytes");
    assert!(fetched <= total - done + SLACK, "{done} of {total} were there, {fetched} were fetched");
    assert!(fetched > 0, "the transfer was not done when it was killed");
    join(&cast.members[1], &session);
    ends_as_if_nothing_had_happened(&cast, &session);
}

#[test]
fn the_host_is_killed_while_a_member_receives() {
    let mut cast = Cast::gather_slowly(&["ann", "ben"]);
    let name = cast.supply(&bulky(cast.world.file("bulky"), BULK), 2);
    let session = cast.invite_all(&name);
    join(&cast.members[0], &session);
    let (_, total) = wait_midway(ann(&mut cast), &session);
    cast.host.kill9();
    cast.host.restart();
    let receiver = ann(&mut cast);
    receiver.wait_state(&session, "ready");
    let fetched = receiver.run(&["status"])["transfers"]["fetched"].as_u64().expect("a number of bytes");
    assert!(fetched <= total + SLACK, "{fetched} fetched of {total}");
    join(&cast.members[1], &session);
    ends_as_if_nothing_had_happened(&cast, &session);
}

#[test]
fn a_member_is_killed_before_its_receipt_is_acknowledged() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let name = cast.supply(&example("chat"), 2);
    cast.billing.kill9();
    let session = cast.invite_all(&name);
    cast.join_all(&session);
    cast.wait_running(&session);
    let waiting = items(&ann(&mut cast).run(&["outbox"]), "receipts").to_vec();
    assert!(!waiting.is_empty(), "nobody has acknowledged ann's receipt");
    ann(&mut cast).kill9();
    ann(&mut cast).restart();
    let still = items(&ann(&mut cast).run(&["outbox"]), "receipts").to_vec();
    for receipt in &waiting {
        assert!(
            still.iter().any(|one| one["receipt"] == receipt["receipt"]),
            "{receipt} is lost: {still:#?}"
        );
    }
    cast.billing.restart();
    wait_outbox_empty(ann(&mut cast));
    ends_as_if_nothing_had_happened(&cast, &session);
}

#[test]
fn the_host_is_killed_before_its_receipt_is_acknowledged() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let name = cast.supply(&example("chat"), 2);
    cast.billing.kill9();
    let session = cast.invite_all(&name);
    cast.join_all(&session);
    cast.wait_running(&session);
    cast.host.kill9();
    cast.host.restart();
    cast.billing.restart();
    // Killed once more right after the books may have been written and the answer not yet read.
    wait_for("a receipt to be booked", || {
        let receipts = cast.billing.run(&["bill", "receipts"]);
        (!items(&receipts, "receipts").is_empty()).then_some(())
    });
    cast.billing.kill9();
    cast.billing.restart();
    ends_as_if_nothing_had_happened(&cast, &session);
}

#[test]
fn the_host_is_killed_while_the_program_runs() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&example("chat"));
    let [first, second] = &cast.members[..] else { unreachable!("two members") };
    talk(&session, &[&cast.host, first, second], "before");
    cast.host.kill9();
    // The group needs no host to go on.
    talk(&session, &[first, second], "without");
    cast.host.restart();
    cast.host.wait_state(&session, "running");
    let heard = cast.host.watch(&session);
    heard.wait_update("before: host speaks");
    heard.wait_update("without: ann speaks");
    heard.wait_update("without: ben speaks");
    ends_as_if_nothing_had_happened(&cast, &session);
}

#[test]
fn a_member_is_killed_while_the_program_runs() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&example("chat"));
    talk(&session, &[&cast.host, &cast.members[0], &cast.members[1]], "before");
    ann(&mut cast).kill9();
    talk(&session, &[&cast.host, &cast.members[1]], "without");
    let away = |now: &Value| member(now, &cast.members[0])["state"] == "away";
    cast.host.wait_session(&session, "ann to be away", away);
    ann(&mut cast).restart();
    ann(&mut cast).wait_state(&session, "running");
    let heard = cast.members[0].watch(&session);
    heard.wait_update("before: ann speaks");
    heard.wait_update("without: host speaks");
    heard.wait_update("without: ben speaks");
    ends_as_if_nothing_had_happened(&cast, &session);
}

/// All of them at once, as when the lights go out.
#[test]
fn everybody_is_killed_while_the_program_runs() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&example("chat"));
    talk(&session, &[&cast.host, &cast.members[0], &cast.members[1]], "before");
    cast.host.kill9();
    cast.billing.kill9();
    cast.members.iter_mut().for_each(Node::kill9);
    cast.members.iter_mut().for_each(Node::restart);
    cast.billing.restart();
    cast.host.restart();
    for one in &cast.members {
        one.watch(&session).wait_update("before: host speaks");
    }
    ends_as_if_nothing_had_happened(&cast, &session);
}

/// Whatever they were about to write or to send: session after session on the same two copies, with kills at
/// moments that differ, which all survive as if nothing had happened.
#[test]
fn host_and_members_are_killed_at_any_moment() {
    const MOMENTS: [u64; 6] = [0, 10, 30, 60, 120, 250];
    let mut cast = Cast::gather(&["ann", "ben"]);
    let name = cast.supply(&example("chat"), 2);
    for (round, millis) in MOMENTS.into_iter().enumerate() {
        let session = cast.invite_all(&name);
        cast.join_all(&session);
        thread::sleep(Duration::from_millis(millis));
        // One of them, the other, both.
        if round % 3 != 1 {
            cast.host.kill9();
        }
        if round % 3 != 0 {
            ann(&mut cast).kill9();
        }
        for node in [&mut cast.host, &mut cast.members[0]].into_iter().filter(|node| !node.is_up()) {
            node.restart();
        }
        cast.wait_running(&session);
        assert_slots(&cast.host.session(&session), 2, 2);
        // They give their copies back, so that the next round issues, transfers and bills them again.
        for node in &cast.members {
            node.run(&["end", &session, "--discard"]);
        }
        // A member that came in again before would come in on the copy it has: rightly, and for nothing.
        cast.host.wait_session(&session, "both copies to be back", |now| now["slots"]["left"] == 2);
        cast.host.run(&["end", &session]);
    }
    let statement = cast.settle();
    for node in &cast.members {
        let line = items(&statement, "payers").iter().find(|line| line["payer"] == node.peer());
        assert_eq!(line.map(|line| &line["receptions"]), Some(&MOMENTS.len().into()), "{statement:#}");
    }
    assert_eq!(statement["receptions"], 1 + 2 * MOMENTS.len(), "{statement:#}");
}

/// A session that its host suspends stays suspended through a crash, and goes on when the host says so.
#[test]
fn a_suspended_session_survives_its_host() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&example("chat"));
    cast.host.run(&["suspend", &session]);
    cast.host.wait_state(&session, "suspended");
    ann(&mut cast).wait_session(&session, "a suspension", |now| now["state"] == "suspended");
    cast.host.kill9();
    cast.host.restart();
    assert_eq!(cast.host.session(&session)["state"], "suspended");
    cast.host.run(&["resume", &session]);
    ends_as_if_nothing_had_happened(&cast, &session);
}
