//! Tests of membership: everyone agrees, nobody gets in or stays in who should not.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use openmls::prelude::{
    BasicCredential, CredentialWithKey, KeyPackage, MlsGroup, MlsMessageOut, OpenMlsProvider as _,
};
use proptest::{collection::vec, prelude::*};

use super::{
    crypto::SUITE,
    leaf::{NodeSigner, capabilities, credential, lifetime},
    provider::Provider,
    store::Store,
    *,
};
use crate::group::testing::*;

fn secrets(keys: &GroupKeys) -> Vec<[u8; LANE_SECRET_LEN]> {
    let members = keys.members().keys();
    members.flat_map(|peer| Lane::ALL.map(|lane| *keys.lane_secret(*peer, lane).unwrap())).collect()
}

/// Everyone in the group has the same view and the same keys, all of them different.
fn agree<'a>(all: impl IntoIterator<Item = &'a GroupKeys>) {
    let mut all = all.into_iter();
    let first = all.next().unwrap();
    let expected = secrets(first);
    let distinct: std::collections::BTreeSet<_> = expected.iter().collect();
    assert_eq!(distinct.len(), expected.len(), "no two lanes share a key");
    for keys in all {
        assert_eq!((keys.epoch(), keys.members()), (first.epoch(), first.members()));
        assert_eq!(secrets(keys), expected);
    }
}

#[test]
fn groups_of_all_sizes_agree() {
    for size in [1, 2, 3, 8, 64] {
        let all = group(size);
        assert_eq!(all[0].members().len(), usize::from(size));
        agree(&all);
    }
}

#[test]
fn the_same_inputs_make_the_same_group() {
    let (once, again) = (group(9), group(9));
    assert_eq!(secrets(&once[0]), secrets(&again[0]));
    let commit = |all: &[GroupKeys]| all[0].refresh(&identity(0), &seed(77)).unwrap().commit;
    assert_eq!(commit(&once), commit(&again));
    let other = once[0].refresh(&identity(0), &seed(78)).unwrap().commit;
    assert_ne!(other, commit(&again), "the seed matters");
}

#[test]
fn a_change_is_nothing_until_it_is_taken() {
    let all = group(3);
    let before = secrets(&all[0]);
    let snapshot = cbor4ii::serde::to_vec(Vec::new(), &all[0]).unwrap();
    let dropped = all[0].remove(&[peer(2)], &identity(0), &seed(9)).unwrap();
    assert_eq!(secrets(&all[0]), before);
    assert_eq!(cbor4ii::serde::to_vec(Vec::new(), &all[0]).unwrap(), snapshot);
    drop(dropped);
    let staged = all[0].refresh(&identity(0), &seed(10)).unwrap();
    agree([&staged.keys, &merged(&all[1], &staged.commit).keys, &merged(&all[2], &staged.commit).keys]);
}

#[test]
fn old_commits_are_known_and_later_ones_name_what_is_missing() {
    let all = group(3);
    let first = all[0].refresh(&identity(0), &seed(10)).unwrap();
    let second = first.keys.refresh(&identity(0), &seed(11)).unwrap();
    let third = second.keys.refresh(&identity(0), &seed(12)).unwrap();
    assert_eq!((first.commit.epoch, third.commit.epoch), (2, 4));
    assert!(matches!(all[1].apply(&third.commit.bytes), Ok(Applied::Ahead { missing_from: 2 })));
    let keys = merged(&all[1], &first.commit).keys;
    assert!(matches!(keys.apply(&first.commit.bytes), Ok(Applied::Known)));
    assert!(matches!(keys.apply(&third.commit.bytes), Ok(Applied::Ahead { missing_from: 3 })));
    let keys = merged(&merged(&keys, &second.commit).keys, &third.commit).keys;
    agree([&keys, &third.keys]);
    assert!(matches!(third.keys.apply(&third.commit.bytes), Ok(Applied::Known)), "the host's own");
}

#[test]
fn a_removed_member_hears_so_and_has_none_of_the_new_keys() {
    let all = group(4);
    let staged = all[0].remove(&[peer(2)], &identity(0), &seed(10)).unwrap();
    assert!(matches!(all[2].apply(&staged.commit.bytes), Ok(Applied::Removed)));
    let after = merged(&all[1], &staged.commit);
    assert_eq!((after.removed, after.added), (vec![peer(2)], vec![]));
    let new = secrets(&after.keys);
    assert!(secrets(&all[2]).iter().all(|old| !new.contains(old)));
    let next = staged.keys.refresh(&identity(0), &seed(11)).unwrap();
    assert!(matches!(all[2].apply(&next.commit.bytes), Ok(Applied::Ahead { .. })), "cannot be followed");
}

