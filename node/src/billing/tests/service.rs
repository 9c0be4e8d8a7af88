//! What a billing peer books, and what it refuses.

use parlor_proto::rights::{Refusal, Release, Verdict};

use super::*;
use crate::billing::{KeptProof, OpenError};

#[tokio::test]
async fn every_copy_is_counted_and_the_host_pays_for_all_it_may_give() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let host = host_right(&ticket);
    let first = acked(&disk, submit(&host, &received(&host, HOST)), NOW).await;
    assert_eq!((first.unverified().position, first.unverified().verdict), (1, Verdict::Accepted));
    for (k, member) in [(0, MEMBER), (1, MEMBER + 1)] {
        let right = member_right(&ticket, k, member);
        acked(&disk, submit(&right, &received(&right, member)), NOW).await;
    }
    let statement = statement(&disk).await;
    assert_eq!(statement.receptions, 3);
    assert_eq!(statement.total[0].to_string(), "2.15 EUR");
    let of_host = statement.payers.iter().find(|line| line.payer == peer(HOST)).unwrap();
    assert_eq!((of_host.copies, of_host.receptions, of_host.total.amount), (2, 1, 205));

    let book = disk.book().await;
    let own = book.entries(Some(peer(MEMBER))).await.unwrap();
    assert_eq!((own.len(), own[0].charge.amount()), (1, 5));
}

#[tokio::test]
async fn receipts_are_shown_as_promised() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let (host, member) = (host_right(&ticket), member_right(&ticket, 1, MEMBER));
    acked(&disk, submit(&member, &received(&member, MEMBER)), NOW + HOUR).await;
    acked(&disk, submit(&host, &received(&host, HOST)), NOW + HOUR).await;
    let receipts = serde_json::to_value(disk.book().await.receipts().await.unwrap()).unwrap();
    assert_eq!(
        receipts[0],
        serde_json::json!({
            "receipt": received(&member, MEMBER).hash(), "ticket": ticket.hash(), "program": ticket.program,
            "name": "chat", "member": peer(MEMBER), "host": peer(HOST), "kind": "received",
            "at": "2030-01-01T00:01:00Z", "booked_at": "2030-01-01T01:00:00Z", "position": 1,
            "slot": {"k": 1, "generation": 0}, "session": SESSION, "verdict": "accepted",
        })
    );
    assert_eq!(receipts[1]["slot"], serde_json::Value::Null);
}

#[tokio::test]
async fn the_same_receipt_gets_the_same_answer() {
    let disk = Disk::new().await;
    let right = member_right(&usual_ticket(), 0, MEMBER);
    let request = || submit(&right, &received(&right, MEMBER));
    let first = acked(&disk, request(), NOW).await;
    let again = acked(&disk, request(), NOW + HOUR).await;
    assert_eq!(first.bytes(), again.bytes());
    assert_eq!(owed(&disk).await, 205);
}

