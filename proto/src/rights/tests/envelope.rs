//! What the envelope lets through: one form, one kind, one signer.

use coset::{CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable as _, iana};
use proptest::prelude::*;

use super::*;
use crate::rights::{
    claims::{ClaimError, Claims, key},
    envelope::Fault,
};

/// Signs any payload under any context and header, as `by`.
fn forge(by: &Identity, context: &str, alg: iana::Algorithm, payload: Vec<u8>) -> CoseSign1 {
    CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(alg).build())
        .payload(payload)
        .create_signature(context.as_bytes(), |message| by.sign(message).to_vec())
        .build()
}

fn decode(envelope: CoseSign1) -> Result<Signed<Ticket>, Fault> {
    Signed::decode(&envelope.to_tagged_vec().unwrap()).map_err(|error| error.fault)
}

fn passes<T: Item>(bytes: &[u8]) -> bool {
    Signed::<T>::decode(bytes).is_ok_and(|signed| signed.verify().is_ok())
}

#[test]
fn every_flipped_bit_is_refused() {
    let good = ticket().bytes().to_vec();
    assert!(passes::<Ticket>(&good));
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!passes::<Ticket>(&bytes), "bit {bit}");
    }
}

#[test]
fn every_truncation_and_a_trailing_byte_is_refused() {
    let good = ticket().bytes().to_vec();
    for len in 0..good.len() {
        assert!(Signed::<Ticket>::decode(&good[..len]).is_err(), "{len} bytes");
    }
    let trailing = [&good[..], &[0]].concat();
    assert!(Signed::<Ticket>::decode(&trailing).is_err());
    let long = vec![0xd2; MAX_ITEM_LEN + 1];
    assert!(matches!(Signed::<Ticket>::decode(&long).unwrap_err().fault, Fault::TooLong { .. }));
}

#[test]
fn no_kind_passes_for_another() {
    let all = [
        ticket().bytes().to_vec(),
        slot(0, 1).bytes().to_vec(),
        release(&slot(0, 1), 1).bytes().to_vec(),
        handover().bytes().to_vec(),
        receipt().bytes().to_vec(),
        ack().bytes().to_vec(),
    ];
    for (kind, bytes) in all.iter().enumerate() {
        let as_each = [
            passes::<Ticket>(bytes),
            passes::<Slot>(bytes),
            passes::<Release>(bytes),
            passes::<Handover>(bytes),
            passes::<Receipt>(bytes),
            passes::<Ack>(bytes),
        ];
        for (other, passed) in as_each.into_iter().enumerate() {
            assert_eq!(passed, kind == other, "{kind} as {other}");
        }
    }
    // The right claims under another kind's context.
    let payload = unsigned_ticket().to_claims().encode();
    let forged = forge(&origin(), Slot::CONTEXT, iana::Algorithm::EdDSA, payload);
    assert!(decode(forged).unwrap().verify().is_err());
}

#[test]
fn only_the_issuer_signs() {
    let error = sign(&unsigned_ticket(), &host()).unwrap_err();
    assert!(matches!(error, SignError::NotIssuer { .. }), "{error}");
    let forged =
        forge(&host(), Ticket::CONTEXT, iana::Algorithm::EdDSA, unsigned_ticket().to_claims().encode());
    let error = decode(forged).unwrap().verify().unwrap_err();
    assert_eq!(error.issuer, origin().peer());
}

#[test]
fn other_headers_are_refused() {
    let payload = || unsigned_ticket().to_claims().encode();
    let other = forge(&origin(), Ticket::CONTEXT, iana::Algorithm::ES256, payload());
    assert!(matches!(decode(other), Err(Fault::Headers)));
    let mut unprotected = forge(&origin(), Ticket::CONTEXT, iana::Algorithm::EdDSA, payload());
    unprotected.unprotected = HeaderBuilder::new().key_id(b"1".to_vec()).build();
    assert!(matches!(decode(unprotected), Err(Fault::Headers)));
    let mut detached = forge(&origin(), Ticket::CONTEXT, iana::Algorithm::EdDSA, payload());
    detached.payload = None;
    assert!(matches!(decode(detached), Err(Fault::Claims(ClaimError::NotClaims))));
}

