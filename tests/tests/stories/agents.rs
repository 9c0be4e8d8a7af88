//! Agents: programs that arrive and run by themselves. Those that mean harm are in [`super::hostile_agents`].

use std::{fs, path::Path};

use parlor_tests::{
    browser::Browser,
    cast::{Cast, host, join, member},
    node::{Node, items},
    programs::{agent_by_hand, example, pack, with_agent},
    watch::Watch,
};

/// A line that a watcher was shown by an agent, which has this in it.
pub(super) fn wait_line(watch: &Watch, text: &str) {
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

/// Counts the updates, and writes each with its number; its state is the count, which it begins with.
const COUNTS: [(&str, &str); 4] = [
    (
        "extra",
        "(global $count (mut i32) (i32.const 0))
        (func $tell-count (call $tell (global.get $count)))",
    ),
    (
        "start",
        "(if (local.get $length) (then (global.set $count (i32.load8_u (local.get $state)))))
        (call $tell-count)",
    ),
    (
        "update",
        "(global.set $count (i32.add (global.get $count) (i32.const 1)))
        (call $line (local.get $payload) (local.get $length))
        (call $tell-count)",
    ),
    (
        "suspend",
        "(i32.store8 (i32.const 1024) (global.get $count))
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 1))
        i32.const 0",
    ),
];

#[test]
fn a_checkpoint_puts_the_state_aside_and_a_killed_node_is_told_only_what_came_after_it() {
    let mut cast = Cast::gather(&["ann"]);
    let path = with_agent(cast.world.path(), "counts", &agent_by_hand(&COUNTS));
    let page = "<!doctype html><script src=webxdc.js></script><body data-ready=true>";
    fs::write(path.join("index.html"), page).expect("a file");
    let session = cast.run(&path);
    let page = open(&cast.host, &session);
    let post = |update: &str| page.eval(&format!("webxdc.sendUpdate({update}, '')"));
    let assert_lines = |node: &Node, expected: &[&str]| {
        let told = node.watch(&session).wait_until("all lines", |seen| {
            let lines: Vec<_> =
                seen.iter().filter_map(|line| line["text"].as_str().map(str::to_owned)).collect();
            Some(lines).filter(|lines| lines.len() >= expected.len())
        });
        assert_eq!(told, expected, "{}", node.name());
    };
    post("{payload: 'a'}");
    post("{payload: 'b'}");
    let first = ["0", "\"a\"", "1", "\"b\"", "2"];
    let then = ["\"sum\"", "3", "\"c\"", "4"];
    for node in [&cast.host, &cast.members[0]] {
        assert_lines(node, &first);
    }
    post("{payload: 'sum', checkpoint: true}");
    post("{payload: 'c'}");
    for node in [&cast.host, &cast.members[0]] {
        assert_lines(node, &[&first[..], &then].concat());
    }
    for node in [&mut cast.members[0], &mut cast.host] {
        node.kill9();
        node.restart();
        node.wait_state(&session, "running");
        assert_lines(node, &then[1..]);
    }
}

/// For `setup`: asks to go straight on.
const GO_ON: &str = "(i32.store8 (i32.const 4) (i32.const 1)) i32.const 0";

/// Two are invited to a program that asks to go straight on.
fn invite_to_an_eager_program(cast: &Cast) -> String {
    let agent = agent_by_hand(&[("setup", GO_ON)]);
    cast.invite_all(&cast.supply(&with_agent(cast.world.path(), "eager", &agent), 2))
}

/// One of them comes, and the program runs; the other one has not answered, and comes later.
fn assert_starts_with_the_first(cast: &Cast, session: &str) {
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    join(ann, session);
    ann.wait_state(session, "running");
    let now = cast.host.wait_state(session, "running");
    assert_eq!(member(&now, ben)["state"], "invited", "{now:#}");
    join(ben, session);
    ben.wait_state(session, "running");
}

#[test]
fn a_program_that_asks_to_go_on_starts_with_the_first_that_is_ready() {
    let cast = Cast::gather(&["ann", "ben"]);
    let session = invite_to_an_eager_program(&cast);
    assert_starts_with_the_first(&cast, &session);
}

