//! Agents: programs that arrive and run by themselves, and are contained.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use parlor_tests::{
    browser::Browser,
    cast::{Cast, join},
    node::Node,
    programs::{agent_by_hand, example},
    watch::Watch,
};

/// A line that a watcher was shown by an agent, which has this in it.
fn wait_line(watch: &Watch, text: &str) {
    watch.wait_for(text, |line| {
        line["event"] == "line" && line["text"].as_str().is_some_and(|line| line.contains(text))
    });
}

/// Whether a file of that name lies anywhere below.
fn has_file(dir: &Path, name: &str) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        if path.is_dir() { has_file(&path, name) } else { entry.file_name() == name }
    })
}

/// Opens the session's page in a browser of this node's user.
fn open(node: &Node, session: &str) -> Browser {
    let url = node.run(&["open", session, "--print"])["url"].as_str().expect("a URL").to_owned();
    let browser = Browser::open(node.name(), &url);
    browser.wait_ready();
    browser
}

#[test]
fn what_is_typed_goes_to_the_agent_and_comes_back_as_a_line() {
    let cast = Cast::gather(&["ann"]);
    let session = cast.run(&example("echo"));
    let ann = &cast.members[0];
    let watch = ann.watch(&session);
    ann.run(&["send", &session, "is anybody there?"]);
    wait_line(&watch, "is anybody there?");
    assert_eq!(ann.session(&session)["agent"], true);
}

#[test]
fn a_headless_group_plays_dice_with_a_browser_and_the_host_part_stays_with_the_host() {
    let cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&example("dice"));
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    let watches = [cast.host.watch(&session), ann.watch(&session)];
    let page = open(ben, &session);
    ann.run(&["send", &session, "roll"]);
    for watch in &watches {
        wait_line(watch, "ann rolled");
    }
    page.wait("document.body.textContent.includes('ann')");
    for member in [ann, ben] {
        assert!(has_file(member.home(), "agent.wasm"), "the agent is there");
        assert!(!has_file(member.home(), "host.wasm"), "the host's files are on a member's disk");
    }
    assert!(has_file(cast.host.home(), "host.wasm"));
}

#[test]
fn members_in_a_plain_terminal_chat_with_one_in_a_browser() {
    let cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&example("chat"));
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    let watch = ann.watch(&session);
    let page = open(ben, &session);
    ann.run(&["send", &session, "hello from a terminal"]);
    page.wait("document.body.textContent.includes('hello from a terminal')");
    page.type_into("#text", "hello from a browser");
    page.click("#send");
    wait_line(&watch, "ben: hello from a browser");
    wait_line(&watch, "ann: hello from a terminal");
}

#[test]
fn a_poll_is_kept_by_the_host_alone_and_goes_on_after_a_kill() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&example("tally"));
    cast.members[0].run(&["send", &session, "vote red"]);
    let watch = cast.members[1].watch(&session);
    let standing = |watch: &Watch, text: &str| {
        watch.wait_for(text, |line| {
            line["event"] == "update" && line["info"].as_str().is_some_and(|info| info.contains(text))
        });
    };
    standing(&watch, "red");
    cast.host.kill9();
    cast.host.restart();
    cast.host.wait_state(&session, "running");
    cast.members[1].run(&["send", &session, "vote blue"]);
    let both = |line: &serde_json::Value| {
        let info = line["info"].as_str().unwrap_or_default();
        line["event"] == "update" && info.contains("red") && info.contains("blue")
    };
    watch.wait_for("both votes", both);
}

#[test]
fn a_pause_puts_the_state_aside_and_a_killed_node_goes_on_from_it() {
    let mut cast = Cast::gather(&["ann"]);
    let session = cast.run(&example("dice"));
    let watch = cast.members[0].watch(&session);
    cast.members[0].run(&["send", &session, "roll"]);
    wait_line(&watch, "ann rolled");
    cast.host.run(&["suspend", &session]);
    cast.members[0].wait_session(&session, "the pause", |now| now["suspended"] == true);
    cast.host.kill9();
    cast.host.restart();
    cast.host.run(&["resume", &session]);
    cast.members[0].wait_session(&session, "the end of the pause", |now| now["suspended"] == false);
    cast.members[0].run(&["send", &session, "roll 1d20"]);
    let numbers = |seen: &[serde_json::Value]| -> Vec<u64> {
        let rolls = seen.iter().filter(|line| line["payload"]["is"] == "roll");
        rolls.filter_map(|line| line["payload"]["number"].as_u64()).collect()
    };
    // What was asked before the pause is not answered once more, and the count goes on.
    let told = watch.wait_until("the second roll", |seen| Some(numbers(seen)).filter(|seen| seen.len() > 1));
    assert_eq!(told, [1, 2]);
}

