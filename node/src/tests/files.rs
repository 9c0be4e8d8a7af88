//! Programs' files on the disk: what is needed is there, and nothing else.

use parlor_proto::program::Role;

use super::*;
use crate::{
    program,
    store::bundle::write_card,
    supply::{card, library},
};

/// Looks until the shelf has just these programs: as many as the library.
async fn holds_its_library_and_nothing_else(site: &Site, programs: usize) {
    until(async || {
        let on_disk = std::fs::read_dir(site.home.path().join("home/programs")).unwrap().count();
        (on_disk, site.programs().await) == (programs, programs)
    })
    .await;
}

#[tokio::test]
async fn files_that_a_crash_left_go_at_the_next_start() {
    let mut site = Site::start().await;
    site.publish("kept", 2).await;
    let (folder, bundles) = (site.program("left"), Arc::clone(&site.node.context().bundles));
    let left = program::import(&folder, &bundles).unwrap().install(&bundles).unwrap();
    site.node.stop().await;
    assert_eq!(bundles.list().unwrap().len(), 2);
    drop((left, bundles));
    site.restart().await;
    holds_its_library_and_nothing_else(&site, 1).await;
}

#[tokio::test]
async fn a_card_that_is_of_no_use_leaves_no_files() {
    let (site, other) = (Site::start().await, Site::start().await);
    let published = other.publish("hello", 2).await;
    let program = published["program"].as_str().unwrap().parse().unwrap();
    let bundle = other.node.context().bundle(program).await.unwrap().unwrap();
    let file = site.home.path().join("bad.card");
    write_card(&bundle, Role::Host, b"no note", &file).unwrap();
    let error = card::read(site.node.context(), &file).await.unwrap_err();
    assert!(matches!(error, card::CardError::Note), "{error}");
    holds_its_library_and_nothing_else(&site, 0).await;
}

#[tokio::test]
async fn what_cannot_be_offered_is_not_taken_in() {
    let site = Site::start().await;
    let path = site.program("duel");
    std::fs::write(path.join("manifest.toml"), "name = \"chat\"\n[parlor]\ncopies = 1\n").unwrap();
    let (copies, billing) = (Some(5), Vec::new());
    let publish = Publish { path, copies, copies_max: None, price: None, billing, lease: None };
    let why = site.refused(Command::Publish(publish)).await;
    assert!(why.starts_with("--copies"), "{why}");
    holds_its_library_and_nothing_else(&site, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_nobody_waits_for_leaves_all_or_nothing() {
    let site = Site::start().await;
    for polls in 0..12 {
        let (context, folder) = (Arc::clone(site.node.context()), site.program(&format!("number {polls}")));
        let task = tokio::spawn(async move { library::import_into_library(&context, &folder, None).await });
        for _ in 0..1 << polls {
            tokio::task::yield_now().await;
        }
        task.abort();
        let _ = task.await;
        until(async || {
            let on_disk = std::fs::read_dir(site.home.path().join("home/programs")).unwrap().count();
            on_disk == site.programs().await
        })
        .await;
    }
}

#[tokio::test]
async fn who_looks_at_sessions_loads_no_program() {
    let (host, [member]) = party::<1>(2).await;
    let first = host.host(&["member0"]).await;
    member.reaches(first, "running").await;
    host.end(first, false).await;
    member.reaches(first, "ended").await;
    member.knows("host", &host, false).await;
    let second = host.host(&["member0"]).await;
    member.reaches(second, "invited").await;

    let bundles = &member.node.context().bundles;
    let (loaded, rehashed) = (bundles.loaded(), bundles.rehashed());
    for _ in 0..5 {
        member.run(Command::Sessions).await;
        member.run(Command::Session(of(second))).await;
        let inbox = member.run(Command::Inbox).await;
        assert_eq!(inbox["invitations"][0]["size"], 0, "the program is known to be here: {inbox}");
    }
    assert_eq!((bundles.loaded(), bundles.rehashed()), (loaded, rehashed));
    assert_eq!(rehashed, 0, "nothing was left by a killed node");
}

#[tokio::test]
async fn a_program_that_was_never_settled_is_hashed_once_for_all_who_look() {
    let mut site = Site::start().await;
    let published = site.publish("hello", 2).await;
    let session = site.host(&[]).await;
    let state = site.state(session).await;
    let dir = site.home.path().join("home/programs").join(published["program"].as_str().unwrap());
    let id = published["program"].as_str().unwrap().parse().unwrap();
    let chunks = site.node.context().bundle(id).await.unwrap().unwrap().program().chunk_count();
    site.node.stop().await;
    // What a kill between the last chunk and the marker leaves.
    std::fs::remove_file(dir.join("complete")).unwrap();
    let noted: Vec<u8> = (0..chunks).flat_map(u32::to_be_bytes).collect();
    std::fs::write(dir.join("have"), [b"parlor\0\x01".as_slice(), &noted].concat()).unwrap();
    site.restart().await;

    for _ in 0..5 {
        site.run(Command::Programs).await;
        site.run(Command::Sessions).await;
        site.run(Command::Catalog(crate::console::Catalog { who: None })).await;
        assert_eq!(site.state(session).await, state);
    }
    assert_eq!(site.node.context().bundles.rehashed(), u64::from(chunks));
    assert!(dir.join("complete").exists(), "it is settled");
}
