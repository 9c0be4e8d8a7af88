//! Agents that mean harm, or are merely broken: each is stopped with a line, and its neighbour notices nothing.

use std::{future::Future, time::Duration};

use super::{
    super::{Agent, Limits},
    Stage, fate,
    guest::{ECHO, SPIN, agent, echo},
    input, patient,
};

/// What comes of `harm`, while another agent in the same sandbox goes on answering.
async fn beside_a_neighbour<T>(stage: &Stage, harm: impl Future<Output = T>) -> T {
    let mut beside = Stage::new();
    beside.sandbox = stage.sandbox.clone();
    let neighbour = beside.start(&echo(), Limits { output: u32::MAX, ..patient() }).await;
    let mut harm = std::pin::pin!(harm);
    let mut answers = 0;
    loop {
        neighbour.tell(input("are you there?")).await.unwrap();
        assert_eq!(beside.line().await, "are you there?");
        answers += 1;
        tokio::select! {
            done = &mut harm, if answers > 3 => return done,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}

/// Short for the agent itself, long enough that it gets as far as its event.
fn short() -> Limits {
    Limits { event: Duration::from_millis(500), ..patient() }
}

async fn fate_after_a_line(stage: &Stage, filled: &[(&str, &str)], limits: Limits) -> String {
    let hostile = stage.start(&agent(filled), limits).await;
    hostile.tell(input("go")).await.unwrap();
    beside_a_neighbour(stage, fate(&hostile)).await
}

#[tokio::test]
async fn spins_in_setup() {
    let stage = Stage::new();
    let limits = Limits { phase: Duration::from_secs(2), ..patient() };
    let component = agent(&[("setup", &format!("{SPIN} i32.const 0"))]);
    let stopped = beside_a_neighbour(&stage, stage.setup(&component, &limits)).await.unwrap_err();
    assert_eq!(stopped.to_string(), "it ran for more than 2s on setup");
}

#[tokio::test]
async fn spins_before_anything_else() {
    let stage = Stage::new();
    let limits = Limits { phase: Duration::from_millis(500), ..patient() };
    let component = agent(&[("extra", &format!("(func $first {SPIN}) (start $first)"))]);
    let stopped = beside_a_neighbour(&stage, stage.setup(&component, &limits)).await.unwrap_err();
    assert_eq!(stopped.to_string(), "it ran for more than 500ms on its beginning");
}

#[tokio::test]
async fn spins_in_an_event() {
    let stage = Stage::new();
    let line = fate_after_a_line(&stage, &[("input", SPIN)], short()).await;
    assert_eq!(line, "it ran for more than 500ms on one event");
}

#[tokio::test]
async fn many_spin_at_once() {
    let stage = Stage::new();
    let component = agent(&[("input", SPIN)]);
    let mut hostile: Vec<Agent> = Vec::new();
    for _ in 0..8 {
        let agent = stage.start(&component, short()).await;
        agent.tell(input("go")).await.unwrap();
        hostile.push(agent);
    }
    let all = futures::future::join_all(hostile.iter().map(fate));
    for line in beside_a_neighbour(&stage, all).await {
        assert_eq!(line, "it ran for more than 500ms on one event");
    }
}

#[tokio::test]
async fn waits_for_what_never_comes() {
    let stage = Stage::with(|room| room.is_stuck = true);
    let says = "(drop (call $say (i32.const 1024) (i32.const 2)))";
    let filled = [("extra", r#"(data (i32.const 1024) "{}")"#), ("input", says)];
    let line = fate_after_a_line(&stage, &filled, short()).await;
    assert_eq!(line, "it ran for more than 500ms on one event");
}

#[tokio::test]
async fn grows_memory_without_end() {
    let stage = Stage::new();
    let grows = "(loop $again
        (br_if $again (i32.ne (i32.const -1) (memory.grow (i32.const 16)))))
        unreachable";
    let line = fate_after_a_line(&stage, &[("input", grows)], patient()).await;
    assert_eq!(line, "it needs more memory than 32 MiB");

    // Who only asks, and makes do, goes on.
    let mut stage = Stage::new();
    let makes_do = format!("(drop (memory.grow (i32.const 4096))) {ECHO}");
    let modest = stage.start(&agent(&[("input", &makes_do)]), patient()).await;
    modest.tell(input("fine")).await.unwrap();
    assert_eq!(stage.line().await, "fine");
}

#[tokio::test]
async fn begins_with_too_much_memory_or_too_large_a_table() {
    let stage = Stage::new();
    let table = "(table 40000000 funcref)";
    let stopped = stage.setup(&agent(&[("extra", table)]), &patient()).await.unwrap_err();
    assert_eq!(stopped.to_string(), "it needs more memory than 32 MiB");
}

#[tokio::test]
async fn recurses_without_end() {
    let stage = Stage::new();
    let deep = "(func $deep (param i64) (result i64)
        (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))";
    let filled = [("extra", deep), ("input", "(drop (call $deep (i64.const 0)))")];
    let line = fate_after_a_line(&stage, &filled, patient()).await;
    assert_eq!(line, "it trapped: call stack exhausted");
}

#[tokio::test]
async fn floods_messages() {
    let stage = Stage::new();
    let floods = "(loop $again (call $send (i32.const 0) (i32.const 8) (i32.const 64)) (br $again))";
    let line = fate_after_a_line(&stage, &[("input", floods)], patient()).await;
    assert_eq!(line, "it said more than 60 messages a second");
}

#[tokio::test]
async fn is_told_that_it_is_too_fast_before_it_is_stopped() {
    let mut stage = Stage::new();
    // Says things until one is refused, and tells why.
    let says = "(loop $again
        (br_if $again (i32.eqz (call $say (i32.const 1024) (i32.const 2)))))
        (call $tell (i32.load8_u (i32.const 72)))";
    let component = agent(&[("extra", r#"(data (i32.const 1024) "{}")"#), ("input", says)]);
    let hasty = stage.start(&component, Limits { messages: 5, ..patient() }).await;
    hasty.tell(input("go")).await.unwrap();
    assert_eq!(stage.line().await, "2");
    assert!(stage.room.posted.lock().unwrap().len() >= 5);
    hasty.tell(input("on")).await.unwrap();
    assert_eq!(stage.line().await, "2");
}

#[tokio::test]
async fn floods_output() {
    let stage = Stage::new();
    let floods = "(loop $again (call $line (local.get $text) (local.get $length)) (br $again))";
    let line = fate_after_a_line(&stage, &[("input", floods)], patient()).await;
    assert_eq!(line, "it wrote more than 60 lines a second");
}

#[tokio::test]
async fn fills_the_store_and_goes_on() {
    let mut stage = Stage::new();
    // Keeps 64 KiB under ever new keys until it may not, tells why, and is there for the next line.
    let keeps = "(loop $again
        (i32.store8 (i32.const 1024) (i32.add (i32.const 1) (i32.load8_u (i32.const 1024))))
        (call $set (i32.const 0) (i32.const 1024) (i32.const 1)
            (i32.const 0) (i32.const 65536) (i32.const 64))
        (br_if $again (i32.eqz (i32.load8_u (i32.const 64)))))
        (call $tell (i32.load8_u (i32.const 65)))
        (call $line (local.get $text) (local.get $length))";
    let greedy = stage.start(&agent(&[("input", keeps)]), patient()).await;
    for line in ["more", "and more"] {
        greedy.tell(input(line)).await.unwrap();
        assert_eq!((stage.line().await, stage.line().await), ("0".into(), line.to_owned()));
    }
    assert!(stage.room.bytes_kept() as u64 <= Limits::default().store);
}

#[tokio::test]
async fn keys_and_values_have_a_size() {
    let mut stage = Stage::new();
    let keeps = "(drop (memory.grow (i32.const 32)))
        (call $set (i32.const 1) (i32.const 0) (i32.const 257) (i32.const 0) (i32.const 1) (i32.const 64))
        (call $tell (i32.load8_u (i32.const 65)))
        (call $set (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1048577) (i32.const 64))
        (call $tell (i32.load8_u (i32.const 65)))";
    let agent = stage.start(&agent(&[("input", keeps)]), patient()).await;
    agent.tell(input("go")).await.unwrap();
    assert_eq!((stage.line().await, stage.line().await), ("1".into(), "1".into()));
    assert_eq!(stage.room.bytes_kept(), 0);
}

#[tokio::test]
async fn traps() {
    let stage = Stage::new();
    let line = fate_after_a_line(&stage, &[("input", "unreachable")], patient()).await;
    assert_eq!(line, "it trapped: unreachable");
    let divides = "(i32.store (i32.const 0) (i32.div_u (i32.const 1) (i32.load (i32.const 1024))))";
    let line = fate_after_a_line(&stage, &[("input", divides)], patient()).await;
    assert_eq!(line, "it trapped: integer divide by zero");
}

#[tokio::test]
async fn puts_too_much_aside() {
    let stage = Stage::new();
    for size in [(1 << 20) + 1, 64 << 20] {
        let suspend = format!(
            "(drop (memory.grow (i32.const 1100))) (i32.store (i32.const 4) (i32.const {size})) (i32.const 0)"
        );
        let limits = Limits { memory: 128 << 20, ..patient() };
        let greedy = stage.start(&agent(&[("suspend", &suspend)]), limits).await;
        let stopped = beside_a_neighbour(&stage, greedy.suspend()).await.unwrap_err();
        assert_eq!(stopped.to_string(), "it put more than 1 MiB aside");
        assert_eq!(fate(&greedy).await, stopped.to_string());
    }
}

#[tokio::test]
async fn hands_over_more_than_anybody_wants() {
    let stage = Stage::new();
    let line = fate_after_a_line(
        &stage,
        &[("input", "(drop (memory.grow (i32.const 200))) (call $line (i32.const 0) (i32.const 10000000))")],
        patient(),
    );
    assert_eq!(line.await, "it handed over more than 4 MiB at once");
}
