//! Agents that mean harm, on real nodes: each is contained, its user reads a line that says why, and neither the node
//! nor its other sessions notice.

use std::{fs, fs::File, path::Path, thread};

use parlor_tests::{
    cast::{Cast, host, join},
    node::Node,
    programs::{WasiCall, agent_by_hand, example, with_agent},
    pulse::meanwhile,
    watch::Watch,
};

use crate::agents::wait_line;

/// Functions of an agent, and their bodies.
type Bodies = &'static [(&'static str, &'static str)];

/// A host and a member, with a session of theirs whose agent is to go on answering.
struct Street {
    cast: Cast,
    neighbour: String,
}

impl Street {
    fn new() -> Self {
        let cast = Cast::gather(&["ann"]);
        cast.members[0].run(&["availability", "free"]);
        let neighbour = cast.run(&example("echo"));
        Self { cast, neighbour }
    }

    fn ann(&self) -> &Node {
        &self.cast.members[0]
    }

    fn dir(&self) -> &Path {
        self.cast.world.path()
    }

    /// Lets harm be done on a node, which goes on answering meanwhile, as does the neighbour's agent on it.
    fn beside_the_neighbour<T: Send>(&self, node: &Node, what: &str, harm: impl FnOnce() -> T + Send) -> T {
        let (lines, greeting) = (node.watch(&self.neighbour), format!("while it {what}"));
        let done = meanwhile(node, what, || {
            thread::scope(|scope| {
                let harm = scope.spawn(harm);
                node.run(&["send", &self.neighbour, &greeting]);
                wait_line(&lines, &greeting);
                harm.join().expect("what comes of the harm")
            })
        });
        node.run(&["send", &self.neighbour, &format!("after it {what}")]);
        wait_line(&lines, &format!("after it {what}"));
        done
    }
}

/// What an agent was stopped for is told to those who watch already.
fn watch_from_now(node: &Node, session: &str) -> Watch {
    let watch = node.watch(session);
    watch.wait_for("the beginning", |line| line["event"] == "state");
    watch
}

const SPIN: &str = "(loop $again (br $again))";

/// Who does harm once its user types something: what it does, how, and what its user is told.
const HARMS: [(&str, Bodies, &str); 6] = [
    ("spins", &[("input", SPIN)], "it ran for more than 1s on one event"),
    (
        "grows",
        &[("input", "(loop $a (br_if $a (i32.ne (i32.const -1) (memory.grow (i32.const 16))))) unreachable")],
        "more memory than 32 MiB",
    ),
    (
        "recurses",
        &[
            (
                "extra",
                "(func $deep (param i64) (result i64) (i64.add (call $deep (local.get 0)) (i64.const 1)))",
            ),
            ("input", "(drop (call $deep (i64.const 0)))"),
        ],
        "call stack exhausted",
    ),
    (
        "floods",
        &[("input", "(loop $a (call $send (i32.const 0) (i32.const 8) (i32.const 64)) (br $a))")],
        "it said more than 60 messages a second",
    ),
    (
        "writes",
        &[("input", "(loop $a (call $line (local.get $text) (local.get $length)) (br $a))")],
        "it wrote more than 60 lines a second",
    ),
    ("traps", &[("input", "unreachable")], "it trapped"),
];

#[test]
fn an_agent_that_does_harm_is_stopped_and_nothing_else_is() {
    let street = Street::new();
    let ann = street.ann();
    for (name, bodies, why) in HARMS {
        let session = street.cast.run(&with_agent(street.dir(), name, &agent_by_hand(bodies)));
        let watch = watch_from_now(ann, &session);
        let refusal = street.beside_the_neighbour(ann, name, || ann.refuses(&["send", &session, "go"]));
        assert!(refusal.contains("stopped"), "{name}: {refusal}");
        let told = watch.wait_for(why, |line| line["event"] == "agent");
        assert!(told["why"].as_str().is_some_and(|told| told.contains(why)), "{name}: {told}");
        assert_eq!(ann.session(&session)["state"], "running", "{name}: the session goes on without it");
        ann.run(&["end", &session]);
    }
}

/// For `extra`: what is written of nothing.
const NOTHING: &str = r#"(data (i32.const 1024) "there is nothing")
    (func $nothing (call $line (i32.const 1024) (i32.const 16)))"#;
/// Writes that, or how long the list is that it got.
const IS_LIST_EMPTY: &str = "(call $wasi (i32.const 64))
    (if (i32.load (i32.const 68)) (then (call $tell (i32.load (i32.const 68)))) (else (call $nothing)))";
/// Asks for an IPv4 socket, and writes whether it was refused: access denied.
const IS_SOCKET_REFUSED: &str = "(call $wasi (i32.const 0) (i32.const 64))
    (if (i32.and (i32.load8_u (i32.const 64)) (i32.eq (i32.const 1) (i32.load8_u (i32.const 68))))
        (then (call $nothing)) (else (call $tell (i32.load8_u (i32.const 68)))))";