#[tokio::test]
async fn the_same_report_signed_again_costs_nothing() {
    let disk = Disk::new().await;
    let right = member_right(&usual_ticket(), 0, MEMBER);
    let first = acked(&disk, submit(&right, &received(&right, MEMBER)), NOW).await;
    let other = receipt(&right, MEMBER, ReceiptKind::Received, NOW + HOUR);
    let second = acked(&disk, submit(&right, &other), NOW + HOUR).await;
    let third = acked(&disk, submit(&right, &other), NOW + 2 * HOUR).await;
    assert_eq!(second.unverified().receipt, other.hash());
    assert_eq!(second.unverified().position, first.unverified().position);
    assert_eq!(second.bytes(), third.bytes());
    assert_eq!(owed(&disk).await, 205);
    assert_eq!(disk.book().await.receipts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn use_is_once_a_session_and_minutes_are_begun_ones() {
    let disk = Disk::new().await;
    let right = member_right(&usual_ticket(), 0, MEMBER);
    for at in [NOW, NOW + HOUR] {
        acked(&disk, submit(&right, &receipt(&right, MEMBER, ReceiptKind::Started, at)), at).await;
    }
    let used = ReceiptKind::Used { from: NOW, to: NOW + Duration::from_secs(61) };
    acked(&disk, submit(&right, &receipt(&right, MEMBER, used, NOW + HOUR)), NOW).await;
    let line = &statement(&disk).await.payers;
    let line = line.iter().find(|line| line.payer == peer(MEMBER)).unwrap();
    assert_eq!((line.uses, line.minutes, line.total.amount), (1, 2, 7 + 2));
}

#[tokio::test]
async fn a_receipt_counts_by_its_own_time_whatever_the_clocks_say() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let right = member_right(&ticket, 0, MEMBER);
    let long_after = ticket.expires + 400 * 24 * HOUR;
    acked(&disk, submit(&right, &received(&right, MEMBER)), long_after).await;
    let other = member_right(&ticket, 1, MEMBER + 1);
    let before = Timestamp(NOW.0 - 86_400_000);
    acked(&disk, submit(&other, &received(&other, MEMBER + 1)), before).await;
    assert_eq!(statement(&disk).await.receptions, 2);

    let late = receipt(&right, MEMBER, ReceiptKind::Started, ticket.expires);
    let reason = refused(&disk, submit(&right, &late)).await;
    assert_eq!(
        reason,
        "the receipt is not booked: the receipt is from a time when there was no right: the ticket expired 0 seconds ago"
    );
}

#[tokio::test]
async fn what_proves_nothing_is_refused() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let (right, other) = (member_right(&ticket, 0, MEMBER), member_right(&ticket, 1, MEMBER + 1));
    let good = received(&right, MEMBER);

    let mut forged = good.bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = Signed::decode(&forged).unwrap();
    let forged = BillingRequest::Submit { right: Box::new(right.to_signed()), receipt: forged };
    assert!(refused(&disk, forged).await.contains("signature is wrong"));

    assert!(refused(&disk, submit(&other, &good)).await.contains("another ticket or slot"));

    let foreign = member_right(&super::ticket("free", &[OTHER_BILLING]), 0, MEMBER);
    let reason = refused(&disk, submit(&foreign, &received(&foreign, MEMBER))).await;
    assert!(reason.contains("names other billing peers"), "{reason}");

    let mut slot = right.to_signed();
    slot.slot = None;
    let no_slot = BillingRequest::Submit { right: Box::new(slot), receipt: good.to_signed() };
    refused(&disk, no_slot).await;
    assert_eq!(disk.book().await.receipts().await.unwrap(), []);
}

#[tokio::test]
async fn a_host_that_gives_one_slot_twice_is_caught_by_the_receipts() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let (honest, doubled) = (member_right(&ticket, 0, MEMBER), member_right(&ticket, 0, MEMBER + 1));
    acked(&disk, submit(&honest, &received(&honest, MEMBER)), NOW).await;
    let second = acked(&disk, submit(&doubled, &received(&doubled, MEMBER + 1)), NOW).await;
    assert_eq!(second.unverified().verdict, Verdict::Accepted, "two copies were made");
    let proofs = disk.book().await.proofs().await.unwrap();
    assert_eq!(proofs.len(), 1);
    proofs[0].proof.verify(&ticket).unwrap();
    assert_eq!(proofs[0].proof.host(), peer(HOST));

    // Nothing new of this host is booked, and that answer is final, too.
    let late = member_right(&ticket, 1, MEMBER + 2);
    let request = || submit(&late, &received(&late, MEMBER + 2));
    let third = acked(&disk, request(), NOW).await;
    assert_eq!(third.unverified().verdict, Verdict::Refused(Refusal::HostCheated));
    assert_eq!(acked(&disk, request(), NOW + HOUR).await, third);
    // What members that are in the book report goes on being counted.
    let started = receipt(&honest, MEMBER, ReceiptKind::Started, NOW + HOUR);
    let fourth = acked(&disk, submit(&honest, &started), NOW + HOUR).await;
    assert_eq!((fourth.unverified().position, fourth.unverified().verdict), (4, Verdict::Accepted));
    assert_eq!(owed(&disk).await, 200 + 5 + 5 + 7);
}

