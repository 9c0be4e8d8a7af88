//! A program's page without a browser: the bridge, spoken by hand.
//!
//! For: what no well-behaved page says, and what is to be said to the millisecond. Not for: `webxdc.js` and the
//! browser (see [`crate::browser`]).
//!
//! The idea: a page is its random id. It numbers what it sends from 1, and sends again, over whatever connection it gets
//! next, what it has no answer for.

use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{Builder, Runtime},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::{DEADLINE, node::Node};

/// Sends without an answer that a page may have.
const WINDOW: usize = 16;

/// One load of a page.
pub struct Page {
    runtime: Runtime,
    id: [u8; 16],
    socket: Option<WebSocketStream<TcpStream>>,
    /// As JSON; `updates[n - 1]` is number `n`.
    updates: Vec<String>,
    /// How many of those have their answer.
    answered: usize,
    /// How many were said over this connection.
    said: usize,
    /// Why some were refused, by number.
    pub refused: Vec<(u64, String)>,
}

impl Page {
    /// A page that is loaded, and not connected.
    #[must_use]
    pub fn new(id: u8) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (updates, refused) = Default::default();
        Self { runtime, id: [id; 16], socket: None, updates, answered: 0, said: 0, refused }
    }

    /// Connects to the session on that node, in place of the connection it had.
    pub fn connect(&mut self, node: &Node, session: &str) {
        let url = node.run(&["open", session, "--print"])["url"].as_str().expect("a URL").to_owned();
        let (host, launch) = url.strip_prefix("http://").and_then(|url| url.split_once('/')).expect("a host");
        let page: String = self.id.iter().map(|byte| format!("{byte:02x}")).collect();
        let connecting = async {
            let cookie = cookie(host, launch).await;
            let address = format!("ws://{host}/.parlor/bridge?page={page}");
            let mut request = address.into_client_request().expect("an address");
            let headers = request.headers_mut();
            headers.insert("Cookie", cookie.parse().expect("a header"));
            headers.insert("Origin", format!("http://{host}").parse().expect("a header"));
            client_async(request, connected(host).await).await.expect("the bridge opens").0
        };
        self.socket = Some(self.runtime.block_on(connecting));
        self.said = self.answered;
    }

    /// Wants to post an update: the whole of it, in JSON.
    pub fn post(&mut self, update: &str) {
        self.updates.push(update.to_owned());
    }

    /// Sends, and hears answers, until `answers` updates have theirs.
    pub fn until_answered(&mut self, answers: usize) {
        let Self { runtime, socket, updates, answered, said, refused, .. } = self;
        let socket = socket.as_mut().expect("it is connected");
        runtime.block_on(async {
            while *answered < answers {
                while *said < updates.len() && *said < *answered + WINDOW {
                    *said += 1;
                    let frame = format!(r#"{{"send":{{"n":{said},"update":{}}}}}"#, updates[*said - 1]);
                    socket.send(Message::text(frame)).await.expect("it is sent");
                }
                let heard = tokio::time::timeout(DEADLINE, socket.next()).await.expect("an answer in time");
                let heard = heard.expect("the bridge is open").expect("it works");
                let Message::Text(text) = heard else { continue };
                let answer: Value = serde_json::from_str(&text).expect("JSON");
                if let Some(refusal) = answer.get("refused") {
                    let number = refusal["n"].as_u64().expect("a number");
                    refused.push((number, refusal["why"].as_str().expect("a reason").to_owned()));
                } else if answer.get("sent").is_none() {
                    continue;
                }
                *answered += 1;
            }
        });
    }

    /// Sends everything, and hears all answers.
    pub fn until_all_answered(&mut self) {
        self.until_answered(self.updates.len());
    }
}

async fn connected(host: &str) -> TcpStream {
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).expect("a port");
    TcpStream::connect(("127.0.0.1", port)).await.expect("the node listens")
}

/// What a browser gets for a launch address.
async fn cookie(host: &str, launch: &str) -> String {
    let mut stream = connected(host).await;
    let request = format!("GET /{launch} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie:"));
    let line = line.unwrap_or_else(|| panic!("no credential: {answer}"));
    line["set-cookie:".len()..].split(';').next().expect("a cookie").trim().to_owned()
}
