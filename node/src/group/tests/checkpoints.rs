//! A checkpoint lets old updates go, everywhere, and nothing else.

use super::*;

fn history() -> Vec<Verified<Update>> {
    let one = |n: u64| [update(0, n, "old"), update(1, n, "old"), update(2, n, "old")];
    (1..=1_000).flat_map(one).collect()
}

#[tokio::test]
async fn who_joins_after_a_checkpoint_gets_it_and_what_came_after_it() {
    let keys = keys(2, 1);
    let host = Site::with(0, Some(Arc::clone(&keys[0])), &history()).await;
    assert_eq!(host.heads().0.values().sum::<u64>(), 3_000);
    let serial = host.group.post_checkpoint(b"sum of it".to_vec()).await.unwrap();
    assert_eq!(serial, 3_001, "the order goes on");
    for n in 0..20 {
        host.group.post(format!("after {n}").into()).await.unwrap();
    }
    assert_eq!(host.all().await.len(), 21, "the rest is let go of");
    let newcomer = Site::start(1, Some(Arc::clone(&keys[1]))).await;
    together(&[&host, &newcomer]).await;
    until(async || newcomer.heads() == host.heads()).await;
    assert_eq!(newcomer.all().await, host.all().await);
    assert_eq!(newcomer.all().await[0], (0, 1_001, "sum of it".to_owned()));
    assert_eq!(host.seen.served.load(Ordering::Relaxed), 21, "and that is all that went over");
    // Its own go on where they were, though it has none of them.
    newcomer.group.post(b"back".to_vec()).await.unwrap();
    until(async || host.heads().of(&peer(1)) == 1_001).await;
}

#[tokio::test]
async fn what_a_checkpoint_does_not_cover_is_kept_and_a_member_behind_jumps() {
    let keys = keys(3, 1);
    let common: Vec<_> = (1..=5).map(|n| update(2, n, "common")).collect();
    let host = Site::with(0, Some(Arc::clone(&keys[0])), &common).await;
    let behind = Site::with(1, Some(Arc::clone(&keys[1])), &common[..2]).await;
    let ahead = Site::with(2, Some(Arc::clone(&keys[2])), &common).await;
    // Apart from one another:
    host.group.post_checkpoint(b"five".to_vec()).await.unwrap();
    behind.group.post(b"concurrent".to_vec()).await.unwrap();
    ahead.group.post(b"concurrent".to_vec()).await.unwrap();
    together(&[&host, &behind, &ahead]).await;
    let expected: BTreeSet<_> = [(0, 1, "five"), (1, 1, "concurrent"), (2, 6, "concurrent")]
        .map(|(sender, number, text)| (sender, number, text.to_owned()))
        .into();
    for site in [&host, &behind, &ahead] {
        let heads = Heads([(peer(0), 1), (peer(1), 1), (peer(2), 6)].into());
        until(async || site.heads() == heads).await;
        assert_eq!(site.set().await, expected);
    }
    // What they know of it is on disk.
    for site in [&host, &behind, &ahead] {
        let (log, serial) = site.store.log(SESSION).await.unwrap();
        assert_eq!((log.heads(), serial), (&site.heads(), *site.group.newest().borrow()));
        assert_eq!(log.bases().of(&peer(2)), 5);
    }
}

#[tokio::test]
async fn only_the_hosts_checkpoint_counts_and_it_does_once_it_is_known_to_be_the_host() {
    let keys = keys(3, 1);
    let site = Site::with(2, Some(Arc::clone(&keys[2])), &[update(0, 1, "old"), update(2, 1, "old")]).await;
    let covers = Heads([(peer(0), 1), (peer(2), 1)].into());
    let checkpoint = Update { covers: Some(covers), ..(*update(1, 1, "a coup")).clone() };
    let checkpoint = sign(&checkpoint, &identity(1)).unwrap();
    let mut member = Lanes::new(&keys[1], 1).unwrap();
    site.group.heard(peer(1), &packet(&mut member, Lane::Updates, checkpoint.bytes()));
    site.group.heard(peer(1), &packet(&mut member, Lane::Updates, update(1, 2, "later").bytes()));
    until(async || site.heads().of(&peer(1)) == 2).await;
    assert_eq!(site.all().await.len(), 4, "an update like any other");
    let serial = *site.group.newest().borrow();
    site.group.set_hosts(peers([0, 1]));
    until(async || site.all().await.len() == 2).await;
    let expected = [(1, 1, "a coup"), (1, 2, "later")];
    assert_eq!(site.all().await, expected.map(|(sender, number, text)| (sender, number, text.to_owned())));
    assert_eq!(*site.group.newest().borrow(), serial);
    // From this node, which never was host, it is an update too.
    site.group.post_checkpoint(b"me too".to_vec()).await.unwrap();
    assert_eq!(site.all().await.len(), 3);
}

#[tokio::test]
async fn serials_are_never_used_again() {
    let keys = keys(2, 1);
    let mut site = Site::with(0, Some(Arc::clone(&keys[0])), &[update(1, 1, "old")]).await;
    let covers = Heads([(peer(1), 9)].into());
    let checkpoint = Update { covers: Some(covers), ..(*update(0, 1, "new")).clone() };
    let checkpoint = sign(&checkpoint, &identity(0)).unwrap();
    site.group.set_hosts(BTreeSet::new());
    let mut member = Lanes::new(&keys[1], 1).unwrap();
    // It counts for nothing as it comes; what comes after it is covered once it does.
    let response =
        UpdatesResponse { updates: vec![checkpoint.to_signed()], more: false, have: Heads::default() };
    site.group.inner.commands.send(Command::Pulled(peer(1), Some(response))).await.unwrap();
    until(async || site.heads().of(&peer(0)) == 1).await;
    site.group.heard(peer(1), &packet(&mut member, Lane::Updates, update(1, 2, "old").bytes()));
    until(async || *site.group.newest().borrow() == 3).await;
    site.group.set_hosts(peers([0]));
    until(async || site.all().await.len() == 1).await;
    site.group.close().await;
    site.group = open(0, &site.store, &site.overlay, Some(Arc::clone(&keys[0]))).await;
    assert_eq!(site.group.post(b"next".to_vec()).await.unwrap(), 4);
}
