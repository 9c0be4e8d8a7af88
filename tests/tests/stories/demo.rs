//! `parlor demo`: the whole of it in one command.

use std::{
    fs,
    process::{Command, Stdio},
};

use parlor_tests::{
    node::Outcome,
    wait_for,
    watch::Watch,
    world::{World, binary},
};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn the_demo_runs_from_publish_to_the_bill() {
    let world = World::new();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "180"]).arg(binary()).arg("--home").arg(world.file("home"));
    let outcome = Outcome::of(command.args(["--json", "demo", "--headless"]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lines = outcome.lines();
    let last = lines.last().expect("the demo says how it went");
    assert_eq!((&last["event"], &last["ok"]), (&"demo".into(), &true.into()), "{last:#}");
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    let left: Vec<_> = std::fs::read_dir(world.path()).expect("the scratch directory").collect();
    assert!(left.is_empty(), "the demo leaves nothing behind: {left:?}");
}

#[test]
fn a_demo_that_is_told_to_end_leaves_nothing_behind() {
    for signal in [Signal::HUP, Signal::TERM, Signal::INT] {
        let world = World::new();
        let mut demo = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(binary())
            .args(["demo", "--headless"])
            .env("TMPDIR", world.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo can be started");
        let lines = Watch::of(demo.stdout.take().expect("standard output is piped"));
        lines.wait_for("the five nodes", |line| line["event"] == "nodes");
        assert_eq!(fs::read_dir(world.path()).expect("the scratch directory").count(), 1);
        kill_process(Pid::from_child(&demo), signal).expect("it can be told to end");
        let status = wait_for("the demo to end", || demo.try_wait().expect("it can be waited for"));
        assert_eq!(status.code(), Some(1), "{signal:?}: {status}");
        lines.wait_for("how it ended", |line| line["event"] == "demo" && line["ok"] == false);
        let left: Vec<_> = fs::read_dir(world.path()).expect("the scratch directory").collect();
        assert!(left.is_empty(), "{signal:?}: {left:?}");
    }
}
