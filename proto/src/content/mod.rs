//! Who fetches which chunk from whom, and what is said on the way (design section 2, steps 5 and 6).
//!
//! For: [`frames`], the words of a content stream; [`Fetch`], the machine that decides what to ask of which
//! source. Not for: rights (a stream carries one as opaque bytes; see `rights`), streams and disks (the
//! node's).
//!
//! The idea: a program is a numbered list of chunks, each of which can be verified by itself, so a fetch is
//! only the keeping of books: what is not here yet, who has it, who was asked. Any number of sources can
//! serve one fetch; one that lies or stalls is dropped and what was asked of it is asked of another.

mod fetch;
#[cfg(test)]
mod fetch_tests;
pub mod frames;

pub use fetch::{Blame, Event, Fetch, MAX_SOURCES, Output, STALL, WINDOW};
