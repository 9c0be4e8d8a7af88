//! Connecting, losing and finding each other again.

use super::*;
use crate::overlay::{ConnectError, Found, PublishError, RequestError, StartError};

#[tokio::test]
async fn nodes_connect_and_know_each_others_names() {
    for listen in [TCP, QUIC, "/memory/0"] {
        let mut a = Node::start(1, listen).await;
        let mut b = Node::start(2, listen).await;
        a.meets(&b).await;
        a.overlay.connect(b.peer()).await.unwrap();
        a.connected(b.peer()).await;
        b.connected(a.peer()).await;
        let name = b.wait(|event| match event {
            Event::Found { peer, nickname } => Some((peer, nickname)),
            _ => None,
        });
        assert_eq!(name.await, (a.peer(), "node 1".to_owned()));

        let [ref info] = a.overlay.peers().await.unwrap()[..] else { panic!("one peer is expected") };
        assert_eq!((info.peer, info.nickname.as_str()), (b.peer(), "node 2"));
        assert_eq!((info.connected, info.found), (true, Found::Dialled));
        assert!(!info.addresses.is_empty());
        // The one that was called knows where to call back: identify told it.
        let own = a.overlay.addresses().await.unwrap();
        assert!(b.overlay.addresses_of(a.peer()).await.unwrap().contains(&own[0]), "{own:?}");
        assert_eq!(b.overlay.peers().await.unwrap()[0].found, Found::Called);
        assert_eq!(a.overlay.connect(b.peer()).await, Ok(()), "already");
    }
}

