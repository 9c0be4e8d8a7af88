//! What all drivers of one node share.
//!
//! For: handing the same identity, store, bundles, network and outbox to each of them. Not for: state that
//! changes; each driver keeps its own, but for the little that others must know at once ([`Hosted`]).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use parlor_proto::{
    identity::{Identity, PeerId},
    ids::{ProgramId, SessionId, SlotHash},
    session::{Contact, MAX_ADDRESSES},
};
use serde::Serialize;
use tokio::sync::{Notify, broadcast};

use crate::{
    billing::Outbox,
    critical::CriticalTasks,
    overlay::{Closed, Overlay},
    runtime::{agent::Sandbox, browser::Browser},
    store::{Bundle, BundleError, Bundles, Store, StoreError, bundle},
};

/// Events that a slow listener may lag behind before it loses the oldest.
const EVENT_LAG: usize = 1024;

/// Shared by everything that runs in one node.
pub struct Context {
    /// The node's key.
    pub identity: Identity,
    /// What the node calls itself.
    pub nickname: String,
    /// The database.
    pub store: Store,
    /// The programs' files.
    pub bundles: Arc<Bundles>,
    /// The network.
    pub overlay: Overlay,
    /// Receipts on their way.
    pub outbox: Outbox,
    /// What happens, for whoever watches.
    pub events: broadcast::Sender<Event>,
    /// Bytes moved since the node started.
    pub traffic: Traffic,
    /// Whom this node hosts.
    pub hosted: Hosted,
    /// Where agents run.
    pub sandbox: Sandbox,
    /// The tasks without which the node is of no use.
    pub tasks: CriticalTasks,
    /// Where web parts are shown.
    pub browser: Browser,
    /// Told when files may have been left that nothing needs.
    pub sweep: Arc<Notify>,
}

/// The slots of those who are in a session that this node hosts, whoever granted them: they get the program here.
#[derive(Debug, Default)]
pub struct Hosted(RwLock<HashMap<SessionId, BTreeSet<SlotHash>>>);

impl Hosted {
    /// Those of one session are these now.
    pub fn set(&self, session: SessionId, slots: BTreeSet<SlotHash>) {
        let mut hosted = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() {
            hosted.remove(&session)
        } else {
            hosted.insert(session, slots)
        };
    }

    /// Whether somebody is here by this slot.
    #[must_use]
    pub fn contains(&self, slot: SlotHash) -> bool {
        let hosted = self.0.read().unwrap_or_else(PoisonError::into_inner);
        hosted.values().any(|slots| slots.contains(&slot))
    }
}

/// Program bytes moved since the node started.
#[derive(Debug, Default)]
pub struct Traffic {
    fetched: AtomicU64,
    served: AtomicU64,
}

impl Traffic {
    /// Counts bytes that came in.
    pub fn add_fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that went out.
    pub fn add_served(&self, bytes: u64) {
        self.served.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Fetched and served, bytes.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        (self.fetched.load(Ordering::Relaxed), self.served.load(Ordering::Relaxed))
    }
}

/// Something that happened, as JSON shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// An invitation arrived, and waits for an answer.
    Invited {
        /// To which session.
        session: SessionId,
        /// The program.
        name: String,
        /// Who invites.
        host: PeerId,
        /// What the host is called.
        host_name: String,
    },
    /// A session's state on this node changed.
    State {
        /// Which.
        session: SessionId,
        /// As `session` shows it.
        state: &'static str,
        /// Why, for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A line of an agent, for its user.
    Line {
        /// Of which session.
        session: SessionId,
        /// `agent`, or `host` for the host part.
        part: &'static str,
        /// What it says.
        text: String,
    },
    /// An agent's state changed.
    Agent {
        /// Of which session.
        session: SessionId,
        /// `agent`, or `host` for the host part.
        part: &'static str,
        /// `stopped`.
        state: &'static str,
        /// Why, for people.
        why: String,
    },
    /// A member's state changed.
    Member {
        /// In which session.
        session: SessionId,
        /// Who.
        peer: PeerId,
        /// What it calls itself.
        name: String,
        /// As `session` shows it.
        state: &'static str,
    },
    /// Somebody else is host.
    Host {
        /// Of which session.
        session: SessionId,
        /// Who.
        peer: PeerId,
        /// What it calls itself.
        name: String,
        /// How often the host has changed.
        term: u32,
    },
    /// A transfer went on; not every step of it.
    Transfer {
        /// For which session.
        session: SessionId,
        /// Bytes that are here.
        done: u64,
        /// Bytes wanted.
        total: u64,
    },
    /// A host gave one slot to two members: the proof is kept.
    Cheat {
        /// In which session it was seen.
        session: SessionId,
        /// Who.
        host: PeerId,
    },
    /// The address book, the library or who is near changed.
    Changed,
}

impl Event {
    /// The session that it is about.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Invited { session, .. }
            | Self::State { session, .. }
            | Self::Member { session, .. }
            | Self::Host { session, .. }
            | Self::Line { session, .. }
            | Self::Agent { session, .. }
            | Self::Transfer { session, .. }
            | Self::Cheat { session, .. } => Some(*session),
            Self::Changed => None,
        }
    }
}

impl Context {
    /// A channel for [`Context::events`].
    #[must_use]
    pub fn event_channel() -> broadcast::Sender<Event> {
        broadcast::channel(EVENT_LAG).0
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.identity.peer()
    }

    /// This node, as others are to see it.
    pub async fn contact(&self) -> Result<Contact, Closed> {
        let addresses = self.overlay.addresses().await?;
        let addresses = addresses.iter().map(ToString::to_string).take(MAX_ADDRESSES).collect();
        Ok(Contact { peer: self.me(), name: self.nickname.clone(), addresses })
    }

    /// The files of a program, if anything of it is here. Looking may take a while: what a killed node left is
    /// hashed again.
    pub async fn bundle(&self, program: ProgramId) -> Result<Option<Arc<Bundle>>, BundleError> {
        let bundles = Arc::clone(&self.bundles);
        bundle::blocking(move || bundles.get(program)).await
    }

    /// Remembers where somebody is said to be: not all of what others say is called.
    pub async fn locate(&self, contact: &Contact) {
        for address in contact.addresses.iter().filter_map(|address| address.parse().ok()) {
            self.overlay.hear_address(contact.peer, address).await;
        }
    }

    /// Where these peers are, as far as this node knows.
    pub async fn places_of(&self, peers: &[PeerId]) -> Result<Vec<Contact>, Closed> {
        let mut places = Vec::new();
        for peer in peers {
            if *peer == self.me() {
                places.push(self.contact().await?);
                continue;
            }
            let addresses = self.overlay.addresses_of(*peer).await?;
            let addresses = addresses.iter().map(ToString::to_string).take(MAX_ADDRESSES).collect();
            places.push(Contact { peer: *peer, name: String::new(), addresses });
        }
        Ok(places)
    }

    /// Remembers where these peers are said to be, also after a restart.
    pub async fn note_places(&self, places: &[Contact]) -> Result<(), StoreError> {
        if places.is_empty() {
            return Ok(());
        }
        for contact in places {
            self.locate(contact).await;
        }
        self.store.put_places(places, crate::clock::now()).await
    }

    /// Has the files of programs removed that nothing needs any more.
    pub fn sweep_soon(&self) {
        self.sweep.notify_one();
    }

    /// Tells whoever watches; nobody may.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
