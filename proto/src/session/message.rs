//! What host and member say to each other over a [`super::Channel`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    HostState,
    election::{Mandate, Vote},
    membership::Membership,
};
use crate::{
    group::keys::Commit,
    identity::PeerId,
    ids::ProgramId,
    rights::{Handover, Release, Signed, Slot, Ticket},
    time::Timestamp,
    wire::{MAX_NAME, MAX_REASON},
};

/// Most addresses of one node that a message carries.
pub const MAX_ADDRESSES: usize = 16;
/// Longest address, bytes of its text (a multiaddr).
const MAX_ADDRESS: usize = 256;

/// One message of a session. Each names the step of the flow charts that it belongs to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Message {
    /// ST14-15, host to member: come and run this with us.
    Invite(Box<Invitation>),
    /// ST21-22, member to host: yes, give me a copy.
    Accept(Box<Acceptance>),
    /// ST20, member to host: no.
    Decline(DeclineReason),
    /// ST16-17, host to member: your right to one copy, and the way in.
    Grant(Box<Grant>),
    /// ST16, host to member: no copy for you, for a reason that a person can read.
    Refuse(String),
    /// ST25, member to host: reception complete, set up, ready to run.
    Ready,
    /// Member to host: reception failed for good, for a reason that a person can read.
    Fail(String),
    /// ST18, host to member: who is in the group.
    Roster(Box<Roster>),
    /// ST19, host to member: run.
    Start,
    /// ST26, member to host: running.
    Started,
    /// Step 8, host to member: the whole session pauses. Member to host: I pause.
    Suspend,
    /// Step 8: and goes on.
    Resume,
    /// Member to host: I leave the session.
    Leave,
    /// ST29, member to host: I have discarded my copy; give it to somebody else. Whoever says it has left.
    Release(Signed<Release>),
    /// Host to member: you are no longer in the group.
    Remove,
    /// ST27, host to member: the session is over.
    End,
    /// Host to member: the group's next keys.
    Keys(Box<Change>),
    /// Member to host: my keys are of no use (any more); let me in by this KeyPackage
    /// ([`crate::group::keys::KeyOffer::package`]).
    Offer(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Host to member: the answer to an offer.
    Welcome(Box<Admission>),
    /// Host to the member that is to be host: take over.
    HandOver(Box<HandOver>),
    /// New host to everyone, the first message of its term: I am the host now.
    Claim(Box<Claim>),
}

/// ST21-22: what comes with a yes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Acceptance {
    /// The member, as the others are to see it.
    pub contact: Contact,
    /// For the keys of the group ([`crate::group::keys::KeyOffer::package`]).
    #[serde(with = "serde_bytes")]
    pub package: Vec<u8>,
}

/// ST16-17: what comes with a copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Grant {
    /// The right. `None` only for the ticket's host, who needs none.
    pub slot: Option<Signed<Slot>>,
    /// The host's word that it is for this session. `None` only for the ticket's host.
    pub membership: Option<Signed<Membership>>,
    /// The keys.
    pub admission: Admission,
}

/// The way into the group's keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Admission {
    /// [`crate::group::keys::Staged::welcome`].
    #[serde(with = "serde_bytes")]
    pub welcome: Vec<u8>,
    /// Everyone whose keys are in there, with the slots that say why.
    pub roster: Roster,
}

/// The step to the group's next keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    /// The step.
    pub commit: Commit,
    /// Whom it lets in: nobody is in the keys without a slot.
    pub added: Vec<RosterEntry>,
}

/// What a host hands over to its successor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandOver {
    /// The host's own vote for its successor.
    pub vote: Signed<Vote>,
    /// The group as it is now: from here on the host lets nobody in.
    pub roster: Roster,
    /// The copies that are left, if they can be handed over.
    pub copies: Option<HandedCopies>,
}

/// What is left of a ticket, for the next host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandedCopies {
    /// Names session, term and successor.
    pub handover: Signed<Handover>,
    /// By which those of [`Handover::numbers`] came back.
    pub released: Vec<Signed<Release>>,
}

/// A new term begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claim {
    /// Why its sender is the host now, and the ones before it were; at most [`super::election::MAX_MANDATES`],
    /// the newest last.
    pub mandates: Vec<Mandate>,
    /// The group, the deposed host in it; its [`Roster::term`] is the new term.
    pub roster: Roster,
    /// The way into the new keys, for whoever sent its KeyPackage along with its vote.
    #[serde(with = "serde_bytes")]
    pub welcome: Option<Vec<u8>>,
    /// How far the session is.
    pub state: HostState,
    /// Whether it pauses.
    pub suspended: bool,
}

/// Who somebody is and where to find it. Names are for people: nobody vouches for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Who.
    pub peer: PeerId,
    /// What it calls itself.
    pub name: String,
    /// Multiaddrs, at most [`MAX_ADDRESSES`].
    pub addresses: Vec<String>,
}

impl Contact {
    /// The same, with everything that a peer could make too long cut to its bound.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.name = bounded(self.name, MAX_NAME);
        self.addresses.retain(|address| address.len() <= MAX_ADDRESS);
        self.addresses.truncate(MAX_ADDRESSES);
        self
    }
}

