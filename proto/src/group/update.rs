//! One update: durable, signed by its sender, numbered in the sender's order.
//!
//! For: the item itself. Not for: its order among others' updates, which each node chooses for itself as they
//! arrive. The envelope and its rules are those of [`crate::rights`].

use crate::{identity::PeerId, ids::SessionId, time::Timestamp};

/// Largest payload of an update, bytes.
pub const MAX_PAYLOAD: usize = 128 * 1024;

/// One update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// In which session; an update of one passes in no other.
    pub session: SessionId,
    /// Who says it (the signer).
    pub sender: PeerId,
    /// From 1, without gaps.
    pub number: u64,
    /// When, by the sender's clock.
    pub at: Timestamp,
    /// What, as the program (or the webxdc bridge) writes it; at most [`MAX_PAYLOAD`].
    pub payload: Vec<u8>,
}
