//! The chat's agent: lets somebody at a plain terminal take part beside the pages.
//!
//! For: posting what is typed, and showing messages as lines. Not for: the typing notice.

mod message;

use parlor_agent::{Agent, Content, Member, Update, group, output::Lines};

#[derive(Default)]
struct Chat {
    lines: Lines,
}

impl Agent for Chat {
    fn input(&mut self, text: String) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        // As it is: the pages show a bare text as a message of whoever sent it.
        let content = Content::json(&text);
        if let Err(error) = group::post(&content) {
            self.lines.line(format!("Not said: {error}."));
        }
    }

    fn update(&mut self, update: Update) {
        let Some(text) = message::text_of(&update.content.payload) else { return };
        for line in message::lines(&group::name_of(&update.sender), &text) {
            self.lines.line(line);
        }
    }

    fn members(&mut self, _members: Vec<Member>) {
        self.lines.flush();
    }

    fn tick(&mut self) {
        self.lines.flush();
    }
}

parlor_agent::export!(Chat);
