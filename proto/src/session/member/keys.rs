//! A member's half of the group's keys: getting in, following the host's commits, catching up from others.
//!
//! For: what the host says about keys, and what other members say when it is gone. Not for: MLS itself, see
//! [`crate::group::keys`].
//!
//! The idea: a commit is vouched for by the host's signature, whoever brings it, and says which slots it lets
//! in: nobody is in the keys without one. Who cannot follow any more offers a KeyPackage, and is let in anew.
//!
//! Two things a host could do unseen are looked for. It could leave somebody in the keys who has gone, as the roster says:
//! that is so for a moment whenever somebody goes, so the host is asked whether there is more, and who hears for
//! [`GHOST_PATIENCE`] that there is not leaves. And it could let members follow different commits to epochs of one number:
//! frames show that ([`crate::group::lanes::OpenError::Forked`]), the host's answer tells, and who is astray comes back.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Member, MemberState, roster::CHEAT};
use crate::{
    group::keys::{Applied, GroupKeys, GroupName, KeyOffer},
    identity::PeerId,
    session::{
        CommitLog, Message,
        message::{Admission, Change},
        step::{Context, Output, Refused, StepError},
    },
    time::Timestamp,
    wire::CommitsResponse,
};

/// How soon to ask for commits again.
const FIRST_PULL: Duration = Duration::from_millis(500);
/// The longest wait between two times.
const LAST_PULL: Duration = Duration::from_secs(30);
/// Times in a row after which nobody is asked any more, until a newer epoch is heard of.
const MAX_PULLS: u32 = 30;

/// How long hints are of no interest after somebody had nothing newer.
const REST: Duration = Duration::from_secs(2);

/// How long somebody may be in the keys who is not in the roster: so long the commit that puts it out may be under way.
const GHOST_PATIENCE: Duration = Duration::from_secs(10);
/// How often the host is asked meanwhile.
const GHOST_PULL: Duration = Duration::from_secs(3);
/// How long the answer to an offer may take, until another one is made.
const OFFER_PATIENCE: Duration = Duration::from_secs(20);

const GHOST: &str = "the host left somebody in the group's keys who is not in the group";
const INTRUDER: &str = "the host let somebody without a slot into the group's keys";

/// The keys, and the way to them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Keys {
    #[serde(with = "crate::session::shared")]
    current: Option<Arc<GroupKeys>>,
    log: CommitLog,
    /// By which the host can let this node in: it was sent to it.
    offer: Option<KeyOffer>,
    /// By which the next host can: it went along with this node's vote.
    vote_offer: Option<KeyOffer>,
    /// The newest epoch that the host spoke of.
    #[serde(default)]
    wanted: u64,
    #[serde(skip)]
    pull_at: Option<Timestamp>,
    #[serde(skip)]
    pulls: u32,
    /// Who was in a later epoch last.
    #[serde(skip)]
    ahead: Option<PeerId>,
    /// Hints before that wait.
    #[serde(skip)]
    rests_until: Option<Timestamp>,
    /// Since when somebody is in the keys who is not in the roster.
    #[serde(skip)]
    haunted: Option<Timestamp>,
    /// When this node, astray, asked to be let in anew.
    #[serde(skip)]
    strayed: Option<Timestamp>,
}

impl Keys {
    pub(super) fn current(&self) -> Option<&Arc<GroupKeys>> {
        self.current.as_ref()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.current.as_ref().map_or(0, |keys| keys.epoch())
    }

    /// Notes that the host can let this node in by this offer now.
    pub(super) fn offered(&mut self, offer: KeyOffer) {
        self.offer = Some(offer);
    }

    /// Notes that a candidate can, once it is host. The host of now may be about to answer the other offer.
    pub(super) fn offered_with_vote(&mut self, offer: KeyOffer) {
        self.vote_offer = Some(offer);
    }

    /// The commits that are kept, of this term and the one before.
    pub(super) fn log(&self) -> CommitLog {
        self.log.clone()
    }

    pub(super) fn inherit(&mut self, log: CommitLog) {
        self.log = log;
    }

    pub(super) fn vote_offer(&self) -> Option<&KeyOffer> {
        self.vote_offer.as_ref()
    }

    /// Notes that `by` is in an epoch beyond this node's: its commits are asked for. It may be of a group that this node has
    /// not heard of yet.
    pub(super) fn heard_of(&mut self, epoch: u64, by: PeerId, now: Timestamp) {
        if epoch > self.epoch() {
            self.ahead = Some(by);
            self.heard_of_others(epoch, now);
        }
    }

    /// Keys that are not this node's, of its own epoch or beyond. Only a hint, so that whoever lies about some costs no
    /// more than a question now and then.
    pub(super) fn heard_of_others(&mut self, epoch: u64, now: Timestamp) {
        let is_news = self.current.as_ref().is_some_and(|keys| epoch >= keys.epoch());
        if is_news && self.pull_at.is_none() {
            self.pull_at = Some(self.rests_until.map_or(now, |until| until.max(now)));
        }
    }

