//! Ledgers that hand over: never a copy too many, over all hosts together.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    super::ledger::{MAX_GIVEN, MAX_HOLDINGS},
    ledger::restored,
    *,
};

/// The host of [`ticket_for`] and those who come after it.
fn hosts() -> [Identity; 4] {
    [host(), member(50), member(51), member(52)]
}

fn ticket_for(copies: u32) -> Verified<Ticket> {
    sign(&Ticket { copies, ..unsigned_ticket() }, &origin()).unwrap()
}

fn given_back(slot: &Verified<Slot>, by: u8) -> Signed<Release> {
    release(slot, by).to_signed()
}

/// The host of a ticket for five: members 1 and 2 have a copy, member 3 gave its number 2 back.
fn used_ledger() -> Ledger {
    let mut ledger = Ledger::new(ticket_for(5));
    let slots = [1, 2, 3].map(|who| ledger.grant(member(who).peer(), &host(), NOW).unwrap());
    ledger.release(given_back(&slots[2], 3)).unwrap();
    ledger
}

fn handed(ledger: &mut Ledger, to: u8) -> HandedOver {
    ledger.hand_over(member(to).peer(), SESSION, 1, &host(), NOW).unwrap()
}

fn taken(given: &HandedOver) -> Result<Ledger, HandedError> {
    Ledger::handed(ticket_for(5), given.handover.clone(), given.released.clone())
}

#[test]
fn a_successor_grants_what_is_left_and_no_more() {
    let mut first = used_ledger();
    let given = handed(&mut first, 50);
    given.handover.check(&ticket_for(5)).unwrap();
    assert_eq!((given.handover.first, given.handover.numbers[0].k, given.released.len()), (3, 2, 1));
    assert_eq!((first.copies(), first.used(), first.left(), first.handover()), (2, 2, 0, None));

    let mut second = taken(&given).unwrap();
    assert_eq!((second.copies(), second.used(), second.left()), (3, 0, 3));
    assert_eq!((second.handover(), second.holder()), (Some(&given.handover), member(50).peer()));
    let slots = [4, 5, 6].map(|who| second.grant(member(who).peer(), &member(50), NOW).unwrap());
    assert_eq!(slots.each_ref().map(|slot| (slot.k, slot.generation)), [(2, 1), (3, 0), (4, 0)]);
    for slot in &slots {
        slot.check(&ticket_for(5)).unwrap();
    }
    assert_eq!(restored(&second).unwrap(), second);
    for (ledger, identity, copies) in [(&mut first, host(), 2), (&mut second, member(50), 3)] {
        let error = ledger.grant(member(9).peer(), &identity, NOW).unwrap_err();
        assert!(matches!(error, GrantError::NoCopiesLeft { copies: of } if of == copies), "{error}");
    }
}

#[test]
fn handing_over_again_gives_the_same_item() {
    let mut ledger = used_ledger();
    let given = handed(&mut ledger, 50);
    let mut ledger = restored(&ledger).unwrap();
    let later = ticket().expires + DAY;
    assert_eq!(ledger.hand_over(member(50).peer(), SESSION, 1, &host(), later).unwrap(), given);
    let other = ledger.hand_over(member(51).peer(), SESSION, 1, &host(), NOW).unwrap();
    assert_eq!((other.handover.first, other.handover.numbers.len()), (5, 0), "nothing is left for another");
    assert_eq!(taken(&other).unwrap().left(), 0);
    assert_eq!(restored(&ledger).unwrap(), ledger);
}

#[test]
fn what_a_host_granted_stays_its_own() {
    let mut first = used_ledger();
    let given = handed(&mut first, 50);
    let of_one = first.slot_of(member(1).peer()).unwrap().clone();
    assert_eq!(first.grant(member(1).peer(), &host(), NOW).unwrap(), of_one);
    first.release(given_back(&of_one, 1)).unwrap();
    assert_eq!((first.used(), first.left()), (1, 1), "free again here");
    first.release(given.released[0].clone()).unwrap();
    assert_eq!(
        (first.used(), first.left()),
        (1, 1),
        "an old release of what was handed over changes nothing"
    );
    let mut first = restored(&first).unwrap();
    let again = first.grant(member(7).peer(), &host(), NOW).unwrap();
    assert_eq!((again.k, again.generation, again.handover.is_none()), (0, 1, true));
    assert!(!given.handover.covers(0));
}

