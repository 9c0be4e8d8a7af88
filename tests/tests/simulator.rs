//! The simulator: some seeds hold, a seed is always the same run, and every invariant can fail.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use parlor_tests::sim::{Bug, Invariant, Options, run};

/// How many seeds are run here. `simulate` runs more.
const SEEDS: u64 = 100;
/// Among how many seeds a planted mistake has to show.
const TRIES: u64 = 1_000;
/// Small runs: this is done for every change.
const SMALL: Options = Options { bug: None, trace: false, largest: Some(8) };

/// For each seed below `end`, on all cores, until one gives an answer.
fn first<T: Send>(end: u64, look: impl Fn(u64) -> Option<T> + Sync) -> Option<T> {
    let (next, look) = (AtomicU64::new(0), &look);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return None;
            }
            if let Some(found) = look(seed) {
                next.store(end, Ordering::Relaxed);
                return Some(found);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("a worker does not panic")).next()
    })
}

#[test]
fn everything_holds() {
    if let Some(failure) = first(SEEDS, |seed| run(seed, &SMALL).err()) {
        panic!("{failure}");
    }
}

#[test]
fn a_seed_is_always_the_same_run() {
    for seed in 0..5 {
        let (one, other) = (run(seed, &SMALL).expect("holds"), run(seed, &SMALL).expect("holds"));
        assert_eq!(one, other, "seed {seed}");
    }
    let hashes: BTreeSet<_> = (0..5).map(|seed| run(seed, &SMALL).expect("holds").hash).collect();
    assert_eq!(hashes.len(), 5, "and another seed is another run");
}

/// Some seed with this mistake breaks this invariant; without it, the same seed breaks none.
fn shows(bug: Bug, invariant: Invariant) {
    let breaks = |seed| {
        let failure = run(seed, &Options { bug: Some(bug), ..SMALL }).err()?;
        (failure.invariant == invariant).then_some(seed)
    };
    let seed = first(TRIES, breaks).unwrap_or_else(|| panic!("{bug:?} does not break {invariant}"));
    if let Err(failure) = run(seed, &SMALL) {
        panic!("{failure}");
    }
}

macro_rules! planted {
    ($($name:ident: $bug:ident, $invariant:ident;)*) => {
        $(#[test]
        fn $name() {
            shows(Bug::$bug, Invariant::$invariant);
        })*

        #[test]
        fn every_planted_mistake_is_looked_for() {
            let tested = [$((Bug::$bug, Invariant::$invariant)),*];
            assert_eq!(tested, Bug::ALL);
        }
    };
}

planted! {
    a_forgotten_ledger_makes_copies: LedgerForgotten, Copies;
    an_ignored_proof_is_noticed: ProofIgnored, Proof;
    an_ignored_removal_lets_in_who_has_left: RemovalIgnored, Closed;
    a_repeated_boot_number_repeats_nonces: BootRepeated, Nonces;
    a_forgotten_outbox_loses_receipts: OutboxForgotten, Receipts;
    careless_billing_books_twice: BookedTwice, Receipts;
    an_update_said_before_it_is_stored_is_another_later: SaidBeforeStored, Updates;
    a_log_with_gaps_is_noticed: GapsAccepted, Updates;
    a_log_that_holds_nothing_back_tells_answers_before_questions: NothingHeldBack, Order;
    an_unchecked_signature_lets_forgeries_in: SignatureUnchecked, Updates;
    votes_for_anyone_depose_a_host_that_is_heard: VotesForAnyone, Hosts;
    a_host_whose_beacons_do_not_count_is_deposed: BeaconsIgnored, Hosts;
    lost_claims_leave_a_group_apart: ClaimsDropped, Agreement;
    numbers_that_begin_again_stop_everything: NumbersReset, Progress;
    endless_questions_are_noticed: NeverAtRest, Rest;
    what_is_never_forgotten_grows: NothingForgotten, Bounds;
    billing_that_does_not_count_misses_a_copy_too_many: CountIgnored, Counted;
    what_a_full_disk_did_not_take_must_not_be_acknowledged: FullDiskIgnored, Durable;
}
