//! The group of a running session: its updates on disk, its realtime messages in passing.
//!
//! For: [`Group`], through which a node posts, reads and hears; and the task behind it that keeps the session's
//! [`Log`](parlor_proto::group::Log) on disk and in step with the other members'. Not for: who is in the group
//! and which keys it has (the session's driver says so), nor for who gets bytes at all (the overlay's gate).
//!
//! The idea: one writer a session. What is posted or heard at about the same time goes to disk in one
//! transaction, and only then to the network, to the page, to the terminal. Gossip is only the fast path: a
//! member that finds a gap, meets somebody anew, or has heard nothing for a while asks for what it lacks.
//!
//! Everything that goes over the topic is sealed (`door`). What is *pulled* is not sealed again: it goes over the
//! authenticated, encrypted connection to a member that asked, and that one may have no keys of the epoch in which it
//! was said.
//!
//! | what is full | what happens |
//! |---|---|
//! | what one member may say a second, in a lane ([`parlor_proto::group::rate`]) | heard: dropped unread, updates are pulled later; own: posts wait, realtime is dropped |
//! | the writer's queue, or one member's share of it | a heard update is dropped and pulled later; posts wait |
//! | updates of one member that wait for others ([`parlor_proto::group::MAX_HELD`]) | no more of them are held back: they are pulled |
//! | what is kept of one member's updates | no more of them until the host makes a checkpoint |
//! | pulls under way | the next one waits for one to end; answers to others wait their turn |

mod batch;
mod complaint;
mod door;
mod driver;
mod error;
mod hearing;
pub mod key;
mod pull;
mod repeats;
mod saying;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
};

use bytes::Bytes;
use parlor_proto::{
    group::{Hosts, Log, UpdatesRequest, UpdatesResponse, keys::GroupKeys, lanes::EnterError},
    identity::{Identity, PeerId},
    ids::SessionId,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{complaint::Complaints, door::Door, saying::Pace};
pub use self::{
    error::{OpenError, PostError},
    key::PostKey,
};
use crate::{
    clock,
    critical::CriticalTasks,
    overlay::Overlay,
    store::{Store, StoreError, StoredUpdate},
};

/// What may wait for the writer. Beyond, heard updates are dropped (and pulled later); posts wait.
const QUEUE: usize = 1024;
/// Realtime messages that a slow reader may lag behind before it loses the oldest, and that wait for the network.
const REALTIME_LAG: usize = 256;
/// The same of beacons.
const BEACON_LAG: usize = 64;
/// How many members are answered at a time.
const MAX_SERVED: usize = 4;

/// One session's group, on this node. Clones share it; the last one to go ends its task.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

/// A [`Group`] that does not keep it open.
#[derive(Clone)]
pub struct WeakGroup(Weak<Inner>);

impl WeakGroup {
    /// The group, if it is still open.
    #[must_use]
    pub fn upgrade(&self) -> Option<Group> {
        self.0.upgrade().map(|inner| Group { inner })
    }
}

struct Inner {
    session: SessionId,
    me: PeerId,
    store: Store,
    overlay: Overlay,
    authors: RwLock<BTreeMap<PeerId, String>>,
    present: RwLock<BTreeSet<PeerId>>,
    hosts: watch::Sender<Hosts>,
    door: Mutex<Door>,
    complaints: Mutex<Complaints>,
    /// What this node may say itself.
    pace: Mutex<Pace>,
    /// As the writer has it.
    log: RwLock<Log>,
    served: Semaphore,
    commands: mpsc::Sender<Command>,
    newest: watch::Receiver<u64>,
    realtime: broadcast::Sender<Realtime>,
    beacons: broadcast::Sender<Beacon>,
    wanted_epoch: watch::Sender<u64>,
    stop: CancellationToken,
    _stop: DropGuard,
    /// The writer has ended: nothing of it comes to the disk any more.
    ended: CancellationToken,
}

/// A realtime message of another member.
#[derive(Debug, Clone)]
pub struct Realtime {
    /// Who sent it: the signed source of the gossip, and whose keys sealed it.
    pub sender: PeerId,
    /// At most [`MAX_REALTIME`] bytes.
    pub data: Bytes,
}

/// A member's node says that it is there as host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beacon {
    /// Who: as certain as with [`Realtime::sender`]. Whether it is the host is for others to judge.
    pub author: PeerId,
    /// In which term, as it believes.
    pub term: u32,
}

