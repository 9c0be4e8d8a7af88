//! Dice, what every member runs: asks, and shows what the host rolled.
//!
//! For: `roll` in the terminal, and the page's question which rolls count. Not for: rolling, which the host part does.
//!
//! The idea: anybody can post a roll, but only the host's counts. Who posted an update is certain, and who the host is,
//! too. So a roll of somebody else's is named for what it is, and otherwise ignored.

mod table;

use parlor_agent::{
    Agent, Content, Member, Update, group,
    output::{self, Lines},
};
use parlor_dice_words::{Ask, MAX_DICE, MAX_SIDES, Word};
use serde_json::json;
use table::{Table, Verdict};

#[derive(Default)]
struct Dice {
    table: Table,
    lines: Lines,
}

impl Dice {
    /// Tells the page whose rolls count: it sees the updates, but not who the host is.
    fn tell_page(&self) {
        output::show(&json!({"hosts": self.table.hosts()}));
    }

    fn learn_hosts(&mut self, members: &[Member]) {
        if self.table.learn(members.iter().filter(|member| member.is_host).map(|host| host.addr.as_str())) {
            self.tell_page();
        }
    }
}

impl Agent for Dice {
    fn start(&mut self, state: Option<Vec<u8>>) {
        self.table = state.map(|state| Table::restored(&state)).unwrap_or_default();
        self.learn_hosts(&group::members());
        self.lines.line("Dice: type \"roll\", \"roll 3\" or \"roll 1d20\".");
    }

    fn input(&mut self, text: String) {
        let Some(ask) = Ask::typed(&text) else {
            let most = format!("at most {MAX_DICE} dice of 2 to {MAX_SIDES} sides");
            self.lines.line(format!("Not understood. \"roll\", \"roll 3\", \"roll 1d20\": {most}."));
            return;
        };
        if let Err(error) = group::post(&Content::json(&Word::Ask(ask))) {
            self.lines.line(format!("Not asked: {error}."));
        }
    }

    fn update(&mut self, update: Update) {
        let Some(Word::Roll(roll)) = update.json() else { return };
        // The host may have changed a moment ago: look again.
        self.learn_hosts(&group::members());
        match self.table.judge(&update.sender, &roll) {
            Verdict::Counts => self.lines.line(format!("{} rolled {}", roll.name, roll.in_words())),
            Verdict::Known => {}
            Verdict::Fake => {
                let who = group::name_of(&update.sender);
                self.lines.line(format!("{who} posted a roll, but only the host rolls: it does not count."));
            }
        }
    }

    fn members(&mut self, members: Vec<Member>) {
        self.learn_hosts(&members);
    }

    /// The page has been opened.
    fn page(&mut self, _json: String) {
        self.tell_page();
    }

    fn tick(&mut self) {
        self.lines.flush();
    }

    fn suspend(&mut self) -> Vec<u8> {
        self.table.kept()
    }
}

parlor_agent::export!(Dice);