impl Ticket {
    /// Of what somebody says about where peers are, what is about the ticket's billing peers.
    #[must_use]
    pub fn places(&self, said: &[Contact]) -> Vec<Contact> {
        let said_of = |peer| said.iter().find(|contact| contact.peer == peer);
        self.billing
            .iter()
            .filter_map(|peer| said_of(*peer))
            .map(|contact| contact.clone().bounded())
            .collect()
    }
}

/// ST14-15: what, who, how big, what it costs, how long it is good for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invitation {
    /// The right to hand out copies: names program, terms and billing.
    pub ticket: Signed<Ticket>,
    /// The host.
    pub host: Contact,
    /// Where the ticket's billing peers are, as far as the host knows; at most one entry each.
    pub billing: Vec<Contact>,
    /// By which the host has copies to give, unless it is the ticket's.
    pub handover: Option<Signed<Handover>>,
    /// Why it is host, for those who knew another one; as in [`Claim::mandates`].
    pub mandates: Vec<Mandate>,
    /// For people.
    pub version: String,
    /// Bytes that a member without the program has to fetch.
    pub size: u64,
    /// After this, no answer counts.
    pub expires: Timestamp,
}

/// Why a member declines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeclineReason {
    /// ST20: availability is `busy`, or `auto` while another session runs.
    Busy,
    /// The user said no.
    User,
}

/// Who is in the group: the host, and everyone with a slot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Roster {
    /// Of the present host: from 0, and higher with each change.
    pub term: u32,
    /// Who is host now.
    pub host: Contact,
    /// Its right to be there, unless it is the ticket's host, the +1.
    pub host_slot: Option<Signed<Slot>>,
    /// By which it belonged to the session before it was host, unless it is the ticket's host.
    pub host_membership: Option<Signed<Membership>>,
    /// All hosts before this one, at most [`super::MAX_HOSTS`].
    pub former_hosts: Vec<PeerId>,
    /// After how long without a sign of the host another one takes over.
    pub takeover: Duration,
    /// Everyone who has or had a slot, at most [`super::MAX_SEATS`]: what a member said stays true when it has
    /// gone.
    pub members: Vec<RosterEntry>,
}

impl Roster {
    /// Returns the host as an entry of its own roster.
    #[must_use]
    pub fn host_entry(&self) -> RosterEntry {
        RosterEntry {
            slot: self.host_slot.clone(),
            membership: self.host_membership.clone(),
            contact: self.host.clone(),
            state: SeatState::Joined,
            gave_back: false,
        }
    }
}

/// One member in a [`Roster`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RosterEntry {
    /// Its right to be there; checked by everyone. `None` only for the ticket's host, once it is host no more.
    pub slot: Option<Signed<Slot>>,
    /// A host's word that it belongs to this session; checked by everyone. `None` only for the ticket's host.
    pub membership: Option<Signed<Membership>>,
    /// Who and where.
    pub contact: Contact,
    /// As the host has it.
    pub state: SeatState,
    /// It gave its slot back: the slot stands only for what was.
    #[serde(default)]
    pub gave_back: bool,
}

/// What the host knows of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeatState {
    /// Asked, no answer yet.
    Invited,
    /// Has its slot, and is receiving the program.
    Accepted,
    /// Has the program, waits for the start.
    Ready,
    /// Runs.
    Joined,
    /// Suspended on its own node.
    Away,
    /// Said no.
    Declined,
    /// Said yes, and there was no copy left.
    Refused,
    /// Never answered in time.
    Expired,
    /// Could not receive.
    Failed,
    /// Went.
    Left,
    /// Was sent away by the host.
    Removed,
}

impl SeatState {
    /// Whether a member in this state belongs to the group.
    #[must_use]
    pub fn in_group(self) -> bool {
        matches!(self, Self::Accepted | Self::Ready | Self::Joined | Self::Away)
    }

    /// Whether the start of the session has to wait for it.
    #[must_use]
    pub fn holds_up_start(self) -> bool {
        matches!(self, Self::Invited | Self::Accepted)
    }

    /// The word for people and for JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Accepted => "accepted",
            Self::Ready => "ready",
            Self::Joined => "joined",
            Self::Away => "away",
            Self::Declined => "declined",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Removed => "removed",
        }
    }
}

/// A text from a peer, cut to a bound at a character's edge, without control characters.
#[must_use]
pub fn bounded(text: String, most: usize) -> String {
    let mut text: String = text.chars().filter(|c| !c.is_control()).collect();
    if text.len() > most {
        let edge = (0..=most).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(edge);
    }
    text
}

/// A peer's explanation, cut to [`MAX_REASON`].
pub(super) fn reason(text: String) -> String {
    bounded(text, MAX_REASON)
}

/// What an invitation is to: shown before any answer.
impl Invitation {
    /// The program that the ticket names. Unverified.
    #[must_use]
    pub fn program(&self) -> ProgramId {
        self.ticket.unverified().program
    }
}
