//! The Parlor node.

pub mod overlay;
