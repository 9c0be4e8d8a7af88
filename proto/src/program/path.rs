//! Where a file lies inside its program: a path that can never name a place outside, on any system.
//!
//! For: [`FilePath`]. Not for: places on this machine (the node joins a `FilePath` to a folder of its own).

use std::{collections::BTreeMap, fmt};

/// The longest path, bytes.
pub const MAX_PATH_LEN: usize = 512;

/// The longest part between two slashes, bytes. File systems stop at 255.
pub const MAX_COMPONENT_LEN: usize = 200;

/// The most parts of a path.
pub const MAX_DEPTH: usize = 32;

/// A relative path with `/` between its parts, that means the same file on every system.
///
/// There is no empty part, no `.` or `..`, no control character, and nothing that Windows reads as a drive, a
/// device, a stream or a pattern, or silently shortens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(String);

/// Why some text is not a [`FilePath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilePathError {
    /// Nothing.
    #[error("it is empty")]
    Empty,
    /// Starts with `/`.
    #[error("it is not relative")]
    Absolute,
    /// Longer than [`MAX_PATH_LEN`] or [`MAX_COMPONENT_LEN`], or deeper than [`MAX_DEPTH`].
    #[error("it is too long or too deep")]
    TooLong,
    /// A part that is empty, `.` or `..`.
    #[error("it has an empty part, '.' or '..'")]
    Dots,
    /// A character that cannot stand in file names everywhere.
    #[error("it has a control character or one of \\ : < > \" | ? *")]
    Character,
    /// A device's name on Windows, or an end in a dot or space, which Windows drops.
    #[error("it is not a file name on every system")]
    Reserved,
}

impl FilePath {
    /// Checks `text` and takes it as it is; nothing is normalised.
    pub fn new(text: &str) -> Result<Self, FilePathError> {
        if text.is_empty() {
            return Err(FilePathError::Empty);
        }
        if text.len() > MAX_PATH_LEN {
            return Err(FilePathError::TooLong);
        }
        if text.starts_with('/') {
            return Err(FilePathError::Absolute);
        }
        if text.chars().any(|c| c.is_control() || "\\:<>\"|?*".contains(c)) {
            return Err(FilePathError::Character);
        }
        for (depth, part) in text.split('/').enumerate() {
            if depth == MAX_DEPTH || part.len() > MAX_COMPONENT_LEN {
                return Err(FilePathError::TooLong);
            }
            if matches!(part, "" | "." | "..") {
                return Err(FilePathError::Dots);
            }
            if part.ends_with(['.', ' ']) || is_device(part) {
                return Err(FilePathError::Reserved);
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the slashes, first folder first.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// What two paths have in common if a file system that ignores case takes them for the same.
    #[must_use]
    pub fn case_key(&self) -> String {
        // Through upper case first: it joins letters that differ in lower case only ("ſ" and "s").
        self.0.to_uppercase().to_lowercase()
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Two of these paths, if there are such, that cannot both be files on every system: they differ in case only,
/// or one is where the other needs a folder.
#[must_use]
pub fn find_collision<'a>(
    paths: impl IntoIterator<Item = &'a FilePath>,
) -> Option<(&'a FilePath, &'a FilePath)> {
    let mut seen = BTreeMap::new();
    for path in paths {
        if let Some(other) = seen.insert(path.case_key(), path) {
            return Some((other, path));
        }
    }
    // Each folder that a file lies in: no file may have its name.
    seen.iter().find_map(|(key, path)| {
        key.match_indices('/').find_map(|(end, _)| seen.get(&key[..end])).map(|other| (*other, *path))
    })
}

/// Whether Windows opens a device when asked for a file of this name, whatever its extension.
fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or(part).trim_end();
    let stem = stem.to_ascii_lowercase();
    if matches!(stem.as_str(), "con" | "prn" | "aux" | "nul" | "conin$" | "conout$") {
        return true;
    }
    let Some(port) = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt")) else {
        return false;
    };
    let mut digits = port.chars();
    matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}