/// To the writer.
enum Command {
    Post {
        payload: Vec<u8>,
        is_checkpoint: bool,
        /// Under which it is posted once.
        key: Option<PostKey>,
        reply: oneshot::Sender<Result<u64, PostError>>,
    },
    /// By gossip; with its place in the queue.
    Heard(PeerId, parlor_proto::rights::Signed<parlor_proto::group::Update>, OwnedSemaphorePermit),
    Present(PeerId, bool),
    Pulled(PeerId, Option<UpdatesResponse>),
    /// Something may have been missed.
    Resync,
}

impl Group {
    /// Opens a session's group with what is on disk of it. `keys`: of the epoch in which this node is; without any,
    /// nothing is sealed or opened until [`Group::enter`], and only pulling works.
    pub async fn open(
        session: SessionId,
        identity: Identity,
        store: Store,
        overlay: Overlay,
        keys: Option<Arc<GroupKeys>>,
        tasks: &CriticalTasks,
    ) -> Result<Self, OpenError> {
        let now = clock::now();
        // Before anything is sealed: no two runs may have the same.
        let boot = store.raise_boot(session, now).await?;
        let door = Door::new(boot, keys.as_deref())?;
        let (log, serial) = store.log(session).await?;
        let start = store.own_chain(session).await?;
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (newest_sender, newest) = watch::channel(serial);
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let inner = Arc::new(Inner {
            session,
            me: identity.peer(),
            store,
            overlay,
            authors: RwLock::default(),
            present: RwLock::default(),
            hosts: watch::Sender::default(),
            door: Mutex::new(door),
            complaints: Mutex::new(Complaints::new(session)),
            pace: Mutex::new(Pace::new(now)),
            log: RwLock::new(log.clone()),
            served: Semaphore::new(MAX_SERVED),
            commands,
            newest,
            realtime: broadcast::channel(REALTIME_LAG).0,
            beacons: broadcast::channel(BEACON_LAG).0,
            wanted_epoch: watch::Sender::new(0),
            stop: stop.clone(),
            _stop: stop.clone().drop_guard(),
            ended: ended.clone(),
        });
        let driver = driver::Driver::new(&inner, identity, log, start, newest_sender);
        // Cancelled when it is closed, and when the last handle is gone.
        let stopped = stop.clone();
        tasks.spawn("a session's group", move || stopped.is_cancelled(), async move {
            let _ended = ended.drop_guard();
            driver.run(inbox, stop).await;
        });
        Ok(Self { inner })
    }

    /// The group's keys of now, which are on disk. To be told of each, in order.
    pub fn enter(&self, keys: Arc<GroupKeys>) -> Result<(), EnterError> {
        self.inner.enter(&keys)
    }

    /// An epoch above this node's in which a member has sealed something, it seems: commits are missing here; or this
    /// node's own, when a member seems to have other keys of it. Changes with each such frame, which need not be authentic:
    /// a member can name any number.
    #[must_use]
    pub fn wanted_epoch(&self) -> watch::Receiver<u64> {
        self.inner.wanted_epoch.subscribe()
    }

