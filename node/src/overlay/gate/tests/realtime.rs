//! Realtime messages: the direct path beside gossipsub, and what happens without it.

use super::*;

/// Two members with direct paths both ways. The first one leads.
async fn direct_pair() -> (Node<Gate>, Node<Gate>) {
    let (a, b) = pair().await;
    a.direct(GAME, b.peer).await;
    b.direct(GAME, a.peer).await;
    (a, b)
}

/// The path may be an old one for a moment, which the other side has left.
async fn realtime_until_heard(from: &Node<Gate>, to: &mut Node<Gate>) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let speak = async {
        loop {
            tick.tick().await;
            let _ = from.realtime(GAME, "over here").await;
        }
    };
    tokio::select! {
        () = speak => {},
        () = to.hears(from.peer, "over here") => {}
    }
}

#[tokio::test]
async fn realtime_goes_directly_and_arrives_once_and_in_order() {
    let (mut a, mut b) = direct_pair().await;
    for _ in 0..2 {
        let (from, to) = (&a, &mut b);
        for number in 0..200_u32 {
            let payload = Bytes::from(number.to_string());
            from.act(move |swarm| swarm.behaviour_mut().realtime(GAME, &payload)).await.unwrap();
            // Also by gossipsub, it would come twice.
            to.hears(from.peer, &number.to_string()).await;
        }
        std::mem::swap(&mut a, &mut b);
    }
    exchange(&mut a, &mut b, ["gossip", "too"]).await;
}

#[tokio::test]
async fn realtime_messages_have_a_largest_size() {
    let (a, mut b) = direct_pair().await;
    for size in [0, 1, MAX_PAYLOAD] {
        a.act(move |swarm| swarm.behaviour_mut().realtime(GAME, &vec![7; size].into())).await.unwrap();
        assert_eq!(b.message().await.2.len(), size);
    }
    let larger = Bytes::from(vec![7; MAX_PAYLOAD + 1]);
    let refused = a.act(move |swarm| swarm.behaviour_mut().realtime(GAME, &larger)).await;
    assert_eq!(refused, Err(PublishError::TooLarge(MAX_PAYLOAD + 1)));
    assert_eq!(a.realtime(CHAT, "not open").await, Err(PublishError::NoGroup));
    a.open(CHAT, &[]).await;
    assert_eq!(a.realtime(CHAT, "nobody there").await, Err(PublishError::Alone));
}

#[tokio::test]
async fn members_that_are_reached_through_others_get_realtime_by_gossip() {
    let [mut a, mut b, mut c] = gates();
    link(&mut a, &mut b).await;
    link(&mut c, &mut b).await;
    let [mut a, b, mut c] = [a, b, c].map(Node::run);
    let all = [a.peer, b.peer, c.peer];
    for node in [&a, &b, &c] {
        node.open(GAME, &all).await;
    }
    a.sees(GAME, b.peer).await;
    c.sees(GAME, b.peer).await;
    for (end, middle) in [(&a, &b), (&b, &a), (&b, &c), (&c, &b)] {
        end.direct(GAME, middle.peer).await;
    }
    a.realtime(GAME, "far away").await.unwrap();
    c.hears(a.peer, "far away").await;
    c.realtime(GAME, "as far").await.unwrap();
    a.hears(c.peer, "as far").await;
}

#[tokio::test]
async fn a_member_without_a_direct_path_gets_realtime_by_gossip() {
    // Stock gossipsub, which leads: it takes no realtime stream.
    let mut a = Swarm::new_ephemeral_tokio(Gate::new);
    let mut plain = leading(a.local_peer_id(), |key| rogue(&key));
    a.behaviour_mut().open(GAME, [*plain.local_peer_id()]);
    link(&mut a, &mut plain).await;
    let (mut a, mut plain) = (Node::run(a), Node::run(plain));
    a.sees(GAME, plain.peer).await;
    a.realtime(GAME, "by another way").await.unwrap();
    let heard = plain.wait(|event| match event {
        SwarmEvent::Behaviour(gossipsub::Event::Message { message, .. }) => Some(message),
        _ => None,
    });
    let heard = heard.await;
    assert_eq!((heard.source, &heard.data[..]), (Some(a.peer), &b"by another way"[..]));
}

#[tokio::test]
async fn a_member_let_in_on_a_live_connection_gets_realtime() {
    for late in [0, 1] {
        let [mut a, mut b] = gates();
        link(&mut a, &mut b).await;
        let mut nodes = [Node::run(a), Node::run(b)];
        let peers = [nodes[0].peer, nodes[1].peer];
        nodes[1 - late].open(GAME, &peers).await;
        nodes[late].open(GAME, &[]).await;
        assert_eq!(nodes[1 - late].realtime(GAME, "too early").await, Err(PublishError::Alone));
        nodes[late].allow(peers[1 - late]).await;
        for [one, other] in [[0, 1], [1, 0]] {
            nodes[one].direct(GAME, peers[other]).await;
            nodes[one].realtime(GAME, "hello").await.unwrap();
            nodes[other].hears(peers[one], "hello").await;
        }
    }
}

