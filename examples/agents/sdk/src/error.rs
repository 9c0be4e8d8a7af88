//! Why something was not done, in words for people.

use std::{error, fmt};

use crate::bindings::parlor::agent::{group, store};

/// Why something was not said to the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SayError {
    /// It is too large: at most so many bytes.
    TooLarge(u64),
    /// What this node may say until the host's next checkpoint is said.
    Full,
    /// Faster than the manifest allows. Wait: an agent that goes on is stopped.
    TooFast,
    /// The session does not go on.
    Closed,
    /// It is not JSON.
    Malformed,
}

impl fmt::Display for SayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(most) => write!(f, "it is too large: at most {most} bytes"),
            Self::Full => {
                f.write_str("this node has said as much as it may until the host's next checkpoint")
            }
            Self::TooFast => f.write_str("that is faster than the program may"),
            Self::Closed => f.write_str("the session does not go on"),
            Self::Malformed => f.write_str("it is not JSON"),
        }
    }
}

impl error::Error for SayError {}

impl From<group::Error> for SayError {
    fn from(error: group::Error) -> Self {
        match error {
            group::Error::TooLarge(most) => Self::TooLarge(most),
            group::Error::Full => Self::Full,
            group::Error::TooFast => Self::TooFast,
            group::Error::Closed => Self::Closed,
            group::Error::Malformed => Self::Malformed,
        }
    }
}

/// Why something was not kept, or not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepError {
    /// The program's share of the disk is used up.
    Full,
    /// A key of more than 256 bytes, or a value of more than 1 MiB.
    TooLarge,
    /// The disk failed.
    Failed,
}

impl fmt::Display for KeepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the program's share of the disk is used up",
            Self::TooLarge => "a key has at most 256 bytes, and a value 1 MiB",
            Self::Failed => "the disk failed",
        })
    }
}

impl error::Error for KeepError {}

impl From<store::Error> for KeepError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Full => Self::Full,
            store::Error::TooLarge => Self::TooLarge,
            store::Error::Failed => Self::Failed,
        }
    }
}
