//! A number of a ticket has one holder at a time, or the books say that it has more.

use parlor_proto::rights::{Refusal, Release, Verdict};

use super::*;
use crate::billing::{
    Overdrawn,
    outbox::{FIRST_DELAY, courier::settle},
};

/// `who` gives back the slot of `right`.
fn release(right: &Right, who: u8) -> Verified<Release> {
    let slot = right.slot().unwrap();
    let (ticket, k, generation) = (slot.ticket, slot.k, slot.generation);
    let release =
        Release { ticket, slot: slot.hash(), k, generation, member: peer(who), released_at: NOW + HOUR };
    sign(&release, &identity(who)).unwrap()
}

/// The right of the next generation, for `member`.
fn reissued(ticket: &Verified<Ticket>, right: &Right, by: u8, member: u8) -> Right {
    let slot = right.slot().unwrap();
    let release = Some(release(right, by).to_signed());
    let generation = slot.generation + 1;
    let next = Slot { generation, member: peer(member), release, ..(**slot).clone() };
    Right::member(ticket.clone(), sign(&next, &identity(HOST)).unwrap(), NOW).unwrap()
}

fn released(right: &Right, release: &Verified<Release>) -> BillingRequest {
    BillingRequest::Released { right: Box::new(right.to_signed()), release: release.to_signed() }
}

async fn noted(disk: &Disk, right: &Right, who: u8) {
    let answer = submitted(disk, released(right, &release(right, who)), NOW).await;
    assert!(matches!(answer, BillingResponse::Noted), "{answer:?}");
}

async fn overdrawn(disk: &Disk) -> Vec<Overdrawn> {
    disk.book().await.overdrawn().await.unwrap()
}

#[tokio::test]
async fn a_host_that_skips_generations_is_found_out_by_the_count() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let mut right = member_right(&ticket, 0, MEMBER);
    let mut holders = 0;
    // Every second generation is a made-up member's, of whom nobody hears.
    for member in MEMBER..MEMBER + 5 {
        let verdict = acked(&disk, submit(&right, &received(&right, member)), NOW).await.unverified().verdict;
        assert_eq!(verdict, Verdict::Accepted, "there may be so many copies");
        holders += 1;
        let found = overdrawn(&disk).await;
        if holders == 1 {
            assert_eq!(found, []);
        } else {
            let (ticket, host) = (ticket.hash(), peer(HOST));
            assert_eq!(found, [Overdrawn { ticket, host, k: 0, holders }]);
        }
        let between = reissued(&ticket, &right, 80, 81);
        right = reissued(&ticket, &between, 81, member + 1);
    }
    assert_eq!(disk.book().await.proofs().await.unwrap(), []);

    // The other number is in order.
    let other = member_right(&ticket, 1, MEMBER + 9);
    acked(&disk, submit(&other, &received(&other, MEMBER + 9)), NOW).await;
    assert_eq!(overdrawn(&disk).await.len(), 1);
}

#[tokio::test]
async fn a_host_that_shows_what_it_skipped_has_proven_itself_a_cheat() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let real = member_right(&ticket, 0, MEMBER);
    let skipped = reissued(&ticket, &real, 80, 81);
    let later = reissued(&ticket, &skipped, 81, MEMBER + 1);
    for (right, member) in [(&real, MEMBER), (&later, MEMBER + 1)] {
        acked(&disk, submit(right, &received(right, member)), NOW).await;
    }
    noted(&disk, &skipped, 81).await;
    let proofs = disk.book().await.proofs().await.unwrap();
    assert_eq!(proofs.iter().map(|kept| kept.proof.host()).collect::<Vec<_>>(), [peer(HOST)]);
    proofs[0].proof.verify(&ticket).unwrap();
    let new = member_right(&ticket, 1, MEMBER + 2);
    let ack = acked(&disk, submit(&new, &received(&new, MEMBER + 2)), NOW).await;
    assert_eq!(ack.unverified().verdict, Verdict::Refused(Refusal::HostCheated));
}

