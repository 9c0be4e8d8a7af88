//! Placeholder.

pub mod content;
pub mod program;
pub mod store;
