//! Which rolls count.

use std::collections::BTreeMap;

use parlor_dice_words::Roll;
use serde::{Deserialize, Serialize};

/// What a roll is worth.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The host rolled it.
    Counts,
    /// It was said before.
    Known,
    /// Somebody else made it up.
    Fake,
}

/// What is known of the table.
///
/// Everyone who is the host, or was while this node looked, with the number of its last roll. A former host's rolls
/// count on, as they may arrive late: somebody who is not trusted with that should not have been the host.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Table {
    hosts: BTreeMap<String, u64>,
}

impl Table {
    /// What [`kept`](Self::kept) gave; an empty table where it is not understood.
    pub(crate) fn restored(state: &[u8]) -> Self {
        serde_json::from_slice(state).unwrap_or_default()
    }

    pub(crate) fn kept(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers can be JSON")
    }

    /// These are hosts now; whether one of them is news.
    pub(crate) fn learn<'a>(&mut self, hosts: impl Iterator<Item = &'a str>) -> bool {
        let before = self.hosts.len();
        for host in hosts {
            self.hosts.entry(host.to_owned()).or_insert(0);
        }
        self.hosts.len() > before
    }

    /// Whose rolls count.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        self.hosts.keys().map(String::as_str).collect()
    }

    /// What a roll that `sender` posted is worth. One counts once.
    pub(crate) fn judge(&mut self, sender: &str, roll: &Roll) -> Verdict {
        match self.hosts.get_mut(sender) {
            Some(last) if roll.is_sound() && roll.number > *last => {
                *last = roll.number;
                Verdict::Counts
            }
            Some(_) => Verdict::Known,
            None => Verdict::Fake,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roll(number: u64) -> Roll {
        Roll { number, who: "ann".into(), name: "Ann".into(), sides: 6, dice: vec![3, 5] }
    }

    #[test]
    fn only_a_hosts_rolls_count_and_each_once() {
        let mut table = Table::default();
        assert!(table.learn(["host"].into_iter()));
        assert!(!table.learn(["host"].into_iter()));
        assert_eq!(table.judge("host", &roll(1)), Verdict::Counts);
        assert_eq!(table.judge("host", &roll(1)), Verdict::Known);
        assert_eq!(table.judge("mallory", &roll(2)), Verdict::Fake);
        assert_eq!(table.judge("host", &roll(2)), Verdict::Counts);
    }

    #[test]
    fn the_next_host_counts_from_one() {
        let mut table = Table::default();
        table.learn(["host"].into_iter());
        assert_eq!(table.judge("host", &roll(7)), Verdict::Counts);
        table.learn(["next"].into_iter());
        assert_eq!(table.judge("next", &roll(1)), Verdict::Counts);
        assert_eq!(table.hosts(), ["host", "next"]);
    }

    #[test]
    fn dice_that_cannot_lie_like_that_do_not_count() {
        let mut table = Table::default();
        table.learn(["host"].into_iter());
        let odd = Roll { dice: vec![9], ..roll(1) };
        assert_eq!(table.judge("host", &odd), Verdict::Known);
        assert_eq!(table.judge("host", &roll(1)), Verdict::Counts);
    }

    #[test]
    fn what_was_kept_is_known_again() {
        let mut table = Table::default();
        table.learn(["host"].into_iter());
        table.judge("host", &roll(3));
        let mut again = Table::restored(&table.kept());
        assert_eq!(again.judge("host", &roll(3)), Verdict::Known);
        assert!(Table::restored(b"no such state").hosts().is_empty());
    }
}
