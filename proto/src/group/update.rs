//! One update: durable, signed by its sender, numbered in the sender's order.
//!
//! For: the item itself, and the checkpoint that an update can be. Not for: its order among others' updates, which each node chooses for itself as they
//! arrive. The envelope and its rules are those of [`crate::rights`].

use super::Heads;
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
/// Highest number of an update: what every JSON reader takes for a whole number.
pub const MAX_NUMBER: u64 = 1 << 53;
/// Of how many senders a checkpoint can cover updates.
pub const MAX_COVERED: usize = 256;
/// By how much each sender that a checkpoint covers shortens its payload, bytes.
pub const COVERED_LEN: usize = 64;

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
    /// What, as the program (or the webxdc bridge) writes it; at most [`Update::max_payload`].
    pub payload: Vec<u8>,
    /// Makes it a checkpoint: its payload replaces every update up to these numbers, all earlier ones of its sender
    /// among them; at most [`MAX_COVERED`] senders. Counts only from who is or was the session's host.
    pub covers: Option<Heads>,
}

impl Update {
    /// The longest payload of an update that covers those of so many senders, bytes.
    #[must_use]
    pub fn max_payload(covered: usize) -> usize {
        MAX_PAYLOAD.saturating_sub(COVERED_LEN * covered)
    }
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
            .with_some(key::COVERS, self.covers.as_ref())
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        let update = Self {
            session: claims.take(key::SESSION)?,
            sender: claims.take(key::ISSUER)?,
            number: claims.take(key::NUMBER)?,
            at: claims.take(key::AT)?,
            payload: claims.take(key::PAYLOAD)?,
            covers: claims.take_some(key::COVERS)?,
        };
        if !(1..=MAX_NUMBER).contains(&update.number) {
            return Err(ClaimError::Inconsistent("its number is not one from 1 to 2^53"));
        }
        let covered = update.covers.as_ref().map_or(0, |covers| covers.0.len());
        if update.payload.len() > Self::max_payload(covered) {
            return Err(ClaimError::Inconsistent("its payload is too long"));
        }
        if update.covers.as_ref().is_some_and(|covers| covers.of(&update.sender) != update.number - 1) {
            return Err(ClaimError::Inconsistent("it does not cover all earlier updates of its sender"));
        }
        Ok(update)
    }

    fn hash_from(digest: [u8; 32]) -> UpdateHash {
        UpdateHash(digest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        group::testing::{SESSION, identity, peer},
        rights::{Signed, sign},
    };

    fn update(covers: Option<Heads>, len: usize) -> Update {
        Update {
            session: SESSION,
            sender: peer(0),
            number: 4,
            at: Timestamp(0),
            payload: vec![7; len],
            covers,
        }
    }

    fn covering(senders: u16) -> Heads {
        Heads((1..senders).map(|n| (peer(n), MAX_NUMBER)).chain([(peer(0), 3)]).collect())
    }

    #[test]
    fn the_largest_updates_fit_and_larger_ones_do_not() {
        for senders in [0, 1, 8, MAX_COVERED as u16] {
            let covers = (senders > 0).then(|| covering(senders));
            let most = Update::max_payload(usize::from(senders));
            let whole = sign(&update(covers.clone(), most), &identity(0)).unwrap();
            assert_eq!(*Signed::<Update>::decode(whole.bytes()).unwrap().verify().unwrap(), *whole);
            assert_eq!(whole.covers, covers);
            assert!(sign(&update(covers, most + 1), &identity(0)).is_err(), "{senders} covered");
        }
    }

    #[test]
    fn what_no_checkpoint_can_say_is_refused() {
        let refused = |covers| sign(&update(Some(covers), 1), &identity(0)).is_err();
        assert!(refused(covering(MAX_COVERED as u16 + 1)), "too many senders");
        assert!(refused(Heads([(peer(0), 2)].into())), "a gap before itself");
        assert!(refused(Heads([(peer(0), 4)].into())), "itself");
        assert!(refused(Heads([(peer(1), 1)].into())), "none of its own");
        assert!(refused(Heads([(peer(0), 3), (peer(1), 0)].into())), "nothing of somebody");
        assert!(refused(Heads([(peer(0), 3), (peer(1), MAX_NUMBER + 1)].into())), "a number that cannot be");
        assert!(!refused(Heads([(peer(0), 3)].into())));
        let first = Update { number: 1, ..update(Some(Heads::default()), 1) };
        assert!(sign(&first, &identity(0)).is_ok(), "nothing before it");
        let beyond = Update { number: MAX_NUMBER + 1, ..update(None, 1) };
        assert!(sign(&beyond, &identity(0)).is_err());
    }
}
