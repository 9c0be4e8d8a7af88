//! Whole nodes in a running session, and somebody among them or beside them who plays by no rules. Each attack comes
//! to nothing, and leaves a trace in the log.
//!
//! The rogue is made of real pieces: a network of its own, a key of its own or that of a member which it was until
//! just now, with that one's slot and keys; and messages made by hand. (The gate and the seal by themselves, against
//! bytes that no network of ours would send, are tested where they are.)

mod claims;
mod hosts;
mod log;
mod members;
mod outsiders;
mod removed;
mod strangers;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use parlor_proto::{
    group::{
        Heads, Update, UpdatesRequest, UpdatesResponse,
        keys::GroupKeys,
        lanes::{Lane, Lanes},
    },
    identity::Identity,
    ids::UpdateHash,
    rights::{Slot, Verified, sign},
    session::{Member, Message, Role, VoteRequest, VoteResponse, election::Standing},
    time::Timestamp,
    wire::{CommitsRequest, CommitsResponse, Request, Response, SessionRequest, SessionResponse},
};
use tokio::sync::{broadcast, mpsc};
use tokio_util::task::AbortOnDropHandle;

use self::log::Log;
use super::*;
use crate::{
    group::{Group, Realtime},
    overlay::{self, Overlay},
};

/// Later than any run of an honest node: what is sealed in it repeats nothing.
const BOOT: u64 = 1 << 60;

/// A node with modified code.
struct Rogue {
    identity: Identity,
    overlay: Overlay,
    seen: Arc<Seen>,
    _events: AbortOnDropHandle<()>,
}

/// What has come to it.
#[derive(Default)]
struct Seen {
    /// Of groups, as it came, and whose.
    packets: Mutex<Vec<(PeerId, Bytes)>>,
    /// Who lets it into a group.
    present: Mutex<BTreeSet<PeerId>>,
    /// What it answers to those who pull.
    answer: Mutex<UpdatesResponse>,
}

