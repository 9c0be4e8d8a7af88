//! A checkpoint lets old updates go, everywhere, and nothing else.

use parlor_proto::group::{Covers, Link};

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
    // Its own were said by somebody that it does not remember to have been: it begins another chain.
    newcomer.group.post(b"back".to_vec()).await.unwrap();
    until(async || host.all().await.last() == Some(&(1, 1, "back".to_owned()))).await;
    assert_eq!(host.heads().of(peer(1)), 1_000);
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
        let heads = Heads::from([(peer(0), 1), (peer(1), 1), (peer(2), 6)]);
        until(async || site.heads() == heads).await;
        assert_eq!(site.set().await, expected);
    }
    // What they know of it is on disk.
    for site in [&host, &behind, &ahead] {
        let (log, serial) = site.store.log(SESSION).await.unwrap();
        assert_eq!((log.heads(), serial), (&site.heads(), *site.group.newest().borrow()));
        assert_eq!(log.base(&peer(2).into()), 5);
    }
}

#[tokio::test]
async fn only_the_hosts_checkpoint_counts_and_it_does_once_it_is_known_to_be_the_host() {
    let keys = keys(3, 1);
    let before = [update(0, 1, "old"), update(2, 1, "old")];
    let site = Site::with(2, Some(Arc::clone(&keys[2])), &before).await;
    let checkpoint = checkpoint(1, 1, &before);
    let later = Update { depth: 3, ..plain(1, 2, "later") };
    let later = sign(&later, &identity(1)).unwrap();
    let mut member = Lanes::new(&keys[1], 1).unwrap();
    site.group.heard(peer(1), &packet(&mut member, Lane::Updates, checkpoint.bytes()));
    site.group.heard(peer(1), &packet(&mut member, Lane::Updates, later.bytes()));
    until(async || site.heads().of(peer(1)) == 2).await;
    assert_eq!(site.all().await.len(), 4, "an update like any other");
    let serial = *site.group.newest().borrow();
    site.group.set_hosts(hosts(1, 1, [0]));
    until(async || site.all().await.len() == 2).await;
    let expected = [(1, 1, "a coup"), (1, 2, "later")];
    assert_eq!(site.all().await, expected.map(|(sender, number, text)| (sender, number, text.to_owned())));
    assert_eq!(*site.group.newest().borrow(), serial);
    // From this node, which never was host, it is an update too.
    site.group.post_checkpoint(b"me too".to_vec()).await.unwrap();
    assert_eq!(site.all().await.len(), 3);
}

/// By `sender` as host of that term, of these; the first that it says.
fn checkpoint(sender: u8, term: u32, covered: &[Verified<Update>]) -> Verified<Update> {
    let link = |one: &Verified<Update>| Link { chain: one.chain, number: one.number, hash: one.hash() };
    let mut links: Vec<_> = covered.iter().map(link).collect();
    links.sort();
    let depth = covered.iter().map(|one| one.depth).max().unwrap_or(0) + 1;
    let covers = Some(Covers { term, links });
    sign(&Update { depth, covers, ..plain(sender, 1, "a coup") }, &identity(sender)).unwrap()
}

#[tokio::test]
async fn a_former_hosts_checkpoint_is_an_update_like_any_other() {
    let keys = keys(3, 1);
    let before = [update(1, 1, "old"), update(2, 1, "old")];
    let site = Site::with(2, Some(Arc::clone(&keys[2])), &before).await;
    site.group.set_hosts(hosts(1, 1, [0]));
    let mut former = Lanes::new(&keys[0], 1).unwrap();
    let late = checkpoint(0, 0, &before);
    site.group.heard(peer(0), &packet(&mut former, Lane::Updates, late.bytes()));
    until(async || site.heads().of(peer(0)) == 1).await;
    assert_eq!(site.all().await.len(), 3);
    // Nor does it count later, in another term or after a restart.
    site.group.set_hosts(hosts(1, 2, [0]));
    site.group.post(b"next".to_vec()).await.unwrap();
    assert_eq!(site.all().await.len(), 4);
}

