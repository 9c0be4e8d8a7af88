//! What a billing peer makes of slots, receipts and releases, whatever a host does with made-up members.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::billing::copies::{News, Places};

/// A billing peer's books of the one ticket, as far as copies go.
#[derive(Default)]
struct Books {
    numbers: BTreeMap<u32, Places>,
    proofs: Vec<EquivocationProof>,
}

impl Books {
    fn learn(&mut self, slot: &Verified<Slot>, news: News<'_>) {
        assert_eq!(slot.check(&ticket()), Ok(()), "what is no slot does not come this far");
        self.proofs.extend(self.numbers.entry(slot.k).or_default().learn(slot, news));
    }

    fn is_overdrawn(&self) -> bool {
        self.numbers.values().any(|places| places.holders() > 1)
    }
}

/// Number `k` in this generation for `to`, resting on a release that `by` makes of the one before.
fn given(k: u32, generation: u32, to: u8, by: Option<&Verified<Release>>) -> Verified<Slot> {
    let release = by.map(Verified::to_signed);
    sign(&Slot { generation, release, ..unsigned_slot(k, to) }, &host()).unwrap()
}

/// A release by somebody made up, of a slot that nobody has seen.
fn made_up(k: u32, generation: u32, by: u8) -> Verified<Release> {
    let release = Release {
        ticket: ticket().hash(),
        slot: crate::ids::SlotHash([by; 32]),
        k,
        generation,
        member: member(by).peer(),
        released_at: NOW,
    };
    sign(&release, &member(by)).unwrap()
}

#[test]
fn a_host_that_skips_generations_has_more_holders_than_copies() {
    let mut books = Books::default();
    for (generation, to) in [(0u32, 1), (2, 2), (4, 3), (6, 4), (8, 5)] {
        let before = generation.checked_sub(1).map(|before| made_up(0, before, 20));
        books.learn(&given(0, generation, to, before.as_ref()), News::Reported);
        assert_eq!(books.is_overdrawn(), generation > 0, "generation {generation}");
    }
    assert_eq!((books.numbers[&0].holders(), books.proofs.len()), (5, 0));
}

#[test]
fn what_lies_between_is_a_proof_once_it_is_shown() {
    let (real, skipped) = (slot(0, 1), given(0, 1, 20, Some(&made_up(0, 0, 21))));
    let later = reissued(&skipped, 20, 2);
    let mut books = Books::default();
    books.learn(&real, News::Reported);
    books.learn(&later, News::Reported);
    assert!(books.proofs.is_empty() && books.is_overdrawn());
    books.learn(&skipped, News::Released(&release(&skipped, 20)));
    assert_eq!(books.proofs.len(), 1);
    assert_eq!(books.proofs[0].host(), host().peer());
}

#[test]
fn nobody_gives_back_for_somebody_else() {
    let (alice, bob) = (slot(0, 1), given(0, 2, 2, Some(&made_up(0, 1, 20))));
    let mut books = Books::default();
    books.learn(&alice, News::Reported);
    books.learn(&bob, News::Reported);
    for not_hers in [made_up(0, 0, 20), release(&alice, 20), release(&slot(1, 1), 1)] {
        books.learn(&alice, News::Released(&not_hers));
        assert!(books.is_overdrawn());
    }
    books.learn(&alice, News::Released(&release(&alice, 1)));
    assert!(!books.is_overdrawn());
}

#[test]
fn one_member_by_two_chains_is_a_proof() {
    let (one, other) = (given(0, 1, 2, Some(&made_up(0, 0, 1))), given(0, 1, 2, Some(&made_up(0, 0, 20))));
    let proof = EquivocationProof::find(&one, &other).unwrap();
    assert_eq!(proof.host(), host().peer());
    assert_eq!(EquivocationProof::decode(&proof.encode()).unwrap(), proof);
    // Signed again, with a release by the same member.
    let again = given(0, 1, 2, Some(&release(&slot(0, 1), 1)));
    assert_eq!(EquivocationProof::find(&one, &again), None);
}

#[test]
fn a_number_is_not_passed_on_without_end() {
    let last = made_up(0, MAX_GENERATION, 1);
    let beyond =
        Slot { generation: MAX_GENERATION + 1, release: Some(last.to_signed()), ..unsigned_slot(0, 2) };
    let error = sign(&beyond, &host()).unwrap_err().to_string();
    assert_eq!(error, "not a slot: its number was given back too often");
}

/// What a cheating host and its made-up members do, and what honest members do with what they are given.
#[derive(Debug, Clone)]
enum Cheat {
    /// An honest member gets this place, by the honest release of the one before if there is one and the host likes, or
    /// by a made-up one, and reports its copy.
    Gives { k: u32, generation: u32, to: u8, honestly: bool, by: u8 },
    /// An honest member gives back what it has; the billing peer hears of it, or not yet.
    Returns { who: u8, is_shown: bool },
    /// A made-up member shows a place of its own: as received, as given back, or both.
    Shows { k: u32, generation: u32, who: u8, by: u8, reports: bool, releases: bool },
}

const HONEST: u8 = 7;

