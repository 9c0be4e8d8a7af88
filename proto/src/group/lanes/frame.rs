//! A frame's bytes.
//!
//! ```text
//!  0        8       16     20       28        36       44            n-16   n
//!  +--------+-------+------+--------+---------+--------+--------------+-----+
//!  | epoch  | state | leaf |  boot  | counter |  salt  |  ciphertext  | tag |
//!  +--------+-------+------+--------+---------+--------+--------------+-----+
//! ```
//!
//! All numbers are big-endian. State: the epoch's [`EpochTag`]. Nonce (24 bytes): boot, counter, salt. Authenticated
//! besides the ciphertext (61 bytes): the 44 bytes above, the session's id, the lane's code. All of fixed length, so that
//! no two frames authenticate the same bytes.

use chacha20poly1305::XNonce;

use super::{Lane, Salt};
use crate::{group::keys::EpochTag, ids::SessionId};

/// Length of what stands before the ciphertext, bytes.
pub(super) const HEADER_LEN: usize = 44;
/// Length of the authentication tag, bytes.
pub(super) const TAG_LEN: usize = 16;

const AAD_LEN: usize = HEADER_LEN + 16 + 1;

/// What a frame says about itself in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) epoch: u64,
    /// Of which group's state in that epoch.
    pub(super) state: EpochTag,
    /// The sender's, in the tree of that epoch.
    pub(super) leaf: u32,
    /// Which run of the sender's node.
    pub(super) boot: u64,
    /// How many frames the sender sealed before this one in that lane and run.
    pub(super) counter: u64,
    /// Random: tells this frame from those of a copy of the sender's node.
    pub(super) salt: Salt,
}

impl Header {
    pub(super) fn write(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.state.0);
        bytes[16..20].copy_from_slice(&self.leaf.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.boot.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.counter.to_be_bytes());
        bytes[36..].copy_from_slice(&self.salt);
        bytes
    }

    /// From the beginning of `frame`; `None` if that is too short.
    pub(super) fn read(frame: &[u8]) -> Option<Self> {
        let (epoch, rest) = frame.split_first_chunk()?;
        let (state, rest) = rest.split_first_chunk()?;
        let (leaf, rest) = rest.split_first_chunk()?;
        let (boot, rest) = rest.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        let (salt, _) = rest.split_first_chunk()?;
        Some(Self {
            epoch: u64::from_be_bytes(*epoch),
            state: EpochTag(*state),
            leaf: u32::from_be_bytes(*leaf),
            boot: u64::from_be_bytes(*boot),
            counter: u64::from_be_bytes(*counter),
            salt: *salt,
        })
    }

    /// Never the same twice for a key: two runs of a node differ in `boot`, two frames of a run in `counter`, and the
    /// frames of two copies of a node, which have both in common, in `salt`.
    pub(super) fn nonce(self) -> XNonce {
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(&self.boot.to_be_bytes());
        nonce[8..16].copy_from_slice(&self.counter.to_be_bytes());
        nonce[16..].copy_from_slice(&self.salt);
        nonce.into()
    }

    pub(super) fn aad(self, session: SessionId, lane: Lane) -> [u8; AAD_LEN] {
        let mut aad = [0; AAD_LEN];
        aad[..HEADER_LEN].copy_from_slice(&self.write());
        aad[HEADER_LEN..AAD_LEN - 1].copy_from_slice(session.as_bytes());
        aad[AAD_LEN - 1] = lane.code();
        aad
    }
}