#[test]
fn copies_come_back_with_the_line_they_went() {
    let mut first = used_ledger();
    let there = handed(&mut first, 50);
    let mut second = taken(&there).unwrap();
    let of_four = second.grant(member(4).peer(), &member(50), NOW).unwrap();
    second.grant(member(5).peer(), &member(50), NOW).unwrap();
    second.release(given_back(&of_four, 4)).unwrap();
    let back = second.hand_over(host().peer(), SESSION, 2, &member(50), NOW).unwrap();
    assert_eq!((second.copies(), second.left()), (1, 0));

    first.take_over(back.handover.clone(), back.released.clone()).unwrap();
    first.take_over(back.handover.clone(), back.released.clone()).unwrap();
    assert_eq!((first.copies(), first.used(), first.left()), (4, 2, 2), "the same again changes nothing");
    assert_eq!(first.handover(), Some(&back.handover));
    let mut first = restored(&first).unwrap();
    let slots = [6, 7].map(|who| first.grant(member(who).peer(), &host(), NOW).unwrap());
    assert_eq!(slots.each_ref().map(|slot| (slot.k, slot.generation)), [(2, 2), (4, 0)]);
    for slot in &slots {
        slot.check(&ticket_for(5)).unwrap();
        assert_eq!(slot.handover, Some(back.handover.to_signed()));
    }
    assert_eq!(restored(&first).unwrap(), first);
    // A host that lost its book does not begin another.
    let lost = Ledger::new(ticket_for(5)).take_over(back.handover.clone(), back.released.clone());
    assert_eq!(lost, Err(HandedError::NotInTheBook));
    let lost = Ledger::handed(ticket_for(5), back.handover, back.released);
    assert_eq!(lost, Err(HandedError::NotInTheBook));
}

#[test]
fn who_may_not_hand_over() {
    let mut ledger = used_ledger();
    let mut refused = |to: u8, host: Identity, now| {
        let to = if to == 0 { super::host().peer() } else { member(to).peer() };
        ledger.hand_over(to, SESSION, 1, &host, now).unwrap_err()
    };
    assert!(matches!(refused(50, member(9), NOW), HandOverError::OtherHolder { .. }));
    assert!(matches!(refused(0, host(), NOW), HandOverError::ToItself));
    assert!(matches!(refused(50, host(), ticket().expires), HandOverError::Ticket(_)));
    assert_eq!(ledger, used_ledger(), "nothing happened");

    let mut second = taken(&handed(&mut ledger, 50)).unwrap();
    let error = second.hand_over(host().peer(), SESSION, 1, &member(50), NOW).unwrap_err();
    assert!(matches!(error, HandOverError::Handover(HandoverError::Term)), "{error}");
    assert_eq!(second.left(), 3);
    let error = second.grant(member(9).peer(), &host(), NOW).unwrap_err();
    assert!(matches!(error, GrantError::OtherHolder { .. }), "{error}");
    for host in [host().peer(), member(50).peer()] {
        assert!(matches!(second.grant(host, &member(50), NOW), Err(GrantError::IsHost)));
    }
}

#[test]
fn a_host_that_gives_copies_away_twice_is_refused_the_second_time() {
    let mut ledger = used_ledger();
    let mut twin = ledger.clone();
    let mut second = taken(&handed(&mut ledger, 50)).unwrap();
    let doubled = twin.hand_over(member(50).peer(), SESSION, 2, &host(), NOW).unwrap();
    let before = second.clone();
    let error = second.take_over(doubled.handover, doubled.released);
    assert_eq!((error, second), (Err(HandedError::HadAlready), before));
}

#[test]
fn what_comes_with_a_handover_is_checked() {
    let given = handed(&mut used_ledger(), 50);
    let with = |released| Ledger::handed(ticket_for(5), given.handover.clone(), released).unwrap_err();
    assert_eq!(with(vec![]), HandedError::OtherReleases);
    assert_eq!(with(vec![given_back(&slot(0, 1), 1)]), HandedError::OtherReleases);
    let mut forged = given.released[0].bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(with(vec![Signed::decode(&forged).unwrap()]), HandedError::ForgedRelease(_)));
    let other = Ledger::handed(ticket_for(6), given.handover.clone(), given.released.clone());
    assert_eq!(other, Err(HandedError::Handover(HandoverError::OtherTicket)));
    let mut second = taken(&given).unwrap();
    let to_other = handed(&mut used_ledger(), 51);
    let error = second.take_over(to_other.handover, to_other.released);
    assert_eq!(error, Err(HandedError::OtherHolder(member(51).peer())));
}

