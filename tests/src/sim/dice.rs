//! All chance in a run, from one seed.
//!
//! For: numbers that look random and are the same whenever the seed is. Not for: keys; the machines get seeds
//! of their own from here, which nobody has to guess.

use chacha20::{ChaCha8Rng, rand_core::SeedableRng as _};
use rand::{Rng as _, RngExt as _};

/// A stream of chance.
#[derive(Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of `seed` for one purpose: streams of different purposes do not shift one another.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("parlor simulator v1");
        hasher.update(&seed.to_be_bytes()).update(purpose.as_bytes());
        Self(ChaCha8Rng::from_seed(hasher.finalize().into()))
    }

    /// From `low`, below `high`; `low` if there is nothing between.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        if low < high { self.0.random_range(low..high) } else { low }
    }

    /// One of so many; 0 of none.
    pub(super) fn below(&mut self, many: usize) -> usize {
        self.between(0, many as u64) as usize
    }

    /// Yes, this often in a thousand times.
    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.between(0, 1000) < per_mille
    }

    /// One of them.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())]) }
    }

    /// Fresh bytes for a step of a machine.
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