    pub(super) fn pull_due(&self) -> Option<Timestamp> {
        self.pull_at
    }

    /// The epoch after which commits are to be asked for, if it is time.
    pub(super) fn pull(&mut self, now: Timestamp) -> Option<u64> {
        self.pull_at.filter(|at| *at <= now)?;
        let wait = FIRST_PULL.saturating_mul(1 << self.pulls.min(8)).min(LAST_PULL);
        self.pulls += 1;
        let goes_on = self.pulls < MAX_PULLS || self.wanted > self.epoch();
        self.pull_at = goes_on.then(|| now + wait);
        Some(self.epoch())
    }

    /// The host itself spoke of this epoch: it is asked for until it is reached.
    fn told_of(&mut self, epoch: u64, now: Timestamp) {
        self.wanted = self.wanted.max(epoch);
        if self.pull_at.is_none() {
            self.pull_at = Some(now);
        }
    }

    /// Returns who said last that it is in a later epoch, once.
    pub(super) fn take_ahead(&mut self) -> Option<PeerId> {
        self.ahead.take()
    }

    /// After a restart.
    pub(super) fn go_on(&mut self, now: Timestamp) {
        if self.wanted > self.epoch() {
            self.told_of(self.wanted, now);
        }
    }

    /// Somebody answered who is in epoch `newest`. Where there is nothing newer, hints are of no interest for a while.
    fn answered(&mut self, newest: u64, has_moved: bool, now: Timestamp) {
        if newest.max(self.wanted) <= self.epoch() {
            let again = self.haunted.map(|_| now + GHOST_PULL);
            (self.pulls, self.pull_at, self.rests_until) = (0, again, Some(now + REST));
        } else if has_moved {
            (self.pulls, self.pull_at) = (0, Some(now));
        }
    }

    /// The term's keys are of the past. The offer that went along with this node's vote stays.
    /// Those of another host of the `same` term are good for nothing.
    pub(super) fn begin_term(&mut self, same: bool) {
        if same {
            self.current = None;
        }
        (self.pull_at, self.pulls, self.wanted) = (None, 0, 0);
        (self.haunted, self.strayed) = (None, None);
    }

    /// Somebody is in the keys who is not in the roster, or nobody any more.
    fn haunt(&mut self, is_haunted: bool, now: Timestamp) {
        if !is_haunted {
            self.haunted = None;
        } else if self.haunted.is_none() {
            self.haunted = Some(now);
            self.pull_at = self.pull_at.or(Some(now + FIRST_PULL));
        }
    }

    /// Whether it has been so for longer than a commit takes.
    fn is_haunted(&self, now: Timestamp) -> bool {
        self.haunted.is_some_and(|since| since + GHOST_PATIENCE <= now)
    }

    /// Whether these are other keys of the epoch that this node is in; and no offer is under way because of that.
    fn is_astray(&self, answer: &CommitsResponse, now: Timestamp) -> bool {
        let differs = |keys: &Arc<GroupKeys>| {
            keys.epoch() == answer.newest && answer.state.is_some_and(|state| state != keys.tag())
        };
        let has_offered = self.strayed.is_some_and(|at| at + OFFER_PATIENCE > now);
        self.current.as_ref().is_some_and(differs) && !has_offered
    }
}

impl Member {
    /// What a member of the group that is in epoch `after` missed.
    #[must_use]
    pub fn commits_after(&self, from: PeerId, after: u64) -> CommitsResponse {
        let in_group =
            self.host().peer == from || self.in_group().any(|(_, entry)| entry.contact.peer == from);
        if !in_group || !self.state.in_group() {
            return CommitsResponse::default();
        }
        let state = self.keys.current.as_ref().map(|keys| keys.tag());
        CommitsResponse { newest: self.keys.epoch(), state, changes: self.keys.log.after(after) }
    }

    /// Compares the keys with the roster, after either has changed.
    pub(super) fn compare_keys(&mut self, now: Timestamp) {
        let keys = self.keys.current.as_ref().filter(|keys| keys.term() == self.term());
        let seated = self.seated();
        let is_haunted = keys.is_some_and(|keys| keys.members().keys().any(|peer| !seated.contains(peer)));
        self.keys.haunt(is_haunted, now);
    }

    /// ST23: the way into the keys. A host that lets nobody in is no use; one that lets strangers in is worse.
    pub(super) fn welcomed(
        &mut self,
        admission: Admission,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        self.take_roster(admission.roster, context, outputs)?;
        if !self.state.in_group() {
            return Ok(());
        }
        self.join(&admission.welcome, context, outputs)
    }