#[test]
fn a_removed_member_can_be_let_in_again() {
    let all = group(4);
    let out = all[0].remove(&[peer(2)], &identity(0), &seed(10)).unwrap();
    let offer = KeyOffer::new(&identity(2), &seed(4_242)).unwrap();
    let staged = add(&out.keys, &offer, 2);
    let again = join(&offer, &staged);
    let follower = merged(&merged(&all[1], &out.commit).keys, &staged.commit);
    assert_eq!(follower.added, [peer(2)]);
    agree([&staged.keys, &again, &follower.keys]);
}

#[test]
fn only_the_host_changes_the_group() {
    let all = group(3);
    let error = all[1].remove(&[peer(2)], &identity(1), &seed(9)).unwrap_err();
    assert!(matches!(error, CommitError::NotHost));
    assert!(matches!(all[0].refresh(&identity(1), &seed(9)), Err(CommitError::NotHost)));
}

#[test]
fn a_members_commit_is_refused() {
    let all = group(3);
    // A member with a program of its own, that takes itself for the host.
    let rogue = GroupKeys::load(SESSION.into(), peer(1), peer(1), all[1].store.clone()).unwrap();
    for staged in [
        rogue.refresh(&identity(1), &seed(9)).unwrap(),
        rogue.remove(&[peer(0)], &identity(1), &seed(9)).unwrap(),
        rogue.remove(&[peer(2)], &identity(1), &seed(9)).unwrap(),
        rogue.add(&[(peer(5), offer(5).package())], &identity(1), &seed(9)).unwrap(),
    ] {
        let error = all[2].apply(&staged.commit.bytes).unwrap_err();
        assert!(matches!(error, ApplyError::NotHost), "{error:?}");
        assert!(all[0].apply(&staged.commit.bytes).is_err(), "nor does the host follow");
    }
    agree([&all[0], &all[2]]);
    // And whoever it would let in so is not let in.
    let newcomer = offer(5);
    let staged = rogue.add(&[(peer(5), newcomer.package())], &identity(1), &seed(9)).unwrap();
    let error = GroupKeys::join(&newcomer, &staged.welcome.unwrap(), SESSION, peer(0)).unwrap_err();
    assert!(matches!(error, JoinError::NotHost), "{error:?}");
}

/// A KeyPackage (and what opens its Welcome) whose leaf says `says` and is signed by, and holds the key of, `holds`.
fn package(says: PeerId, holds: u16) -> Vec<u8> {
    let named = CredentialWithKey {
        credential: BasicCredential::new(says.to_bytes().to_vec()).into(),
        signature_key: peer(holds).public_key().as_slice().into(),
    };
    let store = Store::default();
    let bundle = KeyPackage::builder()
        .key_package_lifetime(lifetime())
        .leaf_node_capabilities(capabilities())
        .build(SUITE, &Provider::seeded(&store, peer(1), &seed(5)), &NodeSigner(&identity(holds)), named)
        .unwrap();
    MlsMessageOut::from(bundle.into_key_package()).to_bytes().unwrap()
}

#[test]
fn a_key_package_under_anothers_name_is_refused() {
    let host = alone();
    for (says, holds, sender) in [(peer(1), 2, 1), (peer(1), 2, 2), (peer(1), 1, 2)] {
        let package = package(says, holds);
        let error = KeyOffer::check(peer(sender), &package).unwrap_err();
        assert!(matches!(error, OfferError::NotItsKey(_)), "{error:?}");
        let error = host.add(&[(peer(sender), &package)], &identity(0), &seed(1)).unwrap_err();
        assert!(matches!(error, CommitError::Offer { .. }), "{error:?}");
    }
    assert!(KeyOffer::check(peer(1), &package(peer(1), 1)).is_ok(), "the honest one passes");
}

#[test]
fn a_changed_or_expiring_key_package_is_refused() {
    let offer = offer(1);
    for i in 0..offer.package().len() {
        let mut changed = offer.package().to_vec();
        changed[i] ^= 1;
        assert!(KeyOffer::check(peer(1), &changed).is_err(), "byte {i}");
    }
    assert!(KeyOffer::check(peer(1), &[0; MAX_KEY_PACKAGE + 1]).is_err());
    let store = Store::default();
    let bundle = KeyPackage::builder()
        .leaf_node_capabilities(capabilities())
        .build(
            SUITE,
            &Provider::seeded(&store, peer(1), &seed(5)),
            &NodeSigner(&identity(1)),
            credential(peer(1)),
        )
        .unwrap();
    let package = MlsMessageOut::from(bundle.into_key_package()).to_bytes().unwrap();
    let error = KeyOffer::check(peer(1), &package).unwrap_err();
    assert!(matches!(error, OfferError::Unsupported), "{error:?}");
}

