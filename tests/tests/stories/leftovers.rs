//! Whatever is broken off leaves no files that nothing lists: neither a session that a member leaves while it receives,
//! nor a command whose caller goes away.

use std::{fs, process::Child};

use parlor_tests::{
    cast::{Cast, join, wait_midway},
    node::{Node, items},
    programs::{BULK, bulky, example},
    wait_for,
    world::World,
};

/// What lies where a node keeps programs: theirs and what is being put together.
fn on_disk(node: &Node) -> Vec<String> {
    let entries = fs::read_dir(node.home().join("programs")).expect("a folder of programs");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

fn in_library(node: &Node) -> Vec<String> {
    let programs = node.run(&["programs"]);
    let id = |program: &serde_json::Value| program["program"].as_str().expect("an id").to_owned();
    items(&programs, "programs").iter().map(id).collect()
}

/// Waits until its programs' files are those of its library.
fn wait_tidy(node: &Node, programs: usize) {
    wait_for("a folder that has the library's programs and nothing else", || {
        let (mut files, mut library) = (on_disk(node), in_library(node));
        files.sort();
        library.sort();
        (files == library && files.len() == programs).then_some(())
    });
}

#[test]
fn a_member_leaves_while_it_receives() {
    let cast = Cast::gather_slowly(&["ann"]);
    let name = cast.supply(&bulky(cast.world.file("bulky"), BULK), 1);
    let session = cast.invite_all(&name);
    let ann = &cast.members[0];
    join(ann, &session);
    wait_midway(ann, &session);
    assert_eq!(on_disk(ann).len(), 1, "what has come so far");
    ann.run(&["end", &session]);
    ann.wait_state(&session, "left");
    wait_tidy(ann, 0);
}

#[test]
fn a_member_is_killed_while_it_receives_and_leaves_then() {
    let mut cast = Cast::gather_slowly(&["ann"]);
    let name = cast.supply(&bulky(cast.world.file("bulky"), BULK), 1);
    let session = cast.invite_all(&name);
    join(&cast.members[0], &session);
    wait_midway(&cast.members[0], &session);
    // What it has got is needed as long as it is in the session.
    cast.members[0].kill9();
    cast.host.kill9();
    cast.members[0].restart();
    let ann = &cast.members[0];
    assert_eq!(on_disk(ann).len(), 1);
    ann.run(&["end", &session]);
    wait_tidy(ann, 0);
}

#[test]
fn whoever_publishes_goes_away_meanwhile() {
    let world = World::new();
    let node = world.node("olga");
    let path = bulky(world.file("bulky"), BULK);
    let mut caller: Child = std::process::Command::new(parlor_tests::world::binary())
        .arg("--home")
        .arg(node.home())
        .arg("publish")
        .arg(&path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("parlor can be started");
    wait_for("an import under way", || (!on_disk(&node).is_empty()).then_some(()));
    caller.kill().expect("it can be killed");
    caller.wait().expect("it can be waited for");

    wait_tidy(&node, 1);
    let offered = wait_for("what is published to be offered", || {
        let catalog = node.run(&["catalog"]);
        items(&catalog, "programs").first().cloned()
    });
    assert_eq!(offered["name"], "bulky");
}

#[test]
fn a_program_that_is_removed_takes_its_files_along() {
    let world = World::new();
    let mut node = world.node("olga");
    for name in ["chat", "dice"] {
        node.run(&["publish", example(name).to_str().expect("a path in UTF-8")]);
    }
    node.run(&["program", "remove", "dice"]);
    wait_tidy(&node, 1);
    node.restart();
    wait_tidy(&node, 1);
}
