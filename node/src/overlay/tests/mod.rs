//! The overlay from outside: nodes on loopback that call, ask, stream, group, vanish and come back.

#![allow(clippy::unwrap_used)]

mod groups;
mod links;
mod relayed;
mod requests;
mod rogue;
mod said;
mod streams;

use std::time::Duration;

use parlor_proto::{
    identity::{Identity, PeerId},
    wire::{CatalogRequest, CatalogResponse, Request, Response},
};
use tokio::sync::mpsc;

use super::{Address, Config, Event, InboundRequest, Internet, Overlay};

/// Generous: only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// A node and what happens to it.
struct Node {
    overlay: Overlay,
    events: mpsc::Receiver<Event>,
}

fn config(seed: u8, listen: &str) -> Config {
    Config {
        identity: Identity::from_seed(&[seed; 32]),
        nickname: format!("node {seed}"),
        listen: vec![listen.parse().unwrap()],
        port: 0,
        mdns: false,
        memory: listen.starts_with("/memory"),
        internet: Internet::default(),
    }
}

impl Node {
    async fn start(seed: u8, listen: &str) -> Self {
        let (overlay, events) = Overlay::start(config(seed, listen)).await.unwrap();
        Self { overlay, events }
    }

    fn peer(&self) -> PeerId {
        self.overlay.peer()
    }

    /// Learns where the other one is.
    async fn meets(&self, other: &Node) {
        for address in other.overlay.addresses().await.unwrap() {
            self.overlay.add_address(other.peer(), address).await;
        }
    }

    /// The next event that `pick` picks.
    async fn wait<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = pick(self.events.recv().await.expect("the node ended")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("nothing of the kind happened")
    }

    async fn connected(&mut self, peer: PeerId) {
        self.wait(|event| matches!(event, Event::Connected(who) if who == peer).then_some(())).await;
    }

    async fn disconnected(&mut self, peer: PeerId) {
        self.wait(|event| matches!(event, Event::Disconnected(who) if who == peer).then_some(())).await;
    }

    /// The next request.
    async fn asked(&mut self) -> InboundRequest {
        self.wait(|event| match event {
            Event::Request(inbound) => Some(inbound),
            _ => None,
        })
        .await
    }

    /// Answers every request, as `answer` says, in a task of its own; other events are dropped.
    fn answering(mut self, answer: impl Fn(PeerId, Request) -> Option<Response> + Send + 'static) -> Overlay {
        let overlay = self.overlay.clone();
        tokio::spawn(async move {
            // With its handle, so that the node lives on.
            let node = &mut self;
            while let Some(event) = node.events.recv().await {
                if let Event::Request(inbound) = event
                    && let Some(response) = answer(inbound.from, inbound.request.clone())
                {
                    inbound.respond(response);
                }
            }
        });
        overlay
    }
}

fn catalog() -> Request {
    Request::Catalog(CatalogRequest {})
}

fn empty_catalog() -> Response {
    Response::Catalog(CatalogResponse { programs: Vec::new() })
}

fn answers_catalog(_: PeerId, request: Request) -> Option<Response> {
    matches!(request, Request::Catalog(_)).then(empty_catalog)
}

fn peer(seed: u8) -> PeerId {
    Identity::from_seed(&[seed; 32]).peer()
}

fn place(address: &Address) -> Address {
    address.place().into()
}
