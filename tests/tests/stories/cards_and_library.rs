//! Programs that come without a server: from a card, from a directory of preloaded ones, from the library.

use std::fs;

use parlor_tests::{
    cast::{Cast, assert_slots, host, join, talk},
    node::{Node, items},
    programs::{bulky, example, packed, size_below},
    wait_until,
};

/// MiB, enough for a skipped transfer to be told from one that took place.
const BULK: u64 = 8;

#[test]
fn a_card_carries_a_program_and_the_way_to_its_host() {
    let cast = Cast::gather(&["ann"]);
    let [ann] = &cast.members[..] else { unreachable!("one member") };
    ann.run(&["contact", "remove", "host"]);
    let name = cast.supply(&bulky(cast.world.file("bulky"), BULK), 1);
    let card = cast.world.file("program.card").to_string_lossy().into_owned();
    cast.host.run(&["card", "write", &name, &card]);

    let read = ann.run(&["card", "read", &card]);
    assert_eq!(read["name"], name.as_str(), "{read:#}");
    let contacts = ann.run(&["contact", "list"]);
    assert!(items(&contacts, "contacts").iter().any(|one| one["peer"] == cast.host.peer()), "{contacts:#}");
    let before = ann.run(&["status"])["transfers"]["fetched"].clone();
    let session = cast.invite_all(&name);
    join(ann, &session);
    ann.wait_state(&session, "running");
    assert_eq!(ann.run(&["status"])["transfers"]["fetched"], before, "it came by card");
    assert_slots(&cast.host.session(&session), 1, 1);
    cast.assert_bill(1, &[ann]);
}

#[test]
fn a_kept_program_skips_the_next_transfer_and_a_discarded_one_is_gone() {
    let cast = Cast::gather(&["ann"]);
    let [ann] = &cast.members[..] else { unreachable!("one member") };
    let name = cast.supply(&bulky(cast.world.file("bulky"), BULK), 1);
    let fetched = || ann.run(&["status"])["transfers"]["fetched"].as_u64().expect("a number of bytes");

    let first = cast.invite_all(&name);
    join(ann, &first);
    ann.wait_state(&first, "running");
    let after_first = fetched();
    assert!(after_first >= BULK << 20, "{after_first}");
    cast.host.run(&["end", &first, "--keep"]);
    ann.wait_state(&first, "ended");
    assert_eq!(items(&ann.run(&["programs"]), "programs").len(), 1, "kept");

    // The same member has the same slot: the ticket's one copy is enough for a second session.
    let second = cast.invite_all(&name);
    join(ann, &second);
    ann.wait_state(&second, "running");
    assert_eq!(fetched(), after_first, "the second session needs no transfer");
    assert_slots(&cast.host.session(&second), 1, 1);

    // Everyone decides about their own copy.
    ann.run(&["end", &second, "--discard"]);
    ann.wait_state(&second, "left");
    wait_files_gone(ann);
    assert_eq!(items(&cast.host.run(&["programs"]), "programs").len(), 1, "the host's copy is the host's");
    cast.host.run(&["end", &second, "--discard"]);
    cast.host.wait_state(&second, "ended");
    wait_files_gone(&cast.host);
}

fn wait_files_gone(node: &Node) {
    wait_until("the files to be gone", || match size_below(&node.home().join("programs")) {
        0 => Ok(()),
        left => Err(format!("{left} bytes left of {}", node.name())),
    });
    assert!(items(&node.run(&["programs"]), "programs").is_empty());
}

#[test]
fn a_removed_program_is_gone_but_not_while_it_runs() {
    let cast = Cast::gather(&["ann"]);
    let [ann] = &cast.members[..] else { unreachable!("one member") };
    let session = cast.run(&bulky(cast.world.file("bulky"), BULK));
    let why = ann.refuses(&["program", "remove", "bulky"]);
    assert!(why.contains("session"), "{why}");
    cast.host.run(&["end", &session, "--keep"]);
    ann.wait_state(&session, "ended");
    ann.run(&["program", "remove", "bulky"]);
    assert!(items(&ann.run(&["programs"]), "programs").is_empty());
    assert_eq!(size_below(&ann.home().join("programs")), 0);
    assert!(ann.refuses(&["program", "remove", "bulky"]).contains("bulky"));
}

/// Steps ST31-33. The preloaded program is the published one, so that its ticket is all that travels.
#[test]
fn a_preloaded_program_is_not_transferred() {
    let cast = Cast::gather(&[]);
    let preload = cast.world.file("preload");
    fs::create_dir(&preload).expect("a directory");
    packed("chat", preload.join("chat.xdc"));
    let directory = preload.to_string_lossy().into_owned();
    let ann = cast.world.setup("ann").args(&[&"--preload", &directory]).up();
    for node in [&cast.host, &cast.billing] {
        node.knows(&ann);
        ann.knows(node);
    }
    let preloaded = ann.run(&["programs"]);
    let [program] = items(&preloaded, "programs") else { panic!("one program was preloaded: {preloaded:#}") };
    let published = cast.publish(&example("chat"), &["--copies", "1"]);
    assert_eq!(program["program"], published["program"], "a directory and its archive are the same program");

    cast.host.run(&["get", "origin", "chat"]);
    let session = host(&cast.host, "chat", &["ann"]);
    join(&ann, &session);
    ann.wait_state(&session, "running");
    assert_eq!(ann.run(&["status"])["transfers"]["fetched"], 0, "it was preloaded");
    talk(&session, &[&cast.host, &ann], "preloaded");
    cast.assert_bill(1, &[&ann]);
}