    pub(super) fn join(
        &mut self,
        welcome: &[u8],
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let name = GroupName { session: self.session, term: self.term() };
        let offers = self.keys.vote_offer.iter().chain(&self.keys.offer);
        let joined = offers.map(|offer| GroupKeys::join(offer, welcome, name, self.host().peer));
        // Of the one that the welcome answers, or of the last.
        let joined = joined.reduce(|before, next| if before.is_ok() { before } else { next });
        let seated = self.seated();
        match joined {
            Some(Ok(keys)) if keys.members().keys().all(|peer| seated.contains(peer)) => {
                let keys = Arc::new(keys);
                self.keys.current = Some(Arc::clone(&keys));
                self.keys.offer = None;
                self.keys.vote_offer = None;
                (self.keys.haunted, self.keys.strayed) = (None, None);
                outputs.push(Output::Entered(keys));
                Ok(())
            }
            Some(Ok(_)) => self.go(INTRUDER, context, outputs),
            // Of an offer before the newest: its answer is still to come.
            Some(Err(_)) if self.state != MemberState::Receiving || self.has_keys() => Ok(()),
            Some(Err(_)) => self.fail("the host's keys do not stand up", context, outputs),
            None => Ok(()),
        }
    }

    fn has_keys(&self) -> bool {
        self.keys.current.as_ref().is_some_and(|keys| keys.term() == self.term())
    }

    /// This node's keys are of no use: the host is asked to let it in anew, unless it has not taken the last such question.
    pub(super) fn offer_anew(&mut self, context: &mut Context<'_>) -> Result<(), StepError> {
        let is_offer = |message: &Message| matches!(message, Message::Offer(_));
        if self.keys.offer.is_some() && self.channel.has_waiting(is_offer) {
            return Ok(());
        }

        let seed = context.random.seed();
        let offer = KeyOffer::new(context.identity, &seed).map_err(|_| StepError::Keys)?;
        self.channel.say(Message::Offer(offer.package().to_vec()), context.now);
        self.keys.offered(offer);
        Ok(())
    }

    /// The step to the next epoch, from the host, or another member that kept it.
    pub(super) fn follow_keys(
        &mut self,
        change: Change,
        from: PeerId,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let by_host = from == self.host().peer;
        let Some(keys) = self.keys.current.as_ref().filter(|keys| keys.term() == self.term()) else {
            return Ok(());
        };
        match keys.apply(&change.commit.bytes) {
            Ok(Applied::Merged(merged)) => {
                let added = self.let_in_by(&change, &merged.added);
                if let Some(proof) = self.contradiction(None, &change.added) {
                    outputs.push(Output::Cheat(Box::new(proof)));
                    return self.go(CHEAT, context, outputs);
                }
                let seated = self.seated();
                let has_slot = |peer: &PeerId| {
                    seated.contains(peer) || added.iter().any(|(_, entry)| entry.contact.peer == *peer)
                };
                if !merged.added.iter().all(has_slot) {
                    // Another member may have left the slots out.
                    outputs.push(Output::Refused { from, what: Refused::Commit });
                    return if by_host { self.go(INTRUDER, context, outputs) } else { Ok(()) };
                }
                added.into_iter().for_each(|seated| self.seat(seated));
                merged.removed.iter().filter(|peer| !merged.added.contains(peer)).for_each(|peer| {
                    self.put_out(*peer);
                });
                let keys = Arc::new(merged.keys);
                self.keys.current = Some(Arc::clone(&keys));
                self.keys.log.push(change);
                self.compare_keys(context.now);
                outputs.push(Output::Entered(keys));
            }
            Ok(Applied::Known) => {}
            Ok(Applied::Ahead { .. }) if by_host => self.keys.told_of(change.commit.epoch, context.now),
            Ok(Applied::Ahead { .. }) => {}
            // What follows from it, the host says itself: that this node is removed, or let in anew.
            Ok(Applied::Removed) => {}
            Err(_) if by_host => self.offer_anew(context)?,
            Err(_) => outputs.push(Output::Refused { from, what: Refused::Commit }),
        }
        Ok(())
    }

    /// What `from` has of the commits that this node lacks.
    pub(super) fn pulled(
        &mut self,
        from: PeerId,
        mut answer: CommitsResponse,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if !self.state.in_group() {
            return Ok(());
        }
        let before = self.keys.epoch();
        let CommitsResponse { changes, .. } = &mut answer;
        for change in std::mem::take(changes) {
            self.follow_keys(change, from, context, outputs)?;
        }
        let (epoch, by_host) = (self.keys.epoch(), from == self.host().peer);
        let is_behind = answer.newest > epoch;
        if by_host && self.has_keys() {
            if is_behind && epoch == before {
                // The host has no commits any more that would lead there.
                self.offer_anew(context)?;
            } else if self.keys.is_astray(&answer, context.now) {
                self.keys.strayed = Some(context.now);
                self.offer_anew(context)?;
            } else if !is_behind && self.keys.is_haunted(context.now) {
                return self.go(GHOST, context, outputs);
            }
        }
        self.keys.answered(answer.newest, epoch > before, context.now);
        Ok(())
    }
}
