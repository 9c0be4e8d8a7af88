//! Every message and protocol name, in one page.
//!
//! For: what travels between two nodes in request-response protocols (CBOR, one map a message, field names as
//! below), and the names under which the swarm speaks them. Not for: what follows from a message: see
//! [`crate::session`], [`crate::billing`], [`crate::group`]; nor for the frames of a program's bytes (see
//! [`crate::content`]).
//!
//! The idea: a version is part of a protocol's name. A message never changes its meaning; a new one gets a
//! new name. Byte strings are CBOR byte strings. Everything here is hostile until verified: [`Signed`] items
//! have passed no check of their signature yet.

use serde::{Deserialize, Serialize};

use crate::{
    billing::{BillingRequest, BillingResponse, Tariff},
    group::{UpdatesRequest, UpdatesResponse, keys::EpochTag},
    identity::PeerId,
    ids::{ProgramId, SessionId},
    program::CopiesRule,
    rights::{LeaseTerms, Signed, Ticket},
    session::{Change, Contact, LinkRefusal, LinkSecret, Message, VoteRequest, VoteResponse},
};

/// What a Parlor node calls itself in identify's `protocol_version`.
pub const IDENTIFY: &str = "/parlor/1";
/// Catalog query: [`CatalogRequest`], [`CatalogResponse`].
pub const CATALOG: &str = "/parlor/catalog/1";
/// Supply of a ticket: [`SupplyRequest`], [`SupplyResponse`].
pub const SUPPLY: &str = "/parlor/supply/1";
/// Invitation to end of a session: [`SessionRequest`], [`SessionResponse`].
pub const SESSION: &str = "/parlor/session/1";
/// Updates that a member missed: [`UpdatesRequest`], [`UpdatesResponse`].
pub const UPDATES: &str = "/parlor/updates/2";
/// Commits that a member missed: [`CommitsRequest`], [`CommitsResponse`].
pub const COMMITS: &str = "/parlor/commits/1";
/// Who is to be host: [`VoteRequest`], [`VoteResponse`].
pub const VOTE: &str = "/parlor/vote/1";
/// Who has a link asks to be invited: [`LinkRequest`], [`LinkResponse`].
pub const LINK: &str = "/parlor/link/1";
/// Receipts to a billing peer: [`BillingRequest`], [`BillingResponse`].
pub const BILLING: &str = "/parlor/billing/1";
/// A program's bytes, as a stream of frames.
pub const CONTENT: &str = "/parlor/content/1";
/// A session's gossipsub protocols are `/parlor/group/<session>/…`.
pub const GROUP_PREFIX: &str = "/parlor/group/";

/// Under which namespace a node registers at rendezvous points: only who knows its peer id can form it.
#[must_use]
pub fn rendezvous_namespace(peer: PeerId) -> String {
    format!("parlor/1/{}", hex::encode(blake3::derive_key("parlor rendezvous 1", &peer.to_bytes())))
}

/// Longest name of a node, a program or a file of signs for people, bytes of UTF-8.
pub const MAX_NAME: usize = 64;
/// Longest explanation that one node gives another, bytes of UTF-8.
pub const MAX_REASON: usize = 512;
/// Most programs in one catalog.
pub const MAX_OFFERS: usize = 1_000;

/// A request, of any protocol.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Request {
    Catalog(CatalogRequest),
    Supply(Box<SupplyRequest>),
    Session(SessionRequest),
    Updates(UpdatesRequest),
    Commits(CommitsRequest),
    Vote(Box<VoteRequest>),
    Link(LinkRequest),
    Billing(Box<BillingRequest>),
}

/// The answer to a [`Request`], of the same protocol.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Response {
    Catalog(CatalogResponse),
    Supply(Box<SupplyResponse>),
    Session(SessionResponse),
    Updates(UpdatesResponse),
    Commits(CommitsResponse),
    Vote(Box<VoteResponse>),
    Link(LinkResponse),
    Billing(Box<BillingResponse>),
}

/// ST1: which programs do you offer?
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogRequest {}

/// ST10: these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogResponse {
    /// At most [`MAX_OFFERS`].
    pub programs: Vec<Offer>,
}

/// One program of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// By which it is asked for; unique within the catalog.
    pub name: String,
    /// What it is, by content.
    pub program: ProgramId,
    /// For people.
    pub version: String,
    /// One line for people.
    pub summary: Option<String>,
    /// All files of it, bytes.
    pub size: u64,
    /// How many copies may be asked for.
    pub copies: CopiesRule,
    /// What it costs whom.
    pub tariff: Tariff,
    /// Set when the program runs under leases only.
    pub lease: Option<LeaseTerms>,
}

/// ST3: what a host asks of an origin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SupplyRequest {
    /// Program and number of copies.
    Ticket {
        /// Random, kept by the host before it asks: the same request gets the same ticket, so that a host
        /// which crashed before it could note the ticket does not pay twice.
        request: RequestId,
        /// The program's name in the catalog.
        name: String,
        /// How many members are to get a copy. `None`: what the origin gives by default.
        copies: Option<u32>,
    },
}

/// ST11-12: the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SupplyResponse {
    /// The right to hand out copies. The files follow over [`CONTENT`].
    Ticket {
        /// The right.
        ticket: Signed<Ticket>,
        /// Where the ticket's billing peers are, as far as the origin knows; at most one entry each.
        billing: Vec<Contact>,
    },
    /// No, for a reason that a person can read.
    Refused(String),
}

/// A supply request's name: see [`SupplyRequest::Ticket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId(#[serde(with = "serde_bytes")] pub [u8; 16]);

/// Messages of a session, in order: see [`crate::session::Channel`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionRequest {
    /// Which session.
    pub session: SessionId,
    /// In which term of it: each has a host, and conversations, of its own.
    pub term: u32,
    /// The number of the first message here; the rest follow without gaps.
    pub first: u64,
    /// At most [`crate::session::MAX_IN_FLIGHT`].
    pub messages: Vec<Message>,
}

/// What became of the messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionResponse {
    /// All messages numbered below `next` are taken, durably.
    Taken {
        /// The number of the message that is expected next.
        next: u64,
    },
    /// Not now; the same again later.
    Later,
    /// Never: no such session here, or an invitation that does not stand up. For a person to read.
    Rejected(String),
}

/// Which commits come after this epoch?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitsRequest {
    /// Of which session.
    pub session: SessionId,
    /// The epoch of the asking node's keys ([`crate::group::keys::GroupKeys::epoch`]).
    pub after: u64,
}

/// These, in order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CommitsResponse {
    /// The epoch of the answering node's keys; 0 if it has none for the asking one.
    pub newest: u64,
    /// Which keys of that epoch: others than the asking node's own, if the two have followed different commits.
    #[serde(default)]
    pub state: Option<EpochTag>,
    /// At most [`crate::session::MAX_COMMITS_SENT`].
    pub changes: Vec<Change>,
}

/// I have a link: invite me.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRequest {
    /// Into which session.
    pub session: SessionId,
    /// Of the link.
    pub secret: LinkSecret,
}

/// What the host says to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkResponse {
    /// The invitation is on its way, over [`SESSION`]. The same again gets the same answer.
    Invited,
    /// No.
    Refused(LinkRefusal),
}