#[test]
fn hosts_mistakes_are_named() {
    let all = group(3);
    let (host, id, seed) = (&all[0], &identity(0), &seed(9));
    let one = offer(1);
    let four = offer(4);
    let add = |list: &[(PeerId, &[u8])]| host.add(list, id, seed).unwrap_err();
    assert!(matches!(add(&[(peer(1), one.package())]), CommitError::AlreadyIn(p) if p == peer(1)));
    let twice = [(peer(4), four.package()), (peer(4), four.package())];
    assert!(matches!(add(&twice), CommitError::AlreadyIn(p) if p == peer(4)));
    assert!(matches!(add(&[]), CommitError::Nobody));
    let remove = |list: &[PeerId]| host.remove(list, id, seed).unwrap_err();
    assert!(matches!(remove(&[peer(4)]), CommitError::NotIn(p) if p == peer(4)));
    assert!(matches!(remove(&[peer(1), peer(1)]), CommitError::NotIn(p) if p == peer(1)));
    assert!(matches!(remove(&[peer(0)]), CommitError::Host));
    assert!(matches!(remove(&[]), CommitError::Nobody));
}

/// A group as a host with a program of its own would make it: any leaves in it.
fn foreign_group(session: SessionId, others: &[Vec<u8>], offer: &KeyOffer) -> Vec<u8> {
    let store = Store::default();
    let provider = Provider::seeded(&store, peer(0), &seed(3));
    let host = identity(0);
    let mut group = MlsGroup::builder()
        .with_group_id(group_id(session.into()))
        .ciphersuite(SUITE)
        .use_ratchet_tree_extension(true)
        .lifetime(lifetime())
        .with_capabilities(capabilities())
        .build(&provider, &NodeSigner(&host), credential(host.peer()))
        .unwrap();
    let packages: Vec<_> = others
        .iter()
        .map(Vec::as_slice)
        .chain([offer.package()])
        .map(|bytes| {
            use openmls::prelude::{DeserializeBytes as _, MlsMessageBodyIn, MlsMessageIn, ProtocolVersion};
            let MlsMessageBodyIn::KeyPackage(package) =
                MlsMessageIn::tls_deserialize_exact_bytes(bytes).unwrap().extract()
            else {
                panic!("a key package");
            };
            package.validate(provider.crypto(), ProtocolVersion::Mls10).unwrap()
        })
        .collect();
    let (_, welcome, _) = group.add_members(&provider, &NodeSigner(&host), &packages).unwrap();
    welcome.to_bytes().unwrap()
}

#[test]
fn a_welcome_passes_only_where_it_belongs() {
    let (one, two) = (offer(1), offer(2));
    let staged = add(&alone(), &one, 1);
    let welcome = staged.welcome.as_deref().unwrap();
    assert!(GroupKeys::join(&one, welcome, SESSION, peer(0)).is_ok());
    // Another's Welcome.
    assert!(matches!(GroupKeys::join(&two, welcome, SESSION, peer(0)), Err(JoinError::Mls(_))));
    // My own, of an older acceptance.
    let newer = KeyOffer::new(&identity(1), &seed(31)).unwrap();
    assert!(matches!(GroupKeys::join(&newer, welcome, SESSION, peer(0)), Err(JoinError::Mls(_))));
    // Into another session, or by another host.
    let other = SessionId([1; 16]);
    assert!(matches!(GroupKeys::join(&one, welcome, other, peer(0)), Err(JoinError::OtherSession)));
    assert!(matches!(GroupKeys::join(&one, welcome, SESSION, peer(2)), Err(JoinError::NotHost)));
    // Not a Welcome, or changed.
    assert!(matches!(GroupKeys::join(&one, one.package(), SESSION, peer(0)), Err(JoinError::Malformed(_))));
    for i in (0..welcome.len()).step_by(7) {
        let mut changed = welcome.to_vec();
        changed[i] ^= 1;
        assert!(GroupKeys::join(&one, &changed, SESSION, peer(0)).is_err(), "byte {i}");
    }
    // After all that, the right one still works.
    agree([&staged.keys, &GroupKeys::join(&one, welcome, SESSION, peer(0)).unwrap()]);
}

