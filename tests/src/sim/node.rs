//! One simulated node: what is on its disk, what is only in its memory, and what a crash leaves of the two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use parlor_proto::{
    group::lanes::{Lanes, WaitingRoom},
    identity::{Identity, PeerId},
    ids::{ReceiptHash, ReleaseHash, SessionId, SlotHash, TicketHash},
    rights::{EquivocationProof, Ledger, Receipt, Release, Signed, SignedRight},
    session::{Contact, Role},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{bug::Bug, cheat::Cheat, clock::Clock, log::Store};

/// How many frames a node remembers in order not to take one in twice.
pub(super) const MAX_SEEN: usize = 512;

/// One node.
pub(super) struct Node {
    pub(super) identity: Identity,
    pub(super) contact: Contact,
    pub(super) clock: Clock,
    pub(super) up: bool,
    /// It never comes back.
    pub(super) lost: bool,
    /// How often it started.
    pub(super) life: u64,
    /// How its next step ends.
    pub(super) doom: Option<Doom>,
    /// Its disk is full: nothing can be written.
    pub(super) full: bool,
    /// How often something could not be written.
    pub(super) failed_writes: u64,
    /// And the machines could not be told, because of a full disk.
    pub(super) clock_was_set_back: bool,
    /// Not an honest one.
    pub(super) cheat: Option<Cheat>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) ledgers: BTreeMap<TicketHash, Ledger>,
    /// Receipts that billing has not acknowledged.
    pub(super) outbox: BTreeMap<ReceiptHash, (SignedRight, Signed<Receipt>)>,
    /// Slots given back that billing has not written down.
    pub(super) links: BTreeMap<ReleaseHash, (SignedRight, Signed<Release>)>,
    pub(super) proofs: Vec<EquivocationProof>,
}

/// Where in the four moves a node crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doom {
    /// Nothing of the step is on disk.
    BeforeDisk,
    /// All of it is, and so much of what it says is on its way.
    AfterOutputs(usize),
}

/// One session of a node.
pub(super) struct Session {
    /// On disk but for what the machine itself leaves out of its snapshot.
    pub(super) role: Role,
    /// What is on disk instead, if the node goes on from what it could not write: a planted mistake.
    pub(super) written: Option<Role>,
    pub(super) store: Store,
    /// How often lanes were begun.
    pub(super) boot: u64,
    pub(super) run: Run,
}

/// What of a session is only in memory.
#[derive(Default)]
pub(super) struct Run {
    pub(super) lanes: Option<Lanes>,
    pub(super) waiting: WaitingRoom,
    /// Whom the lanes are for.
    pub(super) members: Option<BTreeSet<PeerId>>,
    pub(super) tick_at: Option<u64>,
    pub(super) fetching: bool,
    pub(super) asked: bool,
    pub(super) seen: BTreeSet<u64>,
    pub(super) seen_in_order: VecDeque<u64>,
    /// Since when there was a sign of the host without a longer gap, and the newest; true time.
    pub(super) hearing: Option<(u64, u64)>,
}

impl Run {
    /// Whether this is new.
    pub(super) fn sees(&mut self, id: u64, bug: Option<Bug>) -> bool {
        if !self.seen.insert(id) {
            return false;
        }
        self.seen_in_order.push_back(id);
        if self.seen_in_order.len() > MAX_SEEN && bug != Some(Bug::NothingForgotten) {
            let oldest = self.seen_in_order.pop_front();
            oldest.map(|oldest| self.seen.remove(&oldest));
        }
        true
    }
}

impl Session {
    /// What a crash would leave of the machine.
    pub(super) fn on_disk(&self) -> &Role {
        self.written.as_ref().unwrap_or(&self.role)
    }

    pub(super) fn new(role: Role) -> Self {
        Self { role, written: None, store: Store::default(), boot: 0, run: Run::default() }
    }
}

impl Node {
    pub(super) fn new(identity: Identity, clock: Clock, name: String) -> Self {
        let contact = Contact { peer: identity.peer(), name, addresses: vec!["/memory/1".to_owned()] };
        Self {
            identity,
            contact,
            clock,
            up: true,
            lost: false,
            life: 0,
            doom: None,
            cheat: None,
            sessions: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            outbox: BTreeMap::new(),
            links: BTreeMap::new(),
            full: false,
            failed_writes: 0,
            clock_was_set_back: false,
            proofs: Vec::new(),
        }
    }

    pub(super) fn peer(&self) -> PeerId {
        self.identity.peer()
    }

    pub(super) fn is_honest(&self) -> bool {
        self.cheat.is_none()
    }

    pub(super) fn role(&self, session: SessionId) -> Option<&Role> {
        self.sessions.get(&session).map(|session| &session.role)
    }

    /// Slots by which members are in this host's other sessions.
    pub(super) fn slots_outside(&self, session: SessionId) -> BTreeSet<SlotHash> {
        let others = self.sessions.iter().filter(|(id, _)| **id != session);
        let hosts = others.filter_map(|(_, other)| other.role.as_host());
        hosts.flat_map(|host| host.slots_in_use()).collect()
    }

    /// Whether another session needs this ticket's slot.
    pub(super) fn uses_slot(&self, ticket: TicketHash, but_for: SessionId) -> bool {
        self.sessions
            .iter()
            .filter(|(id, _)| **id != but_for)
            .any(|(_, session)| session.role.ticket().hash() == ticket && session.role.uses_slot())
    }

    /// The process dies. What is on disk stays; memory is gone.
    pub(super) fn crash(&mut self, bug: Option<Bug>) -> Result<(), String> {
        self.up = false;
        self.doom = None;
        for session in self.sessions.values_mut() {
            session.run = Run::default();
            session.role = reload(session.on_disk())?;
            session.written = None;
            session.store = reload(&session.store)?;
        }
        for ledger in self.ledgers.values_mut() {
            *ledger = match bug {
                Some(Bug::LedgerForgotten) => Ledger::new(ledger.ticket().clone()),
                _ => reload(ledger)?,
            };
        }
        if bug == Some(Bug::OutboxForgotten) {
            self.outbox.clear();
        }
        Ok(())
    }
}

/// To disk and back.
fn reload<T: Serialize + DeserializeOwned>(value: &T) -> Result<T, String> {
    let bytes = cbor4ii::serde::to_vec(Vec::new(), value).map_err(|error| error.to_string())?;
    cbor4ii::serde::from_slice(&bytes).map_err(|error| error.to_string())
}

/// What a value weighs on disk, bytes.
pub(super) fn weight<T: Serialize>(value: &T) -> usize {
    cbor4ii::serde::to_vec(Vec::new(), value).map_or(usize::MAX, |bytes| bytes.len())
}
