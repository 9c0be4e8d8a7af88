//! Host and members against one another, through loss, duplication, reordering and crashes at every step.
//!
//! A world is one host with a ticket and some members. What they send lies in a heap from which anything may
//! be delivered, twice or never. A crash throws away whatever was not in the machine's snapshot, outputs of
//! the last step included, and loads the snapshot.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::{
    Contact, DeclineReason, Host, HostInput, HostOutput, HostState, Member, MemberInput, MemberOutput,
    MemberState, Message, SeatState,
    host::{HostContext, HostError},
    member::MemberContext,
};
use crate::{
    billing::Tariff,
    identity::{Identity, PeerId},
    ids::{ProgramId, SessionId, SlotHash},
    rights::{Ledger, ReceiptKind, Terms, Ticket, Verified, sign},
    time::Timestamp,
};

const START: Timestamp = Timestamp(1_800_000_000_000);
const SESSION: SessionId = SessionId([9; 16]);

fn ticket(host: PeerId, copies: u32, tariff: Tariff) -> Verified<Ticket> {
    let origin = Identity::from_seed(&[200; 32]);
    let day = Duration::from_secs(24 * 60 * 60);
    let ticket = Ticket {
        id: [1; 16],
        origin: origin.peer(),
        host,
        name: "chat".into(),
        program: ProgramId([3; 32]),
        copies,
        issued_at: START,
        not_before: START,
        expires: START + day * 300,
        terms: Terms { tariff, lease: None },
        billing: vec![origin.peer()],
        offline_issue: true,
    };
    sign(&ticket, &origin).unwrap()
}

fn contact(identity: &Identity, name: &str) -> Contact {
    Contact { peer: identity.peer(), name: name.into(), addresses: vec!["/ip4/127.0.0.1/tcp/1".into()] }
}

/// Something under way.
#[derive(Clone)]
enum Parcel {
    ToMember(usize, u64, Vec<Message>),
    ToHost(usize, u64, Vec<Message>),
    TakenByMember(usize, u64),
    TakenByHost(usize, u64),
}

struct World {
    now: Timestamp,
    host_identity: Identity,
    identities: Vec<Identity>,
    host: Host,
    ledger: Ledger,
    /// Slots in use in other sessions.
    elsewhere: BTreeSet<SlotHash>,
    members: Vec<Option<Member>>,
    parcels: Vec<Parcel>,
    /// By whom, and what: as a billing peer would count.
    receipts: BTreeSet<(PeerId, &'static str)>,
    ever_granted: BTreeMap<PeerId, (u32, u32)>,
}

impl World {
    fn new(copies: u32, members: usize, tariff: Tariff) -> Self {
        let host_identity = Identity::from_seed(&[100; 32]);
        let ticket = ticket(host_identity.peer(), copies, tariff);
        let mut world = Self {
            now: START,
            host: Host::new(SESSION, ticket.clone(), "1".into(), 1000),
            ledger: Ledger::new(ticket),
            elsewhere: BTreeSet::new(),
            host_identity,
            identities: (0..members).map(|i| Identity::from_seed(&[i as u8 + 1; 32])).collect(),
            members: vec![None; members],
            parcels: Vec::new(),
            receipts: BTreeSet::new(),
            ever_granted: BTreeMap::new(),
        };
        let invited = world.identities.iter().map(|identity| contact(identity, "m")).collect();
        world.host(HostInput::Invite(invited)).unwrap();
        world
    }

    fn host(&mut self, input: HostInput) -> Result<(), HostError> {
        let me = contact(&self.host_identity, "host");
        let (identity, ledger) = (&self.host_identity, &mut self.ledger);
        let (elsewhere, now) = (&self.elsewhere, self.now);
        let mut context = HostContext { identity, ledger, elsewhere, me: &me, billing: &[], now };
        let outputs = self.host.handle(input, &mut context)?;
        for output in outputs {
            match output {
                HostOutput::Send { to, first, messages } => {
                    let i = self.identities.iter().position(|identity| identity.peer() == to).unwrap();
                    self.parcels.push(Parcel::ToMember(i, first, messages));
                }
                HostOutput::Receipt(item) => {
                    self.receipts.insert((item.1.member, item.1.kind.name()));
                }
            }
        }
        self.check();
        Ok(())
    }

