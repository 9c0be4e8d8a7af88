//! One member that says too much does not keep the others from being heard.

use parlor_proto::group::{
    MAX_RETAINED_BYTES,
    rate::{Allowance, Limits, Rate},
};

use super::*;
use crate::group::complaint::Complaint;

#[tokio::test]
async fn a_flood_is_cut_off_and_another_member_is_heard() {
    let keys = keys(3, 1);
    let site = Site::start(1, Some(Arc::clone(&keys[1]))).await;
    let (mut noisy, mut quiet) = (Lanes::new(&keys[2], 1).unwrap(), Lanes::new(&keys[0], 1).unwrap());
    let beacon = to_blob(&Control::Beacon { term: 1 });
    let flood: Vec<_> = (0..500).map(|_| packet(&mut noisy, Lane::Control, &beacon)).collect();
    let mut beacons = site.group.beacons();
    for packet in &flood {
        site.group.heard(peer(2), packet);
    }
    site.group.heard(peer(0), &packet(&mut quiet, Lane::Control, &beacon));
    let mut heard = Vec::new();
    while let Ok(beacon) = beacons.try_recv() {
        heard.push(beacon.author);
    }
    assert_eq!(heard.pop(), Some(peer(0)));
    assert!((8..100).contains(&heard.len()), "a burst: {}", heard.len());
    assert_eq!(site.complaints(2, &Complaint::TooMuch), 500 - heard.len() as u64);
    assert_eq!(site.complaints(0, &Complaint::TooMuch), 0);
}

#[tokio::test]
async fn each_member_has_its_share_of_the_writers_queue() {
    let keys = keys(3, 1);
    let site = Site::start(1, Some(Arc::clone(&keys[1]))).await;
    let (mut noisy, mut quiet) = (Lanes::new(&keys[2], 1).unwrap(), Lanes::new(&keys[0], 1).unwrap());
    let flood: Vec<_> =
        (1..=400).map(|n| packet(&mut noisy, Lane::Updates, update(2, n, "flood").bytes())).collect();
    // On this thread: the writer does not come to it meanwhile.
    for packet in &flood {
        site.group.heard(peer(2), packet);
    }
    site.group.heard(peer(0), &packet(&mut quiet, Lane::Updates, update(0, 1, "a word").bytes()));
    assert_eq!(site.complaints(2, &Complaint::Busy), 144);
    until(async || site.heads() == Heads::from([(peer(0), 1), (peer(2), 256)])).await;
    assert_eq!(site.all().await.len(), 257);
    // Its places are free again.
    let later = update(2, 257, "later");
    site.group.heard(peer(2), &packet(&mut noisy, Lane::Updates, later.bytes()));
    until(async || site.heads().of(peer(2)) == 257).await;
}

#[tokio::test]
async fn ones_own_node_holds_back_first() {
    let keys = keys(2, 1);
    let site = Site::start(0, Some(Arc::clone(&keys[0]))).await;
    // So little that nothing passes, however long the test takes.
    let nearly_none = || {
        let least = Rate { per_second: 1, burst: 1 };
        Allowance::new(Limits { messages: least, bytes: least }, clock::now())
    };
    site.group.inner.pace().updates = nearly_none();
    let waiting = tokio::spawn({
        let group = site.group.clone();
        async move { group.post(b"too much".to_vec()).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    assert!(site.all().await.is_empty());
    // Realtime does not wait: it is dropped, unsealed.
    let sealed = || {
        let packet = site.group.inner.door().seal(Lane::Realtime, b"").unwrap();
        u64::from_be_bytes(packet[29..37].try_into().unwrap())
    };
    site.group.send_realtime("passes".into()).await;
    assert_eq!(sealed(), 1);
    site.group.inner.pace().realtime = nearly_none();
    site.group.send_realtime("does not".into()).await;
    assert_eq!(sealed(), 2);
    site.group.close().await;
    assert!(matches!(waiting.await.unwrap(), Err(PostError::Closed)));
}

#[tokio::test]
async fn what_is_kept_of_one_member_is_bounded_until_a_checkpoint() {
    let keys = keys(2, 1);
    let mut site = Site::with(0, None, &[update(0, 1, "mine"), update(1, 1, "another's")]).await;
    site.group.close().await;
    // As if they weighed as much as may be.
    let most = MAX_RETAINED_BYTES as i64;
    sqlx::query("UPDATE updates SET size = ?").bind(most).execute(site.store.pool()).await.unwrap();
    site.group = open(0, &site.store, &site.overlay, Some(Arc::clone(&keys[0]))).await;
    let refused = site.group.post(b"more".to_vec()).await.unwrap_err();
    assert!(matches!(refused, PostError::Full), "{refused}");
    let mut member = Lanes::new(&keys[1], 1).unwrap();
    let next = packet(&mut member, Lane::Updates, update(1, 2, "more").bytes());
    site.group.heard(peer(1), &next);
    until(async || site.complaints(1, &Complaint::Full) == 1).await;
    assert_eq!(site.all().await.len(), 2);

    site.group.post_checkpoint(b"all of it".to_vec()).await.unwrap();
    site.group.post(b"more".to_vec()).await.unwrap();
    let next = packet(&mut member, Lane::Updates, update(1, 2, "more").bytes());
    site.group.heard(peer(1), &next);
    until(async || site.all().await.len() == 3).await;
    let expected = [(0, 2, "all of it"), (0, 3, "more"), (1, 2, "more")];
    assert_eq!(site.all().await, expected.map(|(sender, number, text)| (sender, number, text.to_owned())));
}

#[tokio::test]
async fn a_member_that_asks_all_the_time_does_not_keep_others_from_being_answered() {
    let site = Site::with(0, None, &[update(0, 1, "asked for")]).await;
    let request = UpdatesRequest { session: SESSION, have: Heads::default() };
    let ask = async |number| site.group.serve(peer(number), &request).await.unwrap().updates.len();
    let answered = || site.group.inner.door().answer(&peer(1));
    let under_way = [answered().unwrap(), answered().unwrap()];
    assert_eq!([ask(1).await, ask(2).await, ask(9).await], [0, 1, 0]);
    assert_eq!(site.complaints(1, &Complaint::AsksTooMuch), 1);
    assert_eq!(site.complaints(9, &Complaint::AskedByNonMember), 1);
    drop(under_way);
    assert_eq!(ask(1).await, 1, "one after the other");
}

#[tokio::test]
async fn what_is_too_large_is_not_posted() {
    let keys = keys(2, 1);
    let site = Site::start(0, Some(Arc::clone(&keys[0]))).await;
    let post = async |payload: Vec<u8>| site.group.post(payload).await;
    assert!(matches!(post(vec![b'x'; MAX_PAYLOAD + 1]).await, Err(PostError::TooLarge { .. })));
    post(vec![b'x'; MAX_PAYLOAD]).await.unwrap();
    let covering = site.group.post_checkpoint(vec![b'x'; MAX_PAYLOAD]).await.unwrap_err();
    assert!(matches!(covering, PostError::TooLarge { most, .. } if most == MAX_PAYLOAD - 96), "{covering}");
    site.group.post_checkpoint(vec![b'x'; MAX_PAYLOAD - 96]).await.unwrap();
    assert_eq!(site.all().await.len(), 1);
}
