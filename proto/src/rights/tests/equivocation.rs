//! A host that gives one slot to two members has signed the proof of it.

use super::*;

#[test]
fn two_members_of_one_place_are_a_proof() {
    let (one, other) = (slot(0, 1), slot(0, 2));
    let proof = EquivocationProof::find(&other, &one).unwrap();
    assert_eq!(proof.host(), host().peer());
    proof.verify(&ticket()).unwrap();
    let read = EquivocationProof::decode(&proof.encode()).unwrap();
    assert_eq!(read, proof);
}

#[test]
fn honest_pairs_are_none() {
    let first = slot(0, 1);
    let next = reissued(&first, 1, 2);
    let again = sign(&Slot { issued_at: NOW + DAY, ..unsigned_slot(0, 1) }, &host()).unwrap();
    for (one, other) in [(&first, &slot(1, 2)), (&first, &first), (&first, &next), (&first, &again)] {
        assert_eq!(EquivocationProof::find(one, other), None);
        assert_eq!(EquivocationProof::find(other, one), None);
    }
    // Two generations apart: what happened in between is not known.
    assert_eq!(EquivocationProof::find(&first, &reissued(&next, 2, 3)), None);
}

#[test]
fn a_made_up_predecessor_is_a_proof() {
    let real = slot(0, 1);
    let made_up = sign(&Slot { member: member(9).peer(), ..unsigned_slot(0, 9) }, &host()).unwrap();
    let inflated = reissued(&made_up, 9, 2);
    assert_eq!(inflated.check(&ticket()), Ok(()), "by itself it looks right");
    let proof = EquivocationProof::find(&inflated, &real).unwrap();
    assert_eq!(proof.slots()[0], &real);
    proof.verify(&ticket()).unwrap();
}

#[test]
fn a_proof_holds_only_about_slots_of_the_ticket() {
    let beyond = |to| sign(&Slot { k: 5, ..unsigned_slot(0, to) }, &host()).unwrap();
    let proof = EquivocationProof::find(&beyond(1), &beyond(2)).unwrap();
    assert!(matches!(proof.verify(&ticket()), Err(ProofError::OtherTicket(SlotError::BeyondCopies { .. }))));
}

#[test]
fn what_is_no_proof_does_not_decode() {
    let encode = |slots: &[Vec<u8>]| {
        let slots = slots.iter().map(|slot| ciborium::Value::Bytes(slot.clone())).collect();
        let mut bytes = Vec::new();
        ciborium::into_writer(&ciborium::Value::Array(slots), &mut bytes).unwrap();
        EquivocationProof::decode(&bytes)
    };
    let (one, other, third) = (slot(0, 1).bytes().to_vec(), slot(0, 2).bytes().to_vec(), slot(1, 2));
    assert!(encode(&[one.clone(), other.clone()]).is_ok());
    assert!(matches!(encode(std::slice::from_ref(&one)), Err(ProofError::Format)));
    assert!(matches!(encode(&[one.clone(), third.bytes().to_vec()]), Err(ProofError::NoContradiction)));
    let mut forged = other;
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(encode(&[one, forged]), Err(ProofError::Forged(_))));
    assert!(matches!(EquivocationProof::decode(&[0; 9000]), Err(ProofError::Format)));
}

/// Number `k`, never granted before, by `host`, who has it by `via`.
fn granted(host: &Identity, via: Option<&Verified<Handover>>, k: u32, to: u8) -> Verified<Slot> {
    let handover = via.map(Verified::to_signed);
    sign(&Slot { host: host.peer(), handover, ..unsigned_slot(k, to) }, host).unwrap()
}

/// What `host` grants after `before`, which `by` released.
fn granted_on(
    host: &Identity,
    via: Option<&Verified<Handover>>,
    before: &Verified<Slot>,
    by: u8,
    to: u8,
) -> Verified<Slot> {
    let next = Slot {
        generation: before.generation + 1,
        host: host.peer(),
        release: Some(release(before, by).to_signed()),
        handover: via.map(Verified::to_signed),
        ..unsigned_slot(before.k, to)
    };
    sign(&next, host).unwrap()
}