fn any_cheat() -> impl Strategy<Value = Cheat> {
    let place = || (0..2u32, 0..7u32);
    prop_oneof![
        4 => (place(), 0..HONEST, any::<bool>(), 0..3u8).prop_map(|((k, generation), to, honestly, by)| {
            Cheat::Gives { k, generation, to, honestly, by: 20 + by }
        }),
        2 => (0..HONEST, any::<bool>()).prop_map(|(who, is_shown)| Cheat::Returns { who, is_shown }),
        3 => (place(), 0..3u8, 0..3u8, any::<bool>(), any::<bool>()).prop_map(
            |((k, generation), who, by, reports, releases)| {
                Cheat::Shows { k, generation, who: 20 + who, by: 20 + by, reports, releases }
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// More honest members have a copy than there are copies: then there is a proof, or a number is overdrawn.
    #[test]
    fn made_up_members_do_not_hide_a_copy_too_many(deeds in prop::collection::vec(any_cheat(), 1..24)) {
        let mut books = Books::default();
        let mut holds: BTreeMap<u8, Verified<Slot>> = BTreeMap::new();
        let mut returned: BTreeMap<(u32, u32), Verified<Release>> = BTreeMap::new();
        let mut gave_back = BTreeSet::new();
        for deed in deeds {
            match deed {
                Cheat::Gives { k, generation, to, honestly, by } => {
                    let before = generation.checked_sub(1);
                    let honest = before.and_then(|before| returned.get(&(k, before))).filter(|_| honestly);
                    let release = before.map(|before| honest.cloned().unwrap_or_else(|| made_up(k, before, by)));
                    let slot = given(k, generation, to, release.as_ref());
                    if gave_back.contains(&slot.hash()) {
                        // Nobody takes a slot again that it gave back itself.
                        continue;
                    }
                    // Who has a copy takes no other.
                    holds.entry(to).or_insert_with(|| {
                        books.learn(&slot, News::Reported);
                        slot
                    });
                }
                Cheat::Returns { who, is_shown } => {
                    let Some(slot) = holds.remove(&who) else { continue };
                    gave_back.insert(slot.hash());
                    let release = release(&slot, who);
                    if is_shown {
                        books.learn(&slot, News::Released(&release));
                    }
                    returned.insert((slot.k, slot.generation), release);
                }
                Cheat::Shows { k, generation, who, by, reports, releases } => {
                    let release_before = generation.checked_sub(1).map(|before| made_up(k, before, by));
                    let slot = given(k, generation, who, release_before.as_ref());
                    if reports {
                        books.learn(&slot, News::Reported);
                    }
                    if releases {
                        books.learn(&slot, News::Released(&release(&slot, who)));
                    }
                }
            }
            let is_noticed = books.is_overdrawn() || !books.proofs.is_empty();
            prop_assert!(holds.len() <= ticket().copies as usize || is_noticed, "{} hold a copy", holds.len());
        }
        for proof in &books.proofs {
            prop_assert_eq!(proof.host(), host().peer());
        }
    }

    /// Two chains of one number that part somewhere: all that they consist of, in whatever order, is a proof.
    #[test]
    fn chains_that_part_are_a_proof(
        (common, one, other) in (0..4u8, 1..4u8, 1..4u8),
        order in any::<prop::sample::Index>(),
    ) {
        let mut slots = Vec::new();
        let mut last: Option<(Verified<Slot>, u8)> = None;
        let mut end = |last: Option<(Verified<Slot>, u8)>, to: u8| {
            let slot = last.map_or_else(|| slot(0, to), |(slot, by)| reissued(&slot, by, to));
            slots.push(slot.clone());
            Some((slot, to))
        };
        for to in 0..common {
            last = end(last, to);
        }
        for (length, first) in [(one, 10), (other, 20)] {
            let mut branch = last.clone();
            for to in first..first + length {
                branch = end(branch, to);
            }
        }
        let many = slots.len();
        slots.rotate_left(order.index(many));
        let mut books = Books::default();
        slots.iter().for_each(|slot| books.learn(slot, News::Granted));
        prop_assert!(!books.proofs.is_empty());
        prop_assert!(books.proofs.iter().all(|proof| proof.host() == host().peer()));
    }

    /// An honest host, of whose members only some report, and all that is given back is shown in the end.
    #[test]
    fn an_honest_host_is_neither_proven_nor_overdrawn(
        deeds in prop::collection::vec((0..HONEST, any::<bool>()), 1..24),
        shift in any::<prop::sample::Index>(),
    ) {
        let mut ledger = Ledger::new(ticket());
        let mut told: Vec<(Verified<Slot>, Option<Verified<Release>>)> = Vec::new();
        for (who, reports) in deeds {
            if let Some(slot) = ledger.slot_of(member(who).peer()).cloned() {
                let release = release(&slot, who);
                ledger.release(release.to_signed()).unwrap();
                told.push((slot, Some(release)));
            } else if let Ok(slot) = ledger.grant(member(who).peer(), &host(), NOW)
                && reports
            {
                told.push((slot, None));
            }
        }
        let many = told.len().max(1);
        let by = shift.index(many).min(told.len());
        told.rotate_left(by);
        let mut books = Books::default();
        for (slot, release) in &told {
            books.learn(slot, release.as_ref().map_or(News::Reported, News::Released));
        }
        prop_assert_eq!(&books.proofs, &[]);
        prop_assert!(!books.is_overdrawn());
    }
}