#[tokio::test]
async fn members_that_come_and_go_are_one_holder_in_whatever_order_it_is_heard() {
    let ticket = usual_ticket();
    let mut chain = vec![member_right(&ticket, 0, MEMBER)];
    for next in MEMBER + 1..MEMBER + 6 {
        chain.push(reissued(&ticket, chain.last().unwrap(), next - 1, next));
    }
    for is_late in [false, true] {
        let disk = Disk::new().await;
        // Those in between went before they had a copy.
        let last = chain.len() - 1;
        let report = async |index: usize, member| {
            acked(&disk, submit(&chain[index], &received(&chain[index], member)), NOW).await
        };
        let mut gone: Vec<_> = chain[..last].iter().zip(MEMBER..).collect();
        if is_late {
            gone.reverse();
            report(last, MEMBER + 5).await;
            report(0, MEMBER).await;
            assert_eq!(overdrawn(&disk).await.len(), 1, "what is not shown counts");
        } else {
            report(0, MEMBER).await;
        }
        for (right, who) in gone {
            noted(&disk, right, who).await;
            noted(&disk, right, who).await;
        }
        let position = report(last, MEMBER + 5).await.unverified().position;
        assert_eq!(
            position,
            if is_late { 1 } else { 2 },
            "what is written down beside the log takes no place in it"
        );
        assert_eq!(overdrawn(&disk).await, []);
        assert_eq!(disk.book().await.proofs().await.unwrap(), []);
    }
}

#[tokio::test]
async fn only_the_members_own_release_of_its_own_slot_is_written_down() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let (right, other) = (member_right(&ticket, 0, MEMBER), member_right(&ticket, 1, MEMBER));
    acked(&disk, submit(&right, &received(&right, MEMBER)), NOW).await;
    for not_its in [release(&right, 80), release(&other, MEMBER)] {
        let reason = refused(&disk, released(&right, &not_its)).await;
        assert!(reason.contains("does not give back the slot"), "{reason}");
    }
    let mut forged = release(&right, MEMBER).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let release_forged = Signed::decode(&forged).unwrap();
    let forged = BillingRequest::Released { right: Box::new(right.to_signed()), release: release_forged };
    assert!(refused(&disk, forged).await.contains("signature is wrong"));
    let foreign = member_right(&super::ticket("free", &[OTHER_BILLING]), 0, MEMBER);
    let reason = refused(&disk, released(&foreign, &release(&foreign, MEMBER))).await;
    assert!(reason.contains("names other billing peers"), "{reason}");

    let next = reissued(&ticket, &reissued(&ticket, &right, 80, 81), 81, MEMBER + 1);
    acked(&disk, submit(&next, &received(&next, MEMBER + 1)), NOW).await;
    assert_eq!(overdrawn(&disk).await.len(), 1);
}

/// What is queued about slots that were given back.
async fn links(outbox: &Outbox, now: Timestamp) -> Vec<Parcel> {
    let due = outbox.due(now).await.unwrap();
    due.into_iter().filter(|parcel| matches!(parcel.what, What::Link(_))).collect()
}

#[tokio::test]
async fn every_billing_peer_is_shown_what_was_given_back_until_it_has_written_it_down() {
    let disk = Disk::new().await;
    let right = member_right(&ticket("free", &[BILLING, OTHER_BILLING]), 0, MEMBER);
    let pool = disk.pool().await;
    let outbox = Outbox::new(pool.clone());
    let mut tx = pool.begin().await.unwrap();
    outbox.enqueue_link(&mut tx, &right, &release(&right, MEMBER), NOW).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(links(&outbox, NOW).await.len(), 0, "with what it reports, or not at all");
    for _ in 0..2 {
        let mut tx = pool.begin().await.unwrap();
        outbox.enqueue_link(&mut tx, &right, &release(&right, MEMBER), NOW).await.unwrap();
        tx.commit().await.unwrap();
    }
    let due = links(&outbox, NOW).await;
    assert_eq!(
        due.iter().map(|parcel| parcel.billing).collect::<Vec<_>>(),
        [peer(BILLING), peer(OTHER_BILLING)]
    );

    // One is not there yet, and an answer to something else settles nothing.
    settle(&outbox, &due[0], BillingResponse::Later, NOW).await.unwrap();
    assert_eq!(links(&outbox, NOW).await.len(), 1);
    assert_eq!(outbox.next_due_in(NOW).await.unwrap(), Some(FIRST_DELAY));
    outbox.peer_connected(peer(BILLING), NOW).await.unwrap();
    assert_eq!(links(&outbox, NOW).await.len(), 2);
    let reception = received(&right, MEMBER);
    let ack = acked(&disk, submit(&right, &reception), NOW).await;
    settle(&outbox, &due[0], BillingResponse::Acked(ack), NOW).await.unwrap();
    assert_eq!(outbox.links().await.unwrap(), 2);

    let answer = submitted(&disk, due[0].request.clone(), NOW).await;
    settle(&outbox, &due[0], answer, NOW).await.unwrap();
    settle(&outbox, &due[1], BillingResponse::Refused("not ours".into()), NOW).await.unwrap();
    assert_eq!(outbox.links().await.unwrap(), 0);
}
