//! Echo: the smallest agent. What is typed comes back as a line, and is posted to the group.

use parlor_agent::{Agent, Content, Update, group, output::Lines};

#[derive(Default)]
struct Echo {
    lines: Lines,
}

impl Agent for Echo {
    fn input(&mut self, text: String) {
        self.lines.line(&text);
        if let Err(error) = group::post(&Content::text(&text)) {
            self.lines.line(format!("Not said: {error}."));
        }
    }

    fn update(&mut self, update: Update) {
        if let (false, Some(text)) = (update.is_own, update.json::<String>()) {
            self.lines.line(format!("{}: {text}", group::name_of(&update.sender)));
        }
    }
}

parlor_agent::export!(Echo);
