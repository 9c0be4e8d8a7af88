//! What runs a program on this node.
//!
//! For: [`agent`], the part of a program that runs by itself, in a sandbox, and [`web`], the part that is shown in the
//! user's own browser, which [`browser`] starts; and [`update`], what either may post. Not for: deciding when a program runs
//! (see `session`), nor how what it says reaches the group (see `group`).

pub mod agent;
pub mod browser;
mod pace;
pub mod update;
pub mod web;