#[test]
fn an_agent_that_reaches_out_finds_nothing() {
    let street = Street::new();
    let ann = street.ann();
    for (name, wasi, looks) in [
        ("opens-files", WasiCall::FOLDERS, IS_LIST_EMPTY),
        ("opens-sockets", WasiCall::SOCKET, IS_SOCKET_REFUSED),
        ("reads-the-environment", WasiCall::ENVIRONMENT, IS_LIST_EMPTY),
    ] {
        let agent = wasi.by_hand(&[("extra", NOTHING), ("input", looks)]);
        let session = street.cast.run(&with_agent(street.dir(), name, &agent));
        let watch = ann.watch(&session);
        street.beside_the_neighbour(ann, name, || ann.run(&["send", &session, "go"]));
        let told = watch.wait_for("a line", |line| line["event"] == "line");
        assert_eq!(told["text"], "there is nothing", "{name}: {told}");
        ann.run(&["end", &session]);
    }
}

/// Keeps 64 KiB under ever new keys until it may not; then says why, and goes on.
const KEEP: &str = r#"(loop $again
    (i32.store8 (i32.const 1024) (i32.add (i32.const 1) (i32.load8_u (i32.const 1024))))
    (call $set (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 65536) (i32.const 64))
    (br_if $again (i32.eqz (i32.load8_u (i32.const 64)))))
    (if (i32.eqz (i32.load8_u (i32.const 65))) (then (call $line (i32.const 1032) (i32.const 17))))
    (call $line (local.get $text) (local.get $length))"#;

#[test]
fn an_agent_that_fills_its_store_is_told_that_it_is_full() {
    let street = Street::new();
    let ann = street.ann();
    let agent =
        agent_by_hand(&[("extra", r#"(data (i32.const 1032) "the store is full")"#), ("input", KEEP)]);
    let program = with_agent(street.dir(), "keeps", &agent);
    // Neither a slow disk nor a busy machine is to stop it before.
    let wishes = "name = \"keeps\"\n[parlor.agent]\nevent_ms = 10000\nstore = 262144\n";
    fs::write(program.join("manifest.toml"), wishes).expect("a file");
    let session = street.cast.run(&program);
    let watch = ann.watch(&session);
    street.beside_the_neighbour(ann, "keeps", || ann.run(&["send", &session, "and it goes on"]));
    wait_line(&watch, "the store is full");
    wait_line(&watch, "and it goes on");
}

/// An import that no node has.
const SECRETS: &str =
    r#"(import "parlor:agent/secrets@0.1.0" (instance (export "tell" (func (result string)))))"#;

#[test]
fn an_agent_that_cannot_run_here_is_refused() {
    let street = Street::new();
    let node = &street.cast.host;
    let spins = agent_by_hand(&[("setup", &format!("{SPIN} i32.const 0"))]);
    let secrets = agent_by_hand(&[("imports", SECRETS)]);
    for (name, agent, why) in [
        ("spins-at-once", &*spins, "it ran for more than 10s on setup"),
        ("wants-secrets", &*secrets, "parlor:agent/secrets@0.1.0"),
        ("is-malformed", b"\0asm\x0d\0\x01\0 and so on", "it is no WebAssembly component"),
        ("is-huge", b"", "the component has 200000000 bytes, at most 33554432 are allowed"),
    ] {
        let path = with_agent(street.dir(), name, agent);
        if agent.is_empty() {
            let huge = File::options().write(true).open(path.join("agent.wasm")).expect("the agent");
            huge.set_len(200_000_000).expect("a sparse file");
        }
        let program = meanwhile(node, &format!("gets what {name}"), || street.cast.supply(&path, 1));
        let wish = ["host", &program, "--invite", "ann"];
        let told = street.beside_the_neighbour(node, name, || node.refuses(&wish));
        assert!(told.contains("agent.wasm") && told.contains(why), "{name}: {told}");
    }
}

/// Spins where the host's files are not.
const SPIN_ON_MEMBERS: &str = "(call $read
        (i32.const 1024) (i32.const 9) (i64.const 0) (i32.const 1) (i32.const 64))
    (if (i32.eqz (i32.load8_u (i32.const 64))) (then (loop $again (br $again))))
    i32.const 0";

#[test]
fn a_member_reads_why_the_agent_cannot_be_set_up_there() {
    let street = Street::new();
    let (node, ann) = (&street.cast.host, street.ann());
    let agent =
        agent_by_hand(&[("extra", r#"(data (i32.const 1024) "host.wasm")"#), ("setup", SPIN_ON_MEMBERS)]);
    let path = with_agent(street.dir(), "spins-on-members", &agent);
    fs::write(path.join("host.wasm"), agent_by_hand(&[])).expect("a file");
    let session = host(node, &street.cast.supply(&path, 1), &["ann"]);
    let failed = street.beside_the_neighbour(ann, "spins-on-members", || {
        join(ann, &session);
        ann.wait_state(&session, "failed")
    });
    let why = failed["why"].as_str().unwrap_or_default();
    assert!(why.contains("it ran for more than 10s on setup"), "{failed:#}");
}
