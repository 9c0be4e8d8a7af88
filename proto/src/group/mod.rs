//! What the members of a running session say to each other: updates and realtime messages.
//!
//! For: the signed [`Update`], the [`Log`] in which every member has every update exactly once and
//! after all that its sender had seen, the vectors by which two members find out what one of them lacks; how much each may say
//! ([`rate`]); and what closes the group to others: its members' keys ([`keys`], MLS) and the seal on what they say
//! ([`lanes`]). Not for: who is in the group (that is the session's roster, made of slots), nor for what an update
//! means to the program.
//!
//! The idea: each sender numbers its updates from 1, names in each the one before it and those of others that it had, and
//! signs them. Gossip brings most of them at once; whatever it loses is pulled: "this is what I have" is one number per
//! chain, the answer is what comes after. An update is held back until all that it names is there, so that everybody is
//! told of it after what its sender had seen ([`Log`]); what is concurrent is sorted the same way everywhere, where
//! nothing was told yet ([`Update::place`]). A log is never anything but what comes before some updates, less what a
//! *checkpoint* of the host's has replaced.
//!
//! What members say goes over the session's gossipsub topic, realtime messages over the streams beside it where
//! there are any. Either way it is sealed: the byte of a [`Lane`](lanes::Lane), then its frame. Inside: in the lane
//! for updates the signed update's bytes; for realtime the data as it is; for control a [`Control`] in CBOR. Updates
//! that are *pulled* go over the authenticated and encrypted connection between two members, to no one else, and are
//! not sealed again: a member that comes late has no keys of the epochs in which they were said.
//!
//! Three separate questions, three separate answers: *may it be read* by whoever gets it: only with the keys of
//! the epoch it was sealed in; *who said it*: the signature inside an update, the transport's for a realtime
//! message; *was it heard before*: the update's number, the lane's window.

mod chain;
pub mod keys;
pub mod lanes;
mod log;
pub mod rate;
#[cfg(test)]
mod testing;
mod update;

use serde::{Deserialize, Serialize};

pub use chain::{Chain, Heads, Link};
pub use log::{
    Base, Hosts, LetGo, Log, MAX_CHAINS, MAX_HELD, MAX_HELD_BYTES, MAX_RETAINED, MAX_RETAINED_BYTES, Pending,
    Saved, Verdict,
};
pub use update::{COVERED_LEN, Covers, MAX_AFTER, MAX_COVERED, MAX_NUMBER, MAX_PAYLOAD, Update};

use crate::{ids::SessionId, rights::Signed};

/// Largest realtime message, bytes (webxdc's limit).
pub const MAX_REALTIME: usize = 128_000;
/// Longest [`Control`], bytes.
pub const MAX_CONTROL: usize = 64;
/// Most updates in one [`UpdatesResponse`].
pub const MAX_UPDATES: usize = 256;
/// Most checkpoints in one [`UpdatesResponse`].
pub const MAX_CHECKPOINTS: usize = 4;
/// What the updates of one [`UpdatesResponse`] may weigh together, bytes; one alone may weigh more.
pub const MAX_UPDATES_SIZE: usize = 1 << 20;

/// What nodes say to each other in the lane for control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// The host's node, every few seconds: I am here.
    Beacon {
        /// As whose host: the term that it believes in.
        term: u32,
    },
}

/// What I have; what comes after?
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdatesRequest {
    /// Of which session.
    pub session: SessionId,
    /// At most [`MAX_CHAINS`] entries a member.
    pub have: Heads,
}

/// This.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UpdatesResponse {
    /// Where the answering node does not have all any more that whoever asks lacks: the checkpoints that have replaced
    /// it, the earliest first. At most [`MAX_CHECKPOINTS`].
    pub checkpoints: Vec<Signed<Update>>,
    /// What comes after, by [`Update::place`]. At most [`MAX_UPDATES`] and about [`MAX_UPDATES_SIZE`].
    pub updates: Vec<Signed<Update>>,
    /// There is more after these: ask again.
    pub more: bool,
    /// What the answering node has, so that the asking one can tell whether *it* has news for it.
    pub have: Heads,
    /// The newest that the answering node has of each chain of the asking one, so that this can tell whether its numbers
    /// were used before. At most [`MAX_CHAINS`].
    pub yours: Vec<Link>,
}
