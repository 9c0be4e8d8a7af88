//! One node against somebody who tries to be heard: each attempt is dropped and leaves a trace.

use parlor_proto::group::{keys::GroupName, lanes::OpenError};

use super::*;
use crate::group::complaint::Complaint;

/// Number 1's node, and what members 0 and 2 seal with.
async fn withstanding() -> (Site, Lanes, Lanes) {
    let keys = keys(3, 1);
    let site = Site::start(1, Some(Arc::clone(&keys[1]))).await;
    (site, Lanes::new(&keys[0], 1).unwrap(), Lanes::new(&keys[2], 1).unwrap())
}

fn closed(error: OpenError) -> Complaint {
    Complaint::Closed(error)
}

#[tokio::test]
async fn who_has_not_the_keys_is_not_heard() {
    let (site, mut host, _) = withstanding().await;
    let mut hearing = site.group.realtime();
    // The same people and names, other keys.
    let mut outside = Lanes::new(&keys(3, 2)[0], 1).unwrap();
    let mut forged = packet(&mut outside, Lane::Realtime, b"forged");
    site.group.heard(peer(0), &forged);
    assert_eq!(site.complaints(0, &closed(OpenError::Forked { epoch: 1 })), 1);
    // Whatever it says of itself: after the lane and the epoch's number, which epoch of that number.
    forged[9..17].copy_from_slice(&keys(3, 1)[0].tag().0);
    site.group.heard(peer(0), &forged);
    assert_eq!(site.complaints(0, &closed(OpenError::Forged)), 1);
    // With the keys, but in another member's name; or in its own, of which the roster knows nothing.
    let stolen = packet(&mut host, Lane::Realtime, b"stolen");
    site.group.heard(peer(2), &stolen);
    assert_eq!(site.complaints(2, &closed(OpenError::Forged)), 1);
    site.group.heard(peer(9), &stolen);
    assert_eq!(site.complaints(9, &Complaint::NotAMember), 1);
    site.group.heard(peer(0), &stolen);
    assert_eq!(text(&next(&mut hearing).await), (peer(0), &b"stolen"[..]), "the others changed nothing");
}

#[tokio::test]
async fn garbage_is_dropped() {
    let (site, mut host, _) = withstanding().await;
    let whole = packet(&mut host, Lane::Updates, b"no update at all");
    for garbage in [&b""[..], b"\0", b"\x04sealed?", &[0xff; 200]] {
        site.group.heard(peer(0), garbage);
    }
    assert_eq!(site.complaints(0, &Complaint::NoLane), 4);
    site.group.heard(peer(0), &whole[..40]);
    site.group.heard(peer(0), &[vec![1], vec![0; 200_000]].concat());
    assert_eq!(site.complaints(0, &closed(OpenError::Malformed)), 2);
    site.group.heard(peer(0), &whole);
    let no_update = Signed::<Update>::decode(b"x").unwrap_err().into();
    assert_eq!(site.complaints(0, &no_update), 1);
    for lane in [Lane::Control, Lane::Realtime] {
        let long = vec![0x80; if lane == Lane::Control { 65 } else { MAX_REALTIME + 1 }];
        site.group.heard(peer(0), &packet(&mut host, lane, &long));
    }
    site.group.heard(peer(0), &packet(&mut host, Lane::Control, b"\xff"));
    assert_eq!(site.complaints(0, &Complaint::Unreadable), 3);
}

#[tokio::test]
async fn a_replay_is_dropped_and_so_is_another_lanes_label() {
    let (site, mut host, _) = withstanding().await;
    let mut hearing = site.group.realtime();
    let said = packet(&mut host, Lane::Updates, update(0, 1, "once").bytes());
    let mut relabelled = said.clone();
    relabelled[0] = Lane::Realtime.code();
    site.group.heard(peer(0), &relabelled);
    assert_eq!(site.complaints(0, &closed(OpenError::Forged)), 1);
    site.group.heard(peer(0), &said);
    site.group.heard(peer(0), &said);
    assert_eq!(site.complaints(0, &closed(OpenError::Replay)), 1);
    until(async || !site.all().await.is_empty()).await;
    assert_eq!(site.all().await, [(0, 1, "once".to_owned())]);
    let spoken = packet(&mut host, Lane::Realtime, b"once");
    site.group.heard(peer(0), &spoken);
    site.group.heard(peer(0), &spoken);
    assert_eq!(text(&next(&mut hearing).await), (peer(0), &b"once"[..]));
    assert!(hearing.try_recv().is_err());
    // Nor does it count against what 0 may say.
    for _ in 0..1_000 {
        site.group.heard(peer(0), &spoken);
    }
    site.group.heard(peer(0), &packet(&mut host, Lane::Realtime, b"again"));
    assert_eq!(text(&next(&mut hearing).await), (peer(0), &b"again"[..]));
}

