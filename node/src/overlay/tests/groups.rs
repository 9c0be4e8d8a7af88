//! A group across three nodes. Who gets what in detail is tested at the gate.

use parlor_proto::ids::SessionId;

use super::*;
use crate::overlay::{MAX_GROUP_PAYLOAD, PublishError};

const SESSION: SessionId = SessionId([5; 16]);

impl Node {
    async fn sees(&mut self, peer: PeerId) {
        self.wait(|event| match event {
            Event::GroupPeer { session: SESSION, peer: who, present: true } => (who == peer).then_some(()),
            _ => None,
        })
        .await;
    }

    async fn misses(&mut self, peer: PeerId) {
        self.wait(|event| match event {
            Event::GroupPeer { session: SESSION, peer: who, present: false } => (who == peer).then_some(()),
            _ => None,
        })
        .await;
    }

    async fn hears(&mut self, author: PeerId, text: &'static str) {
        let heard = self.wait(|event| match event {
            Event::GroupMessage { session, author, payload } => Some((session, author, payload)),
            _ => None,
        });
        assert_eq!(heard.await, (SESSION, author, text.into()));
    }

    /// Realtime may come twice.
    async fn hears_among_others(&mut self, author: PeerId, text: &'static str) {
        self.wait(|event| match event {
            Event::GroupMessage { session: SESSION, author: who, payload } => {
                (who == author && payload == text).then_some(())
            }
            _ => None,
        })
        .await;
    }
}

/// Three nodes that listen there, in one group: a chain, the two ends are not connected.
async fn chain(listen: &str) -> [Node; 3] {
    let mut nodes =
        [Node::start(1, listen).await, Node::start(2, listen).await, Node::start(3, listen).await];
    let peers = nodes.each_ref().map(Node::peer);
    nodes[0].meets(&nodes[1]).await;
    nodes[2].meets(&nodes[1]).await;
    for end in [0, 2] {
        nodes[end].overlay.connect(peers[1]).await.unwrap();
    }
    for node in &nodes {
        node.overlay.group_open(SESSION, peers.to_vec()).await;
    }
    nodes[0].sees(peers[1]).await;
    nodes[2].sees(peers[1]).await;
    nodes[1].sees(peers[0]).await;
    nodes
}

#[tokio::test]
async fn a_group_of_three_talks_and_one_leaves() {
    for listen in [TCP, QUIC] {
        let mut nodes = chain(listen).await;
        let peers = nodes.each_ref().map(Node::peer);
        let publish =
            async |node: &Node, text: &'static str| node.overlay.group_publish(SESSION, text.into()).await;
        publish(&nodes[0], "from one end").await.unwrap();
        nodes[1].hears(peers[0], "from one end").await;
        nodes[2].hears(peers[0], "from one end").await;

        let too_large = vec![0; MAX_GROUP_PAYLOAD + 1];
        let refused = nodes[0].overlay.group_publish(SESSION, too_large.into()).await;
        assert_eq!(refused, Err(PublishError::TooLarge(MAX_GROUP_PAYLOAD + 1)));

        for node in &nodes[..2] {
            node.overlay.group_revoke(SESSION, peers[2]).await;
        }
        nodes[1].misses(peers[2]).await;
        let _ = publish(&nodes[2], "from outside").await;
        publish(&nodes[0], "among two").await.unwrap();
        nodes[1].hears(peers[0], "among two").await;
        nodes[0].overlay.group_close(SESSION).await;
        assert_eq!(publish(&nodes[0], "too late").await, Err(PublishError::NoGroup));
    }
}

#[tokio::test]
async fn realtime_reaches_all_over_any_transport() {
    for listen in [TCP, QUIC] {
        let mut nodes = chain(listen).await;
        let peers = nodes.each_ref().map(Node::peer);
        for text in ["one", "two", "three"] {
            nodes[0].overlay.group_realtime(SESSION, text.into()).await.unwrap();
            for far in [1, 2] {
                nodes[far].hears_among_others(peers[0], text).await;
            }
        }
        let too_large = vec![0; MAX_GROUP_PAYLOAD + 1];
        let refused = nodes[0].overlay.group_realtime(SESSION, too_large.into()).await;
        assert_eq!(refused, Err(PublishError::TooLarge(MAX_GROUP_PAYLOAD + 1)));
        nodes[0].overlay.group_close(SESSION).await;
        let closed = nodes[0].overlay.group_realtime(SESSION, "too late".into()).await;
        assert_eq!(closed, Err(PublishError::NoGroup));
    }
}

#[tokio::test]
async fn a_member_that_restarts_is_back_in_the_group() {
    let mut a = Node::start(1, TCP).await;
    let mut b = Node::start(2, TCP).await;
    let at = place(&b.overlay.addresses().await.unwrap()[0]);
    a.overlay.add_address(b.peer(), at.clone()).await;
    a.overlay.keep(b.peer()).await;
    a.overlay.group_open(SESSION, vec![peer(1), peer(2)]).await;
    b.overlay.group_open(SESSION, vec![peer(1), peer(2)]).await;
    a.sees(b.peer()).await;
    b.sees(a.peer()).await;
    b.overlay.shutdown().await;
    a.misses(peer(2)).await;

    let mut b = Node::start(2, &at.to_string()).await;
    b.overlay.group_open(SESSION, vec![peer(1), peer(2)]).await;
    a.sees(b.peer()).await;
    b.sees(a.peer()).await;
    b.overlay.group_publish(SESSION, "back".into()).await.unwrap();
    a.hears(b.peer(), "back").await;
}
