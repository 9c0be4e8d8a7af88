//! Those that are no members, though connected, and though they know every name.

use futures::AsyncWriteExt as _;
use libp2p::core::upgrade::Version;

use super::{
    bare::{message, negotiating, rest, varint},
    log::Log,
    *,
};

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
        let names = ["1", "ready/1", "realtime/1"].map(name);
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
        let mut any = futures::stream::select_all(&mut streams);
        let (peer, _) = tokio::time::timeout(PATIENCE, any.next()).await.unwrap().unwrap();
        assert_eq!(peer, a.peer);
    }
}

#[tokio::test]
async fn a_strangers_message_passed_on_by_a_member_is_dropped() {
    // The careless member leads, so that it can be plain gossipsub.
    let mut a = Swarm::new_ephemeral_tokio(Gate::new);
    let mut careless = leading(a.local_peer_id(), |key| rogue(&key));
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

#[tokio::test]
async fn a_stranger_that_does_not_wait_for_an_answer_is_not_heard() {
    let gate = || negotiating(Version::V1, Gate::new);
    let mut gates = [gate(), gate()];
    let [one, other] = &mut gates;
    link(one, other).await;
    // It takes the protocol for agreed upon before the other side has said so.
    let mut swarm = negotiating(Version::V1Lazy, |_| libp2p_stream::Behaviour::new());
    for gate in &mut gates {
        link(&mut swarm, gate).await;
    }
    let mut control = swarm.behaviour().new_control();
    let stranger = Node::run(swarm);
    let mut nodes = gates.map(Node::run);
    in_group(&mut nodes).await;
    let [mut a, mut b] = nodes;
    let rpc = message(stranger.peer, 1, "let me in", None);
    for victim in [a.peer, b.peer] {
        for (what, bytes) in
            [("1", [&varint(rpc.len() as u64), &rpc[..]].concat()), ("realtime/1", b"\0\0\0\x02in".to_vec())]
        {
            let mut stream = control.open_stream(victim, name(what)).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let _ = stream.flush().await;
            assert!(rest(stream).await.is_empty());
        }
    }
    // It has been refused by now, so what it wrote would have come before this.
    exchange(&mut a, &mut b, ["between us", "two"]).await;
}

#[tokio::test]
async fn who_takes_itself_for_a_member_leaves_a_trace() {
    let log = Log::start();
    let mut a = Swarm::new_ephemeral_tokio(|key| Identified {
        gate: Gate::new(key.clone()),
        identify: identify(&key),
    });
    a.behaviour_mut().gate.open(GAME, []);
    let mut stranger = Swarm::new_ephemeral_tokio(|key| Identified {
        gate: libp2p_stream::Behaviour::new(),
        identify: identify(&key),
    });
    let _streams = stranger.behaviour().gate.new_control().accept(name("1")).unwrap();
    let peer = *stranger.local_peer_id();
    link(&mut a, &mut stranger).await;
    let (_a, _stranger) = (Node::run(a), Node::run(stranger));
    let (session, peer) = (GAME.to_string(), peer.to_string());
    until(async || !log.lines(&["DEBUG", &session, &peer, "no member"]).is_empty()).await;
}

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct Identified<B: NetworkBehaviour> {
    gate: B,
    identify: libp2p::identify::Behaviour,
}

fn identify(key: &Keypair) -> libp2p::identify::Behaviour {
    libp2p::identify::Behaviour::new(libp2p::identify::Config::new("test".into(), key.public()))
}
