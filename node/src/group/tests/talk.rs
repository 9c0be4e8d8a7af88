//! Members among themselves.

use parlor_proto::group::keys::GroupName;

use super::*;

#[tokio::test]
async fn three_members_talk_and_nothing_of_it_can_be_read_on_the_way() {
    let keys = keys(3, 1);
    let sites = [
        Site::start(0, Some(Arc::clone(&keys[0]))).await,
        Site::start(1, Some(Arc::clone(&keys[1]))).await,
        Site::start(2, Some(Arc::clone(&keys[2]))).await,
    ];
    together(&sites.each_ref()).await;
    let mut hearing = sites.each_ref().map(|site| site.group.realtime());
    let mut beacons = sites[2].group.beacons();
    for site in &sites {
        site.group.post(format!("secret update of {}", site.number).into()).await.unwrap();
        site.group.send_realtime(format!("secret word of {}", site.number).into()).await;
    }
    for site in &sites {
        until(async || site.set().await.len() == 3).await;
        assert_eq!(site.set().await, sites[0].set().await);
    }
    for (i, hearing) in hearing.iter_mut().enumerate() {
        let mut heard: Vec<_> = [next(hearing).await, next(hearing).await]
            .iter()
            .map(|message| (message.sender, String::from_utf8(message.data.to_vec()).unwrap()))
            .collect();
        heard.sort();
        let others = sites.iter().filter(|site| usize::from(site.number) != i);
        let mut said: Vec<_> =
            others.map(|site| (site.peer(), format!("secret word of {}", site.number))).collect();
        said.sort();
        assert_eq!(heard, said);
    }
    sites[0].group.send_beacon(7).await;
    assert_eq!(next(&mut beacons).await, Beacon { author: peer(0), term: 7 });
    for site in &sites {
        let packets = site.seen.packets.lock().unwrap();
        assert!(!packets.is_empty());
        let is_readable = |packet: &Bytes| packet.windows(6).any(|window| window == b"secret");
        assert!(!packets.iter().any(is_readable));
    }
}

#[tokio::test]
async fn what_was_said_before_a_member_came_is_pulled_whatever_its_keys() {
    let keys = keys(2, 1);
    let host = Site::start(0, Some(Arc::clone(&keys[0]))).await;
    for n in 0..300 {
        host.group.post(format!("before {n}").into()).await.unwrap();
    }
    let member = Site::start(1, None).await;
    together(&[&host, &member]).await;
    until(async || member.all().await.len() == 300).await;
    assert_eq!(member.all().await, host.all().await);
}

#[tokio::test]
async fn without_keys_updates_wait_on_disk_and_realtime_is_lost() {
    let keys = keys(2, 1);
    let (host, member) = (Site::start(0, Some(Arc::clone(&keys[0]))).await, Site::start(1, None).await);
    together(&[&host, &member]).await;
    let mut hearing = host.group.realtime();
    member.group.send_realtime("lost".into()).await;
    for n in 0..3 {
        member.group.post(format!("kept {n}").into()).await.unwrap();
    }
    assert_eq!(member.all().await.len(), 3, "on disk");
    host.group.post("not heard over gossip".into()).await.unwrap();
    member.group.enter(Arc::clone(&keys[1])).unwrap();
    // The newest is published, what was before it is pulled.
    until(async || host.set().await.len() == 4).await;
    until(async || member.set().await.len() == 4).await;
    assert_eq!(host.set().await, member.set().await);
    member.group.send_realtime("heard".into()).await;
    assert_eq!(text(&next(&mut hearing).await), (peer(1), &b"heard"[..]));
}

