//! What the user of this node gets to see. Others do not see it.

use std::collections::VecDeque;

use serde::Serialize;

use crate::{Pace, bindings::parlor::agent::output, system};

/// The longest line, bytes.
pub const MAX_LINE: usize = 4096;

/// A line in the terminal: `parlor watch` shows it. Control characters are left out. Of a longer one than [`MAX_LINE`]
/// there is the beginning.
pub fn line(text: &str) {
    output::line(cut(text));
}

/// A value for the page on this node, if it is open: `webxdc.parlor.onAgent` gets it. At most 128,000 bytes of JSON.
///
/// # Panics
///
/// If it cannot be JSON: a map whose keys are no texts, say.
pub fn show(value: &impl Serialize) {
    output::show(&serde_json::to_string(value).expect("a value can be JSON"));
}

/// Lines that may come faster than a node shows them: a long history, say, when the session begins.
///
/// Those that are too many for the moment wait until [`flush`](Self::flush), or the next line. When too many wait, the
/// oldest are left out, and how many is said.
#[derive(Debug)]
pub struct Lines {
    waiting: VecDeque<String>,
    left_out: u64,
    pace: Pace,
}

impl Default for Lines {
    /// At half the pace that a node gives a program which asks for nothing.
    fn default() -> Self {
        Self { waiting: VecDeque::new(), left_out: 0, pace: Pace::per_second(30) }
    }
}

impl Lines {
    /// How many wait at most.
    const WAITING: usize = 200;

    /// Shows a line, now or later.
    pub fn line(&mut self, text: impl Into<String>) {
        self.push(text.into());
        self.flush();
    }

    /// Shows what waits, as far as it may be shown now. Call it in [`tick`](crate::Agent::tick), if there are ticks.
    pub fn flush(&mut self) {
        while let Some(text) = self.next(system::now()) {
            line(&text);
        }
    }

    fn push(&mut self, text: String) {
        if self.waiting.len() == Self::WAITING {
            self.waiting.pop_front();
            self.left_out += 1;
        }
        self.waiting.push_back(text);
    }

    fn next(&mut self, now: u64) -> Option<String> {
        if self.waiting.is_empty() || !self.pace.take(now) {
            return None;
        }
        match std::mem::take(&mut self.left_out) {
            0 => self.waiting.pop_front(),
            lines => Some(format!("({lines} lines were left out)")),
        }
    }
}

/// As much of the text as a line may have.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LINE)]
}

#[cfg(test)]
mod tests {
    use super::{Lines, MAX_LINE, cut};

    #[test]
    fn a_long_line_ends_between_two_characters() {
        let long = "ü".repeat(MAX_LINE);
        assert_eq!(cut(&format!("x{long}")).len(), MAX_LINE - 1);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn of_too_many_lines_the_newest_are_shown() {
        let mut lines = Lines::default();
        let shown = |lines: &mut Lines, now| std::iter::from_fn(|| lines.next(now)).collect::<Vec<_>>();
        for i in 0..Lines::WAITING + 7 {
            lines.push(i.to_string());
        }
        let first = shown(&mut lines, 0);
        assert_eq!(first[..2], ["(7 lines were left out)", "7"]);
        assert_eq!(first.len(), 30);
        assert_eq!(shown(&mut lines, 100), ["36", "37", "38"]);
        assert_eq!(shown(&mut lines, 1000).len(), 27);
    }
}
