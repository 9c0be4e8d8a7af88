//! What an update says: JSON that every reader takes.
//!
//! For: the one rule of what a page or an agent may post, applied where it posts ([`read`], [`value`]), and once more to
//! what comes from other nodes ([`shown`]), which keep to no rule. Not for: what becomes of an update (see
//! [`crate::group`]).
//!
//! The idea: JSON's grammar allows what one reader or another refuses, and a refusal in the midst of a stream ends it for
//! somebody who has done nothing. So what is posted is *tidied*, with the same outcome on every node:
//!
//! | what | becomes |
//! |---|---|
//! | half a surrogate pair, `"\ud83d"`, also in keys and texts beside the payload | U+FFFD |
//! | a number that no double holds, `1e999` | its text: `"1e999"` |
//! | arrays and objects nested more than [`MAX_DEPTH`] deep | refused where it is posted, with this reason |
//! | what is no JSON, or no webxdc update | refused, with the reason |
//! | one of the last two all the same, from another node | an update whose payload is `null`, and why |
//!
//! Everything else passes as the text that it was.

mod tidy;

use parlor_proto::group::MAX_PAYLOAD;
use serde_json::{Value, value::RawValue};

use super::web::UpdateContent;
use tidy::{BadJson, tidy};

/// How deep arrays and objects of a payload may be nested. Readers have their own limits: 128 is a common one, and what
/// is around a payload counts, too.
pub const MAX_DEPTH: usize = 100;

/// Why an update is not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadUpdate {
    #[error("the update has {0} bytes, {MAX_PAYLOAD} are allowed")]
    TooLarge(usize),
    #[error("the payload nests arrays and objects more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("not a webxdc update: {0}")]
    Malformed(#[source] serde_json::Error),
    #[error("not a webxdc update: it is no text")]
    NoText,
}

impl From<BadJson> for BadUpdate {
    fn from(bad: BadJson) -> Self {
        match bad {
            BadJson::TooDeep => Self::TooDeep,
            BadJson::Malformed(error) => Self::Malformed(error),
        }
    }
}

/// Reads an update that somebody on this node wants to post.
///
/// # Errors
///
/// It is too large, too deep, or no update.
pub fn read(text: &str) -> Result<UpdateContent, BadUpdate> {
    match text.len() {
        len if len > MAX_PAYLOAD => Err(BadUpdate::TooLarge(len)),
        _ => parse(text),
    }
}

/// Reads a value on its own: a payload, or what a page and an agent of this node say to each other.
///
/// # Errors
///
/// It is too deep, or no JSON.
pub fn value(text: &str) -> Result<Box<RawValue>, BadUpdate> {
    let tidied = tidy(text, MAX_DEPTH)?.into_owned();
    RawValue::from_string(tidied).map_err(BadUpdate::Malformed)
}

/// What a member posted, whatever it is. What cannot be read has no content, and says why, so that a member that posts
/// nonsense confuses nobody.
#[must_use]
pub fn shown(payload: &[u8]) -> (UpdateContent, Option<BadUpdate>) {
    let text = std::str::from_utf8(payload).map_err(|_| BadUpdate::NoText);
    match text.and_then(parse) {
        Ok(content) => (content, None),
        Err(bad) => (UpdateContent::of_null(), Some(bad)),
    }
}

/// A payload of [`shown`] as a value.
#[must_use]
pub fn parsed(payload: &RawValue) -> Value {
    // What is tidy is read; should this reader ever be stricter, one payload is lost and no stream.
    serde_json::from_str(payload.get()).unwrap_or_default()
}

fn parse(text: &str) -> Result<UpdateContent, BadUpdate> {
    let tidied = tidy(text, MAX_DEPTH + 1)?;
    serde_json::from_str(&tidied).map_err(BadUpdate::Malformed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn every_kind_of_odd_payload_is_shown_or_refused_with_a_reason() {
        for (payload, seen) in [
            (r#""\ud83d""#, json!("\u{fffd}")),
            (r#"{"\udc00":["a\ud83dz"]}"#, json!({"\u{fffd}": ["a\u{fffd}z"]})),
            (r#""\ud83d\ude00""#, json!("😀")),
            ("1e999", json!("1e999")),
            ("[-1e999,1e308]", json!(["-1e999", 1e308])),
            (&nested(MAX_DEPTH), serde_json::from_str(&nested(MAX_DEPTH)).unwrap()),
            (r#""\u0000\u001b""#, json!("\u{0}\u{1b}")),
        ] {
            let posted = read(&format!(r#"{{"payload":{payload}}}"#)).unwrap().to_payload();
            let (content, why) = shown(&posted);
            assert!(why.is_none(), "{payload}");
            assert_eq!(parsed(&content.payload), seen, "{payload}");
            // From a node that has not tidied it.
            let (content, why) = shown(format!(r#"{{"payload":{payload}}}"#).as_bytes());
            assert_eq!((parsed(&content.payload), why.is_none()), (seen, true), "{payload}");
        }
        let deep = format!(r#"{{"payload":{}}}"#, nested(MAX_DEPTH + 1));
        let refused = read(&deep).unwrap_err().to_string();
        assert_eq!(refused, "the payload nests arrays and objects more than 100 deep");
        let (content, why) = shown(deep.as_bytes());
        assert_eq!((parsed(&content.payload), why.unwrap().to_string()), (Value::Null, refused));
    }

    #[test]
    fn half_an_emoji_beside_the_payload_loses_nothing() {
        let text = r#"{"payload":1,"info":"a\ud83d","summary":"\ude00","document":"\ud83d\ud83d\ude00",
            "notify":{"\ud83d":"x\ud83d"}}"#;
        let content = read(text).unwrap();
        assert_eq!(content.info.as_deref(), Some("a\u{fffd}"));
        assert_eq!(content.summary.as_deref(), Some("\u{fffd}"));
        assert_eq!(content.document.as_deref(), Some("\u{fffd}😀"));
        assert_eq!(content.notify.unwrap(), [("\u{fffd}".to_owned(), "x\u{fffd}".to_owned())].into());
    }

    proptest! {
        #[test]
        fn whatever_a_member_posts_can_be_shown(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (content, _) = shown(&payload);
            prop_assert!(serde_json::from_str::<Value>(content.payload.get()).is_ok());
        }

        #[test]
        fn what_may_be_posted_is_read_by_every_reader(payload in super::tidy::testing::jsonish()) {
            let text = format!(r#"{{"payload":{payload},"info":"\ud83d"}}"#);
            let Ok(content) = read(&text) else { return Ok(()) };
            let (shown, why) = shown(&content.to_payload());
            prop_assert!(why.is_none());
            prop_assert_eq!(shown.payload.get(), content.payload.get());
            prop_assert!(serde_json::from_str::<Value>(shown.payload.get()).is_ok());
        }
    }
}