    fn member(&mut self, i: usize, input: MemberInput) {
        let Some(member) = &mut self.members[i] else { return };
        let me = contact(&self.identities[i], "m");
        let context = MemberContext { identity: &self.identities[i], me: &me, now: self.now };
        // A user's wish out of season is refused; that is no failure here.
        let Ok(outputs) = member.handle(input, &context) else { return };
        for output in outputs {
            match output {
                MemberOutput::Send { first, messages, .. } => {
                    self.parcels.push(Parcel::ToHost(i, first, messages));
                }
                MemberOutput::Receipt(item) => {
                    self.receipts.insert((item.1.member, item.1.kind.name()));
                }
                MemberOutput::Cheat(_) => panic!("an honest host is never proven a cheat"),
            }
        }
        self.check();
    }

    /// The invariants of every moment.
    fn check(&mut self) {
        assert!(self.ledger.used() <= self.ledger.copies(), "more slots than copies");
        for slot in self.ledger.slots() {
            let place = (slot.k, slot.generation);
            let before = *self.ever_granted.entry(slot.member).or_insert(place);
            assert_eq!(before, place, "a member's slot changed, though it was not given back");
        }
        self.ever_granted.retain(|member, _| self.ledger.slot_of(*member).is_some());
        let with_program = |member: &&Member| member.slot().is_some();
        let holders = self.members.iter().flatten().filter(with_program).count();
        assert!(holders <= self.ledger.copies() as usize, "more copies out than approved");
    }

    fn deliver(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::ToMember(i, first, messages) => {
                if self.members[i].is_none() {
                    let host = self.host_identity.peer();
                    if first != 0 {
                        return;
                    }
                    self.members[i] = Some(Member::invited(SESSION, host, &messages, self.now).unwrap());
                }
                self.member(i, MemberInput::Message { first, messages });
                let next = self.members[i].as_ref().unwrap().expected();
                self.parcels.push(Parcel::TakenByMember(i, next));
            }
            Parcel::ToHost(i, first, messages) => {
                let from = self.identities[i].peer();
                self.host(HostInput::Message { from, first, messages }).unwrap();
                let next = self.host.expected_of(from).unwrap();
                self.parcels.push(Parcel::TakenByHost(i, next));
            }
            Parcel::TakenByMember(i, next) => {
                let from = self.identities[i].peer();
                self.host(HostInput::Taken { from, next }).unwrap();
            }
            Parcel::TakenByHost(i, next) => self.member(i, MemberInput::Taken { next }),
        }
    }

    fn tick(&mut self, by: Duration) {
        self.now = self.now + by;
        self.host(HostInput::Tick).unwrap();
        (0..self.members.len()).for_each(|i| self.member(i, MemberInput::Tick));
    }

