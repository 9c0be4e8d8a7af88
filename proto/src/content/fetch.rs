//! The machine behind a fetch: what is not here yet, who has it, who was asked for it.
//!
//! For: deciding which source is asked for which chunks, when a source is given up, and when all is here. Not
//! for: hashing, writing and talking; the driver tells what came of those. It can run over any number of
//! sources; a source may come, go and come back at any time.
//!
//! The idea: each source has at most [`WINDOW`] chunks asked of it and not yet verified. When half of that is
//! free, it is asked for more, in runs of numbers as long as they can be, since what lies together in a file
//! is read and written together. A chunk is asked of one source at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use super::frames::{MAX_RANGES, MAX_WANT_CHUNKS};
use crate::{
    identity::PeerId,
    program::{ChunkIndex, ChunkSet},
    time::Timestamp,
};

/// How many chunks may be asked of one source and not yet be verified: 16 MiB, which keeps a link of 1 Gbit/s
/// busy across 120 ms.
pub const WINDOW: u32 = 256;

/// How long a source that was asked may bring nothing that holds, before it is dropped.
pub const STALL: Duration = Duration::from_secs(20);

/// The most sources one fetch deals with, and the most it remembers as bad. Further ones are not taken.
pub const MAX_SOURCES: usize = 256;

/// Fewer chunks than this are not held back to be shared among sources.
const MIN_SHARE: u32 = 16;

/// One fetch. See the module's description.
#[derive(Debug)]
pub struct Fetch {
    /// Not here, and asked of nobody.
    open: ChunkSet,
    /// How many chunks are not here.
    missing: u32,
    sources: BTreeMap<PeerId, Source>,
    /// Sources that sent what they should not, for good.
    bad: BTreeSet<PeerId>,
    said: Said,
}

#[derive(Debug)]
struct Source {
    has: ChunkSet,
    /// Asked of it and not verified yet.
    asked: ChunkSet,
    /// When it last brought something, or was asked after it had nothing to do.
    heard: Timestamp,
}

/// What was said last about the whole, so that it is said once.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Stuck,
    Done,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A source can be asked; it has these chunks. If it is known, it has these now.
    SourceAdded {
        /// The source.
        peer: PeerId,
        /// What it has.
        has: ChunkSet,
    },
    /// A source cannot be asked any more; it may come back.
    SourceLost {
        /// The source.
        peer: PeerId,
    },
    /// A chunk came, was verified and is stored.
    Verified {
        /// Who sent it.
        peer: PeerId,
        /// Which one.
        chunk: ChunkIndex,
    },
    /// A source sent a chunk whose hash is wrong, or one that it was not asked for.
    Bad {
        /// Who sent it.
        peer: PeerId,
        /// Which one.
        chunk: ChunkIndex,
    },
    /// A source broke the rules of the stream.
    Broken {
        /// Who did.
        peer: PeerId,
    },
    /// Time passed; see [`Fetch::deadline`].
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask a source for these chunks.
    Ask {
        /// The source.
        peer: PeerId,
        /// Ranges of chunk numbers, ascending, within what one want may hold.
        ranges: Vec<Range<u32>>,
    },
    /// Have no more to do with a source.
    Drop {
        /// The source.
        peer: PeerId,
        /// Why.
        why: Blame,
    },
    /// Everything is here. Said once; nothing follows.
    Done,
    /// Something is missing and nobody is there to ask. Said once until something is asked again.
    Stuck,
}

/// Why a source is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Blame {
    /// A chunk that does not hold. For good.
    #[error("it sent chunk {0}, which is not what the manifest says or was not asked for")]
    BadChunk(ChunkIndex),
    /// Other than the stream's rules allow. For good.
    #[error("it does not keep to the protocol")]
    Broken,
    /// Brought nothing for [`STALL`]. It may come back.
    #[error("it stalled")]
    Stalled,
    /// There are [`MAX_SOURCES`] already.
    #[error("there are enough sources")]
    Surplus,
}

impl Blame {
    /// Whether the source is not taken back.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::BadChunk(_) | Self::Broken)
    }
}

impl Fetch {
    /// A fetch of the chunks `wanted`, of which `have` (maybe more than those) are here already. Call
    /// [`Self::handle`] with [`Event::Tick`] to set it off: it may be done at once.
    #[must_use]
    pub fn new(wanted: &ChunkSet, have: &ChunkSet) -> Self {
        let mut open = wanted.clone();
        open.remove_all(have);
        Self {
            missing: open.len(),
            open,
            sources: BTreeMap::new(),
            bad: BTreeSet::new(),
            said: Said::Nothing,
        }
    }

