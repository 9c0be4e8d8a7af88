//! `parlor demo`: the whole of it in one command.

use std::process::Command;

use parlor_tests::{
    node::Outcome,
    world::{World, binary},
};

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