#[test]
fn a_group_with_a_false_leaf_is_not_joined() {
    let one = offer(1);
    assert!(GroupKeys::join(&one, &foreign_group(SESSION, &[], &one), SESSION, peer(0)).is_ok());
    // A leaf under the name of 3 with the key of 4.
    let welcome = foreign_group(SESSION, &[package(peer(3), 4)], &one);
    let error = GroupKeys::join(&one, &welcome, SESSION, peer(0)).unwrap_err();
    assert!(matches!(error, JoinError::Roster(RosterError::NotItsKey(1))), "{error:?}");
    // A second leaf under the host's name.
    let welcome = foreign_group(SESSION, &[package(peer(0), 4)], &one);
    assert!(matches!(GroupKeys::join(&one, &welcome, SESSION, peer(0)), Err(JoinError::Roster(_))));
}

#[test]
fn a_commit_with_a_false_leaf_is_not_followed() {
    use openmls::prelude::{DeserializeBytes as _, MlsMessageBodyIn, MlsMessageIn, ProtocolVersion};
    let all = group(2);
    // The host's own keys, in a program that adds whom it likes.
    let store = all[0].store.clone();
    let mut host = MlsGroup::load(store.memory(), &group_id(SESSION.into())).unwrap().unwrap();
    let provider = Provider::seeded(&store, peer(0), &seed(9));
    let bytes = package(peer(3), 4);
    let message = MlsMessageIn::tls_deserialize_exact_bytes(&bytes).unwrap();
    let MlsMessageBodyIn::KeyPackage(package) = message.extract() else { panic!("a key package") };
    let package = package.validate(provider.crypto(), ProtocolVersion::Mls10).unwrap();
    let signer = identity(0);
    let (commit, _, _) = host.add_members(&provider, &NodeSigner(&signer), &[package]).unwrap();
    let error = all[1].apply(&commit.to_bytes().unwrap()).unwrap_err();
    assert!(matches!(error, ApplyError::Roster(RosterError::NotItsKey(2))), "{error:?}");
    let honest = all[0].refresh(&identity(0), &seed(10)).unwrap();
    agree([&honest.keys, &merged(&all[1], &honest.commit).keys]);
}

#[test]
fn what_is_not_a_commit_is_refused() {
    let all = group(2);
    let commit = all[0].refresh(&identity(0), &seed(9)).unwrap().commit.bytes;
    for i in (0..commit.len()).step_by(3) {
        let mut changed = commit.clone();
        changed[i] ^= 1;
        // Old and future epochs are told from the outside; the rest is authenticated.
        assert!(
            !matches!(all[1].apply(&changed), Ok(Applied::Merged(_) | Applied::Removed)),
            "byte {i} matters"
        );
    }
    assert!(matches!(all[1].apply(offer(3).package()), Err(ApplyError::Malformed(_))));
    assert!(matches!(all[1].apply(&vec![0; MAX_COMMIT + 1]), Err(ApplyError::Malformed(None))));
    let other = GroupKeys::create(SessionId([1; 16]), &identity(0), &seed(0)).unwrap();
    let foreign = other.refresh(&identity(0), &seed(1)).unwrap().commit.bytes;
    assert!(matches!(all[1].apply(&foreign), Err(ApplyError::OtherSession)));
    // Within the group, but neither proposals nor messages are anybody's business here.
    let store = all[0].store.clone();
    let mut host = MlsGroup::load(store.memory(), &group_id(SESSION.into())).unwrap().unwrap();
    let provider = Provider::seeded(&store, peer(0), &seed(9));
    let signer = identity(0);
    let message = host.create_message(&provider, &NodeSigner(&signer), b"hello").unwrap();
    assert!(matches!(all[1].apply(&message.to_bytes().unwrap()), Err(ApplyError::Malformed(None))));
}

#[test]
fn a_snapshot_of_nothing_or_of_another_group_is_refused() {
    let all = group(2);
    let snapshot = |host, me, store: &Store| {
        let shown = SnapshotRef { name: SESSION.into(), host, me, mls: store };
        let bytes = cbor4ii::serde::to_vec(Vec::new(), &shown).unwrap();
        cbor4ii::serde::from_slice::<GroupKeys>(&bytes)
    };
    assert!(snapshot(peer(0), peer(1), &all[1].store).is_ok());
    assert!(snapshot(peer(0), peer(1), &Store::default()).is_err());
    assert!(snapshot(peer(3), peer(1), &all[1].store).is_err(), "a host that is not in it");
    assert!(snapshot(peer(0), peer(0), &all[1].store).is_err(), "another's keys");
}

