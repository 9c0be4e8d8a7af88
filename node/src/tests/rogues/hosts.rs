//! A host that cheats: its own members find out, leave, and can prove it where there is something to prove.

use parlor_proto::{
    billing::{BillingRequest, BillingResponse},
    group::keys::KeyOffer,
    rights::{Ledger, Receipt, ReceiptKind, Release, Right, Signed, SignedRight},
    session::{Change, Roster, RosterEntry, SeatState},
};

use super::*;
use crate::{
    clock,
    console::{BillCommand, Invite, ProofCommand},
    context::Event,
};

/// The host forgets what it gave out: what an old backup does, or a host that means it.
async fn forgets(host: &Site) {
    let store = &host.node.context().store;
    let ticket = store.tickets().await.unwrap().remove(0).ledger.ticket().clone();
    let mut write = store.write().await.unwrap();
    store.put_ledger(&mut write, &Ledger::new(ticket)).await.unwrap();
    write.commit().await.unwrap();
}

/// The host has its book say that made-up members had the first copy, and gave it back: so many generations of it.
/// Returns what it would have to show for it, the first generation first.
async fn makes_up(host: &Site, generations: u8) -> Vec<(SignedRight, Signed<Release>)> {
    let context = host.node.context();
    let ticket = context.store.tickets().await.unwrap().remove(0).ledger.ticket().clone();
    let mut ledger = Ledger::new(ticket.clone());
    let mut made_up = Vec::new();
    for generation in 0..generations {
        let sybil = Identity::from_seed(&[0x60 + generation; 32]);
        let slot = ledger.grant(sybil.peer(), &context.identity, clock::now()).unwrap();
        let release = Release {
            ticket: slot.ticket,
            slot: slot.hash(),
            k: slot.k,
            generation: slot.generation,
            member: slot.member,
            released_at: clock::now(),
        };
        let release = sign(&release, &sybil).unwrap().to_signed();
        ledger.release(release.clone()).unwrap();
        made_up.push((Right::of_member(ticket.clone(), slot).unwrap().to_signed(), release));
    }
    let mut write = context.store.write().await.unwrap();
    context.store.put_ledger(&mut write, &ledger).await.unwrap();
    write.commit().await.unwrap();
    made_up
}

/// How many members each number has that has more than one.
async fn overdrawn(billing: &Site) -> Vec<(u64, u64)> {
    let bill = billing.run(Command::Bill(BillCommand::Statement { payer: None })).await;
    let number = |item: &Value| (item["k"].as_u64().unwrap(), item["holders"].as_u64().unwrap());
    bill["overdrawn"].as_array().unwrap().iter().map(number).collect()
}

#[tokio::test]
async fn a_host_that_gives_one_copy_on_by_members_it_made_up_is_counted() {
    let log = Log::start();
    let (host, members) = party::<3>(1).await;
    // Each in a session of its own, so that none sees another's slot. The host of the ticket is its billing peer, too.
    running(&host, &[&members[0]], &["member0"]).await;
    makes_up(&host, 2).await;
    running(&host, &[&members[1]], &["member1"]).await;
    until(async || overdrawn(&host).await == [(0, 2)]).await;
    let made_up = makes_up(&host, 4).await;
    running(&host, &[&members[2]], &["member2"]).await;
    until(async || overdrawn(&host).await == [(0, 3)]).await;
    let ticket = made_up[0].0.ticket.unverified().host.to_string();
    log.tells(&["WARN", &ticket, "more holders than one"]).await;
    assert_eq!(proofs(&host).await, [], "nobody has two slots that contradict each other");

    // Whatever of it is shown proves the rest.
    let (right, release) = made_up[1].clone();
    let request = BillingRequest::Released { right: Box::new(right), release };
    let answer = host.node.billing().handle(members[0].peer(), request, clock::now()).await;
    assert!(matches!(answer, BillingResponse::Noted), "{answer:?}");
    assert_eq!(proofs(&host).await.len(), 1);
}

/// What a host's node says to a member that the honest code would not.
async fn says(host: &Site, to: &Site, session: SessionId, message: Message) {
    let overlay = &host.node.context().overlay;
    let answer = tells(overlay, to.peer(), session, 0, vec![message]).await;
    assert!(matches!(answer, SessionResponse::Taken { .. }), "{answer:?}");
}