    /// One step.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Output> {
        let mut outputs = Vec::new();
        match event {
            Event::SourceAdded { peer, has } => self.add(peer, has, now, &mut outputs),
            Event::SourceLost { peer } => self.lose(peer),
            Event::Verified { peer, chunk } => self.verified(peer, chunk, now),
            Event::Bad { peer, chunk } => self.drop_source(peer, Blame::BadChunk(chunk), &mut outputs),
            Event::Broken { peer } => self.drop_source(peer, Blame::Broken, &mut outputs),
            Event::Tick => self.drop_stalled(now, &mut outputs),
        }
        self.ask(now, &mut outputs);
        self.sum_up(&mut outputs);
        outputs
    }

    /// When [`Event::Tick`] is due at the latest, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.sources
            .values()
            .filter(|source| !source.asked.is_empty())
            .map(|source| source.heard + STALL)
            .min()
    }

    /// How many chunks are not here.
    #[must_use]
    pub fn missing(&self) -> u32 {
        self.missing
    }

    /// Whether this source sent what it should not.
    #[must_use]
    pub fn is_bad(&self, peer: &PeerId) -> bool {
        self.bad.contains(peer)
    }

    fn add(&mut self, peer: PeerId, has: ChunkSet, now: Timestamp, outputs: &mut Vec<Output>) {
        if self.bad.contains(&peer) {
            outputs.push(Output::Drop { peer, why: Blame::Broken });
            return;
        }
        if let Some(source) = self.sources.get_mut(&peer) {
            source.has = has;
        } else if self.sources.len() == MAX_SOURCES {
            outputs.push(Output::Drop { peer, why: Blame::Surplus });
        } else {
            let asked = ChunkSet::empty(self.open.universe());
            self.sources.insert(peer, Source { has, asked, heard: now });
        }
    }

    /// What was asked of the source is open again.
    fn lose(&mut self, peer: PeerId) {
        if let Some(source) = self.sources.remove(&peer) {
            self.open.insert_all(&source.asked);
        }
    }

    fn verified(&mut self, peer: PeerId, chunk: ChunkIndex, now: Timestamp) {
        let mut was_missing = self.open.remove(chunk);
        // Asked of another by now, if it came late from a source that was given up.
        for source in self.sources.values_mut() {
            was_missing |= source.asked.remove(chunk);
        }
        if was_missing {
            self.missing -= 1;
            if let Some(source) = self.sources.get_mut(&peer) {
                source.heard = now;
            }
        }
    }

    fn drop_source(&mut self, peer: PeerId, why: Blame, outputs: &mut Vec<Output>) {
        self.lose(peer);
        if why.is_final() && self.bad.len() < MAX_SOURCES {
            self.bad.insert(peer);
        }
        outputs.push(Output::Drop { peer, why });
    }

    fn drop_stalled(&mut self, now: Timestamp, outputs: &mut Vec<Output>) {
        let late = |source: &Source| !source.asked.is_empty() && now.since(source.heard) >= STALL;
        let stalled: Vec<PeerId> =
            self.sources.iter().filter(|(_, source)| late(source)).map(|(peer, _)| *peer).collect();
        for peer in stalled {
            self.drop_source(peer, Blame::Stalled, outputs);
        }
    }

    fn ask(&mut self, now: Timestamp, outputs: &mut Vec<Output>) {
        if self.open.is_empty() {
            return;
        }
        // Towards the end, an even share each, so that one source is not left to bring everything.
        let sources = u32::try_from(self.sources.len()).unwrap_or(u32::MAX).max(1);
        let share = self.open.len().div_ceil(sources).clamp(MIN_SHARE, MAX_WANT_CHUNKS);
        for (peer, source) in &mut self.sources {
            let room = WINDOW - source.asked.len();
            if room < WINDOW / 2 {
                continue;
            }
            let ranges = take(&mut self.open, &source.has, room.min(share));
            if ranges.is_empty() {
                continue;
            }
            if source.asked.is_empty() {
                source.heard = now;
            }
            for range in &ranges {
                source.asked.insert_range(range.clone());
            }
            outputs.push(Output::Ask { peer: *peer, ranges });
        }
    }

    fn sum_up(&mut self, outputs: &mut Vec<Output>) {
        let stuck = self.missing > 0 && self.sources.values().all(|source| source.asked.is_empty());
        let now = match self.missing {
            0 => Said::Done,
            _ if stuck => Said::Stuck,
            _ => Said::Nothing,
        };
        if now != self.said {
            match now {
                Said::Done => outputs.push(Output::Done),
                Said::Stuck => outputs.push(Output::Stuck),
                Said::Nothing => {}
            }
            self.said = now;
        }
    }
}

/// Takes the first `most` chunks, in [`MAX_RANGES`] ranges at most, that are open and that a source has.
fn take(open: &mut ChunkSet, has: &ChunkSet, most: u32) -> Vec<Range<u32>> {
    let mut both = open.clone();
    both.retain_all(has);
    let (mut ranges, mut left) = (Vec::new(), most);
    for range in both.ranges().take(MAX_RANGES) {
        if left == 0 {
            break;
        }
        let end = range.end.min(range.start + left);
        left -= end - range.start;
        ranges.push(range.start..end);
    }
    for chunk in ranges.iter().cloned().flatten() {
        open.remove(ChunkIndex(chunk));
    }
    ranges
}
