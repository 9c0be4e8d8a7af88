//! What hangs together: ticket, slot, right, receipt, ack, and the time at which they do.

use super::*;
use crate::time::CLOCK_SKEW;

fn resigned(change: impl FnOnce(&mut Slot)) -> Result<(), SlotError> {
    let mut slot = unsigned_slot(0, 1);
    change(&mut slot);
    let signer = if slot.host == host().peer() { host() } else { member(9) };
    sign(&slot, &signer).unwrap().check(&ticket())
}

#[test]
fn a_ticket_is_for_its_host_and_its_time() {
    let ticket = ticket();
    assert_eq!(ticket.check(host().peer(), NOW), Ok(()));
    let error = ticket.check(member(1).peer(), NOW).unwrap_err().to_string();
    assert!(error.contains(&host().peer().to_string()), "{error}");
    let expired = ticket.check(host().peer(), ticket.expires).unwrap_err();
    assert_eq!(expired.to_string(), "the ticket expired 0 seconds ago");
    assert!(ticket.check(host().peer(), Timestamp(ticket.expires.0 - 1)).is_ok());
}

#[test]
fn a_ticket_from_the_future_is_refused_beyond_the_skew() {
    let ticket = ticket();
    let skew = u64::try_from(CLOCK_SKEW.as_millis()).unwrap();
    assert_eq!(ticket.check_time(Timestamp(NOW.0 - skew)), Ok(()));
    let error = ticket.check_time(Timestamp(NOW.0 - skew - 1000)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the ticket is from the future: it is good in 301 seconds (is the clock right?)"
    );
}

#[test]
fn a_slot_is_one_of_its_ticket() {
    assert_eq!(resigned(|_| ()), Ok(()));
    assert_eq!(resigned(|slot| slot.k = 2), Err(SlotError::BeyondCopies { k: 2, copies: 2 }));
    assert_eq!(resigned(|slot| slot.member = host().peer()), Err(SlotError::MemberIsHost));
    assert_eq!(resigned(|slot| slot.issued_at = ticket().expires), Err(SlotError::OutsideValidity));
    assert_eq!(resigned(|slot| slot.issued_at = Timestamp(0)), Err(SlotError::OutsideValidity));
    assert_eq!(resigned(|slot| slot.ticket.0[0] ^= 1), Err(SlotError::OtherTicket));
    let stranger = member(9).peer();
    assert_eq!(resigned(|slot| slot.host = stranger), Err(SlotError::NotTheHost(stranger)));
}

#[test]
fn a_generation_rests_on_the_release_of_the_one_before() {
    let first = slot(0, 1);
    assert_eq!(reissued(&first, 1, 2).check(&ticket()), Ok(()));

    let mut inflated = unsigned_slot(0, 1);
    inflated.generation = 1;
    let error = sign(&inflated, &host()).unwrap_err().to_string();
    assert_eq!(error, "not a slot: a release goes with every generation but the first");

    let with = |release: Signed<Release>, generation| {
        let slot = Slot { generation, release: Some(release), ..unsigned_slot(0, 2) };
        sign(&slot, &host()).unwrap().check(&ticket())
    };
    assert_eq!(with(release(&first, 1).to_signed(), 2), Err(SlotError::OtherRelease), "a generation skipped");
    assert_eq!(with(release(&slot(1, 1), 1).to_signed(), 1), Err(SlotError::OtherRelease), "another number");
    let mut forged = release(&first, 1).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = Signed::decode(&forged).unwrap();
    assert!(matches!(with(forged, 1), Err(SlotError::ForgedRelease(_))));
}

#[test]
fn a_right_is_checked_as_a_whole() {
    let right = Right::member(ticket(), slot(0, 1), NOW).unwrap();
    assert_eq!(right.holder(), member(1).peer());
    assert_eq!(right.to_signed().verify(NOW), Ok(right.clone()));
    assert_eq!(Right::host(ticket(), NOW).unwrap().holder(), host().peer());

    let late = ticket().expires;
    assert!(matches!(right.to_signed().verify(late), Err(RightError::Ticket(TicketError::Expired { .. }))));
    assert_eq!(right.to_signed().verify_chain(), Ok(right.clone()));

    let mut forged = slot(0, 2).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let mut signed = right.to_signed();
    signed.slot = Some(Signed::decode(&forged).unwrap());
    assert!(matches!(signed.verify(NOW), Err(RightError::Forged(_))));
}

