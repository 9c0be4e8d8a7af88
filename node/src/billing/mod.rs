//! Counting copies: a member's outbox on one side, a billing peer's books on the other.
//!
//! For: getting every receipt to a billing peer, however often either is killed ([`outbox`]); booking it once
//! ([`service`], [`book`]); and showing the books to people and programs ([`export`]). Not for: what things
//! cost, nor what a receipt is (`parlor_proto::billing` and `parlor_proto::rights`).
//!
//! Nothing gets lost because a receipt is written to the outbox in the transaction of what it reports, and
//! leaves it only for a signed answer. Nothing is billed twice because the book has every report under its
//! subject, once, and a duplicate gets the first answer again.

pub mod book;
pub mod export;
pub mod outbox;
pub mod service;

pub use book::{Book, BookError, BookedReceipt, KeptProof, OpenError, Overdrawn};
pub use outbox::{Outbox, OutboxEntry, OutboxError};
pub use service::Service;

#[cfg(test)]
mod tests;
