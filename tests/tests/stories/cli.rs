//! The command line itself: help, JSON, and what people get to see.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

use parlor_tests::{
    cast::Cast,
    node::{Node, Outcome, items},
    programs::example,
    world::{World, binary, repository},
};

/// Every verb of the contract.
const VERBS: [&[&str]; 44] = [
    &["up"],
    &["id"],
    &["status"],
    &["peers"],
    &["contact"],
    &["contact", "add"],
    &["contact", "list"],
    &["contact", "remove"],
    &["availability"],
    &["publish"],
    &["catalog"],
    &["get"],
    &["programs"],
    &["program", "remove"],
    &["ticket"],
    &["ticket", "list"],
    &["ticket", "show"],
    &["card"],
    &["card", "write"],
    &["card", "read"],
    &["proof"],
    &["proof", "list"],
    &["proof", "export"],
    &["proof", "check"],
    &["host"],
    &["invite"],
    &["remove"],
    &["inbox"],
    &["join"],
    &["decline"],
    &["start"],
    &["suspend"],
    &["resume"],
    &["end"],
    &["sessions"],
    &["session"],
    &["open"],
    &["send"],
    &["watch"],
    &["bill", "receipts"],
    &["bill", "statement"],
    &["bill", "invoice"],
    &["bill", "export"],
    &["outbox"],
];

fn parlor(args: &[&str]) -> Outcome {
    Outcome::of(Command::new(binary()).args(args).env_remove("PARLOR_HOME"))
}

#[test]
fn every_verb_explains_itself() {
    let all = parlor(&["--help"]);
    assert_eq!(all.code, 0, "{all:?}");
    for verb in VERBS.iter().copied().chain([&["demo"][..]]) {
        assert!(all.stdout.contains(verb[0]), "`parlor --help` does not show {}", verb[0]);
        let help = parlor(&[verb, &["--help"]].concat());
        assert_eq!(help.code, 0, "{verb:?}: {help:?}");
        let usage = format!("parlor {}", verb.join(" "));
        assert!(help.stdout.contains("Usage:") && help.stdout.contains(&usage), "{verb:?}: {}", help.stdout);
        assert!(help.stderr.is_empty(), "{help:?}");
        let about = help.stdout.lines().next().unwrap_or_default();
        assert!(!about.is_empty() && !about.starts_with("Usage"), "{verb:?} does not say what it does");
    }
    for (verb, flags) in [
        ("up", &["--name", "--listen", "--no-mdns", "--console", "--billing-db", "--preload"][..]),
        ("publish", &["--copies", "--copies-max", "--price", "--billing"]),
        ("get", &["--copies"]),
        ("host", &["--invite"]),
        ("end", &["--keep", "--discard"]),
        ("open", &["--print"]),
    ] {
        let help = parlor(&[verb, "--help"]).stdout;
        flags.iter().for_each(|flag| assert!(help.contains(flag), "{verb} has no {flag}:\n{help}"));
    }
    let version = parlor(&["--version"]);
    assert!(version.code == 0 && version.stdout.starts_with("parlor "), "{version:?}");
}

/// A verb that needs no running node does not become a way around the contract's exit codes.
#[test]
fn without_a_node_every_verb_says_so() {
    let world = World::new();
    let home = world.file("nobody").to_string_lossy().into_owned();
    for verb in ["id", "status", "peers", "programs", "inbox", "sessions", "outbox", "catalog"] {
        let outcome = parlor(&["--home", &home, "--json", verb]);
        outcome.failure(3);
    }
    assert!(!world.file("nobody").exists(), "asking leaves nothing behind");
}

fn in_order(cast: &Cast) -> Vec<(&Node, Vec<&'static str>, &'static str)> {
    let (host, ann, billing) = (&cast.host, &cast.members[0], &cast.billing);
    vec![
        (host, vec!["id"], "peer"),
        (host, vec!["status"], "availability"),
        (host, vec!["peers"], "peers"),
        (host, vec!["contact", "list"], "contacts"),
        (host, vec!["catalog", "origin"], "programs"),
        (host, vec!["programs"], "programs"),
        (host, vec!["ticket", "list"], "tickets"),
        (ann, vec!["proof", "list"], "proofs"),
        (ann, vec!["inbox"], "invitations"),
        (ann, vec!["sessions"], "sessions"),
        (ann, vec!["outbox"], "receipts"),
        (billing, vec!["bill", "receipts"], "receipts"),
        (billing, vec!["bill", "statement"], "statement"),
    ]
}

#[test]
fn with_json_every_answer_is_one_object_and_without_it_is_for_people() {
    let cast = Cast::gather(&["ann"]);
    let session = cast.run(&example("chat"));
    cast.settle();
    let empty_home = cast.world.node("newcomer");
    for (node, verb, key) in in_order(&cast) {
        let lines = node.lines(&verb);
        assert_eq!(lines.len(), 1, "{verb:?}: {lines:?}");
        assert!(lines[0].get(key).is_some(), "{verb:?} has no {key}: {:#}", lines[0]);
        for node in [node, &empty_home] {
            if verb[0] == "catalog" && node.name() == "newcomer" {
                continue; // it knows no origin
            }
            readable(&node.plain(&verb), &verb);
        }
    }
    for verb in [["session", &session], ["open", &session]] {
        let mut verb = verb.to_vec();
        if verb[0] == "open" {
            verb.push("--print");
        }
        readable(&cast.host.plain(&verb), &verb);
        assert_eq!(cast.host.lines(&verb).len(), 1, "{verb:?}");
    }
    assert_eq!(cast.host.run(&["id"])["peer"], cast.host.peer());
    let addresses = cast.host.run(&["id"]);
    let ours = items(&addresses, "addrs");
    assert!(
        !ours.is_empty()
            && ours.iter().all(|one| one.as_str().is_some_and(|a| a.ends_with(cast.host.peer())))
    );
}

