//! Members that misbehave: that forge, replay, send garbage, and stay when they are put out.

use futures::AsyncWriteExt as _;

use super::{
    bare::{Rogue, captured, message, rest, send, soon, varint},
    log::Log,
    *,
};

#[tokio::test]
async fn a_member_cannot_speak_in_anothers_name() {
    let log = Log::start();
    let mut gates: [Swarm<Gate>; 2] = gates();
    let mut rogue = Rogue::start(&mut gates).await;
    let [mut a, b] = gates.map(Node::run);
    a.open(GAME, &[rogue.peer(), b.peer]).await;
    let mut lane = rogue.join(&mut a).await;
    let forged = [
        message(b.peer, 1, "the key does not fit", Some(&rogue.key)),
        message(b.peer, 2, "not signed", None),
        message(a.peer, 3, "your own words", Some(&rogue.key)),
    ];
    for forged in forged {
        send(&mut lane.to, &forged).await;
    }
    // What is right comes through, and is all that does.
    send(&mut lane.to, &message(rogue.peer(), 4, "in my own name", Some(&rogue.key))).await;
    a.hears(rogue.peer(), "in my own name").await;
    let (session, peer) = (GAME.to_string(), rogue.peer().to_string());
    assert_eq!(log.lines(&["WARN", &session, &peer, "Invalid message"]).len(), 3);
}

/// One member's word makes another one send as many copies as it has neighbours: so it counts before that.
#[tokio::test]
async fn a_flood_of_one_member_is_not_passed_on_by_another() {
    const FLOOD: u64 = 1000;
    // Of the kind of which the least may be said.
    const CONTROL: &str = "\x03";
    let log = Log::start();
    let mut gates: [Swarm<Gate>; 2] = gates();
    let [one, other] = &mut gates;
    link(one, other).await;
    let mut rogue = Rogue::start(&mut gates[..1]).await;
    let [mut a, mut b] = gates.map(Node::run);
    for gate in [&a, &b] {
        gate.open(GAME, &[a.peer, b.peer, rogue.peer()]).await;
    }
    a.sees(GAME, b.peer).await;
    b.sees(GAME, a.peer).await;
    let mut lane = rogue.join(&mut a).await;
    // By now what comes is passed on.
    let mut number = 0;
    let mut say = async |text: &str| {
        number += 1;
        send(&mut lane.to, &message(rogue.peer(), number, text, Some(&rogue.key))).await;
    };
    say("before").await;
    b.hears(rogue.peer(), "before").await;
    for i in 0..FLOOD {
        say(&format!("{CONTROL}{i}")).await;
    }
    say("after").await;
    let mut passed_on = 0;
    while b.message().await.2 != "after" {
        passed_on += 1;
    }
    assert!((1..FLOOD / 4).contains(&passed_on), "{passed_on} of {FLOOD} were passed on");
    let session = GAME.to_string();
    assert!(
        !log.lines(&["WARN", &session, &rogue.peer().to_string(), "more than its author may say"]).is_empty()
    );
    // What others say is not counted against it.
    a.publish(GAME, "all is well").await.unwrap();
    b.hears(a.peer, "all is well").await;
}

#[tokio::test]
async fn a_captured_message_is_delivered_once_however_often_it_is_replayed() {
    let mut gates: [Swarm<Gate>; 2] = gates();
    let mut rogue = Rogue::start(&mut gates).await;
    let [mut a, mut b] = gates.map(Node::run);
    for gate in [&a, &b] {
        gate.open(GAME, &[a.peer, b.peer, rogue.peer()]).await;
    }
    let mut to_a = rogue.join(&mut a).await;
    let mut to_b = rogue.join(&mut b).await;
    a.publish(GAME, "once").await.unwrap();
    let captured = captured(&mut to_a.from).await;
    for _ in 0..5 {
        send(&mut to_b.to, &captured).await;
        send(&mut to_a.to, &captured).await;
    }
    b.hears(a.peer, "once").await;
    for (gate, lane) in [(&mut b, &mut to_b), (&mut a, &mut to_a)] {
        send(&mut lane.to, &message(rogue.peer(), 1, "after", Some(&rogue.key))).await;
        gate.hears(rogue.peer(), "after").await;
    }
}

