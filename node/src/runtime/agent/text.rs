//! Text of an agent's that people get to see.
//!
//! For: [`shown`], which leaves nothing in it that could disturb a terminal or a log. Not for: what is said to the
//! group: that is checked where it arrives.

/// Without control characters and without those that turn the direction of writing, at most `most` bytes.
pub(super) fn shown(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().filter(|c| !is_disturbing(*c)) {
        if shown.len() + c.len_utf8() > most {
            break;
        }
        shown.push(c);
    }
    shown
}

fn is_disturbing(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_disturbing_is_left_and_no_character_is_cut() {
        assert_eq!(shown("a\u{1b}[31mb\n\u{202e}c\u{85}", 100), "a[31mbc");
        assert_eq!(shown("ääää", 5), "ää");
        assert_eq!(shown("", 0), "");
    }
}
