//! Who gets what through the gate: members, strangers, and members that come and go.

#![allow(clippy::unwrap_used)]

mod bare;
mod log;
mod members;
mod realtime;
mod rogues;
mod strangers;

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use libp2p::{
    PeerId, StreamProtocol, Swarm,
    gossipsub::{self, IdentTopic},
    identity::Keypair,
    swarm::{ConnectionId, NetworkBehaviour, SwarmEvent},
};
use libp2p_swarm_test::SwarmExt as _;
use parlor_proto::ids::SessionId;
use tokio::sync::mpsc;

use super::{Event, Gate, MAX_PAYLOAD, PublishError};

/// Generous: only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
const GAME: SessionId = SessionId([1; 16]);
const CHAT: SessionId = SessionId([2; 16]);

type Act<B> = Box<dyn FnOnce(&mut Swarm<B>) + Send>;

/// A swarm in a task of its own.
struct Node<B: NetworkBehaviour> {
    peer: PeerId,
    acts: mpsc::UnboundedSender<Act<B>>,
    events: mpsc::UnboundedReceiver<SwarmEvent<B::ToSwarm>>,
}

impl<B: NetworkBehaviour<ToSwarm: Debug> + Send> Node<B> {
    fn run(mut swarm: Swarm<B>) -> Self {
        let peer = *swarm.local_peer_id();
        let (acts, mut todo) = mpsc::unbounded_channel::<Act<B>>();
        let (sink, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    act = todo.recv() => match act {
                        Some(act) => act(&mut swarm),
                        None => return,
                    },
                    event = swarm.select_next_some() => { let _ = sink.send(event); }
                }
            }
        });
        Self { peer, acts, events }
    }

    async fn act<T: Send + 'static>(&self, act: impl FnOnce(&mut Swarm<B>) -> T + Send + 'static) -> T {
        let (answer, wait) = tokio::sync::oneshot::channel();
        let act: Act<B> = Box::new(|swarm| drop(answer.send(act(swarm))));
        self.acts.send(act).ok().unwrap();
        wait.await.unwrap()
    }

    /// The next event that `pick` picks.
    async fn wait<T>(&mut self, pick: impl Fn(SwarmEvent<B::ToSwarm>) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = pick(self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("nothing of the kind happened")
    }
}

impl Node<Gate> {
    async fn open(&self, session: SessionId, members: &[PeerId]) {
        let members = members.to_vec();
        self.act(move |swarm| swarm.behaviour_mut().open(session, members)).await;
    }

    async fn allow(&self, peer: PeerId) {
        self.act(move |swarm| swarm.behaviour_mut().allow(GAME, peer)).await;
    }

    async fn revoke(&self, peer: PeerId) {
        self.act(move |swarm| swarm.behaviour_mut().revoke(GAME, peer)).await;
    }

    async fn publish(&self, session: SessionId, text: &'static str) -> Result<(), PublishError> {
        self.act(move |swarm| swarm.behaviour_mut().publish(session, text.as_bytes())).await
    }

    async fn realtime(&self, session: SessionId, text: &'static str) -> Result<(), PublishError> {
        self.act(move |swarm| swarm.behaviour_mut().realtime(session, &Bytes::from_static(text.as_bytes())))
            .await
    }

    /// Waits until realtime messages to this member have a stream of their own.
    async fn direct(&self, session: SessionId, peer: PeerId) {
        until(async || self.act(move |swarm| swarm.behaviour().is_direct(session, peer)).await).await;
    }

    async fn event(&mut self) -> Event {
        self.wait(|event| event.try_into_behaviour_event().ok()).await
    }

    async fn sees(&mut self, session: SessionId, peer: PeerId) {
        let wanted = Event::Presence { session, peer, present: true };
        while self.event().await != wanted {}
    }

    async fn misses(&mut self, peer: PeerId) {
        let wanted = Event::Presence { session: GAME, peer, present: false };
        while self.event().await != wanted {}
    }

    /// The next message: its group, author and text.
    async fn message(&mut self) -> (SessionId, PeerId, String) {
        loop {
            if let Event::Message { session, author, payload } = self.event().await {
                return (session, author, String::from_utf8(payload.to_vec()).unwrap());
            }
        }
    }

    async fn hears(&mut self, author: PeerId, text: &str) {
        assert_eq!(self.message().await, (GAME, author, text.to_owned()));
    }
}

