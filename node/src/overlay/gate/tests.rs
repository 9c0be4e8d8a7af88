//! Who gets what through the gate: members, strangers, and members that come and go.

#![allow(clippy::unwrap_used)]

use std::{fmt::Debug, time::Duration};

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

use super::{Event, Gate, PublishError};

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

async fn exchange(a: &mut Node<Gate>, b: &mut Node<Gate>, texts: [&'static str; 2]) {
    a.publish(GAME, texts[0]).await.unwrap();
    b.hears(a.peer, texts[0]).await;
    b.publish(GAME, texts[1]).await.unwrap();
    a.hears(b.peer, texts[1]).await;
}

#[tokio::test]
async fn members_exchange_messages() {
    let (mut a, mut b) = pair().await;
    exchange(&mut a, &mut b, ["from a", "from b"]).await;
    assert_eq!(a.publish(CHAT, "not open").await, Err(PublishError::NoGroup));
    let large = vec![7; super::MAX_PAYLOAD];
    a.act(move |swarm| swarm.behaviour_mut().publish(GAME, &large)).await.unwrap();
    assert_eq!(b.message().await.2.len(), super::MAX_PAYLOAD);
    let larger = vec![7; super::MAX_PAYLOAD + 1];
    let refused = a.act(move |swarm| swarm.behaviour_mut().publish(GAME, &larger)).await;
    assert_eq!(refused, Err(PublishError::TooLarge(super::MAX_PAYLOAD + 1)));
}

#[tokio::test]
async fn a_burst_of_large_messages_arrives_whole() {
    let (a, mut b) = pair().await;
    const COUNT: usize = 100;
    a.act(|swarm| {
        for number in 0..COUNT {
            swarm.behaviour_mut().publish(GAME, &vec![number as u8; super::MAX_PAYLOAD]).unwrap();
        }
    })
    .await;
    for number in 0..COUNT {
        let Event::Message { payload, .. } = b.event().await else { panic!("only messages are expected") };
        assert_eq!((payload.len(), payload[0]), (super::MAX_PAYLOAD, number as u8));
    }
}

#[tokio::test]
async fn who_publishes_faster_than_the_group_takes_is_told() {
    let (a, mut b) = pair().await;
    let sent = a
        .act(|swarm| {
            let mut sent = 0;
            while swarm.behaviour_mut().publish(GAME, b"more").is_ok() {
                sent += 1;
            }
            (sent, swarm.behaviour_mut().publish(GAME, b"more"))
        })
        .await;
    let (sent, Err(PublishError::Full)) = sent else { panic!("{sent:?}") };
    // What was taken arrives, and then there is room again.
    for _ in 0..sent {
        assert_eq!(b.message().await.2, "more");
    }
    a.publish(GAME, "after").await.unwrap();
    assert_eq!(b.message().await.2, "after");
}

#[tokio::test]
async fn messages_pass_through_members_that_link_others() {
    let [mut a, mut b, mut c] = gates();
    link(&mut a, &mut b).await;
    link(&mut c, &mut b).await;
    let [mut a, mut b, mut c] = [a, b, c].map(Node::run);
    let all = [a.peer, b.peer, c.peer];
    for node in [&a, &b, &c] {
        node.open(GAME, &all).await;
    }
    a.sees(GAME, b.peer).await;
    c.sees(GAME, b.peer).await;
    b.sees(GAME, a.peer).await;
    // Forwarding waits for the mesh between the middle one and the far one, which a heartbeat makes.
    exchange_through(&mut a, &mut c).await;
    exchange_through(&mut c, &mut a).await;
}

async fn exchange_through(from: &mut Node<Gate>, to: &mut Node<Gate>) {
    from.publish(GAME, "far away").await.unwrap();
    to.hears(from.peer, "far away").await;
}

#[tokio::test]
async fn groups_on_one_connection_do_not_leak_into_each_other() {
    let [mut a, mut b, mut c] = gates();
    link(&mut a, &mut b).await;
    link(&mut a, &mut c).await;
    link(&mut b, &mut c).await;
    let [mut a, mut b, mut c] = [a, b, c].map(Node::run);
    a.open(GAME, &[b.peer]).await;
    b.open(GAME, &[a.peer]).await;
    // The one that is not invited to the game takes itself for a member of it.
    c.open(GAME, &[a.peer, b.peer]).await;
    for node in [&a, &b, &c] {
        node.open(CHAT, &[a.peer, b.peer, c.peer]).await;
    }
    a.sees(GAME, b.peer).await;
    a.sees(CHAT, c.peer).await;
    a.publish(GAME, "game").await.unwrap();
    assert_eq!(b.message().await, (GAME, a.peer, "game".into()));
    a.publish(CHAT, "chat").await.unwrap();
    assert_eq!(b.message().await, (CHAT, a.peer, "chat".into()));
    // The game's message would have come first.
    assert_eq!(c.message().await, (CHAT, a.peer, "chat".into()));
    assert_eq!(c.publish(GAME, "let me in").await, Err(PublishError::Alone));
}

#[tokio::test]
async fn a_member_is_let_in_on_a_live_connection() {
    for late in [0, 1] {
        let [mut a, mut b] = gates();
        link(&mut a, &mut b).await;
        let mut nodes = [Node::run(a), Node::run(b)];
        let peers = [nodes[0].peer, nodes[1].peer];
        // One has opened the group long before the other one admits it.
        nodes[1 - late].open(GAME, &peers).await;
        nodes[late].open(GAME, &[]).await;
        assert_eq!(nodes[1 - late].publish(GAME, "too early").await, Err(PublishError::Alone));
        nodes[late].allow(peers[1 - late]).await;
        let [a, b] = &mut nodes;
        a.sees(GAME, b.peer).await;
        b.sees(GAME, a.peer).await;
        exchange(a, b, ["hello", "hello too"]).await;
    }
}

#[tokio::test]
async fn a_removed_member_is_cut_off_at_once_and_can_come_back() {
    for remover in [0, 1] {
        let (a, b) = pair().await;
        let mut nodes = [a, b];
        let [by, gone] = [remover, 1 - remover];
        let removed = nodes[gone].peer;
        nodes[by].revoke(removed).await;
        nodes[by].misses(removed).await;
        assert_eq!(nodes[by].publish(GAME, "behind its back").await, Err(PublishError::Alone));
        // Whether that one has noticed yet or not, this goes nowhere.
        let _ = nodes[gone].publish(GAME, "still there?").await;
        nodes[by].allow(removed).await;
        nodes[by].sees(GAME, removed).await;
        nodes[by].publish(GAME, "welcome back").await.unwrap();
        let other = nodes[by].peer;
        nodes[gone].hears(other, "welcome back").await;
        nodes[gone].publish(GAME, "thanks").await.unwrap();
        nodes[by].hears(removed, "thanks").await;
    }
}

#[tokio::test]
async fn members_may_come_and_go_more_often_than_gossipsub_opens_streams() {
    let (mut a, mut b) = pair().await;
    for _ in 0..12 {
        a.revoke(b.peer).await;
        a.misses(b.peer).await;
        a.allow(b.peer).await;
        a.sees(GAME, b.peer).await;
        b.revoke(a.peer).await;
        b.misses(a.peer).await;
        b.allow(a.peer).await;
        b.sees(GAME, a.peer).await;
    }
    speak_until_heard(&mut a, &mut b).await;
    speak_until_heard(&mut b, &mut a).await;
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

#[tokio::test]
async fn the_group_moves_to_another_connection_when_its_own_closes() {
    for closer in [0, 1] {
        let [mut a, mut b] = gates();
        link(&mut a, &mut b).await;
        let (mut a, mut b) = (Node::run(a), Node::run(b));
        a.open(GAME, &[b.peer]).await;
        b.open(GAME, &[a.peer]).await;
        a.sees(GAME, b.peer).await;
        b.sees(GAME, a.peer).await;
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
        let standby = [a.wait(second).await, b.wait(second).await];
        exchange(&mut a, &mut b, ["over the first", "likewise"]).await;

        // The one that has carried the group so far.
        let peers = [b.peer, a.peer];
        let nodes = [&a, &b];
        let peer = peers[closer];
        let carrier = nodes[closer].act(move |swarm| swarm.behaviour().carrier(GAME, peer).unwrap()).await;
        assert_ne!(carrier, standby[closer], "a standby carries the group");
        nodes[closer].act(move |swarm| assert!(swarm.close_connection(carrier))).await;
        let closed = |id: ConnectionId| {
            move |event: SwarmEvent<Event>| match event {
                SwarmEvent::ConnectionClosed { connection_id, .. } => (connection_id == id).then_some(()),
                _ => None,
            }
        };
        [&mut a, &mut b][closer].wait(closed(carrier)).await;
        speak_until_heard(&mut a, &mut b).await;
        speak_until_heard(&mut b, &mut a).await;
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

#[tokio::test]
async fn a_stranger_with_the_right_protocol_and_topic_gets_nothing_and_is_not_heard() {
    for opened_before in [false, true] {
        let mut nodes = two().await;
        let mut eve = Node::run(Swarm::new_ephemeral_tokio(|keypair| rogue(&keypair)));
        if opened_before {
            in_group(&mut nodes).await;
            call(&mut eve, &nodes).await;
        } else {
            call(&mut eve, &nodes).await;
            in_group(&mut nodes).await;
        }
        let [mut a, mut b] = nodes;
        for _ in 0..20 {
            exchange(&mut a, &mut b, ["between us", "two"]).await;
        }
        let topic = IdentTopic::new(GAME.to_string());
        let alone = eve.act(move |swarm| swarm.behaviour_mut().publish(topic, b"let me in")).await;
        assert!(matches!(alone, Err(gossipsub::PublishError::NoPeersSubscribedToTopic)), "{alone:?}");
        while let Ok(event) = eve.events.try_recv() {
            let Ok(event) = event.try_into_behaviour_event() else {
                continue;
            };
            let refused = matches!(event, gossipsub::Event::GossipsubNotSupported { .. });
            assert!(refused, "the stranger got through: {event:?}");
        }
        // What it might have said to them would have come before this.
        exchange(&mut a, &mut b, ["still between us", "two"]).await;
    }
}

#[tokio::test]
async fn a_stranger_can_open_and_accept_no_stream() {
    for opened_before in [false, true] {
        let mut nodes = two().await;
        let mallory = Swarm::new_ephemeral_tokio(|_| libp2p_stream::Behaviour::new());
        let mut control = mallory.behaviour().new_control();
        let names = [format!("/parlor/group/{GAME}/1"), format!("/parlor/group/{GAME}/ready/1")];
        let names = names.map(|name| StreamProtocol::try_from_owned(name).unwrap());
        let mut streams = names.each_ref().map(|name| control.accept(name.clone()).unwrap());
        let mut mallory = Node::run(mallory);
        if opened_before {
            in_group(&mut nodes).await;
            call(&mut mallory, &nodes).await;
        } else {
            call(&mut mallory, &nodes).await;
            in_group(&mut nodes).await;
        }
        let [mut a, mut b] = nodes;
        exchange(&mut a, &mut b, ["between us", "two"]).await;
        for victim in [a.peer, b.peer] {
            for name in &names {
                let refused = control.open_stream(victim, name.clone()).await.unwrap_err();
                let right = matches!(refused, libp2p_stream::OpenStreamError::UnsupportedProtocol(_));
                assert!(right, "{refused:?}");
            }
        }
        for stream in &mut streams {
            assert!(futures::poll!(stream.next()).is_pending(), "the group opened a stream to a stranger");
        }
        // The same node, once admitted, gets its stream: so what is refused above would have been noticed.
        a.allow(mallory.peer).await;
        let [lane, ready] = &mut streams;
        let either = futures::future::select(lane.next(), ready.next());
        let (peer, _) = tokio::time::timeout(PATIENCE, either).await.unwrap().factor_first().0.unwrap();
        assert_eq!(peer, a.peer);
    }
}

#[tokio::test]
async fn a_strangers_message_passed_on_by_a_member_is_dropped() {
    // The careless member leads, so that it can be plain gossipsub.
    let mut a = Swarm::new_ephemeral_tokio(Gate::new);
    let mut careless = loop {
        let swarm = Swarm::new_ephemeral_tokio(|key| rogue(&key));
        if swarm.local_peer_id() < a.local_peer_id() {
            break swarm;
        }
    };
    let mut stranger = Swarm::new_ephemeral_tokio(|key| rogue(&key));
    let member = *careless.local_peer_id();
    a.behaviour_mut().open(GAME, [member]);
    link(&mut a, &mut careless).await;
    link(&mut stranger, &mut careless).await;
    let (mut a, mut careless, mut stranger) = (Node::run(a), Node::run(careless), Node::run(stranger));
    a.sees(GAME, careless.peer).await;
    stranger
        .wait(|event| {
            matches!(event, SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. })).then_some(())
        })
        .await;
    meshed(&careless, a.peer).await;

    say(&stranger, "from outside").await;
    careless
        .wait(|event| matches!(event, SwarmEvent::Behaviour(gossipsub::Event::Message { .. })).then_some(()))
        .await;
    say(&careless, "from a member").await;
    // What was passed on went the same way, before.
    a.hears(careless.peer, "from a member").await;

    // As a member, the same node is heard the same way.
    a.allow(stranger.peer).await;
    say(&stranger, "from inside").await;
    a.hears(stranger.peer, "from inside").await;
}

async fn say(node: &Node<gossipsub::Behaviour>, text: &'static str) {
    let topic = IdentTopic::new(GAME.to_string());
    node.act(move |swarm| swarm.behaviour_mut().publish(topic, text)).await.unwrap();
}

async fn meshed(node: &Node<gossipsub::Behaviour>, peer: PeerId) {
    let topic = IdentTopic::new(GAME.to_string()).hash();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let meshing = async {
        loop {
            let topic = topic.clone();
            let meshed =
                node.act(move |swarm| swarm.behaviour().mesh_peers(&topic).any(|p| *p == peer)).await;
            if meshed {
                return;
            }
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, meshing).await.unwrap();
}
