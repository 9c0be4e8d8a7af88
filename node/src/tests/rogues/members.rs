//! A member with modified code: it has a slot and the group's keys, and wants more than its own voice.

use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, aead::Aead as _, aead::Payload};
use parlor_proto::{
    ids::SlotHash,
    rights::{Release, Signed},
};

use super::*;
use crate::clock;

/// A frame that only `sender` should be able to make: all members have the keys for it.
fn sealed_as(keys: &GroupKeys, sender: PeerId, lane: Lane, plaintext: &[u8]) -> Vec<u8> {
    let (leaf, mut nonce) = (keys.members()[&sender], [0; 24]);
    nonce[..8].copy_from_slice(&BOOT.to_be_bytes());
    let header = [&keys.epoch().to_be_bytes()[..], &keys.tag().0, &leaf.to_be_bytes(), &nonce].concat();
    let aad = [&header, &keys.session().as_bytes()[..], &[lane.code()]].concat();
    let secret = keys.lane_secret(sender, lane).unwrap();
    let cipher = XChaCha20Poly1305::new((&*secret).into());
    let sealed = cipher.encrypt(&nonce.into(), Payload { msg: plaintext, aad: &aad }).unwrap();
    [&[lane.code()], &header[..], &sealed].concat()
}

/// The claims of an update with one claim changed.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let place = bytes.windows(old.len()).position(|part| part == old).unwrap();
    [&bytes[..place], new, &bytes[place + old.len()..]].concat()
}

#[tokio::test]
async fn what_is_sealed_by_hand_is_as_good_as_a_nodes() {
    let inside = inside().await;
    let mut hearing = group(&inside.host, inside.session).realtime();
    let own = sealed_as(&inside.keys, inside.rogue.peer(), Lane::Realtime, b"by hand");
    inside.rogue.says(inside.session, own).await;
    assert_eq!(hears(&mut hearing).await, (inside.rogue.peer(), "by hand".into()));
}

#[tokio::test]
async fn no_member_speaks_as_another() {
    let log = Log::start();
    let mut inside = inside().await;
    let (session, victim) = (inside.session, inside.host.peer());
    let mut hearing = [&inside.host, &inside.honest].map(|site| group(site, session).realtime());
    posts(&inside.host, session, "mine").await;
    let captured = inside.rogue.captures(victim, Lane::Updates).await;
    let opened = inside.lanes.open(Lane::Updates, victim, &captured[1..], clock::now()).unwrap();

    // With the victim's own key, which each member can compute.
    for lane in [Lane::Realtime, Lane::Control] {
        let forged = sealed_as(&inside.keys, victim, lane, b"\xa1fBeacon\xa1dterm\0");
        inside.says_in_vain(&log, forged, &["WARN", &format!("{lane:?}"), "forged or damaged"]).await;
    }
    // What the victim signed, said as if it were the rogue's to say.
    let stolen = packet(&mut inside.lanes, Lane::Updates, &opened.plaintext);
    inside.says_in_vain(&log, stolen, &["WARN", "in the name of", &victim.to_string()]).await;
    // What the victim never signed, in an answer to those who miss something, the rogue's first: in place of what it did.
    let altered = replaced(&opened.plaintext, b"mine", b"fake");
    let (one, two) = (inside.rogue.update(session, 1, "own 1"), inside.rogue.update(session, 2, "own 2"));
    let updates = vec![Signed::decode(&altered).unwrap(), one.to_signed()];
    *inside.rogue.seen.answer.lock().unwrap() = UpdatesResponse { updates, ..Default::default() };
    inside.rogue.says(session, packet(&mut inside.lanes, Lane::Updates, two.bytes())).await;
    inside.traced(&log, &["WARN", "an update that is forged"]).await;

    // In its own name it is heard, and nothing but that is.
    inside.rogue.says(session, packet(&mut inside.lanes, Lane::Realtime, b"myself")).await;
    for hearing in &mut hearing {
        assert_eq!(hears(hearing).await, (inside.rogue.peer(), "myself".into()));
    }
    for site in [&inside.host, &inside.honest] {
        until(async || kept(site, session).await.iter().any(|(_, text)| text == "own 1")).await;
        let theirs = kept(site, session).await.into_iter().filter(|(peer, _)| *peer != inside.rogue.peer());
        assert_eq!(theirs.collect::<Vec<_>>(), [(victim, "mine".to_owned())]);
    }
}

