//! One step of a session: what goes into a machine, what comes out, what it needs of its surroundings.
//!
//! For: the vocabulary that [`super::Host`] and [`super::Member`] share, so that whoever drives a session need not
//! know which of the two this node is. Not for: what follows from an input: see there.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Contact, DeclineReason, LinkSecret, Message,
    election::{VoteRequest, VoteResponse},
    host::HostError,
    member::MemberError,
};
use crate::{
    group::keys::GroupKeys,
    identity::{Identity, PeerId},
    ids::SlotHash,
    rights::{EquivocationProof, Ledger, Receipt, Release, Right, SignError, Verified},
    time::Timestamp,
    wire::CommitsResponse,
};

/// What happens to a session.
#[derive(Debug, Clone)]
pub enum Input {
    /// A peer's messages (from its authenticated connection).
    Message {
        /// Who speaks.
        from: PeerId,
        /// As in [`crate::wire::SessionRequest`].
        term: u32,
        /// As in [`crate::wire::SessionRequest`].
        first: u64,
        /// As in [`crate::wire::SessionRequest`].
        messages: Vec<Message>,
    },
    /// The peer has taken what was sent.
    Taken {
        /// Who answered.
        from: PeerId,
        /// In which term it was sent.
        term: u32,
        /// Below which everything is taken.
        next: u64,
    },
    /// The peer's node refuses the session as such.
    Rejected {
        /// Who.
        from: PeerId,
        /// In which term it was asked.
        term: u32,
        /// For people.
        why: String,
    },
    /// A peer came into reach.
    Reachable(PeerId),
    /// A peer's answer to [`Output::PullCommits`].
    Commits {
        /// Who answered.
        from: PeerId,
        /// What it has.
        answer: CommitsResponse,
    },
    /// Somebody speaks in an epoch for which this node has no keys yet; or in this node's own, with other keys. A hint:
    /// nobody has vouched for it.
    Behind(u64),
    /// A member wants to be host.
    VoteAsked {
        /// Which.
        from: PeerId,
        /// Of what.
        request: VoteRequest,
    },
    /// A peer's answer to [`Output::AskVote`].
    VoteAnswered {
        /// Who answered.
        from: PeerId,
        /// What.
        answer: VoteResponse,
    },

    /// ST14: the user of the host invites. Seats that were given up are asked again.
    Invite(Vec<Contact>),
    /// ST14: the user of the host makes a link, for somebody or for whoever opens it first.
    OfferLink {
        /// What opens it; fresh randomness.
        secret: LinkSecret,
        /// Until when.
        expires: Timestamp,
        /// For whom alone.
        bound: Option<PeerId>,
    },
    /// Somebody (by its authenticated connection) opens a link, which [`super::Role::may_open`] said it may.
    OpenLink {
        /// Who.
        from: PeerId,
        /// What it has shown.
        secret: LinkSecret,
    },
    /// The user of the host sends somebody away.
    Remove(PeerId),
    /// ST19: the user of the host starts with those that are ready; late ones come in.
    Start,
    /// ST27: the user of the host ends the session.
    End,
    /// The user of the host makes a member the host, with all copies that are left.
    HandOver(PeerId),
    /// ST21: the user of an invited node, or a rule, says yes.
    Accept,
    /// ST20: the user of an invited node, or a rule, says no.
    Decline(DeclineReason),
    /// The user of a member leaves.
    Leave,
    /// ST29: the copy is discarded: its slot goes back to the host. A member that has not left yet leaves.
    Discard,
    /// The same, while another session of the same ticket still uses the slot: it goes back later, when
    /// [`Input::Discard`] says so.
    DiscardLater,
    /// Step 8: the host pauses the session, a member its own part in it.
    Suspend,
    /// Step 8.
    Resume,

    /// ST24: every byte is here and verified.
    Received,
    /// It cannot be had: for people.
    ReceptionFailed(String),
    /// The node has started anew, or its clock was set back.
    Restarted,
    /// The time that [`super::Role::due`] named has come.
    Tick,
}

/// What is to be done, after the machine is on disk.
#[derive(Debug)]
pub enum Output {
    /// Send to a peer, over the session protocol.
    Send {
        /// Whom.
        to: PeerId,
        /// As in [`crate::wire::SessionRequest`].
        term: u32,
        /// As in [`crate::wire::SessionRequest`].
        first: u64,
        /// As in [`crate::wire::SessionRequest`].
        messages: Vec<Message>,
    },
    /// To the outbox, in the same transaction as the machine.
    Receipt(Box<(Right, Verified<Receipt>)>),
    /// A slot was given back: for the ticket's billing peers, by the outbox, in the same transaction.
    Released(Box<(Right, Verified<Release>)>),
    /// The host gave one slot to two members: to be kept, in the same transaction. The member is out.
    Cheat(Box<EquivocationProof>),
    /// The group has come to new keys: each epoch once, in order.
    Entered(Arc<GroupKeys>),
    /// Ask the host, or another member if that is out of reach, for commits ([`crate::wire::CommitsRequest`]).
    PullCommits {
        /// The epoch that this node is in.
        after: u64,
        /// Who is known to be in a later one: the first to ask if the host is out of reach.
        ahead: Option<PeerId>,
    },
    /// A peer said what is not its to say: for the log.
    Refused {
        /// Who.
        from: PeerId,
        /// What.
        what: Refused,
    },
    /// Ask a member for its vote.
    AskVote {
        /// Whom.
        of: PeerId,
        /// Of what.
        request: VoteRequest,
    },
}

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// To be host.
    Claim,
    /// As host: somebody in the roster without a right to be there.
    Roster,
    /// A commit that does not stand up, or lets somebody in without a slot.
    Commit,
}

/// What a machine needs of its surroundings for one step.
pub struct Context<'a> {
    /// The node's key.
    pub identity: &'a Identity,
    /// The node itself, as the others are to see it.
    pub me: &'a Contact,
    /// The time.
    pub now: Timestamp,
    /// Of this step.
    pub random: Randomness,
    /// This node's book of the session's ticket, if it has one; to be stored in the same transaction.
    pub ledger: &'a mut Option<Ledger>,
    /// Slots by which members are in other sessions of this host ([`super::Host::slots_in_use`]): not taken back.
    pub elsewhere: &'a BTreeSet<SlotHash>,
    /// Where the ticket's billing peers are, as far as is known.
    pub billing: &'a [Contact],
}

/// Fresh randomness for one step, as many seeds as it takes.
#[derive(Clone)]
pub struct Randomness {
    seed: [u8; 32],
    used: u64,
}

impl Randomness {
    /// From 32 bytes of fresh randomness, used for nothing else.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, used: 0 }
    }

    /// A seed, each time another.
    pub fn seed(&mut self) -> [u8; 32] {
        self.used += 1;
        *blake3::keyed_hash(&self.seed, &self.used.to_be_bytes()).as_bytes()
    }
}

/// Why a wish cannot be carried out. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StepError {
    #[error("only the session's host can do that")]
    NotHost,
    #[error("this node hosts the session: only members can do that")]
    NotMember,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error("the node's key cannot sign this")]
    Sign,
    #[error("the group's keys cannot be changed")]
    Keys,
}

impl From<SignError> for StepError {
    fn from(_: SignError) -> Self {
        Self::Sign
    }
}
