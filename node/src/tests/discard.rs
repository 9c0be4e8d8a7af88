//! ST29: discarded programs and the slots that go back, whatever else goes on.

use super::*;
use crate::console::{Availability, AvailabilityCommand, ProgramCommand};

/// Of the host's only ticket.
async fn used(host: &Site) -> u32 {
    host.node.context().store.tickets().await.unwrap()[0].ledger.used()
}

#[tokio::test]
async fn a_slot_goes_back_when_the_last_session_that_uses_it_is_over() {
    let (host, [member]) = party::<1>(1).await;
    let free = AvailabilityCommand { setting: Some(Availability::Free) };
    member.run(Command::Availability(free)).await;
    let one = host.host(&["member0"]).await;
    member.reaches(one, "running").await;
    let other = host.host(&["member0"]).await;
    member.reaches(other, "running").await;

    member.end(one, true).await;
    until(async || host.run(Command::Session(of(one))).await["members"][0]["state"] == "left").await;
    assert_eq!((used(&host).await, member.programs().await), (1, 1), "the other session needs both");
    assert_eq!(member.state(other).await, "running");

    host.end(other, false).await;
    member.reaches(other, "ended").await;
    until(async || used(&host).await == 0).await;
    until(async || member.programs().await == 0).await;
}

/// The host is its own billing peer, and its books are in its database.
#[tokio::test]
async fn billing_is_shown_what_was_given_back_before_anybody_has_it_next() {
    let (host, [member]) = party::<1>(1).await;
    let session = host.host(&["member0"]).await;
    member.reaches(session, "running").await;
    member.end(session, true).await;
    let given_back = async || {
        let query = "SELECT COUNT(*) FROM billing_slots WHERE reported = 1 AND released = 1";
        sqlx::query_scalar::<_, i64>(query).fetch_one(host.node.context().store.pool()).await.unwrap()
    };
    until(async || given_back().await == 1).await;
    for site in [&host, &member] {
        until(async || site.node.context().outbox.links().await.unwrap() == 0).await;
    }
    until(async || used(&host).await == 0).await;
}

#[tokio::test]
async fn what_a_crash_left_to_be_discarded_goes_at_the_next_start() {
    let (host, [mut member]) = party::<1>(1).await;
    let session = host.host(&["member0"]).await;
    member.reaches(session, "running").await;
    host.end(session, false).await;
    member.reaches(session, "ended").await;
    let context = member.node.context();
    let program = context.store.programs().await.unwrap()[0].program;
    // `end --discard` notes this first.
    context.store.keep_program(program, false).await.unwrap();
    member.restart().await;
    until(async || member.programs().await == 0).await;
    assert!(member.node.context().bundle(program).await.unwrap().is_none());
}

#[tokio::test]
async fn a_program_in_use_is_not_removed() {
    let (host, [member]) = party::<1>(1).await;
    let session = host.host(&["member0"]).await;
    member.reaches(session, "running").await;
    let remove = || Command::Program(ProgramCommand::Remove { name: "chat".into() });
    for site in [&host, &member] {
        let why = site.refused(remove()).await;
        assert!(why.contains("in use"), "{why}");
    }
    host.end(session, false).await;
    member.reaches(session, "ended").await;
    member.run(remove()).await;
    assert_eq!(member.programs().await, 0);
}
