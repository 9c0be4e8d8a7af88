//! The queue: in it with what it reports, out of it with an answer.

use super::*;
use crate::billing::outbox::{FIRST_DELAY, MAX_DELAY, courier::settle};

/// Queues what `member` received, as the step that received it would.
async fn enqueued(disk: &Disk, right: &Right, member: u8) -> ReceiptHash {
    let pool = disk.pool().await;
    let receipt = received(right, member);
    let mut tx = pool.begin().await.unwrap();
    Outbox::new(pool.clone()).enqueue(&mut tx, right, &receipt, NOW).await.unwrap();
    tx.commit().await.unwrap();
    pool.close().await;
    receipt.hash()
}

async fn due(outbox: &Outbox, now: Timestamp) -> Vec<(ReceiptHash, PeerId)> {
    outbox.due(now).await.unwrap().iter().map(|parcel| (receipt_in(parcel), parcel.billing)).collect()
}

#[tokio::test]
async fn a_receipt_is_queued_with_what_it_reports_or_not_at_all() {
    let disk = Disk::new().await;
    let right = member_right(&usual_ticket(), 0, MEMBER);
    let pool = disk.pool().await;
    let mut tx = pool.begin().await.unwrap();
    Outbox::new(pool.clone()).enqueue(&mut tx, &right, &received(&right, MEMBER), NOW).await.unwrap();
    tx.rollback().await.unwrap();
    pool.close().await;
    assert_eq!(due(&disk.outbox().await, NOW).await, []);

    let receipt = enqueued(&disk, &right, MEMBER).await;
    enqueued(&disk, &right, MEMBER).await;
    assert_eq!(due(&disk.outbox().await, NOW).await, [(receipt, peer(BILLING))]);
}

#[tokio::test]
async fn where_nobody_counts_nothing_is_queued() {
    let disk = Disk::new().await;
    enqueued(&disk, &member_right(&ticket("free", &[]), 0, MEMBER), MEMBER).await;
    assert_eq!(disk.outbox().await.all().await.unwrap(), []);
}

#[tokio::test]
async fn waits_grow_and_have_a_bound() {
    let disk = Disk::new().await;
    let receipt = enqueued(&disk, &member_right(&usual_ticket(), 0, MEMBER), MEMBER).await;
    let outbox = disk.outbox().await;
    let mut last = Duration::ZERO;
    for attempt in 1..=40 {
        outbox.failed(receipt, peer(BILLING), "nobody\nthere", NOW).await.unwrap();
        assert_eq!(due(&outbox, NOW).await, []);
        let wait = outbox.next_due_in(NOW).await.unwrap().unwrap();
        assert!(
            wait >= last && (wait > last || wait == MAX_DELAY),
            "attempt {attempt}: {wait:?} after {last:?}"
        );
        assert_eq!(due(&outbox, NOW + wait).await.len(), 1);
        last = wait;
    }
    assert_eq!(last, MAX_DELAY);
    let entry = outbox.unacknowledged().await.unwrap().remove(0);
    assert_eq!((entry.attempts, entry.reason.as_deref()), (40, Some("nobody there")));
    assert_eq!(
        (entry.kind, entry.name.as_str(), entry.at.as_str()),
        ("received", "chat", "2030-01-01T00:01:00Z")
    );
}