#[tokio::test]
async fn a_checkpoint_of_what_nobody_has_said_destroys_nothing_and_the_next_host_puts_it_right() {
    let keys = keys(4, 1);
    let before = [update(1, 1, "old")];
    let mut site = Site::with(2, Some(Arc::clone(&keys[2])), &before).await;
    let mut late = Site::start(3, Some(Arc::clone(&keys[3]))).await;
    let nothing = |number| {
        let update =
            Update { number: 1 << 53, previous: Some(UpdateHash([7; 32])), ..plain(number, 1, "never") };
        sign(&update, &identity(number)).unwrap()
    };
    let bad = checkpoint(0, 0, &[1, 2, 3].map(nothing));

    // Who has what was said waits for what was not.
    let mut lanes = Lanes::new(&keys[0], 1).unwrap();
    site.group.heard(peer(0), &packet(&mut lanes, Lane::Updates, bad.bytes()));
    site.group.post(b"goes on".to_vec()).await.unwrap();
    assert_eq!(site.heads(), Heads::from([(peer(1), 1), (peer(2), 1)]));

    // Who has nothing believes nobody who does not say to have had it, and the host that says so.
    let unsaid = UpdatesResponse { checkpoints: vec![bad.to_signed()], ..Default::default() };
    let mut have = Heads::from([(peer(0), 1)]);
    bad.covered().iter().for_each(|link| have.raise(link.chain, link.number));
    let lie = UpdatesResponse { have, ..unsaid.clone() };
    late.group.inner.commands.send(Command::Pulled(peer(0), Some(unsaid))).await.unwrap();
    let word = packet(&mut Lanes::new(&keys[1], 9).unwrap(), Lane::Updates, before[0].bytes());
    late.group.heard(peer(1), &word);
    until(async || late.heads() == Heads::from([(peer(1), 1)])).await;
    late.group.inner.commands.send(Command::Pulled(peer(0), Some(lie))).await.unwrap();
    until(async || late.heads().of(peer(1)) == 1 << 53).await;

    // The next host has said what it said, and covers what there is.
    for one in [&site, &late] {
        one.group.set_hosts(hosts(1, 1, [0]));
    }
    let mine = site.store.updates_after(SESSION, 1, 1).await.unwrap().remove(0).update;
    let link = |one: &Verified<Update>| Link { chain: one.chain, number: one.number, hash: one.hash() };
    let covers = Covers { term: 1, links: vec![link(&before[0]), link(&mine)] };
    let mut good = Update { depth: 3, covers: Some(covers), ..plain(1, 2, "all") };
    good.previous = Some(before[0].hash());
    good.covers.as_mut().unwrap().links.sort();
    let good = sign(&good, &identity(1)).unwrap();
    let after = Update { depth: 4, previous: Some(good.hash()), ..plain(1, 3, "and on") };
    let after = sign(&after, &identity(1)).unwrap();
    let mut lanes = Lanes::new(&keys[1], 1).unwrap();
    for update in [&good, &after] {
        let packet = packet(&mut lanes, Lane::Updates, update.bytes());
        site.group.heard(peer(1), &packet);
        late.group.heard(peer(1), &packet);
    }
    until(async || late.heads().of(peer(1)) == 3 && site.heads().of(peer(1)) == 3).await;
    let goes_on = [(1, 2, "all".to_owned()), (1, 3, "and on".to_owned())];
    assert_eq!(site.all().await, goes_on);
    assert_eq!(late.all().await, goes_on);
    assert_eq!(late.heads().of(peer(2)), 1);

    // After a restart as well.
    for one in [&mut site, &mut late] {
        let heads = one.heads();
        one.group.close().await;
        one.group = open(one.number, &one.store, &one.overlay, None).await;
        assert_eq!(one.heads(), heads);
    }
}

#[tokio::test]
async fn serials_are_never_used_again() {
    let keys = keys(2, 1);
    let before = [update(1, 1, "old")];
    let mut site = Site::with(0, Some(Arc::clone(&keys[0])), &before).await;
    let second =
        sign(&Update { previous: Some(before[0].hash()), ..plain(1, 2, "old") }, &identity(1)).unwrap();
    let mut member = Lanes::new(&keys[1], 1).unwrap();
    site.group.heard(peer(1), &packet(&mut member, Lane::Updates, second.bytes()));
    until(async || *site.group.newest().borrow() == 2).await;
    site.group.post_checkpoint(b"new".to_vec()).await.unwrap();
    assert_eq!(site.all().await.len(), 1);
    site.group.close().await;
    site.group = open(0, &site.store, &site.overlay, Some(Arc::clone(&keys[0]))).await;
    assert_eq!(site.group.post(b"next".to_vec()).await.unwrap(), 4);
}
