//! Members of groups: that talk, come and go, and change connections.

use libp2p::core::upgrade::Version;

use super::{
    bare::{negotiating, soon},
    *,
};

#[tokio::test]
async fn members_exchange_messages() {
    let (mut a, mut b) = pair().await;
    exchange(&mut a, &mut b, ["from a", "from b"]).await;
    assert_eq!(a.publish(CHAT, "not open").await, Err(PublishError::NoGroup));
    let large = vec![7; MAX_PAYLOAD];
    a.act(move |swarm| swarm.behaviour_mut().publish(GAME, &large)).await.unwrap();
    assert_eq!(b.message().await.2.len(), MAX_PAYLOAD);
    let larger = vec![7; MAX_PAYLOAD + 1];
    let refused = a.act(move |swarm| swarm.behaviour_mut().publish(GAME, &larger)).await;
    assert_eq!(refused, Err(PublishError::TooLarge(MAX_PAYLOAD + 1)));
}

#[tokio::test]
async fn a_burst_of_large_messages_arrives_whole() {
    let (a, mut b) = pair().await;
    const COUNT: u8 = 100;
    // Of no kind of which less may be said.
    const FIRST: u8 = 0x20;
    a.act(|swarm| {
        for number in 0..COUNT {
            swarm.behaviour_mut().publish(GAME, &vec![FIRST + number; MAX_PAYLOAD]).unwrap();
        }
    })
    .await;
    for number in 0..COUNT {
        let Event::Message { payload, .. } = b.event().await else { panic!("only messages are expected") };
        assert_eq!((payload.len(), payload[0]), (MAX_PAYLOAD, FIRST + number));
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
        let standby = second_connection(&mut a, &mut b).await;
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

#[tokio::test]
async fn the_group_goes_where_a_follower_says_that_it_is_ready() {
    // Of two keys the one that leads first.
    let mut keys = [Keypair::generate_ed25519(), Keypair::generate_ed25519()];
    keys.sort_by_key(|key| key.public().to_peer_id());
    let [leader, follower] = keys;
    let mut a = negotiating(&leader, Version::V1, Gate::new(leader.clone()));
    // A node that was killed, and is back: its old connection is still there.
    let lives = [(); 2].map(|()| negotiating(&follower, Version::V1, libp2p_stream::Behaviour::new()));
    let mut streams = Vec::new();
    let mut nodes = Vec::new();
    for mut life in lives {
        link(&mut life, &mut a).await;
        let mut control = life.behaviour().new_control();
        streams.push((control.accept(name("1")).unwrap(), control));
        nodes.push(Node::run(life));
    }
    let a = Node::run(a);
    a.open(GAME, &[nodes[0].peer]).await;
    let [(past, _), (present, control)] = &mut streams[..] else { unreachable!() };
    let _dead_lane = soon(past.next()).await.unwrap();
    let _ready = control.open_stream(a.peer, name("ready/1")).await.unwrap();
    assert_eq!(soon(present.next()).await.unwrap().0, a.peer);
}
