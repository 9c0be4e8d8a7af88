//! Who holds a copy of the same ticket, by way of another session of its host, and knows a session's id.

use std::time::Duration;

use parlor_proto::session::{
    Claim, HostState, Roster,
    election::{Mandate, Vote},
};

use super::*;
use crate::{clock, console::HostCommand};

/// The shortest that a session can be without its host.
const TAKEOVER: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_slot_of_another_session_makes_nobody_host_of_this_one() {
    let (host, [one, other, turned]) = party::<3>(3).await;
    let invite = vec!["member0".to_owned(), "member1".to_owned()];
    let command = HostCommand { name: "chat".into(), invite, takeover: Some("2s".into()), pack: None };
    let session: SessionId =
        host.run(Command::Host(command)).await["session"].as_str().unwrap().parse().unwrap();
    for member in [&one, &other] {
        member.reaches(session, "running").await;
    }
    settles(&host, &[&one, &other], session).await;
    let elsewhere = running(&host, &[&turned], &["member2"]).await;
    posts(&one, session, "secret").await;

    let (rogue, loot) = Rogue::in_place_of(turned, elsewhere).await;
    rogue.opens(session, &[&one, &other]).await;
    let old_host = host.peer();
    host.node.stop().await;

    // It asks again and again, and claims to have won, until the members have a host of their own.
    let term = 9;
    let request = VoteRequest {
        session,
        term,
        epoch: u64::MAX,
        candidate: contact(rogue.peer()),
        slot: Some(slot_of(&loot).to_signed()),
        membership: loot.membership().cloned(),
        follows: Standing { term: 0, host: old_host },
    };
    let vote = Vote { session, term, candidate: rogue.peer(), voter: rogue.peer(), at: clock::now() };
    let votes = vec![sign(&vote, &rogue.identity).unwrap().to_signed()];
    let roster = Roster {
        term,
        host: contact(rogue.peer()),
        host_slot: Some(slot_of(&loot).to_signed()),
        host_membership: loot.membership().cloned(),
        former_hosts: vec![old_host],
        takeover: TAKEOVER,
        members: Vec::new(),
    };
    let claim = Claim {
        mandates: vec![Mandate { term, host: rogue.peer(), votes }],
        roster,
        welcome: None,
        state: HostState::Running,
        suspended: false,
    };
    until(async || {
        for site in [&one, &other] {
            match rogue.asks(site.peer(), Request::Vote(Box::new(request.clone()))).await {
                Response::Vote(answer) => assert!(
                    matches!(*answer, VoteResponse::Refused { term: 0, epoch: 0, hears: None }),
                    "{answer:?}"
                ),
                other => panic!("another protocol's answer: {other:?}"),
            }
            let messages = vec![Message::Claim(Box::new(claim.clone()))];
            let said = SessionRequest { session, term, first: 0, messages };
            let answer = rogue.asks(site.peer(), Request::Session(said)).await;
            assert!(!matches!(answer, Response::Session(SessionResponse::Taken { .. })), "{answer:?}");
            assert!(rogue.pulls_updates(site.peer(), session).await.updates.is_empty());
        }
        role(&one, session).await.as_host().is_some() || role(&other, session).await.as_host().is_some()
    })
    .await;

    for site in [&one, &other] {
        assert!(!group_of(site, session).await.contains(&rogue.peer()));
        assert_eq!(site.state(session).await, "running");
    }
    assert_eq!(rogue.packets().0, 0);
}
