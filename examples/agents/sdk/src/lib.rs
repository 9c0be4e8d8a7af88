//! Write agents for Parlor programs in Rust.
//!
//! For: [`Agent`], the trait of what happens to an agent; [`export!`], which makes a component of it; and what an agent
//! can do: [`group`], [`store`], [`files`], [`packs`], [`output`], [`system`]. Not for: the page of a program, which has
//! the webxdc API in JavaScript.
//!
//! The idea: an agent is a value that events happen to, one after the other. It starts as its `Default`, and lives as
//! long as the session runs on this node. Between two events it does not run: there are no threads and nothing to wait
//! for. It reaches the group, a small store, the program's files and packs and the terminal, and nothing else.
//!
//! # An agent
//!
//! ```no_run
//! use parlor_agent::{Agent, Content, Update, group, output::Lines};
//!
//! #[derive(Default)]
//! struct Echo {
//!     lines: Lines,
//! }
//!
//! impl Agent for Echo {
//!     fn input(&mut self, text: String) {
//!         self.lines.line(&text);
//!         if let Err(error) = group::post(&Content::text(&text)) {
//!             self.lines.line(format!("Not said: {error}."));
//!         }
//!     }
//!
//!     fn update(&mut self, update: Update) {
//!         if let (false, Some(text)) = (update.is_own, update.json::<String>()) {
//!             self.lines.line(format!("{}: {text}", group::name_of(&update.sender)));
//!         }
//!     }
//! }
//!
//! parlor_agent::export!(Echo);
//! # fn main() {}
//! ```
//!
//! # Building
//!
//! The crate is a `cdylib`, built for `wasm32-unknown-unknown`. What the compiler makes is a module; it becomes a
//! component with `wasm-tools component new echo.wasm -o agent.wasm`. `agent.wasm` lies at the top of the program's
//! folder. A component named `host.wasm` is the host part: only the host gets it, and runs it beside `agent.wasm`.
//!
//! # What goes on when
//!
//! 1. The program arrives on a node: [`Agent::setup`]. There is no group yet.
//! 2. The session begins on this node, or goes on after a pause or a restart: a fresh value, then [`Agent::start`] with
//!    what [`Agent::suspend`] returned last.
//! 3. Events: [`update`](Agent::update), [`message`](Agent::message), [`input`](Agent::input), [`page`](Agent::page),
//!    [`members`](Agent::members), [`tick`](Agent::tick). Now and then [`suspend`](Agent::suspend), after which the
//!    agent may simply go on.
//! 4. [`Agent::end`].
//!
//! # After a crash
//!
//! Updates that came after the last `suspend` come again. So let a repeated update change nothing, and put what must
//! not happen twice into the [`store`] *before* it is done: what it keeps is on disk when it returns.
//!
//! # Bounds
//!
//! A node stops an agent for good that traps (a panic is a trap), takes too long for an event, wants too much memory, or
//! talks faster than it may. The bounds are in the program's `manifest.toml`, under `[parlor.agent]`. A panic's words
//! go to the node's log, at level DEBUG.

mod agent;
#[doc(hidden)]
pub mod bindings;
mod content;
mod error;
pub mod files;
pub mod group;
pub mod output;
mod pace;
pub mod packs;
pub mod store;
pub mod system;

pub use agent::{Agent, Readiness};
pub use content::{Content, Member, Update};
pub use pace::Pace;
