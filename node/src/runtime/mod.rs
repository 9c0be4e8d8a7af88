//! What runs a program on this node.
//!
//! For: [`web`], the part of a program that is shown in the user's own browser. Not for: deciding when a program
//! runs (see `session`), nor how what it says reaches the group (see `group`).

pub mod web;
