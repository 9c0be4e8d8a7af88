//! ST20: what becomes of invitations, honest ones and others.

use super::*;
use crate::console::{Availability, AvailabilityCommand, Invite};

/// As the inbox has it.
async fn inbox(site: &Site) -> usize {
    site.run(Command::Inbox).await["invitations"].as_array().unwrap().len()
}

async fn seat(host: &Site, session: SessionId) -> Value {
    host.run(Command::Session(of(session))).await["members"][0].clone()
}

#[tokio::test]
async fn an_invitation_that_was_withdrawn_before_it_arrived_is_nothing_to_answer() {
    let (host, [mut member]) = party::<1>(1).await;
    member.node.stop().await;
    let session = host.host(&["member0"]).await;
    host.end(session, false).await;
    member.restart().await;
    // The member's port is another one now: it calls.
    member.node.context().overlay.connect(host.peer()).await.unwrap();
    member.reaches(session, "ended").await;
    until(async || {
        let sessions = host.node.context().store.sessions().await.unwrap();
        sessions.iter().all(|record| record.ended)
    })
    .await;
    assert_eq!(inbox(&member).await, 0);
}

#[tokio::test]
async fn busy_is_busy_however_often_one_asks() {
    let (host, [member]) = party::<1>(1).await;
    let busy = AvailabilityCommand { setting: Some(Availability::Busy) };
    member.run(Command::Availability(busy)).await;
    let session = host.host(&["member0"]).await;
    for _ in 0..3 {
        until(async || seat(&host, session).await["why"] == "busy").await;
        let again = Invite { session: session.to_string(), who: vec!["member0".into()], ..Invite::default() };
        host.run(Command::Invite(again)).await;
    }
    until(async || seat(&host, session).await["state"] == "declined").await;
    assert_eq!((member.state(session).await.as_str(), inbox(&member).await), ("declined", 0));
}

#[tokio::test]
async fn one_host_does_not_fill_the_inbox() {
    let (host, [member]) = party::<1>(1).await;
    member.knows("host", &host, false).await;
    let mut sessions = Vec::new();
    for _ in 0..9 {
        let session = host.host(&["member0"]).await;
        until(async || {
            seat(&host, session).await["state"] == "failed" || inbox(&member).await > sessions.len()
        })
        .await;
        sessions.push(session);
    }
    assert_eq!(inbox(&member).await, 8);
    let ninth = seat(&host, sessions[8]).await;
    assert!(ninth["why"].as_str().unwrap().contains("full"), "{ninth}");
    assert_eq!(member.state(sessions[8]).await, "unknown", "nothing is kept of it");

    // Whom the user trusts comes in all the same.
    member.knows("host", &host, true).await;
    member.reaches(host.host(&["member0"]).await, "running").await;
}
