//! Tally: keeps a poll. It is a host part alone: members need no agent, they just say `parlor send SESSION "vote red"`.
//!
//! For: counting one vote a member, and posting how it stands. Not for: secret votes, which everyone sees here.
//!
//! The idea: the votes are updates, so every member can count for itself and see that the standing is right. What is
//! posted is posted at most once a second, however fast the votes come.

mod poll;

use parlor_agent::{
    Agent, Content, Update, group,
    store::{self, Scope},
    system,
};
use poll::Poll;

/// Where the votes are kept.
const KEY: &str = "votes";
/// Milliseconds between two standings, at least.
const APART: u64 = 1000;

#[derive(Default)]
struct Tally {
    poll: Poll,
    /// There is a standing that was not posted yet.
    due: bool,
    /// When the last one was.
    posted: u64,
}

impl Tally {
    fn post(&mut self) {
        let now = system::now();
        if !self.due || now.abs_diff(self.posted) < APART {
            return;
        }
        let standing = self.poll.standing();
        let words = standing.in_words();
        let content = Content::json(&standing).with_info(format!("The poll: {words}")).with_summary(words);
        self.posted = now;
        match group::post(&content) {
            Ok(()) => self.due = false,
            // The next tick tries again.
            Err(error) => system::log(&format!("the standing was not posted: {error}")),
        }
    }
}

impl Agent for Tally {
    fn start(&mut self, state: Option<Vec<u8>>) {
        // What is in the store is never older than the state: it is kept at every vote.
        let stored = store::get_json(Scope::Session, KEY).ok().flatten();
        let state = || serde_json::from_slice(&state?).ok();
        self.poll = stored.or_else(state).unwrap_or_default();
    }

    fn update(&mut self, update: Update) {
        let Some(choice) = update.json::<String>().and_then(|text| poll::choice(&text)) else { return };
        if self.poll.vote(&update.sender, choice) {
            self.due = true;
            if let Err(error) = store::set_json(Scope::Session, KEY, &self.poll) {
                system::log(&format!("a vote was counted, but not kept: {error}"));
            }
            self.post();
        }
    }

    /// The host's own vote: posted like everybody's.
    fn input(&mut self, text: String) {
        if let Err(error) = group::post(&Content::text(&text)) {
            parlor_agent::output::line(&format!("Not said: {error}."));
        }
    }

    fn tick(&mut self) {
        self.post();
    }

    fn suspend(&mut self) -> Vec<u8> {
        serde_json::to_vec(&self.poll).expect("names can be JSON")
    }
}

parlor_agent::export!(Tally);
