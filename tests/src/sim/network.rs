//! What lies between the nodes: who reaches whom, how late, and how much is lost.
//!
//! For: deciding the fate of one parcel. Not for: what is in it, nor for acting on a change of who is in reach
//! (see [`super::world`]).

use std::collections::BTreeSet;

use super::dice::Dice;

/// The network between so many nodes.
#[derive(Debug)]
pub(super) struct Network {
    /// Shortest delay by sender and receiver, ms.
    delays: Vec<Vec<u64>>,
    /// The most that a parcel takes longer, ms.
    jitter: u64,
    /// Lost, per mille.
    loss: u64,
    /// Delivered twice, per mille.
    twice: u64,
    /// Nodes on different sides of a partition do not hear each other.
    pub(super) sides: Vec<u8>,
    /// One-way cuts.
    pub(super) cuts: BTreeSet<(usize, usize)>,
    /// Nodes without any connection.
    pub(super) away: BTreeSet<usize>,
}

impl Network {
    pub(super) fn new(nodes: usize, dice: &mut Dice) -> Self {
        // Each network is good or bad as a whole, and each pair near or far.
        let (jitter, loss, twice) = match dice.below(4) {
            0 => (5, 0, 0),
            1 => (200, 20, 20),
            2 => (2_000, 100, 50),
            _ => (10_000, 300, 100),
        };
        let delays = (0..nodes).map(|_| {
            let near = |_| if dice.chance(800) { dice.between(1, 50) } else { dice.between(50, 1_500) };
            (0..nodes).map(near).collect()
        });
        let delays = delays.collect();
        Self {
            delays,
            jitter,
            loss,
            twice,
            sides: vec![0; nodes],
            cuts: BTreeSet::new(),
            away: BTreeSet::new(),
        }
    }

    /// Whether anything gets from one to the other.
    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
        let there = |node| !self.away.contains(&node);
        from != to
            && self.sides[from] == self.sides[to]
            && there(from)
            && there(to)
            && !self.cuts.contains(&(from, to))
    }

    /// Whether they can talk: requests need both ways.
    pub(super) fn links(&self, one: usize, other: usize) -> bool {
        self.passes(one, other) && self.passes(other, one)
    }

    /// After how long a parcel arrives, ms: not at all, once, or twice.
    pub(super) fn fates(&self, from: usize, to: usize, dice: &mut Dice) -> Vec<u64> {
        if !self.passes(from, to) {
            return Vec::new();
        }
        let mut fates = Vec::new();
        for copy in 0..2 {
            let arrives = if copy == 0 { !dice.chance(self.loss) } else { dice.chance(self.twice) };
            if arrives {
                fates.push(self.delays[from][to] + dice.between(0, self.jitter + 1));
            }
        }
        fates
    }

    /// Nothing is lost any more, and everyone reaches everyone.
    pub(super) fn heal(&mut self) {
        self.sides.iter_mut().for_each(|side| *side = 0);
        self.cuts.clear();
        self.away.clear();
        (self.jitter, self.loss, self.twice) = (20, 0, 0);
    }
}
