//! What a handover hands over, and what slots it is good for.

use super::*;

/// By member 5 to member 6, resting on [`handover`], with `change`.
fn next(change: impl FnOnce(&mut Handover)) -> Result<Verified<Handover>, SignError> {
    let mut next = Handover {
        term: 2,
        host: member(5).peer(),
        to: member(6).peer(),
        via: Some(handover().to_signed()),
        ..unsigned_handover()
    };
    change(&mut next);
    let signer = if next.host == host().peer() { host() } else { member(5) };
    sign(&next, &signer)
}

fn checked(change: impl FnOnce(&mut Handover)) -> Result<(), HandoverError> {
    next(change).unwrap().check(&ticket())
}

fn resigned(change: impl FnOnce(&mut Slot)) -> Result<(), SlotError> {
    let mut slot = (*handed_slot()).clone();
    change(&mut slot);
    let signer = if slot.host == host().peer() { host() } else { member(5) };
    sign(&slot, &signer).unwrap().check(&ticket())
}

fn forged<T: Item>(item: &Verified<T>) -> Signed<T> {
    let mut bytes = item.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    Signed::decode(&bytes).unwrap()
}

#[test]
fn a_handover_is_of_a_ticket_and_goes_down_to_its_host() {
    assert_eq!(handover().check(&ticket()), Ok(()));
    assert_eq!([0, 1, 9].map(|k| handover().covers(k)), [true; 3]);
    assert_eq!([0, 1].map(|k| next(|_| ()).unwrap().covers(k)), [false, true]);
    assert_eq!(checked(|_| ()), Ok(()));
    assert_eq!(checked(|next| next.to = host().peer()), Ok(()), "handed back");
    assert_eq!(checked(|next| next.ticket.0[0] ^= 1), Err(HandoverError::OtherTicket));
    let stranger = member(5).peer();
    assert_eq!(checked(|next| next.via = None), Err(HandoverError::NotTheHost(stranger)));
    let to_other = Handover { to: member(7).peer(), ..unsigned_handover() };
    let to_other = sign(&to_other, &host()).unwrap().to_signed();
    assert_eq!(checked(|next| next.via = Some(to_other)), Err(HandoverError::Gap(stranger)));
    let beyond = HandoverError::BeyondCopies { first: 3, copies: 2 };
    assert_eq!(checked(|next| next.first = 3), Err(beyond));
    let bad = forged(&handover());
    assert!(matches!(checked(|next| next.via = Some(bad)), Err(HandoverError::Forged(_))));
    let other_ticket = Handover { ticket: crate::ids::TicketHash([9; 32]), ..unsigned_handover() };
    let other_ticket = sign(&other_ticket, &host()).unwrap().to_signed();
    assert_eq!(checked(|next| next.via = Some(other_ticket)), Err(HandoverError::OtherTicket));
}

#[test]
fn terms_rise_within_a_session() {
    assert_eq!(checked(|next| next.term = 1), Err(HandoverError::Term));
    let elsewhere = |next: &mut Handover| (next.term, next.session) = (1, SessionId([1; 16]));
    assert_eq!(checked(elsewhere), Ok(()));
    // Also over one of another session in between.
    let between = next(elsewhere).unwrap();
    let again = Handover {
        host: member(6).peer(),
        to: member(7).peer(),
        via: Some(between.to_signed()),
        ..unsigned_handover()
    };
    assert_eq!(sign(&again, &member(6)).unwrap().check(&ticket()), Err(HandoverError::Term));
}

#[test]
fn nobody_hands_on_what_was_not_handed_over() {
    let freed = Freed::by(&release(&slot(0, 1), 1));
    let numbers = |numbers: Vec<Freed>| checked(|next| next.numbers = numbers);
    assert_eq!(numbers(vec![freed]), Ok(()));
    assert_eq!(
        numbers(vec![Freed { generation: 1, release: [1; 16], ..freed }]),
        Ok(()),
        "granted meanwhile"
    );
    let widened = Err(HandoverError::Widened);
    assert_eq!(numbers(vec![Freed { release: [1; 16], ..freed }]), widened, "freed by something else");
    assert_eq!(checked(|next| next.first = 0), widened);
    // Of a number that was never granted, whatever freed it since.
    let next = checked(|next| (next.first, next.numbers) = (2, vec![freed, Freed { k: 1, ..freed }]));
    assert_eq!(next, Ok(()));
    // Of a number that its host kept.
    let kept = sign(&unsigned_handover(), &host()).unwrap().to_signed();
    let kept = checked(|next| (next.numbers, next.via) = (vec![freed], Some(kept)));
    assert_eq!(kept, widened);
}

