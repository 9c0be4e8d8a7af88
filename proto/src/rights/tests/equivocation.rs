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

#[test]
fn a_watch_finds_it_among_many() {
    let mut watch = Watch::new(16);
    assert_eq!(watch.observe(&slot(0, 1)), None);
    assert_eq!(watch.observe(&slot(1, 2)), None);
    assert_eq!(watch.observe(&slot(0, 1)), None);
    let proof = watch.observe(&slot(1, 3)).unwrap();
    assert_eq!(proof.slots(), [&slot(1, 2), &slot(1, 3)]);
}

#[test]
fn a_watch_forgets_the_oldest_beyond_its_bound() {
    let mut watch = Watch::new(2);
    for k in 0..3 {
        assert_eq!(watch.observe(&slot(k, 1)), None);
    }
    assert_eq!(watch.observe(&slot(0, 2)), None, "forgotten");
    assert!(watch.observe(&slot(2, 2)).is_some(), "remembered");
}