/// Swarms with a gate, in the order of their peer ids: each leads all that come after it.
fn gates<const N: usize>() -> [Swarm<Gate>; N] {
    let mut swarms: Vec<_> = (0..N).map(|_| Swarm::new_ephemeral_tokio(Gate::new)).collect();
    swarms.sort_by_key(|swarm| *swarm.local_peer_id());
    swarms.try_into().ok().unwrap()
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let waiting = async {
        while !is_so().await {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

/// A swarm that leads the one with this peer id.
fn leading<B: NetworkBehaviour + Send>(follower: &PeerId, behaviour: impl Fn(Keypair) -> B) -> Swarm<B>
where
    B::ToSwarm: Debug,
{
    loop {
        let swarm = Swarm::new_ephemeral_tokio(&behaviour);
        if swarm.local_peer_id() < follower {
            return swarm;
        }
    }
}

async fn link<A, B>(one: &mut Swarm<A>, other: &mut Swarm<B>)
where
    A: NetworkBehaviour<ToSwarm: Debug> + Send,
    B: NetworkBehaviour<ToSwarm: Debug> + Send,
{
    if other.external_addresses().next().is_none() {
        other.listen().with_memory_addr_external().await;
    }
    one.connect(other).await;
}

/// Two members of one group, connected, that see each other. The first one leads.
async fn pair() -> (Node<Gate>, Node<Gate>) {
    let [mut a, mut b] = gates();
    link(&mut a, &mut b).await;
    let (mut a, mut b) = (Node::run(a), Node::run(b));
    a.open(GAME, &[b.peer]).await;
    b.open(GAME, &[a.peer]).await;
    a.sees(GAME, b.peer).await;
    b.sees(GAME, a.peer).await;
    (a, b)
}

/// One more connection between the two: its id at each.
async fn second_connection(a: &mut Node<Gate>, b: &mut Node<Gate>) -> [ConnectionId; 2] {
    let address = b.act(|swarm| swarm.external_addresses().next().cloned().unwrap()).await;
    a.act(move |swarm| {
        let again = libp2p::swarm::dial_opts::DialOpts::unknown_peer_id().address(address).build();
        swarm.dial(again).unwrap();
    })
    .await;
    let second = |event| match event {
        SwarmEvent::ConnectionEstablished { connection_id, num_established, .. } => {
            (num_established.get() == 2).then_some(connection_id)
        }
        _ => None,
    };
    [a.wait(second).await, b.wait(second).await]
}

async fn exchange(a: &mut Node<Gate>, b: &mut Node<Gate>, texts: [&'static str; 2]) {
    a.publish(GAME, texts[0]).await.unwrap();
    b.hears(a.peer, texts[0]).await;
    b.publish(GAME, texts[1]).await.unwrap();
    a.hears(b.peer, texts[1]).await;
}

/// While connections change, messages may be lost, but not for long.
async fn speak_until_heard(from: &mut Node<Gate>, to: &mut Node<Gate>) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let speak = async {
        loop {
            tick.tick().await;
            let _ = from.publish(GAME, "can you hear me?").await;
        }
    };
    tokio::select! {
        () = speak => {},
        () = to.hears(from.peer, "can you hear me?") => {}
    }
}

/// Stock gossipsub under the group's protocol name, as anybody could run it.
fn rogue(keypair: &Keypair) -> gossipsub::Behaviour {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id(format!("/parlor/group/{GAME}/1"), gossipsub::Version::V1_1)
        .heartbeat_initial_delay(Duration::from_millis(50))
        .heartbeat_interval(Duration::from_millis(100))
        .build()
        .unwrap();
    let signed = gossipsub::MessageAuthenticity::Signed(keypair.clone());
    let mut gossip = gossipsub::Behaviour::new(signed, config).unwrap();
    gossip.subscribe(&IdentTopic::new(GAME.to_string())).unwrap();
    gossip
}

/// A protocol of the group.
fn name(what: &str) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("/parlor/group/{GAME}/{what}")).unwrap()
}

/// Two that are connected and can be called, and are no group yet.
async fn two() -> [Node<Gate>; 2] {
    let [mut a, mut b] = gates();
    a.listen().with_memory_addr_external().await;
    link(&mut a, &mut b).await;
    [a, b].map(Node::run)
}

async fn in_group([a, b]: &mut [Node<Gate>; 2]) {
    for node in [&*a, &*b] {
        node.open(GAME, &[a.peer, b.peer]).await;
    }
    a.sees(GAME, b.peer).await;
    b.sees(GAME, a.peer).await;
}

/// A stranger calls both.
async fn call<B: NetworkBehaviour<ToSwarm: Debug> + Send>(stranger: &mut Node<B>, nodes: &[Node<Gate>; 2]) {
    for node in nodes {
        let address = node.act(|swarm| swarm.external_addresses().next().cloned().unwrap()).await;
        stranger.act(|swarm| swarm.dial(address).unwrap()).await;
        let connected = |event| matches!(event, SwarmEvent::ConnectionEstablished { .. }).then_some(());
        stranger.wait(connected).await;
    }
}

async fn say(node: &Node<gossipsub::Behaviour>, text: &'static str) {
    let topic = IdentTopic::new(GAME.to_string());
    node.act(move |swarm| swarm.behaviour_mut().publish(topic, text)).await.unwrap();
}

async fn meshed(node: &Node<gossipsub::Behaviour>, peer: PeerId) {
    let topic = IdentTopic::new(GAME.to_string()).hash();
    until(async || {
        let topic = topic.clone();
        node.act(move |swarm| swarm.behaviour().mesh_peers(&topic).any(|p| *p == peer)).await
    })
    .await;
}
