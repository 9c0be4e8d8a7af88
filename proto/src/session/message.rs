//! What host and member say to each other over a [`super::Channel`].

use serde::{Deserialize, Serialize};

use crate::{
    identity::PeerId,
    ids::ProgramId,
    rights::{Release, Signed, Slot, Ticket},
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
    Accept(Contact),
    /// ST20, member to host: no.
    Decline(DeclineReason),
    /// ST16-17, host to member: your right to one copy.
    Grant(Signed<Slot>),
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
    /// The +1.
    pub host: Contact,
    /// Everyone who has or had a slot, at most [`super::MAX_SEATS`]: what a member said stays true when it has
    /// gone.
    pub members: Vec<RosterEntry>,
}

/// One member in a [`Roster`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RosterEntry {
    /// Its right to be there; checked by everyone.
    pub slot: Signed<Slot>,
    /// Who and where.
    pub contact: Contact,
    /// As the host has it.
    pub state: SeatState,
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
