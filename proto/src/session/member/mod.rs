//! The member's machine: answering, receiving, running (ST20-29; Figs. 8 and 10).
//!
//! For: one session on the node of one invited member, from the invitation to the end. Not for: the bytes of
//! the program (the machine says under which right to fetch it, and is told when it is here).
//!
//! The idea: the same as the host's: messages over a [`Channel`], and what the node should be doing right now
//! is read off the state ([`Member::fetches`], [`Member::group`], [`Member::runs`]), so that a killed node goes
//! on from the step it was at.
//!
//! - `invitation`: what is checked of one, and the answer (ST20-22);
//! - `course`: receiving, running, pausing, leaving (ST23-29);
//! - `roster`: who else is in the group, and by which right;
//! - `keys`: the group's keys;
//! - `succession`: what a member does when the host is gone.

mod course;
mod invitation;
mod keys;
mod roster;
mod succession;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::invitation::{InvitationError, Invited};
pub(super) use self::{
    invitation::check_handover,
    roster::{AdmissionRule, Seated, place},
};
use self::{keys::Keys, succession::Succession};
use super::{
    Channel, Contact, Membership, Message, RosterEntry,
    message::reason,
    step::{Context, Input, Output, StepError},
};
use crate::{
    group::keys::GroupKeys,
    identity::PeerId,
    ids::{SessionId, SlotHash},
    rights::{Right, Signed, Slot, Ticket, Verified},
    time::Timestamp,
};

/// One session, as one of its members has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    session: SessionId,
    ticket: Verified<Ticket>,
    me: PeerId,
    invited: Invited,
    state: MemberState,
    /// The whole session pauses.
    suspended_by_host: bool,
    /// This node pauses.
    suspended: bool,
    /// `None` until granted, and for the ticket's host.
    slot: Option<Verified<Slot>>,
    /// By which the slot is for this session.
    membership: Option<Signed<Membership>>,
    /// The host's own, unless it is the ticket's.
    host_slot: Option<Verified<Slot>>,
    host_membership: Option<Signed<Membership>>,
    /// Everyone who has or had a right to be there but the host; this node too.
    others: Vec<(Option<Verified<Slot>>, RosterEntry)>,
    running_since: Option<Timestamp>,
    why: Option<String>,
    /// The copy is discarded, and the slot goes back as soon as no other session uses it.
    gives_back: bool,
    /// Slots that this node gave back: it is not let in by them again. The newest [`MAX_GIVEN_BACK`].
    gave_back: Vec<SlotHash>,
    channel: Channel,
    keys: Keys,
    succession: Succession,
}

/// Most slots that a node gave back in one session and remembers.
const MAX_GIVEN_BACK: usize = 32;

/// How far the member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// ST20: in the inbox.
    Invited,
    /// ST21-22: said yes, waits for the slot.
    Accepted,
    /// ST23: has its slot, receives the program.
    Receiving,
    /// ST25: has everything, waits for the start.
    Ready,
    /// ST26: runs.
    Running,
    /// ST20: said no.
    Declined,
    /// ST20: did not answer in time.
    Expired,
    /// ST16: there was no copy left.
    Refused,
    /// Could not receive.
    Failed,
    /// Went.
    Left,
    /// Was sent away.
    Removed,
    /// ST27-29.
    Ended,
}

impl MemberState {
    /// Whether nothing follows, unless the host invites again.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Invited | Self::Accepted | Self::Receiving | Self::Ready | Self::Running)
    }

    /// Whether it belongs to the group.
    #[must_use]
    pub fn in_group(self) -> bool {
        matches!(self, Self::Receiving | Self::Ready | Self::Running)
    }

    /// The word for people and for JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Accepted => "accepted",
            Self::Receiving => "receiving",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Ended => "ended",
        }
    }
}

/// Why a wish of a member's user cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum MemberError {
    #[error("the invitation was answered already")]
    Answered,
    #[error("the invitation has expired: ask the host to invite again")]
    Expired,
    #[error("the session is over for this node")]
    Over,
    #[error("the session is suspended already")]
    Suspended,
    #[error("the session is not suspended")]
    NotSuspended,
    #[error("the host suspended the session: only the host can resume it")]
    SuspendedByHost,
}

impl Member {
    /// Which session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Whose copies are handed out.
    #[must_use]
    pub fn ticket(&self) -> &Verified<Ticket> {
        &self.ticket
    }