/// From `host`, who has the copies by `via`, all from `first` on and what was freed by `freed`.
fn passed(
    host: &Identity,
    via: Option<&Verified<Handover>>,
    to: &Identity,
    first: u32,
    freed: &[&Verified<Release>],
) -> Verified<Handover> {
    let handover = Handover {
        host: host.peer(),
        to: to.peer(),
        term: via.map_or(1, |via| via.term + 1),
        first,
        numbers: freed.iter().copied().map(Freed::by).collect(),
        via: via.map(Verified::to_signed),
        ..unsigned_handover()
    };
    sign(&handover, host).unwrap()
}

/// The guilty one of two slots, whichever comes first, and also by the bytes of the proof.
fn guilty(one: &Verified<Slot>, other: &Verified<Slot>) -> Option<PeerId> {
    let proof = EquivocationProof::find(one, other);
    let swapped = EquivocationProof::find(other, one);
    assert_eq!(proof.as_ref().map(EquivocationProof::host), swapped.as_ref().map(EquivocationProof::host));
    let read = EquivocationProof::decode(&proof.as_ref()?.encode()).unwrap();
    assert_eq!(Some(&read), proof.as_ref());
    Some(read.host())
}

#[test]
fn a_host_that_hands_a_number_over_and_grants_it_is_guilty() {
    let (first, second, third) = (host(), member(50), member(51));
    let to_second = passed(&first, None, &second, 0, &[]);
    let to_third = passed(&second, Some(&to_second), &third, 0, &[]);
    let by_first = granted(&first, None, 1, 1);
    let by_second = granted(&second, Some(&to_second), 1, 2);
    let by_third = granted(&third, Some(&to_third), 1, 3);
    for slot in [&by_first, &by_second, &by_third] {
        slot.check(&ticket()).unwrap();
    }
    assert_eq!(guilty(&by_first, &by_second), Some(first.peer()));
    assert_eq!(guilty(&by_first, &by_third), Some(first.peer()), "over one who did nothing");
    assert_eq!(guilty(&by_second, &by_third), Some(second.peer()), "not the first, who did nothing");
    let twin = granted(&second, Some(&to_second), 1, 4);
    assert_eq!(guilty(&by_second, &twin), Some(second.peer()), "both its own");
    EquivocationProof::find(&by_first, &by_third).unwrap().verify(&ticket()).unwrap();
    // For the same member, or of other numbers.
    assert_eq!(guilty(&by_first, &granted(&second, Some(&to_second), 1, 1)), None);
    assert_eq!(guilty(&by_first, &granted(&second, Some(&to_second), 0, 2)), None);
}

#[test]
fn a_host_that_hands_a_number_over_twice_is_guilty() {
    let (first, second, third) = (host(), member(50), member(51));
    let (one, other) = (passed(&first, None, &second, 0, &[]), passed(&first, None, &third, 0, &[]));
    let (by_second, by_third) = (granted(&second, Some(&one), 1, 2), granted(&third, Some(&other), 1, 3));
    assert_eq!(guilty(&by_second, &by_third), Some(first.peer()));
    // To the same one, who cannot be blamed for it.
    let again = passed(&first, None, &second, 1, &[]);
    assert_eq!(guilty(&by_second, &granted(&second, Some(&again), 1, 3)), Some(first.peer()));
    // And by one that had it itself from somebody else.
    let (on, also) =
        (passed(&third, Some(&other), &second, 0, &[]), passed(&third, Some(&other), &first, 0, &[]));
    let (on, also) = (granted(&second, Some(&on), 1, 4), granted(&first, Some(&also), 1, 5));
    assert_eq!(guilty(&on, &also), Some(third.peer()));
}

#[test]
fn a_host_to_whom_a_number_came_back_is_told_from_itself_before() {
    let (first, second) = (host(), member(50));
    let there = passed(&first, None, &second, 0, &[]);
    let back = passed(&second, Some(&there), &first, 0, &[]);
    let after = granted(&first, Some(&back), 1, 1);
    after.check(&ticket()).unwrap();
    // The second keeps what it handed back: the first is honest.
    assert_eq!(guilty(&after, &granted(&second, Some(&there), 1, 2)), Some(second.peer()));
    // The first granted before what it had not granted, as it said.
    assert_eq!(guilty(&after, &granted(&first, None, 1, 2)), Some(first.peer()));
}