#[tokio::test]
async fn own_addresses_name_the_node_and_are_of_use() {
    let config = Config { listen: Vec::new(), ..config(1, TCP) };
    let (overlay, _events) = Overlay::start(config).await.unwrap();
    let addresses = overlay.addresses().await.unwrap();
    let text: Vec<_> = addresses.iter().map(Address::to_string).collect();
    assert!(addresses.iter().all(|address| address.peer() == Some(peer(1))), "{text:?}");
    for wanted in ["/tcp/", "/quic-v1"] {
        assert!(text.iter().any(|address| address.contains(wanted)), "{wanted} is missing in {text:?}");
    }
    assert!(!text.iter().any(|address| address.contains("0.0.0.0") || address.contains("/0/")), "{text:?}");
    // Loopback comes last.
    let is_loopback = |address: &&String| address.contains("/127.") || address.contains("/::1/");
    let first_loopback = text.iter().position(|address| is_loopback(&address)).unwrap_or(text.len());
    assert!(text[first_loopback..].iter().all(|address| is_loopback(&address)), "{text:?}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let Err(error) = Overlay::start(config(1, &address)).await else { panic!("it cannot be listened on") };
    assert!(matches!(&error, StartError::Listen { address: there, .. } if there.to_string() == address));
    assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    let Err(error) = Overlay::start(config(1, "/unix/somewhere")).await else { panic!("nor can this") };
    assert_eq!(error.to_string(), "cannot listen on /unix/somewhere: this kind of address is not supported");
}

#[tokio::test]
async fn who_cannot_be_reached_is_said_so() {
    let a = Node::start(1, TCP).await;
    let nobody = peer(9);
    assert_eq!(a.overlay.connect(nobody).await, Err(ConnectError::NoAddress(nobody)));
    assert_eq!(a.overlay.connect(a.peer()).await, Err(ConnectError::Myself(a.peer())));

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address: Address = format!("/ip4/127.0.0.1/tcp/{closed}").parse().unwrap();
    a.overlay.add_address(nobody, address.clone()).await;
    let error = a.overlay.request(nobody, catalog()).await.unwrap_err();
    assert!(matches!(error, RequestError::Connect(ConnectError::Unreachable { .. })));
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot reach {nobody}: {address}: ")), "{text}");
    assert!(text.to_lowercase().contains("refused") && !text.contains('\n'), "{text}");
    assert!(a.overlay.open_stream(nobody).await.unwrap_err().to_string().starts_with("cannot reach"));
}

#[tokio::test]
async fn somebody_else_at_an_old_address_does_not_hide_the_peer() {
    let a = Node::start(1, TCP).await;
    let b = Node::start(2, TCP).await;
    let other = Node::start(3, TCP).await;
    let theirs = other.overlay.addresses().await.unwrap().remove(0);
    a.overlay.add_address(b.peer(), place(&theirs)).await;
    let error = a.overlay.connect(b.peer()).await.unwrap_err();
    assert!(error.to_string().ends_with("another node answers there"), "{error}");

    a.overlay.add_address(b.peer(), place(&theirs)).await;
    a.meets(&b).await;
    a.overlay.connect(b.peer()).await.unwrap();
    // What is said to lead to somebody else is not taken over at all.
    a.overlay.add_address(peer(4), theirs).await;
    assert_eq!(a.overlay.addresses_of(peer(4)).await.unwrap(), []);
}

#[tokio::test]
async fn two_that_call_each_other_at_the_same_time_are_connected() {
    for listen in [TCP, QUIC] {
        let a = Node::start(1, listen).await;
        let b = Node::start(2, listen).await;
        a.meets(&b).await;
        b.meets(&a).await;
        let (a, b) = (a.answering(answers_catalog), b.answering(answers_catalog));
        let (one, other) = tokio::join!(a.connect(b.peer()), b.connect(a.peer()));
        assert_eq!((one, other), (Ok(()), Ok(())));
        let (one, other) = tokio::join!(a.request(b.peer(), catalog()), b.request(a.peer(), catalog()));
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    }
}

#[tokio::test]
async fn a_peer_that_restarts_elsewhere_is_found_at_its_new_address() {
    for listen in [TCP, QUIC] {
        let mut a = Node::start(1, listen).await;
        let b = Node::start(2, listen).await;
        a.meets(&b).await;
        a.overlay.connect(b.peer()).await.unwrap();
        a.connected(b.peer()).await;
        b.overlay.shutdown().await;
        a.disconnected(peer(2)).await;
        assert!(a.overlay.connect(peer(2)).await.is_err());

        let b = Node::start(2, listen).await;
        a.meets(&b).await;
        let b = b.answering(answers_catalog);
        assert!(a.overlay.request(b.peer(), catalog()).await.is_ok());
    }
}

#[tokio::test]
async fn a_partner_that_is_lost_is_called_again() {
    let mut a = Node::start(1, TCP).await;
    let b = Node::start(2, TCP).await;
    let at = b.overlay.addresses().await.unwrap().remove(0);
    a.overlay.add_address(b.peer(), at.clone()).await;
    a.overlay.keep(b.peer()).await;
    a.connected(b.peer()).await;
    b.overlay.shutdown().await;
    a.disconnected(peer(2)).await;
    // At the same address; nobody tells the other one.
    let mut b = Node::start(2, &place(&at).to_string()).await;
    a.connected(b.peer()).await;
    b.connected(a.peer()).await;
}

#[tokio::test]
async fn after_the_end_everything_says_so() {
    let a = Node::start(1, TCP).await;
    let b = Node::start(2, TCP).await;
    a.meets(&b).await;
    let handle = a.overlay.clone();
    a.overlay.shutdown().await;
    assert_eq!(handle.connect(b.peer()).await, Err(ConnectError::Closed));
    let refused = handle.request(b.peer(), catalog()).await;
    assert_eq!(refused.unwrap_err(), RequestError::Connect(ConnectError::Closed));
    let session = parlor_proto::ids::SessionId([1; 16]);
    assert_eq!(handle.group_publish(session, "x".into()).await, Err(PublishError::Closed));
    assert_eq!(handle.peers().await, Err(crate::overlay::Closed), "nothing is not said by who is gone");
    assert_eq!(handle.addresses().await, Err(crate::overlay::Closed));
    assert_eq!(handle.addresses_of(b.peer()).await, Err(crate::overlay::Closed));
    handle.keep(b.peer()).await;
    handle.shutdown().await;
}
