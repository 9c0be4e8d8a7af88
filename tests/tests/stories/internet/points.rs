//! Rendezvous points that answer what nobody asked: a contact is found through a good one nevertheless.

use libp2p::{Multiaddr, core::PeerRecord, identity::Keypair};
use parlor_tests::{
    stage::{Plan, Stage},
    wait_until,
};

use super::{
    bad_relays::{logged, play_beside},
    rogue::{NOWHERE, Rogue, Wrong, field, framed, varint},
};

/// The types of messages, and the status of an answer, in a rendezvous point's protobuf.
const UNREGISTER: u64 = 2;
const DISCOVERED: u64 = 4;
const OK: u64 = 0;
/// For how long a registration may be good, seconds.
const HOURS: u64 = 7200;

/// A field with a number.
fn number(field: u8, number: u64) -> Vec<u8> {
    [&[field << 3], &varint(number)[..]].concat()
}

/// An answer with so many registrations of somebody's, each good for so many seconds.
fn discovered(registrations: usize, seconds: u64) -> Vec<u8> {
    let nowhere: Multiaddr = NOWHERE.parse().expect("an address");
    let record = PeerRecord::new(&Keypair::generate_ed25519(), vec![nowhere]).expect("keys that sign");
    let record = record.into_signed_envelope().into_protobuf_encoding();
    let registration = [field(1, b"parlor"), field(2, &record), number(3, seconds)].concat();
    let cookie = [0; 8];
    let answer = [field(1, &registration).repeat(registrations), field(2, &cookie), number(3, OK)].concat();
    framed(&[number(1, DISCOVERED), field(6, &answer)].concat())
}

/// A session of nodes that have such a point for a relay too, and whose contacts are found at a good one.
fn beside(answer: Vec<u8>) -> (Rogue, Stage) {
    let plan = Plan::new().relay(&[]);
    let rogue = Rogue::up(plan.internet().host(), Wrong::Answers(answer));
    let stage = play_beside(plan, &rogue.address);
    (rogue, stage)
}

#[test]
fn a_point_that_floods_is_told_of_once_and_does_no_harm() {
    let (rogue, stage) = beside(discovered(500, HOURS));
    let node = &stage.cast.host;
    let told = || {
        let lines = logged(node, &rogue.peer);
        lines.into_iter().filter(|line| line.contains("far more than was asked for")).collect::<Vec<_>>()
    };
    wait_until("the host to say that it was flooded", || {
        if told().is_empty() { Err(format!("{:#?}", logged(node, &rogue.peer))) } else { Ok(()) }
    });
    assert_eq!(told().len(), 1, "{:#?}", told());
    assert!(told()[0].contains("not asked again"), "{:#?}", told());
}

#[test]
fn a_point_that_pours_out_bytes_does_no_harm() {
    const MIB: usize = 1 << 20;
    // Longer than may be, and as long as may be.
    for length in [u64::MAX, MIB as u64 - 1] {
        beside([varint(length), vec![b'x'; 16 * MIB]].concat());
    }
}

#[test]
fn a_point_that_answers_with_a_request_does_no_harm() {
    let request = [number(1, UNREGISTER), field(4, &field(1, b"parlor"))].concat();
    beside(framed(&request));
}

#[test]
fn a_point_that_knows_somebody_for_ever_does_no_harm() {
    beside(discovered(1, u64::MAX));
}
