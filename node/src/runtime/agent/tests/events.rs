//! What agents do in the course of events.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;

use super::{
    super::{Content, Event, Limits, NotWritten, Readiness, Stopped, Update, Upon},
    Stage, fate,
    guest::{ECHO, SPIN, agent, echo},
    input, patient,
};

fn update(serial: u64) -> Event {
    let content = Content { payload: "\"there\"".into(), info: None, document: None, summary: None };
    Event::Update(Update { serial, sender: "them".into(), is_own: false, content })
}

#[tokio::test]
async fn an_agent_hears_a_line_and_answers() {
    let mut stage = Stage::new();
    let agent = stage.start(&echo(), patient()).await;
    agent.tell(input("hello \u{1b}[2Jthere")).await.unwrap();
    assert_eq!(stage.line().await, "hello [2Jthere", "nothing that disturbs a terminal is left");
}

#[tokio::test]
async fn start_comes_first_and_then_every_event_in_order() {
    let mut stage = Stage::new();
    let component = agent(&[
        ("start", "(call $tell (i32.const 0))"),
        ("message", "(call $tell (i32.const 1)) (call $line (local.get $message) (local.get $length))"),
        ("update", "(call $tell (i32.const 2)) (call $line (local.get $payload) (local.get $length))"),
        ("page", "(call $tell (i32.const 3))"),
        ("members", "(call $tell (local.get $count))"),
        ("end", "(call $tell (i32.const 9))"),
    ]);
    let agent = stage.start(&component, patient()).await;
    let message = Event::Message { sender: "them".into(), data: Bytes::from_static(b"here") };
    for event in [message, update(7), input("a line"), Event::Page("{}".into()), Event::Members(vec![])] {
        agent.tell(event).await.unwrap();
    }
    agent.end().await;
    for expected in ["0", "1", "here", "2", "\"there\"", "a line", "3", "0", "9"] {
        assert_eq!(stage.line().await, expected);
    }
}

#[tokio::test]
async fn state_goes_out_and_comes_back_in() {
    let mut stage = Stage::new();
    // Remembers the last line. Writes what it started with.
    let component = agent(&[
        ("extra", "(global $length (mut i32) (i32.const 0))"),
        ("start", "(call $line (local.get $state) (local.get $length))"),
        ("input", "(global.set $length (local.get $length)) (i32.store (i32.const 0) (local.get $text))"),
        ("suspend", "(i32.store (i32.const 4) (global.get $length)) (i32.const 0)"),
    ]);
    let agent = stage.start(&component, patient()).await;
    assert_eq!(stage.line().await, "");
    agent.tell(input("remember me")).await.unwrap();
    assert_eq!(agent.suspend().await.unwrap().serial, None);
    agent.tell(update(41)).await.unwrap();
    agent.tell(update(42)).await.unwrap();
    let suspended = agent.suspend().await.unwrap();
    assert_eq!((suspended.serial, suspended.state.as_slice()), (Some(42), &b"remember me"[..]));
    drop(agent);

    let _agent = stage.start_with(&component, patient(), Some(&suspended.state)).await;
    assert_eq!(stage.line().await, "remember me");
}

