//! Relays with limits: those that they have by default let programs through, and those that end a circuit soon do
//! not end what goes through it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use parlor_tests::{
    cast::{Cast, host, join, talk},
    internet::nat::Nat,
    node::Node,
    programs::{bulky, example},
    stage::{Plan, wait_path},
    wait_for,
};
use serde_json::Value;

use super::apart;

/// MiB that many programs do not have.
const LARGE: u64 = 32;

#[test]
fn a_large_program_reaches_a_member_over_a_relay_as_it_is() {
    let stage = apart(Plan::new().relay(&[]), Nat::Symmetric, &["ann"]);
    let (cast, ann) = (&stage.cast, &stage.cast.members[0]);
    let before = stage.relayed();
    let session = cast.run(&bulky(cast.world.file("bulky"), LARGE));
    wait_path(&cast.host, ann, "relayed");
    let relayed = stage.relayed() - before;
    assert!(relayed > LARGE << 20, "{relayed} bytes went through the relay");
    talk(&session, &[&cast.host, ann], "after all that");
    cast.assert_bill(1, &[ann]);
}

/// MiB that need many circuits of [`LIMITS`].
const MANY: u64 = 16;
const LIMITS: &str = "circuit-time=10s,circuit-bytes=4MiB";
/// Seconds in which several circuits of [`LIMITS`] end.
const LONG: u64 = 25;

#[test]
fn a_session_outlives_the_circuits_of_its_relay_and_loses_nothing() {
    let stage = apart(Plan::new().relay(&["--relay-limits", LIMITS]), Nat::Symmetric, &["ann"]);
    let (cast, ann) = (&stage.cast, &stage.cast.members[0]);
    for node in [&cast.host, ann] {
        node.run(&["availability", "free"]);
    }
    let session = cast.run(&example("chat"));
    let speakers = [&cast.host, ann];
    let watches = speakers.map(|node| node.watch(&session));
    let said = meanwhile(&session, &speakers, || {
        let (since, before) = (uptime(ann), stage.relayed());
        transfer(cast, ann);
        let relayed = stage.relayed() - before;
        assert!(relayed > MANY << 20, "more than one circuit carries: {relayed} bytes");
        wait_for("several circuits to end", || (uptime(ann) > since + LONG).then_some(()));
    });
    for watch in &watches {
        for speaker in speakers {
            let last = numbered(said);
            watch.wait_for("the last of what was said", |line| {
                line["sender"] == speaker.peer() && line["payload"] == last
            });
            let heard: Vec<Value> =
                watch.seen().into_iter().filter(|one| one["sender"] == speaker.peer()).collect();
            let heard: Vec<&Value> = heard.iter().map(|line| &line["payload"]).collect();
            let all: Vec<Value> = (1..=said).map(|number| numbered(number).into()).collect();
            assert_eq!(heard, all.iter().collect::<Vec<_>>(), "each of {}'s once, in order", speaker.name());
        }
    }
}

fn numbered(number: u32) -> String {
    format!("number {number}")
}

fn uptime(node: &Node) -> u64 {
    node.run(&["status"])["uptime"].as_u64().expect("a number of seconds")
}

/// A program goes to ann, in a session of its own.
fn transfer(cast: &Cast, ann: &Node) {
    let name = cast.supply(&bulky(cast.world.file("bulky"), MANY), 1);
    let session = host(&cast.host, &name, &[ann.name()]);
    join(ann, &session);
    cast.wait_running(&session);
}

/// Everybody goes on speaking while something happens. How much each of them said.
fn meanwhile(session: &str, speakers: &[&Node], act: impl FnOnce()) -> u32 {
    /// Set when it goes, also in a panic: the others would speak for ever otherwise.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let speaking = scope.spawn(|| {
            (1..)
                .find(|number| {
                    speakers.iter().for_each(|node| drop(node.run(&["send", session, &numbered(*number)])));
                    is_over.load(Ordering::Relaxed)
                })
                .expect("it ends some time")
        });
        let over = Over(&is_over);
        act();
        drop(over);
        speaking.join().expect("all could speak")
    })
}