#[tokio::test]
async fn garbage_over_realtime_ends_the_stream_and_leaves_a_trace() {
    let log = Log::start();
    let mut gates: [Swarm<Gate>; 1] = gates();
    let mut rogue = Rogue::start(&mut gates).await;
    let [mut a] = gates.map(Node::run);
    a.open(GAME, &[rogue.peer()]).await;
    let _lane = rogue.join(&mut a).await;
    for _ in 0..3 {
        let mut stream = rogue.open(a.peer, "realtime/1").await;
        stream.write_all(b"\0\0\0\x04good\xff\xff\xff\xffgarbage").await.unwrap();
        stream.flush().await.unwrap();
        a.hears(rogue.peer(), "good").await;
        assert!(rest(stream).await.is_empty());
    }
    // One line for the three of them, unless a second went by.
    let (session, peer) = (GAME.to_string(), rogue.peer().to_string());
    let lines = log.lines(&["WARN", &session, &peer, "realtime", "untold=0"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[tokio::test]
async fn who_stays_after_removal_on_its_connection_is_neither_served_nor_heard() {
    let log = Log::start();
    let mut gates: [Swarm<Gate>; 2] = gates();
    let [one, other] = &mut gates;
    link(one, other).await;
    let mut rogue = Rogue::start(&mut gates).await;
    let [mut a, mut b] = gates.map(Node::run);
    for gate in [&a, &b] {
        gate.open(GAME, &[a.peer, b.peer, rogue.peer()]).await;
    }
    let mut lane = rogue.join(&mut a).await;
    let mut speaking = rogue.open(a.peer, "realtime/1").await;
    let hearing = soon(rogue.realtime.next()).await.unwrap().1;
    speaking.write_all(b"\0\0\0\x06member").await.unwrap();
    speaking.flush().await.unwrap();
    a.hears(rogue.peer(), "member").await;
    a.direct(GAME, b.peer).await;
    b.direct(GAME, a.peer).await;

    for gate in [&a, &b] {
        gate.revoke(rogue.peer()).await;
    }
    let (session, peer) = (GAME.to_string(), rogue.peer().to_string());
    assert_eq!(log.lines(&["DEBUG", &session, &peer, "put out"]).len(), 2);
    // On all streams that it has.
    let _ = speaking.write_all(b"\0\0\0\x05still").await;
    let _ = speaking.flush().await;
    let rpc = message(rogue.peer(), 1, "still", Some(&rogue.key));
    let _ = lane.to.write_all(&[&varint(rpc.len() as u64), &rpc[..]].concat()).await;
    let _ = lane.to.flush().await;
    a.publish(GAME, "among us").await.unwrap();
    a.realtime(GAME, "among us").await.unwrap();
    for stream in [lane.from, hearing, lane.to, speaking] {
        let got = String::from_utf8_lossy(&rest(stream).await).into_owned();
        assert!(!got.contains("among us"), "the removed one got {got:?}");
    }
    for what in ["1", "ready/1", "realtime/1"] {
        let refused = rogue.control.open_stream(a.peer, name(what)).await;
        assert!(matches!(refused, Err(libp2p_stream::OpenStreamError::UnsupportedProtocol(_))), "{what}");
    }
    b.hears(a.peer, "among us").await;
    b.hears(a.peer, "among us").await;
    // All its streams have ended by now, so whatever it said would have come before this.
    b.publish(GAME, "likewise").await.unwrap();
    a.hears(b.peer, "likewise").await;

    // Added again on the connection it has, it is served and heard.
    a.allow(rogue.peer()).await;
    let mut lane = rogue.join(&mut a).await;
    a.publish(GAME, "welcome").await.unwrap();
    let got = captured(&mut lane.from).await;
    assert!(got.windows(7).any(|text| text == b"welcome"));
    let mut speaking = rogue.open(a.peer, "realtime/1").await;
    speaking.write_all(b"\0\0\0\x06thanks").await.unwrap();
    speaking.flush().await.unwrap();
    a.hears(rogue.peer(), "thanks").await;
}
