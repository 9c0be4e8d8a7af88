//! What a page and the node say to each other.

use futures::{SinkExt as _, StreamExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};

use super::*;

type Stream = tokio::net::TcpStream;

/// A page as `webxdc.js` would be.
struct Page(WebSocketStream<Stream>);

impl Page {
    /// The same `page` twice is the same load of a page, which lost its connection.
    async fn open(house: &House, label: Label, page: u8) -> Self {
        Self::try_open(house, label, page).await.unwrap()
    }

    async fn try_open(house: &House, label: Label, page: u8) -> Result<Self, u16> {
        let cookie = house.cookie(label).await;
        Self::connect(house, label, &cookie, &hex::encode([page; 16])).await
    }

    /// As a page does that lost its connection, with the cookie that the browser has.
    async fn again(house: &House, cookie: &str, page: u8) -> Result<Self, u16> {
        Self::connect(house, A, cookie, &format!("{}&again", hex::encode([page; 16]))).await
    }

    async fn connect(house: &House, label: Label, cookie: &str, page: &str) -> Result<Self, u16> {
        let stream = Stream::connect(("127.0.0.1", house.port())).await.unwrap();
        let url = format!("ws://{}{}?page={page}", house.host(label), server::BRIDGE_PATH);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("Cookie", cookie.parse().unwrap());
        request.headers_mut().insert("Origin", label.origin(house.port()).parse().unwrap());
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("an answer");
        next.expect("open").unwrap()
    }

    async fn heard(&mut self) -> Value {
        serde_json::from_str(self.next().await.to_text().unwrap()).unwrap()
    }

