//! One update: durable, signed by its sender, numbered in the sender's order.
//!
//! For: the item itself. Not for: its order among others' updates, which each node chooses for itself as they
//! arrive. The envelope and its rules are those of [`crate::rights`].

use crate::{
    identity::PeerId,
    ids::{SessionId, UpdateHash},
    rights::{
        Item,
        claims::{ClaimError, Claims, key},
    },
    time::Timestamp,
};

/// Largest payload of an update, bytes.
pub const MAX_PAYLOAD: usize = 128_000;

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

impl Item for Update {
    type Hash = UpdateHash;

    const NAME: &'static str = "an update";
    /// The payload, and generous room for the rest.
    const MAX_LEN: usize = MAX_PAYLOAD + 512;
    const CONTEXT: &'static str = "parlor update v1";

    fn issuer(&self) -> PeerId {
        self.sender
    }

    fn to_claims(&self) -> Claims {
        Claims::issued_by(self.sender)
            .with(key::AT, &self.at)
            .with(key::SESSION, &self.session)
            .with(key::NUMBER, &self.number)
            .with(key::PAYLOAD, &self.payload)
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        let update = Self {
            session: claims.take(key::SESSION)?,
            sender: claims.take(key::ISSUER)?,
            number: claims.take(key::NUMBER)?,
            at: claims.take(key::AT)?,
            payload: claims.take(key::PAYLOAD)?,
        };
        if update.number == 0 {
            return Err(ClaimError::Inconsistent("its number is not one from 1"));
        }
        if update.payload.len() > MAX_PAYLOAD {
            return Err(ClaimError::Inconsistent("its payload is too long"));
        }
        Ok(update)
    }

    fn hash_from(digest: [u8; 32]) -> UpdateHash {
        UpdateHash(digest)
    }
}
