//! Which frames of one sender have been opened already, in one lane and epoch.

/// How many frames behind the newest of a run one may be, and still be opened.
pub(super) const WINDOW: u64 = u128::BITS as u64;

/// Of how many runs of a sender's node frames are told apart: the newest, and one whose last frames may still be
/// under way.
const RUNS: usize = 2;

/// Lets each frame through once.
///
/// A frame that is too old to tell is taken for a replay. Memory is constant, whatever a sender does.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The newest first.
    runs: [Option<Run>; RUNS],
}

#[derive(Debug, Clone, Copy)]
struct Run {
    boot: u64,
    highest: u64,
    /// Bit `i`: `highest - i` has been opened.
    opened: u128,
}

impl Window {
    /// Whether this frame has not been opened yet, for all that is known.
    pub(super) fn is_new(&self, boot: u64, counter: u64) -> bool {
        match self.runs.iter().flatten().find(|run| run.boot == boot) {
            Some(run) if counter > run.highest => true,
            Some(run) => {
                let behind = run.highest - counter;
                behind < WINDOW && run.opened & (1 << behind) == 0
            }
            // A run older than all that are remembered may have been forgotten.
            None => self.runs[RUNS - 1].is_none_or(|oldest| boot > oldest.boot),
        }
    }

    /// It is opened now. Only for frames that are new and authentic.
    pub(super) fn note(&mut self, boot: u64, counter: u64) {
        match self.runs.iter_mut().flatten().find(|run| run.boot == boot) {
            Some(run) if counter > run.highest => {
                let ahead = counter - run.highest;
                run.opened = if ahead < WINDOW { run.opened << ahead } else { 0 } | 1;
                run.highest = counter;
            }
            Some(run) if run.highest - counter < WINDOW => run.opened |= 1 << (run.highest - counter),
            Some(_) => {}
            None => {
                let newer = self.runs.iter().flatten().filter(|run| run.boot > boot).count();
                if newer < RUNS {
                    self.runs[newer..].rotate_right(1);
                    self.runs[newer] = Some(Run { boot, highest: counter, opened: 1 });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn open(window: &mut Window, boot: u64, counter: u64) -> bool {
        let new = window.is_new(boot, counter);
        if new {
            window.note(boot, counter);
        }
        new
    }

    #[test]
    fn late_frames_pass_once_and_very_late_ones_not() {
        let mut window = Window::default();
        assert!(open(&mut window, 1, 200));
        assert!(!open(&mut window, 1, 200));
        assert!(open(&mut window, 1, 200 - WINDOW + 1), "the last within");
        assert!(!open(&mut window, 1, 200 - WINDOW), "the first beyond");
        assert!(open(&mut window, 1, u64::MAX));
        assert!(!open(&mut window, 1, 201));
    }

    #[test]
    fn the_last_frames_before_a_restart_pass_but_older_runs_do_not() {
        let mut window = Window::default();
        assert!(open(&mut window, 5, 10));
        assert!(open(&mut window, 7, 0));
        assert!(open(&mut window, 5, 9), "was under way when the sender restarted");
        assert!(!open(&mut window, 5, 10));
        assert!(!open(&mut window, 4, 0), "too old to tell");
        assert!(open(&mut window, 6, 0), "between: replaces the oldest");
        assert!(!open(&mut window, 5, 8));
        assert!(!open(&mut window, 6, 0) && !open(&mut window, 7, 0));
    }

    proptest! {
        #[test]
        fn no_frame_passes_twice(frames in vec((0..4_u64, 0..300_u64), 0..600)) {
            let (mut window, mut opened) = (Window::default(), BTreeSet::new());
            for (boot, counter) in frames {
                if open(&mut window, boot, counter) {
                    prop_assert!(opened.insert((boot, counter)));
                }
            }
        }

        #[test]
        fn every_frame_of_a_run_passes_if_none_is_far_late(swaps in vec(0..100_usize, 500)) {
            let mut order: Vec<u64> = (0..600).collect();
            for (i, swap) in swaps.into_iter().enumerate() {
                order.swap(i, (i + swap).min(599));
            }
            let mut window = Window::default();
            let mut highest = 0;
            for counter in order {
                let late = highest >= counter + WINDOW;
                prop_assert_eq!(open(&mut window, 1, counter), !late);
                highest = highest.max(counter);
            }
        }
    }
}
