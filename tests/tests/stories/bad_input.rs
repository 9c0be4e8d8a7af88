//! Bad files, bad homes, bad disks: one clear line each, and nothing is lost.

use std::{
    fs,
    path::{Path, PathBuf},
};

use parlor_tests::{
    cast::{Cast, SLACK, host, join, talk, wait_midway},
    disk::SmallDisk,
    node::{Node, items},
    programs::{BULK, bulky, example, packed, size_below, xdc},
    world::World,
};
use serde_json::Value;

const PAGE: &[u8] = b"<!doctype html><title>x</title>";

/// The origin refuses to publish this, and has nothing of it afterwards.
#[track_caller]
fn refuses_to_publish(origin: &Node, path: &Path) -> String {
    let before = size_below(origin.home());
    let why = origin.refuses(&["publish", path.to_str().expect("UTF-8")]);
    assert!(items(&origin.run(&["catalog"]), "programs").is_empty());
    assert!(items(&origin.run(&["programs"]), "programs").is_empty());
    let after = size_below(origin.home());
    assert!(after < before + (1 << 20), "{} left bytes behind: {before} -> {after}", path.display());
    why
}

#[test]
fn archives_that_are_broken_or_hostile_are_not_published() {
    let world = World::new();
    let origin = world.node("origin");
    let whole = fs::read(packed("chat", world.file("whole.xdc"))).expect("a file");
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = world.file(name);
        fs::write(&path, bytes).expect("a file");
        path
    };

    for (name, bytes) in [
        ("empty.xdc", &b""[..]),
        ("text.xdc", b"this is not an archive"),
        ("half.xdc", &whole[..whole.len() / 2]),
        ("short.xdc", &whole[..whole.len() - 10]),
    ] {
        let why = refuses_to_publish(&origin, &write(name, bytes));
        assert!(why.contains(".xdc") || why.contains(name), "{why}");
    }
    // Damage within the stored files: the archive's own checksums do not fit.
    let mut damaged = whole.clone();
    damaged[whole.len() / 3] ^= 0x10;
    refuses_to_publish(&origin, &write("damaged.xdc", &damaged));

    let outside = xdc(world.file("outside.xdc"), &[("index.html", PAGE), ("../outside.txt", b"hello")]);
    assert!(refuses_to_publish(&origin, &outside).contains(".."));
    assert!(!world.file("outside.txt").exists());
    for name in ["/etc/outside", "a/../../outside", "..\\outside", "C:\\outside", "a//b", "con", "nul\u{0}"] {
        refuses_to_publish(&origin, &xdc(world.file("path.xdc"), &[("index.html", PAGE), (name, b"x")]));
    }
    let twice = xdc(world.file("twice.xdc"), &[("index.html", PAGE), ("a.js", b"1"), ("A.js", b"2")]);
    refuses_to_publish(&origin, &twice);
    let headless = xdc(world.file("headless.xdc"), &[("main.js", b"1")]);
    assert!(refuses_to_publish(&origin, &headless).contains("index.html"));

    // Everything is as it was: the whole one passes.
    assert_eq!(origin.run(&["publish", &world.file("whole.xdc").to_string_lossy()])["name"], "chat");
}

#[test]
fn a_zip_bomb_is_not_published() {
    let world = World::new();
    let origin = world.node("origin");
    let zeros = vec![0; 512 << 20];
    let bomb = xdc(world.file("bomb.xdc"), &[("index.html", PAGE), ("zeros.bin", &zeros)]);
    drop(zeros);
    assert!(fs::metadata(&bomb).expect("a file").len() < 1 << 20);
    refuses_to_publish(&origin, &bomb);
}

