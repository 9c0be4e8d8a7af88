//! Stories of the web server over real connections, with a program that exists only here.

#![allow(clippy::unwrap_used)]

mod bridge;
mod http;

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use serde_json::value::RawValue;
use tokio::sync::{broadcast, watch};

use super::*;

const A: Label = Label::from_bytes([0xaa; 16]);
const B: Label = Label::from_bytes([0xbb; 16]);

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a test makes the program's next sends do.
#[derive(Default)]
enum Sending {
    #[default]
    Works,
    Fails,
    /// Works, but not before the watch turns true.
    WaitsFor(watch::Receiver<bool>),
}

/// A program with a few files, whose updates are in memory.
struct Fake {
    folder: tempfile::TempDir,
    asked: Mutex<Vec<String>>,
    updates: Mutex<Vec<DeliveredUpdate>>,
    /// What was sent, as an instance has to keep it.
    sent: Mutex<HashSet<SendKey>>,
    known: watch::Sender<u64>,
    realtime: broadcast::Sender<RealtimeMessage>,
    /// What the agent shows: here, whatever it is told.
    shows: broadcast::Sender<String>,
    spoken: watch::Sender<Vec<Bytes>>,
    sending: Mutex<Sending>,
}

impl Fake {
    fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("index.html", "<h1>Hello</h1>"),
            ("webxdc.js", "the program's own"),
            ("a b.txt", "0123456789"),
            ("paper.pdf", "%PDF-1.7"),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        Arc::new(Self {
            folder,
            asked: Mutex::default(),
            updates: Mutex::default(),
            sent: Mutex::default(),
            known: watch::Sender::new(0),
            realtime: broadcast::Sender::new(8),
            shows: broadcast::Sender::new(8),
            spoken: watch::Sender::default(),
            sending: Mutex::default(),
        })
    }

    /// As if that had come from the group.
    fn update(&self, payload: &str, sender: &str) {
        let mut updates = self.updates.lock().unwrap();
        // Serials with gaps, as they may be.
        let serial = 2 * updates.len() as u64 + 2;
        updates.push(DeliveredUpdate {
            payload: RawValue::from_string(payload.into()).unwrap(),
            serial,
            max_serial: serial,
            info: None,
            href: None,
            document: None,
            summary: None,
            notify: None,
            checkpoint: false,
            sender: Sender { addr: sender.into(), name: sender.to_uppercase() },
        });
        drop(updates);
        self.known.send_replace(serial);
    }

    fn payloads(&self) -> Vec<String> {
        self.updates.lock().unwrap().iter().map(|update| update.payload.get().to_owned()).collect()
    }
}

impl Instance for Fake {
    fn file(&self, path: &str) -> Option<PathBuf> {
        self.asked.lock().unwrap().push(path.into());
        let at = self.folder.path().join(path);
        at.exists().then_some(at)
    }
    fn self_addr(&self) -> String {
        "addr-1".into()
    }
    fn self_name(&self) -> String {
        "Alice \"</script>".into()
    }
    fn is_app_sender(&self) -> bool {
        true
    }
    fn title(&self) -> String {
        "Chat <b>".into()
    }
    fn send_update(&self, key: SendKey, update: UpdateContent) -> BoxFuture<'_, Result<(), SendError>> {
        let sending = std::mem::take(&mut *self.sending.lock().unwrap());
        async move {
            match sending {
                Sending::Works => {}
                Sending::Fails => return Err(SendError::NotAllowed),
                Sending::WaitsFor(mut gate) => drop(gate.wait_for(|open| *open).await.unwrap()),
            }
            if self.sent.lock().unwrap().insert(key) {
                self.update(update.payload.get(), "addr-1");
            }
            Ok(())
        }
        .boxed()
    }
    fn updates_after(
        &self,
        serial: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeliveredUpdate>, ReadError>> {
        let updates = self.updates.lock().unwrap();
        let found = updates.iter().filter(|update| update.serial > serial).take(limit).cloned().collect();
        async { Ok(found) }.boxed()
    }
    fn known_serial(&self) -> watch::Receiver<u64> {
        self.known.subscribe()
    }
    fn realtime_join(&self) -> broadcast::Receiver<RealtimeMessage> {
        self.realtime.subscribe()
    }
    fn realtime_send(&self, data: Bytes) {
        self.spoken.send_modify(|spoken| spoken.push(data));
    }

    fn tell_agent(&self, json: String) -> bool {
        self.shows.send(json).is_ok()
    }

    fn agent_shows(&self) -> broadcast::Receiver<String> {
        self.shows.subscribe()
    }
}

/// A server with the same program at A and B.
struct House {
    web: WebServer,
    a: Arc<Fake>,
    b: Arc<Fake>,
}

impl House {
    async fn open() -> Self {
        Self::at(0).await
    }

    /// On this port, if it is free.
    async fn at(port: u16) -> Self {
        let (a, b) = (Fake::new(), Fake::new());
        Self::with(WebServer::start(port, [7; 32]).await.unwrap(), a, b)
    }

    fn with(web: WebServer, a: Arc<Fake>, b: Arc<Fake>) -> Self {
        web.mount(A, a.clone());
        web.mount(B, b.clone());
        Self { web, a, b }
    }

    /// The next start, on the same port.
    async fn restarted(self) -> Self {
        let (port, a, b) = (self.port(), self.a.clone(), self.b.clone());
        drop(self.web);
        // The listener closes in its own task.
        let web = tokio::time::timeout(PATIENCE, async {
            loop {
                let web = WebServer::start(port, [7; 32]).await.unwrap();
                if web.port() == port {
                    break web;
                }
                tokio::task::yield_now().await;
            }
        });
        Self::with(web.await.unwrap(), a, b)
    }

    fn port(&self) -> u16 {
        self.web.port()
    }

    fn host(&self, label: Label) -> String {
        format!("{label}.localhost:{}", self.port())
    }

    /// The credential a browser gets when it opens the program.
    async fn cookie(&self, label: Label) -> String {
        let url = self.web.launch(label, None).unwrap().url;
        let answer = self.get(label, url.split_once(&self.host(label)).unwrap().1, &[]).await;
        assert_eq!(answer.status, 200);
        answer.header("set-cookie").split(';').next().unwrap().into()
    }

    async fn get(&self, label: Label, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", &self.host(label), path, headers).await.unwrap()
    }

    /// `None`: the connection ended without an answer.
    async fn request(
        &self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        self.raw(format!("{text}\r\n").into_bytes()).await
    }

    async fn raw(&self, request: Vec<u8>) -> Option<Answer> {
        let port = self.port();
        let bytes = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // The server may well hang up before it read all of a bad request.
            let _ = stream.write_all(&request);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            answer
        });
        Answer::parse(&bytes.await.unwrap())
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        });
        Some(Self { status, headers: headers.collect(), body: body.into() })
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Fails unless the answer has every isolation header, once.
    fn assert_sealed(&self) {
        let mut wanted = HeaderMap::new();
        headers::seal(&mut wanted);
        for (name, value) in &wanted {
            let got: Vec<_> = self.headers.get_all(name).iter().collect();
            assert_eq!(got, [value], "{name} of {self:?}");
        }
        assert_eq!(self.header(header::ACCESS_CONTROL_ALLOW_ORIGIN.as_str()), "");
    }
}
