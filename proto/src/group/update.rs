//! One update: durable, signed by its sender, numbered in the sender's order, and naming what its sender had seen.
//!
//! For: the item itself, and the checkpoint that an update can be. Not for: what is done with those it names (see
//! [`super::log`]). The envelope and its rules are those of [`crate::rights`].
//!
//! The idea: an update names its sender's update before it, and the updates of others that the sender had and that none
//! of those names ([`Update::after`]). Whoever gets it holds it back until all of them are there. Of more than
//! [`MAX_AFTER`] the deepest are named; the rest is named by the sender's next update. The *depth* of an update is one
//! more than that of the deepest that its sender had, so that sorting by depth never puts an update before one that its
//! sender had, named or not. What is equally deep is concurrent; there the chain decides.

use super::{Chain, Link};
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
/// Highest number of an update, and greatest depth: what every JSON reader takes for a whole number.
pub const MAX_NUMBER: u64 = 1 << 53;
/// How many updates of others an update names, beside its sender's own one before it.
pub const MAX_AFTER: usize = 8;
/// Of how many chains a checkpoint can cover updates.
pub const MAX_COVERED: usize = 256;
/// By how much each chain that a checkpoint covers shortens its payload, bytes.
pub const COVERED_LEN: usize = 96;

/// One update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// In which session; an update of one passes in no other.
    pub session: SessionId,
    /// In which chain; its sender is the signer.
    pub chain: Chain,
    /// From 1, without gaps.
    pub number: u64,
    /// The one before it in its chain; `None` for number 1 alone.
    pub previous: Option<UpdateHash>,
    /// The newest updates of other chains that its sender had: at most [`MAX_AFTER`], in the order of their chains.
    pub after: Vec<Link>,
    /// One more than that of the deepest update that its sender had; from 1.
    pub depth: u64,
    /// When, by the sender's clock.
    pub at: Timestamp,
    /// What, as the program (or the webxdc bridge) writes it; at most [`Update::max_payload`].
    pub payload: Vec<u8>,
    /// Makes it a checkpoint.
    pub covers: Option<Covers>,
}

/// What makes an update a checkpoint: its payload replaces others. Counts only from the session's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covers {
    /// The term whose host made it.
    pub term: u32,
    /// The newest that it replaces of each chain; all earlier ones of its own chain are among them. At most
    /// [`MAX_COVERED`], in the order of their chains.
    pub links: Vec<Link>,
}

impl Update {
    /// Who says it.
    #[must_use]
    pub fn sender(&self) -> PeerId {
        self.chain.sender
    }

    /// Every update that it names.
    pub fn links(&self) -> impl Iterator<Item = Link> + '_ {
        let previous =
            self.previous.map(|hash| Link { chain: self.chain, number: self.number.saturating_sub(1), hash });
        previous.into_iter().chain(self.after.iter().copied()).chain(self.covered().iter().copied())
    }

    /// The newest that it replaces of each chain; empty unless it is a checkpoint.
    #[must_use]
    pub fn covered(&self) -> &[Link] {
        self.covers.as_ref().map_or(&[], |covers| &covers.links)
    }

    /// What sorts updates so that each comes after all that its sender had, the same way on every node.
    #[must_use]
    pub fn place(&self) -> (u64, Chain) {
        (self.depth, self.chain)
    }

    /// The longest payload of an update that covers those of so many chains, bytes.
    #[must_use]
    pub fn max_payload(covered: usize) -> usize {
        MAX_PAYLOAD.saturating_sub(COVERED_LEN * covered)
    }

    fn fault(&self) -> Option<&'static str> {
        let in_range = |number: &u64| (1..=MAX_NUMBER).contains(number);
        let own = self.covered().iter().find(|link| link.chain == self.chain);
        let own = own.map(|link| (link.number, link.hash));
        let before = self.previous.map(|hash| (self.number.saturating_sub(1), hash));

        if !in_range(&self.number) || !in_range(&self.depth) || self.chain.start > MAX_NUMBER {
            return Some("its number, depth or chain is not one from 1 to 2^53");
        }
        if self.previous.is_some() != (self.number > 1) {
            return Some("it does not name the one before it");
        }
        if self.after.len() > MAX_AFTER || self.after.iter().any(|link| link.chain == self.chain) {
            return Some("it names more than it may, or its own chain twice");
        }
        if self.covers.is_some() && !self.after.is_empty() {
            return Some("a checkpoint names others than those that it covers");
        }
        if self.covers.is_some() && own != before {
            return Some("it does not cover all earlier updates of its chain");
        }
        if self.payload.len() > Self::max_payload(self.covered().len()) {
            return Some("its payload is too long");
        }
        None
    }
}

