//! A rogue that speaks no libp2p behaviour of a group, but its bytes: it opens and accepts the group's streams
//! bare, and writes on them what it likes.

use std::sync::Mutex;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{
    Multiaddr, Stream, Transport as _,
    core::{transport::MemoryTransport, upgrade::Version},
    noise, swarm, yamux,
};
use libp2p_stream::{Behaviour as Streams, Control, IncomingStreams};

use super::*;

/// A member by name, whose streams are bare.
pub(super) struct Rogue {
    pub(super) key: Keypair,
    pub(super) node: Node<Streams>,
    pub(super) control: Control,
    pub(super) lanes: IncomingStreams,
    pub(super) realtime: IncomingStreams,
}

impl Rogue {
    /// Connected to all of these, and leading the first one.
    pub(super) async fn start(gates: &mut [Swarm<Gate>]) -> Self {
        let mut keys = Vec::new();
        let keys_of = Mutex::new(&mut keys);
        let mut swarm = leading(gates[0].local_peer_id(), |key| {
            keys_of.lock().unwrap().push(key);
            Streams::new()
        });
        // The last one made.
        let key = keys.pop().unwrap();
        for gate in gates {
            link(&mut swarm, gate).await;
        }
        let mut control = swarm.behaviour().new_control();
        let [lanes, realtime] = ["1", "realtime/1"].map(|what| control.accept(name(what)).unwrap());
        Self { key, node: Node::run(swarm), control, lanes, realtime }
    }

    pub(super) fn peer(&self) -> PeerId {
        self.node.peer
    }

    pub(super) async fn open(&mut self, peer: PeerId, what: &str) -> Stream {
        self.control.open_stream(peer, name(what)).await.unwrap()
    }

    /// Takes part in the group as far as this one is concerned: a lane to it, subscribed, and its answer.
    pub(super) async fn join(&mut self, gate: &mut Node<Gate>) -> Lane {
        let mut to = self.open(gate.peer, "1").await;
        send(&mut to, &subscription()).await;
        let from = soon(self.lanes.next()).await.unwrap().1;
        gate.sees(GAME, self.peer()).await;
        Lane { to, from }
    }
}

/// The streams of a lane, bare.
pub(super) struct Lane {
    pub(super) to: Stream,
    pub(super) from: Stream,
}

/// A swarm that opens its streams by this version of the negotiation.
pub(super) fn negotiating<B: NetworkBehaviour>(
    version: Version,
    behaviour: impl FnOnce(Keypair) -> B,
) -> Swarm<B> {
    let key = Keypair::generate_ed25519();
    let transport = MemoryTransport::default()
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    let config = swarm::Config::with_tokio_executor().with_substream_upgrade_protocol_override(version);
    let peer = key.public().to_peer_id();
    let mut swarm = Swarm::new(transport, behaviour(key), peer, config);
    let address: Multiaddr = format!("/memory/{}", rand::random_range(1..=u64::MAX)).parse().unwrap();
    swarm.listen_on(address.clone()).unwrap();
    swarm.add_external_address(address);
    swarm
}

pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened")
}

/// Until the other side ends the stream; what came by then.
pub(super) async fn rest(mut stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // An error is an end too.
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    bytes
}

// Protocol Buffers by hand, as far as gossipsub's `RPC` and `Message` need them.

pub(super) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

pub(super) fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag << 3 | 2][..], &varint(value.len() as u64), value].concat()
}

pub(super) fn subscription() -> Vec<u8> {
    field(1, &[&[1 << 3, 1][..], &field(2, GAME.to_string().as_bytes())].concat())
}

/// A message by `source`, signed with `key`.
pub(super) fn message(source: PeerId, number: u64, text: &str, key: Option<&Keypair>) -> Vec<u8> {
    let mut message = [
        field(1, &source.to_bytes()),
        field(2, text.as_bytes()),
        field(3, &number.to_be_bytes()),
        field(4, GAME.to_string().as_bytes()),
    ]
    .concat();
    if let Some(key) = key {
        let signature = key.sign(&[b"libp2p-pubsub:", &message[..]].concat()).unwrap();
        message.extend(field(5, &signature));
        message.extend(field(6, &key.public().encode_protobuf()));
    }
    field(2, &message)
}

pub(super) async fn send(stream: &mut Stream, rpc: &[u8]) {
    stream.write_all(&[&varint(rpc.len() as u64), rpc].concat()).await.unwrap();
    stream.flush().await.unwrap();
}

/// The next of gossipsub's packets that has a message in it, as it came.
pub(super) async fn captured(stream: &mut Stream) -> Vec<u8> {
    loop {
        let (mut len, mut shift, mut byte) = (0, 0, [0]);
        loop {
            soon(stream.read_exact(&mut byte)).await.unwrap();
            len |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut rpc = vec![0; len];
        soon(stream.read_exact(&mut rpc)).await.unwrap();
        if rpc.first() == Some(&(2 << 3 | 2)) {
            return rpc;
        }
    }
}
