//! What can happen in a simulated world, and the order in which it does.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use parlor_proto::{
    group::{Heads, UpdatesResponse, lanes::Lane},
    ids::{ReceiptHash, ReleaseHash, SessionId},
    rights::{Receipt, Release, Signed, SignedRight},
    session::{Message, VoteRequest, VoteResponse},
    wire::CommitsResponse,
};

use super::plan::Wish;

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A parcel arrives.
    Arrives(Box<Parcel>),
    /// A machine's time has come. Of a node's earlier life it means nothing.
    Tick { node: usize, session: SessionId, life: u64 },
    /// What a node does every few seconds: beacons, comparing logs, the outbox.
    Pulse { node: usize, life: u64 },
    /// The transfer of a program has come to its end.
    Fetched { node: usize, session: SessionId, life: u64 },
    /// A user wants something.
    Wish(Wish),
    /// Some user wants something, whatever there is to want then.
    SomeWish,
    /// Something breaks, or is mended.
    Fault,
    /// There is room again on a disk that was full: a node's, or the billing peer's.
    Room { end: usize },
    /// A node that crashed starts again.
    Starts { node: usize },
    /// A node that was away is back.
    Returns { node: usize },
    /// A partition or a cut ends.
    Mends,
    /// Who has left the group speaks all the same, with the keys that it had.
    Haunts { node: usize, session: SessionId },
    /// A cheat does what it does.
    Cheats { node: usize },
    /// Everything is mended, and what users owe is done.
    Heals,
}

/// Something under way between two nodes.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) session: SessionId,
    pub(super) load: Load,
}

/// What is in it.
#[derive(Debug, Clone)]
pub(super) enum Load {
    /// A session's messages.
    Messages { term: u32, first: u64, messages: Vec<Message> },
    /// All messages below are taken.
    Taken { term: u32, next: u64 },
    /// Never.
    Rejected { term: u32, why: &'static str },
    /// Which commits come after this epoch?
    Pull { after: u64 },
    /// These.
    Commits(CommitsResponse),
    /// May I be host?
    Ask(VoteRequest),
    /// The answer.
    Vote(VoteResponse),
    /// The host is there.
    Beacon { host: usize, term: u32, id: u64 },
    /// A sealed frame.
    Sealed(Envelope),
    /// What I have of updates; what comes after?
    Have(Heads),
    /// This.
    Updates(UpdatesResponse),
    /// A receipt, for the billing peer.
    Receipt(Box<(SignedRight, Signed<Receipt>)>),
    /// It is in the billing log.
    Ack(ReceiptHash),
    /// A slot that was given back, for the billing peer.
    Link(Box<(SignedRight, Signed<Release>)>),
    /// It is written down.
    Noted(ReleaseHash),
}

/// A sealed frame on its way through the group: its source is authentic, as gossipsub's signature makes it.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    pub(super) source: usize,
    pub(super) lane: Lane,
    pub(super) frame: Arc<Vec<u8>>,
    /// By which a copy that comes another way is known.
    pub(super) id: u64,
    /// Slipped past the gate: the seal alone has to keep it out.
    pub(super) slipped: bool,
}

/// Events by time, and at one time in the order in which they were thought of.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.order.push(Reverse((at, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((at, number)) = self.order.pop()?;
        Some((at, self.events.remove(&number)?))
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}