#[tokio::test]
async fn a_released_place_given_on_is_no_cheat() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let first = member_right(&ticket, 0, MEMBER);
    let slot = first.slot().unwrap();
    let release = Release {
        ticket: ticket.hash(),
        slot: slot.hash(),
        k: 0,
        generation: 0,
        member: peer(MEMBER),
        released_at: NOW,
    };
    let release = sign(&release, &identity(MEMBER)).unwrap();
    let next = Slot {
        generation: 1,
        member: peer(MEMBER + 1),
        release: Some(release.to_signed()),
        ..(**slot).clone()
    };
    let next = Right::member(ticket.clone(), sign(&next, &identity(HOST)).unwrap(), NOW).unwrap();
    // In the wrong order, as receipts come.
    acked(&disk, submit(&next, &received(&next, MEMBER + 1)), NOW).await;
    acked(&disk, submit(&first, &received(&first, MEMBER)), NOW).await;
    assert_eq!(disk.book().await.proofs().await.unwrap(), []);
    assert_eq!(statement(&disk).await.receptions, 2);
}

#[tokio::test]
async fn copies_of_several_hosts_are_one_tickets() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let via = handed(&ticket, HOST, None, SUCCESSOR);
    let right = handed_right(&ticket, &via, SUCCESSOR, 1, MEMBER + 1);
    for (right, who) in [(member_right(&ticket, 0, MEMBER), MEMBER), (right, MEMBER + 1)] {
        acked(&disk, submit(&right, &received(&right, who)), NOW).await;
    }
    assert_eq!(disk.book().await.proofs().await.unwrap(), []);
    let statement = statement(&disk).await;
    assert_eq!((statement.receptions, owed(&disk).await), (2, 200 + 5 + 5), "the ticket is paid once");
}

#[tokio::test]
async fn of_two_hosts_the_one_that_granted_what_it_handed_over_is_refused() {
    let disk = Disk::new().await;
    let ticket = usual_ticket();
    let via = handed(&ticket, HOST, None, SUCCESSOR);
    let on = handed(&ticket, SUCCESSOR, Some(&via), SUCCESSOR + 1);
    // The successor passes number 1 on, and grants it all the same: the ticket's host is innocent.
    let honest = handed_right(&ticket, &on, SUCCESSOR + 1, 1, MEMBER + 1);
    let doubled = handed_right(&ticket, &via, SUCCESSOR, 1, MEMBER + 2);
    for (right, who) in [(&honest, MEMBER + 1), (&doubled, MEMBER + 2)] {
        acked(&disk, submit(right, &received(right, who)), NOW).await;
    }
    let hosts = |proofs: Vec<KeptProof>| proofs.iter().map(|kept| kept.proof.host()).collect::<Vec<_>>();
    assert_eq!(hosts(disk.book().await.proofs().await.unwrap()), [peer(SUCCESSOR)]);

    let verdict = async |right: &Right, who| {
        acked(&disk, submit(right, &received(right, who)), NOW).await.unverified().verdict
    };
    let below = handed_right(&ticket, &on, SUCCESSOR + 1, 0, MEMBER + 3);
    let refused = Verdict::Refused(Refusal::HostCheated);
    assert_eq!(verdict(&below, MEMBER + 3).await, refused, "it rests on the cheat's word");
    // The ticket's host did it as well, with the same number: that is found in spite of the first proof.
    let above = member_right(&ticket, 1, MEMBER + 4);
    assert_eq!(verdict(&above, MEMBER + 4).await, Verdict::Accepted, "it had done nothing wrong until now");
    let guilty = hosts(disk.book().await.proofs().await.unwrap());
    assert!(guilty.len() == 2 && guilty.contains(&peer(HOST)), "{guilty:?}");
    assert_eq!(verdict(&member_right(&ticket, 0, MEMBER), MEMBER).await, refused);
}

