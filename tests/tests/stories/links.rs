//! Invited by a link: nodes that have never met come together, and what a link does not do.

use std::{thread, time::Duration};

use parlor_tests::{
    cast::{host, member, talk},
    node::{Node, items},
    programs::example,
    wait_for,
    world::World,
};
use serde_json::Value;

/// A host with copies of a chat, and nodes that know nobody and are known to nobody.
fn unmet<const N: usize>(world: &World, copies: &str, names: [&str; N]) -> (Node, [Node; N]) {
    let host = world.node("host");
    host.run(&["publish", &example("chat").to_string_lossy(), "--copies", copies]);
    (host, names.map(|name| world.node(name)))
}

/// `invite SESSION --link …`
fn link(host: &Node, session: &str, more: &[&str]) -> String {
    let made = host.run(&[&["invite", session, "--link"], more].concat());
    assert_eq!(made["session"], session);
    made["link"].as_str().expect("a link").to_owned()
}

#[test]
fn two_nodes_that_never_met_talk_after_one_link() {
    let world = World::new();
    let (host_node, [ann, ben]) = unmet(&world, "2", ["ann", "ben"]);
    let session = host(&host_node, "chat", &[]);
    let made = host_node.run(&["invite", &session, "--link"]);
    assert_eq!(made["for"], Value::Null);
    assert!(made["expires"].as_str().is_some_and(|at| at.ends_with('Z')), "{made}");
    let link = made["link"].as_str().expect("a link");
    assert!(link.starts_with("parlor:") && link.len() < 300, "{link}");

    // Whoever follows a link has asked for it: it is not too busy.
    ann.run(&["availability", "busy"]);
    let joined = ann.run(&["join", link]);
    assert_eq!(
        (&joined["session"], &joined["role"]),
        (&session.clone().into(), &"member".into()),
        "{joined:#}"
    );
    assert_eq!(joined["host"]["peer"], host_node.peer());
    assert_ne!(joined["state"], "invited", "{joined:#}");
    ann.wait_state(&session, "running");
    talk(&session, &[&host_node, &ann], "met");
    let seen = host_node.session(&session);
    assert_eq!(member(&seen, &ann)["name"], "ann", "it says its name when it comes: {seen:#}");
    assert!(items(&ann.run(&["contact", "list"]), "contacts").is_empty(), "a link makes no contact");

    // Where other users of the computer do not see it.
    assert!(ann.refuses_typed(&["join", "-"], "\n").contains("standard input"));
    assert!(ann.refuses_typed(&["join", "-"], "parlor:nonsense\n").contains("link"));
    assert_eq!(ann.run_typed(&["join", "-"], &format!("  {link}\n"))["state"], "running");

    // Used, it opens nothing for anybody else; for its user it is as good as before.
    assert!(ben.refuses(&["join", link]).contains("somebody else has used this link"));
    assert!(items(&ben.run(&["sessions"]), "sessions").is_empty());
    assert_eq!(ann.run(&["join", link])["state"], "running");
    assert_eq!(items(&host_node.session(&session), "members").len(), 1);
    assert!(host_node.refuses(&["join", link]).contains("this node made the link"));
}

#[test]
fn a_link_for_one_opens_for_nobody_else() {
    let world = World::new();
    let (host_node, [ann, ben]) = unmet(&world, "2", ["ann", "ben"]);
    let session = host(&host_node, "chat", &[]);
    let bound = link(&host_node, &session, &["--for", ann.peer()]);
    assert!(ben.refuses(&["join", &bound]).contains("not for this node"));
    assert!(items(&host_node.session(&session), "members").is_empty());
    assert_eq!(ann.run(&["join", &bound])["session"], session);
    ann.wait_state(&session, "running");
}

#[test]
fn too_late_is_too_late_and_over_is_over() {
    let world = World::new();
    let (mut host_node, [ann, ben]) = unmet(&world, "1", ["ann", "ben"]);
    let session = host(&host_node, "chat", &[]);
    let short = link(&host_node, &session, &["--expires", "1s"]);
    thread::sleep(Duration::from_secs(3));
    assert!(ann.refuses(&["join", &short]).contains("expired"));

    // One copy, two links.
    let (first, second) = (link(&host_node, &session, &[]), link(&host_node, &session, &[]));
    ann.run(&["join", &first]);
    ann.wait_state(&session, "running");
    assert!(ben.refuses(&["join", &second]).contains("no copy left"));
    let third = link(&host_node, &session, &[]);
    host_node.run(&["end", &session]);
    assert!(ben.refuses(&["join", &third]).contains("over"));
    host_node.refuses(&["invite", &session, "--link"]);
    host_node.stop();
    let why = ben.refuses(&["join", &third]);
    assert!(why.contains("did not answer") && why.contains("make sure"), "{why}");
}

/// Its clock is its own: the host decides, and who shows an expired link to a clock that is late is told no more
/// than somebody who made it up.
#[test]
fn the_hosts_clock_counts() {
    let world = World::new();
    let (host_node, [mut ann]) = unmet(&world, "1", ["ann"]);
    let session = host(&host_node, "chat", &[]);
    let short = link(&host_node, &session, &["--expires", "1s"]);
    ann.restart_with_clock("-1h");
    thread::sleep(Duration::from_secs(3));
    assert!(ann.refuses(&["join", &short]).contains("does not know this link, or it has expired"));
}

