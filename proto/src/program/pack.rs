//! Packs: programs that are content for another one (a map, a level).
//!
//! For: [`Pack`], what a manifest says of it. Not for: finding packs, which is the node's (its library), nor for what is in
//! their files, which only the program knows that they are for.
//!
//! The idea: a pack names its program, not the other way round, so that anybody can make one. It is found by that name,
//! and chosen by its levels: a map can be found that matches a character.

use serde::{Deserialize, Serialize};

use super::ProgramName;

/// What a program is content for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// The name of the program that it plugs into, of whatever version and from whatever origin.
    #[serde(rename = "for")]
    pub program: ProgramName,
    /// For which levels it is meant; without, for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<Levels>,
}

/// From a level to a level, both included. What a level is, the program says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u32>", into = "(u32, u32)")]
pub struct Levels {
    low: u32,
    high: u32,
}

/// A range of levels without any level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the levels of a pack are a low and a high one, in this order: [1, 9]")]
pub struct LevelsError;

impl Levels {
    /// From `low` to `high`, both included.
    pub fn new(low: u32, high: u32) -> Result<Self, LevelsError> {
        if low <= high { Ok(Self { low, high }) } else { Err(LevelsError) }
    }

    /// The lowest.
    #[must_use]
    pub fn low(self) -> u32 {
        self.low
    }

    /// The highest.
    #[must_use]
    pub fn high(self) -> u32 {
        self.high
    }
}

/// As it is written. Of a pair, some formats' readers (TOML's) would overlook what follows it.
impl TryFrom<Vec<u32>> for Levels {
    type Error = LevelsError;

    fn try_from(levels: Vec<u32>) -> Result<Self, LevelsError> {
        match levels[..] {
            [low, high] => Self::new(low, high),
            _ => Err(LevelsError),
        }
    }
}

impl From<Levels> for (u32, u32) {
    fn from(levels: Levels) -> Self {
        (levels.low, levels.high)
    }
}
