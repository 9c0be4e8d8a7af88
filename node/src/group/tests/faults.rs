//! One writer after the other, and a log in memory that is the one on disk.

use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::{
    database::{
        Operation,
        testing::{ENOSPC, Faults, refuses, rolls_back},
    },
    group::PostError,
};

#[tokio::test]
async fn the_next_writer_begins_with_what_the_one_before_has_written() {
    let keys = keys(2, 1);
    let site = Site::start(0, Some(Arc::clone(&keys[0]))).await;
    // The first one's write is held up before it reaches the disk.
    let (waits, goes_on) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let slow = {
        let (waits, goes_on) = (Arc::clone(&waits), Arc::clone(&goes_on));
        site.store.with_interference(Arc::new(move |_, operation| {
            let (waits, goes_on) = (Arc::clone(&waits), Arc::clone(&goes_on));
            Box::pin(async move {
                if operation == Operation::Begin {
                    waits.notify_one();
                    goes_on.acquire().await.unwrap().forget();
                }
                Ok(())
            })
        }))
    };
    site.group.close().await;
    goes_on.add_permits(1);
    let first = open(0, &slow, &site.overlay, Some(Arc::clone(&keys[0]))).await;
    waits.notified().await;

    let posting = tokio::spawn({
        let first = first.clone();
        async move { first.post(b"first".to_vec()).await }
    });
    waits.notified().await;
    {
        let mut closing = std::pin::pin!(first.close());
        assert!(futures::poll!(&mut closing).is_pending(), "what is under way is waited for");
        goes_on.add_permits(1);
        closing.await;
    }
    assert_eq!(posting.await.unwrap().unwrap(), 1);
    let next = open(0, &site.store, &site.overlay, Some(Arc::clone(&keys[0]))).await;
    assert_eq!(next.post(b"second".to_vec()).await.unwrap(), 2);
    let there = next.updates_after(0, 10).await.unwrap();
    assert_eq!(
        there.iter().map(|one| one.update.payload.as_slice()).collect::<Vec<_>>(),
        [b"first".as_slice(), b"second"]
    );
}

#[tokio::test]
async fn a_group_writes_again_wherever_a_write_failed() {
    for effect in [refuses::<sqlx::Sqlite>(ENOSPC), rolls_back::<sqlx::Sqlite>(ENOSPC)] {
        let keys = keys(2, 1);
        let site = Site::start(0, Some(Arc::clone(&keys[0]))).await;
        site.group.close().await;
        let faults = Faults::<sqlx::Sqlite>::new(effect);
        let store = site.store.with_interference(faults.interference());
        let group = open(0, &store, &site.overlay, Some(Arc::clone(&keys[0]))).await;

        let mut hit = Vec::new();
        let mut n = 1;
        loop {
            faults.arm(n);
            let posted = group.post(format!("try {n}").into_bytes()).await;
            let Some(operation) = faults.disarm() else { break };
            if operation == Operation::Single && posted.is_ok() {
                // The group read something besides, and that failed instead.
                continue;
            }
            hit.push(operation);
            assert!(matches!(posted, Err(PostError::Store(_))), "{operation:?}: {posted:?}");
            let serial = group.post(format!("again {n}").into_bytes()).await.unwrap();
            let newest = group.updates_after(serial - 1, 10).await.unwrap();
            assert_eq!(
                (newest.len(), newest[0].update.payload.clone()),
                (1, format!("again {n}").into_bytes())
            );
            n += 1;
        }
        assert!(hit.ends_with(&[Operation::Commit, Operation::Committed]), "{hit:?}");
    }
}