#[tokio::test]
async fn bookings_at_the_same_time_come_one_after_the_other() {
    let disk = Disk::new().await;
    let service = disk.service().await;
    let right = member_right(&usual_ticket(), 0, MEMBER);
    let tasks = (0..24u64).map(|number| {
        let (service, at) = (service.clone(), NOW + Duration::from_secs(60 * (number / 2)));
        let used = ReceiptKind::Used { from: NOW, to: at };
        let request = submit(&right, &receipt(&right, MEMBER, used, at));
        tokio::spawn(async move { service.handle(peer(99), request, NOW).await })
    });
    for response in futures::future::join_all(tasks).await {
        assert!(matches!(response, Ok(BillingResponse::Acked(_))), "{response:?}");
    }
    // Every request was sent twice.
    let positions: Vec<_> =
        service.book().receipts().await.unwrap().iter().map(|booked| booked.position).collect();
    assert_eq!(positions, (1..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_book_of_a_newer_version_is_left_alone() {
    let disk = Disk::new().await;
    disk.book().await.close().await;
    let pool = sqlx::AnyPool::connect(&disk.books).await.unwrap();
    let newest = "UPDATE billing_migrations SET version = 9999 \
                  WHERE version = (SELECT MAX(version) FROM billing_migrations)";
    sqlx::query(newest).execute(&pool).await.unwrap();
    pool.close().await;
    assert!(matches!(Book::open(&disk.books).await, Err(OpenError::Newer)));
}

#[tokio::test]
async fn a_book_that_cannot_be_opened_says_what_is_wanted() {
    let disk = Disk::new().await;
    for url in ["mysql://localhost/x", "nonsense", "sqlite:///nowhere/at/all.db"] {
        let error = Book::open(url).await.unwrap_err();
        assert!(error.to_string().contains("a sqlite: or postgres: URL is wanted"), "{url}: {error}");
    }
    for name in ["50% of #1?.db", "%41.db", "ä;b&c=d+e\\f.db"] {
        let file = disk.dir.path().join(name);
        let before = std::fs::read_dir(disk.dir.path()).unwrap().count();
        Book::open_file(&file).await.unwrap().close().await;
        assert!(file.exists(), "{name}");
        assert_eq!(std::fs::read_dir(disk.dir.path()).unwrap().count(), before + 1, "no other file");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "its owner's alone");
    }
}

#[tokio::test]
async fn a_book_that_cannot_be_written_asks_for_patience() {
    let disk = Disk::new().await;
    let service = disk.service().await;
    service.book().close().await;
    let right = member_right(&usual_ticket(), 0, MEMBER);
    let response = service.handle(peer(99), submit(&right, &received(&right, MEMBER)), NOW).await;
    assert!(matches!(response, BillingResponse::Later), "{response:?}");
}

#[tokio::test]
async fn what_one_copy_can_add_to_the_log_has_a_bound() {
    let disk = Disk::new().await;
    let service = disk.service().await;
    let (right, other) =
        (member_right(&usual_ticket(), 0, MEMBER), member_right(&usual_ticket(), 1, MEMBER + 1));
    for kind in [ReceiptKind::Received, ReceiptKind::Started] {
        let request = submit(&right, &receipt(&right, MEMBER, kind, NOW));
        assert!(matches!(service.handle(peer(99), request, NOW).await, BillingResponse::Acked(_)));
    }
    let mut booking = service.book().begin().await.unwrap();
    assert!(booking.is_full(&right, 2).await.unwrap());
    assert!(!booking.is_full(&right, 3).await.unwrap());
    assert!(!booking.is_full(&other, 1).await.unwrap());
    // Dropped without an end, as on an error: the position is free again and nobody is locked out.
    drop(booking);
    assert_eq!(service.book().begin().await.unwrap().position, 3);
}
