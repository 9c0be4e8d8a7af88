//! Nobody invited it: a node that is connected, and knows session, topic and every protocol.

use parlor_proto::rights::Right;
use tokio::sync::watch;

use super::*;
use crate::supply::transfer::{self, Progress};

#[tokio::test]
async fn a_stranger_hears_nothing_and_is_not_heard() {
    let log = Log::start();
    let (host, [member]) = party::<1>(1).await;
    let session = running(&host, &[&member], &["member0"]).await;
    let rogue = Rogue::stranger().await;
    rogue.opens(session, &[&host, &member]).await;
    let mut hearing = [&host, &member].map(|site| group(site, session).realtime());
    // Keys of a group of that name, in which it is alone.
    let keys = GroupKeys::create(session, &rogue.identity, &[7; 32]).unwrap();
    let mut lanes = Lanes::new(&keys, BOOT).unwrap();
    for number in 1..=5 {
        let update = rogue.update(session, number, "let me in");
        rogue.says(session, packet(&mut lanes, Lane::Updates, update.bytes())).await;
        let spoken = packet(&mut lanes, Lane::Realtime, b"let me in");
        drop(rogue.overlay.group_realtime(session, spoken.into()).await);
        posts(&host, session, &format!("update {number}")).await;
        group(&host, session).send_realtime(Bytes::from("now")).await;
        assert_eq!(hears(&mut hearing[1]).await, (host.peer(), "now".into()));
    }
    group(&member, session).send_realtime(Bytes::from("here")).await;
    assert_eq!(hears(&mut hearing[0]).await, (member.peer(), "here".into()));
    let said = (1..=5).map(|number| (host.peer(), format!("update {number}"))).collect();
    until(async || kept(&member, session).await == said).await;
    assert_eq!(kept(&host, session).await, said);
    assert_eq!(rogue.packets(), (0, 0));
    assert!(!rogue.sees(host.peer()) && !rogue.sees(member.peer()));
    let (session, peer) = (session.to_string(), rogue.peer().to_string());
    log.tells(&[&session, &peer, "refused: it is no member of the group"]).await;
}

#[tokio::test]
async fn a_strangers_questions_get_no_answers() {
    let log = Log::start();
    let (host, [member]) = party::<1>(1).await;
    let session = running(&host, &[&member], &["member0"]).await;
    posts(&host, session, "secret").await;
    until(async || !kept(&member, session).await.is_empty()).await;
    let rogue = Rogue::stranger().await;
    rogue.opens(session, &[&host, &member]).await;
    for site in [&host, &member] {
        let updates = rogue.pulls_updates(site.peer(), session).await;
        assert!(updates.updates.is_empty() && !updates.more && updates.have == Heads::default());
        let commits = rogue.pulls_commits(site.peer(), session).await;
        assert_eq!((commits.newest, commits.changes.len()), (0, 0));
        let vote = rogue.asks_for_vote(site.peer(), session).await;
        assert!(matches!(vote, VoteResponse::Refused { term: 0, epoch: 0, hears: None }), "{vote:?}");
        for message in [Message::Leave, Message::Ready, Message::End, Message::Remove] {
            let answer = rogue.tells(site.peer(), session, 0, vec![message]).await;
            assert!(matches!(answer, SessionResponse::Rejected(_)), "{answer:?}");
        }
        assert_eq!(site.state(session).await, "running");
    }
    let (session, peer) = (session.to_string(), rogue.peer().to_string());
    for trace in [
        "who asks for updates is not a member",
        "who asks for commits is not in the group",
        "who asks for a vote is not in the group",
        "who speaks is no partner in the session",
    ] {
        log.tells(&[&session, &peer, trace]).await;
    }
}

#[tokio::test]
async fn a_members_slot_serves_nobody_else() {
    let log = Log::start();
    let (host, [holder]) = party::<1>(1).await;
    let session = running(&host, &[&holder], &["member0"]).await;
    let slot = slot_of(&member(&holder, session).await);
    let stranger = Site::start().await;
    for (name, site) in [("host", &host), ("member", &holder)] {
        stranger.knows(name, site, false).await;
    }
    let ticket = role(&host, session).await.ticket().clone();
    let context = stranger.node.context();
    let program = ticket.program;
    let right = Right::of_member(ticket, slot).unwrap();
    for from in [&host, &holder] {
        let (progress, _) = watch::channel(Progress::default());
        let fetched = transfer::fetch(context, &right, vec![from.peer()], &progress).await;
        assert!(fetched.is_err_and(|error| error.is_final()));
        assert_eq!(context.bundle(program).await.unwrap().map(|_| ()), None);
    }
    log.tells(&["a program was not served", &format!("{:?}", stranger.peer()), "somebody else's"]).await;
}