/// The proofs that a node has: their ids, and whom they are against.
async fn proofs(site: &Site) -> Vec<(String, String)> {
    let list = site.run(Command::Proof(ProofCommand::List)).await;
    let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
    list["proofs"].as_array().unwrap().iter().map(|item| (text(item, "proof"), text(item, "host"))).collect()
}

#[tokio::test]
async fn a_host_that_gives_one_slot_to_two_members_is_left_proven_and_shunned() {
    let log = Log::start();
    let (host, members) = party::<2>(1).await;
    let mut events = members[0].node.context().events.subscribe();
    let session = running(&host, &[&members[0]], &["member0"]).await;
    forgets(&host).await;
    let invite = Invite { session: session.to_string(), who: vec!["member1".into()], ..Invite::default() };
    host.run(Command::Invite(invite)).await;
    for member in &members {
        member.reaches(session, "left").await;
        let found = proofs(member).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found, proofs(&members[0]).await, "the same two slots are the same proof");
        assert_eq!(found[0].1, host.peer().to_string());
    }
    log.tells(&["WARN", &session.to_string(), &host.peer().to_string(), "one slot to two members"]).await;
    let told = async {
        while !matches!(events.recv().await.unwrap(), Event::Cheat { host: who, .. } if who == host.peer()) {}
    };
    tokio::time::timeout(PATIENCE, told).await.expect("whoever watches hears of it");

    // Whoever gets the proof can check it, the host itself included.
    let (file, id) = (members[0].home.path().join("proof"), proofs(&members[0]).await.remove(0).0);
    let export = ProofCommand::Export { proof: id[..8].to_owned(), file: file.clone(), force: false };
    members[0].run(Command::Proof(export)).await;
    let checked = host.run(Command::Proof(ProofCommand::Check { file })).await;
    assert_eq!((&checked["stands"], &checked["proof"]), (&true.into(), &id.into()));
    assert_eq!(checked["host"], host.peer().to_string());
    let accused: BTreeSet<_> =
        checked["members"].as_array().unwrap().iter().map(|one| one["peer"].as_str().unwrap()).collect();
    let peers = members.each_ref().map(|member| member.peer().to_string());
    assert_eq!(accused, peers.iter().map(String::as_str).collect());

    // Its next invitation is refused, trusted though it is.
    let next = host.host(&["member0"]).await;
    until(async || {
        let seat = host.run(Command::Session(of(next))).await["members"][0].clone();
        seat["state"] == "failed" && seat["why"].as_str().unwrap().contains("proven")
    })
    .await;
    assert_eq!(members[0].state(next).await, "unknown");
    log.tells(&[&next.to_string(), "an invitation of a host that was proven to cheat"]).await;
}

#[tokio::test]
async fn the_second_slot_is_found_also_where_only_a_change_of_keys_shows_it() {
    let log = Log::start();
    let (host, [member]) = party::<1>(1).await;
    let session = running(&host, &[&member], &["member0"]).await;
    let accomplice = Identity::from_seed(&[0x51; 32]);
    let context = host.node.context();
    let keys = Arc::clone(role(&host, session).await.keys().unwrap());
    let mut ledger = Ledger::new(role(&host, session).await.ticket().clone());
    let slot = ledger.grant(accomplice.peer(), &context.identity, clock::now()).unwrap();
    let offer = KeyOffer::new(&accomplice, &[1; 32]).unwrap();
    let staged = keys.add(&[(accomplice.peer(), offer.package())], &context.identity, &[2; 32]).unwrap();
    let entry = RosterEntry {
        slot: Some(slot.to_signed()),
        membership: None,
        contact: contact(accomplice.peer()),
        state: SeatState::Joined,
        gave_back: false,
    };
    let change = Change { commit: staged.commit, added: vec![entry] };
    says(&host, &member, session, Message::Keys(Box::new(change))).await;
    member.reaches(session, "left").await;
    assert_eq!(proofs(&member).await.len(), 1);
    log.tells(&["WARN", &session.to_string(), &host.peer().to_string(), "one slot to two members"]).await;
}