#[tokio::test]
async fn no_member_posts_in_anothers_name() {
    let (site, mut host, mut member) = withstanding().await;
    // What 0 signed, said by 2: true, but not its to say.
    let signed = update(0, 1, "mine");
    site.group.heard(peer(2), &packet(&mut member, Lane::Updates, signed.bytes()));
    assert_eq!(site.complaints(2, &Complaint::AnotherName(peer(0))), 1);
    // 2 signs as 0, and brings it in an answer: there the sender is not who brings it.
    let mut forged = signed.bytes().to_vec();
    let end = forged.len() - 1;
    forged[end] ^= 1;
    let forged = Signed::<Update>::decode(&forged).unwrap();
    let wrong = forged.clone().verify().unwrap_err().into();
    let response = UpdatesResponse { updates: vec![forged.clone()], more: true, ..Default::default() };
    site.group.inner.commands.send(Command::Pulled(peer(2), Some(response))).await.unwrap();
    until(async || site.complaints(2, &wrong) == 1).await;
    // Over gossip by 0 itself it is no better.
    site.group.heard(peer(0), &packet(&mut host, Lane::Updates, forged.bytes()));
    until(async || site.complaints(0, &wrong) == 1).await;
    assert!(site.all().await.is_empty());
    // Nor does it take the true one's place.
    site.group.heard(peer(0), &packet(&mut host, Lane::Updates, signed.bytes()));
    until(async || site.all().await == [(0, 1, "mine".to_owned())]).await;
}

#[tokio::test]
async fn an_update_of_another_session_or_of_nobody_is_not_taken() {
    let (site, mut host, _) = withstanding().await;
    let elsewhere = Update { session: SessionId([1; 16]), ..(*update(0, 1, "elsewhere")).clone() };
    let elsewhere = sign(&elsewhere, &identity(0)).unwrap();
    site.group.heard(peer(0), &packet(&mut host, Lane::Updates, elsewhere.bytes()));
    until(async || site.complaints(0, &Complaint::AnotherSession) == 1).await;
    let response = UpdatesResponse { updates: vec![update(9, 1, "who?").to_signed()], ..Default::default() };
    site.group.inner.commands.send(Command::Pulled(peer(0), Some(response))).await.unwrap();
    until(async || site.complaints(0, &Complaint::Stranger(peer(9))) == 1).await;
    assert!(site.all().await.is_empty());
}

/// After a network was torn there may be two hosts of one term, each with epochs of the same numbers.
#[tokio::test]
async fn who_is_not_in_another_hosts_group_of_the_same_term_reads_no_more() {
    let name = GroupName { session: SESSION, term: 1 };
    let host = |number: u8, members: &[u8]| -> Vec<Arc<GroupKeys>> {
        let alone = GroupKeys::create(name, &identity(number), &[number + 60; 32]).unwrap();
        let offers: Vec<_> =
            members.iter().map(|n| KeyOffer::new(&identity(*n), &[n + 70; 32]).unwrap()).collect();
        let packages: Vec<_> =
            members.iter().zip(&offers).map(|(n, offer)| (peer(*n), offer.package())).collect();
        let staged = alone.add(&packages, &identity(number), &[number + 80; 32]).unwrap();
        let welcome = staged.welcome.as_deref().unwrap();
        let join = |offer| Arc::new(GroupKeys::join(offer, welcome, name, peer(number)).unwrap());
        offers.iter().map(join).collect()
    };
    let (torn, whole) = (host(0, &[1, 2]), host(3, &[1]));
    let site = Site::start(1, Some(Arc::clone(&torn[0]))).await;
    let mut removed = Lanes::new(&torn[1], 1).unwrap();
    let mut open = |packet: &[u8]| removed.open(Lane::Realtime, peer(1), &packet[1..], Timestamp(0));
    let said = || site.group.inner.door().seal(Lane::Realtime, b"hello").unwrap();
    assert!(open(&said()).is_ok());
    assert_eq!(torn[0].epoch(), whole[0].epoch(), "what this test is about");
    site.group.enter(Arc::clone(&whole[0])).unwrap();
    let mut packet = said();
    assert_eq!(open(&packet), Err(OpenError::Forked { epoch: whole[0].epoch() }));
    packet[9..17].copy_from_slice(&torn[1].tag().0);
    assert_eq!(open(&packet), Err(OpenError::Forged), "whatever it says of itself");
}

#[tokio::test]
async fn who_was_removed_is_heard_no_more() {
    let all = keys(3, 1);
    let site = Site::start(1, Some(Arc::clone(&all[1]))).await;
    let mut removed = Lanes::new(&all[2], 1).unwrap();
    let mut hearing = site.group.realtime();
    site.group.heard(peer(2), &packet(&mut removed, Lane::Realtime, b"still in"));
    assert_eq!(text(&next(&mut hearing).await), (peer(2), &b"still in"[..]));
    let staged = all[0].remove(&[peer(2)], &identity(0), &[5; 32]).unwrap();
    site.group.enter(followed(&all[1], &staged.commit)).unwrap();
    site.group.heard(peer(2), &packet(&mut removed, Lane::Realtime, b"still here"));
    assert_eq!(site.complaints(2, &closed(OpenError::UnknownSender)), 1);
    site.group.set_members(peers([0]));
    site.group.heard(peer(2), &packet(&mut removed, Lane::Realtime, b"still here"));
    assert_eq!(site.complaints(2, &Complaint::NotAMember), 1);
    assert!(hearing.try_recv().is_err());
}
