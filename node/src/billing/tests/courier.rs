//! The courier: everything that is queued arrives, whoever is away in between.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize},
};

use super::*;
use crate::billing::outbox::courier;

/// Queues `count` stretches of use.
async fn enqueue(outbox: &Outbox, pool: &Pool<Sqlite>, right: &Right, from: u64, count: u64) {
    let mut tx = pool.begin().await.unwrap();
    for number in from..from + count {
        let at = NOW + Duration::from_secs(60 * number);
        let used = ReceiptKind::Used { from: NOW, to: at };
        outbox.enqueue(&mut tx, right, &receipt(right, MEMBER, used, at), NOW).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Runs `courier` until nothing is left to be acknowledged.
async fn until_empty(outbox: &Outbox, courier: impl Future<Output = ()>) {
    let empty = async {
        while !outbox.unacknowledged().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let both = async {
        tokio::select! {
            () = courier => unreachable!("a courier goes on for ever"),
            () = empty => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("the outbox gets empty");
}

#[tokio::test]
async fn everything_arrives_in_order() {
    let disk = Disk::new().await;
    let right = member_right(&usual_ticket(), 0, MEMBER);
    let (pool, service) = (disk.pool().await, disk.service().await);
    let outbox = Outbox::new(pool.clone());
    enqueue(&outbox, &pool, &right, 1, 70).await;
    let send = |_, request| {
        let service = service.clone();
        async move { Ok::<_, String>(service.handle(peer(MEMBER), request, NOW).await) }
    };
    until_empty(&outbox, courier::run(outbox.clone(), || NOW, send)).await;
    let booked = service.book().receipts().await.unwrap();
    assert_eq!(booked.len(), 70);
    assert!(booked.is_sorted_by_key(|booked| booked.at));
}

#[tokio::test]
async fn a_billing_peer_that_is_away_costs_one_try_and_gets_all_when_it_is_back() {
    let disk = Disk::new().await;
    let right = member_right(&usual_ticket(), 0, MEMBER);
    let (pool, service) = (disk.pool().await, disk.service().await);
    let outbox = Outbox::new(pool.clone());
    enqueue(&outbox, &pool, &right, 1, 5).await;
    let away = Arc::new(AtomicBool::new(true));
    let tries = Arc::new(AtomicUsize::new(0));
    let send = |_, request| {
        let (service, away, tries) = (service.clone(), away.clone(), tries.clone());
        async move {
            tries.fetch_add(1, Ordering::SeqCst);
            if away.load(Ordering::SeqCst) {
                return Err("cannot be reached");
            }
            Ok(service.handle(peer(MEMBER), request, NOW).await)
        }
    };
    let courier = courier::run(outbox.clone(), || NOW, send);
    let back = async {
        // All five have failed once, at the price of one try, and wait.
        while outbox.all().await.unwrap().iter().any(|entry| entry.attempts == 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(tries.load(Ordering::SeqCst), 1);
        away.store(false, Ordering::SeqCst);
        enqueue(&outbox, &pool, &right, 6, 1).await;
        outbox.peer_connected(peer(BILLING), NOW).await.unwrap();
        std::future::pending::<()>().await
    };
    let both = async {
        tokio::join!(courier, back);
    };
    until_empty(&outbox, both).await;
    assert_eq!(service.book().receipts().await.unwrap().len(), 6);
    assert_eq!(tries.load(Ordering::SeqCst), 1 + 6);
}

#[tokio::test]
async fn one_that_hangs_does_not_hold_up_another() {
    let disk = Disk::new().await;
    let (pool, service) = (disk.pool().await, disk.service().await);
    let outbox = Outbox::new(pool.clone());
    let hanging = member_right(&ticket("free", &[OTHER_BILLING]), 0, MEMBER);
    enqueue(&outbox, &pool, &hanging, 1, 1).await;
    enqueue(&outbox, &pool, &member_right(&usual_ticket(), 0, MEMBER), 1, 1).await;
    let send = |billing, request| {
        let service = service.clone();
        async move {
            if billing == peer(OTHER_BILLING) {
                std::future::pending::<()>().await;
            }
            Ok::<_, String>(service.handle(peer(MEMBER), request, NOW).await)
        }
    };
    let courier = courier::run(outbox.clone(), || NOW, send);
    let arrived = async {
        while outbox.unacknowledged().await.unwrap().len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let both = async {
        tokio::select! {
            () = courier => unreachable!("a courier goes on for ever"),
            () = arrived => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("the other one arrives");
}
