//! The Parlor node: libp2p, disk, browser and terminal around the machines of `parlor-proto`.
//!
//! For: doing what the machines decide, and nothing they should decide. Embed it with [`Node`]; the binary
//! `parlor` is a command line around it.
//!
//! - [`overlay`]: the network: domain events out, nothing libp2p-shaped leaves;
//! - [`database`]: transactions that are written when they say so;
//! - [`store`]: what is on disk;
//! - [`program`]: from a directory or an `.xdc` to a bundle;
//! - [`content`]: a program's bytes, served and fetched;
//! - [`supply`]: catalog, tickets, cards: how programs and rights come and go;
//! - [`session`], [`group`], [`billing`]: the drivers of the machines of the same names;
//! - [`runtime`]: programs as they run;
//! - [`console`]: commands from the command line and the web console;
//! - [`cli`]: the command line itself.

// Both panic when they cannot write, which must not end a task of a node.
#![cfg_attr(not(test), warn(clippy::print_stderr, clippy::print_stdout))]

pub mod billing;
pub mod cli;
pub mod clock;
pub mod console;
pub mod contacts;
pub mod content;
pub mod context;
pub mod critical;
pub mod database;
pub mod group;
pub mod home;
mod log_pace;
mod metrics;
mod node;
pub mod overlay;
pub mod program;
pub mod runtime;
pub mod session;
pub mod store;
pub mod supply;
#[cfg(test)]
mod tests;
mod whole_file;

pub use critical::TaskEnded;
pub use node::{Config, Node, StartError, Started};
