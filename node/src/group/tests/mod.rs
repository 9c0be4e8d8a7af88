//! Groups of a few nodes in one process: over the memory transport where two nodes are to agree, and by hand where one
//! is to withstand another.

#![allow(clippy::unwrap_used)]

mod causality;
mod checkpoints;
mod faults;
mod limits;
mod repeats;
mod sealed;
mod talk;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parlor_proto::{
    group::{
        Control, Heads, MAX_PAYLOAD, MAX_REALTIME, Update,
        keys::{Applied, Commit, KeyOffer, Staged},
        lanes::{Lane, Lanes},
    },
    ids::UpdateHash,
    rights::{Signed, Verified, sign},
    time::Timestamp,
    wire::{Request, Response},
};
use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::{
    clock,
    critical::CriticalTasks,
    overlay::{self, Config, Event, Internet},
    store::to_blob,
};

const SESSION: SessionId = SessionId([0x6a; 16]);
/// Generous: only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[0x40 + number; 32])
}

fn peer(number: u8) -> PeerId {
    identity(number).peer()
}

fn peers(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<PeerId> {
    numbers.into_iter().map(peer).collect()
}

/// Keys of a group of so many, the host's (number 0) first. `salt`: another group of the same people.
fn keys(size: u8, salt: u8) -> Vec<Arc<GroupKeys>> {
    let alone = GroupKeys::create(SESSION, &identity(0), &[salt; 32]).unwrap();
    let offer = |number| KeyOffer::new(&identity(number), &[salt ^ (0x80 + number); 32]).unwrap();
    let offers: Vec<_> = (1..size).map(offer).collect();
    let packages: Vec<_> = (1..size).zip(&offers).map(|(n, offer)| (peer(n), offer.package())).collect();
    let staged = alone.add(&packages, &identity(0), &[salt ^ 0x7f; 32]).unwrap();
    let welcome = staged.welcome.as_deref().unwrap();
    let join = |offer| Arc::new(GroupKeys::join(offer, welcome, SESSION, peer(0)).unwrap());
    let mut all: Vec<_> = offers.iter().map(join).collect();
    all.insert(0, Arc::new(staged.keys));
    all
}

fn refreshed(host: &GroupKeys) -> Staged {
    host.refresh(&identity(0), &[0x33; 32]).unwrap()
}

fn followed(keys: &GroupKeys, commit: &Commit) -> Arc<GroupKeys> {
    match keys.apply(&commit.bytes).unwrap() {
        Applied::Merged(merged) => Arc::new(merged.keys),
        other => panic!("not merged: {other:?}"),
    }
}

fn update(sender: u8, number: u64, text: &str) -> Verified<Update> {
    sign(&plain(sender, number, text), &identity(sender)).unwrap()
}

/// As somebody who has heard nobody.
fn plain(sender: u8, number: u64, text: &str) -> Update {
    Update {
        session: SESSION,
        chain: peer(sender).into(),
        number,
        previous: (number > 1).then_some(UpdateHash([7; 32])),
        after: Vec::new(),
        depth: number,
        at: Timestamp(0),
        payload: text.into(),
        covers: None,
    }
}

/// The host of a term, and those who were host before it.
fn hosts(host: u8, term: u32, before: impl IntoIterator<Item = u8>) -> Hosts {
    Hosts { now: Some((peer(host), term)), ever: peers(before.into_iter().chain([host])) }
}

/// As a member's node seals it; or one that is more inventive.
fn packet(lanes: &mut Lanes, lane: Lane, plaintext: &[u8]) -> Vec<u8> {
    [&[lane.code()], lanes.seal(lane, plaintext, rand::random()).unwrap().as_slice()].concat()
}

/// What happened to one node's group in the network.
#[derive(Default)]
struct Seen {
    /// Every packet, as it came.
    packets: Mutex<Vec<Bytes>>,
    /// How many updates it gave to those who asked.
    served: AtomicUsize,
}

/// One node, as far as groups go.
struct Site {
    number: u8,
    dir: TempDir,
    store: Store,
    overlay: Overlay,
    group: Group,
    seen: Arc<Seen>,
    _events: AbortOnDropHandle<()>,
}

async fn store_in(dir: &TempDir) -> Store {
    Store::open(&dir.path().join("parlor.db")).await.unwrap()
}

async fn open(number: u8, store: &Store, overlay: &Overlay, keys: Option<Arc<GroupKeys>>) -> Group {
    let group = Group::open(
        SESSION,
        identity(number),
        store.clone(),
        overlay.clone(),
        keys,
        &CriticalTasks::default(),
    )
    .await
    .unwrap();
    group.set_authors((0..8).map(|n| (peer(n), format!("member {n}"))).collect::<BTreeMap<_, _>>());
    group.set_members(peers((0..8).filter(|n| *n != number)));
    group.set_hosts(hosts(0, 0, []));
    group
}

impl Site {
    async fn start(number: u8, keys: Option<Arc<GroupKeys>>) -> Self {
        Self::with(number, keys, &[]).await
    }

    /// With these updates on its disk already.
    async fn with(number: u8, keys: Option<Arc<GroupKeys>>, before: &[Verified<Update>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = store_in(&dir).await;
        let mut write = store.write().await.unwrap();
        for (serial, update) in (1..).zip(before) {
            store.put_update(&mut write, serial, update).await.unwrap();
        }
        write.commit().await.unwrap();
        let config = Config {
            identity: identity(number),
            nickname: format!("node {number}"),
            listen: vec!["/memory/0".parse().unwrap()],
            port: 0,
            mdns: false,
            memory: true,
            internet: Internet::default(),
        };
        let (overlay, events) = Overlay::start(config).await.unwrap();
        let group = open(number, &store, &overlay, keys).await;
        let seen = Arc::new(Seen::default());
        let events = tokio::spawn(drive(group.clone(), events, Arc::clone(&seen)));
        Self { number, dir, store, overlay, group, seen, _events: AbortOnDropHandle::new(events) }
    }

    fn peer(&self) -> PeerId {
        peer(self.number)
    }

    async fn meets(&self, others: &[&Site]) {
        for other in others {
            for address in other.overlay.addresses().await.unwrap() {
                self.overlay.add_address(other.peer(), address).await;
            }
            self.overlay.connect(other.peer()).await.unwrap();
        }
    }

    /// Everything that is here, oldest first: whose, which number, what.
    async fn all(&self) -> Vec<(u8, u64, String)> {
        let stored = self.group.updates_after(0, 10_000).await.unwrap();
        let number = |sender| (0..8).find(|n| peer(*n) == sender).unwrap();
        let text = |update: &Update| String::from_utf8(update.payload.clone()).unwrap();
        stored.iter().map(|one| (number(one.update.sender()), one.update.number, text(&one.update))).collect()
    }

    /// The same, whatever its order.
    async fn set(&self) -> BTreeSet<(u8, u64, String)> {
        self.all().await.into_iter().collect()
    }

    fn heads(&self) -> Heads {
        self.group.inner.log.read().unwrap().heads().clone()
    }

    /// How often something of `author`'s was dropped for that reason.
    fn complaints(&self, author: u8, complaint: &complaint::Complaint) -> u64 {
        self.group.inner.complaints.lock().unwrap().times(peer(author), complaint)
    }
}

/// As the node does it.
async fn drive(group: Group, mut events: mpsc::Receiver<Event>, seen: Arc<Seen>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::GroupMessage { session: SESSION, author, payload } => {
                seen.packets.lock().unwrap().push(payload.clone());
                group.heard(author, &payload);
            }
            Event::GroupPeer { session: SESSION, peer, present } => group.present(peer, present).await,
            Event::Request(request) => answer(&group, request, &seen).await,
            _ => {}
        }
    }
}

async fn answer(group: &Group, request: overlay::InboundRequest, seen: &Seen) {
    if let Request::Updates(asked) = &request.request {
        let response = group.serve(request.from, asked).await.unwrap();
        let many = response.checkpoints.len() + response.updates.len();
        seen.served.fetch_add(many, Ordering::Relaxed);
        request.respond(Response::Updates(response));
    }
}

/// The members open the topic and find one another.
async fn together(sites: &[&Site]) {
    for (i, site) in sites.iter().enumerate() {
        site.meets(&sites[i + 1..]).await;
    }
    let members: Vec<_> = sites.iter().map(|site| site.peer()).collect();
    for site in sites {
        site.overlay.group_open(SESSION, members.clone()).await;
    }
    for site in sites {
        until(async || members.iter().all(|member| site.group.is_present(*member))).await;
    }
}

/// Looks until it is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let look = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("it does not come about");
}

/// The next of a channel.
async fn next<T: Clone>(receiver: &mut broadcast::Receiver<T>) -> T {
    tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("nothing came").unwrap()
}

fn text(message: &Realtime) -> (PeerId, &[u8]) {
    (message.sender, &message.data)
}