#[test]
fn hands_and_numbers_have_a_bound() {
    let copies = u32::try_from(MAX_HANDED_NUMBERS).unwrap() + 5;
    let mut ledger = Ledger::new(ticket_for(copies));
    for who in 0..u8::try_from(copies).unwrap() {
        let slot = ledger.grant(member(who).peer(), &host(), NOW).unwrap();
        // Each its own number: it is given back only after all were granted.
        assert_eq!(slot.k, u32::from(who));
    }
    for who in 0..u8::try_from(copies).unwrap() {
        let slot = ledger.slot_of(member(who).peer()).unwrap().clone();
        ledger.release(given_back(&slot, who)).unwrap();
    }
    let given = handed(&mut ledger, 50);
    assert_eq!((given.released.len(), ledger.left()), (MAX_HANDED_NUMBERS, 5), "the rest stays");

    let all: Vec<_> = (50..).take(MAX_HANDOVERS + 1).map(member).collect();
    let mut holder = Ledger::handed(ticket_for(copies), given.handover, given.released).unwrap();
    for (term, pair) in (2..).zip(all.windows(2)) {
        let given = holder.hand_over(pair[1].peer(), SESSION, term, &pair[0], NOW);
        if holder.holder() == all[MAX_HANDOVERS - 1].peer() {
            assert!(matches!(given, Err(HandOverError::TooDeep)), "{given:?}");
            assert_eq!(holder.left() as usize, MAX_HANDED_NUMBERS, "the last keeps them");
        } else {
            let given = given.unwrap();
            holder = Ledger::handed(ticket_for(copies), given.handover, given.released).unwrap();
        }
    }
}

#[test]
fn a_book_of_many_sessions_has_a_bound() {
    let mut first = used_ledger();
    let mut next = |term: usize| {
        let session = SessionId([u8::try_from(term).unwrap(); 16]);
        first.hand_over(member(50).peer(), session, 1, &host(), NOW)
    };
    let all: Vec<_> = (0..MAX_GIVEN).map(|term| next(term).unwrap()).collect();
    assert!(matches!(next(MAX_GIVEN), Err(HandOverError::TooMany)));
    assert_eq!(next(0).unwrap(), all[0], "what there is, is there");
    // One who cheats at nothing but their number.
    let mut second = taken(&all[0]).unwrap();
    for given in &all[1..MAX_HOLDINGS] {
        second.take_over(given.handover.clone(), vec![]).unwrap();
    }
    assert_eq!((second.left(), restored(&second).unwrap()), (3, second.clone()));
    let more = Handover { session: SessionId([0xff; 16]), first: 5, ..(*all[0].handover).clone() };
    let more = sign(&Handover { numbers: vec![], ..more }, &host()).unwrap();
    assert_eq!(second.take_over(more, vec![]), Err(HandedError::TooMany));
    second.take_over(all[0].handover.clone(), vec![]).unwrap();
}

/// The stored form, to be doctored.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Parts {
    ticket: Verified<Ticket>,
    slots: Vec<Verified<Slot>>,
    released: Vec<Verified<Release>>,
    handed: Vec<Verified<Handover>>,
    given: Vec<Given>,
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Given {
    handover: Verified<Handover>,
    released: Vec<Signed<Release>>,
}

fn parts(ledger: &Ledger) -> Parts {
    cbor4ii::serde::from_slice(&cbor4ii::serde::to_vec(Vec::new(), ledger).unwrap()).unwrap()
}

#[test]
fn a_doctored_ledger_with_handovers_is_refused() {
    let mut first = used_ledger();
    let there = handed(&mut first, 50);
    let mut second = taken(&there).unwrap();
    second.grant(member(4).peer(), &member(50), NOW).unwrap();
    second.grant(member(5).peer(), &member(50), NOW).unwrap();
    let back = second.hand_over(host().peer(), SESSION, 2, &member(50), NOW).unwrap();
    let (first_parts, second_parts) = (parts(&first), parts(&second));
    assert_eq!(restored(&first_parts).unwrap(), first);
    assert_eq!(restored(&second_parts).unwrap(), second);

    let refused = |parts: &Parts, change: &dyn Fn(&mut Parts)| {
        let mut parts = parts.clone();
        change(&mut parts);
        restored(&parts).unwrap_err()
    };
    let numbers = "the ledger is damaged: its slots do not add up";
    assert_eq!(refused(&first_parts, &|parts| drop(parts.slots.pop())), numbers);
    assert_eq!(refused(&second_parts, &|parts| drop(parts.slots.pop())), numbers);
    let kept = there.released[0].clone().verify().unwrap();
    assert_eq!(refused(&first_parts, &|parts| parts.released.push(kept.clone())), numbers);
    let twice = |parts: &mut Parts| parts.given.push(parts.given[0].clone());
    assert_eq!(refused(&first_parts, &twice), numbers);
    let no_releases = |parts: &mut Parts| parts.given[0].released.clear();
    assert!(refused(&first_parts, &no_releases).contains("without the releases"));
    // By which it grants is forgotten, or is another's.
    let theirs = refused(&second_parts, &|parts| parts.handed.clear());
    assert!(theirs.contains("did not sign"), "{theirs}");
    let other = handed(&mut used_ledger(), 51).handover;
    let theirs = refused(&second_parts, &|parts| parts.handed = vec![other.clone()]);
    assert!(theirs.contains("did not sign"), "{theirs}");
    // What came back without having gone.
    let mut come = parts(&used_ledger());
    come.handed.push(back.handover);
    assert!(restored(&come).unwrap_err().contains("not in the receiver's book"));
}

