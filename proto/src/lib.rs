//! What Parlor nodes say to each other and what follows from it.
//!
//! For: formats, signatures and state machines. Every machine is a plain value; one call takes an event, the
//! time and what randomness it needs, and returns what to do. Not for: doing it. There is no I/O here, no
//! clock, no runtime and no network; the crate builds for wasm32. The `parlor-node` crate drives it.
//!
//! The same word names the same concern in both crates. Read in this order:
//!
//! - [`identity`], [`ids`], [`time`]: who, what, when;
//! - [`rights`]: ticket, slot, release, receipt, ack and the proof of a cheat, as signed items;
//! - [`program`]: the manifest, files and chunks of a program;
//! - [`session`]: the life of a session, as the host's and the member's state machine;
//! - [`content`]: who fetches which chunk from whom;
//! - [`group`]: what the members of a running session say to each other;
//! - [`billing`]: tariffs, the book, statements;
//! - [`wire`]: every message and protocol name, in one page.

pub mod billing;
pub mod content;
pub mod group;
pub mod identity;
pub mod ids;
pub mod program;
pub mod rights;
pub mod session;
pub mod time;
pub mod wire;