#[tokio::test]
async fn who_has_only_anothers_slot_is_not_in_the_roster() {
    let log = Log::start();
    let (host, [member]) = party::<1>(1).await;
    let session = running(&host, &[&member], &["member0"]).await;
    let rogue = Rogue::stranger().await;
    rogue.opens(session, &[&host, &member]).await;
    posts(&member, session, "secret").await;
    let machine = self::member(&member, session).await;
    // With the member's own slot, and with none.
    for slot in [Some(slot_of(&machine).to_signed()), None] {
        let intruder = RosterEntry {
            slot,
            membership: None,
            contact: contact(rogue.peer()),
            state: SeatState::Joined,
            gave_back: false,
        };
        let members = machine.roster().cloned().chain([intruder]).collect();
        let roster = Roster {
            term: 0,
            host: machine.host().clone(),
            host_slot: None,
            host_membership: None,
            former_hosts: Vec::new(),
            takeover: machine.takeover(),
            members,
        };
        says(&host, &member, session, Message::Roster(Box::new(roster))).await;
        assert!(!group_of(&member, session).await.contains(&rogue.peer()));
        assert!(rogue.pulls_updates(member.peer(), session).await.updates.is_empty());
    }
    assert_eq!((rogue.packets(), member.state(session).await), ((0, 0), "running".to_owned()));
    let (session, host) = (session.to_string(), host.peer().to_string());
    log.tells(&["WARN", &session, &host, "names members without a slot of theirs"]).await;
}

#[tokio::test]
async fn a_host_that_lets_somebody_without_a_slot_into_the_keys_is_left() {
    let log = Log::start();
    for shows_anothers in [false, true] {
        let (host, [member]) = party::<1>(1).await;
        let session = running(&host, &[&member], &["member0"]).await;
        let intruder = Identity::from_seed(&[0x52; 32]);
        let keys = Arc::clone(role(&host, session).await.keys().unwrap());
        let offer = KeyOffer::new(&intruder, &[3; 32]).unwrap();
        let identity = &host.node.context().identity;
        let staged = keys.add(&[(intruder.peer(), offer.package())], identity, &[4; 32]).unwrap();
        let entry = RosterEntry {
            slot: Some(slot_of(&self::member(&member, session).await).to_signed()),
            membership: self::member(&member, session).await.membership().cloned(),
            contact: contact(intruder.peer()),
            state: SeatState::Joined,
            gave_back: false,
        };
        let added = if shows_anothers { vec![entry] } else { Vec::new() };
        let before = epoch(&member, session).await;
        let change = Change { commit: staged.commit, added };
        says(&host, &member, session, Message::Keys(Box::new(change))).await;
        member.reaches(session, "left").await;
        assert_eq!(self::member(&member, session).await.keys().map(|keys| keys.epoch()), None, "{before}");
        assert!(member.node.sessions().group(session).is_none(), "nothing more is said to it");
        assert!(proofs(&member).await.is_empty(), "that proves nothing to others");
        log.tells(&["WARN", &session.to_string(), "left", "without a slot into the group's keys"]).await;
    }
}

#[tokio::test]
async fn what_a_billing_peer_found_is_listed_with_its_other_proofs() {
    let host = Site::start().await;
    host.publish("hello", 1).await;
    let _session = host.host(&[]).await;
    // The host of the ticket is its billing peer, too; two members report one copy each.
    let context = host.node.context();
    let ticket = context.store.tickets().await.unwrap().remove(0).ledger.ticket().clone();
    for seed in [0x53, 0x54] {
        let member = Identity::from_seed(&[seed; 32]);
        let slot = Ledger::new(ticket.clone()).grant(member.peer(), &context.identity, clock::now());
        let right = Right::of_member(ticket.clone(), slot.unwrap()).unwrap();
        let receipt = Receipt::new(&right, None, ReceiptKind::Received, clock::now());
        let receipt = sign(&receipt, &member).unwrap().to_signed();
        let request = BillingRequest::Submit { right: Box::new(right.to_signed()), receipt };
        let answer = host.node.billing().handle(member.peer(), request, clock::now()).await;
        assert!(matches!(answer, BillingResponse::Acked(_)), "{answer:?}");
    }
    let found = proofs(&host).await;
    assert_eq!(found.len(), 1);
    // Found as a member as well, and the slots the other way round, it is still the same.
    let kept = host.node.billing().book().proofs().await.unwrap().remove(0).proof;
    let [one, other] = kept.slots();
    let swapped = parlor_proto::rights::EquivocationProof::find(other, one).unwrap();
    let mut write = context.store.write().await.unwrap();
    context.store.keep_cheat(&mut write, &swapped, clock::now()).await.unwrap();
    write.commit().await.unwrap();
    assert_ne!(swapped.encode(), kept.encode());
    assert_eq!(proofs(&host).await, found);
}