#[tokio::test]
async fn a_removed_member_is_cut_off_from_realtime_at_once_and_can_come_back() {
    let (a, b) = direct_pair().await;
    let mut nodes = [a, b];
    for (by, gone) in [(0, 1), (1, 0)] {
        let removed = nodes[gone].peer;
        // What has not left by then never leaves.
        nodes[by]
            .act(move |swarm| {
                let gate = swarm.behaviour_mut();
                gate.realtime(GAME, &Bytes::from_static(b"not in time")).unwrap();
                gate.revoke(GAME, removed);
                assert_eq!(gate.realtime(GAME, &Bytes::from_static(b"behind")), Err(PublishError::Alone));
            })
            .await;
        // Whether that one has noticed yet or not, this goes nowhere.
        let _ = nodes[gone].realtime(GAME, "still there?").await;
        nodes[by].misses(removed).await;
        nodes[by].allow(removed).await;
        nodes[by].sees(GAME, removed).await;
        for [one, other] in [[by, gone], [gone, by]] {
            nodes[one].direct(GAME, nodes[other].peer).await;
            let [from, to] = nodes.get_disjoint_mut([one, other]).unwrap();
            realtime_until_heard(from, to).await;
        }
    }
}

#[tokio::test]
async fn realtime_of_groups_on_one_connection_does_not_mix() {
    let [mut a, mut b, mut c] = gates();
    link(&mut a, &mut b).await;
    link(&mut a, &mut c).await;
    link(&mut b, &mut c).await;
    let [a, mut b, mut c] = [a, b, c].map(Node::run);
    a.open(GAME, &[b.peer]).await;
    b.open(GAME, &[a.peer]).await;
    // The one that is not invited to the game takes itself for a member of it.
    c.open(GAME, &[a.peer, b.peer]).await;
    for node in [&a, &b, &c] {
        node.open(CHAT, &[a.peer, b.peer, c.peer]).await;
    }
    a.direct(GAME, b.peer).await;
    for peer in [b.peer, c.peer] {
        a.direct(CHAT, peer).await;
    }
    a.realtime(GAME, "game").await.unwrap();
    assert_eq!(b.message().await, (GAME, a.peer, "game".into()));
    a.realtime(CHAT, "chat").await.unwrap();
    assert_eq!(b.message().await, (CHAT, a.peer, "chat".into()));
    // The game's message would have come first.
    assert_eq!(c.message().await, (CHAT, a.peer, "chat".into()));
    assert_eq!(c.realtime(GAME, "let me in").await, Err(PublishError::Alone));

    // The end of one group leaves the other one as it is.
    a.revoke(b.peer).await;
    assert!(!a.act(move |swarm| swarm.behaviour().is_direct(GAME, b.peer)).await);
    a.realtime(CHAT, "still here").await.unwrap();
    assert_eq!(b.message().await, (CHAT, a.peer, "still here".into()));
}

#[tokio::test]
async fn realtime_moves_to_another_connection_with_the_group() {
    let [mut a, mut b] = gates();
    link(&mut a, &mut b).await;
    let (mut a, mut b) = (Node::run(a), Node::run(b));
    a.open(GAME, &[b.peer]).await;
    b.open(GAME, &[a.peer]).await;
    a.direct(GAME, b.peer).await;
    b.direct(GAME, a.peer).await;
    second_connection(&mut a, &mut b).await;
    let peer = b.peer;
    let carrier = a.act(move |swarm| swarm.behaviour().carrier(GAME, peer).unwrap()).await;
    a.act(move |swarm| assert!(swarm.close_connection(carrier))).await;
    until(async || {
        let now = a.act(move |swarm| swarm.behaviour().carrier(GAME, peer)).await;
        now.is_some_and(|now| now != carrier)
    })
    .await;
    for _ in 0..2 {
        let (from, to) = (&a, &mut b);
        from.direct(GAME, to.peer).await;
        realtime_until_heard(from, to).await;
        std::mem::swap(&mut a, &mut b);
    }
}

#[tokio::test]
async fn a_member_that_does_not_read_delays_no_other() {
    let mut swarms: [Swarm<Gate>; 2] = gates();
    let mut mute = leading(swarms[0].local_peer_id(), |_| libp2p_stream::Behaviour::new());
    let mut control = mute.behaviour().new_control();
    let mut lanes = control.accept(name("1")).unwrap();
    let mut realtime = control.accept(name("realtime/1")).unwrap();
    let [a, b] = &mut swarms;
    link(a, b).await;
    link(a, &mut mute).await;
    let [a, mut b] = swarms.map(Node::run);
    let mute = Node::run(mute);
    a.open(GAME, &[b.peer, mute.peer]).await;
    b.open(GAME, &[a.peer, mute.peer]).await;
    // It leads, so it begins.
    let _lane = control.open_stream(a.peer, name("1")).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, lanes.next()).await.unwrap().unwrap();
    let unread = tokio::time::timeout(PATIENCE, realtime.next()).await.unwrap().unwrap();
    assert_eq!((answer.0, unread.0), (a.peer, a.peer));
    for peer in [b.peer, mute.peer] {
        a.direct(GAME, peer).await;
    }
    // Far more than the connection to the mute one, and the queue, hold.
    for _ in 0..300 {
        a.act(|swarm| swarm.behaviour_mut().realtime(GAME, &vec![7; MAX_PAYLOAD].into())).await.unwrap();
        assert_eq!(b.message().await.2.len(), MAX_PAYLOAD);
    }
}
