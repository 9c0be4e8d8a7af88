//! A node whose output nobody reads any more goes on as if somebody did.

use parlor_tests::{
    cast::{host, join},
    node::{Node, Reader, items},
    programs::example,
    world::World,
};

/// Ann hosts, Ben joins, they talk, the session is listed, and both end well.
fn a_session_runs(world: &World, output: Reader, errors: Reader) {
    // All there is to say, so that a pipe that nobody reads is full soon.
    let up = |name| world.setup(name).log("debug").readers(output, errors).up();
    let [mut ann, mut ben]: [Node; 2] = ["ann", "ben"].map(up);
    ann.knows(&ben);
    ben.knows(&ann);
    ann.run(&["publish", example("chat").to_str().expect("a path in UTF-8")]);
    let session = host(&ann, "chat", &["ben"]);
    join(&ben, &session);
    for node in [&ann, &ben] {
        node.wait_state(&session, "running");
    }

    ben.run(&["send", &session, "anybody there?"]);
    assert_eq!(ann.watch(&session).wait_update("anybody there?")["name"], "ben");
    for node in [&mut ann, &mut ben] {
        assert_eq!(items(&node.run(&["sessions"]), "sessions").len(), 1);
        node.stop();
    }
}

#[test]
fn whoever_read_a_nodes_log_has_gone() {
    a_session_runs(&World::new(), Reader::There, Reader::Gone);
}

#[test]
fn whoever_reads_a_nodes_log_has_fallen_asleep() {
    a_session_runs(&World::new(), Reader::There, Reader::Asleep);
}

#[test]
fn whoever_read_what_a_node_prints_has_gone() {
    a_session_runs(&World::new(), Reader::Gone, Reader::Gone);
}

/// A node that cannot start says so with its exit code, also where it cannot say it in words.
#[test]
fn a_refusal_that_nobody_reads_is_a_refusal() {
    let world = World::new();
    let node = world.node("ann");
    let (read, write) = std::io::pipe().expect("a pipe");
    drop(read);
    let status = std::process::Command::new(parlor_tests::world::binary())
        .args([
            "--home".as_ref(),
            node.home().as_os_str(),
            "--json".as_ref(),
            "up".as_ref(),
            "--no-mdns".as_ref(),
        ])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(write)
        .status()
        .expect("the binary can be started");
    assert_eq!(status.code(), Some(1));
}
