//! Agents: the part of a program that runs by itself, in a sandbox (design, section 5).
//!
//! For: [`Sandbox`], in which components of the world in `proto/wit/agent.wit` are compiled and run, and [`Agent`], one
//! that runs. Not for: deciding when (see [`crate::session`]), nor what is behind the imports: whoever runs an agent
//! hands in its [`Surroundings`].
//!
//! The idea: an agent has nothing in reach but what is linked to it, and nothing of that without a bound. It is an
//! actor: events wait in a queue with a bound and are taken one after the other, each within a time, in a memory with a
//! bound. Whoever exceeds a bound, or traps, is stopped for good, with a line that says why; the node goes on.
//!
//! - [`sandbox`]: the engine, its threads, and what is linked;
//! - `load`: compiled code and its cache;
//! - `actor`: one running agent;
//! - `instance`: one call;
//! - `ticker`: the clock that makes agents yield;
//! - `guest`, `imports`, `diary`: what is linked to an agent, and what stays of it on the node's side;
//! - `world`: the same in Wasmtime's terms;
//! - [`limits`], `pace`: the bounds;
//! - `stopped`, `text`: what the user is told.

mod actor;
mod diary;
mod guest;
mod imports;
mod instance;
pub mod limits;
mod load;
mod pace;
pub mod sandbox;
mod stopped;
#[cfg(test)]
mod tests;
mod text;
mod ticker;
mod world;

use std::path::PathBuf;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use self::{
    actor::{Agent, Suspended},
    limits::Limits,
    sandbox::{Code, LoadError, Sandbox, SandboxError},
    stopped::Stopped,
};

/// The state that an agent puts aside, at most, bytes.
pub const MAX_STATE: usize = 1 << 20;
/// The longest key in a store, bytes.
pub const MAX_KEY: usize = 256;
/// The longest value, bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// How many packs an agent is told of, at most: the newest.
pub const MAX_PACKS: u32 = 256;
/// The longest line for the terminal, bytes.
pub const MAX_LINE: usize = 4096;

/// A node in the group, as an agent is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is called in this session.
    pub addr: String,
    /// For people.
    pub name: String,
    /// Whether it is the host now.
    pub is_host: bool,
}

/// Upon what an agent posts something: where it is again when the update comes to it again, after a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upon {
    /// The update's.
    pub serial: u64,
    /// How many posts upon it came before.
    pub nth: u32,
}

/// What an update says; the payload is JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// JSON.
    pub payload: String,
    /// A line for people.
    pub info: Option<String>,
    /// The document that is worked on.
    pub document: Option<String>,
    /// The state of things, in a few words.
    pub summary: Option<String>,
}

/// An update, as an agent gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Its place among the updates on this node.
    pub serial: u64,
    /// Whose it is: a member's `addr`.
    pub sender: String,
    /// Whether it is this node's own.
    pub is_own: bool,
    /// What it says.
    pub content: Content,
}

/// What happens to an agent.
#[derive(Debug, Clone)]
pub enum Event {
    /// A realtime message.
    Message {
        /// A member's `addr`.
        sender: String,
        /// As it was sent.
        data: Bytes,
    },
    /// The next update.
    Update(Update),
    /// A line of this node's user.
    Input(String),
    /// JSON of the page on this node.
    Page(String),
    /// Who is in the group now.
    Members(Vec<Member>),
}

/// What setup asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// To wait for the session's start.
    Ready,
    /// To go straight on.
    GoOn,
}

/// Whose a stored value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The session's.
    Session,
    /// The user's, by the program's origin and name.
    User,
}

/// A program that is content for the agent's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// By content.
    pub id: String,
    /// Its own name.
    pub name: String,
    /// As its origin writes it.
    pub version: String,
    /// Who supplied it; `None` for what the user brought.
    pub origin: Option<String>,
    /// From which level to which; without, for all.
    pub levels: Option<(u32, u32)>,
}

/// Why something was not said to the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SayError {
    /// More than so many bytes.
    TooLarge(u64),
    /// No more until the next checkpoint.
    Full,
    /// The session does not go on.
    Closed,
    /// The disk failed.
    NotWritten,
    /// Not JSON, or none that every member can read.
    Malformed,
}

/// Something of what an agent wanted to write upon an event was not written, as the disk failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the program's agent wanted to write was not written: make room on the disk and try again")]
pub struct NotWritten;

/// Why something was not kept, or not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepError {
    /// The program's share of the disk is used up.
    Full,
    /// The disk failed.
    Failed,
}

/// What is behind an agent's imports. Sizes have been checked when these are called, and rates counted.
pub trait Surroundings: Send + Sync + 'static {
    /// This node.
    fn me(&self) -> Member;
    /// Everyone in the group now, this node included.
    fn members(&self) -> Vec<Member>;
    /// To all who are there. Never waits.
    fn send(&self, message: Bytes) -> Result<(), SayError>;
    /// For good: on disk when it returns. What was posted upon the same update before, word for word, is not posted
    /// again.
    fn post(&self, content: Content, upon: Option<Upon>) -> BoxFuture<'_, Result<(), SayError>>;
    /// A stored value.
    fn get(&self, scope: Scope, key: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, KeepError>>;
    /// Keeps a value, or with `None` forgets it; `quota`: what all keys and values of the scope may add up to, bytes.
    fn set(
        &self,
        scope: Scope,
        key: String,
        value: Option<Vec<u8>>,
        quota: u64,
    ) -> BoxFuture<'_, Result<(), KeepError>>;
    /// All keys, in order.
    fn keys(&self, scope: Scope) -> BoxFuture<'_, Result<Vec<String>, KeepError>>;
    /// The program's files that are here, with their sizes, in order.
    fn files(&self) -> Vec<(String, u64)>;
    /// Where one of them is.
    fn file(&self, path: &str) -> Option<PathBuf>;
    /// The packs for the program that are here, newest first, at most [`MAX_PACKS`].
    fn packs(&self) -> BoxFuture<'_, Vec<Pack>>;
    /// The files of one of them that this part may have, with their sizes, in order; none if there is no such pack.
    fn pack_files<'a>(&'a self, pack: &'a str) -> BoxFuture<'a, Vec<(String, u64)>>;
    /// Where one of those is.
    fn pack_file<'a>(&'a self, pack: &'a str, path: &'a str) -> BoxFuture<'a, Option<PathBuf>>;
    /// A line for the user; without control characters, at most [`MAX_LINE`] bytes.
    fn line(&self, text: String);
    /// JSON for the page on this node.
    fn show(&self, json: String);
}
