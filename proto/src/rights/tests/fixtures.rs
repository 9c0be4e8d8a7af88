//! Golden fixtures: the exact bytes of one item of each kind, as commented hex in `proto/fixtures/rights`.
//! A change of them is a change of what nodes say to each other.

use super::*;

/// The bytes of a commented hex dump: `#` starts a comment, white space does not matter.
fn bytes_of(dump: &str) -> Vec<u8> {
    let digits: String = dump.lines().flat_map(|line| line.split('#').next()).collect();
    hex::decode(digits.split_whitespace().collect::<String>()).unwrap()
}

fn check<T: Item>(item: &Verified<T>, dump: &str) {
    let golden = bytes_of(dump);
    assert_eq!(hex::encode(item.bytes()), hex::encode(&golden), "{} is written otherwise", T::NAME);
    let read = Signed::<T>::decode(&golden).unwrap().verify().unwrap();
    assert_eq!(*read, **item);
    assert_eq!(read.hash(), item.hash());
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../fixtures/rights/", $name, ".hex"))
    };
}

#[test]
fn every_kind_has_its_golden_bytes() {
    check(&ticket(), fixture!("ticket"));
    check(&slot(0, 1), fixture!("slot"));
    check(&release(&slot(0, 1), 1), fixture!("release"));
    check(&reissued(&slot(0, 1), 1, 2), fixture!("slot-reissued"));
    check(&handover(), fixture!("handover"));
    check(&handed_slot(), fixture!("slot-handed-over"));
    check(&receipt(), fixture!("receipt"));
    check(&ack(), fixture!("ack"));
}

/// What `parlor proof export` writes, and anybody can check.
#[test]
fn a_proof_has_its_golden_bytes() {
    let proof = EquivocationProof::find(&slot(0, 1), &slot(0, 2)).unwrap();
    let golden = bytes_of(fixture!("proof"));
    assert_eq!(hex::encode(proof.encode()), hex::encode(&golden), "a proof is written otherwise");
    let read = EquivocationProof::decode(&golden).unwrap();
    assert_eq!((read.host(), read.ticket()), (host().peer(), ticket().hash()));
    read.verify(&ticket()).unwrap();
}

/// Two chains that part, of which the second goes on from somebody made up.
#[test]
fn a_proof_of_neighbours_has_its_golden_bytes() {
    let made_up = slot(0, 9);
    let proof = EquivocationProof::find(&slot(0, 1), &reissued(&made_up, 9, 2)).unwrap();
    let golden = bytes_of(fixture!("proof-parted"));
    assert_eq!(hex::encode(proof.encode()), hex::encode(&golden), "a proof is written otherwise");
    let read = EquivocationProof::decode(&golden).unwrap();
    assert_eq!((read.host(), read.ticket()), (host().peer(), ticket().hash()));
    read.verify(&ticket()).unwrap();
}

#[test]
fn the_hash_of_the_golden_ticket_is_over_its_sig_structure() {
    let golden = bytes_of(fixture!("ticket"));
    // The envelope: tag and array (2), protected (4), nothing unprotected (1), the payload with its head of
    // 3 bytes, the signature with its head of 2.
    let payload = &golden[10..golden.len() - 66];
    let mut signed = vec![0x84, 0x6a];
    signed.extend(b"Signature1");
    signed.extend([0x43, 0xa1, 0x01, 0x27, 0x50]);
    signed.extend(b"parlor ticket v1");
    signed.extend(&golden[7..10]);
    signed.extend(payload);
    assert!(origin().peer().verifies(&signed, &golden[golden.len() - 64..]));
    assert_eq!(ticket().hash().as_bytes(), blake3::hash(&signed).as_bytes());
}

/// What any CWT library sees in a ticket.
#[test]
fn a_ticket_is_a_cwt_claims_set() {
    use coset::{
        CborSerializable as _, CoseSign1, TaggedCborSerializable as _, cwt::ClaimsSet, cwt::Timestamp,
    };
    let envelope = CoseSign1::from_tagged_slice(&bytes_of(fixture!("ticket"))).unwrap();
    let claims = ClaimsSet::from_slice(&envelope.payload.unwrap()).unwrap();
    assert_eq!(claims.issuer, Some(origin().peer().to_string()));
    assert_eq!(claims.subject.as_deref(), Some("chat"));
    assert_eq!(claims.not_before, Some(Timestamp::WholeSeconds(1_893_456_000)));
    assert_eq!(claims.cwt_id, Some(vec![0x11; 16]));
    assert!(claims.rest.iter().all(|(name, _)| matches!(name, coset::cwt::ClaimName::PrivateUse(_))));
}