impl Rogue {
    async fn start(identity: Identity) -> Self {
        let config = overlay::Config {
            identity: identity.clone(),
            nickname: "rogue".into(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            port: 0,
            mdns: false,
            memory: false,
            internet: overlay::Internet::default(),
        };
        let (overlay, events) = Overlay::start(config).await.unwrap();
        let seen = Arc::new(Seen::default());
        let events = tokio::spawn(listen(events, Arc::clone(&seen)));
        Self { identity, overlay, seen, _events: AbortOnDropHandle::new(events) }
    }

    /// Nobody that anybody knows.
    async fn stranger() -> Self {
        Self::start(Identity::from_seed(&rand::random())).await
    }

    /// A member whose node runs other code from now on. It has all that the member had.
    async fn in_place_of(site: Site, session: SessionId) -> (Self, Member) {
        let member = member(&site, session).await;
        let identity = site.node.context().identity.clone();
        site.node.stop().await;
        (Self::start(identity).await, member)
    }

    fn peer(&self) -> PeerId {
        self.overlay.peer()
    }

    /// Connects, and opens the group's topic towards them.
    async fn opens(&self, session: SessionId, others: &[&Site]) {
        self.overlay.group_open(session, others.iter().map(|other| other.peer()).collect()).await;
        for other in others {
            for address in other.node.context().overlay.addresses().await.unwrap() {
                self.overlay.add_address(other.peer(), address).await;
            }
            self.overlay.connect(other.peer()).await.unwrap();
        }
    }

    /// As a member: the others let it in.
    async fn joins(&self, session: SessionId, others: &[&Site]) {
        self.opens(session, others).await;
        until(async || others.iter().all(|other| self.sees(other.peer()))).await;
    }

    fn sees(&self, peer: PeerId) -> bool {
        self.seen.present.lock().unwrap().contains(&peer)
    }

    /// How many packets have come with what members say to each other; and beacons, of which there are some.
    fn packets(&self) -> (usize, usize) {
        let packets = self.seen.packets.lock().unwrap();
        let beacons = packets.iter().filter(|(_, packet)| packet[0] == Lane::Control.code()).count();
        (packets.len() - beacons, beacons)
    }

    /// The first packet of `author`'s in this lane; of the updates that one may have passed on, none are in it.
    async fn captures(&self, author: PeerId, lane: Lane) -> Bytes {
        let mut found = None;
        until(async || {
            let packets = self.seen.packets.lock().unwrap();
            found = packets
                .iter()
                .find(|(from, packet)| *from == author && packet[0] == lane.code())
                .map(|(_, packet)| packet.clone());
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// To everybody who lets it speak.
    async fn says(&self, session: SessionId, packet: Vec<u8>) {
        // Where nobody does, the network says so.
        drop(self.overlay.group_publish(session, packet.into()).await);
    }

    async fn asks(&self, peer: PeerId, request: Request) -> Response {
        self.overlay.request(peer, request).await.unwrap()
    }

    /// Tells a node these messages of a session, as the next ones in a term.
    async fn tells(
        &self,
        peer: PeerId,
        session: SessionId,
        term: u32,
        messages: Vec<Message>,
    ) -> SessionResponse {
        tells(&self.overlay, peer, session, term, messages).await
    }

    async fn pulls_updates(&self, peer: PeerId, session: SessionId) -> UpdatesResponse {
        let request = Request::Updates(UpdatesRequest { session, have: Heads::default() });
        match self.asks(peer, request).await {
            Response::Updates(response) => response,
            other => panic!("another protocol's answer: {other:?}"),
        }
    }

    async fn pulls_commits(&self, peer: PeerId, session: SessionId) -> CommitsResponse {
        match self.asks(peer, Request::Commits(CommitsRequest { session, after: 0 })).await {
            Response::Commits(response) => response,
            other => panic!("another protocol's answer: {other:?}"),
        }
    }

    async fn asks_for_vote(&self, peer: PeerId, session: SessionId) -> VoteResponse {
        let candidate = contact(self.peer());
        let follows = Standing { term: 0, host: peer };
        let request = VoteRequest {
            session,
            term: 1,
            epoch: u64::MAX,
            candidate,
            slot: None,
            membership: None,
            follows,
        };
        match self.asks(peer, Request::Vote(Box::new(request))).await {
            Response::Vote(response) => *response,
            other => panic!("another protocol's answer: {other:?}"),
        }
    }

    /// An update of its own.
    fn update(&self, session: SessionId, number: u64, text: &str) -> Verified<Update> {
        let update = Update {
            session,
            chain: self.peer().into(),
            number,
            previous: (number > 1).then_some(UpdateHash([7; 32])),
            after: Vec::new(),
            depth: number,
            at: Timestamp(0),
            payload: text.as_bytes().to_vec(),
            covers: None,
        };
        sign(&update, &self.identity).unwrap()
    }
}

/// What a rogue's node does about what happens: it takes all and keeps to itself what it learns.
async fn listen(mut events: mpsc::Receiver<overlay::Event>, seen: Arc<Seen>) {
    while let Some(event) = events.recv().await {
        match event {
            overlay::Event::GroupMessage { author, payload, .. } => {
                seen.packets.lock().unwrap().push((author, payload));
            }
            overlay::Event::GroupPeer { peer, present: true, .. } => {
                seen.present.lock().unwrap().insert(peer);
            }
            overlay::Event::GroupPeer { peer, present: false, .. } => {
                seen.present.lock().unwrap().remove(&peer);
            }
            overlay::Event::Request(request) => {
                let response = match &request.request {
                    Request::Session(said) => {
                        let next = said.first + said.messages.len() as u64;
                        Response::Session(SessionResponse::Taken { next })
                    }
                    Request::Updates(_) => Response::Updates(seen.answer.lock().unwrap().clone()),
                    _ => continue,
                };
                request.respond(response);
            }
            _ => {}
        }
    }
}

/// Tells a node these messages of a session, as the next ones in a term.
async fn tells(
    overlay: &Overlay,
    peer: PeerId,
    session: SessionId,
    term: u32,
    messages: Vec<Message>,
) -> SessionResponse {
    let say = async |first, messages| {
        let request = Request::Session(SessionRequest { session, term, first, messages });
        match overlay.request(peer, request).await.unwrap() {
            Response::Session(response) => response,
            other => panic!("another protocol's answer: {other:?}"),
        }
    };
    // Nothing at all is told which number comes next.
    let first = match say(0, Vec::new()).await {
        SessionResponse::Taken { next } => next,
        _ => 0,
    };
    say(first, messages).await
}

fn contact(peer: PeerId) -> parlor_proto::session::Contact {
    parlor_proto::session::Contact { peer, name: "rogue".into(), addresses: Vec::new() }
}

/// A session as a node has it on disk.
async fn role(site: &Site, session: SessionId) -> Role {
    let sessions = site.node.context().store.sessions().await.unwrap();
    sessions.into_iter().find(|record| record.session == session).unwrap().role
}

async fn member(site: &Site, session: SessionId) -> Member {
    role(site, session).await.as_member().unwrap().clone()
}

async fn epoch(site: &Site, session: SessionId) -> u64 {
    role(site, session).await.keys().map_or(0, |keys| keys.epoch())
}

/// Who is in the group, as a node has it.
async fn group_of(site: &Site, session: SessionId) -> BTreeSet<PeerId> {
    let group = role(site, session).await.group().unwrap_or_default();
    group.into_iter().map(|contact| contact.peer).collect()
}

/// A session that runs; all have joined, have the same keys, and nothing more to say.
async fn running(host: &Site, members: &[&Site], names: &[&str]) -> SessionId {
    let session = host.host(names).await;
    for member in members {
        member.reaches(session, "running").await;
    }
    settles(host, members, session).await;
    session
}

/// Waits until what the host has to say is said, and all are in one epoch.
async fn settles(host: &Site, members: &[&Site], session: SessionId) {
    until(async || {
        let host_role = role(host, session).await;
        for member in members {
            let is_quiet = !host_role.waits_for(member.peer());
            let is_joined = host_role.as_host().is_some_and(|host| {
                host.seats()[&member.peer()].state == parlor_proto::session::SeatState::Joined
            });
            if !is_quiet || !is_joined || epoch(member, session).await != epoch(host, session).await {
                return false;
            }
        }
        true
    })
    .await;
}

fn group(site: &Site, session: SessionId) -> Group {
    site.node.sessions().group(session).unwrap()
}

/// Everything that a node keeps of a session: whose, and what.
async fn kept(site: &Site, session: SessionId) -> BTreeSet<(PeerId, String)> {
    let updates = group(site, session).updates_after(0, 1_000).await.unwrap();
    let text = |update: &Update| String::from_utf8(update.payload.clone()).unwrap();
    updates.iter().map(|one| (one.update.sender(), text(&one.update))).collect()
}

async fn posts(site: &Site, session: SessionId, text: &str) {
    group(site, session).post(text.as_bytes().to_vec()).await.unwrap();
}

/// The next realtime message.
async fn hears(hearing: &mut broadcast::Receiver<Realtime>) -> (PeerId, String) {
    let message = tokio::time::timeout(PATIENCE, hearing.recv()).await.expect("nothing was heard").unwrap();
    (message.sender, String::from_utf8(message.data.to_vec()).unwrap())
}

/// As a member's node seals it, before which lane's code whatsoever.
fn packet(lanes: &mut Lanes, lane: Lane, plaintext: &[u8]) -> Vec<u8> {
    [&[lane.code()], lanes.seal(lane, plaintext, rand::random()).unwrap().as_slice()].concat()
}

fn slot_of(member: &Member) -> Verified<Slot> {
    member.slot().unwrap().clone()
}

/// A host, an honest member, and a rogue that was a member until just now and is still taken for one.
struct Inside {
    host: Site,
    honest: Site,
    session: SessionId,
    rogue: Rogue,
    /// What the rogue has of the session.
    loot: Member,
    keys: Arc<GroupKeys>,
    lanes: Lanes,
}

async fn inside() -> Inside {
    let (host, [honest, turned]) = party::<2>(2).await;
    let session = running(&host, &[&honest, &turned], &["member0", "member1"]).await;
    let (rogue, loot) = Rogue::in_place_of(turned, session).await;
    rogue.joins(session, &[&host, &honest]).await;
    let keys = Arc::clone(loot.keys().unwrap());
    let lanes = Lanes::new(&keys, BOOT).unwrap();
    Inside { host, honest, session, rogue, loot, keys, lanes }
}

impl Inside {
    /// Waits for a line about what the rogue said.
    async fn traced(&self, log: &Log, parts: &[&str]) {
        let (session, rogue) = (self.session.to_string(), self.rogue.peer().to_string());
        log.tells(&[&[session.as_str(), &rogue], parts].concat()).await;
    }

    /// Says it until there is a line about it.
    async fn says_in_vain(&self, log: &Log, packet: Vec<u8>, parts: &[&str]) {
        let (session, rogue) = (self.session.to_string(), self.rogue.peer().to_string());
        let again = async || self.rogue.says(self.session, packet.clone()).await;
        log.tells_after(&[&[session.as_str(), &rogue], parts].concat(), again).await;
    }
}