#[test]
fn garbage_is_told_in_one_line() {
    let world = World::new();
    let (host_node, [ann]) = unmet(&world, "1", ["ann"]);
    let session = host(&host_node, "chat", &[]);
    let good = link(&host_node, &session, &[]);
    let (head, tail) = good.split_at(good.len() - 9);
    for garbage in [
        "parlor:",
        "parlor:x",
        "parlor:////",
        "PARLOR:AAAAAAAAAAAAAAAA",
        "parlor:\u{1b}[31mred",
        head,
        &format!("{good}A"),
        &format!("{head}{}", tail.replace(|_| true, "A")),
        &format!("parlor:{}", "A".repeat(100_000)),
    ] {
        assert!(ann.refuses(&["join", garbage]).contains("damaged"), "{garbage:.40}");
    }
    ann.refuses(&["join", "https://example.org/parlor"]);
    // Wrong use.
    for verb in [
        &["invite", &session][..],
        &["invite", &session, "--link", "ann"],
        &["invite", &session, "ann", "--for", "ann"],
        &["invite", &session, "ann", "--expires", "1h"],
    ] {
        assert_eq!(host_node.call(verb).code, 2, "{verb:?}");
    }
    for time in ["soon", "0s", "1year"] {
        assert!(host_node.refuses(&["invite", &session, "--link", "--expires", time]).contains("not a time"));
    }
    host_node.refuses(&["invite", &session, "--link", "--for", host_node.peer()]);
    host_node.refuses(&["invite", &session, "--link", "--for", "nobody"]);
    // Written otherwise, it is still the same.
    assert_eq!(ann.run(&["join", &format!(" {}\n", good.to_lowercase())])["session"], session);
}

/// What people see: the link alone on its line, a code of it, and what it is worth.
#[test]
fn a_link_can_be_copied_and_photographed() {
    let world = World::new();
    let (host_node, [ann]) = unmet(&world, "1", ["ann"]);
    let session = host(&host_node, "chat", &[]);
    let outcome = host_node.plain(&["invite", &session, "--link"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let [link, code @ .., worth] = &lines[..] else { panic!("{outcome:?}") };
    assert!(link.starts_with("parlor:") && !link.contains(' '), "{link}");
    let width = code[0].chars().count();
    assert!(code.len() > 20 && code.iter().all(|line| line.chars().count() == width), "{}", outcome.stdout);
    assert!(worth.contains("Good until") && worth.contains("first who opens it"), "{worth}");
    let bound = host_node.plain(&["invite", &session, "--link", "--for", ann.peer(), "--expires", "7days"]);
    assert!(bound.stdout.contains(&format!("for {} alone", ann.peer())), "{}", bound.stdout);
    ann.run(&["join", link]);
    ann.wait_state(&session, "running");
}

#[test]
fn a_host_that_was_killed_honours_its_links() {
    let world = World::new();
    let (mut host_node, [ann, ben]) = unmet(&world, "3", ["ann", "ben"]);
    let session = host(&host_node, "chat", &[]);
    let link = link(&host_node, &session, &[]);
    host_node.kill9();
    let why = ann.refuses(&["join", &link]);
    assert!(why.contains("did not answer"), "{why}");
    host_node.restart();
    ann.run(&["join", &link]);
    // And what was opened stays so, however soon after it is killed again.
    host_node.restart();
    assert!(ben.refuses(&["join", &link]).contains("somebody else has used this link"));
    ann.wait_state(&session, "running");
    talk(&session, &[&host_node, &ann], "back");
}

/// Killed somewhere in the midst of it, the host has either taken the link or not; nobody gets in beside the one.
#[test]
fn a_link_is_good_for_one_whenever_the_host_dies() {
    let world = World::new();
    let (mut host_node, [ann, ben]) = unmet(&world, "16", ["ann", "ben"]);
    for delay in [0, 15, 30, 60] {
        let session = host(&host_node, "chat", &[]);
        let link = link(&host_node, &session, &[]);
        thread::scope(|scope| {
            let joining = scope.spawn(|| ann.call(&["join", &link]));
            thread::sleep(Duration::from_millis(delay));
            host_node.kill9();
            host_node.restart();
            drop(joining.join().expect("it ends"));
        });
        let second = ben.call(&["join", &link]);
        let (first, second) = if second.code == 0 { (&ben, &ann) } else { (&ann, &ben) };
        first.run(&["join", &link]);
        assert!(second.refuses(&["join", &link]).contains("somebody else"), "killed after {delay} ms");
        first.wait_state(&session, "running");
        let seen = host_node.session(&session);
        let seated: Vec<_> = items(&seen, "members").iter().map(|one| &one["peer"]).collect();
        assert_eq!(seated, [first.peer()], "killed after {delay} ms: {seen:#}");
        host_node.run(&["end", &session]);
        wait_for("the end", || (first.session(&session)["state"] == "ended").then_some(()));
    }
}

#[test]
fn who_was_removed_does_not_come_back_by_its_link() {
    let world = World::new();
    let (host_node, [ann]) = unmet(&world, "2", ["ann"]);
    let session = host(&host_node, "chat", &[]);
    let (own, spare) = (link(&host_node, &session, &[]), link(&host_node, &session, &[]));
    ann.run(&["join", &own]);
    ann.wait_state(&session, "running");
    host_node.run(&["remove", &session, ann.peer()]);
    ann.wait_state(&session, "removed");
    assert!(ann.refuses(&["join", &own]).contains("does not know this link"));
    assert!(ann.refuses(&["join", &spare]).contains("not for this node"));
    assert_eq!(ann.session(&session)["state"], "removed");
}
