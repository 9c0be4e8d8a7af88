//! Nodes that know each other by peer id only, and the relays between them.

use super::*;
use crate::overlay::{Path, RelayLimits, RelayStatus};

/// A relay on loopback.
async fn relay(seed: u8, limits: RelayLimits) -> Node {
    let internet = Internet { serve: Some(limits), ..Internet::default() };
    let (overlay, events) = Overlay::start(Config { internet, ..config(seed, QUIC) }).await.unwrap();
    Node { overlay, events }
}

/// A node in this process, so that nobody else reaches it directly: its memory address is not good for the others, who do
/// without that transport.
async fn hidden(seed: u8, listen: &str, relays: &[&Node]) -> Node {
    let mut addresses = Vec::new();
    for relay in relays {
        addresses.extend(relay.overlay.addresses().await.unwrap().into_iter().take(1));
    }
    let internet = Internet { relays: addresses, ..Internet::default() };
    let (overlay, events) = Overlay::start(Config { internet, ..config(seed, listen) }).await.unwrap();
    Node { overlay, events }
}

/// Waits until `done` says so of what the node tells of its relays.
async fn until_relays(node: &Node, done: impl Fn(&[RelayStatus]) -> bool) {
    let wait = async {
        while !done(&node.overlay.relays().await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the relays do not come round to it");
}

async fn until_reserved(node: &Node) {
    until_relays(node, |relays| relays.iter().all(|relay| relay.reserved)).await;
}

async fn path(node: &Node, peer: PeerId) -> Option<Path> {
    node.overlay.peers().await.unwrap().into_iter().find(|info| info.peer == peer)?.path
}

#[tokio::test]
async fn who_knows_a_peer_id_reaches_the_peer_through_a_common_relay() {
    let between = relay(1, RelayLimits::default()).await;
    let [near, far] = [hidden(2, "/memory/0", &[&between]).await, hidden(3, TCP, &[&between]).await];
    until_reserved(&near).await;
    until_reserved(&far).await;
    let (peer, caller) = (near.peer(), far.overlay.clone());
    let _near = near.answering(answers_catalog);
    let answer = caller.request(peer, catalog()).await.unwrap();
    assert!(matches!(answer, Response::Catalog(_)), "{answer:?}");
    // An answer may come before the peer has said what it is, and only nodes are listed.
    caller.connect(peer).await.unwrap();
    assert_eq!(path(&far, peer).await, Some(Path::Relayed));
}

#[tokio::test]
async fn a_relayed_peer_is_called_directly_where_it_can_be() {
    let between = relay(1, RelayLimits::default()).await;
    let [near, far] = [hidden(2, TCP, &[&between]).await, hidden(3, TCP, &[&between]).await];
    until_reserved(&near).await;
    until_reserved(&far).await;
    far.overlay.connect(near.peer()).await.unwrap();
    let direct = async {
        while path(&far, near.peer()).await != Some(Path::Direct) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, direct).await.expect("it stays with the relay");
}

#[tokio::test]
async fn a_rendezvous_point_knows_where_a_peer_is_that_cannot_be_reached_through_it() {
    // Both registered at the first; only the second has room for another circuit.
    let full = relay(1, RelayLimits { circuits_per_peer: 0, circuits: 0, ..RelayLimits::default() }).await;
    let other = relay(4, RelayLimits::default()).await;
    let near = hidden(2, "/memory/0", &[&full, &other]).await;
    let far = hidden(3, TCP, &[&full]).await;
    until_reserved(&near).await;
    until_reserved(&far).await;
    let peer = near.peer();
    // A reservation comes before the registration.
    let connect = async {
        while far.overlay.connect(peer).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connect).await.expect("it is not found");
    let addresses = far.overlay.addresses_of(peer).await.unwrap();
    let through_other = |address: &Address| address.to_string().contains(&other.peer().to_string());
    assert!(addresses.iter().any(through_other), "{addresses:?}");
}

#[tokio::test]
async fn a_lost_relay_is_asked_again_and_another_one_serves_meanwhile() {
    let [one, other] = [relay(1, RelayLimits::default()).await, relay(4, RelayLimits::default()).await];
    let near = hidden(2, "/memory/0", &[&one, &other]).await;
    let far = hidden(3, TCP, &[&one, &other]).await;
    until_reserved(&near).await;
    until_reserved(&far).await;
    let lost = one.peer();
    one.overlay.shutdown().await;
    let is_lost =
        |relays: &[RelayStatus]| relays.iter().any(|r| r.peer == lost && !r.reserved && r.why.is_some());
    until_relays(&near, is_lost).await;
    far.overlay.connect(near.peer()).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_is_none_is_said_to_be() {
    let none = Node::start(1, QUIC).await;
    let node = hidden(2, TCP, &[&none]).await;
    until_relays(&node, |relays| relays.iter().any(|relay| relay.why.is_some())).await;
    let status = node.overlay.relays().await.unwrap();
    assert!(!status[0].reserved, "{status:?}");
}

#[tokio::test]
async fn what_is_sent_is_counted() {
    let mut called = Node::start(1, TCP).await;
    let caller = Node::start(2, TCP).await;
    caller.meets(&called).await;
    caller.overlay.connect(called.peer()).await.unwrap();
    called.connected(caller.peer()).await;
    let traffic = caller.overlay.traffic();
    assert!(traffic.sent > 0 && traffic.received > 0, "{traffic:?}");
    assert!(caller.overlay.metrics().contains("libp2p_identify_received_total"));
}
