//! A cast for the tests of keys and lanes: a host (number 0) and members, with fixed keys.
#![allow(clippy::unwrap_used)]

use super::keys::{Applied, Commit, GroupKeys, KeyOffer, Merged, Staged};
use crate::{
    identity::{Identity, PeerId},
    ids::SessionId,
};

pub(super) const SESSION: SessionId = SessionId([0x5e; 16]);

pub(super) fn identity(number: u16) -> Identity {
    let mut seed = [0x1d; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    Identity::from_seed(&seed)
}

pub(super) fn peer(number: u16) -> PeerId {
    identity(number).peer()
}

/// As good as fresh: different for each number.
pub(super) fn seed(number: u64) -> [u8; 32] {
    let mut seed = [0xee; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    seed
}

pub(super) fn offer(number: u16) -> KeyOffer {
    KeyOffer::new(&identity(number), &seed(1_000 + u64::from(number))).unwrap()
}

pub(super) fn alone() -> GroupKeys {
    GroupKeys::create(SESSION, &identity(0), &seed(0)).unwrap()
}

pub(super) fn add(host: &GroupKeys, offer: &KeyOffer, number: u16) -> Staged {
    host.add(&[(peer(number), offer.package())], &identity(0), &seed(host.epoch() + 1)).unwrap()
}

pub(super) fn join(offer: &KeyOffer, staged: &Staged) -> GroupKeys {
    GroupKeys::join(offer, staged.welcome.as_deref().unwrap(), SESSION, peer(0)).unwrap()
}

/// What becomes of keys that follow a commit.
pub(super) fn merged(keys: &GroupKeys, commit: &Commit) -> Merged {
    match keys.apply(&commit.bytes).unwrap() {
        Applied::Merged(merged) => *merged,
        other => panic!("not merged: {other:?}"),
    }
}

/// A group of `size`, all let in at once: the host's keys first.
pub(super) fn group(size: u16) -> Vec<GroupKeys> {
    if size == 1 {
        return vec![alone()];
    }
    let offers: Vec<_> = (1..size).map(offer).collect();
    let packages: Vec<_> = (1..size).zip(&offers).map(|(n, offer)| (peer(n), offer.package())).collect();
    let staged = alone().add(&packages, &identity(0), &seed(1)).unwrap();
    let mut keys: Vec<_> = offers.iter().map(|offer| join(offer, &staged)).collect();
    keys.insert(0, staged.keys);
    keys
}

/// As a crash leaves it: through the snapshot on disk.
pub(super) fn restarted(keys: &GroupKeys) -> GroupKeys {
    let snapshot = cbor4ii::serde::to_vec(Vec::new(), keys).unwrap();
    cbor4ii::serde::from_slice(&snapshot).unwrap()
}