#[test]
fn a_killed_host_still_knows_that_the_program_asked_to_go_on() {
    let mut cast = Cast::gather(&["ann", "ben"]);
    let session = invite_to_an_eager_program(&cast);
    cast.host.kill9();
    cast.host.restart();
    assert_starts_with_the_first(&cast, &session);
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

/// For `input`: writes of each pack that is here its name and what is in its `map.txt`, and then a dot.
const LOOKS: [(&str, &str); 2] = [
    ("extra", r#"(data (i32.const 1024) "map.txt.")"#),
    (
        "input",
        "(call $packs (i32.const 64))
        (local.set $text (i32.load (i32.const 64)))
        (local.set $length (i32.load (i32.const 68)))
        (block $done (loop $next
            (br_if $done (i32.eqz (local.get $length)))
            (call $line (i32.load offset=8 (local.get $text)) (i32.load offset=12 (local.get $text)))
            (call $pack-read (i32.load (local.get $text)) (i32.load offset=4 (local.get $text))
                (i32.const 1024) (i32.const 7) (i64.const 0) (i32.const 100) (i32.const 64))
            (call $line (i32.load (i32.const 68)) (i32.load (i32.const 72)))
            (local.set $text (i32.add (local.get $text) (i32.const 48)))
            (local.set $length (i32.sub (local.get $length) (i32.const 1)))
            (br $next)))
        (call $line (i32.const 1031) (i32.const 1))",
    ),
];

/// What the agent of this node writes when it looks: up to the dot that ends it, which is the `time`th.
fn look(node: &Node, session: &str, time: usize) -> Vec<String> {
    let watch = node.watch(session);
    node.run(&["send", session, "look"]);
    watch.wait_until("all that it sees", |seen| {
        let lines: Vec<_> = seen.iter().filter_map(|line| line["text"].as_str().map(str::to_owned)).collect();
        let looks: Vec<_> = lines.split(|line| line == ".").map(<[String]>::to_vec).collect();
        (looks.len() > time).then(|| looks[time - 1].clone())
    })
}

#[test]
fn an_agent_sees_the_packs_for_its_program_on_its_own_node_until_they_are_removed() {
    let cast = Cast::gather(&["ann"]);
    let ann = &cast.members[0];
    let dir = cast.world.path();
    let hills = pack(dir, "hills", "for = \"dungeon\"\nlevels = [1, 9]", "up and down");
    let streets = pack(dir, "streets", "for = \"city\"", "straight on");
    for (path, name) in [(&hills, "hills"), (&streets, "streets")] {
        cast.publish(path, &["--copies", "1"]);
        ann.run(&["get", "origin", name]);
    }
    let programs = ann.run(&["programs"]);
    let said = |name: &str| {
        let found = items(&programs, "programs").iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("{programs:#}"))["pack"].clone()
    };
    assert_eq!(said("hills"), serde_json::json!({"for": "dungeon", "levels": [1, 9]}));
    assert_eq!(said("streets"), serde_json::json!({"for": "city", "levels": null}));

    let session = cast.run(&with_agent(dir, "dungeon", &agent_by_hand(&LOOKS)));
    assert_eq!(look(ann, &session, 1), ["hills", "up and down"]);
    assert_eq!(look(&cast.host, &session, 1), [""; 0], "it is on the member's node alone");
    ann.run(&["program", "remove", "hills"]);
    assert_eq!(look(ann, &session, 2), [""; 0]);
}

#[test]
fn a_preloaded_pack_is_seen_as_one_that_was_got() {
    let cast = Cast::gather(&[]);
    let preload = cast.world.file("preload");
    fs::create_dir(&preload).expect("a directory");
    let _ = pack(&preload, "hills", "for = \"dungeon\"", "up and down");
    let _ = with_agent(&preload, "dungeon", &agent_by_hand(&LOOKS));
    let directory = preload.to_string_lossy().into_owned();
    let ann = cast.world.setup("ann").args(&[&"--preload", &directory]).up();
    let session = host(&ann, "dungeon", &[]);
    ann.run(&["start", &session]);
    ann.wait_state(&session, "running");
    assert_eq!(look(&ann, &session, 1), ["hills", "up and down"]);
}