    async fn send(&mut self, n: u64, payload: &str) {
        let frame = format!(r#"{{"send":{{"n":{n},"update":{{"payload":{payload}}}}}}}"#);
        self.0.send(Message::text(frame)).await.unwrap();
    }

    /// The answer to a pull: generation, payloads and the last serial.
    async fn pull(&mut self, generation: u32, after: u64, wait: bool) -> (Value, Vec<Value>, u64) {
        self.say(json!({"pull": {"gen": generation, "after": after, "wait": wait}})).await;
        Self::read(&self.heard().await, after)
    }

    fn read(answer: &Value, after: u64) -> (Value, Vec<Value>, u64) {
        let updates = answer["updates"]["updates"].as_array().unwrap();
        let last = updates.last().map_or(after, |update| update["serial"].as_u64().unwrap());
        let payloads = updates.iter().map(|update| update["payload"].clone()).collect();
        (answer["updates"]["gen"].clone(), payloads, last)
    }

    /// Waits until the node closes: why.
    async fn closed(mut self) -> CloseCode {
        loop {
            if let Message::Close(frame) = self.next().await {
                return frame.unwrap().code;
            }
        }
    }
}

/// The head of the answer to a WebSocket upgrade.
pub(super) async fn head_of_upgrade(house: &House, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = Stream::connect(("127.0.0.1", house.port())).await.unwrap();
    let mut text = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", house.host(A));
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    Answer::parse(&bytes).unwrap()
}

#[tokio::test]
async fn a_bridge_needs_its_own_origin_and_credential() {
    let house = House::open().await;
    let cookie = house.cookie(A).await;
    let path = format!("{}?page={}", server::BRIDGE_PATH, "0".repeat(32));
    let (ours, theirs) = (A.origin(house.port()), B.origin(house.port()));
    let console = format!("http://127.0.0.1:{}", house.port());
    for (cookie, origin, site, status) in [
        (cookie.as_str(), ours.as_str(), "same-origin", 101),
        (&cookie, &theirs, "same-origin", 403),
        (&cookie, &console, "same-origin", 403),
        (&cookie, "null", "same-origin", 403),
        (&cookie, &ours, "cross-site", 403),
        ("", &ours, "same-origin", 403),
    ] {
        let headers = [
            ("Cookie", cookie),
            ("Origin", origin),
            ("Sec-Fetch-Site", site),
            ("Upgrade", "websocket"),
            ("Connection", "upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ];
        assert_eq!(head_of_upgrade(&house, &path, &headers).await.status, status, "{origin} {site}");
    }
}

#[tokio::test]
async fn an_update_goes_out_and_comes_back_with_its_verified_sender() {
    let house = House::open().await;
    let mut page = Page::open(&house, A, 1).await;
    let claim = r#"{"text":"hi","sender":{"addr":"addr-9"},"x":0.30000000000000004}"#;
    page.send(1, claim).await;
    assert_eq!(page.heard().await, json!({"sent": {"n": 1}}));
    page.say(json!({"pull": {"gen": 1, "after": 0, "wait": false}})).await;
    let Message::Text(text) = page.next().await else { panic!("no text") };
    assert!(text.contains(claim), "byte by byte: {text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let update = &answer["updates"]["updates"][0];
    assert_eq!(update["sender"], json!({"addr": "addr-1", "name": "ADDR-1"}));
    assert_eq!((&update["serial"], &update["max_serial"]), (&json!(2), &json!(2)));
    assert!(house.b.payloads().is_empty(), "and reaches no other instance");
}

#[tokio::test]
async fn a_waiting_pull_is_answered_when_something_comes() {
    let house = House::open().await;
    let mut page = Page::open(&house, A, 1).await;
    assert_eq!(page.pull(1, 0, false).await, (json!(1), vec![], 0), "does not wait");
    page.say(json!({"pull": {"gen": 1, "after": 0, "wait": true}})).await;
    page.say(json!({"pull": {"gen": 2, "after": 0, "wait": true}})).await;
    // This answer shows that both pulls were heard.
    page.send(1, "0").await;
    let mut answers = [page.heard().await, page.heard().await];
    answers.sort_by_key(|answer| answer.get("sent").is_none());
    assert_eq!(answers[0], json!({"sent": {"n": 1}}));
    assert_eq!(Page::read(&answers[1], 0), (json!(2), vec![json!(0)], 2), "the replaced pull has no answer");
    page.say(json!({"pull": {"gen": 2, "after": 2, "wait": true}})).await;
    house.a.update(r#""news""#, "addr-2");
    assert_eq!(Page::read(&page.heard().await, 2), (json!(2), vec![json!("news")], 4));
}

#[tokio::test]
async fn history_comes_in_bounded_pages_and_resumes() {
    let house = House::open().await;
    let total = 2 * messages::MAX_PULLED + 3;
    for n in 0..total {
        house.a.update(&n.to_string(), "addr-2");
    }
    let mut page = Page::open(&house, A, 1).await;
    let (_, first, mut last) = page.pull(1, 0, true).await;
    assert_eq!(first.len(), messages::MAX_PULLED);
    drop(page);
    let mut seen = first;
    let mut page = Page::open(&house, A, 1).await;
    while seen.len() < total {
        let (_, more, to) = page.pull(1, last, true).await;
        seen.extend(more);
        last = to;
    }
    assert_eq!(seen, (0..total).map(|n| json!(n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_sent_again_after_a_reconnect_is_sent_once() {
    let house = House::open().await;
    let (open, gate) = watch::channel(false);
    *house.a.sending.lock().unwrap() = Sending::WaitsFor(gate);
    let mut page = Page::open(&house, A, 1).await;
    page.send(1, "1").await;
    page.send(2, "2").await;
    page.say(json!({"pull": {"gen": 1, "after": 0, "wait": false}})).await;
    page.heard().await;
    // Both were heard, the first is being sent, neither is answered: the connection breaks.
    drop(page);
    let mut page = Page::open(&house, A, 1).await;
    for n in 1..=3 {
        page.send(n, &n.to_string()).await;
    }
    open.send_replace(true);
    for n in 1..=3 {
        assert_eq!(page.heard().await, json!({"sent": {"n": n}}));
    }
    assert_eq!(house.a.payloads(), ["1", "2", "3"]);
    let mut other = Page::open(&house, A, 2).await;
    other.send(1, "4").await;
    assert_eq!(other.heard().await, json!({"sent": {"n": 1}}));
    assert_eq!(house.a.payloads(), ["1", "2", "3", "4"], "another page counts for itself");
}

#[tokio::test]
async fn a_bad_update_is_refused_by_number_and_the_rest_goes_on() {
    let house = House::open().await;
    let mut page = Page::open(&house, A, 1).await;
    page.send(1, &json!("x".repeat(MAX_UPDATE_LEN)).to_string()).await;
    let why = page.heard().await;
    assert_eq!(why["refused"]["n"], 1);
    assert!(
        why["refused"]["why"].as_str().unwrap().contains(&format!("{MAX_UPDATE_LEN} are allowed")),
        "{why}"
    );
    page.say(json!({"send": {"n": 2, "update": {"info": "no payload"}}})).await;
    assert_eq!(page.heard().await["refused"]["n"], 2);
    *house.a.sending.lock().unwrap() = Sending::Fails;
    page.send(3, "1").await;
    assert_eq!(page.heard().await["refused"]["why"], "this session does not take updates now");
    page.send(3, "1").await;
    assert_eq!(page.heard().await, json!({"sent": {"n": 3}}), "what failed may be tried again");
    assert_eq!(house.a.payloads(), ["1"]);
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_bridge() {
    let house = House::open().await;
    for (at, message) in [
        (1, Message::text("nonsense")),
        (2, Message::text(r#"{"pull":{"gen":1,"after":-1,"wait":true}}"#)),
        (3, Message::binary(vec![1])),
    ] {
        let mut page = Page::open(&house, A, at).await;
        page.0.send(message).await.unwrap();
        assert_eq!(page.closed().await, CloseCode::Policy);
    }
    let (_open, gate) = watch::channel(false);
    *house.a.sending.lock().unwrap() = Sending::WaitsFor(gate);
    let mut page = Page::open(&house, A, 4).await;
    for n in 0..=messages::MAX_PENDING_SENDS as u64 + 1 {
        page.send(n + 1, "0").await;
    }
    assert_eq!(page.closed().await, CloseCode::Policy, "too many unanswered sends");
}

#[tokio::test]
async fn a_frame_larger_than_any_update_ends_the_bridge() {
    let house = House::open().await;
    let mut page = Page::open(&house, A, 1).await;
    // The node may hang up in the middle of it.
    let _ = page.0.send(Message::text(" ".repeat(messages::MAX_FRAME_LEN + 1))).await;
    let end = tokio::time::timeout(PATIENCE, page.0.next()).await.expect("an end");
    assert!(matches!(end, None | Some(Err(_) | Ok(Message::Close(_)))), "{end:?}");
}

#[tokio::test]
async fn realtime_goes_both_ways_with_its_verified_sender() {
    let house = House::open().await;
    let mut page = Page::open(&house, A, 1).await;
    page.say(json!("join")).await;
    page.0.send(Message::binary(b"to all".to_vec())).await.unwrap();
    let mut spoken = house.a.spoken.subscribe();
    let spoken = tokio::time::timeout(PATIENCE, spoken.wait_for(|spoken| !spoken.is_empty())).await;
    assert_eq!(**spoken.unwrap().unwrap(), [Bytes::from_static(b"to all")]);
    // Heard, so joined.
    let sender = Sender { addr: "addr-2".into(), name: "Bob".into() };
    house.a.realtime.send(RealtimeMessage { sender, data: Bytes::from_static(&[0, 255]) }).unwrap();
    let Message::Binary(frame) = page.next().await else { panic!("not binary") };
    let (len, rest) = frame.split_at(2);
    let (header, data) = rest.split_at(usize::from(u16::from_be_bytes(len.try_into().unwrap())));
    let sender: Value = serde_json::from_slice(header).unwrap();
    assert_eq!((sender, data), (json!({"addr": "addr-2", "name": "Bob"}), &[0, 255][..]));
    page.say(json!("leave")).await;
    page.pull(1, 0, false).await;
    assert_eq!(house.a.realtime.receiver_count(), 0);
}

#[tokio::test]
async fn a_page_that_does_not_read_costs_no_memory_and_stops_nobody() {
    let house = House::open().await;
    let mut slow = Page::open(&house, A, 1).await;
    slow.say(json!("join")).await;
    slow.pull(1, 0, false).await;
    // Far more than sockets hold; the channel of the fake program keeps 8.
    let message = |n: u32| {
        let mut data = vec![0; MAX_REALTIME_LEN];
        data[..4].copy_from_slice(&n.to_be_bytes());
        let sender = Sender { addr: "addr-2".into(), name: "Bob".into() };
        RealtimeMessage { sender, data: data.into() }
    };
    let total = 400;
    for n in 0..total {
        house.a.realtime.send(message(n)).unwrap();
        tokio::task::yield_now().await;
    }
    let mut quick = Page::open(&house, A, 2).await;
    quick.send(1, "1").await;
    assert_eq!(quick.heard().await, json!({"sent": {"n": 1}}));
    // Once it reads again, it gets some old ones, misses some, and gets the newest.
    let mut seen = Vec::new();
    while seen.last() != Some(&(total - 1)) {
        let Message::Binary(frame) = slow.next().await else { panic!("not binary") };
        let data = &frame[frame.len() - MAX_REALTIME_LEN..];
        seen.push(u32::from_be_bytes(data[..4].try_into().unwrap()));
    }
    assert!(seen.is_sorted() && seen.len() < total as usize, "{} of {total}", seen.len());
}

#[tokio::test]
async fn unmounting_closes_bridges_also_of_pages_that_do_not_read() {
    let house = House::open().await;
    let page = Page::open(&house, A, 1).await;
    let mut other = Page::open(&house, B, 1).await;
    house.web.unmount(A);
    assert_eq!(page.closed().await, CloseCode::Away);
    other.send(1, "1").await;
    assert_eq!(other.heard().await, json!({"sent": {"n": 1}}), "the other instance goes on");
}

#[tokio::test]
async fn bridges_are_bounded() {
    let house = House::open().await;
    let mut pages = Vec::new();
    for n in 0..server::MAX_BRIDGES {
        pages.push(Page::open(&house, A, u8::try_from(n).unwrap()).await);
    }
    assert_eq!(Page::try_open(&house, A, 99).await.err(), Some(503));
    assert!(Page::try_open(&house, B, 99).await.is_ok(), "each instance has its own");
    drop(pages.pop());
    // The node hears of it in its own time.
    let again = async {
        while Page::try_open(&house, A, 99).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

/// What a page of the instance was loaded with.
pub(super) async fn secret(house: &House, label: Label) -> String {
    let cookie = house.cookie(label).await;
    let script = house.get(label, "/webxdc.js", &[("Cookie", &cookie)]).await.body;
    let (_, rest) = script.split_once(r#""secret":""#).unwrap();
    rest[..64].to_owned()
}

/// How a page proves itself, as it might.
struct Claim<'a> {
    secret: &'a str,
    port: u16,
    page: u8,
    who: &'a str,
}

impl Claim<'_> {
    /// The answer to the challenge, and the node's proof that belongs to it.
    fn proof(&self, challenge: &str) -> (Value, String) {
        let nonce = "5e".repeat(32);
        let about = format!("{} {} {challenge} {nonce}", self.port, hex::encode([self.page; 16]));
        let mac = |who: &str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&hex::decode(self.secret).unwrap()).unwrap();
            mac.update(format!("{who} {about}").as_bytes());
            hex::encode(mac.finalize().into_bytes())
        };
        (json!({"proof": {"nonce": nonce, "mac": mac(self.who)}}), mac("node"))
    }
}

#[tokio::test]
async fn a_tab_left_open_over_a_restart_proves_itself_and_goes_on() {
    let house = House::open().await;
    let (secret, cookie) = (secret(&house, A).await, house.cookie(A).await);
    let mut page = Page::open(&house, A, 1).await;
    page.send(1, "1").await;
    page.heard().await;
    let house = house.restarted().await;

    let mut page = Page::again(&house, &cookie, 1).await.unwrap();
    let challenge = page.heard().await["challenge"].as_str().unwrap().to_owned();
    let claim = Claim { secret: &secret, port: house.port(), page: 1, who: "page" };
    let (proof, of_node) = claim.proof(&challenge);
    page.say(proof).await;
    let proven = page.heard().await["proven"].clone();
    assert_eq!(proven["mac"], of_node, "the node has proven itself, too");
    page.send(1, "1").await;
    page.send(2, "2").await;
    for n in 1..=2 {
        assert_eq!(page.heard().await, json!({"sent": {"n": n}}));
    }
    assert_eq!(house.a.payloads(), ["1", "2"]);

    // And gets the cookie of this start.
    let path = format!("/?launch={}", proven["launch"].as_str().unwrap());
    let boot = house.get(A, &path, &[("Cookie", &cookie), ("Sec-Fetch-Site", "same-origin")]).await;
    let fresh = boot.header("set-cookie").split(';').next().unwrap();
    assert_eq!(house.get(A, "/", &[("Cookie", fresh)]).await.status, 200);
}

#[tokio::test]
async fn who_does_not_prove_itself_gets_no_bridge() {
    let house = House::open().await;
    let (ours, theirs, cookie) = (secret(&house, A).await, secret(&house, B).await, house.cookie(A).await);
    let port = house.port();
    for claim in [
        Claim { secret: &theirs, port, page: 1, who: "page" },
        // What a page says to a listener on its own port, which hands it on.
        Claim { secret: &ours, port: port ^ 1, page: 1, who: "page" },
        Claim { secret: &ours, port, page: 2, who: "page" },
        Claim { secret: &ours, port, page: 1, who: "node" },
    ] {
        let mut page = Page::again(&house, &cookie, 1).await.unwrap();
        let challenge = page.heard().await["challenge"].as_str().unwrap().to_owned();
        page.say(claim.proof(&challenge).0).await;
        assert_eq!(page.closed().await, CloseCode::Policy, "{} {}", claim.port, claim.who);
    }

    // Whatever else it says first.
    for said in [json!({"send": {"n": 1, "update": {"payload": 1}}}), json!("join"), json!({"proof": {}})] {
        let mut page = Page::again(&house, &cookie, 1).await.unwrap();
        page.heard().await;
        page.say(said).await;
        assert_eq!(page.closed().await, CloseCode::Policy);
    }

    // A proof is for one challenge.
    let claim = Claim { secret: &ours, port, page: 1, who: "page" };
    let mut first = Page::again(&house, &cookie, 1).await.unwrap();
    let challenge = first.heard().await["challenge"].as_str().unwrap().to_owned();
    let (proof, _) = claim.proof(&challenge);
    first.say(proof.clone()).await;
    assert!(first.heard().await.get("proven").is_some());
    let mut second = Page::again(&house, &cookie, 1).await.unwrap();
    assert_ne!(second.heard().await["challenge"], challenge);
    second.say(proof).await;
    assert_eq!(second.closed().await, CloseCode::Policy);
    assert!(house.a.payloads().is_empty());
}

#[tokio::test]
async fn who_is_slow_to_prove_itself_keeps_no_other_out() {
    let house = House::open().await;
    let mut waiting = Vec::new();
    for _ in 0..server::MAX_UNPROVEN {
        waiting.push(Page::again(&house, "", 1).await.unwrap());
    }
    assert_eq!(Page::again(&house, "", 1).await.err(), Some(503));
    assert!(Page::try_open(&house, A, 2).await.is_ok(), "with this start's credential");
    for page in &mut waiting {
        page.heard().await;
    }
    // They have no more time than they are given.
    for page in waiting {
        assert_eq!(page.closed().await, CloseCode::Policy);
    }
    assert!(Page::again(&house, "", 1).await.is_ok());
}