#[test]
fn what_was_given_back_and_handed_over_contradicts_nothing() {
    let (first, second) = (host(), member(50));
    let zero = granted(&first, None, 0, 1);
    let one = granted_on(&first, None, &zero, 1, 2);
    let to_second = passed(&first, None, &second, 1, &[&release(&one, 2)]);
    let two = granted_on(&second, Some(&to_second), &one, 2, 3);
    let back = passed(&second, Some(&to_second), &first, 1, &[&release(&two, 3)]);
    let three = granted_on(&first, Some(&back), &two, 3, 4);
    let all = [zero, one, two, three];
    for (i, slot) in all.iter().enumerate() {
        assert_eq!((slot.generation as usize, slot.check(&ticket())), (i, Ok(())));
        assert!(all.iter().all(|other| guilty(slot, other).is_none()));
    }
}

/// A number was given back by member 2 in generation 1, and handed over. The host that did so is honest.
#[test]
fn a_successor_cannot_frame_the_host_before_it() {
    let (first, second) = (host(), member(50));
    let zero = granted(&first, None, 0, 1);
    let one = granted_on(&first, None, &zero, 1, 2);
    let to_second = passed(&first, None, &second, 1, &[&release(&one, 2)]);
    // Generation 1 once more, by the release of generation 0, which anybody can see in a slot.
    let same_again = granted_on(&second, Some(&to_second), &zero, 1, 3);
    // Generation 2 by the release of somebody made up.
    let made_up = granted_on(&second, Some(&to_second), &granted(&second, None, 0, 9), 9, 9);
    let inflated = granted_on(&second, Some(&to_second), &made_up, 9, 3);
    // A handover that was never signed.
    let mut forged = passed(&first, None, &second, 0, &[]).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = Signed::decode(&forged).unwrap();
    let unfounded = Slot { host: second.peer(), handover: Some(forged), ..unsigned_slot(0, 3) };
    let unfounded = sign(&unfounded, &second).unwrap();
    for slot in [&same_again, &inflated, &unfounded] {
        assert!(slot.check(&ticket()).is_err(), "{slot:?}");
        assert_eq!((guilty(slot, &zero), guilty(slot, &one)), (None, None), "{slot:?}");
    }
    // Slots that go back to somebody else than the ticket's host accuse nobody.
    let own = passed(&member(51), None, &second, 0, &[]);
    assert_eq!(guilty(&granted(&second, Some(&own), 0, 3), &zero), None);
}

/// A number was given back and handed over, but the host that did so cheats, and the successor is honest.
#[test]
fn a_host_cannot_frame_its_successor() {
    let (first, second) = (host(), member(50));
    let zero = granted(&first, None, 0, 1);
    let to_second = passed(&first, None, &second, 1, &[&release(&zero, 1)]);
    let by_second = granted_on(&second, Some(&to_second), &zero, 1, 2);
    let kept = granted_on(&first, None, &zero, 1, 3);
    assert_eq!(guilty(&by_second, &kept), Some(first.peer()), "granted as well as handed over");
    // It goes on from what it kept, or from what the successor granted.
    let further = granted_on(&first, None, &made_up_before(&by_second), 9, 4);
    assert_eq!(guilty(&by_second, &further), Some(first.peer()));
    // It hands over what a made-up member gave back, while a real one has it.
    let made_up = granted(&first, None, 0, 9);
    let to_second = passed(&first, None, &second, 1, &[&release(&made_up, 9)]);
    let by_second = granted_on(&second, Some(&to_second), &made_up, 9, 2);
    by_second.check(&ticket()).unwrap();
    assert_eq!(guilty(&by_second, &zero), Some(first.peer()));
}

/// At the place of `slot`, but member 9's.
fn made_up_before(slot: &Slot) -> Verified<Slot> {
    let made_up = Slot { host: host().peer(), member: member(9).peer(), handover: None, ..slot.clone() };
    sign(&made_up, &host()).unwrap()
}
