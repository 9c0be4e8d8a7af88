//! A program's chunks as one flat, numbered list over all its files, and sets of them.
//!
//! For: [`ChunkIndex`], [`Chunk`] and [`ChunkSet`] ("what I have", "what is wanted"). Not for: who fetches
//! which (see [`crate::content`]).
//!
//! The idea: chunks are numbered in the order of the manifest's files, then by offset, so that a few ranges
//! of numbers say everything, and a set is a small bitmap (3.3 kB at most).

use std::{fmt, ops::Range};

use super::{CHUNK_SIZE, MAX_FILES, MAX_PROGRAM_SIZE};
use crate::ids::ChunkHash;

/// The most chunks a program can have: full ones, and one shorter for each file.
pub const MAX_CHUNKS: u32 = (MAX_PROGRAM_SIZE / CHUNK_SIZE as u64) as u32 + MAX_FILES as u32;

/// The number of a chunk within its program, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkIndex(pub u32);

impl fmt::Display for ChunkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a chunk lies and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Its file, as an index into the manifest's list.
    pub file: usize,
    /// Where it starts in that file, bytes.
    pub offset: u64,
    /// Its length, bytes: 1 to [`CHUNK_SIZE`].
    pub len: u32,
    /// BLAKE3 of its bytes.
    pub hash: ChunkHash,
}

/// Some of a program's chunks.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkSet {
    words: Vec<u64>,
    /// How many chunks the program has: numbers from here on are never in the set.
    universe: u32,
    count: u32,
}

impl ChunkSet {
    /// None of a program's `universe` chunks. The universe is cut at [`MAX_CHUNKS`].
    #[must_use]
    pub fn empty(universe: u32) -> Self {
        let universe = universe.min(MAX_CHUNKS);
        Self { words: vec![0; universe.div_ceil(64) as usize], universe, count: 0 }
    }

    /// All of a program's `universe` chunks. The universe is cut at [`MAX_CHUNKS`].
    #[must_use]
    pub fn full(universe: u32) -> Self {
        let mut set = Self::empty(universe);
        set.insert_range(0..universe);
        set
    }

    /// How many chunks the program has.
    #[must_use]
    pub fn universe(&self) -> u32 {
        self.universe
    }

    /// How many chunks are in the set.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether no chunk is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the chunk is in the set.
    #[must_use]
    pub fn contains(&self, chunk: ChunkIndex) -> bool {
        self.words.get(chunk.0 as usize / 64).is_some_and(|word| word & bit(chunk) != 0)
    }

    /// Puts a chunk in. Says whether that changed anything; a number outside the program does not.
    pub fn insert(&mut self, chunk: ChunkIndex) -> bool {
        let new = chunk.0 < self.universe && !self.contains(chunk);
        if new {
            self.words[chunk.0 as usize / 64] |= bit(chunk);
            self.count += 1;
        }
        new
    }

    /// Takes a chunk out. Says whether it was in.
    pub fn remove(&mut self, chunk: ChunkIndex) -> bool {
        let old = self.contains(chunk);
        if old {
            self.words[chunk.0 as usize / 64] &= !bit(chunk);
            self.count -= 1;
        }
        old
    }

    /// Puts the chunks of a range in, as far as the program has them.
    pub fn insert_range(&mut self, range: Range<u32>) {
        for n in range.start..range.end.min(self.universe) {
            self.insert(ChunkIndex(n));
        }
    }

    /// Puts in whatever `other` has.
    pub fn insert_all(&mut self, other: &Self) {
        self.combine(other, |mine, theirs| mine | theirs);
    }

    /// Takes out whatever `other` has.
    pub fn remove_all(&mut self, other: &Self) {
        self.combine(other, |mine, theirs| mine & !theirs);
    }

    /// Takes out whatever `other` lacks.
    pub fn retain_all(&mut self, other: &Self) {
        self.combine(other, |mine, theirs| mine & theirs);
    }

    /// Whether `other` has everything that this set has.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        let theirs = other.words.iter().chain(std::iter::repeat(&0));
        self.words.iter().zip(theirs).all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// The chunks, by number.
    pub fn iter(&self) -> impl Iterator<Item = ChunkIndex> {
        self.words.iter().zip(0u32..).flat_map(|(&word, place)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let low = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(ChunkIndex(place * 64 + low))
            })
        })
    }

    /// The chunks as ranges of numbers, each as long as it can be.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u32>> {
        let mut chunks = self.iter().peekable();
        std::iter::from_fn(move || {
            let first = chunks.next()?.0;
            let mut end = first + 1;
            while chunks.next_if_eq(&ChunkIndex(end)).is_some() {
                end += 1;
            }
            Some(first..end)
        })
    }

    /// As a bitmap, the lowest bit of the first byte being chunk 0; `universe` / 8 bytes, rounded up.
    #[must_use]
    pub fn to_bitmap(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(self.universe.div_ceil(8) as usize);
        bytes
    }

    /// From a bitmap; `None` unless it is one of exactly `universe` chunks.
    #[must_use]
    pub fn from_bitmap(bytes: &[u8], universe: u32) -> Option<Self> {
        let mut set = Self::empty(universe);
        if universe > MAX_CHUNKS || bytes.len() != universe.div_ceil(8) as usize {
            return None;
        }
        for (word, bytes) in set.words.iter_mut().zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(padded);
            set.count += word.count_ones();
        }
        let beyond = set.iter().last().is_some_and(|last| last.0 >= universe);
        (!beyond).then_some(set)
    }

    fn combine(&mut self, other: &Self, join: impl Fn(u64, u64) -> u64) {
        // A set over another universe has nothing to say about numbers that it, or this one, does not know.
        let theirs = other.words.iter().chain(std::iter::repeat(&0));
        for (mine, theirs) in self.words.iter_mut().zip(theirs) {
            *mine = join(*mine, *theirs);
        }
        if !self.universe.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (self.universe % 64)) - 1;
        }
        self.count = self.words.iter().map(|word| word.count_ones()).sum();
    }
}

impl fmt::Debug for ChunkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}

fn bit(chunk: ChunkIndex) -> u64 {
    1 << (chunk.0 % 64)
}