impl Item for Update {
    type Hash = UpdateHash;

    const NAME: &'static str = "an update";
    /// The payload, and room for the rest: as much as a sealed frame takes.
    const MAX_LEN: usize = MAX_PAYLOAD + 1_024;
    const CONTEXT: &'static str = "parlor update v2";

    fn issuer(&self) -> PeerId {
        self.chain.sender
    }

    fn to_claims(&self) -> Claims {
        let start = Some(self.chain.start).filter(|start| *start != 0);
        let after = Some(&self.after).filter(|after| !after.is_empty());
        Claims::issued_by(self.chain.sender)
            .with(key::AT, &self.at)
            .with(key::SESSION, &self.session)
            .with(key::NUMBER, &self.number)
            .with(key::PAYLOAD, &self.payload)
            .with(key::DEPTH, &self.depth)
            .with_some(key::CHAIN, start.as_ref())
            .with_some(key::PREVIOUS, self.previous.as_ref())
            .with_some(key::AFTER, after)
            .with_some(key::COVERS, self.covers.as_ref().map(|covers| &covers.links))
            .with_some(key::TERM, self.covers.as_ref().map(|covers| &covers.term))
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        let session = claims.take(key::SESSION)?;
        let sender = claims.take(key::ISSUER)?;
        let start: Option<u64> = claims.take_some(key::CHAIN)?;
        let links: Option<Vec<Link>> = claims.take_some(key::COVERS)?;
        let covers = match links {
            Some(links) => Some(Covers { term: claims.take(key::TERM)?, links }),
            None => None,
        };
        let update = Self {
            session,
            chain: Chain { sender, start: start.unwrap_or(0) },
            number: claims.take(key::NUMBER)?,
            previous: claims.take_some(key::PREVIOUS)?,
            after: claims.take_some(key::AFTER)?.unwrap_or_default(),
            depth: claims.take(key::DEPTH)?,
            at: claims.take(key::AT)?,
            payload: claims.take(key::PAYLOAD)?,
            covers,
        };
        match update.fault() {
            Some(fault) => Err(ClaimError::Inconsistent(fault)),
            None => Ok(update),
        }
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

    const HASH: UpdateHash = UpdateHash([9; 32]);

    fn link(chain: impl Into<Chain>, number: u64) -> Link {
        Link { chain: chain.into(), number, hash: HASH }
    }

    fn update(covers: Option<Vec<Link>>, len: usize) -> Update {
        Update {
            session: SESSION,
            chain: peer(0).into(),
            number: 4,
            previous: Some(HASH),
            after: Vec::new(),
            depth: 12,
            at: Timestamp(0),
            payload: vec![7; len],
            covers: covers.map(|links| Covers { term: 0, links }),
        }
    }

    fn sorted(mut links: Vec<Link>) -> Vec<Link> {
        links.sort();
        links
    }

    fn covering(chains: u16) -> Vec<Link> {
        let others = (1..chains).map(|n| link(Chain { sender: peer(n), start: MAX_NUMBER }, MAX_NUMBER));
        sorted(others.chain([link(peer(0), 3)]).collect())
    }

    #[test]
    fn the_largest_updates_fit_and_larger_ones_do_not() {
        for chains in [0, 1, 8, MAX_COVERED as u16] {
            let covers = (chains > 0).then(|| covering(chains));
            let most = Update::max_payload(usize::from(chains));
            let whole = sign(&update(covers.clone(), most), &identity(0)).unwrap();
            assert_eq!(*Signed::<Update>::decode(whole.bytes()).unwrap().verify().unwrap(), *whole);
            assert_eq!(whole.covered(), covers.clone().unwrap_or_default());
            assert!(sign(&update(covers, most + 1), &identity(0)).is_err(), "{chains} covered");
        }

        let others = (1..=MAX_AFTER as u16).map(|n| Chain { sender: peer(n), start: MAX_NUMBER });
        let most = Update {
            chain: Chain { sender: peer(0), start: MAX_NUMBER },
            number: MAX_NUMBER,
            after: sorted(others.map(|chain| link(chain, MAX_NUMBER)).collect()),
            depth: MAX_NUMBER,
            at: Timestamp(u64::MAX / 2),
            ..update(None, MAX_PAYLOAD)
        };
        let whole = sign(&most, &identity(0)).unwrap();
        assert!(whole.bytes().len() <= super::super::lanes::MAX_PLAINTEXT);
        assert_eq!(whole.after, most.after);
    }

    /// What naming others costs: an update of somebody who has just heard all others say something at once.
    #[test]
    fn what_an_update_names_costs_little() {
        let len = |others: u16| {
            let after = others.min(MAX_AFTER as u16);
            let after = sorted((1..=after).map(|n| link(peer(n), 1_000)).collect());
            let one = Update {
                number: 1_000,
                depth: 30_000,
                at: Timestamp(1_764_500_000_000),
                after,
                ..update(None, 0)
            };
            sign(&one, &identity(0)).unwrap().bytes().len()
        };
        let alone = len(0);
        let sizes = [2, 8, 32].map(|members| (members, len(members - 1)));
        println!("bytes beside the payload: alone {alone}, in turn or all at once among {sizes:?}");
        assert!(alone <= 250, "{alone}");
        for (members, len) in sizes {
            let named = usize::from(members - 1).min(MAX_AFTER);
            assert!(len - alone <= 6 + 79 * named, "{members} members: {len}");
        }
    }

    #[test]
    fn what_no_update_can_say_is_refused() {
        let refused = |change: fn(&mut Update)| {
            let mut update = update(None, 1);
            change(&mut update);
            sign(&update, &identity(0)).is_err()
        };
        assert!(!refused(|_| ()));
        assert!(refused(|update| update.previous = None), "a gap in its chain");
        assert!(refused(|update| update.number = 1), "one before the first");
        assert!(refused(|update| update.number = MAX_NUMBER + 1));
        assert!(refused(|update| update.depth = 0));
        assert!(refused(|update| update.after = vec![link(peer(0), 2)]), "its own chain");
        assert!(refused(|update| update.after = vec![link(peer(1), 2); 2]), "one twice");
        assert!(
            refused(|update| update.after = sorted((1..10).map(|n| link(peer(n), 1)).collect())),
            "too many"
        );
        assert!(!refused(|update| update.after = sorted((1..9).map(|n| link(peer(n), 1)).collect())));
        assert!(!refused(|update| update.chain.start = 7));
    }

    #[test]
    fn what_no_checkpoint_can_say_is_refused() {
        let refused = |covers| sign(&update(Some(covers), 1), &identity(0)).is_err();
        assert!(refused(covering(MAX_COVERED as u16 + 1)), "too many chains");
        assert!(refused(vec![link(peer(0), 2)]), "a gap before itself");
        assert!(refused(vec![link(peer(0), 4)]), "itself");
        assert!(refused(vec![link(peer(1), 1)]), "none of its own");
        assert!(refused(vec![Link { hash: UpdateHash([1; 32]), ..link(peer(0), 3) }]), "another before it");
        assert!(refused(sorted(vec![link(peer(0), 3), link(peer(1), 0)])), "nothing of somebody");
        assert!(refused(sorted(vec![link(peer(0), 3), link(peer(1), MAX_NUMBER + 1)])), "no number");
        let mut unsorted = covering(2);
        unsorted.reverse();
        assert!(refused(unsorted), "another order");
        assert!(!refused(vec![link(peer(0), 3)]));
        let first = Update { number: 1, previous: None, ..update(Some(Vec::new()), 1) };
        assert!(sign(&first, &identity(0)).is_ok(), "nothing before it");
    }
}
