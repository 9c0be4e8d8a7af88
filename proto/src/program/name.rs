//! What a program is called: a name for command lines and paths, and texts for people.
//!
//! For: [`ProgramName`], which is safe to type, to print and to make a file name of, and the rule for the free
//! texts beside it. Not for: saying *which* program it is; two may have the same name (see
//! [`ProgramId`](crate::ids::ProgramId)).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest [`ProgramName`], bytes.
pub const MAX_NAME_LEN: usize = 64;

/// The longest title, characters.
pub const MAX_TITLE_LEN: usize = 128;

/// The longest version, characters.
pub const MAX_VERSION_LEN: usize = 32;

/// The longest summary, characters.
pub const MAX_SUMMARY_LEN: usize = 500;

/// A program's name: 1 to 64 of `a-z 0-9 - _ .`, the first and the last a letter or digit.
///
/// So it is never taken for an option of a command, a hidden file or a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProgramName(String);

/// Text that is not a [`ProgramName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a program name: 1 to {MAX_NAME_LEN} of a-z 0-9 - _ . are wanted, the first and last a letter or digit"
)]
pub struct ProgramNameError;

impl ProgramName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name made of a title: as it is if it is a name already, else in lower case and with `-` for
    /// whatever a name cannot hold. Never fails: of a title that leaves nothing, a name is made by hashing.
    #[must_use]
    pub fn from_title(title: &str) -> Self {
        let mut slug = String::new();
        for c in title.chars().flat_map(char::to_lowercase) {
            if slug.len() == MAX_NAME_LEN {
                break;
            }
            match c {
                'a'..='z' | '0'..='9' | '_' | '.' => slug.push(c),
                // One dash for a run of strange characters.
                _ if slug.ends_with('-') => {}
                _ => slug.push('-'),
            }
        }
        let slug = slug.trim_matches(['-', '_', '.']);
        if slug.is_empty() {
            let hash = blake3::hash(title.as_bytes());
            return Self(format!("program-{}", hex::encode(&hash.as_bytes()[..4])));
        }
        Self(slug.to_owned())
    }
}

impl TryFrom<String> for ProgramName {
    type Error = ProgramNameError;

    fn try_from(text: String) -> Result<Self, ProgramNameError> {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        let known = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if bytes.len() > MAX_NAME_LEN
            || !bytes.iter().all(known)
            || !edge(bytes.first())
            || !edge(bytes.last())
        {
            return Err(ProgramNameError);
        }
        Ok(Self(text))
    }
}

impl FromStr for ProgramName {
    type Err = ProgramNameError;

    fn from_str(text: &str) -> Result<Self, ProgramNameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<ProgramName> for String {
    fn from(name: ProgramName) -> Self {
        name.0
    }
}

impl fmt::Display for ProgramName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether `text` may be shown to people as it is: 1 to `max_chars` characters, no control characters (which
/// drive a terminal) and none that turn the direction of what stands around them.
#[must_use]
pub fn is_display_text(text: &str, max_chars: usize) -> bool {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = |c| matches!(c, '\u{2028}' | '\u{2029}');
    !text.trim().is_empty()
        && text.chars().count() <= max_chars
        && !text.chars().any(|c| c.is_control() || turns(c) || breaks(c))
}