    /// What the invitation said.
    #[must_use]
    pub fn invitation(&self) -> &Invited {
        &self.invited
    }

    /// The host of now.
    #[must_use]
    pub fn host(&self) -> &Contact {
        &self.invited.host
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> MemberState {
        self.state
    }

    /// Why it is no further, for people.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Whether it pauses, by its own or the host's wish.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspended || self.suspended_by_host
    }

    /// Everyone who has or had a slot, this node too, as the host last told.
    pub fn roster(&self) -> impl Iterator<Item = &RosterEntry> {
        self.others.iter().map(|(_, entry)| entry)
    }

    /// This node's slot.
    #[must_use]
    pub fn slot(&self) -> Option<&Verified<Slot>> {
        self.slot.as_ref()
    }

    /// The host's word that the slot is for this session.
    #[must_use]
    pub fn membership(&self) -> Option<&Signed<Membership>> {
        self.membership.as_ref()
    }

    /// Whether the slot is to go back to the host: see [`Input::DiscardLater`].
    #[must_use]
    pub fn gives_back(&self) -> bool {
        self.gives_back
    }

    /// The right to a copy, once granted.
    #[must_use]
    pub fn right(&self) -> Option<Right> {
        match &self.slot {
            Some(slot) => Right::of_member(self.ticket.clone(), slot.clone()).ok(),
            None if self.ticket.host == self.me => Some(Right::of_host(self.ticket.clone())),
            None => None,
        }
    }

    /// ST23: the right under which to fetch the program now, if that is the step.
    #[must_use]
    pub fn fetches(&self) -> Option<Right> {
        (self.state == MemberState::Receiving && !self.is_suspended()).then(|| self.right()).flatten()
    }

    /// Who is in the group now, host included and this node not; `None` while this node is not in it. Who gave
    /// its slot back is not, once somebody else has it.
    #[must_use]
    pub fn group(&self) -> Option<Vec<Contact>> {
        if !self.state.in_group() {
            return None;
        }
        let others = self.in_group().filter(|(_, entry)| entry.contact.peer != self.me);
        let others = others.map(|(_, entry)| &entry.contact);
        Some(std::iter::once(&self.invited.host).chain(others).cloned().collect())
    }

    /// The group's keys, as long as this node is in it.
    #[must_use]
    pub fn keys(&self) -> Option<&Arc<GroupKeys>> {
        self.keys.current().filter(|_| self.state.in_group())
    }

    /// How often the host has changed.
    #[must_use]
    pub fn term(&self) -> u32 {
        self.succession.term()
    }

    /// After how long without a sign of the host another one takes over.
    #[must_use]
    pub fn takeover(&self) -> Duration {
        self.succession.takeover()
    }

    /// Who was host before.
    #[must_use]
    pub fn former_hosts(&self) -> &[PeerId] {
        self.succession.former_hosts()
    }

