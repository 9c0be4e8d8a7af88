//! What pages post reaches everybody, once, whatever it is and whatever happens to the node.

use std::{fs, path::PathBuf};

use parlor_tests::{cast::Cast, node::Node, page::Page, wait_until, watch::Watch};
use serde_json::{Value, json};

/// How many answers a page has when its node is killed; sixteen more updates are on their way then.
const MOMENTS: [usize; 5] = [1, 2, 5, 17, 38];
const POSTS: usize = 40;

/// A program that is nothing but a page: what is posted is shown as it is.
fn plain(cast: &Cast) -> PathBuf {
    let folder = cast.world.file("plain");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("index.html"), "<h1>Nothing but a page</h1>").expect("a file");
    fs::write(folder.join("manifest.toml"), "name = \"plain\"\n").expect("a file");
    folder
}

fn numbered(page: &mut Page, round: usize) {
    for n in 0..POSTS {
        page.post(&format!(r#"{{"payload":"{round}/{n}"}}"#));
    }
}

/// Waits until all of these are there, and checks that they are there once, in this order.
fn hears_once(watch: &Watch, wanted: &[String]) {
    watch.wait_update(wanted[wanted.len() - 1].clone());
    assert_eq!(watch.payloads(), wanted.iter().map(|text| json!(text)).collect::<Vec<_>>());
}

#[test]
fn a_page_posts_forty_and_its_node_is_killed() {
    let mut cast = Cast::gather(&["ann"]);
    let session = cast.run(&plain(&cast));
    let mut wanted = Vec::new();
    for (round, answers) in MOMENTS.into_iter().enumerate() {
        let mut page = Page::new(round as u8);
        numbered(&mut page, round);
        page.connect(&cast.members[0], &session);
        page.until_answered(answers);
        cast.members[0].kill9();
        cast.members[0].restart();
        cast.members[0].wait_state(&session, "running");
        page.connect(&cast.members[0], &session);
        page.until_all_answered();
        assert_eq!(page.refused, []);
        wanted.extend((0..POSTS).map(|n| format!("{round}/{n}")));
        for node in [&cast.members[0], &cast.host] {
            hears_once(&node.watch(&session), &wanted);
        }
    }
}

#[test]
fn a_page_posts_through_suspensions() {
    let cast = Cast::gather(&["ann"]);
    let session = cast.run(&plain(&cast));
    let mut page = Page::new(1);
    numbered(&mut page, 0);
    for answers in [1, 9, 20] {
        page.connect(&cast.members[0], &session);
        page.until_answered(answers);
        cast.host.run(&["suspend", &session]);
        cast.members[0].wait_state(&session, "suspended");
        cast.host.run(&["resume", &session]);
        cast.wait_running(&session);
    }
    page.connect(&cast.members[0], &session);
    page.until_all_answered();
    assert_eq!(page.refused, []);
    let wanted: Vec<_> = (0..POSTS).map(|n| format!("0/{n}")).collect();
    hears_once(&cast.host.watch(&session), &wanted);
}

/// Every odd thing that a page can post, and what everybody sees of it.
#[test]
fn whatever_a_page_posts_everybody_goes_on_watching() {
    let cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&plain(&cast));
    let all: Vec<&Node> = [&cast.host].into_iter().chain(&cast.members).collect();
    let watches: Vec<_> = all.iter().map(|node| node.watch(&session)).collect();
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let odd: Vec<(String, Value)> = vec![
        (r#""\ud83d""#.into(), json!("\u{fffd}")),
        (r#"{"\ude00":"cut \ud83d"}"#.into(), json!({"\u{fffd}": "cut \u{fffd}"})),
        ("1e999".into(), json!("1e999")),
        (deep(100), serde_json::from_str(&deep(100)).unwrap_or_default()),
        ("123456789012345678901234567890".into(), json!(123_456_789_012_345_678_901_234_567_890_f64)),
        (r#""\u0000\u001b[31m""#.into(), json!("\u{0}\u{1b}[31m")),
    ];
    let mut page = Page::new(1);
    page.connect(&cast.members[0], &session);
    for (payload, _) in &odd {
        page.post(&format!(r#"{{"payload":{payload},"info":"info \ud83d","summary":"\ude00"}}"#));
    }
    page.post(&format!(r#"{{"payload":{}}}"#, deep(200)));
    page.post(r#"{"info":"no payload"}"#);
    page.post(r#"{"payload":"the last"}"#);
    page.until_all_answered();
    let refused: Vec<_> =
        page.refused.iter().map(|(n, why)| (*n as usize - odd.len(), why.as_str())).collect();
    assert_eq!(refused[0], (1, "the payload nests arrays and objects more than 100 deep"));
    assert!(refused[1].0 == 2 && refused[1].1.starts_with("not a webxdc update"), "{refused:?}");
    assert_eq!(refused.len(), 2);

    let wanted: Vec<Value> = odd.into_iter().map(|(_, seen)| seen).chain([json!("the last")]).collect();
    for (node, watch) in all.iter().zip(&watches) {
        watch.wait_update("the last");
        assert_eq!(watch.payloads(), wanted, "{}", node.name());
        let seen = watch.seen();
        let first = seen.iter().find(|line| line["event"] == "update").expect("there are updates");
        assert_eq!((&first["info"], &first["summary"]), (&json!("info \u{fffd}"), &json!("\u{fffd}")));
        // From the beginning, and as people see it.
        assert_eq!(node.watch(&session).wait_update("the last")["name"], "ann");
    }
    let lines = cast.host.stream_plain(&["watch", &session]);
    wait_until("the last line for people", || {
        let seen = lines.seen();
        let told = seen.iter().any(|line| line == "ann: the last");
        if told { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

#[test]
fn a_script_that_sends_again_under_its_key_has_sent_once() {
    let mut cast = Cast::gather(&["ann"]);
    let session = cast.run(&plain(&cast));
    let send = |node: &Node, key: &str| node.run(&["send", &session, "backup done", "--key", key]);
    let first = send(&cast.members[0], "monday");
    assert_eq!(send(&cast.members[0], "monday"), first);
    cast.members[0].kill9();
    cast.members[0].restart();
    cast.members[0].wait_state(&session, "running");
    assert_eq!(send(&cast.members[0], "monday"), first);
    assert_ne!(send(&cast.members[0], "tuesday"), first);
    cast.members[0].run(&["send", &session, "the end"]);
    let watch = cast.host.watch(&session);
    watch.wait_update("the end");
    assert_eq!(watch.payloads(), ["backup done", "backup done", "the end"]);
}
