//! The poll itself: who voted for what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The longest name of a choice, characters.
const MAX_CHOICE: usize = 40;
/// The most members whose vote is counted.
const MAX_VOTERS: usize = 10_000;
/// How many choices a summary names.
const SUMMARY: usize = 3;

/// Everyone's last vote, by `addr`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Poll {
    votes: BTreeMap<String, String>,
}

/// How the poll stands; what is posted.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Standing {
    is: &'static str,
    /// From the most votes to the fewest.
    choices: Vec<Choice>,
    /// All votes.
    total: usize,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Choice {
    name: String,
    votes: usize,
}

/// What somebody votes for who says this: `vote red`. Upper and lower case are one.
pub(crate) fn choice(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    if !words.next()?.eq_ignore_ascii_case("vote") {
        return None;
    }
    let choice = words.collect::<Vec<_>>().join(" ").to_lowercase();
    let fits =
        !choice.is_empty() && choice.chars().count() <= MAX_CHOICE && !choice.contains(char::is_control);
    fits.then_some(choice)
}

impl Poll {
    /// Takes a vote; the last of each member counts. Whether it changes anything.
    pub(crate) fn vote(&mut self, who: &str, choice: String) -> bool {
        if self.votes.len() >= MAX_VOTERS && !self.votes.contains_key(who) {
            return false;
        }
        self.votes.insert(who.to_owned(), choice.clone()) != Some(choice)
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        let mut counts = BTreeMap::<&str, usize>::new();
        for choice in self.votes.values() {
            *counts.entry(choice).or_default() += 1;
        }
        let choice = |(name, votes): (&str, usize)| Choice { name: name.to_owned(), votes };
        let mut choices: Vec<_> = counts.into_iter().map(choice).collect();
        choices.sort_by_key(|choice| std::cmp::Reverse(choice.votes));
        Standing { is: "standing", choices, total: self.votes.len() }
    }
}

impl Standing {
    /// "red 2, blue 1".
    pub(crate) fn in_words(&self) -> String {
        let named =
            self.choices.iter().take(SUMMARY).map(|choice| format!("{} {}", choice.name, choice.votes));
        let mut words = named.collect::<Vec<_>>().join(", ");
        if self.choices.len() > SUMMARY {
            words += ", …";
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(votes: &[(&str, &str)]) -> Poll {
        let mut poll = Poll::default();
        for (who, choice) in votes {
            poll.vote(who, (*choice).to_owned());
        }
        poll
    }

    #[test]
    fn what_is_a_vote() {
        assert_eq!(choice("vote red").as_deref(), Some("red"));
        assert_eq!(choice("  Vote  Dark   RED ").as_deref(), Some("dark red"));
        for text in ["", "vote", "vote ", "votered", "red", "i vote red", "vote \u{7}"] {
            assert_eq!(choice(text), None, "{text:?}");
        }
        assert_eq!(choice(&format!("vote {}", "x".repeat(MAX_CHOICE + 1))), None);
    }

    #[test]
    fn a_members_last_vote_counts() {
        let mut poll = poll(&[("ann", "red"), ("ben", "blue"), ("ann", "blue")]);
        assert_eq!(poll.standing().in_words(), "blue 2");
        assert!(!poll.vote("ben", "blue".into()), "nothing new");
        assert!(poll.vote("ben", "red".into()));
        assert_eq!(poll.standing().total, 2);
    }

    #[test]
    fn the_most_votes_come_first_and_then_by_name() {
        let poll = poll(&[("a", "red"), ("b", "green"), ("c", "blue"), ("d", "green"), ("e", "white")]);
        assert_eq!(poll.standing().in_words(), "green 2, blue 1, red 1, …");
    }

    #[test]
    fn what_is_posted() {
        let json = serde_json::to_string(&poll(&[("a", "red")]).standing()).unwrap();
        assert_eq!(json, r#"{"is":"standing","choices":[{"name":"red","votes":1}],"total":1}"#);
    }
}