#[tokio::test]
async fn a_peer_that_comes_back_is_asked_at_once() {
    let disk = Disk::new().await;
    let right = member_right(&ticket("free", &[BILLING, OTHER_BILLING]), 0, MEMBER);
    let receipt = enqueued(&disk, &right, MEMBER).await;
    let outbox = disk.outbox().await;
    for billing in [BILLING, OTHER_BILLING] {
        outbox.failed(receipt, peer(billing), "away", NOW).await.unwrap();
    }
    assert_eq!(due(&outbox, NOW).await, []);
    outbox.peer_connected(peer(HOST), NOW).await.unwrap();
    assert_eq!(due(&outbox, NOW).await, [], "somebody else came");
    outbox.peer_connected(peer(OTHER_BILLING), NOW).await.unwrap();
    assert_eq!(due(&outbox, NOW).await, [(receipt, peer(OTHER_BILLING))]);
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_strand_a_receipt() {
    let disk = Disk::new().await;
    let receipt = enqueued(&disk, &member_right(&usual_ticket(), 0, MEMBER), MEMBER).await;
    let outbox = disk.outbox().await;
    outbox.failed(receipt, peer(BILLING), "away", NOW + 1000 * HOUR).await.unwrap();
    assert_eq!(due(&outbox, NOW).await.len(), 1);
}

#[tokio::test]
async fn billing_peers_are_asked_in_order_and_one_is_enough() {
    let disk = Disk::new().await;
    let right = member_right(&ticket("free", &[OTHER_BILLING, BILLING]), 0, MEMBER);
    let receipt = enqueued(&disk, &right, MEMBER).await;
    let outbox = disk.outbox().await;
    outbox.failed(receipt, peer(OTHER_BILLING), "away", NOW).await.unwrap();
    assert_eq!(due(&outbox, NOW).await, [(receipt, peer(BILLING))], "the next one without a wait");
    outbox.failed(receipt, peer(BILLING), "away", NOW).await.unwrap();
    assert_eq!(due(&outbox, NOW).await, []);
    assert_eq!(due(&outbox, NOW + FIRST_DELAY).await, [(receipt, peer(OTHER_BILLING))], "from the start");

    let parcel = outbox.due(NOW + FIRST_DELAY).await.unwrap().remove(0);
    let service = Service::new(disk.book().await, identity(OTHER_BILLING));
    let response = service.handle(peer(MEMBER), parcel.request.clone(), NOW).await;
    settle(&outbox, &parcel, response, NOW).await.unwrap();
    assert_eq!(disk.outbox().await.unacknowledged().await.unwrap(), []);
    assert_eq!(disk.outbox().await.all().await.unwrap()[0].position, Some(1));
}

#[tokio::test]
async fn refused_by_all_is_kept_with_the_reason() {
    let disk = Disk::new().await;
    let right = member_right(&ticket("free", &[OTHER_BILLING, BILLING]), 0, MEMBER);
    let receipt = enqueued(&disk, &right, MEMBER).await;
    let outbox = disk.outbox().await;
    outbox.refused(receipt, peer(OTHER_BILLING), "no", NOW).await.unwrap();
    assert_eq!(due(&outbox, NOW).await, [(receipt, peer(BILLING))]);
    outbox.failed(receipt, peer(BILLING), "away", NOW).await.unwrap();
    assert_eq!(due(&outbox, NOW + FIRST_DELAY).await, [(receipt, peer(BILLING))], "not the one that refused");
    outbox.refused(receipt, peer(BILLING), "not here either", NOW).await.unwrap();
    let outbox = disk.outbox().await;
    assert_eq!(due(&outbox, NOW + MAX_DELAY).await, []);
    let entry = outbox.unacknowledged().await.unwrap().remove(0);
    assert_eq!((entry.state.as_str(), entry.reason.as_deref()), ("refused", Some("not here either")));
    assert_eq!(entry.next, None);
}

#[tokio::test]
async fn an_answer_that_is_none_settles_nothing() {
    let disk = Disk::new().await;
    let right = member_right(&usual_ticket(), 0, MEMBER);
    enqueued(&disk, &right, MEMBER).await;
    let outbox = disk.outbox().await;
    let parcel = outbox.due(NOW).await.unwrap().remove(0);
    let good = acked(&disk, parcel.request.clone(), NOW).await;
    let by = |number, receipt| {
        let ack = Ack { billing: peer(number), receipt, ..good.unverified().clone() };
        sign(&ack, &identity(number)).unwrap().to_signed()
    };
    let mut forged = good.bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let bad = [
        by(OTHER_BILLING, receipt_in(&parcel)),
        by(BILLING, ReceiptHash([0; 32])),
        Signed::decode(&forged).unwrap(),
    ];
    for ack in bad {
        settle(&outbox, &parcel, BillingResponse::Acked(ack), NOW).await.unwrap();
    }
    settle(&outbox, &parcel, BillingResponse::Later, NOW).await.unwrap();
    let entry = outbox.unacknowledged().await.unwrap().remove(0);
    assert_eq!((entry.state.as_str(), entry.attempts), ("pending", 4));
    settle(&outbox, &parcel, BillingResponse::Acked(good), NOW).await.unwrap();
    assert_eq!(outbox.unacknowledged().await.unwrap(), []);
}

#[tokio::test]
async fn a_signed_refusal_is_final_and_shown() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    for (k, member) in [(0, MEMBER), (0, MEMBER + 1)] {
        let right = member_right(&ticket, k, member);
        acked(&disk, submit(&right, &received(&right, member)), NOW).await;
    }
    enqueued(&disk, &member_right(&ticket, 1, MEMBER + 2), MEMBER + 2).await;
    let outbox = disk.outbox().await;
    let parcel = outbox.due(NOW).await.unwrap().remove(0);
    let response = submitted(&disk, parcel.request.clone(), NOW).await;
    settle(&outbox, &parcel, response, NOW).await.unwrap();
    let entry = outbox.unacknowledged().await.unwrap().remove(0);
    assert_eq!((entry.state.as_str(), entry.position), ("refused", Some(3)));
    assert!(entry.reason.unwrap().contains("one slot to two members"));
}
