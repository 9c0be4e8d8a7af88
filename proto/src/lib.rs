//! What Parlor nodes say to each other and what follows from it.
//!
//! For: formats, signatures and state machines. Every machine is a plain value; one call takes an event, the
//! time and what randomness it needs, and returns what to do. Not for: doing it. There is no I/O here, no
//! clock, no runtime and no network; the crate builds for wasm32. The `parlor-node` crate drives it.
//!
//! The same word names the same concern in both crates. Read in this order:
//!
//! - [`identity`], [`ids`], [`time`]: who, what, when.
//! - [`rights`]: who may have a copy, and how that is proven.
//! - [`billing`]: what it costs.

pub mod billing;
pub mod identity;
pub mod ids;
pub mod rights;
pub mod time;
