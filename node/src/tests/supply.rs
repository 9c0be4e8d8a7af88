//! `get` and what can happen to it.

use parlor_proto::session::SupplyInput;
use tokio::sync::watch;

use super::*;
use crate::{clock, console::ProgramCommand, supply::origin};

#[tokio::test(flavor = "multi_thread")]
async fn gets_of_the_same_at_the_same_time_are_one_ticket() {
    let (origin, host) = (Site::start().await, Site::start().await);
    origin.publish("hello", 2).await;
    host.knows("origin", &origin, false).await;
    let gets = (0..8).map(|_| {
        let (supplies, origin) = (Arc::clone(host.node.supplies()), origin.peer());
        tokio::spawn(async move { supplies.get(origin, "chat", None, watch::Sender::default()).await })
    });
    for get in gets.collect::<Vec<_>>() {
        get.await.unwrap().unwrap();
    }
    assert_eq!((host.tickets().await, host.programs().await), (1, 1));
}

#[tokio::test]
async fn a_program_that_its_origin_has_no_more_does_not_stand_in_the_way_of_the_next() {
    let (origin, host) = (Site::start().await, Site::start().await);
    let old = origin.publish("old", 2).await;
    host.knows("origin", &origin, false).await;
    // The ticket came, and the files did not: what a kill in between leaves.
    let name = "chat".to_owned();
    let mut supply =
        parlor_proto::session::Supply::new(parlor_proto::wire::RequestId([1; 16]), origin.peer(), name, None);
    let answer = origin::answer(origin.node.context(), host.peer(), supply.ask().unwrap()).await;
    let context = host.node.context();
    supply.handle(SupplyInput::Answer(answer), &context.identity, clock::now()).unwrap();
    assert!(supply.right().is_some());
    let mut write = context.store.write().await.unwrap();
    context.store.put_supply(&mut write, &supply).await.unwrap();
    write.commit().await.unwrap();

    let remove = ProgramCommand::Remove { name: old["program"].as_str().unwrap().to_owned() };
    origin.run(Command::Program(remove)).await;
    let new = origin.publish("new", 2).await;
    host.refused(Command::Get(get("origin"))).await;
    let got = host.run(Command::Get(get("origin"))).await;
    assert_eq!(got["program"], new["program"]);
}

#[tokio::test]
async fn a_program_of_ones_own_can_be_played_with_ever_new_people() {
    let host = Site::start().await;
    let (first, second) = (Site::start().await, Site::start().await);
    crate::supply::library::import_into_library(host.node.context(), &duel(&host), None).await.unwrap();
    for (name, member) in [("first", &first), ("second", &second)] {
        member.knows("host", &host, true).await;
        host.knows(name, member, false).await;
    }
    for (name, member) in [("first", &first), ("second", &second), ("first", &first)] {
        let session = host.host(&[name]).await;
        member.reaches(session, "running").await;
        host.end(session, false).await;
        member.reaches(session, "ended").await;
    }
    assert_eq!(host.tickets().await, 2, "one for each, and none anew for who has a copy");
}

/// A program whose own rule is one copy.
fn duel(site: &Site) -> PathBuf {
    let dir = site.program("duel");
    std::fs::write(dir.join("manifest.toml"), "name = \"chat\"\n[parlor]\ncopies = 1\n").unwrap();
    dir
}