/// Fit for a terminal: something is said, no line ends in blanks, nothing of the inside shows.
fn readable(outcome: &Outcome, verb: &[&str]) {
    assert_eq!(outcome.code, 0, "{verb:?}: {outcome:?}");
    assert!(!outcome.stdout.trim().is_empty(), "{verb:?} says nothing");
    assert!(outcome.stderr.is_empty(), "{verb:?}: {outcome:?}");
    for line in outcome.stdout.lines() {
        assert_eq!(line.trim_end(), line, "{verb:?}: blanks at the end of a line");
        for inside in ["panicked", "Some(", "None", "PeerId(", "\u{1b}"] {
            assert!(!line.contains(inside), "{verb:?}: {line}");
        }
    }
}

/// What the README tells people to type is there.
#[test]
fn the_readmes_commands_exist() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("a README");
    assert!(readme.contains("\ntests/run\n") && readme.contains("-- demo\n"), "the README's two commands");
    let mut verbs = BTreeSet::new();
    for line in readme.lines() {
        // `ann$ parlor …` in a transcript, or `parlor …` on a line of its own.
        let typed = line.split_once("$ ").map_or(line, |(_prompt, typed)| typed);
        let verb = typed
            .strip_prefix("parlor ")
            .and_then(|words| words.split(' ').find(|word| !word.starts_with('-')));
        verbs.extend(verb);
    }
    assert!(verbs.contains("up") && verbs.contains("host"), "a transcript of a session: {verbs:?}");
    for verb in verbs {
        assert_eq!(parlor(&[verb, "--help"]).code, 0, "the README speaks of `parlor {verb}`");
    }
}

/// With standard output going to a place that takes nothing.
fn into_full(args: &[&str]) -> Outcome {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut command = Command::new(binary());
    let output = command.args(args).env_remove("PARLOR_HOME").stdin(Stdio::null()).stdout(full).output();
    let output = output.expect("the binary can be started");
    let stderr = String::from_utf8(output.stderr).expect("errors are UTF-8");
    Outcome { code: output.status.code().unwrap_or(-1), stdout: String::new(), stderr }
}

#[test]
fn what_cannot_be_printed_is_a_failure() {
    let world = World::new();
    let node = world.node("books");
    let home = node.home().to_string_lossy().into_owned();
    for verb in [
        &["bill", "export", "--format", "csv"][..],
        &["bill", "export", "--format", "json"],
        &["bill", "statement"],
        &["id"],
        &["--json", "id"],
        &["contact", "list"],
        &["--help"],
        &["send", "--help"],
        &["--version"],
    ] {
        let outcome = into_full(&[&["--home", &home], verb].concat());
        let line = outcome.refusal();
        assert!(line.contains("the output cannot be written"), "{verb:?}: {line}");
    }
    let demo = into_full(&["demo", "--headless"]);
    assert_eq!(demo.code, 1, "{demo:?}");
    assert!(demo.stderr.contains("the output cannot be written"), "{demo:?}");
}

/// As with `| head`: whoever has read enough is not told of a failure.
#[test]
fn a_reader_that_goes_is_no_failure() {
    let world = World::new();
    let node = world.node("books");
    let home = node.home().to_string_lossy().into_owned();
    for verb in [&["id"][..], &["--json", "bill", "statement"], &["--help"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(binary());
        command.arg("--home").arg(&home).args(verb).stdin(Stdio::null()).stdout(writer);
        let output = command.output().expect("the binary can be started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""), "{verb:?}");
    }
}

#[test]
fn a_file_that_is_there_is_not_replaced_unasked() {
    let world = World::new();
    let node = world.node("origin");
    node.run(&["publish", &example("chat").to_string_lossy()]);
    let card = world.file("card").to_string_lossy().into_owned();
    fs::write(&card, "a letter").expect("a file");
    let why = node.refuses(&["card", "write", "chat", &card]);
    assert!(why.contains("is there already") && why.contains("--force"), "{why}");
    assert_eq!(fs::read_to_string(&card).expect("the letter"), "a letter");
    node.run(&["card", "write", "chat", &card, "--force"]);
    assert!(fs::read(&card).expect("a card").starts_with(b"PK"));

    node.run(&["host", "chat"]);
    let tickets = node.run(&["ticket", "list"]);
    let ticket = tickets["tickets"][0]["ticket"].as_str().expect("a ticket");
    assert!(node.refuses(&["ticket", "show", ticket, "--cose", &card]).contains("--force"));
    assert!(fs::read(&card).expect("the card").starts_with(b"PK"));
    node.run(&["ticket", "show", ticket, "--cose", &card, "--force"]);
    assert!(!fs::read(&card).expect("a ticket").starts_with(b"PK"));
}
