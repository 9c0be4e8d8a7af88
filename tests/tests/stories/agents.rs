//! Agents: programs that arrive and run by themselves, and are contained.

use std::{fs, path::Path};

use parlor_tests::{
    browser::Browser,
    cast::{Cast, join},
    node::Node,
    programs::example,
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

/// A program whose agent is these bytes.
fn program(dir: &Path, agent: &[u8]) -> std::path::PathBuf {
    let dir = dir.join("hostile");
    fs::create_dir(&dir).expect("a new directory");
    fs::write(dir.join("manifest.toml"), "name = \"hostile\"\n").expect("a file");
    fs::write(dir.join("agent.wasm"), agent).expect("a file");
    dir
}

#[test]
fn a_program_whose_agent_is_no_component_runs_nowhere_and_harms_nobody() {
    let cast = Cast::gather(&["ann"]);
    let path = program(cast.world.path(), b"\0asm\x0d\0\x01\0 and so on");
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
