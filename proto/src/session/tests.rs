//! Host and members against one another, through loss, duplication, reordering and crashes at every step.
//!
//! A world is one host with a ticket and some members. What they send lies in a heap from which anything may
//! be delivered, twice or never. A crash throws away whatever was not in the machine's snapshot, outputs of
//! the last step included, and loads the snapshot.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;

use super::{
    Acceptance, Contact, Context, DeclineReason, Host, HostState, Input, Member, MemberState, Membership,
    Message, Output, Randomness, Role, SeatState, StepError, TAKEOVER, VoteRequest, VoteResponse,
    election::RequestEffect,
};
use crate::{
    billing::Tariff,
    group::keys::{GroupKeys, KeyOffer},
    identity::{Identity, PeerId},
    ids::{ProgramId, SessionId, SlotHash},
    rights::{Ledger, ReceiptKind, Signed, Slot, Terms, Ticket, Verified, sign},
    time::Timestamp,
    wire::CommitsResponse,
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

/// Something under way, from one node to another.
#[derive(Clone)]
struct Parcel {
    from: usize,
    to: usize,
    load: Load,
}

#[derive(Clone)]
enum Load {
    Messages { term: u32, first: u64, messages: Vec<Message> },
    Taken { term: u32, next: u64 },
    Pull { after: u64 },
    Commits(CommitsResponse),
    Ask(VoteRequest),
    Vote(VoteResponse),
}

/// The host's number among the nodes, after all members.
const HOST: usize = usize::MAX;

struct World {
    now: Timestamp,
    host_identity: Identity,
    identities: Vec<Identity>,
    host: Role,
    /// Each node's book of the ticket, of those that have one.
    ledgers: BTreeMap<usize, Ledger>,
    /// Slots in use in other sessions.
    elsewhere: BTreeSet<SlotHash>,
    members: Vec<Option<Role>>,
    parcels: Vec<Parcel>,
    /// By whom, and what: as a billing peer would count.
    receipts: BTreeSet<(PeerId, &'static str)>,
    /// Which slots were given back, and which nodes tell a billing peer so.
    given_back: BTreeSet<(usize, SlotHash)>,
    ever_granted: BTreeMap<PeerId, (u32, u32)>,
    /// Nodes that are switched off.
    down: BTreeSet<usize>,
    /// The newest keys that each node was told to use.
    entered: BTreeMap<usize, Arc<GroupKeys>>,
    steps: u64,
    /// Those of them that requests for a vote took.
    steps_by_request: u64,
}

impl World {
    fn new(copies: u32, members: usize, tariff: Tariff) -> Self {
        let host_identity = Identity::from_seed(&[100; 32]);
        let ticket = ticket(host_identity.peer(), copies, tariff);
        let host = Host::new(SESSION, ticket.clone(), "1".into(), 1000, TAKEOVER);
        let mut world = Self {
            now: START,
            host: Role::Host(Box::new(host)),
            ledgers: BTreeMap::from([(HOST, Ledger::new(ticket))]),
            elsewhere: BTreeSet::new(),
            host_identity,
            identities: (0..members).map(|i| Identity::from_seed(&[i as u8 + 1; 32])).collect(),
            members: vec![None; members],
            parcels: Vec::new(),
            receipts: BTreeSet::new(),
            given_back: BTreeSet::new(),
            ever_granted: BTreeMap::new(),
            down: BTreeSet::new(),
            entered: BTreeMap::new(),
            steps: 0,
            steps_by_request: 0,
        };
        let invited = world.identities.iter().map(|identity| contact(identity, "m")).collect();
        world.tell_host(Input::Invite(invited)).unwrap();
        world
    }

    fn identity(&self, node: usize) -> &Identity {
        self.identities.get(node).unwrap_or(&self.host_identity)
    }

    fn node_of(&self, peer: PeerId) -> usize {
        self.identities.iter().position(|identity| identity.peer() == peer).unwrap_or(HOST)
    }

    /// What a node is in the session, if it has heard of it.
    fn role(&self, node: usize) -> Option<&Role> {
        self.members.get(node).map_or(Some(&self.host), Option::as_ref)
    }

    /// The first host's book.
    fn ledger(&self) -> &Ledger {
        &self.ledgers[&HOST]
    }

    /// The first host's machine, as long as it is host.
    fn host(&self) -> &Host {
        self.host.as_host().unwrap()
    }

    /// By which a member is in the session.
    fn membership(&self, i: usize) -> Option<Signed<Membership>> {
        let me = self.identities[i].peer();
        let entry = self.host.as_host()?.seats().get(&me)?;
        membership(self, entry.slot()?)
    }

    fn member(&self, i: usize) -> &Member {
        self.members[i].as_ref().unwrap().as_member().unwrap()
    }

    fn tell_host(&mut self, input: Input) -> Result<(), StepError> {
        self.step(HOST, input)
    }

    /// A user's wish out of season is refused; that is no failure here.
    fn tell(&mut self, i: usize, input: Input) {
        self.step(i, input).unwrap_or_default();
    }

    fn step(&mut self, node: usize, input: Input) -> Result<(), StepError> {
        for output in self.try_step(node, input)? {
            self.carry_out(node, output);
        }
        self.check();
        Ok(())
    }

    /// A member hears something, and what it would do then is looked at instead of done.
    fn hears(&mut self, i: usize, input: Input) -> Vec<Output> {
        self.try_step(i, input).unwrap()
    }

    fn try_step(&mut self, node: usize, input: Input) -> Result<Vec<Output>, StepError> {
        if self.down.contains(&node) {
            return Ok(Vec::new());
        }
        let Some(mut role) = self.role(node).cloned() else { return Ok(Vec::new()) };
        self.steps += 1;
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&self.steps.to_be_bytes());
        let me = contact(self.identity(node), if node == HOST { "host" } else { "m" });
        let mut ledger = self.ledgers.get(&node).cloned();
        let mut context = Context {
            identity: self.identity(node),
            me: &me,
            now: self.now,
            random: Randomness::new(seed),
            ledger: &mut ledger,
            elsewhere: &self.elsewhere,
            billing: &[],
        };
        let outputs = role.handle(input, &mut context)?;
        if let Some(ledger) = ledger {
            self.ledgers.insert(node, ledger);
        }
        if node == HOST {
            self.host = role
        } else {
            self.members[node] = Some(role)
        }
        Ok(outputs)
    }

    fn carry_out(&mut self, from: usize, output: Output) {
        match output {
            Output::Send { to, term, first, messages } => {
                let to = self.node_of(to);
                self.parcels.push(Parcel { from, to, load: Load::Messages { term, first, messages } });
            }
            Output::Receipt(item) => {
                self.receipts.insert((item.1.member, item.1.kind.name()));
            }
            Output::Released(item) => {
                assert!(item.0.slot().is_some_and(|slot| item.1.gives_back(slot)));
                self.given_back.insert((from, item.1.slot));
            }
            Output::Cheat(_) => panic!("an honest host is never proven a cheat"),
            Output::Refused { .. } => {}
            Output::Entered(keys) => {
                let before = self.entered.insert(from, Arc::clone(&keys));
                assert!(before.is_none_or(|before| before.epoch() < keys.epoch()), "keys only go on");
            }
            Output::PullCommits { after, ahead } => {
                let host = self.role(from).unwrap().as_member().unwrap().host().peer;
                let others = self.role(from).unwrap().group().unwrap();
                let up = |peer: &PeerId| !self.down.contains(&self.node_of(*peer));
                let others = others.iter().map(|contact| contact.peer).filter(|peer| *peer != host);
                if let Some(to) = std::iter::once(host).chain(ahead).chain(others).find(up) {
                    self.parcels.push(Parcel { from, to: self.node_of(to), load: Load::Pull { after } });
                }
            }
            Output::AskVote { of, request } => {
                self.parcels.push(Parcel { from, to: self.node_of(of), load: Load::Ask(request) });
            }
        }
    }

    /// The invariants of every moment.
    fn check(&mut self) {
        let used: u32 = self.ledgers.values().map(Ledger::used).sum();
        assert!(used <= self.host.ticket().copies, "more slots than copies");
        for slot in self.ledgers.values().flat_map(Ledger::slots) {
            let place = (slot.k, slot.generation);
            let before = *self.ever_granted.entry(slot.member).or_insert(place);
            assert_eq!(before, place, "a member's slot changed, though it was not given back");
        }
        let ledgers = &self.ledgers;
        self.ever_granted
            .retain(|member, _| ledgers.values().any(|ledger| ledger.slot_of(*member).is_some()));
        let with_program = |role: &&Role| role.as_member().is_some_and(|member| member.slot().is_some());
        let holders = self.members.iter().flatten().filter(with_program).count();
        assert!(holders <= self.host.ticket().copies as usize, "more copies out than approved");
    }

    fn deliver(&mut self, parcel: Parcel) {
        let Parcel { from: sender, to, load } = parcel;
        if self.down.contains(&to) || self.down.contains(&sender) {
            return;
        }
        let from = self.identity(sender).peer();
        let answer = match load {
            Load::Messages { term, first, messages } => {
                if self.role(to).is_none() {
                    if first != 0 {
                        return;
                    }
                    let me = self.identity(to).peer();
                    let member = Member::invited(SESSION, me, from, term, &messages, self.now).unwrap();
                    self.members[to] = Some(Role::Member(Box::new(member)));
                }
                self.step(to, Input::Message { from, term, first, messages }).unwrap();
                let next = self.role(to).unwrap().expected_of(from, term);
                next.map(|next| Load::Taken { term, next })
            }
            Load::Taken { term, next } => {
                self.step(to, Input::Taken { from, term, next }).unwrap();
                None
            }
            Load::Pull { after } => self.role(to).map(|role| Load::Commits(role.commits_after(from, after))),
            Load::Commits(answer) => {
                self.step(to, Input::Commits { from, answer }).unwrap();
                None
            }
            Load::Ask(request) => Some(Load::Vote(self.ask(to, from, &request))),
            Load::Vote(answer) => {
                self.step(to, Input::VoteAnswered { from, answer }).unwrap();
                None
            }
        };
        if let Some(load) = answer {
            self.parcels.push(Parcel { from: to, to: sender, load });
        }
    }

    /// Somebody asks a node for its vote, as whoever drives a session does it.
    fn ask(&mut self, node: usize, from: PeerId, request: &VoteRequest) -> VoteResponse {
        let (me, now) = (self.identity(node).peer(), self.now);
        let role = if node == HOST { Some(&mut self.host) } else { self.members[node].as_mut() };
        match role.map_or(RequestEffect::Stranger, |role| role.weigh(me, from, request, now)) {
            RequestEffect::Stranger => return VoteResponse::UNKNOWN,
            RequestEffect::Answer => {}
            RequestEffect::Step => {
                self.steps_by_request += 1;
                self.step(node, Input::VoteAsked { from, request: request.clone() }).unwrap();
            }
        }
        self.role(node).unwrap().vote_for(me, from, request, now)
    }

    fn everyone(&self) -> Vec<usize> {
        (0..self.members.len()).chain([HOST]).collect()
    }

    fn deliver_all(&mut self) {
        while let Some(parcel) = self.parcels.pop() {
            self.deliver(parcel);
        }
    }

    /// Hosts say that they are there, to whoever is up and hears them.
    fn beacons(&mut self, hears: impl Fn(usize, usize) -> bool) {
        let present: BTreeSet<PeerId> = self
            .everyone()
            .iter()
            .filter(|i| !self.down.contains(i))
            .map(|i| self.identity(*i).peer())
            .collect();
        let is_up_host =
            |i: &usize| !self.down.contains(i) && self.role(*i).is_some_and(|r| r.as_host().is_some());
        let hosts: Vec<_> = self.everyone().into_iter().filter(is_up_host).collect();
        let hosts: Vec<_> =
            hosts.iter().map(|i| (*i, self.identity(*i).peer(), self.role(*i).unwrap().term())).collect();
        for node in self.everyone().into_iter().filter(|i| !self.down.contains(i)).collect::<Vec<_>>() {
            let role = if node == HOST { Some(&mut self.host) } else { self.members[node].as_mut() };
            let Some(role) = role else { continue };
            role.set_present(present.clone());
            for (_, host, term) in hosts.iter().filter(|(host, ..)| hears(*host, node)) {
                role.host_heard(*host, *term, self.now);
            }
        }
    }

    fn tick(&mut self, by: Duration) {
        self.tick_apart(by, |_| true);
    }

    /// The same, while only those of one side hear one another.
    fn tick_apart(&mut self, by: Duration, side: impl Fn(usize) -> bool) {
        self.now = self.now + by;
        self.beacons(|from, to| side(from) == side(to));
        for node in self.everyone() {
            self.step(node, Input::Tick).unwrap();
        }
    }

    /// Through the store and back: what a kill leaves.
    fn crash(&mut self, node: usize) {
        fn reload<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
            cbor4ii::serde::from_slice(&cbor4ii::serde::to_vec(Vec::new(), value).unwrap()).unwrap()
        }
        if let Some(ledger) = self.ledgers.get_mut(&node) {
            *ledger = reload(ledger);
        }
        if node >= self.members.len() {
            self.host = reload(&self.host);
            self.tell_host(Input::Restarted).unwrap();
        } else if let Some(member) = &self.members[node] {
            self.members[node] = Some(reload(member));
            self.tell(node, Input::Restarted);
        }
    }

    /// Whether all these nodes have the same keys, and nobody else is in them.
    fn agree(&self, nodes: &[usize]) {
        let keys: Vec<_> = nodes.iter().map(|i| self.role(*i).unwrap().keys().expect("keys")).collect();
        let peers: BTreeSet<_> = nodes.iter().map(|i| self.identity(*i).peer()).collect();
        for (node, own) in nodes.iter().zip(&keys) {
            assert_eq!(own.epoch(), keys[0].epoch(), "node {node}");
            assert_eq!(own.members().keys().copied().collect::<BTreeSet<_>>(), peers, "node {node}");
            assert_eq!(self.entered[node].epoch(), own.epoch(), "node {node} was told");
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
            (10, _) => self.tell(i, Input::Accept),
            (11, _) => self.tell(i, Input::Received),
            (12, _) if which < 40 => self.tell(i, Input::Suspend),
            (13, _) => self.tell(i, Input::Resume),
            (14, _) if which < 20 => self.tell(i, Input::Leave),
            (14, _) if which > 235 => self.tell(i, Input::Discard),
            (14, _) if which < 40 => self.tell(i, Input::Decline(DeclineReason::User)),
            // Refusals (already running, not suspended…) are fine.
            (14, _) if which < 60 => self.tell_host(Input::Suspend).unwrap_or_default(),
            (15, _) if which < 120 => self.tell_host(Input::Resume).unwrap_or_default(),
            (15, _) if which < 140 => self.tell_host(Input::Start).unwrap_or_default(),
            _ => {}
        }
    }

    /// The network heals, everybody does what is up to them, until nothing moves.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.deliver_all();
            for i in 0..self.members.len() {
                self.tell(i, Input::Resume);
                self.tell(i, Input::Accept);
                self.tell(i, Input::Received);
            }
            self.tick(Duration::from_secs(31));
            if self.parcels.is_empty() {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

/// The first host's word that whoever has this slot is a member of the session.
fn membership(world: &World, slot: &Verified<Slot>) -> Option<Signed<Membership>> {
    let (host, at) = (world.host_identity.peer(), world.now);
    let membership = Membership { session: SESSION, host, member: slot.member, slot: slot.hash(), at };
    Some(sign(&membership, &world.host_identity).unwrap().to_signed())
}

/// A roster as the host would send it.
fn roster(world: &World, members: Vec<super::RosterEntry>) -> super::Roster {
    let host = contact(&world.host_identity, "host");
    let former_hosts = Vec::new();
    super::Roster {
        term: 0,
        host,
        host_slot: None,
        host_membership: None,
        former_hosts,
        takeover: TAKEOVER,
        members,
    }
}

/// A message of the host's, at the member.
fn from_host(world: &World, i: usize, message: Message) -> Input {
    let first = world.member(i).expected();
    Input::Message { from: world.host_identity.peer(), term: 0, first, messages: vec![message] }
}

fn seat_of(world: &World, i: usize) -> SeatState {
    world.host().seats()[&world.identities[i].peer()].state
}

#[test]
fn the_plain_way() {
    let mut world = World::new(2, 2, Tariff::FREE);
    world.settle();
    assert_eq!(world.host().state(), HostState::Running, "it starts by itself once all are ready");
    for i in 0..2 {
        assert_eq!(seat_of(&world, i), SeatState::Joined);
        let member = world.member(i);
        assert!(member.runs());
        assert_eq!(member.group().unwrap().len(), 2, "the host and the other member");
        assert_eq!(member.roster().count(), 2);
    }
    assert_eq!(world.receipts.len(), 2, "one reception each; the host's own belongs to its supply");
    world.tell_host(Input::End).unwrap();
    world.settle();
    assert!(world.host().is_settled());
    assert!((0..2).all(|i| world.member(i).state() == MemberState::Ended));
}

#[test]
fn an_eager_program_starts_with_the_first_that_is_ready() {
    for is_eager in [false, true] {
        let mut world = World::new(2, 2, Tariff::FREE);
        world.host = Role::Host(Box::new(world.host().clone().eager(is_eager)));
        world.crash(HOST);
        world.deliver_all();
        for input in [Input::Accept, Input::Received] {
            world.tell(0, input);
            world.deliver_all();
        }
        assert_eq!(seat_of(&world, 1), SeatState::Invited);
        assert_eq!(world.host().state() == HostState::Running, is_eager);
        assert_eq!(world.member(0).runs(), is_eager);
        world.settle();
        assert!((0..2).all(|i| world.member(i).runs()), "late ones come in");
    }
}

#[test]
fn one_more_than_there_are_copies_is_refused_and_told_why() {
    let mut world = World::new(2, 3, Tariff::FREE);
    world.settle();
    let refused: Vec<_> = (0..3).filter(|i| seat_of(&world, *i) == SeatState::Refused).collect();
    assert_eq!(refused.len(), 1);
    let member = world.member(refused[0]);
    assert_eq!(member.state(), MemberState::Refused);
    assert!(member.why().unwrap().contains("no copies left"), "{:?}", member.why());
    assert_eq!(world.host().state(), HostState::Running, "the others are not held up");
}

#[test]
fn who_is_not_invited_gets_nothing() {
    let mut world = World::new(2, 1, Tariff::FREE);
    let stranger = Identity::from_seed(&[77; 32]);
    let package = KeyOffer::new(&stranger, &[3; 32]).unwrap().package().to_vec();
    let acceptance = Acceptance { contact: contact(&stranger, "stranger"), package };
    let (from, messages) = (stranger.peer(), vec![Message::Accept(Box::new(acceptance))]);
    world.tell_host(Input::Message { from, term: 0, first: 0, messages }).unwrap();
    assert_eq!(world.ledger().used(), 0);
    assert_eq!(world.host().expected_of(stranger.peer()), None);
    assert_eq!(world.host().keys().unwrap().members().len(), 1, "the host alone");
}

#[test]
fn uses_and_minutes_are_reported_only_where_they_are_charged() {
    let mut world = World::new(1, 1, "use=1EUR,minute=1EUR".parse().unwrap());
    world.settle();
    world.tell_host(Input::End).unwrap();
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
        membership: membership(&world, &slot),
        slot: Some(slot.to_signed()),
        state: SeatState::Joined,
        gave_back: false,
    };
    let roster = roster(&world, vec![entry]);
    world.tell(0, from_host(&world, 0, Message::Roster(Box::new(roster))));
    assert_eq!(world.member(0).group().unwrap().len(), 1, "the host alone");
}

#[test]
fn one_slot_for_two_members_is_a_proof_and_the_member_goes() {
    let mut world = World::new(2, 1, Tariff::FREE);
    world.settle();
    let mine = world.member(0).slot().unwrap().clone();
    let twin = crate::rights::Slot { member: Identity::from_seed(&[60; 32]).peer(), ..(*mine).clone() };
    let twin = sign(&twin, &world.host_identity).unwrap();
    let entry = super::RosterEntry {
        contact: Contact { peer: twin.member, name: "twin".into(), addresses: vec![] },
        slot: Some(twin.to_signed()),
        membership: membership(&world, &twin),
        state: SeatState::Joined,
        gave_back: false,
    };
    let roster = roster(&world, vec![entry]);
    let input = from_host(&world, 0, Message::Roster(Box::new(roster)));
    let outputs = world.hears(0, input);
    assert!(outputs.iter().any(|output| matches!(output, Output::Cheat(proof)
        if proof.verify(world.host().ticket()).is_ok())));
    assert_eq!(world.member(0).state(), MemberState::Left);
}

#[test]
fn an_answer_that_crosses_a_new_invitation_leaves_nobody_waiting() {
    let mut world = World::new(2, 1, Tariff::FREE);
    let invite = world.parcels.remove(0);
    world.deliver(invite);
    world.tell(0, Input::Accept);
    // Before the host hears that, it takes the member out and asks again.
    let peer = world.identities[0].peer();
    world.tell_host(Input::Remove(peer)).unwrap();
    world.tell_host(Input::Invite(vec![contact(&world.identities[0], "m")])).unwrap();
    world.settle();
    assert_eq!(seat_of(&world, 0), SeatState::Joined);
    assert_eq!(world.member(0).state(), MemberState::Running);
}

#[test]
fn a_discarded_copy_goes_to_somebody_else() {
    let mut world = World::new(1, 2, Tariff::FREE);
    world.settle();
    let (has, refused) = if seat_of(&world, 0) == SeatState::Joined { (0, 1) } else { (1, 0) };
    assert_eq!(seat_of(&world, refused), SeatState::Refused);
    world.tell(has, Input::Discard);
    world.settle();
    assert_eq!((seat_of(&world, has), world.ledger().left()), (SeatState::Left, 1));
    let tellers: Vec<_> = world.given_back.iter().map(|(node, _)| *node).collect();
    assert_eq!(
        tellers,
        [has, HOST],
        "billing hears of it from whoever gave it back, and from whoever took it"
    );
    let again = contact(&world.identities[refused], "m");
    world.tell_host(Input::Invite(vec![again])).unwrap();
    world.settle();
    assert_eq!(seat_of(&world, refused), SeatState::Joined);
    let slot = world.member(refused).slot().unwrap().clone();
    assert_eq!((slot.k, slot.generation), (0, 1), "the same copy, passed on");
    let known: Vec<_> = world.member(refused).roster().map(|entry| entry.state).collect();
    assert_eq!(known.len(), 2, "who has left stays known: {known:?}");
}

#[test]
fn a_copy_that_is_in_use_elsewhere_is_not_taken_back() {
    let mut world = World::new(1, 2, Tariff::FREE);
    world.settle();
    let has = if seat_of(&world, 0) == SeatState::Joined { 0 } else { 1 };
    assert_eq!(world.host().slots_in_use().count(), 1);
    world.elsewhere = world.host().slots_in_use().collect();
    world.tell(has, Input::Discard);
    world.settle();
    assert_eq!((seat_of(&world, has), world.ledger().left()), (SeatState::Left, 0));
    assert_eq!(world.host().slots_in_use().count(), 0);
    assert!(
        !world.given_back.iter().any(|(node, _)| *node == HOST),
        "what was not taken back is not said to be"
    );
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
    world.tell(0, Input::Accept);
    assert_eq!(world.member(0).state(), MemberState::Accepted);
    world.now = world.now + Duration::from_secs(1);
    world.tell_host(Input::Tick).unwrap();
    assert_eq!(seat_of(&world, 0), SeatState::Expired);
    world.settle();
    let member = world.member(0);
    assert_eq!((seat_of(&world, 0), member.state()), (SeatState::Expired, MemberState::Refused));
    assert!(member.why().unwrap().contains("expired"), "{:?}", member.why());
    assert_eq!(world.ledger().used(), 0);
}

#[test]
fn an_invitation_expires_on_the_members_side_too() {
    let mut world = World::new(1, 1, Tariff::FREE);
    let invitation = world.parcels.pop().unwrap();
    world.deliver(invitation);
    let due = world.member(0).due().unwrap();
    assert_eq!(due, START + super::host::INVITATION_LIFE);
    world.now = due;
    world.tell(0, Input::Tick);
    assert_eq!(world.member(0).state(), MemberState::Expired);
    let again = contact(&world.identities[0], "m");
    world.tell_host(Input::Tick).unwrap();
    world.tell_host(Input::Invite(vec![again])).unwrap();
    world.settle();
    assert_eq!(seat_of(&world, 0), SeatState::Joined, "and can be renewed");
}

#[test]
fn no_invitation_is_good_for_longer_than_hosts_make_them() {
    let world = World::new(1, 1, Tariff::FREE);
    let Load::Messages { mut messages, .. } = world.parcels[0].load.clone() else { panic!("an invitation") };
    let Message::Invite(invitation) = &mut messages[0] else { panic!("an invitation") };
    invitation.expires = Timestamp(u64::MAX);
    let (me, host) = (world.identities[0].peer(), world.host_identity.peer());
    let member = Member::invited(SESSION, me, host, 0, &messages, START).unwrap();
    assert_eq!(member.invitation().expires, START + super::host::INVITATION_LIFE);
}

#[test]
fn who_was_out_of_reach_until_the_invitation_expired_can_be_invited_again() {
    let mut world = World::new(1, 1, Tariff::FREE);
    world.parcels.clear();
    world.tick(super::host::INVITATION_LIFE);
    world.parcels.clear();
    let again = contact(&world.identities[0], "m");
    world.tell_host(Input::Invite(vec![again])).unwrap();
    world.settle();
    assert_eq!(seat_of(&world, 0), SeatState::Joined);
}

#[test]
fn a_node_that_wants_nothing_of_a_session_is_left_alone_until_it_is_invited_again() {
    let mut world = World::new(1, 1, Tariff::FREE);
    world.parcels.clear();
    let from = world.identities[0].peer();
    let why = format!("no\u{7} {}", "x".repeat(10_000));
    world.tell_host(Input::Rejected { from, term: 0, why }).unwrap();
    let seat = &world.host().seats()[&from];
    let why = seat.why.as_ref().unwrap();
    assert_eq!(seat.state, SeatState::Failed);
    assert!(why.len() <= crate::wire::MAX_REASON && !why.contains('\u{7}'), "{why}");
    assert_eq!(world.host().due(), None, "nothing is sent again");
    world.tell_host(Input::End).unwrap();
    assert!(world.host().is_settled());

    let mut world = World::new(1, 1, Tariff::FREE);
    world.settle();
    // It lost its home, and comes back as if it had never been there.
    world.members[0] = None;
    world.tell_host(Input::Rejected { from, term: 0, why: "unknown".into() }).unwrap();
    let again = contact(&world.identities[0], "m");
    world.tell_host(Input::Invite(vec![again])).unwrap();
    world.settle();
    assert_eq!((seat_of(&world, 0), world.ledger().used()), (SeatState::Joined, 1), "with its old slot");
}

#[test]
fn members_out_of_reach_do_not_miss_their_place_while_the_others_come_and_go() {
    let mut world = World::new(2, 2, Tariff::FREE);
    world.settle();
    for _ in 0..2 * super::MAX_IN_FLIGHT {
        world.tell(0, Input::Suspend);
        world.tell(0, Input::Resume);
        // Nothing reaches member 1.
        while let Some(parcel) = world.parcels.pop() {
            if parcel.to != 1 {
                world.deliver(parcel);
            }
        }
        world.tick(Duration::from_secs(31));
    }
    assert_eq!(seat_of(&world, 1), SeatState::Joined);
    world.tell_host(Input::End).unwrap();
    world.settle();
    assert_eq!(world.member(1).state(), MemberState::Ended);
}

#[test]
fn who_gave_its_copy_back_is_not_in_the_group_beside_the_one_who_has_it_now() {
    let mut world = World::new(2, 1, Tariff::FREE);
    world.settle();
    // A host and a member that play together: the release is real, and the roster still says "joined".
    let [before, after] = [61, 62].map(|seed| Identity::from_seed(&[seed; 32]));
    let mut ledger = world.ledger().clone();
    let old = ledger.grant(before.peer(), &world.host_identity, world.now).unwrap();
    let (ticket, slot, k, generation) = (old.ticket, old.hash(), old.k, old.generation);
    let release =
        crate::rights::Release { ticket, slot, k, generation, member: before.peer(), released_at: world.now };
    ledger.release(sign(&release, &before).unwrap().to_signed()).unwrap();
    let new = ledger.grant(after.peer(), &world.host_identity, world.now).unwrap();
    let members = [(&old, &before), (&new, &after)].map(|(slot, identity)| super::RosterEntry {
        slot: Some(slot.to_signed()),
        membership: membership(&world, slot),
        contact: contact(identity, "x"),
        state: SeatState::Joined,
        gave_back: false,
    });
    let roster = roster(&world, members.into());
    world.tell(0, from_host(&world, 0, Message::Roster(Box::new(roster))));
    let group: Vec<_> = world.member(0).group().unwrap().iter().map(|contact| contact.peer).collect();
    assert_eq!(group, [world.host_identity.peer(), after.peer()]);
}

#[test]
fn suspended_by_the_host_everyone_pauses_and_goes_on() {
    let mut world = World::new(1, 1, Tariff::FREE);
    world.settle();
    world.tell_host(Input::Suspend).unwrap();
    world.settle();
    assert!(!world.host().runs() && !world.member(0).runs());
    world.tell_host(Input::Resume).unwrap();
    world.settle();
    assert!(world.host().runs() && world.member(0).runs());
}

#[test]
fn removed_means_out_of_the_group_at_once() {
    let mut world = World::new(2, 2, Tariff::FREE);
    world.settle();
    let gone = world.identities[0].peer();
    world.tell_host(Input::Remove(gone)).unwrap();
    assert_eq!(world.host().group().unwrap().len(), 1);
    world.settle();
    assert_eq!(world.member(0).state(), MemberState::Removed);
    assert_eq!(world.member(1).group().unwrap().len(), 1, "the host alone");
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
        let _ = world.tell_host(Input::Resume);
        world.settle();
        for i in 0..members {
            let (seat, member) = (seat_of(&world, i), world.member(i));
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
        world.tell_host(Input::End).unwrap();
        world.settle();
        prop_assert!(world.host().is_settled());
        for role in world.members.iter().flatten() {
            prop_assert!(role.is_settled());
        }
    }
}

mod keys;
mod links;
mod membership;
mod poll;
mod succession;