#[test]
fn a_card_with_one_bit_flipped_is_refused() {
    let cast = Cast::gather(&["ann"]);
    let [ann] = &cast.members[..] else { unreachable!("one member") };
    let name = cast.supply(&example("chat"), 1);
    let card = cast.world.file("chat.card");
    cast.host.run(&["card", "write", &name, &card.to_string_lossy()]);
    let whole = fs::read(&card).expect("a card");
    let flipped = cast.world.file("flipped.card");
    let path = flipped.to_string_lossy().into_owned();

    for step in 0..24 {
        let at = whole.len() * step / 24 + step % 7;
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (step % 8);
        fs::write(&flipped, &bytes).expect("a file");
        let why = ann.call(&["card", "read", &path]);
        assert_eq!(why.code, 1, "bit {} of byte {at} of {} flipped: {why:?}", step % 8, whole.len());
        why.refusal();
        assert!(items(&ann.run(&["programs"]), "programs").is_empty());
    }
    for part in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&flipped, &whole[..part]).expect("a file");
        ann.refuses(&["card", "read", &path]);
    }
    ann.run(&["card", "read", &card.to_string_lossy()]);
    assert_eq!(items(&ann.run(&["programs"]), "programs").len(), 1);
    let tickets = ann.run(&["ticket", "list"]);
    assert!(items(&tickets, "tickets").is_empty(), "the host's ticket is good for the host alone: {tickets}");
}

/// A program that was got last year, and one that comes from a node whose clock is ahead.
#[test]
fn a_ticket_is_good_in_its_time_only() {
    let mut cast = Cast::gather(&["ann"]);
    let name = cast.supply(&example("chat"), 1);
    for (clock, word) in [("+400d", "expired"), ("-2d", "from the future")] {
        cast.host.restart_with_clock(clock);
        let why = cast.host.refuses(&["host", &name, "--invite", "ann"]);
        assert!(why.contains(word), "{clock}: {why}");
        assert!(items(&cast.host.run(&["sessions"]), "sessions").is_empty());
    }
    cast.host.restart_with_clock("+0");
    let session = cast.invite_all(&name);
    cast.join_all(&session);
    cast.wait_running(&session);
}

#[test]
fn a_home_of_a_newer_version_is_left_alone() {
    let world = World::new();
    let mut node = world.node("solo");
    let peer = node.peer().to_owned();
    node.stop();
    let format = node.home().join("format");
    let now = fs::read_to_string(&format).expect("a home says its format");
    let number: u32 = now.trim().parse().expect("the format is a number");
    fs::write(&format, format!("{}\n", number + 1)).expect("a file");

    let why = world.setup("solo").fails().refusal();
    assert!(why.contains("newer"), "{why}");
    fs::write(&format, now).expect("a file");
    node.restart();
    assert_eq!(node.peer(), peer, "nothing was lost");
}

/// What a session that is receiving waits for, in words.
fn why_it_waits(session: &Value) -> &str {
    session["why"].as_str().or(session["transfer"]["waits"].as_str()).unwrap_or_default()
}

#[test]
fn a_full_disk_stops_a_transfer_which_goes_on_when_there_is_space() {
    let cast = Cast::gather_slowly(&[]);
    let network = cast.network.as_ref().expect("a slow network");
    let disk = SmallDisk::mount(cast.world.file("disk"), 24);
    let small = cast.world.setup("ann").home(&disk.path().join("home")).within(network.name()).up();
    for node in [&cast.host, &cast.billing] {
        node.knows(&small);
        small.knows(node);
    }
    let name = cast.supply(&bulky(cast.world.file("bulky"), BULK), 1);
    let session = host(&cast.host, &name, &["ann"]);
    join(&small, &session);
    let full = |now: &Value| why_it_waits(now).contains("disk is full");
    let stuck = small.wait_session(&session, "a disk that is too small to be noticed", full);
    assert!(!why_it_waits(&stuck).contains('\n'), "one line: {stuck:#}");

    // It fits now, but somebody else is faster.
    disk.resize(BULK + 32);
    wait_midway(&small, &session);
    let filler = disk.fill();
    small.wait_session(&session, "a disk that got full to be noticed", full);
    assert_eq!(small.run(&["status"])["peer"], small.peer(), "the node goes on");

    fs::remove_file(filler).expect("it was just made");
    small.wait_state(&session, "running");
    let fetched = small.run(&["status"])["transfers"]["fetched"].as_u64().expect("a number of bytes");
    assert!(fetched < (BULK << 20) + SLACK, "what was there is not fetched again: {fetched}");
    talk(&session, &[&cast.host, &small], "space");
    cast.assert_bill(1, &[&small]);
    // Before the disk goes away.
    drop(small);
}
