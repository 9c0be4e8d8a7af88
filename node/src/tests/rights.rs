//! Who gets what of a node: bytes and updates.

use std::time::Duration;

use parlor_proto::{
    billing::Tariff,
    group::{Heads, UpdatesRequest},
    ids::ProgramId,
    rights::{Release, Right, Terms, Ticket, sign},
    wire::{Request, Response},
};
use tokio::sync::watch;

use super::*;
use crate::{
    clock,
    supply::{
        origin::{self, SupplyError},
        transfer::{self, Progress},
    },
};

#[tokio::test]
async fn a_ticket_that_a_stranger_made_out_to_itself_gets_no_byte() {
    let (origin, stranger) = (Site::start().await, Site::start().await);
    let program: ProgramId = origin.publish("secret", 2).await["program"].as_str().unwrap().parse().unwrap();
    stranger.knows("origin", &origin, false).await;
    let (me, now) = (stranger.peer(), clock::now());
    let ticket = Ticket {
        id: [7; 16],
        origin: me,
        host: me,
        name: "chat".into(),
        program,
        copies: 1,
        issued_at: now,
        not_before: now,
        expires: now + Duration::from_secs(3600),
        terms: Terms { tariff: Tariff::FREE, lease: None },
        billing: vec![me],
        offline_issue: true,
    };
    let context = stranger.node.context();
    let right = Right::of_host(sign(&ticket, &context.identity).unwrap());
    let (progress, _) = watch::channel(Progress::default());
    let fetched = transfer::fetch(context, &right, vec![origin.peer()], &progress).await;
    assert!(fetched.is_err_and(|error| error.is_final()));
    assert_eq!(context.bundle(program).await.unwrap().map(|_| ()), None);
}

#[tokio::test]
async fn a_slot_that_was_given_back_gets_no_byte() {
    let (host, [member]) = party::<1>(1).await;
    let session = host.host(&["member0"]).await;
    member.reaches(session, "running").await;
    let store = &host.node.context().store;
    let mut ledger = store.tickets().await.unwrap().remove(0).ledger;
    let slot = ledger.slot_of(member.peer()).unwrap().clone();
    let right = Right::of_member(ledger.ticket().clone(), slot.clone()).unwrap().to_signed();
    let asked = origin::authorise(host.node.context(), member.peer(), right.clone()).await;
    assert!(asked.is_ok(), "as long as it is its own");
    let release = Release {
        ticket: slot.ticket,
        slot: slot.hash(),
        k: slot.k,
        generation: slot.generation,
        member: slot.member,
        released_at: clock::now(),
    };
    let release = sign(&release, &member.node.context().identity).unwrap();
    ledger.release(release.to_signed()).unwrap();
    let mut write = store.write().await.unwrap();
    store.put_ledger(&mut write, &ledger).await.unwrap();
    write.commit().await.unwrap();
    let asked = origin::authorise(host.node.context(), member.peer(), right).await;
    assert!(matches!(asked, Err(SupplyError::NotServed)), "one copy more than there are");
}

#[tokio::test]
async fn who_is_invited_and_has_no_slot_hears_no_word() {
    let (host, [member, invited]) = party::<2>(2).await;
    invited.knows("host", &host, false).await;
    let session = host.host(&["member0", "member1"]).await;
    member.reaches(session, "ready").await;
    invited.reaches(session, "invited").await;
    host.run(Command::Start(of(session))).await;
    member.reaches(session, "running").await;
    host.node.sessions().group(session).unwrap().post(b"\"hush\"".to_vec()).await.unwrap();
    let ask = async |site: &Site| {
        let request = Request::Updates(UpdatesRequest { session, have: Heads::default() });
        match site.node.context().overlay.request(host.peer(), request).await.unwrap() {
            Response::Updates(response) => response.updates.len(),
            _ => panic!("another protocol's answer"),
        }
    };
    assert_eq!(ask(&member).await, 1);
    assert_eq!(ask(&invited).await, 0);
    host.run(Command::Remove(crate::console::Remove { session: session.to_string(), who: "member0".into() }))
        .await;
    assert_eq!(ask(&member).await, 0, "nor who was sent away");
}