#[tokio::test]
async fn what_is_posted_upon_an_update_is_named_by_it() {
    let stage = Stage::new();
    let says = "(drop (call $say (i32.const 1024) (i32.const 2)))";
    let component =
        agent(&[("extra", r#"(data (i32.const 1024) "{}")"#), ("update", &says.repeat(2)), ("input", says)]);
    let agent = stage.start(&component, patient()).await;
    for event in [update(7), input(""), update(9)] {
        agent.tell(event).await.unwrap();
    }
    agent.suspend().await.unwrap();
    let upon = |serial, nth| Some(Upon { serial, nth });
    let wanted = [upon(7, 0), upon(7, 1), None, upon(9, 0), upon(9, 1)];
    assert_eq!(*stage.room.upon.lock().unwrap(), wanted);
}

#[tokio::test]
async fn setup_says_whether_to_go_on_and_has_no_group() {
    let mut stage = Stage::new();
    assert_eq!(stage.setup(&echo(), &patient()).await, Ok(Readiness::Ready));
    let goes_on = agent(&[
        ("extra", r#"(data (i32.const 1024) "{}")"#),
        (
            "setup",
            "(if (call $say (i32.const 1024) (i32.const 2)) (then (call $tell (i32.load8_u (i32.const 72)))))
            (i32.store8 (i32.const 4) (i32.const 1)) (i32.const 0)",
        ),
    ]);
    assert_eq!(stage.setup(&goes_on, &patient()).await, Ok(Readiness::GoOn));
    assert_eq!(stage.line().await, "3", "closed");
    assert!(stage.room.posted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_refuses_in_setup_says_why_and_can_disturb_nobody_with_it() {
    let stage = Stage::new();
    let refuses = agent(&[
        ("extra", r#"(data (i32.const 1024) "only on\1b[31m Mondays\0a")"#),
        (
            "setup",
            "(i32.store8 (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 1024))
            (i32.store (i32.const 8) (i32.const 1000)) (i32.const 0)",
        ),
    ]);
    let stopped = stage.setup(&refuses, &patient()).await.unwrap_err();
    assert_eq!(stopped.to_string(), "it refused to run here: only on[31m Mondays");
}

#[tokio::test]
async fn ticks_come_by_themselves() {
    let mut stage = Stage::new();
    let component = agent(&[("tick", "(call $tell (i32.const 5))")]);
    let limits = Limits { tick: Some(Duration::from_millis(10)), ..patient() };
    let agent = stage.start(&component, limits).await;
    for _ in 0..3 {
        assert_eq!(stage.line().await, "5");
    }
    agent.tell(input("still here")).await.unwrap();
    while stage.line().await != "still here" {}
}

#[tokio::test]
async fn after_its_end_an_agent_takes_nothing_and_was_not_stopped() {
    let stage = Stage::new();
    let ended = stage.start(&echo(), patient()).await;
    ended.end().await;
    assert_eq!(ended.tell(input("too late")).await, Err(Stopped::Ended));
    assert!(!ended.try_tell(input("too late")));
    assert_eq!(ended.suspend().await, Err(Stopped::Ended));
    ended.end().await;
    assert!(ended.stopped().now_or_never().is_none());

    // Not even if it fails on its end.
    let fails = stage.start(&agent(&[("end", "unreachable")]), patient()).await;
    fails.end().await;
    assert!(fails.stopped().now_or_never().is_none());
}

#[tokio::test]
async fn who_is_dropped_is_killed_in_the_middle_of_an_event() {
    let mut stage = Stage::new();
    let spin = format!("{ECHO} {SPIN}");
    let agent = stage.start(&agent(&[("input", &spin)]), patient()).await;
    let other = agent.clone();
    agent.tell(input("off")).await.unwrap();
    assert_eq!(stage.line().await, "off");
    drop(agent);
    assert_eq!(Arc::strong_count(&stage.room), 2, "not while somebody holds it");
    drop(other);
    let gone = async {
        while Arc::strong_count(&stage.room) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(super::GENEROUS, gone).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_said_is_an_answer() {
    let mut stage = Stage::new();
    let component = agent(&[
        ("extra", r#"(data (i32.const 1024) "[1, 2")(data (i32.const 1040) "[1, 2]")"#),
        (
            "input",
            "(if (call $say (i32.const 1024) (i32.const 5)) (then (call $tell (i32.load8_u (i32.const 72)))))
            (call $send (i32.const 0) (i32.const 128001) (i32.const 64))
            (call $tell (i32.load8_u (i32.const 72)))
            (call $send (i32.const 0) (i32.const 128000) (i32.const 64))
            (call $tell (i32.load8_u (i32.const 64)))
            (call $tell (call $say (i32.const 1040) (i32.const 6)))",
        ),
    ]);
    let agent = stage.start(&component, patient()).await;
    agent.tell(input("")).await.unwrap();
    for expected in ["4", "0", "0", "0"] {
        assert_eq!(stage.line().await, expected);
    }
    agent.suspend().await.unwrap();
    let posted = stage.room.posted.lock().unwrap();
    assert_eq!(posted.iter().map(|content| content.payload.as_str()).collect::<Vec<_>>(), ["[1, 2]"]);
    assert_eq!(stage.room.sent.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_hands_it_something_hears_whether_what_it_wrote_is_written() {
    let stage = Stage::new();
    let component = agent(&[
        ("extra", r#"(data (i32.const 1024) "[1, 2]")"#),
        ("input", "(drop (call $say (i32.const 1024) (i32.const 6)))"),
    ]);
    let agent = stage.start(&component, patient()).await;
    for is_full in [false, true, true, false] {
        stage.room.is_full.store(is_full, std::sync::atomic::Ordering::SeqCst);
        let taken = agent.hand(input("")).await.unwrap().await.unwrap();
        assert_eq!(taken, if is_full { Err(NotWritten) } else { Ok(()) });
    }
    assert_eq!(stage.room.posted.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn the_programs_files_can_be_read_and_no_others() {
    let words = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(words.path(), "alpha beta gamma").unwrap();
    let mut stage = Stage::with(|room| room.file = Some(words.path().into()));
    let read = |length: usize, offset: usize| {
        format!(
            "(call $read (i32.const 1024) (i32.const {length}) (i64.const {offset}) (i32.const 4) (i32.const 64))
            (call $tell (i32.load8_u (i32.const 64)))
            (call $line (i32.load (i32.const 68)) (i32.load (i32.const 72)))"
        )
    };
    let component = agent(&[
        ("extra", r#"(data (i32.const 1024) "words.txt")"#),
        ("input", &format!("{}{}{}", read(9, 6), read(9, 100), read(5, 0))),
    ]);
    let agent = stage.start(&component, patient()).await;
    agent.tell(input("")).await.unwrap();
    for expected in ["1", "beta", "1", "", "0"] {
        assert_eq!(stage.line().await, expected);
    }
}

#[tokio::test]
async fn a_full_queue_drops_what_may_be_lost_and_makes_the_rest_wait() {
    let stage = Stage::with(|room| room.is_stuck = true);
    let component = agent(&[
        ("extra", r#"(data (i32.const 1024) "{}")"#),
        ("input", "(drop (call $say (i32.const 1024) (i32.const 2)))"),
    ]);
    let limits = Limits { event: Duration::from_secs(5), ..patient() };
    let agent = stage.start(&component, limits).await;
    while agent.try_tell(input("")) {}
    // It may have taken one since; it takes no second.
    let stopped = loop {
        if let Err(stopped) = agent.tell(input("")).await {
            break stopped;
        }
    };
    assert_eq!(stopped.to_string(), "it ran for more than 5s on one event");
    assert_eq!(fate(&agent).await, stopped.to_string());
}