#[test]
fn keys_travel_between_threads_and_show_no_secrets() {
    fn sendable<T: Send + Sync + 'static>(_: &T) {}
    let (keys, offer) = (alone(), offer(1));
    sendable(&keys);
    sendable(&offer);
    let shown = format!("{keys:?} {offer:?}");
    assert!(!shown.contains("EncryptionKeyPair"), "{shown}");
}

#[test]
fn sizes_stay_far_below_their_bounds() {
    let all = group(64);
    let staged = all[0].remove(&[peer(7)], &identity(0), &seed(9)).unwrap();
    let newcomer = offer(64);
    let welcome = add(&all[0], &newcomer, 64).welcome.unwrap();
    assert!(newcomer.package().len() < MAX_KEY_PACKAGE / 4);
    assert!(staged.commit.bytes.len() < MAX_COMMIT / 16);
    assert!(welcome.len() < MAX_WELCOME / 10);
    let snapshot = cbor4ii::serde::to_vec(Vec::new(), &all[0]).unwrap();
    assert!(snapshot.len() < 100_000, "{} bytes on disk", snapshot.len());
}

/// What a host does next in a random life of a group.
#[derive(Debug, Clone)]
enum Step {
    Add(u16),
    Remove(u16),
    Refresh,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..10_u16).prop_map(Step::Add),
        3 => (1..10_u16).prop_map(Step::Remove),
        1 => Just(Step::Refresh),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_happens_everyone_agrees(steps in vec((step(), any::<bool>()), 1..14)) {
        let mut host = alone();
        let mut members = std::collections::BTreeMap::<u16, GroupKeys>::new();
        for (number, (step, crash)) in steps.into_iter().enumerate() {
            let (me, seed) = (identity(0), seed(100 + number as u64));
            let staged = match step {
                Step::Add(who) if !members.contains_key(&who) => {
                    let offer = KeyOffer::new(&identity(who), &seed).unwrap();
                    let staged = host.add(&[(peer(who), offer.package())], &me, &seed).unwrap();
                    let offer = cbor4ii::serde::to_vec(Vec::new(), &offer).unwrap();
                    let offer: KeyOffer = cbor4ii::serde::from_slice(&offer).unwrap();
                    for keys in members.values_mut() {
                        *keys = merged(keys, &staged.commit).keys;
                    }
                    members.insert(who, join(&offer, &staged));
                    staged
                }
                Step::Remove(who) if members.contains_key(&who) => {
                    let staged = host.remove(&[peer(who)], &me, &seed).unwrap();
                    let gone = members.remove(&who).unwrap();
                    prop_assert!(matches!(gone.apply(&staged.commit.bytes), Ok(Applied::Removed)));
                    for keys in members.values_mut() {
                        *keys = merged(keys, &staged.commit).keys;
                    }
                    staged
                }
                _ => {
                    let staged = host.refresh(&me, &seed).unwrap();
                    for keys in members.values_mut() {
                        *keys = merged(keys, &staged.commit).keys;
                    }
                    staged
                }
            };
            host = staged.keys;
            if crash {
                host = restarted(&host);
                members.values_mut().for_each(|keys| *keys = restarted(keys));
            }
            agree(std::iter::once(&host).chain(members.values()));
        }
    }
}

/// A group of two, a newcomer's offer, and the change that lets it in.
static CHANGE: LazyLock<(Vec<GroupKeys>, KeyOffer, Staged)> = LazyLock::new(|| {
    let (all, newcomer) = (group(2), offer(5));
    let staged = add(&all[0], &newcomer, 5);
    (all, newcomer, staged)
});

/// `good`, cut off at `cut`, with `bytes` instead of as many at `at`.
fn spoiled(good: &[u8], bytes: &[u8], cut: usize, at: usize) -> Vec<u8> {
    let mut bad = good[..cut.min(good.len())].to_vec();
    let at = at.min(bad.len());
    let end = (at + bytes.len()).min(bad.len());
    bad.splice(at..end, bytes.iter().copied());
    bad
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..40), cut in 0..4_000_usize, at in 0..2_000_usize) {
        let (all, newcomer, staged) = &*CHANGE;
        let welcome = staged.welcome.as_deref().unwrap();
        for good in [&[], &staged.commit.bytes[..], welcome, newcomer.package()] {
            let bad = spoiled(good, &bytes, cut, at);
            if bad == good {
                continue;
            }
            prop_assert!(KeyOffer::check(peer(5), &bad).is_err());
            prop_assert!(!matches!(all[1].apply(&bad), Ok(Applied::Merged(_) | Applied::Removed)));
            prop_assert!(GroupKeys::join(newcomer, &bad, SESSION, peer(0)).is_err());
        }
    }
}
