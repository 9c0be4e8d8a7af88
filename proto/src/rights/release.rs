//! The release: a member's signed word that it gives a slot back.
//!
//! For: letting a host give the place to somebody else, with no server in the loop. Not for: proving that the
//! bytes are gone; a modified client can keep them. A release costs the member its own right: no honest node
//! admits it with the released slot, once the slot's next generation is seen.
//!
//! A release names the slot it gives back by its hash, and the slot that follows carries the release. So each slot
//! of a number names, hash by hash, every slot and every release before it.

use super::{
    Item, Slot, Verified,
    claims::{ClaimError, Claims, key},
};
use crate::{
    identity::PeerId,
    ids::{ReleaseHash, SlotHash, TicketHash},
    time::Timestamp,
};

/// A slot given back. Times are whole seconds once it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The ticket of the slot.
    pub ticket: TicketHash,
    /// The slot.
    pub slot: SlotHash,
    /// Its number.
    pub k: u32,
    /// Its generation.
    pub generation: u32,
    /// Whose slot it was; signs it.
    pub member: PeerId,
    /// When it was given back.
    pub released_at: Timestamp,
}

impl Verified<Release> {
    /// Whether it is the word of the slot's own member that it gives back this very slot.
    #[must_use]
    pub fn gives_back(&self, slot: &Verified<Slot>) -> bool {
        (self.ticket, self.slot, self.k, self.generation, self.member)
            == (slot.ticket, slot.hash(), slot.k, slot.generation, slot.member)
    }
}

impl Item for Release {
    type Hash = ReleaseHash;

    const NAME: &'static str = "a release";
    const CONTEXT: &'static str = "parlor release v1";

    fn issuer(&self) -> PeerId {
        self.member
    }

    fn to_claims(&self) -> Claims {
        Claims::issued_by(self.member)
            .with(key::AT, &self.released_at)
            .with(key::TICKET, &self.ticket)
            .with(key::K, &self.k)
            .with(key::GENERATION, &self.generation)
            .with(key::SLOT, &self.slot)
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        Ok(Self {
            member: claims.take(key::ISSUER)?,
            released_at: claims.take(key::AT)?,
            ticket: claims.take(key::TICKET)?,
            k: claims.take(key::K)?,
            generation: claims.take(key::GENERATION)?,
            slot: claims.take(key::SLOT)?,
        })
    }

    fn hash_from(digest: [u8; 32]) -> ReleaseHash {
        ReleaseHash(digest)
    }
}
