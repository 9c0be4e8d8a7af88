//! Who somebody is: libp2p Ed25519 identities, without libp2p.
//!
//! For: [`PeerId`], the public name of a node, and [`Identity`], the key behind it. Not for: what is signed
//! with it (see `rights`).
//!
//! The idea: the PeerId of an Ed25519 identity *contains* the public key (an identity multihash over the
//! protobuf-encoded key), so whoever knows a PeerId can check its signatures. Only that one encoding is
//! accepted, so that two different texts or byte strings are never the same peer.

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Identity multihash (code 0, 36 bytes) over protobuf `{ Type: Ed25519, Data: 32 bytes }`.
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Length of a [`PeerId`] in its binary form, bytes.
pub const PEER_ID_LEN: usize = PREFIX.len() + 32;

/// A node's public name, the same as libp2p's (`12D3Koo…`): its Ed25519 public key.
///
/// Every value is a valid, strong key: the constructors refuse anything else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

/// Why something is not a [`PeerId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdError {
    /// Not base58 text.
    #[error("not a peer id: not base58")]
    Base58,
    /// Another kind of identity, or not the canonical encoding.
    #[error("not an Ed25519 peer id")]
    NotEd25519,
    /// Not a point on the curve, or one of small order, for which signatures can be forged.
    #[error("a peer id with an unusable key")]
    WeakKey,
}

impl PeerId {
    /// From the raw 32-byte Ed25519 public key.
    pub fn from_public_key(key: [u8; 32]) -> Result<Self, PeerIdError> {
        let parsed = VerifyingKey::from_bytes(&key).map_err(|_| PeerIdError::WeakKey)?;
        if parsed.is_weak() {
            return Err(PeerIdError::WeakKey);
        }
        Ok(Self(key))
    }

    /// From the binary form (a multihash), as libp2p writes it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeerIdError> {
        let key = bytes.strip_prefix(&PREFIX).ok_or(PeerIdError::NotEd25519)?;
        Self::from_public_key(key.try_into().map_err(|_| PeerIdError::NotEd25519)?)
    }

    /// The binary form (a multihash), as libp2p writes it.
    pub fn to_bytes(self) -> [u8; PEER_ID_LEN] {
        let mut bytes = [0; PEER_ID_LEN];
        bytes[..PREFIX.len()].copy_from_slice(&PREFIX);
        bytes[PREFIX.len()..].copy_from_slice(&self.0);
        bytes
    }

    /// The raw Ed25519 public key.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` (64 bytes) over `message` was made by this peer. Strict: malleable or weak-key
    /// signatures, which libp2p's own check lets pass, do not.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(&self.0), Signature::from_slice(signature))
        else {
            return false;
        };
        key.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_bytes()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        write!(f, "PeerId(…{})", &text[text.len() - 6..])
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;

    fn from_str(text: &str) -> Result<Self, PeerIdError> {
        // Longer than any 38-byte value can be: refused before base58's quadratic work.
        if text.len() > 64 {
            return Err(PeerIdError::NotEd25519);
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| PeerIdError::Base58)?;
        Self::from_bytes(&bytes)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
            Self::from_bytes(&bytes).map_err(D::Error::custom)
        }
    }
}

/// A node's signing key. It never leaves the node; its public half is the [`PeerId`].
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    peer: PeerId,
}

impl Identity {
    /// From the 32-byte Ed25519 seed (RFC 8032, "private key").
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let peer = PeerId(key.verifying_key().to_bytes());
        Self { key, peer }
    }

    /// The seed, to store it.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// An Ed25519 signature over `message`. Deterministic: no randomness is needed.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity::from_seed(&[7; 32])
    }

    #[test]
    fn text_and_bytes_round_trip() {
        let peer = identity().peer();
        let text = peer.to_string();
        assert!(text.starts_with("12D3Koo"), "{text}");
        assert_eq!(text.parse(), Ok(peer));
        assert_eq!(PeerId::from_bytes(&peer.to_bytes()), Ok(peer));
    }

    #[test]
    fn only_the_canonical_strong_encoding_passes() {
        let peer = identity().peer();
        let mut long = peer.to_bytes().to_vec();
        long.push(0);
        assert_eq!(PeerId::from_bytes(&long), Err(PeerIdError::NotEd25519));
        assert_eq!(PeerId::from_bytes(&peer.to_bytes()[1..]), Err(PeerIdError::NotEd25519));
        // The neutral element: any signature (R = sB - 0) would pass a lax check.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(PeerId::from_public_key(neutral), Err(PeerIdError::WeakKey));
        assert_eq!(
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse::<PeerId>(),
            Err(PeerIdError::NotEd25519)
        );
        assert_eq!("not base58 0OIl".parse::<PeerId>(), Err(PeerIdError::Base58));
    }

    #[test]
    fn a_signature_is_bound_to_message_and_signer() {
        let signature = identity().sign(b"hello");
        assert!(identity().peer().verifies(b"hello", &signature));
        assert!(!identity().peer().verifies(b"hellO", &signature));
        assert!(!Identity::from_seed(&[8; 32]).peer().verifies(b"hello", &signature));
        assert!(!identity().peer().verifies(b"hello", &signature[1..]));
    }
}
