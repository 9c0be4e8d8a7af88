//! Tests of the chain of rights, over one cast: an origin, a host, members, a billing peer, all with fixed
//! keys, at a fixed time.
#![allow(clippy::unwrap_used)]

mod chain;
mod copies;
mod envelope;
mod equivocation;
mod fixtures;
mod handing;
mod handover;
mod ledger;

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    billing::copies::{News, Places},
    identity::{Identity, PeerId},
    ids::{ProgramId, SessionId},
    time::Timestamp,
};

/// 2030-01-01T00:00:00Z: when tickets are issued here.
const NOW: Timestamp = Timestamp(1_893_456_000_000);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn origin() -> Identity {
    Identity::from_seed(&[1; 32])
}

fn host() -> Identity {
    Identity::from_seed(&[2; 32])
}

fn billing() -> Identity {
    Identity::from_seed(&[3; 32])
}

fn member(number: u8) -> Identity {
    Identity::from_seed(&[100 + number; 32])
}

fn unsigned_ticket() -> Ticket {
    Ticket {
        id: [0x11; 16],
        origin: origin().peer(),
        host: host().peer(),
        name: "chat".to_owned(),
        program: ProgramId([0x22; 32]),
        copies: 2,
        issued_at: NOW,
        not_before: NOW,
        expires: NOW + 30 * DAY,
        terms: Terms {
            tariff: "copy=100EUR,reception=5EUR".parse().unwrap(),
            lease: Some(LeaseTerms { length: DAY, grace: DAY / 24 }),
        },
        billing: vec![billing().peer()],
        offline_issue: true,
    }
}

fn ticket() -> Verified<Ticket> {
    sign(&unsigned_ticket(), &origin()).unwrap()
}

fn unsigned_slot(k: u32, to: u8) -> Slot {
    Slot {
        ticket: ticket().hash(),
        k,
        generation: 0,
        host: host().peer(),
        member: member(to).peer(),
        issued_at: NOW + Duration::from_secs(60),
        release: None,
        handover: None,
    }
}

fn slot(k: u32, to: u8) -> Verified<Slot> {
    sign(&unsigned_slot(k, to), &host()).unwrap()
}

fn release(slot: &Verified<Slot>, by: u8) -> Verified<Release> {
    let release = Release {
        ticket: slot.ticket,
        slot: slot.hash(),
        k: slot.k,
        generation: slot.generation,
        member: member(by).peer(),
        released_at: NOW + Duration::from_secs(120),
    };
    sign(&release, &member(by)).unwrap()
}

/// The slot of the generation after `slot`, which `by` released, for `to`.
fn reissued(slot: &Verified<Slot>, by: u8, to: u8) -> Verified<Slot> {
    let next = Slot {
        generation: slot.generation + 1,
        member: member(to).peer(),
        release: Some(release(slot, by).to_signed()),
        ..(**slot).clone()
    };
    sign(&next, &host()).unwrap()
}

/// All slots of the one ticket that were ever seen, by number.
#[derive(Default)]
struct Watch(BTreeMap<u32, Places>);

impl Watch {
    /// The proofs that are in a slot and those seen before.
    fn observe(&mut self, slot: &Verified<Slot>) -> Vec<EquivocationProof> {
        self.0.entry(slot.k).or_default().learn(slot, News::Granted)
    }
}

/// The session in which copies change hands.
const SESSION: SessionId = SessionId([0x33; 16]);

/// From the ticket's host to member 5: all that was never granted, from number 1 on.
fn unsigned_handover() -> Handover {
    Handover {
        ticket: ticket().hash(),
        session: SESSION,
        term: 1,
        host: host().peer(),
        to: member(5).peer(),
        first: 1,
        numbers: vec![],
        at: NOW + Duration::from_secs(150),
        via: None,
    }
}

/// As [`unsigned_handover`], but number 0 was given back by member 1 and goes along.
fn handover() -> Verified<Handover> {
    let numbers = vec![Freed::by(&release(&slot(0, 1), 1))];
    sign(&Handover { numbers, ..unsigned_handover() }, &host()).unwrap()
}

/// Number 0, which member 1 gave back, granted by member 5 to member 2.
fn handed_slot() -> Verified<Slot> {
    let slot = Slot {
        generation: 1,
        host: member(5).peer(),
        release: Some(release(&slot(0, 1), 1).to_signed()),
        handover: Some(handover().to_signed()),
        ..unsigned_slot(0, 2)
    };
    sign(&slot, &member(5)).unwrap()
}

fn unsigned_receipt(kind: ReceiptKind) -> Receipt {
    Receipt {
        ticket: ticket().hash(),
        slot: Some(slot(0, 1).hash()),
        member: member(1).peer(),
        session: Some(SESSION),
        kind,
        at: NOW + Duration::from_secs(90),
    }
}

fn receipt() -> Verified<Receipt> {
    sign(&unsigned_receipt(ReceiptKind::Received), &member(1)).unwrap()
}

fn ack() -> Verified<Ack> {
    let ack = Ack {
        billing: billing().peer(),
        receipt: receipt().hash(),
        position: 7,
        verdict: Verdict::Accepted,
        at: NOW + Duration::from_secs(91),
    };
    sign(&ack, &billing()).unwrap()
}

fn peers(count: u8) -> Vec<PeerId> {
    (0..count).map(|number| member(number).peer()).collect()
}
