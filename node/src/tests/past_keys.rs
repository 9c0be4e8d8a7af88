//! The keys of a group's past are not left on the disk of those who are still in it.

use std::{collections::HashSet, fs};

use parlor_proto::session::Role;

use super::*;
use crate::{console::Remove, store::to_blob};

/// Long enough to be found by nothing but itself.
const PIECE: usize = 24;

async fn role(site: &Site, session: SessionId) -> Role {
    let sessions = site.node.context().store.sessions().await.unwrap();
    sessions.into_iter().find(|record| record.session == session).unwrap().role
}

fn pieces(bytes: &[u8]) -> HashSet<&[u8]> {
    bytes.windows(PIECE).collect()
}

/// What is in the database's files, whatever its place.
fn on_disk(site: &Site) -> Vec<u8> {
    let home = site.home.path().join("home");
    let files = ["parlor.db", "parlor.db-wal"].map(|name| fs::read(home.join(name)).unwrap_or_default());
    files.concat()
}

/// How much of `past` is still in the database's files, of what is not in `present`.
fn left(site: &Site, past: &[u8], present: &[u8]) -> (usize, usize) {
    let gone = &pieces(past) - &pieces(present);
    let disk = on_disk(site);
    let found: HashSet<_> = disk.windows(PIECE).filter(|piece| gone.contains(piece)).collect();
    (found.len(), gone.len())
}

#[tokio::test]
async fn after_a_removal_and_a_stop_the_epoch_before_is_found_nowhere() {
    let (host, [stays, goes]) = party::<2>(2).await;
    let session = host.host(&["member0", "member1"]).await;
    for site in [&host, &stays, &goes] {
        site.reaches(session, "running").await;
    }
    let mut past = Vec::new();
    for site in [&host, &stays] {
        let keys = to_blob(&**role(site, session).await.keys().unwrap());
        let (found, all) = left(site, &keys, b"");
        assert!(found > all / 2, "all but what is cut by pages: {found} of {all}");
        past.push(keys);
    }

    let who = goes.peer().to_string();
    host.run(Command::Remove(Remove { session: session.to_string(), who })).await;
    for (site, past) in [&host, &stays].into_iter().zip(past) {
        let is_out = async || {
            role(site, session).await.keys().is_some_and(|keys| !keys.members().contains_key(&goes.peer()))
        };
        until(is_out).await;
        // While it runs: soon.
        until(async || {
            let present = to_blob(&role(site, session).await);
            left(site, &past, &present).0 == 0
        })
        .await;
        let present = to_blob(&role(site, session).await);
        site.node.stop().await;
        let (found, all) = left(site, &past, &present);
        assert_eq!(found, 0, "of {all} pieces");
        assert!(all > 1_000, "most of it is of the past: {all}");
    }
}