/// Hosts, and the copies on their way between them.
struct World {
    ticket: Verified<Ticket>,
    ledgers: BTreeMap<usize, Ledger>,
    /// Who ever held a number in a generation.
    ever: BTreeMap<(u32, u32), PeerId>,
    watch: Watch,
    under_way: Vec<(usize, HandedOver)>,
    term: u32,
}

impl World {
    fn new(copies: u32) -> Self {
        let ticket = ticket_for(copies);
        let ledgers = BTreeMap::from([(0, Ledger::new(ticket.clone()))]);
        let (ever, watch, under_way) = (BTreeMap::new(), Watch::default(), Vec::new());
        Self { ticket, ledgers, ever, watch, under_way, term: 0 }
    }

    fn step(&mut self, what: u8, at: usize, who: u8) {
        let (Some(ledger), identity) = (self.ledgers.get_mut(&at), &hosts()[at]) else { return };
        match what {
            0..=3 => {
                if let Ok(slot) = ledger.grant(member(who).peer(), identity, NOW) {
                    slot.check(&self.ticket).unwrap();
                    assert_eq!(self.watch.observe(&slot), []);
                    let before = self.ever.insert((slot.k, slot.generation), slot.member);
                    assert!(before.is_none_or(|before| before == slot.member), "{slot:?}");
                }
            }
            4 | 5 => {
                if let Some(slot) = ledger.slot_of(member(who).peer()).cloned() {
                    ledger.release(given_back(&slot, who)).unwrap();
                }
            }
            6 | 7 => {
                let to = usize::from(who) % hosts().len();
                let before = ledger.left();
                self.term += 1;
                match ledger.hand_over(hosts()[to].peer(), SESSION, self.term, identity, NOW) {
                    Ok(given) => self.under_way.push((to, given)),
                    Err(HandOverError::ToItself | HandOverError::TooDeep) => {
                        assert_eq!(ledger.left(), before)
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            8 | 9 => {
                if !self.under_way.is_empty() {
                    let (to, given) = self.under_way[usize::from(who) % self.under_way.len()].clone();
                    self.arrive(to, given);
                }
            }
            _ => *ledger = restored(ledger).unwrap(),
        }
    }

    /// More than once, as messages are: it stays in `under_way`.
    fn arrive(&mut self, to: usize, HandedOver { handover, released }: HandedOver) {
        match self.ledgers.get_mut(&to) {
            Some(ledger) => ledger.take_over(handover, released).unwrap(),
            None => {
                let ledger = Ledger::handed(self.ticket.clone(), handover, released).unwrap();
                self.ledgers.insert(to, ledger);
            }
        }
    }

    /// All that is held or can still be granted.
    fn copies(&self) -> u32 {
        self.ledgers.values().map(Ledger::copies).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever hosts grant, take back and pass on to one another, with restarts and repeated messages: over
    /// all of them no more than N, each number and generation has one member, and nobody looks like a cheat.
    #[test]
    fn never_more_than_n_over_all_hosts(
        copies in 1..7u32,
        steps in prop::collection::vec((0..11u8, 0..4usize, 0..8u8), 1..60),
    ) {
        let mut world = World::new(copies);
        for (what, at, who) in steps {
            world.step(what, at, who);
            prop_assert!(world.copies() <= copies);
        }
        // Once all has arrived, nothing is lost either.
        for (to, given) in world.under_way.clone() {
            world.arrive(to, given);
        }
        prop_assert_eq!(world.copies(), copies);
        for ledger in world.ledgers.values() {
            prop_assert_eq!(&restored(ledger).unwrap(), ledger);
        }
    }
}
