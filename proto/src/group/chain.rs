//! Whose updates follow one another, and how one update names another.
//!
//! For: [`Chain`], one uninterrupted run of a sender's updates; [`Link`], the name of one update, as others give it;
//! [`Heads`], how far somebody is in each chain. Not for: what is done with them (see [`super::log`]).
//!
//! The idea: a sender numbers its updates from 1, and each names the one before it by hash. Where a sender finds that
//! its own numbers were used before (its disk is an older copy), it does not go on with them but begins another chain,
//! whose start sets it apart from all of its others.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::MAX_NUMBER;
use crate::{
    identity::{PEER_ID_LEN, PeerId, PeerIdError},
    ids::UpdateHash,
};

/// One run of a sender's updates, numbered from 1 without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// Whose.
    pub sender: PeerId,
    /// 0 in a sender's first chain of a session; later ones have higher starts. At most [`MAX_NUMBER`].
    pub start: u64,
}

impl From<PeerId> for Chain {
    /// The first chain of `sender`.
    fn from(sender: PeerId) -> Self {
        Self { sender, start: 0 }
    }
}

impl From<&PeerId> for Chain {
    fn from(sender: &PeerId) -> Self {
        Self::from(*sender)
    }
}

impl From<&Chain> for Chain {
    fn from(chain: &Chain) -> Self {
        *chain
    }
}

impl Chain {
    /// The binary form: the sender's PeerId, and the start as 8 bytes, big-endian, unless it is 0.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.sender.to_bytes().to_vec();
        if self.start != 0 {
            bytes.extend_from_slice(&self.start.to_be_bytes());
        }
        bytes
    }

    /// From the binary form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeerIdError> {
        let (peer, start) = bytes.split_at_checked(PEER_ID_LEN).ok_or(PeerIdError::NotEd25519)?;
        let start = match start {
            [] => 0,
            start => u64::from_be_bytes(start.try_into().map_err(|_| PeerIdError::NotEd25519)?),
        };
        let is_one_form = bytes.len() == PEER_ID_LEN || (1..=MAX_NUMBER).contains(&start);
        if !is_one_form {
            return Err(PeerIdError::NotEd25519);
        }
        Ok(Self { sender: PeerId::from_bytes(peer)?, start })
    }
}

/// The sender's PeerId, followed by a slash and the start unless that is 0.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start {
            0 => write!(f, "{}", self.sender),
            start => write!(f, "{}/{start}", self.sender),
        }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.sender, self.start)
    }
}

impl FromStr for Chain {
    type Err = PeerIdError;

    fn from_str(text: &str) -> Result<Self, PeerIdError> {
        let Some((peer, start)) = text.split_once('/') else { return Ok(text.parse::<PeerId>()?.into()) };
        let start = start.parse().ok().filter(|start| (1..=MAX_NUMBER).contains(start));
        Ok(Self { sender: peer.parse()?, start: start.ok_or(PeerIdError::NotEd25519)? })
    }
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
            Self::from_bytes(&bytes).map_err(D::Error::custom)
        }
    }
}

/// The name of one update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    /// In which chain it is.
    pub chain: Chain,
    /// Its number there, from 1.
    pub number: u64,
    /// What it says, by its signed bytes.
    pub hash: UpdateHash,
}

/// For each chain, a number: of its newest update here, say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Heads(pub BTreeMap<Chain, u64>);

impl<const N: usize> From<[(PeerId, u64); N]> for Heads {
    /// Numbers of first chains.
    fn from(heads: [(PeerId, u64); N]) -> Self {
        Self(heads.into_iter().map(|(sender, number)| (sender.into(), number)).collect())
    }
}

impl Heads {
    /// The number for a chain; 0 for none.
    #[must_use]
    pub fn of(&self, chain: impl Into<Chain>) -> u64 {
        self.0.get(&chain.into()).copied().unwrap_or(0)
    }

    /// For which chains `self` has more than `other`, and after which number.
    pub fn ahead_of<'a>(&'a self, other: &'a Heads) -> impl Iterator<Item = (Chain, u64)> + 'a {
        self.0.iter().filter_map(|(chain, head)| {
            let theirs = other.of(chain);
            (*head > theirs).then_some((*chain, theirs))
        })
    }

    /// Raises `chain` to `number`, if that is higher.
    pub fn raise(&mut self, chain: Chain, number: u64) {
        let mine = self.0.entry(chain).or_insert(0);
        *mine = (*mine).max(number);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::group::testing::peer;

    #[test]
    fn a_chain_has_one_text_and_one_binary_form() {
        for start in [0, 1, 1_764_500_000_000, MAX_NUMBER] {
            let chain = Chain { sender: peer(1), start };
            assert_eq!(chain.to_string().parse::<Chain>(), Ok(chain));
            assert_eq!(Chain::from_bytes(&chain.to_bytes()), Ok(chain));
        }
        let first = Chain::from(peer(1));
        assert_eq!(first.to_string(), peer(1).to_string());
        for text in [format!("{first}/0"), format!("{first}/"), format!("{first}/9007199254740993")] {
            assert!(text.parse::<Chain>().is_err(), "{text}");
        }
        let with = |start: &[u8]| [first.to_bytes().as_slice(), start].concat();
        for bytes in [with(&[0; 8]), with(&[1]), with(&[0xff; 8]), with(&[1; 9]), vec![0; 5]] {
            assert!(Chain::from_bytes(&bytes).is_err(), "{bytes:02x?}");
        }
    }
}
