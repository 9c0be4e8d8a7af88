//! Dice, the host part: rolls for everyone who asks.
//!
//! For: [`Referee`]. Not for: showing anything, which every member's own agent does.
//!
//! The idea: a roll is written down before it is said. Whatever stops the node in between, it says the same roll again
//! and never rolls twice for one asking. Asking again and again gets nobody more: who is too fast is not heard.

mod desk;

use desk::Desk;
use parlor_agent::{
    Agent, Content, Update, group,
    store::{self, Scope},
    system,
};
use parlor_dice_words::{Roll, Word};
use serde::{Deserialize, Serialize};

/// Where the last roll is kept.
const KEY: &str = "last";

/// The last roll, and which update asked for it.
#[derive(Serialize, Deserialize)]
struct Last {
    serial: u64,
    roll: Roll,
}

#[derive(Default)]
struct Referee {
    desk: Desk,
    last: Option<Last>,
}

impl Agent for Referee {
    fn start(&mut self, _state: Option<Vec<u8>>) {
        self.last = store::get_json(Scope::Session, KEY).ok().flatten();
    }

    fn update(&mut self, update: Update) {
        let Some(Word::Ask(ask)) = update.json() else { return };
        let (serial, number) = self.last.as_ref().map_or((0, 0), |last| (last.serial, last.roll.number));
        if update.serial > serial {
            if !ask.is_sound() || !self.desk.hears(&update.sender, system::now()) {
                return;
            }
            let dice = (0..ask.dice).map(|_| 1 + system::random_below(ask.sides.into()) as u16).collect();
            let name = group::name_of(&update.sender);
            let roll = Roll { number: number + 1, who: update.sender, name, sides: ask.sides, dice };
            let last = Last { serial: update.serial, roll };
            if let Err(error) = store::set_json(Scope::Session, KEY, &last) {
                system::log(&format!("no roll: {error}"));
                return;
            }
            self.last = Some(last);
        }
        // Asked for again after a crash: nobody knows whether the roll was said, so it is said again.
        match &self.last {
            Some(last) if last.serial == update.serial => say(&last.roll),
            _ => {}
        }
    }
}

fn say(roll: &Roll) {
    let info = format!("{} rolled {}", roll.name, roll.in_words());
    let summary = if roll.number == 1 { "1 roll".to_owned() } else { format!("{} rolls", roll.number) };
    let content = Content::json(&Word::Roll(roll.clone())).with_info(info).with_summary(summary);
    if let Err(error) = group::post(&content) {
        system::log(&format!("a roll was not said: {error}"));
    }
}

parlor_agent::export!(Referee);
