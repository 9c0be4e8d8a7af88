//! The group of a running session: its updates on disk, its realtime messages in passing.
//!
//! For: [`Group`], through which a node posts, reads and hears; and the task behind it that keeps the session's
//! [`Log`](parlor_proto::group::Log) on disk and in step with the other members'. Not for: who is in the group
//! (the session's driver says so), nor for who gets bytes at all (the overlay's gate).
//!
//! The idea: one writer a session. What is posted or heard at about the same time goes to disk in one
//! transaction, and only then to the network, to the page, to the terminal. Gossip is only the fast path: a
//! member that finds a gap, meets somebody anew, or has heard nothing for a while asks for what it lacks.

mod driver;
mod pull;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, Weak},
};

use bytes::Bytes;
use parlor_proto::{
    group::{Frame, MAX_PAYLOAD, MAX_REALTIME, UpdatesRequest, UpdatesResponse},
    identity::{Identity, PeerId},
    ids::SessionId,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    overlay::Overlay,
    store::{Store, StoreError, StoredUpdate},
};

/// What may wait for the writer. Beyond, heard updates are dropped (and pulled later); posts wait.
const QUEUE: usize = 1024;
/// Realtime messages that a slow reader may lag behind before it loses the oldest.
const REALTIME_LAG: usize = 256;

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
    members: RwLock<BTreeSet<PeerId>>,
    present: RwLock<BTreeSet<PeerId>>,
    commands: mpsc::Sender<Command>,
    newest: watch::Receiver<u64>,
    realtime: broadcast::Sender<Realtime>,
    stop: CancellationToken,
    _stop: DropGuard,
}

/// A realtime message of another member.
#[derive(Debug, Clone)]
pub struct Realtime {
    /// Who sent it: the signed source of the gossip.
    pub sender: PeerId,
    /// At most [`MAX_REALTIME`] bytes.
    pub data: Bytes,
}

/// Why an update was not posted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PostError {
    #[error("the session does not take updates any more")]
    Closed,
    #[error("the update has {0} bytes: at most {MAX_PAYLOAD} are allowed")]
    TooLarge(usize),
    #[error("the update was not written: {0}")]
    Store(#[source] Arc<StoreError>),
}

/// To the writer.
enum Command {
    Post(Vec<u8>, oneshot::Sender<Result<u64, PostError>>),
    Heard(PeerId, parlor_proto::rights::Signed<parlor_proto::group::Update>),
    Present(PeerId, bool),
    Pulled(PeerId, Option<UpdatesResponse>),
}

impl Group {
    /// Opens a session's group with what is on disk of it.
    pub async fn open(
        session: SessionId,
        identity: Identity,
        store: Store,
        overlay: Overlay,
    ) -> Result<Self, StoreError> {
        let (heads, serial) = store.heads(session).await?;
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (newest_sender, newest) = watch::channel(serial);
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            session,
            me: identity.peer(),
            store,
            overlay,
            authors: RwLock::default(),
            members: RwLock::default(),
            present: RwLock::default(),
            commands,
            newest,
            realtime: broadcast::channel(REALTIME_LAG).0,
            stop: stop.clone(),
            _stop: stop.clone().drop_guard(),
        });
        let driver = driver::Driver::new(Arc::downgrade(&inner), identity, heads, newest_sender);
        tokio::spawn(driver.run(inbox, stop));
        Ok(Self { inner })
    }

    /// Ends its task, whoever still holds it: a log has one writer, and the session may be joined anew.
    pub fn close(&self) {
        self.inner.stop.cancel();
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
        *self.inner.authors.write().unwrap_or_else(PoisonError::into_inner) = authors;
    }

    /// Who is in the group now, this node not counted: they get what they lack when they ask.
    pub fn set_members(&self, members: BTreeSet<PeerId>) {
        *self.inner.members.write().unwrap_or_else(PoisonError::into_inner) = members;
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

    /// Posts an update. Once it returns, the update is on disk (under the serial that is returned) and on its
    /// way to everyone.
    pub async fn post(&self, payload: Vec<u8>) -> Result<u64, PostError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(PostError::TooLarge(payload.len()));
        }
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(Command::Post(payload, reply)).await.map_err(|_| PostError::Closed)?;
        answer.await.map_err(|_| PostError::Closed)?
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

    /// Sends to everyone who can be reached at this moment, or to nobody.
    pub async fn send_realtime(&self, data: Bytes) {
        if data.len() > MAX_REALTIME {
            return;
        }
        let frame = crate::store::to_blob(&Frame::Realtime(data.into()));
        // Fire and forget: what cannot be sent now is of no use later.
        let _ = self.inner.overlay.group_publish(self.inner.session, frame.into()).await;
    }

    /// Realtime messages from now on.
    #[must_use]
    pub fn realtime(&self) -> broadcast::Receiver<Realtime> {
        self.inner.realtime.subscribe()
    }

    /// A frame came over the topic. Garbage is dropped.
    pub fn heard(&self, author: PeerId, frame: &[u8]) {
        match cbor4ii::serde::from_slice(frame) {
            Ok(Frame::Realtime(data)) if data.len() <= MAX_REALTIME && author != self.inner.me => {
                // Without a reader there is nobody to send to.
                let _ = self.inner.realtime.send(Realtime { sender: author, data: data.into() });
            }
            Ok(Frame::Update(update)) => {
                // When the writer cannot keep up, this one is pulled later.
                let _ = self.inner.commands.try_send(Command::Heard(author, update));
            }
            _ => tracing::debug!(session = %self.inner.session, ?author, "a frame that cannot be read"),
        }
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
    /// those who have gone.
    pub async fn serve(&self, from: PeerId, request: &UpdatesRequest) -> Result<UpdatesResponse, StoreError> {
        if !self.inner.members.read().unwrap_or_else(PoisonError::into_inner).contains(&from) {
            return Ok(UpdatesResponse::default());
        }
        pull::answer(&self.inner.store, self.inner.session, &request.have).await
    }
}

impl Inner {
    fn is_author(&self, peer: &PeerId) -> bool {
        self.authors.read().unwrap_or_else(PoisonError::into_inner).contains_key(peer)
    }
}

/// What to call somebody without a name.
#[must_use]
pub fn short_name(peer: PeerId) -> String {
    let text = peer.to_string();
    format!("…{}", &text[text.len() - 6..])
}