#[test]
fn what_no_handover_says_cannot_be_signed() {
    let refused = |change: fn(&mut Handover)| next(change).unwrap_err().to_string();
    let freed = |k| Freed { k, generation: 0, release: [0; 16] };
    assert!(refused(|next| next.term = 0).contains("term"));
    assert!(refused(|next| next.to = next.host).contains("to its own host"));
    let order = "not a handover: its numbers are not in order";
    let numbers = |first, numbers: &[u32]| {
        let numbers = numbers.iter().copied().map(freed).collect();
        next(|next| (next.first, next.numbers) = (first, numbers))
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(numbers(5, &[2, 4]), Ok(()));
    for (first, list) in [(5, [4, 2]), (5, [2, 2]), (4, [2, 4])] {
        assert_eq!(numbers(first, &list), Err(order.to_owned()));
    }
    let most = u32::try_from(MAX_HANDED_NUMBERS).unwrap();
    assert!(numbers(100, &(0..most).collect::<Vec<_>>()).is_ok());
    let error = numbers(100, &(0..=most).collect::<Vec<_>>()).unwrap_err();
    assert!(error.contains("`numbers` is not a short list"), "{error}");
}

#[test]
fn a_slot_of_a_successor_proves_where_its_host_has_the_number_from() {
    assert_eq!(handed_slot().check(&ticket()), Ok(()));
    let right = Right::member(ticket(), handed_slot(), NOW).unwrap();
    assert_eq!((right.granted_by(), right.holder()), (member(5).peer(), member(2).peer()));
    assert_eq!(right.hosts(), [host().peer(), member(5).peer()]);
    assert_eq!(right.to_signed().verify(NOW), Ok(right));

    let fresh = |k| resigned(|slot| (slot.k, slot.generation, slot.release) = (k, 0, None));
    assert_eq!(fresh(1), Ok(()));
    assert_eq!(fresh(0), Err(SlotError::NotHandedOver), "it was given back, and begins with generation 1");
    assert_eq!(fresh(2), Err(SlotError::BeyondCopies { k: 2, copies: 2 }));
    let other =
        release(&sign(&Slot { member: member(9).peer(), ..unsigned_slot(0, 9) }, &host()).unwrap(), 9);
    let other = resigned(|slot| slot.release = Some(other.to_signed()));
    assert_eq!(other, Err(SlotError::NotHandedOver), "it was freed by another release");
    let later = release(&handed_slot(), 2).to_signed();
    assert_eq!(resigned(|slot| (slot.generation, slot.release) = (2, Some(later))), Ok(()));

    let kept = sign(&unsigned_handover(), &host()).unwrap().to_signed();
    assert_eq!(resigned(|slot| slot.handover = Some(kept)), Err(SlotError::NotHandedOver));
    let other_host = resigned(|slot| slot.host = host().peer());
    assert_eq!(other_host, Err(SlotError::NotHandedOver), "it was handed over to somebody else");
    let stranger = member(5).peer();
    assert_eq!(resigned(|slot| slot.handover = None), Err(SlotError::NotTheHost(stranger)));
    for host in [host().peer(), stranger] {
        assert_eq!(resigned(|slot| slot.member = host), Err(SlotError::MemberIsHost));
    }
    let bad = forged(&handover());
    let bad = resigned(|slot| slot.handover = Some(bad));
    assert!(matches!(bad, Err(SlotError::Handover(HandoverError::Forged(_)))));
    // Somebody who says that the ticket was its own.
    let own = Handover { host: member(9).peer(), ..unsigned_handover() };
    let own = sign(&own, &member(9)).unwrap().to_signed();
    let own =
        resigned(|slot| (slot.k, slot.generation, slot.release, slot.handover) = (1, 0, None, Some(own)));
    assert_eq!(own, Err(SlotError::NotTheHost(member(9).peer())));
}

/// Who has the copies after so many handovers, in a line that does not begin with a ticket.
fn hands(depth: usize) -> Identity {
    member(u8::try_from(depth).unwrap() + 20)
}

/// As many handovers as there may be, with numbers, generations, terms and times as large as they get.
fn longest_line() -> Handover {
    let most = u32::try_from(MAX_HANDED_NUMBERS).unwrap();
    let late = NOW + 36_500 * DAY;
    let freed = |index| Freed { k: MAX_COPIES - 2 - index, generation: u32::MAX - 1, release: [0xff; 16] };
    let mut line: Option<Handover> = None;
    for (depth, term) in (0..MAX_HANDOVERS).zip(u32::MAX - 10..) {
        let via = line.map(|older| sign(&older, &hands(depth - 1)).unwrap().to_signed());
        let (host, to) = (hands(depth).peer(), hands(depth + 1).peer());
        let numbers = (0..most).rev().map(freed).collect();
        line = Some(Handover {
            term,
            host,
            to,
            first: MAX_COPIES - 1,
            numbers,
            at: late,
            via,
            ..unsigned_handover()
        });
    }
    line.unwrap()
}

#[test]
fn the_longest_line_fits_into_an_item() {
    let line = sign(&longest_line(), &hands(MAX_HANDOVERS - 1)).unwrap();
    assert_eq!((line.depth(), line.check_line()), (MAX_HANDOVERS, Ok(hands(0).peer())));
    let last = hands(MAX_HANDOVERS);
    let via = Some(line.to_signed());
    let error = sign(&Handover { term: u32::MAX, host: last.peer(), via, ..unsigned_handover() }, &last);
    assert!(error.unwrap_err().to_string().contains("too many"), "one more");

    let (k, late) = (MAX_COPIES - 2, NOW + 36_500 * DAY);
    let release = Release {
        k,
        generation: MAX_GENERATION - 1,
        released_at: late,
        ..(*release(&slot(0, 1), 1)).clone()
    };
    let slot = Slot {
        k,
        generation: MAX_GENERATION,
        host: last.peer(),
        issued_at: late,
        release: Some(sign(&release, &member(1)).unwrap().to_signed()),
        handover: Some(line.to_signed()),
        ..unsigned_slot(0, 2)
    };
    let slot = sign(&slot, &last).unwrap();
    let len = slot.bytes().len();
    assert!((3500..=MAX_ITEM_LEN).contains(&len), "{len} bytes");
    let twin = sign(&Slot { member: member(3).peer(), ..(*slot).clone() }, &last).unwrap();
    let proof = EquivocationProof::find(&slot, &twin).unwrap();
    assert_eq!(EquivocationProof::decode(&proof.encode()).unwrap(), proof);
}