/// A program of that name whose agent is these bytes.
fn program(dir: &Path, name: &str, agent: &[u8]) -> PathBuf {
    let dir = dir.join(name);
    fs::create_dir(&dir).expect("a new directory");
    fs::write(dir.join("manifest.toml"), format!("name = {name:?}\n")).expect("a file");
    fs::write(dir.join("agent.wasm"), agent).expect("a file");
    dir
}

const SPIN: &str = "(loop $again (br $again))";

/// Functions of an agent, and their bodies.
type Bodies = &'static [(&'static str, &'static str)];

/// Agents that do harm once their user types something: what they are called, and what their user is told.
const HARMS: [(&str, Bodies, &str); 5] = [
    ("spins", &[("input", SPIN)], "it ran for more than 1s on one event"),
    (
        "grows",
        &[("input", "(loop $a (br_if $a (i32.ne (i32.const -1) (memory.grow (i32.const 16))))) unreachable")],
        "more memory than 32 MiB",
    ),
    (
        "recurses",
        &[
            (
                "extra",
                "(func $deep (param i64) (result i64) (i64.add (call $deep (local.get 0)) (i64.const 1)))",
            ),
            ("input", "(drop (call $deep (i64.const 0)))"),
        ],
        "call stack exhausted",
    ),
    (
        "floods",
        &[("input", "(loop $a (call $send (i32.const 0) (i32.const 8) (i32.const 64)) (br $a))")],
        "messages a second",
    ),
    ("traps", &[("input", "unreachable")], "it trapped"),
];

#[test]
fn hostile_agents_harm_neither_their_node_nor_its_other_sessions() {
    let cast = Cast::gather(&["ann"]);
    let ann = &cast.members[0];
    ann.run(&["availability", "free"]);
    let neighbour = cast.run(&example("echo"));
    let lines = ann.watch(&neighbour);
    for (name, bodies, why) in HARMS {
        let session = cast.run(&program(cast.world.path(), name, &agent_by_hand(bodies)));
        let watch = ann.watch(&session);
        // What an agent was stopped for is told to those who watch already.
        watch.wait_for("the beginning", |line| line["event"] == "state");
        thread::scope(|scope| {
            let typing = scope.spawn(|| ann.refuses(&["send", &session, "go"]));
            // Answered while it is at it, and the neighbour's agent as well.
            ann.run(&["status"]);
            ann.run(&["send", &neighbour, &format!("while it {name}")]);
            wait_line(&lines, &format!("while it {name}"));
            let refusal = typing.join().expect("the refusal of what was typed");
            assert!(refusal.contains("stopped"), "{name}: {refusal}");
        });
        let told = watch.wait_for(why, |line| line["event"] == "agent");
        assert!(told["why"].as_str().is_some_and(|told| told.contains(why)), "{name}: {told}");
        assert_eq!(ann.session(&session)["state"], "running", "{name}: the session goes on without it");
        ann.run(&["end", &session]);
    }
}

#[test]
fn an_agent_that_spins_in_setup_is_refused_while_its_node_goes_on() {
    let cast = Cast::gather(&["ann"]);
    let spins = agent_by_hand(&[("setup", "(loop $again (br $again)) i32.const 0")]);
    let name = cast.supply(&program(cast.world.path(), "spins-at-once", &spins), 1);
    thread::scope(|scope| {
        let hosting = scope.spawn(|| cast.host.refuses(&["host", &name, "--invite", "ann"]));
        let mut answers = 0;
        while !hosting.is_finished() {
            cast.host.run(&["status"]);
            answers += 1;
        }
        let why = hosting.join().expect("the refusal of the host's wish");
        assert!(why.contains("it ran for more than 10s on setup"), "{why}");
        assert!(answers > 5, "status was answered {answers} times meanwhile");
    });
}

#[test]
fn a_program_whose_agent_is_no_component_runs_nowhere_and_harms_nobody() {
    let cast = Cast::gather(&["ann"]);
    let path = program(cast.world.path(), "hostile", b"\0asm\x0d\0\x01\0 and so on");
    let name = cast.supply(&path, 1);
    let why = cast.host.refuses(&["host", &name, "--invite", "ann"]);
    assert!(why.contains("agent.wasm"), "{why}");
    let session = cast.run(&example("echo"));
    let watch = cast.host.watch(&session);
    cast.host.run(&["send", &session, "still here"]);
    wait_line(&watch, "still here");
}

#[test]
fn a_late_member_gets_the_agent_and_what_was_said() {
    let cast = Cast::gather(&["ann", "ben"]);
    let name = cast.supply(&example("chat"), 2);
    let opened = cast.host.run(&["host", &name, "--invite", "ann"]);
    let session = opened["session"].as_str().expect("an id").to_owned();
    join(&cast.members[0], &session);
    cast.members[0].wait_state(&session, "running");
    cast.members[0].run(&["send", &session, "before you came"]);
    cast.host.run(&["invite", &session, "ben"]);
    join(&cast.members[1], &session);
    cast.members[1].wait_state(&session, "running");
    let watch = cast.members[1].watch(&session);
    wait_line(&watch, "ann: before you came");
}