    /// Through the store and back: what a kill leaves.
    fn crash(&mut self, node: usize) {
        fn reload<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
            cbor4ii::serde::from_slice(&cbor4ii::serde::to_vec(Vec::new(), value).unwrap()).unwrap()
        }
        if node == self.members.len() {
            (self.host, self.ledger) = (reload(&self.host), reload(&self.ledger));
            self.host(HostInput::Restarted).unwrap();
        } else if let Some(member) = &self.members[node] {
            self.members[node] = Some(reload(member));
            self.member(node, MemberInput::Restarted);
        }
    }

    /// One step of chaos, chosen by two numbers.
    fn chaos(&mut self, what: u8, which: u8) {
        let i = which as usize % self.members.len();
        let parcel = (!self.parcels.is_empty()).then(|| which as usize % self.parcels.len());
        match (what % 16, parcel) {
            (0..=5, Some(p)) => {
                let parcel = self.parcels.swap_remove(p);
                self.deliver(parcel);
            }
            (6, Some(p)) => self.deliver(self.parcels[p].clone()),
            (7, Some(p)) => {
                self.parcels.swap_remove(p);
            }
            (8, _) => self.crash(which as usize % (self.members.len() + 1)),
            (9, _) => self.tick(Duration::from_millis(600)),
            (10, _) => self.member(i, MemberInput::Accept),
            (11, _) => self.member(i, MemberInput::Received),
            (12, _) if which < 40 => self.member(i, MemberInput::Suspend),
            (13, _) => self.member(i, MemberInput::Resume),
            (14, _) if which < 20 => self.member(i, MemberInput::Leave),
            (14, _) if which > 235 => self.member(i, MemberInput::Discard),
            (14, _) if which < 40 => self.member(i, MemberInput::Decline(DeclineReason::User)),
            // Refusals (already running, not suspended…) are fine.
            (14, _) if which < 60 => self.host(HostInput::Suspend).unwrap_or_default(),
            (15, _) if which < 120 => self.host(HostInput::Resume).unwrap_or_default(),
            (15, _) if which < 140 => self.host(HostInput::Start).unwrap_or_default(),
            _ => {}
        }
    }

    /// The network heals, everybody does what is up to them, until nothing moves.
    fn settle(&mut self) {
        for _ in 0..200 {
            while let Some(parcel) = self.parcels.pop() {
                self.deliver(parcel);
            }
            for i in 0..self.members.len() {
                self.member(i, MemberInput::Resume);
                self.member(i, MemberInput::Accept);
                self.member(i, MemberInput::Received);
            }
            self.tick(Duration::from_secs(31));
            if self.parcels.is_empty() {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

fn seat_of(world: &World, i: usize) -> SeatState {
    world.host.seats()[&world.identities[i].peer()].state
}

#[test]
fn the_plain_way() {
    let mut world = World::new(2, 2, Tariff::FREE);
    world.settle();
    assert_eq!(world.host.state(), HostState::Running, "it starts by itself once all are ready");
    for i in 0..2 {
        assert_eq!(seat_of(&world, i), SeatState::Joined);
        let member = world.members[i].as_ref().unwrap();
        assert!(member.runs());
        assert_eq!(member.group().unwrap().len(), 2, "the host and the other member");
        assert_eq!(member.roster().count(), 2);
    }
    assert_eq!(world.receipts.len(), 2, "one reception each; the host's own belongs to its supply");
    world.host(HostInput::End).unwrap();
    world.settle();
    assert!(world.host.is_settled());
    assert!(world.members.iter().flatten().all(|member| member.state() == MemberState::Ended));
}

#[test]
fn one_more_than_there_are_copies_is_refused_and_told_why() {
    let mut world = World::new(2, 3, Tariff::FREE);
    world.settle();
    let refused: Vec<_> = (0..3).filter(|i| seat_of(&world, *i) == SeatState::Refused).collect();
    assert_eq!(refused.len(), 1);
    let member = world.members[refused[0]].as_ref().unwrap();
    assert_eq!(member.state(), MemberState::Refused);
    assert!(member.why().unwrap().contains("no copies left"), "{:?}", member.why());
    assert_eq!(world.host.state(), HostState::Running, "the others are not held up");
}

#[test]
fn who_is_not_invited_gets_nothing() {
    let mut world = World::new(2, 1, Tariff::FREE);
    let stranger = Identity::from_seed(&[77; 32]);
    let accept = vec![Message::Accept(contact(&stranger, "stranger"))];
    world.host(HostInput::Message { from: stranger.peer(), first: 0, messages: accept }).unwrap();
    assert_eq!(world.ledger.used(), 0);
    assert_eq!(world.host.expected_of(stranger.peer()), None);
}

#[test]
fn uses_and_minutes_are_reported_only_where_they_are_charged() {
    let mut world = World::new(1, 1, "use=1EUR,minute=1EUR".parse().unwrap());
    world.settle();
    world.host(HostInput::End).unwrap();
    world.settle();
    let kinds: BTreeSet<_> = world.receipts.iter().map(|(_, kind)| *kind).collect();
    let used = ReceiptKind::Used { from: START, to: START }.name();
    assert_eq!(kinds, BTreeSet::from(["received", "started", used]));
}

#[test]
fn a_forged_roster_admits_nobody() {
    let mut world = World::new(2, 1, Tariff::FREE);
    world.settle();
    // A slot of another ticket, and one signed by somebody else.
    let other = Identity::from_seed(&[50; 32]);
    let mut foreign = Ledger::new(ticket(other.peer(), 2, Tariff::FREE));
    let slot = foreign.grant(Identity::from_seed(&[51; 32]).peer(), &other, world.now).unwrap();
    let entry = super::RosterEntry {
        contact: Contact { peer: slot.member, name: "x".into(), addresses: vec![] },
        slot: slot.to_signed(),
        state: SeatState::Joined,
    };
    let roster = super::Roster { host: contact(&world.host_identity, "host"), members: vec![entry] };
    let first = world.members[0].as_ref().unwrap().expected();
    world.member(0, MemberInput::Message { first, messages: vec![Message::Roster(Box::new(roster))] });
    assert_eq!(world.members[0].as_ref().unwrap().group().unwrap().len(), 1, "the host alone");
}

#[test]
fn one_slot_for_two_members_is_a_proof_and_the_member_goes() {
    let mut world = World::new(2, 1, Tariff::FREE);
    world.settle();
    let mine = world.members[0].as_ref().unwrap().slot().unwrap().clone();
    let twin = crate::rights::Slot { member: Identity::from_seed(&[60; 32]).peer(), ..(*mine).clone() };
    let twin = sign(&twin, &world.host_identity).unwrap();
    let entry = super::RosterEntry {
        contact: Contact { peer: twin.member, name: "twin".into(), addresses: vec![] },
        slot: twin.to_signed(),
        state: SeatState::Joined,
    };
    let roster = super::Roster { host: contact(&world.host_identity, "host"), members: vec![entry] };
    let member = world.members[0].as_mut().unwrap();
    let (first, me) = (member.expected(), contact(&world.identities[0], "m"));
    let context = MemberContext { identity: &world.identities[0], me: &me, now: world.now };
    let input = MemberInput::Message { first, messages: vec![Message::Roster(Box::new(roster))] };
    let outputs = member.handle(input, &context).unwrap();
    assert!(outputs.iter().any(|output| matches!(output, MemberOutput::Cheat(proof)
        if proof.verify(world.host.ticket()).is_ok())));
    assert_eq!(member.state(), MemberState::Left);
}

#[test]
fn an_answer_that_crosses_a_new_invitation_leaves_nobody_waiting() {
    let mut world = World::new(2, 1, Tariff::FREE);
    let invite = world.parcels.remove(0);
    world.deliver(invite);
    world.member(0, MemberInput::Accept);
    // Before the host hears that, it takes the member out and asks again.
    let peer = world.identities[0].peer();
    world.host(HostInput::Remove(peer)).unwrap();
    world.host(HostInput::Invite(vec![contact(&world.identities[0], "m")])).unwrap();
    world.settle();
    assert_eq!(seat_of(&world, 0), SeatState::Joined);
    assert_eq!(world.members[0].as_ref().unwrap().state(), MemberState::Running);
}

#[test]
fn a_discarded_copy_goes_to_somebody_else() {
    let mut world = World::new(1, 2, Tariff::FREE);
    world.settle();
    let (has, refused) = if seat_of(&world, 0) == SeatState::Joined { (0, 1) } else { (1, 0) };
    assert_eq!(seat_of(&world, refused), SeatState::Refused);
    world.member(has, MemberInput::Discard);
    world.settle();
    assert_eq!((seat_of(&world, has), world.ledger.left()), (SeatState::Left, 1));
    let again = contact(&world.identities[refused], "m");
    world.host(HostInput::Invite(vec![again])).unwrap();
    world.settle();
    assert_eq!(seat_of(&world, refused), SeatState::Joined);
    let slot = world.members[refused].as_ref().unwrap().slot().unwrap().clone();
    assert_eq!((slot.k, slot.generation), (0, 1), "the same copy, passed on");
    let known: Vec<_> = world.members[refused].as_ref().unwrap().roster().map(|entry| entry.state).collect();
    assert_eq!(known.len(), 2, "who has left stays known: {known:?}");
}

#[test]
fn a_copy_that_is_in_use_elsewhere_is_not_taken_back() {
    let mut world = World::new(1, 2, Tariff::FREE);
    world.settle();
    let has = if seat_of(&world, 0) == SeatState::Joined { 0 } else { 1 };
    assert_eq!(world.host.slots_in_use().count(), 1);
    world.elsewhere = world.host.slots_in_use().collect();
    world.member(has, MemberInput::Discard);
    world.settle();
    assert_eq!((seat_of(&world, has), world.ledger.left()), (SeatState::Left, 0));
    assert_eq!(world.host.slots_in_use().count(), 0);
}

#[test]
fn an_invitation_that_nobody_answers_expires() {
    let mut world = World::new(1, 2, Tariff::FREE);
    world.parcels.clear();
    world.tick(super::host::INVITATION_LIFE);
    assert_eq!(seat_of(&world, 0), SeatState::Expired);
}

#[test]
fn who_accepts_too_late_is_told_so() {
    let mut world = World::new(1, 1, Tariff::FREE);
    let invitation = world.parcels.pop().unwrap();
    world.deliver(invitation);
    world.parcels.clear();
    world.now = world.now + (super::host::INVITATION_LIFE - Duration::from_secs(1));
    world.member(0, MemberInput::Accept);
    assert_eq!(world.members[0].as_ref().unwrap().state(), MemberState::Accepted);
    world.now = world.now + Duration::from_secs(1);
    world.host(HostInput::Tick).unwrap();
    assert_eq!(seat_of(&world, 0), SeatState::Expired);
    world.settle();
    let member = world.members[0].as_ref().unwrap();
    assert_eq!((seat_of(&world, 0), member.state()), (SeatState::Expired, MemberState::Refused));
    assert!(member.why().unwrap().contains("expired"), "{:?}", member.why());
    assert_eq!(world.ledger.used(), 0);
}

#[test]
fn an_invitation_expires_on_the_members_side_too() {
    let mut world = World::new(1, 1, Tariff::FREE);
    let invitation = world.parcels.pop().unwrap();
    world.deliver(invitation);
    let due = world.members[0].as_ref().unwrap().due().unwrap();
    assert_eq!(due, START + super::host::INVITATION_LIFE);
    world.now = due;
    world.member(0, MemberInput::Tick);
    assert_eq!(world.members[0].as_ref().unwrap().state(), MemberState::Expired);
    let again = contact(&world.identities[0], "m");
    world.host(HostInput::Tick).unwrap();
    world.host(HostInput::Invite(vec![again])).unwrap();
    world.settle();
    assert_eq!(seat_of(&world, 0), SeatState::Joined, "and can be renewed");
}

#[test]
fn no_invitation_is_good_for_longer_than_hosts_make_them() {
    let world = World::new(1, 1, Tariff::FREE);
    let Parcel::ToMember(_, _, mut messages) = world.parcels[0].clone() else { panic!("an invitation") };
    let Message::Invite(invitation) = &mut messages[0] else { panic!("an invitation") };
    invitation.expires = Timestamp(u64::MAX);
    let member = Member::invited(SESSION, world.host_identity.peer(), &messages, START).unwrap();
    assert_eq!(member.invitation().expires, START + super::host::INVITATION_LIFE);
}

#[test]
fn who_was_out_of_reach_until_the_invitation_expired_can_be_invited_again() {
    let mut world = World::new(1, 1, Tariff::FREE);
    world.parcels.clear();
    world.tick(super::host::INVITATION_LIFE);
    world.parcels.clear();
    let again = contact(&world.identities[0], "m");
    world.host(HostInput::Invite(vec![again])).unwrap();
    world.settle();
    assert_eq!(seat_of(&world, 0), SeatState::Joined);
}

#[test]
fn a_node_that_wants_nothing_of_a_session_is_left_alone_until_it_is_invited_again() {
    let mut world = World::new(1, 1, Tariff::FREE);
    world.parcels.clear();
    let from = world.identities[0].peer();
    let why = format!("no\u{7} {}", "x".repeat(10_000));
    world.host(HostInput::Rejected { from, why }).unwrap();
    let seat = &world.host.seats()[&from];
    let why = seat.why.as_ref().unwrap();
    assert_eq!(seat.state, SeatState::Failed);
    assert!(why.len() <= crate::wire::MAX_REASON && !why.contains('\u{7}'), "{why}");
    assert_eq!(world.host.due(), None, "nothing is sent again");
    world.host(HostInput::End).unwrap();
    assert!(world.host.is_settled());

    let mut world = World::new(1, 1, Tariff::FREE);
    world.settle();
    // It lost its home, and comes back as if it had never been there.
    world.members[0] = None;
    world.host(HostInput::Rejected { from, why: "unknown".into() }).unwrap();
    let again = contact(&world.identities[0], "m");
    world.host(HostInput::Invite(vec![again])).unwrap();
    world.settle();
    assert_eq!((seat_of(&world, 0), world.ledger.used()), (SeatState::Joined, 1), "with its old slot");
}

#[test]
fn members_out_of_reach_do_not_miss_their_place_while_the_others_come_and_go() {
    let mut world = World::new(2, 2, Tariff::FREE);
    world.settle();
    for _ in 0..2 * super::MAX_IN_FLIGHT {
        world.member(0, MemberInput::Suspend);
        world.member(0, MemberInput::Resume);
        // Nothing reaches member 1.
        while let Some(parcel) = world.parcels.pop() {
            if !matches!(parcel, Parcel::ToMember(1, ..)) {
                world.deliver(parcel);
            }
        }
        world.tick(Duration::from_secs(31));
    }
    assert_eq!(seat_of(&world, 1), SeatState::Joined);
    world.host(HostInput::End).unwrap();
    world.settle();
    assert_eq!(world.members[1].as_ref().unwrap().state(), MemberState::Ended);
}

#[test]
fn who_gave_its_copy_back_is_not_in_the_group_beside_the_one_who_has_it_now() {
    let mut world = World::new(2, 1, Tariff::FREE);
    world.settle();
    // A host and a member that play together: the release is real, and the roster still says "joined".
    let [before, after] = [61, 62].map(|seed| Identity::from_seed(&[seed; 32]));
    let mut ledger = world.ledger.clone();
    let old = ledger.grant(before.peer(), &world.host_identity, world.now).unwrap();
    let (ticket, slot, k, generation) = (old.ticket, old.hash(), old.k, old.generation);
    let release =
        crate::rights::Release { ticket, slot, k, generation, member: before.peer(), released_at: world.now };
    ledger.release(sign(&release, &before).unwrap().to_signed()).unwrap();
    let new = ledger.grant(after.peer(), &world.host_identity, world.now).unwrap();
    let members = [(&old, &before), (&new, &after)].map(|(slot, identity)| super::RosterEntry {
        slot: slot.to_signed(),
        contact: contact(identity, "x"),
        state: SeatState::Joined,
    });
    let roster = super::Roster { host: contact(&world.host_identity, "host"), members: members.into() };
    let first = world.members[0].as_ref().unwrap().expected();
    world.member(0, MemberInput::Message { first, messages: vec![Message::Roster(Box::new(roster))] });
    let group: Vec<_> =
        world.members[0].as_ref().unwrap().group().unwrap().iter().map(|contact| contact.peer).collect();
    assert_eq!(group, [world.host_identity.peer(), after.peer()]);
}

#[test]
fn suspended_by_the_host_everyone_pauses_and_goes_on() {
    let mut world = World::new(1, 1, Tariff::FREE);
    world.settle();
    world.host(HostInput::Suspend).unwrap();
    world.settle();
    assert!(!world.host.runs() && !world.members[0].as_ref().unwrap().runs());
    world.host(HostInput::Resume).unwrap();
    world.settle();
    assert!(world.host.runs() && world.members[0].as_ref().unwrap().runs());
}

#[test]
fn removed_means_out_of_the_group_at_once() {
    let mut world = World::new(2, 2, Tariff::FREE);
    world.settle();
    let gone = world.identities[0].peer();
    world.host(HostInput::Remove(gone)).unwrap();
    assert_eq!(world.host.group().unwrap().len(), 1);
    world.settle();
    assert_eq!(world.members[0].as_ref().unwrap().state(), MemberState::Removed);
    assert_eq!(world.members[1].as_ref().unwrap().group().unwrap().len(), 1, "the host alone");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens on the way: never more than N slots, and every run ends in a final state.
    #[test]
    fn chaos_ends_in_order(
        copies in 1u32..4,
        members in 1usize..5,
        steps in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..200),
    ) {
        let mut world = World::new(copies, members, Tariff::FREE);
        for (what, which) in steps {
            world.chaos(what, which);
        }
        // It may not be suspended at all.
        let _ = world.host(HostInput::Resume);
        world.settle();
        for i in 0..members {
            let (seat, member) = (seat_of(&world, i), world.members[i].as_ref().unwrap());
            let agree = matches!(
                (seat, member.state()),
                (SeatState::Joined, MemberState::Running)
                    | (SeatState::Ready, MemberState::Ready)
                    | (SeatState::Declined, MemberState::Declined)
                    // It may have left before it heard that there was no copy.
                    | (SeatState::Refused, MemberState::Refused | MemberState::Left)
                    | (SeatState::Left, MemberState::Left)
            );
            prop_assert!(agree, "host: {seat:?}, member: {:?}", member.state());
        }
        world.host(HostInput::End).unwrap();
        world.settle();
        prop_assert!(world.host.is_settled());
        for member in world.members.iter().flatten() {
            prop_assert!(member.state().is_final() && member.due().is_none());
        }
    }
}
