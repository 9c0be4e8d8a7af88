//! A peer that speaks the transports and nothing else: garbage on every protocol.

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};
use parlor_proto::wire;

use super::*;
use crate::overlay::{
    ConnectError, RequestError,
    address::{ours, theirs},
};

const PROTOCOLS: [&str; 5] = [wire::CATALOG, wire::SUPPLY, wire::SESSION, wire::UPDATES, wire::BILLING];

struct Rogue {
    peer: PeerId,
    address: Address,
    control: libp2p_stream::Control,
}

impl Rogue {
    async fn start() -> Self {
        let mut swarm: Swarm<libp2p_stream::Behaviour> = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .build();
        swarm.listen_on(TCP.parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let (peer, control) = (ours(swarm.local_peer_id()).unwrap(), swarm.behaviour().new_control());
        tokio::spawn(async move { while swarm.next().await.is_some() {} });
        Self { peer, address: address.into(), control }
    }
}

/// Nothing, no CBOR, CBOR of another shape, lengths that lie, deep nesting, and far too much.
fn garbage() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![0xff; 64],
        vec![0xf6],
        vec![0x83, 1, 2, 3],
        vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        vec![0x81; 100_000],
        vec![0x40; 4 << 20],
    ]
}

#[tokio::test]
async fn garbage_is_asked_in_vain() {
    let victim = Node::start(1, TCP).await;
    let friend = Node::start(2, TCP).await;
    friend.meets(&victim).await;
    let at = victim.overlay.addresses().await.unwrap()[0].clone();
    // It panics if garbage becomes a request: the test then fails for want of an answer.
    let victim = victim.answering(|from, request| {
        assert_eq!(from, peer(2));
        answers_catalog(from, request)
    });
    let rogue = Rogue::start().await;
    let mut control = rogue.control.clone();
    victim.add_address(rogue.peer, rogue.address.clone()).await;
    // There is a connection, though not of a node: that is what this call finds out.
    assert_eq!(victim.connect(rogue.peer).await, Err(ConnectError::NotParlor(rogue.peer)), "{at}");
    for protocol in PROTOCOLS {
        for bytes in garbage() {
            let mut stream =
                control.open_stream(theirs(victim.peer()), StreamProtocol::new(protocol)).await.unwrap();
            // The victim may close while we still write.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.close().await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.is_empty(), "{protocol} answered");
        }
    }
    assert!(friend.overlay.request(victim.peer(), catalog()).await.is_ok(), "others are unharmed");
    assert_eq!(friend.overlay.connect(victim.peer()).await, Ok(()));
    let is_rogue = |info: &crate::overlay::PeerInfo| info.peer == rogue.peer;
    assert!(!victim.peers().await.unwrap().iter().any(is_rogue), "the rogue is no node");
}

#[tokio::test]
async fn garbage_for_an_answer_is_an_error() {
    let victim = Node::start(1, TCP).await;
    let mut rogue = Rogue::start().await;
    victim.overlay.add_address(rogue.peer, rogue.address.clone()).await;
    let mut incoming = rogue.control.accept(StreamProtocol::new(wire::CATALOG)).unwrap();
    tokio::spawn(async move {
        let mut all = garbage().into_iter().cycle();
        while let Some((_, mut stream)) = incoming.next().await {
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let _ = stream.write_all(&all.next().unwrap()).await;
            let _ = stream.close().await;
        }
    });
    for bytes in garbage() {
        let error = victim.overlay.request(rogue.peer, catalog()).await.unwrap_err();
        let is_right = match &error {
            RequestError::Garbled { peer, .. } | RequestError::Refused(peer) => *peer == rogue.peer,
            _ => false,
        };
        assert!(is_right, "{error} after {} bytes", bytes.len());
        assert!(!error.to_string().contains('\n'));
    }
    let updates = parlor_proto::group::UpdatesRequest {
        session: parlor_proto::ids::SessionId([1; 16]),
        have: Default::default(),
    };
    let error = victim.overlay.request(rogue.peer, Request::Updates(updates)).await.unwrap_err();
    assert_eq!(error, RequestError::Unsupported(rogue.peer));
}
