//! Never a copy too many, the same member always the same slot.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde::Serialize;

use super::*;

fn ledger() -> Ledger {
    Ledger::new(ticket())
}

/// What reading `stored` back gives.
pub(super) fn restored(stored: &impl Serialize) -> Result<Ledger, String> {
    let bytes = cbor4ii::serde::to_vec(Vec::new(), stored).unwrap();
    cbor4ii::serde::from_slice(&bytes).map_err(|error| match error {
        cbor4ii::serde::DecodeError::Custom(why) => why.to_string(),
        other => other.to_string(),
    })
}

/// A ledger as it was stored before there were handovers.
#[derive(Serialize)]
struct Old {
    ticket: Verified<Ticket>,
    slots: Vec<Verified<Slot>>,
    released: Vec<Verified<Release>>,
}

#[test]
fn n_copies_and_no_more() {
    let mut ledger = ledger();
    let first = ledger.grant(member(1).peer(), &host(), NOW).unwrap();
    let second = ledger.grant(member(2).peer(), &host(), NOW).unwrap();
    assert_eq!((first.k, second.k, ledger.used(), ledger.left()), (0, 1, 2, 0));
    let error = ledger.grant(member(3).peer(), &host(), NOW).unwrap_err();
    let all_gone = "no copies left: this host may hand out 2 of its ticket, and all are given out";
    assert_eq!(error.to_string(), all_gone);
}

#[test]
fn asking_again_gives_the_same_slot() {
    let mut ledger = ledger();
    let slot = ledger.grant(member(1).peer(), &host(), NOW).unwrap();
    let later = ticket().expires + DAY;
    assert_eq!(ledger.grant(member(1).peer(), &host(), later).unwrap(), slot);
    assert_eq!(ledger.used(), 1);
}

#[test]
fn who_may_not_have_one() {
    let mut ledger = ledger();
    let refused = |ledger: &mut Ledger, member: PeerId, host: &Identity, now| {
        ledger.grant(member, host, now).unwrap_err()
    };
    assert!(matches!(refused(&mut ledger, host().peer(), &host(), NOW), GrantError::IsHost));
    let one = member(1).peer();
    let late = refused(&mut ledger, one, &host(), ticket().expires);
    assert!(matches!(late, GrantError::Ticket(TicketError::Expired { .. })));
    let early = refused(&mut ledger, one, &host(), Timestamp(0));
    assert!(matches!(early, GrantError::Ticket(TicketError::NotYetValid { .. })));
    let stranger = refused(&mut ledger, one, &member(9), NOW);
    assert!(matches!(stranger, GrantError::Ticket(TicketError::OtherHost { .. })));
    assert_eq!(ledger.used(), 0);
}

#[test]
fn a_released_place_goes_to_somebody_else_once() {
    let mut ledger = ledger();
    let first = ledger.grant(member(1).peer(), &host(), NOW).unwrap();
    ledger.grant(member(2).peer(), &host(), NOW).unwrap();
    let given_back = release(&first, 1).to_signed();
    ledger.release(given_back.clone()).unwrap();
    ledger.release(given_back.clone()).unwrap();
    assert_eq!((ledger.used(), ledger.left(), ledger.slot_of(member(1).peer())), (1, 1, None));

    let next = ledger.grant(member(3).peer(), &host(), NOW).unwrap();
    assert_eq!((next.k, next.generation), (0, 1));
    next.check(&ticket()).unwrap();
    ledger.release(given_back).unwrap();
    assert_eq!(ledger.slot_of(member(3).peer()), Some(&next), "an old release again changes nothing");
    assert!(ledger.grant(member(1).peer(), &host(), NOW).is_err());
}

#[test]
fn only_the_holder_releases() {
    let mut ledger = ledger();
    let slot = ledger.grant(member(1).peer(), &host(), NOW).unwrap();
    assert_eq!(ledger.release(release(&slot, 2).to_signed()), Err(ReleaseError::NotHeld));
    let mut forged = release(&slot, 1).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = Signed::decode(&forged).unwrap();
    assert!(matches!(ledger.release(forged), Err(ReleaseError::Forged(_))));
    assert_eq!(ledger.used(), 1);
}

#[test]
fn a_doctored_ledger_is_refused() {
    let one = slot(0, 1);
    let restore = |slots: &[&Verified<Slot>], released: Vec<Verified<Release>>| {
        let slots = slots.iter().copied().cloned().collect();
        restored(&Old { ticket: ticket(), slots, released }).map(|_| ())
    };
    let damaged = |what: &str| Err(format!("the ledger is damaged: {what}"));
    let numbers = damaged("its slots do not add up");
    assert_eq!(restore(&[&one, &slot(1, 2)], vec![]), Ok(()));
    assert_eq!(restore(&[&one, &slot(0, 2)], vec![]), numbers, "a number twice");
    assert_eq!(restore(&[&one, &slot(1, 1)], vec![]), numbers, "a member twice");
    assert_eq!(restore(&[&slot(1, 1)], vec![]), numbers, "a number left out");
    assert_eq!(restore(&[&one], vec![release(&one, 1)]), numbers, "held and released");
    let beyond = damaged("the slot is number 2, counted from 0, and the ticket is for 2 copies");
    assert_eq!(restore(&[&slot(2, 1)], vec![]), beyond);

    let mut full = ledger();
    full.grant(member(1).peer(), &host(), NOW).unwrap();
    let mut bytes = cbor4ii::serde::to_vec(Vec::new(), &full).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    assert!(cbor4ii::serde::from_slice::<Ledger>(&bytes).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is asked in whatever order, with a restart in between: at most N hold a slot, each place is
    /// held by one, and no two slots ever given out contradict each other.
    #[test]
    fn never_more_than_n(steps in prop::collection::vec((0..3u8, 0..5u8), 1..24)) {
        let mut ledger = ledger();
        let mut watch = Watch::default();
        for (step, who) in steps {
            let peer = member(who).peer();
            match (step, ledger.slot_of(peer).cloned()) {
                (0, _) => if let Ok(slot) = ledger.grant(peer, &host(), NOW) {
                    slot.check(&ticket()).unwrap();
                    prop_assert_eq!(watch.observe(&slot), []);
                },
                (1, Some(slot)) => ledger.release(release(&slot, who).to_signed()).unwrap(),
                _ => ledger = restored(&ledger).map_err(TestCaseError::fail)?,
            }
            let holders: BTreeSet<_> = ledger.slots().map(|slot| slot.member).collect();
            prop_assert!(ledger.used() <= ledger.copies());
            prop_assert_eq!(holders.len() as u32, ledger.used());
            prop_assert_eq!(ledger.left() + ledger.used(), ledger.copies());
        }
    }
}
