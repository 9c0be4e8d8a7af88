//! JSON text as every reader takes it.
//!
//! For: [`tidy`]. Not for: what the text means. What it changes, and why, is said in [`super`].
//!
//! The idea: whether the text is JSON is left to the library, which reads it without recursion. What is JSON can be gone
//! through byte by byte, knowing only strings, numbers and brackets.

use std::{borrow::Cow, ops::Range};

use serde_json::{Number, value::RawValue};

/// Why a text is not taken.
#[derive(Debug)]
pub(super) enum BadJson {
    /// Not JSON.
    Malformed(serde_json::Error),
    /// Nested deeper than is allowed.
    TooDeep,
}

/// The text of one JSON value, with what some reader does not take replaced. At most `deepest` arrays and objects may be
/// within each other.
pub(super) fn tidy(json: &str, deepest: usize) -> Result<Cow<'_, str>, BadJson> {
    serde_json::from_str::<&RawValue>(json).map_err(BadJson::Malformed)?;
    let bytes = json.as_bytes();
    let mut edited = Edited { json, out: String::new(), copied: 0 };
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string(at, &mut edited),
            b'-' | b'0'..=b'9' => at = number(at, &mut edited),
            b'[' | b'{' => {
                depth += 1;
                if depth > deepest {
                    return Err(BadJson::TooDeep);
                }
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            _ => at += 1,
        }
    }
    Ok(edited.finish())
}

/// Goes through the string that begins at `at`, and returns where it is over.
fn string(at: usize, edited: &mut Edited<'_>) -> usize {
    let json = edited.json;
    let mut at = at + 1;
    loop {
        match json.as_bytes().get(at) {
            None => return at,
            Some(b'"') => return at + 1,
            Some(b'\\') => match (unit(json, at), unit(json, at + 6)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
                (Some(0xd800..=0xdfff), _) => {
                    edited.replace(at..at + 6, "\\ufffd");
                    at += 6;
                }
                (Some(_), _) => at += 6,
                (None, _) => at += 2,
            },
            Some(_) => at += 1,
        }
    }
}

/// The code unit of an escape `\uXXXX` at `at`, if there is one.
fn unit(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

/// Goes through the number that begins at `at`, and returns where it is over.
fn number(at: usize, edited: &mut Edited<'_>) -> usize {
    let json = edited.json;
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let len = json.as_bytes()[at..].iter().take_while(|byte| is_part(byte)).count();
    let text = &json[at..at + len];
    if serde_json::from_str::<Number>(text).is_err() {
        edited.replace(at..at + len, &format!("\"{text}\""));
    }
    at + len
}

/// A text with some places replaced, in order.
struct Edited<'a> {
    json: &'a str,
    out: String,
    /// Up to where `out` has it.
    copied: usize,
}

impl<'a> Edited<'a> {
    fn replace(&mut self, place: Range<usize>, with: &str) {
        self.out.push_str(&self.json[self.copied..place.start]);
        self.out.push_str(with);
        self.copied = place.end;
    }

    fn finish(mut self) -> Cow<'a, str> {
        if self.copied == 0 {
            return Cow::Borrowed(self.json);
        }
        self.out.push_str(&self.json[self.copied..]);
        Cow::Owned(self.out)
    }
}

#[cfg(test)]
pub(super) mod testing {
    use proptest::prelude::*;

    /// Text that is mostly JSON, with all that JSON allows and some of what it does not.
    pub(in crate::runtime::update) fn jsonish() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            "[a-z\u{e4}\u{1f600}]{0,4}",
            r"\\u[dD][89a-fA-F][0-9a-f]{2}",
            r"\\u[0-9a-f]{3,4}",
            r#"\\["\\/bfnrtx]"#,
        ];
        let string =
            proptest::collection::vec(text, 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()));
        let number = r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,6})?";
        let leaf = prop_oneof![string.clone(), number, "true|false|null|nul|01|\\.5| "];
        leaf.prop_recursive(6, 60, 4, move |inner| {
            let object = proptest::collection::vec((string.clone(), inner.clone()), 0..4);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
                object.prop_map(|all| {
                    let fields: Vec<_> =
                        all.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
                    format!("{{{}}}", fields.join(" ,"))
                }),
                (inner, 1..130_usize)
                    .prop_map(|(one, deep)| { format!("{}{one}{}", "[".repeat(deep), "]".repeat(deep)) }),
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{testing::jsonish, *};

    const DEEPEST: usize = 100;

    #[test]
    fn only_what_some_reader_refuses_is_changed() {
        for (json, tidied) in [
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\\ud83d\"\ud83dx""#, r#""\\ud83d\"\ufffdx""#),
            (r#"["1e999", 1e999 ,-1E+400]"#, r#"["1e999", "1e999" ,"-1E+400"]"#),
        ] {
            assert_eq!(tidy(json, DEEPEST).unwrap(), tidied);
        }
        for same in
            [r#"{"z":1.0,"a":0.30000000000000004,"b":123456789012345678901234567890}"#, "-0", r#""\\""#]
        {
            assert!(matches!(tidy(same, DEEPEST), Ok(Cow::Borrowed(text)) if text == same), "{same}");
        }
    }

    proptest! {
        #[test]
        fn what_is_json_is_readable_or_too_deep_and_tidying_again_changes_nothing(json in jsonish()) {
            match tidy(&json, DEEPEST) {
                Ok(tidied) => {
                    prop_assert!(serde_json::from_str::<Value>(&tidied).is_ok(), "{tidied}");
                    prop_assert!(matches!(tidy(&tidied, DEEPEST), Ok(Cow::Borrowed(_))));
                    // Who could read it before reads the same.
                    if let Ok(value) = serde_json::from_str::<Value>(&json) {
                        prop_assert_eq!(value, serde_json::from_str::<Value>(&tidied).unwrap());
                    }
                }
                Err(BadJson::Malformed(_)) => {
                    prop_assert!(serde_json::from_str::<&RawValue>(&json).is_err());
                }
                Err(BadJson::TooDeep) => {
                    let brackets = json.matches(['[', '{']).count();
                    prop_assert!(brackets > DEEPEST);
                }
            }
        }

        #[test]
        fn no_text_does_harm(json in r#"["\\u\[\]{}d890e.\-+ :,é]{0,60}"#) {
            let _ = tidy(&json, DEEPEST);
        }
    }
}