    /// Ends its task, whoever still holds it, and returns once what that had under way is on disk or given up: a log
    /// has one writer, and the next one begins with what is there.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.ended.cancelled().await;
    }

    /// For those who must not keep it open.
    #[must_use]
    pub fn downgrade(&self) -> WeakGroup {
        WeakGroup(Arc::downgrade(&self.inner))
    }

    /// Which session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.inner.session
    }

    /// Who may be the author of an update here, and what each is called: everyone who is or was in the group,
    /// this node too.
    pub fn set_authors(&self, authors: BTreeMap<PeerId, String>) {
        let mut known = self.inner.authors.write().unwrap_or_else(PoisonError::into_inner);
        let is_longer = authors.keys().any(|author| !known.contains_key(author));
        *known = authors;
        if is_longer {
            // What they said before they were known was not taken. If the queue is full, a pull follows anyway.
            let _ = self.inner.commands.try_send(Command::Resync);
        }
    }

    /// Who is in the group now, this node not counted: they get what they lack when they ask.
    pub fn set_members(&self, members: BTreeSet<PeerId>) {
        self.inner.door().set_members(&members, clock::now());
    }

    /// Who is the session's host, whose checkpoints count, and who was.
    pub fn set_hosts(&self, hosts: Hosts) {
        self.inner.hosts.send_if_modified(|known| {
            let is_new = *known != hosts;
            *known = hosts;
            is_new
        });
    }

    /// What a member is called, for people; the end of its PeerId if it has no name.
    #[must_use]
    pub fn name_of(&self, peer: PeerId) -> String {
        let authors = self.inner.authors.read().unwrap_or_else(PoisonError::into_inner);
        match authors.get(&peer) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => short_name(peer),
        }
    }

    /// A member's address for the program: stable in this session, the same on every node, and of no use to
    /// find the member anywhere else (webxdc `selfAddr`).
    #[must_use]
    pub fn address_of(&self, peer: PeerId) -> String {
        let key = blake3::derive_key("parlor selfAddr v1", self.inner.session.as_bytes());
        let hash = blake3::keyed_hash(&key, &peer.to_bytes());
        hex::encode(&hash.as_bytes()[..16])
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.inner.me
    }

    /// Up to `most` updates with a serial above `serial`, in this node's order.
    pub async fn updates_after(&self, serial: u64, most: usize) -> Result<Vec<StoredUpdate>, StoreError> {
        self.inner.store.updates_after(self.inner.session, serial, most).await
    }

    /// The newest serial, as it grows.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.inner.newest.clone()
    }

    /// Other members' beacons from now on.
    #[must_use]
    pub fn beacons(&self) -> broadcast::Receiver<Beacon> {
        self.inner.beacons.subscribe()
    }

    /// Realtime messages from now on.
    #[must_use]
    pub fn realtime(&self) -> broadcast::Receiver<Realtime> {
        self.inner.realtime.subscribe()
    }

    /// A packet of `author` came, over the topic or directly. What is not sealed for this group by that member, or is
    /// more than may be, is dropped. Does not wait.
    pub fn heard(&self, author: PeerId, packet: &[u8]) {
        self.inner.heard(author, packet);
    }

    /// A member can be reached over the topic, or no longer.
    pub async fn present(&self, peer: PeerId, present: bool) {
        {
            let mut peers = self.inner.present.write().unwrap_or_else(PoisonError::into_inner);
            if present {
                peers.insert(peer)
            } else {
                peers.remove(&peer)
            };
        }
        // Fails only while the group is being closed.
        let _ = self.inner.commands.send(Command::Present(peer, present)).await;
    }

    /// Whether a member can be reached over the topic now.
    #[must_use]
    pub fn is_present(&self, peer: PeerId) -> bool {
        peer == self.inner.me
            || self.inner.present.read().unwrap_or_else(PoisonError::into_inner).contains(&peer)
    }

    /// What `from` asks for. Nobody but who is a member now gets an answer with content: not the invited, not
    /// those who have gone; nor who asks again and again without waiting.
    pub async fn serve(&self, from: PeerId, request: &UpdatesRequest) -> Result<UpdatesResponse, StoreError> {
        let allowed = self.inner.door().answer(&from);
        let _place = match allowed {
            Ok(place) => place,
            Err(complaint) => {
                self.inner.complain(from, None, &complaint);
                return Ok(UpdatesResponse::default());
            }
        };
        // It is never closed.
        let _turn = self.inner.served.acquire().await.ok();
        pull::answer(&self.inner, from, &request.have).await
    }
}

/// What to call somebody without a name.
#[must_use]
pub fn short_name(peer: PeerId) -> String {
    let text = peer.to_string();
    format!("…{}", &text[text.len() - 6..])
}
