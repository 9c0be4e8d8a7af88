//! The network.

pub(crate) mod gate;