#[test]
fn one_content_has_one_encoding_and_one_name() {
    let good = ticket();
    // The same envelope with the payload's length in five bytes instead of three.
    let mut longer = good.bytes().to_vec();
    assert_eq!(longer[7], 0x59);
    longer.splice(7..8, [0x5a, 0, 0]);
    assert!(matches!(Signed::<Ticket>::decode(&longer).unwrap_err().fault, Fault::NotCanonical));
    // The same claims in another order, signed by the origin itself.
    let payload = unsigned_ticket().to_claims().encode();
    let ciborium::Value::Map(mut map) = ciborium::from_reader(&payload[..]).unwrap() else { panic!() };
    map.reverse();
    let mut reversed = Vec::new();
    ciborium::into_writer(&ciborium::Value::Map(map), &mut reversed).unwrap();
    let envelope = forge(&origin(), Ticket::CONTEXT, iana::Algorithm::EdDSA, reversed);
    assert!(matches!(decode(envelope), Err(Fault::NotCanonical)));
    // Another signature over the same content does not make another thing.
    let mut bytes = good.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let resigned = Signed::<Ticket>::decode(&bytes).unwrap();
    assert_eq!(*resigned.unverified(), *good);
    assert_ne!(resigned, good.to_signed());
}

#[test]
fn claims_that_do_not_belong_are_refused() {
    let signed =
        |claims: Claims| decode(forge(&origin(), Ticket::CONTEXT, iana::Algorithm::EdDSA, claims.encode()));
    let claims = || unsigned_ticket().to_claims();
    let refused = |claims| match signed(claims) {
        Err(Fault::Claims(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(claims().with(key::K, &1u32)), ClaimError::Unknown(-65544));
    assert_eq!(refused(claims().with(key::COPIES, &1u32)), ClaimError::Duplicate(-65538));
    let mut missing = claims();
    missing.take::<bool>(key::OFFLINE_ISSUE).unwrap();
    assert_eq!(refused(missing.clone()), ClaimError::Missing("offline issue"));
    let mistyped = refused(missing.with(key::OFFLINE_ISSUE, &1u32));
    assert_eq!(mistyped.to_string(), "claim `offline issue` is not true or false");
}

#[test]
fn what_no_ticket_says_cannot_be_signed() {
    type Spoil = fn(&mut Ticket);
    let cases: [(&str, Spoil); 6] = [
        ("copies", |ticket| ticket.copies = 0),
        ("copies", |ticket| ticket.copies = MAX_COPIES + 1),
        ("sub", |ticket| ticket.name = String::new()),
        ("sub", |ticket| ticket.name = "a\u{1b}[2J".to_owned()),
        ("billing", |ticket| ticket.billing = peers(9)),
        ("expires before", |ticket| ticket.expires = ticket.not_before),
    ];
    for (why, spoil) in cases {
        let mut ticket = unsigned_ticket();
        spoil(&mut ticket);
        let error = sign(&ticket, &origin()).unwrap_err().to_string();
        assert!(error.starts_with("not a ticket: ") && error.contains(why), "{error}");
    }
}

#[test]
fn weak_keys_sign_nothing() {
    // The neutral element, for which anybody can make a signature that a lax check lets pass.
    let mut weak = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20, 0x01];
    weak.resize(38, 0);
    let weak = bs58::encode(weak).into_string();
    let mut claims = unsigned_ticket().to_claims();
    claims.take::<String>(key::ISSUER).unwrap();
    let payload = claims.with(key::ISSUER, &weak).encode();
    let mut forged = forge(&origin(), Ticket::CONTEXT, iana::Algorithm::EdDSA, payload);
    forged.signature = [&[1][..], &[0; 63]].concat();
    assert!(matches!(decode(forged), Err(Fault::Claims(ClaimError::Mistyped { claim: "iss", .. }))));
}

#[test]
fn signing_cuts_times_to_whole_seconds() {
    let mut ticket = unsigned_ticket();
    ticket.issued_at = Timestamp(NOW.0 + 999);
    assert_eq!(sign(&ticket, &origin()).unwrap().issued_at, NOW);
}

#[test]
fn serde_checks_what_it_reads() {
    let good = ticket();
    let bytes = cbor4ii::serde::to_vec(Vec::new(), &good).unwrap();
    assert_eq!(bytes.len(), good.bytes().len() + 3, "as a byte string");
    assert_eq!(cbor4ii::serde::from_slice::<Verified<Ticket>>(&bytes).unwrap(), good);
    let mut forged = bytes.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(cbor4ii::serde::from_slice::<Signed<Ticket>>(&forged).is_ok());
    let error = cbor4ii::serde::from_slice::<Verified<Ticket>>(&forged).unwrap_err().to_string();
    assert!(error.contains("signature is wrong"), "{error}");
}

prop_compose! {
    fn any_ticket()(
        id: [u8; 16],
        name in "[^\\p{Cc}]{1,40}",
        program: [u8; 32],
        copies in 1..=MAX_COPIES,
        times in prop::array::uniform3(0u64..1 << 34),
        lease in prop::option::of((0u64..1 << 40, 0u64..1 << 40)),
        prices in prop::array::uniform4(0u64..=1_000_000_000),
        version: u32,
        billing in 0..=8u8,
        offline_issue: bool,
    ) -> Ticket {
        let [issued_at, not_before, expires] = times.map(Timestamp::from_secs);
        let lease = lease.map(|(length, grace)| LeaseTerms {
            length: Duration::from_secs(length),
            grace: Duration::from_secs(grace),
        });
        let [copy, reception, per_use, minute] = prices;
        let price = format!("copy={copy}EUR,reception={reception}EUR,use={per_use}EUR,minute={minute}EUR");
        let tariff = price.parse::<crate::billing::Tariff>().unwrap().with_version(version);
        Ticket {
            id, origin: origin().peer(), host: host().peer(), name, program: ProgramId(program), copies, issued_at,
            not_before, expires: expires.max(not_before + Duration::from_secs(1)), terms: Terms { tariff, lease },
            billing: peers(billing), offline_issue,
        }
    }
}

proptest! {
    #[test]
    fn tickets_round_trip(ticket in any_ticket()) {
        let signed = sign(&ticket, &origin()).unwrap();
        prop_assert_eq!(&*signed, &ticket);
        let read = Signed::<Ticket>::decode(signed.bytes()).unwrap().verify().unwrap();
        prop_assert_eq!(read.hash(), signed.hash());
        prop_assert_eq!(&*read, &ticket);
    }

    #[test]
    fn receipts_round_trip(kind in 0..4, from in 0u64..1 << 34, used in 0u64..31_000_000, in_session: bool) {
        let (from, to) = (Timestamp::from_secs(from), Timestamp::from_secs(from + used));
        let kind = match kind {
            0 => ReceiptKind::Received,
            1 => ReceiptKind::Started,
            2 => ReceiptKind::Used { from, to },
            _ => ReceiptKind::Ended,
        };
        let mut receipt = unsigned_receipt(kind);
        receipt.at = to;
        if kind == ReceiptKind::Received && !in_session {
            receipt.session = None;
        }
        let signed = sign(&receipt, &member(1)).unwrap();
        prop_assert_eq!(&*signed, &receipt);
    }

    #[test]
    fn arbitrary_bytes_are_refused_quietly(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Signed::<Ticket>::decode(&bytes).is_err());
        prop_assert!(Signed::<Handover>::decode(&bytes).is_err());
        prop_assert!(EquivocationProof::decode(&bytes).is_err());
        prop_assert!(Claims::decode(&bytes).is_err() || !bytes.is_empty());
    }

    /// Signed nonsense: a cheating peer can get any payload past the signature.
    #[test]
    fn arbitrary_payloads_are_refused_quietly(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(forge(&origin(), Ticket::CONTEXT, iana::Algorithm::EdDSA, payload)).is_err());
    }

    #[test]
    fn damaged_items_are_refused_quietly(at in 0usize..1000, with in prop::collection::vec(any::<u8>(), 1..8)) {
        let mut bytes = handed_slot().bytes().to_vec();
        let at = at % bytes.len();
        let end = (at + with.len()).min(bytes.len());
        prop_assume!(bytes[at..end] != with[..end - at]);
        bytes.splice(at..end, with);
        prop_assert!(!passes::<Slot>(&bytes));
    }
}
