//! The membership: a host's signed word that a node is a member of its session.
//!
//! For: showing somebody who cannot ask the host that a node belongs to the session: other members while they elect a
//! host, and hosts that were apart. Not for: the right to a copy, which is the slot ([`crate::rights::Slot`]): a slot is
//! of a ticket, and so good in any session of its host; it lets nobody into another session than the one that it was
//! granted for.
//!
//! The idea: the host signs a membership with each grant, and it stands in the roster beside the slot. A node takes a
//! membership for good if whoever signed it is, or was, host of the session as far as this node knows. Who was removed
//! still has one: whoever knows of the removal goes by that.

use std::collections::BTreeSet;

use crate::{
    identity::PeerId,
    ids::{MembershipHash, SessionId, SlotHash},
    rights::{
        Item, Signed, Slot, Verified,
        claims::{ClaimError, Claims, key},
    },
    time::Timestamp,
};

/// A host's word that somebody is a member of its session. Times are whole seconds once it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Of which session.
    pub session: SessionId,
    /// The host that let the member in; signs it.
    pub host: PeerId,
    /// Who is a member.
    pub member: PeerId,
    /// The slot by which it came in.
    pub slot: SlotHash,
    /// When.
    pub at: Timestamp,
}

impl Membership {
    /// Returns whether this is the membership of the slot's holder in `session`, signed by one of its `hosts`.
    pub(super) fn covers(&self, slot: &Verified<Slot>, session: SessionId, hosts: &BTreeSet<PeerId>) -> bool {
        self.session == session
            && self.member == slot.member
            && self.slot == slot.hash()
            && hosts.contains(&self.host)
    }
}

impl Item for Membership {
    type Hash = MembershipHash;

    const NAME: &'static str = "a membership";
    const CONTEXT: &'static str = "parlor membership v1";

    fn issuer(&self) -> PeerId {
        self.host
    }

    fn to_claims(&self) -> Claims {
        Claims::issued_by(self.host)
            .with(key::AUDIENCE, &self.member)
            .with(key::AT, &self.at)
            .with(key::SESSION, &self.session)
            .with(key::SLOT, &self.slot)
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        Ok(Self {
            host: claims.take(key::ISSUER)?,
            member: claims.take(key::AUDIENCE)?,
            at: claims.take(key::AT)?,
            session: claims.take(key::SESSION)?,
            slot: claims.take(key::SLOT)?,
        })
    }

    fn hash_from(digest: [u8; 32]) -> MembershipHash {
        MembershipHash(digest)
    }
}

/// Returns the membership, if it is well signed and [covers](Membership::covers) the slot.
pub(super) fn verified(
    membership: Option<&Signed<Membership>>,
    slot: &Verified<Slot>,
    session: SessionId,
    hosts: &BTreeSet<PeerId>,
) -> Option<Verified<Membership>> {
    // What it says is cheaper to check than its signature.
    let membership = membership.filter(|said| said.unverified().covers(slot, session, hosts))?;
    membership.clone().verify().ok()
}