    /// ST26: whether the program runs on this node now.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.state == MemberState::Running && !self.is_suspended()
    }

    /// When the machine wants its next [`Input::Tick`].
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let expiry = (self.state == MemberState::Invited).then_some(self.invited.expires);
        let in_group = self.state.in_group();
        let pull = self.keys.pull_due().filter(|_| in_group);
        let campaign = self.campaign_due().or_else(|| self.look_due()).filter(|_| in_group);
        [self.channel.due(), expiry, pull, campaign].into_iter().flatten().min()
    }

    /// Whether something is to be said to the host as soon as it can be reached.
    #[must_use]
    pub fn waits_for_host(&self) -> bool {
        !self.channel.is_idle()
    }

    /// What the host is to be told was heard of it: see [`Channel::expected`].
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.channel.expected()
    }

    /// Takes an input. What changed must be on disk before the outputs are carried out.
    pub fn handle(
        &mut self,
        input: Input,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let (now, host, term) = (context.now, self.host().peer, self.term());
        let of_host = |from, of_term| from == host && of_term == term;
        match input {
            Input::Message { from, term, first, messages } if of_host(from, term) => {
                self.host_heard(from, term, now);
                for message in self.channel.hear(first, messages) {
                    self.heard(message, context, outputs)?;
                }
            }
            Input::Taken { from, term, next } if of_host(from, term) => self.channel.taken(next, now),
            Input::Rejected { from, term, why } if of_host(from, term) => {
                // Should the host invite again, both begin anew.
                self.channel = Channel::default();
                if !self.state.is_final() {
                    self.finish(MemberState::Ended, Some(reason(why)), context, outputs)?;
                }
            }
            Input::Reachable(peer) if peer == host => self.channel.hurry(now),
            Input::Restarted => {
                self.channel.hurry(now);
                self.lost_count(now);
                self.keys.go_on(now);
            }
            Input::Accept => self.accept(context)?,
            Input::Decline(why) => self.decline(why, now)?,
            Input::Received => self.received(context, outputs)?,
            Input::ReceptionFailed(why) if self.state == MemberState::Receiving => {
                self.channel.say(Message::Fail(why.clone()), now);
                self.finish(MemberState::Failed, Some(why), context, outputs)?;
            }
            Input::Suspend => self.suspend(context, outputs)?,
            Input::Resume => self.resume(now)?,
            Input::Leave => self.leave(context, outputs)?,
            Input::Discard => self.discard(context, outputs)?,
            Input::DiscardLater => {
                if !self.state.is_final() {
                    self.leave(context, outputs)?;
                }
                self.gives_back = self.slot.is_some();
            }
            Input::Commits { from, answer } => self.pulled(from, answer, context, outputs)?,
            Input::Behind(epoch) => self.keys.heard_of_others(epoch, now),
            Input::VoteAsked { from, request } => self.vote_asked(from, &request, context)?,
            Input::VoteAnswered { from, answer } => self.vote_answered(from, answer, context, outputs)?,
            Input::Tick => {
                self.expire(now);
                self.campaign(context, outputs)?;
                self.look(context, outputs);
            }
            Input::Invite(_) | Input::Remove(_) | Input::Start | Input::End | Input::HandOver(_) => {
                return Err(StepError::NotHost);
            }
            Input::OfferLink { .. } | Input::OpenLink { .. } => return Err(StepError::NotHost),
            // Of another term, of somebody who is not the host, or out of season.
            Input::Message { .. } | Input::Taken { .. } | Input::Rejected { .. } => {}
            Input::Reachable(_) | Input::ReceptionFailed(_) => {}
        }
        let term = self.term();
        if let Some((first, messages)) = self.channel.poll(now) {
            outputs.push(Output::Send { to: self.host().peer, term, first, messages });
        }
        if let Some(after) = self.keys.pull(now).filter(|_| self.state.in_group()) {
            outputs.push(Output::PullCommits { after, ahead: self.keys.take_ahead() });
        }
        Ok(())
    }

    fn heard(
        &mut self,
        message: Message,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        match message {
            Message::Invite(invitation) if self.state.is_final() => {
                self.invited_again(&invitation, context.now)
            }
            Message::Grant(grant) if self.state == MemberState::Accepted => {
                self.granted(*grant, context, outputs)?;
            }
            Message::Refuse(why) if self.state == MemberState::Accepted => {
                self.finish(MemberState::Refused, Some(reason(why)), context, outputs)?;
            }
            Message::Roster(roster) if !self.state.is_final() => {
                self.take_roster(*roster, context, outputs)?;
            }
            Message::Start => self.start(context, outputs)?,
            Message::Suspend if !self.state.is_final() => {
                self.suspended_by_host = true;
                self.used(context, outputs)?;
            }
            Message::Resume if !self.state.is_final() => {
                self.suspended_by_host = false;
                self.count_from(context.now);
            }
            Message::Remove if !self.state.is_final() => {
                self.removed(context, outputs)?;
            }
            Message::End if !self.state.is_final() => {
                self.finish(MemberState::Ended, None, context, outputs)?;
            }
            Message::Keys(change) if self.state.in_group() => {
                let host = self.host().peer;
                self.follow_keys(*change, host, context, outputs)?;
            }
            Message::Welcome(admission) if self.state.in_group() => {
                self.welcomed(*admission, context, outputs)?;
            }
            Message::HandOver(hand_over) if self.state.in_group() => {
                self.inherit(*hand_over, context, outputs)?;
            }
            Message::Claim(claim) => self.claimed(*claim, context, outputs)?,
            // Anything else is out of step, or meant for a host.
            _ => {}
        }
        Ok(())
    }
}
