//! Who was sent away and does not go: it keeps its connections, its slot and its keys.

use parlor_proto::group::{keys::KeyOffer, lanes::OpenError};

use super::*;
use crate::{clock, console::Remove};

async fn sent_away(log: &Log) -> Inside {
    let inside = inside().await;
    let (session, rogue) = (inside.session, inside.rogue.peer());
    let who = rogue.to_string();
    inside.host.run(Command::Remove(Remove { session: session.to_string(), who })).await;
    for site in [&inside.host, &inside.honest] {
        until(async || {
            !group_of(site, session).await.contains(&rogue)
                && role(site, session).await.keys().is_some_and(|keys| !keys.members().contains_key(&rogue))
        })
        .await;
    }
    let (session, rogue) = (session.to_string(), rogue.to_string());
    let put_out = [&session, &rogue, "put out of the group: its streams are cut off"];
    until(async || log.count(&put_out) == 2).await;
    inside
}

#[tokio::test]
async fn who_was_removed_hears_nothing_more_and_is_not_heard() {
    let log = Log::start();
    let mut inside = Box::pin(sent_away(&log)).await;
    let session = inside.session;
    let mut hearing = [&inside.host, &inside.honest].map(|site| group(site, session).realtime());
    // It opens the topic again, and calls once more.
    inside.rogue.opens(session, &[&inside.host, &inside.honest]).await;
    for number in 1..=5 {
        let update = inside.rogue.update(session, number, "still here");
        inside.rogue.says(session, packet(&mut inside.lanes, Lane::Updates, update.bytes())).await;
        let spoken = packet(&mut inside.lanes, Lane::Realtime, b"still here");
        drop(inside.rogue.overlay.group_realtime(session, spoken.into()).await);
        posts(&inside.host, session, &format!("without it {number}")).await;
        group(&inside.host, session).send_realtime(Bytes::from("now")).await;
        assert_eq!(hears(&mut hearing[1]).await, (inside.host.peer(), "now".into()));
    }
    group(&inside.honest, session).send_realtime(Bytes::from("here")).await;
    assert_eq!(hears(&mut hearing[0]).await, (inside.honest.peer(), "here".into()));
    let said: BTreeSet<_> = (1..=5).map(|n| (inside.host.peer(), format!("without it {n}"))).collect();
    for site in [&inside.host, &inside.honest] {
        until(async || kept(site, session).await == said).await;
    }
    assert_eq!(inside.rogue.packets().0, 0, "nothing but beacons, from before");
    // Had a member passed something on to it, it could not open it.
    let keys = Arc::clone(role(&inside.host, session).await.keys().unwrap());
    let sealed =
        Lanes::new(&keys, BOOT).unwrap().seal(Lane::Realtime, b"without it", rand::random()).unwrap();
    let opened = inside.lanes.open(Lane::Realtime, inside.host.peer(), &sealed, clock::now());
    assert!(matches!(opened, Err(OpenError::Ahead { .. })), "{opened:?}");
}

#[tokio::test]
async fn who_was_removed_gets_no_answers_and_does_not_get_back_in() {
    let log = Log::start();
    let inside = Box::pin(sent_away(&log)).await;
    let (session, rogue) = (inside.session, &inside.rogue);
    posts(&inside.host, session, "without it").await;
    until(async || !kept(&inside.honest, session).await.is_empty()).await;
    for site in [&inside.host, &inside.honest] {
        assert!(rogue.pulls_updates(site.peer(), session).await.updates.is_empty());
        let commits = rogue.pulls_commits(site.peer(), session).await;
        assert_eq!((commits.newest, commits.changes.len()), (0, 0));
        let vote = rogue.asks_for_vote(site.peer(), session).await;
        assert!(matches!(vote, VoteResponse::Refused { .. } | VoteResponse::Out), "{vote:?}");
    }
    for trace in [
        "who asks for updates is not a member",
        "who asks for commits is not in the group",
        "who asks for a vote is not in the group",
    ] {
        inside.traced(&log, &[trace]).await;
    }
    // By the host, which still takes what it says.
    let offer = KeyOffer::new(&rogue.identity, &[8; 32]).unwrap();
    let package = offer.package().to_vec();
    let acceptance = parlor_proto::session::Acceptance { contact: contact(rogue.peer()), package };
    let messages = vec![
        Message::Offer(offer.package().to_vec()),
        Message::Accept(Box::new(acceptance)),
        Message::Ready,
        Message::Started,
        Message::Resume,
    ];
    let answer = rogue.tells(inside.host.peer(), session, 0, messages).await;
    assert!(matches!(answer, SessionResponse::Taken { .. }), "{answer:?}");
    let host = role(&inside.host, session).await;
    let seat = &host.as_host().unwrap().seats()[&rogue.peer()];
    assert_eq!(seat.state.as_str(), "removed");
    assert!(!host.keys().unwrap().members().contains_key(&rogue.peer()));
    assert!(!group_of(&inside.host, session).await.contains(&rogue.peer()));
    // By another member, to which it was never anything but one like itself.
    for message in [Message::End, Message::Remove, Message::Leave] {
        let answer = rogue.tells(inside.honest.peer(), session, 0, vec![message]).await;
        assert!(!matches!(answer, SessionResponse::Taken { .. }), "{answer:?}");
    }
    inside.traced(&log, &["who speaks is no partner in the session"]).await;
    assert_eq!(inside.honest.state(session).await, "running");
}
