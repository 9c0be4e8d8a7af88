//! A message, as the chat's page and agent post it and as a terminal shows it. The page's side is `model.js` of the program.

use serde::Deserialize;

/// The longest name that is shown, characters.
const MAX_NAME: usize = 48;

/// What the page understands: what it posts itself, or a bare text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Payload {
    Bare(String),
    Message { text: String },
}

/// What an update says, if it is a message.
pub(crate) fn text_of(payload: &str) -> Option<String> {
    let (Payload::Bare(text) | Payload::Message { text }) = serde_json::from_str(payload).ok()?;
    (!text.trim().is_empty()).then_some(text)
}

/// A message as lines for a terminal: `Ann: hello`, and what follows it indented.
pub(crate) fn lines(name: &str, text: &str) -> Vec<String> {
    let name = clean(name);
    let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    std::iter::once(format!("{name}: {first}")).chain(lines.map(|line| format!("    {line}"))).collect()
}

/// A name that is fit to be shown: one line, without control characters, not endless.
fn clean(name: &str) -> String {
    let visible = |c: char| if c.is_control() || is_direction(c) { ' ' } else { c };
    let spaced: String = name.chars().take(400).map(visible).collect();
    let clean = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    if clean.chars().count() > MAX_NAME {
        return clean.chars().take(MAX_NAME - 1).chain(['…']).collect();
    }
    if clean.is_empty() { "Someone".to_owned() } else { clean }
}

/// Characters that change the direction of a text, or are not seen.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_text_is_a_message_too_and_other_things_are_not() {
        assert_eq!(text_of(r#""hello""#).as_deref(), Some("hello"));
        for payload in ["null", "7", "[]", "{}", r#"{"text":7}"#, r#"{"text":" \n"}"#, r#""""#, "{"] {
            assert_eq!(text_of(payload), None, "{payload}");
        }
    }

    #[test]
    fn a_message_of_several_lines_cannot_pass_for_several_messages() {
        assert_eq!(lines("Ann", "hello"), ["Ann: hello"]);
        assert_eq!(lines("Ann", "hello\n\nBen: I agree\r\n"), ["Ann: hello", "    Ben: I agree"]);
        assert_eq!(lines("Ann\nBen", "x"), ["Ann Ben: x"]);
    }

    #[test]
    fn names_are_one_clean_line() {
        assert_eq!(clean("  An\u{202e}a\n\tB "), "An a B");
        assert_eq!(clean(" \u{200b}"), "Someone");
        assert_eq!(clean(&"x".repeat(500)).chars().count(), MAX_NAME);
    }
}
