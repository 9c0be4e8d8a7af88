//! What is posted at a dice table, by agents and pages alike.
//!
//! For: the two words, [`Ask`] and [`Roll`], as JSON, and what a user types. Not for: who may say which (see the agent),
//! nor chance (see the host part).
//!
//! ```json
//! {"is": "ask", "dice": 2, "sides": 6}
//! {"is": "roll", "number": 1, "who": "…", "name": "Ann", "sides": 6, "dice": [3, 5]}
//! ```

use serde::{Deserialize, Serialize};

/// The most dice in a roll.
pub const MAX_DICE: u8 = 6;
/// The most sides of a die.
pub const MAX_SIDES: u16 = 100;

/// What somebody has posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum Word {
    /// A member wants dice rolled.
    Ask(Ask),
    /// The host has rolled them.
    Roll(Roll),
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// How many dice.
    #[serde(default = "two")]
    pub dice: u8,
    /// With how many sides.
    #[serde(default = "six")]
    pub sides: u16,
}

/// What was rolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// The how manyth roll of this host it is, from 1.
    pub number: u64,
    /// Who asked: a member's `addr`.
    pub who: String,
    /// What it was called then.
    pub name: String,
    /// With how many sides.
    pub sides: u16,
    /// What lies on the table.
    pub dice: Vec<u16>,
}

const fn two() -> u8 {
    2
}

const fn six() -> u16 {
    6
}

impl Default for Ask {
    fn default() -> Self {
        Self { dice: two(), sides: six() }
    }
}

impl Ask {
    /// What a user means by `roll`, `roll 3` or `roll 3d20`; `None` where it is none of these.
    #[must_use]
    pub fn typed(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        if !words.next()?.eq_ignore_ascii_case("roll") {
            return None;
        }
        let Some(which) = words.next() else { return Some(Self::default()) };
        let (dice, sides) = which.split_once(['d', 'D']).unwrap_or((which, "6"));
        let ask = Self { dice: dice.parse().ok()?, sides: sides.parse().ok()? };
        (words.next().is_none() && ask.is_sound()).then_some(ask)
    }

    /// Whether there are such dice.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        (1..=MAX_DICE).contains(&self.dice) && (2..=MAX_SIDES).contains(&self.sides)
    }
}

impl Roll {
    /// Whether dice can lie like that.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let dice = u8::try_from(self.dice.len()).unwrap_or(u8::MAX);
        let ask = Ask { dice, sides: self.sides };
        ask.is_sound() && self.dice.iter().all(|die| (1..=self.sides).contains(die))
    }

    /// "3 and 5".
    #[must_use]
    pub fn in_words(&self) -> String {
        let dice: Vec<_> = self.dice.iter().map(ToString::to_string).collect();
        match dice.as_slice() {
            [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
            _ => dice.concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roll(sides: u16, dice: &[u16]) -> Roll {
        Roll { number: 1, who: "a".into(), name: "Ann".into(), sides, dice: dice.into() }
    }

    #[test]
    fn what_is_typed() {
        assert_eq!(Ask::typed("roll"), Some(Ask { dice: 2, sides: 6 }));
        assert_eq!(Ask::typed(" Roll 3 "), Some(Ask { dice: 3, sides: 6 }));
        assert_eq!(Ask::typed("roll 1d20"), Some(Ask { dice: 1, sides: 20 }));
        for text in
            ["", "rolls", "roll 0", "roll 7", "roll 2d1", "roll 2d101", "roll 2d6 3", "roll d6", "roll 300"]
        {
            assert_eq!(Ask::typed(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_posted() {
        let read = |json| serde_json::from_str::<Word>(json).ok();
        assert_eq!(read(r#"{"is":"ask"}"#), Some(Word::Ask(Ask::default())));
        assert_eq!(read(r#"{"is":"ask","dice":300}"#), None);
        assert_eq!(read(r#""roll""#), None);
        let word = Word::Roll(roll(6, &[3, 5]));
        let json = r#"{"is":"roll","number":1,"who":"a","name":"Ann","sides":6,"dice":[3,5]}"#;
        assert_eq!(serde_json::to_string(&word).unwrap(), json);
        assert_eq!(read(json), Some(word));
    }

    #[test]
    fn dice_lie_only_in_some_ways() {
        assert!(roll(6, &[1, 6]).is_sound());
        for (sides, dice) in [(6, &[][..]), (6, &[0]), (6, &[7]), (1, &[1]), (6, &[1; 7])] {
            assert!(!roll(sides, dice).is_sound(), "{dice:?}");
        }
    }

    #[test]
    fn dice_in_words() {
        assert_eq!(roll(6, &[4]).in_words(), "4");
        assert_eq!(roll(6, &[3, 5]).in_words(), "3 and 5");
        assert_eq!(roll(6, &[1, 2, 3]).in_words(), "1, 2 and 3");
    }
}