#[tokio::test]
async fn nothing_is_heard_twice_or_under_another_label() {
    let log = Log::start();
    let mut inside = inside().await;
    let session = inside.session;
    let mut hearing = [&inside.host, &inside.honest].map(|site| group(site, session).realtime());
    group(&inside.host, session).send_realtime(Bytes::from("once")).await;
    assert_eq!(hears(&mut hearing[1]).await, (inside.host.peer(), "once".into()));
    let captured = inside.rogue.captures(inside.host.peer(), Lane::Realtime).await;

    // Another's packet, again.
    inside.says_in_vain(&log, captured.to_vec(), &["WARN", "Realtime", "forged or damaged"]).await;
    // Its own, again.
    let own = packet(&mut inside.lanes, Lane::Updates, inside.rogue.update(session, 1, "own").bytes());
    let spoken = packet(&mut inside.lanes, Lane::Realtime, b"spoken");
    for (lane, packet) in [("Updates", own), ("Realtime", spoken)] {
        inside.says_in_vain(&log, packet, &[lane, "heard before, or too late"]).await;
    }
    // Of another lane.
    let mut relabelled = packet(&mut inside.lanes, Lane::Realtime, b"a beacon?");
    relabelled[0] = Lane::Control.code();
    inside.says_in_vain(&log, relabelled, &["WARN", "Control", "forged or damaged"]).await;
    // Of an epoch before it was let in, and of one that never is.
    let epoch = inside.keys.epoch();
    for label in [0, epoch + 1_000] {
        let trace = format!("of an epoch without keys here ({label})");
        let mut relabelled = packet(&mut inside.lanes, Lane::Realtime, b"back then");
        relabelled[1..9].copy_from_slice(&u64::to_be_bytes(label));
        inside.says_in_vain(&log, relabelled, &[&trace]).await;
    }
    // Of another session, of which the rogue is host.
    let elsewhere = GroupKeys::create(SessionId([9; 16]), &inside.rogue.identity, &[9; 32]).unwrap();
    let mut lanes = Lanes::new(&elsewhere, BOOT + 1).unwrap();
    let mut foreign = packet(&mut lanes, Lane::Updates, b"from elsewhere");
    foreign[1..9].copy_from_slice(&epoch.to_be_bytes());
    foreign[9..17].copy_from_slice(&inside.keys.tag().0);
    inside.says_in_vain(&log, foreign, &["WARN", "Updates", "forged or damaged"]).await;
    // And another session's update, sealed for this one.
    let update = inside.rogue.update(SessionId([9; 16]), 2, "from elsewhere");
    let foreign = packet(&mut inside.lanes, Lane::Updates, update.bytes());
    inside.rogue.says(session, foreign).await;
    inside.traced(&log, &["WARN", "an update of another session"]).await;

    inside.rogue.says(session, packet(&mut inside.lanes, Lane::Realtime, b"at last")).await;
    for hearing in &mut hearing {
        assert_eq!(hears(hearing).await, (inside.rogue.peer(), "spoken".into()));
        assert_eq!(hears(hearing).await, (inside.rogue.peer(), "at last".into()));
    }
    for site in [&inside.host, &inside.honest] {
        until(async || kept(site, session).await == [(inside.rogue.peer(), "own".to_owned())].into()).await;
    }
}

#[tokio::test]
async fn no_member_gives_anothers_slot_back() {
    let inside = inside().await;
    let (session, host) = (inside.session, &inside.host);
    let slot = slot_of(&member(&inside.honest, session).await);
    let release = |slot: SlotHash, k, generation| {
        let member = inside.rogue.peer();
        let ticket = inside.loot.ticket().hash();
        let release = Release { ticket, slot, k, generation, member, released_at: clock::now() };
        Message::Release(sign(&release, &inside.rogue.identity).unwrap().to_signed())
    };
    // The victim's slot, or its number, in the rogue's name.
    let own = slot_of(&inside.loot).hash();
    let messages = vec![release(slot.hash(), slot.k, slot.generation), release(own, slot.k, slot.generation)];
    let answer = inside.rogue.tells(host.peer(), session, 0, messages).await;
    assert!(matches!(answer, SessionResponse::Taken { .. }), "{answer:?}");
    // Who says that has gone; nothing came free by it.
    until(async || !group_of(&inside.honest, session).await.contains(&inside.rogue.peer())).await;
    let ledger = host.node.context().store.ledger(inside.loot.ticket().hash()).await.unwrap().unwrap();
    assert_eq!((ledger.used(), ledger.slot_of(inside.honest.peer())), (2, Some(&slot)));
    assert!(group_of(host, session).await.contains(&inside.honest.peer()));
    assert_eq!(inside.honest.state(session).await, "running");
}
