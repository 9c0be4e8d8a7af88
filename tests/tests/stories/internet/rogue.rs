//! Relays that mean harm, or are broken: small nodes of libp2p that do one thing wrong.
//!
//! For: what honest ones never do, at a place where nodes were told that a relay is. Not for: relays that die; that is
//! what real ones are killed for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    futures::{
        AsyncWriteExt as _, StreamExt as _,
        io::{copy, sink},
    },
    identify,
    identity::Keypair,
    noise, relay,
    swarm::{NetworkBehaviour, StreamProtocol, SwarmEvent, behaviour::toggle::Toggle},
    tcp, yamux,
};
use parlor_tests::segment::Host;
use tokio::runtime::{Builder, Runtime};

/// The protocols that go wrong.
const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";
const IDENTIFY: &str = "/ipfs/id/1.0.0";
const RENDEZVOUS: &str = "/rendezvous/1.0.0";
/// Where nobody is.
pub(super) const NOWHERE: &str = "/ip4/192.0.2.66/udp/4001/quic-v1";

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It grants no reservations.
    Refuses,
    /// It takes the request and never answers.
    Stalls,
    /// It grants reservations, and ends every circuit with the first bytes.
    Drops,
    /// It says that it is where nobody is, and that whoever asks is there too.
    Lies,
    /// As a rendezvous point it answers everything with these bytes.
    Answers(Vec<u8>),
}

/// A running one. Dropping it ends it.
pub(super) struct Rogue {
    pub(super) peer: PeerId,
    /// For `--relay`.
    pub(super) address: String,
    refused: Arc<AtomicU32>,
    _runtime: Runtime,
    _host: Host,
}

impl Rogue {
    pub(super) fn up(host: Host, wrong: Wrong) -> Self {
        let key = Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let place: Multiaddr = format!("/ip4/{}/udp/4001/quic-v1", host.v4()).parse().expect("an address");
        let address = format!("{place}/p2p/{peer}");
        // Its threads, and so its sockets, are in the host's network.
        let threads = || Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = host.namespace().enter(threads).expect("a runtime");
        let refused = Arc::<AtomicU32>::default();
        let count = refused.clone();
        runtime.spawn(async move {
            let external = if wrong == Wrong::Lies { nowhere() } else { place.clone() };
            let mut swarm = swarm(&key, wrong);
            swarm.listen_on(place).expect("a free port");
            swarm.add_external_address(external);
            loop {
                let event = swarm.select_next_some().await;
                if let SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) = event
                    && matches!(event, relay::Event::ReservationReqDenied { .. })
                {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { peer, address, refused, _runtime: runtime, _host: host }
    }

    /// How many requests it has refused.
    pub(super) fn refused(&self) -> u32 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay: Toggle<relay::Behaviour>,
    identify: Toggle<identify::Behaviour>,
    streams: libp2p_stream::Behaviour,
}

fn swarm(key: &Keypair, wrong: Wrong) -> Swarm<Behaviour> {
    let config = match wrong {
        Wrong::Refuses => Some(relay::Config { max_reservations: 0, ..relay::Config::default() }),
        Wrong::Stalls => None,
        Wrong::Drops => Some(relay::Config { max_circuit_bytes: 1, ..relay::Config::default() }),
        Wrong::Lies | Wrong::Answers(_) => Some(relay::Config::default()),
    };
    let identify = identify::Config::new("rogue".into(), key.public());
    let behaviour = Behaviour {
        relay: config.map(|config| relay::Behaviour::new(key.public().to_peer_id(), config)).into(),
        identify: (wrong != Wrong::Lies).then(|| identify::Behaviour::new(identify)).into(),
        streams: libp2p_stream::Behaviour::new(),
    };
    match wrong {
        Wrong::Stalls => stall(&behaviour.streams),
        Wrong::Lies => lie(&behaviour.streams, key),
        Wrong::Answers(answer) => say(&behaviour.streams, RENDEZVOUS, answer),
        Wrong::Refuses | Wrong::Drops => {}
    }
    SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("keys that noise takes")
        .with_quic()
        .with_behaviour(|_| behaviour)
        .expect("it is there")
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build()
}

/// Takes requests and keeps them.
fn stall(streams: &libp2p_stream::Behaviour) {
    let mut requests = streams.new_control().accept(StreamProtocol::new(HOP)).expect("nobody else does");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Some(request) = requests.next().await {
            kept.push(request);
        }
    });
}

/// Identifies itself, wrongly.
fn lie(streams: &libp2p_stream::Behaviour, key: &Keypair) {
    let nowhere = nowhere().to_vec();
    // publicKey, listenAddrs, protocols, observedAddr, protocolVersion and agentVersion, of the page of identify.
    let fields: [(u8, &[u8]); 6] = [
        (1, &key.public().encode_protobuf()),
        (2, &nowhere),
        (3, HOP.as_bytes()),
        (4, &nowhere),
        (5, b"rogue"),
        (6, b"rogue"),
    ];
    let message: Vec<u8> = fields.iter().flat_map(|(number, bytes)| field(*number, bytes)).collect();
    say(streams, IDENTIFY, framed(&message));
}

/// Says the same to everybody who opens a stream of a protocol.
fn say(streams: &libp2p_stream::Behaviour, protocol: &'static str, message: Vec<u8>) {
    let mut asked = streams.new_control().accept(StreamProtocol::new(protocol)).expect("nobody else does");
    tokio::spawn(async move {
        while let Some((_, mut stream)) = asked.next().await {
            let message = message.clone();
            tokio::spawn(async move {
                // Whoever does not listen to it is not told. What it has asked is heard, or it would be none the wiser.
                let _told = stream.write_all(&message).await;
                let _told = stream.close().await;
                let _heard = copy(stream, &mut sink()).await;
            });
        }
    });
}

fn nowhere() -> Multiaddr {
    NOWHERE.parse().expect("an address")
}

/// A field of bytes in a message of protobuf.
pub(super) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], &framed(bytes)[..]].concat()
}

/// Bytes after their length.
pub(super) fn framed(bytes: &[u8]) -> Vec<u8> {
    [&varint(bytes.len() as u64), bytes].concat()
}

/// A number, seven bits a byte.
pub(super) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
