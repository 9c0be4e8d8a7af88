//! Turns: each says something once it has seen what was said before, and everybody has it in that order, also who comes
//! late or was off meanwhile.

use std::{fs, path::Path, process::Command};

use parlor_tests::{
    cast::{Cast, host, join},
    node::Node,
    programs::example,
    watch::Watch,
};

/// `send SESSION N` for each number, by one after the other, each after it has seen the one before.
fn take_turns(session: &str, nodes: &[&Node], numbers: std::ops::Range<usize>) {
    let watches: Vec<Watch> = nodes.iter().map(|node| node.watch(session)).collect();
    for number in numbers {
        nodes[number % nodes.len()].run(&["send", session, &number.to_string()]);
        watches.iter().for_each(|watch| drop(watch.wait_update(number.to_string())));
    }
}

/// All numbers below `end` are told, each once and in their order.
fn assert_in_order(session: &str, node: &Node, end: usize) {
    let watch = node.watch(session);
    let all = watch.wait_until(&format!("{end} updates at {}", node.name()), |lines| {
        let updates = lines.iter().filter(|line| line["event"] == "update");
        let payloads: Vec<_> = updates.map(|line| line["payload"].clone()).collect();
        (payloads.len() >= end).then_some(payloads)
    });
    let expected: Vec<_> = (0..end).map(|number| number.to_string()).collect();
    assert_eq!(all, expected, "{}", node.name());
}

#[test]
fn who_comes_late_and_who_was_off_have_what_was_said_in_the_order_in_which_it_was_said() {
    // The host is Ann.
    let mut cast = Cast::gather(&["ben", "cleo", "dan"]);
    let name = cast.supply(&example("chat"), 3);
    let session = host(&cast.host, &name, &["ben", "cleo"]);
    for member in &cast.members[..2] {
        join(member, &session);
    }
    for node in [&cast.host, &cast.members[0], &cast.members[1]] {
        node.wait_state(&session, "running");
    }
    take_turns(&session, &[&cast.host, &cast.members[0], &cast.members[1]], 0..12);

    cast.host.run(&["invite", &session, "dan"]);
    join(&cast.members[2], &session);
    cast.members[2].wait_state(&session, "running");
    assert_in_order(&session, &cast.members[2], 12);

    cast.members[0].stop();
    take_turns(&session, &[&cast.host, &cast.members[1]], 12..20);
    cast.members[0].restart();
    cast.members[0].wait_state(&session, "running");
    assert_in_order(&session, &cast.members[0], 20);
    for node in [&cast.host, &cast.members[1], &cast.members[2]] {
        assert_in_order(&session, node, 20);
    }
}

/// `cp -a`, in place of what was there.
fn replace(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(copied.success());
}

#[test]
fn a_member_whose_home_is_an_older_copy_is_heard_and_stops_nobody() {
    let mut cast = Cast::gather(&["ben", "cleo"]);
    let session = cast.run(&example("chat"));
    take_turns(&session, &[&cast.host, &cast.members[0], &cast.members[1]], 0..3);
    cast.members[0].stop();
    let (home, copy) = (cast.members[0].home().to_owned(), cast.world.file("copy"));
    replace(&home, &copy);
    cast.members[0].restart();
    cast.members[0].wait_state(&session, "running");
    take_turns(&session, &[&cast.members[0], &cast.host], 3..7);

    cast.members[0].stop();
    replace(&copy, &home);
    cast.members[0].restart();
    cast.members[0].wait_state(&session, "running");
    assert_in_order(&session, &cast.members[0], 7);
    take_turns(&session, &[&cast.host, &cast.members[0], &cast.members[1]], 7..12);
    for node in [&cast.host, &cast.members[0], &cast.members[1]] {
        assert_in_order(&session, node, 12);
    }
    let log = cast.members[0].log();
    assert_eq!(log.matches("has said more in this session than its home knows").count(), 1, "{log}");
}