#[tokio::test]
async fn a_frame_of_the_next_epoch_is_heard_once_its_commit_is_there() {
    let keys = keys(2, 1);
    let host = Site::start(0, Some(Arc::clone(&keys[0]))).await;
    let member = Site::start(1, Some(Arc::clone(&keys[1]))).await;
    together(&[&host, &member]).await;
    let staged = refreshed(&keys[0]);
    let (commit, next_keys) = (staged.commit, Arc::new(staged.keys));
    host.group.enter(Arc::clone(&next_keys)).unwrap();
    let (mut hearing, mut wanted) = (member.group.realtime(), member.group.wanted_epoch());
    assert_eq!(*wanted.borrow_and_update(), 0);
    host.group.send_realtime("in the new epoch".into()).await;
    tokio::time::timeout(PATIENCE, wanted.changed()).await.unwrap().unwrap();
    assert_eq!(*wanted.borrow(), next_keys.epoch());
    assert!(hearing.try_recv().is_err(), "it waits");
    // The other direction still works meanwhile.
    let mut at_host = host.group.realtime();
    member.group.send_realtime("in the old one".into()).await;
    assert_eq!(text(&next(&mut at_host).await), (peer(1), &b"in the old one"[..]));
    member.group.enter(followed(&keys[1], &commit)).unwrap();
    assert_eq!(text(&next(&mut hearing).await), (peer(0), &b"in the new epoch"[..]));
}

#[tokio::test]
async fn members_that_come_late_to_a_new_hosts_term_are_heard_and_hear() {
    let old = keys(3, 1);
    let early = Site::start(2, Some(Arc::clone(&old[2]))).await;
    let late = Site::start(0, Some(Arc::clone(&old[0]))).await;
    let name = GroupName { session: SESSION, term: 1 };
    let alone = GroupKeys::create(name, &identity(1), &[7; 32]).unwrap();
    let offers = [2, 0].map(|number| KeyOffer::new(&identity(number), &[number + 70; 32]).unwrap());
    let packages = [(peer(2), offers[0].package()), (peer(0), offers[1].package())];
    let staged = alone.add(&packages, &identity(1), &[8; 32]).unwrap();
    let welcome = staged.welcome.as_deref().unwrap();
    let joined = offers.each_ref().map(|offer| GroupKeys::join(offer, welcome, name, peer(1)).unwrap());
    let [of_early, of_late] = joined.map(Arc::new);
    let mut hearing = [&early, &late].map(|site| site.group.realtime());
    early.group.enter(Arc::clone(&of_early)).unwrap();
    let said = |site: &Site| site.group.inner.door().seal(Lane::Realtime, b"hello").unwrap();
    early.group.heard(peer(0), &said(&late));
    assert_eq!(text(&next(&mut hearing[0]).await), (peer(0), &b"hello"[..]), "in the old term");
    late.group.heard(peer(2), &said(&early));
    assert!(hearing[1].try_recv().is_err(), "it waits");
    assert_eq!(*late.group.wanted_epoch().borrow(), of_early.epoch());
    late.group.enter(of_late).unwrap();
    assert_eq!(text(&next(&mut hearing[1]).await), (peer(2), &b"hello"[..]));
    early.group.heard(peer(0), &said(&late));
    assert_eq!(text(&next(&mut hearing[0]).await), (peer(0), &b"hello"[..]), "in the new one");
}

#[tokio::test]
async fn no_two_runs_of_a_node_seal_under_the_same_number() {
    let keys = keys(2, 1);
    let mut site = Site::start(0, Some(Arc::clone(&keys[0]))).await;
    let boot_of = |group: &Group| {
        let packet = group.inner.door().seal(Lane::Realtime, b"").unwrap();
        u64::from_be_bytes(packet[21..29].try_into().unwrap())
    };
    let mut boots = vec![boot_of(&site.group)];
    for _ in 0..3 {
        site.group.close().await;
        site.store.close().await;
        site.store = store_in(&site.dir).await;
        site.group = open(0, &site.store, &site.overlay, Some(Arc::clone(&keys[0]))).await;
        boots.push(boot_of(&site.group));
    }
    assert!(boots.is_sorted_by(|earlier, later| earlier < later), "{boots:?}");
}
