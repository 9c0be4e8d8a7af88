//! Addresses that others say: few of them, and none that lead inside.

use futures::FutureExt as _;
use tokio::net::TcpListener;

use super::*;
use crate::overlay::ConnectError;

/// A node that others reach over a network, and a service of its machine that is none of theirs.
async fn beside_a_service() -> (Overlay, mpsc::Receiver<Event>, TcpListener, Address) {
    let announce = vec!["/ip4/203.0.113.1/tcp/4001".parse().unwrap()];
    let internet = Internet { announce, ..Internet::default() };
    let (overlay, events) = Overlay::start(Config { internet, ..config(1, TCP) }).await.unwrap();
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("/ip4/127.0.0.1/tcp/{}", service.local_addr().unwrap().port());
    (overlay, events, service, place.parse().unwrap())
}

#[tokio::test]
async fn nobody_sends_a_node_to_its_own_machine_or_into_a_network_that_it_is_not_in() {
    let (overlay, _events, service, place) = beside_a_service().await;
    let inside = ["/ip4/169.254.169.254/tcp/80", "/ip4/198.18.0.1/tcp/80", "/dns4/localhost/tcp/80"];
    for said in inside.into_iter().map(|place| place.parse().unwrap()).chain([place.clone()]) {
        overlay.hear_address(peer(2), said).await;
    }
    assert_eq!(overlay.addresses_of(peer(2)).await.unwrap(), []);
    assert!(matches!(overlay.connect(peer(2)).await, Err(ConnectError::NoAddress(_))));
    assert!(service.accept().now_or_never().is_none(), "it was called");
    // Its user may.
    overlay.add_address(peer(2), place).await;
    let calling = overlay.clone();
    tokio::spawn(async move { calling.connect(peer(2)).await });
    tokio::time::timeout(PATIENCE, service.accept()).await.expect("it was not called").unwrap();
}

#[tokio::test]
async fn nodes_of_one_machine_are_called_where_a_roster_says() {
    let called = Node::start(1, TCP).await;
    let caller = Node::start(2, TCP).await;
    for address in called.overlay.addresses().await.unwrap() {
        caller.overlay.hear_address(called.peer(), address).await;
    }
    caller.overlay.connect(called.peer()).await.unwrap();
}

#[tokio::test]
async fn a_roster_makes_a_node_call_only_so_many_places() {
    let (overlay, _events, _, _) = beside_a_service().await;
    for port in 1..=64 {
        let place = format!("/ip4/203.0.113.9/tcp/{port}").parse().unwrap();
        overlay.hear_address(peer(2), place).await;
    }
    assert_eq!(overlay.addresses_of(peer(2)).await.unwrap().len(), 4);
}