#[test]
fn a_right_round_trips_through_serde() {
    let signed = Right::member(ticket(), slot(0, 1), NOW).unwrap().to_signed();
    let bytes = cbor4ii::serde::to_vec(Vec::new(), &signed).unwrap();
    assert_eq!(cbor4ii::serde::from_slice::<SignedRight>(&bytes).unwrap(), signed);
}

#[test]
fn a_receipt_goes_with_its_right() {
    let right = Right::member(ticket(), slot(0, 1), NOW).unwrap();
    assert_eq!(receipt().check(&right), Ok(()));
    let host_right = Right::host(ticket(), NOW).unwrap();
    assert_eq!(receipt().check(&host_right), Err(ReceiptError::OtherRight));
    let stolen = Receipt { member: member(2).peer(), ..unsigned_receipt(ReceiptKind::Received) };
    let stolen = sign(&stolen, &member(2)).unwrap();
    assert_eq!(stolen.check(&right), Err(ReceiptError::NotTheHolder(member(2).peer())));
}

#[test]
fn a_receipt_counts_by_when_it_was_made() {
    let right = Right::member(ticket(), slot(0, 1), NOW).unwrap();
    let made = |kind, at| {
        let receipt = Receipt { at, ..unsigned_receipt(kind) };
        sign(&receipt, &member(1)).unwrap().check(&right)
    };
    let late = ticket().expires + DAY;
    for kind in [ReceiptKind::Received, ReceiptKind::Started] {
        assert!(matches!(made(kind, late), Err(ReceiptError::OutsideValidity(_))));
    }
    assert_eq!(made(ReceiptKind::Ended, late), Ok(()));
    assert_eq!(made(ReceiptKind::Used { from: NOW, to: late }, late), Ok(()));
    assert!(matches!(made(ReceiptKind::Ended, Timestamp(0)), Err(ReceiptError::OutsideValidity(_))));
}

#[test]
fn what_no_receipt_says_cannot_be_signed() {
    let refused = |receipt: Receipt| sign(&receipt, &member(1)).unwrap_err().to_string();
    let no_session = Receipt { session: None, ..unsigned_receipt(ReceiptKind::Started) };
    assert_eq!(refused(no_session), "not a receipt: claim `session` is missing");
    let backwards = unsigned_receipt(ReceiptKind::Used { from: NOW + DAY, to: NOW });
    assert!(refused(backwards).contains("time of use"));
    let years = unsigned_receipt(ReceiptKind::Used { from: Timestamp(0), to: NOW });
    assert!(refused(years).contains("time of use"));
    let prophecy = unsigned_receipt(ReceiptKind::Used { from: NOW, to: NOW + DAY });
    assert!(refused(prophecy).contains("after it was made"));
}

#[test]
fn the_same_report_has_the_same_subject() {
    let right = Right::member(ticket(), slot(0, 1), NOW).unwrap();
    let again = Receipt { at: NOW + DAY, session: None, ..unsigned_receipt(ReceiptKind::Received) };
    let again = sign(&again, &member(1)).unwrap();
    assert_ne!(again.hash(), receipt().hash());
    assert_eq!(again.subject(&right), receipt().subject(&right));

    // The host signs the same place for the same member again: nothing more to pay.
    let resigned = sign(&Slot { issued_at: NOW + DAY, ..unsigned_slot(0, 1) }, &host()).unwrap();
    let other = Receipt { slot: Some(resigned.hash()), ..unsigned_receipt(ReceiptKind::Received) };
    let other = sign(&other, &member(1)).unwrap();
    let other_right = Right::member(ticket(), resigned, NOW).unwrap();
    assert_eq!(other.subject(&other_right), receipt().subject(&right));

    let started = |session| {
        let receipt = Receipt { session: Some(session), ..unsigned_receipt(ReceiptKind::Started) };
        sign(&receipt, &member(1)).unwrap().subject(&right)
    };
    assert_ne!(started(SessionId([1; 16])), started(SessionId([2; 16])));
}

#[test]
fn an_ack_answers_one_receipt_by_one_peer() {
    let receipt = receipt().hash();
    assert_eq!(ack().check(billing().peer(), receipt), Ok(()));
    assert_eq!(ack().check(host().peer(), receipt), Err(AckError::OtherPeer(billing().peer())));
    let other = crate::ids::ReceiptHash([0; 32]);
    assert_eq!(ack().check(billing().peer(), other), Err(AckError::OtherReceipt));
    let refused = Ack { verdict: Verdict::Refused(Refusal::HostCheated), ..(*ack()).clone() };
    assert_eq!(*sign(&refused, &billing()).unwrap(), refused);
}
