//! A frame's bytes.
//!
//! ```text
//!  0        8      12        20          28             n-16      n
//!  +--------+-------+---------+-----------+---------------+--------+
//!  | epoch  | leaf  |  boot   |  counter  |  ciphertext   |  tag   |
//!  +--------+-------+---------+-----------+---------------+--------+
//! ```
//!
//! All numbers are big-endian. Nonce (24 bytes): boot, counter, 8 zero bytes. Authenticated besides the
//! ciphertext (45 bytes): the 28 bytes above, the session's id, the lane's code. All of fixed length, so that no
//! two frames authenticate the same bytes.

use chacha20poly1305::XNonce;

use super::Lane;
use crate::ids::SessionId;

/// Length of what stands before the ciphertext, bytes.
pub(super) const HEADER_LEN: usize = 28;
/// Length of the authentication tag, bytes.
pub(super) const TAG_LEN: usize = 16;

const AAD_LEN: usize = HEADER_LEN + 16 + 1;

/// What a frame says about itself in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) epoch: u64,
    /// The sender's, in the tree of that epoch.
    pub(super) leaf: u32,
    /// Which run of the sender's node.
    pub(super) boot: u64,
    /// How many frames the sender sealed before this one in that lane and run.
    pub(super) counter: u64,
}

impl Header {
    pub(super) fn write(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.leaf.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.boot.to_be_bytes());
        bytes[20..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    /// From the beginning of `frame`; `None` if that is too short.
    pub(super) fn read(frame: &[u8]) -> Option<Self> {
        let (epoch, rest) = frame.split_first_chunk()?;
        let (leaf, rest) = rest.split_first_chunk()?;
        let (boot, rest) = rest.split_first_chunk()?;
        let (counter, _) = rest.split_first_chunk()?;
        Some(Self {
            epoch: u64::from_be_bytes(*epoch),
            leaf: u32::from_be_bytes(*leaf),
            boot: u64::from_be_bytes(*boot),
            counter: u64::from_be_bytes(*counter),
        })
    }

    /// Never the same twice for a key, as long as no two runs of a node have the same `boot`.
    pub(super) fn nonce(self) -> XNonce {
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(&self.boot.to_be_bytes());
        nonce[8..16].copy_from_slice(&self.counter.to_be_bytes());
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
