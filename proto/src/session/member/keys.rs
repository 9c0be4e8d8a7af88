//! A member's half of the group's keys: getting in, following the host's commits, catching up from others.
//!
//! For: what the host says about keys, and what other members say when it is gone. Not for: MLS itself, see
//! [`crate::group::keys`].
//!
//! The idea: a commit is vouched for by the host's signature, whoever brings it, and says which slots it lets
//! in: nobody is in the keys without one. Who cannot follow any more offers a KeyPackage, and is let in anew.

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

const INTRUDER: &str = "the host let somebody without a slot into the group's keys";

/// The keys, and the way to them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Keys {
    #[serde(with = "crate::session::shared")]
    current: Option<Arc<GroupKeys>>,
    log: CommitLog,
    /// By which the host, or the next one, can let this node in.
    offer: Option<KeyOffer>,
    /// The newest epoch that the host spoke of.
    #[serde(default)]
    wanted: u64,
    #[serde(skip)]
    pull_at: Option<Timestamp>,
    #[serde(skip)]
    pulls: u32,
    /// Hints before that wait.
    #[serde(skip)]
    rests_until: Option<Timestamp>,
}

impl Keys {
    pub(super) fn current(&self) -> Option<&Arc<GroupKeys>> {
        self.current.as_ref()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.current.as_ref().map_or(0, |keys| keys.epoch())
    }

    /// Somebody can let this node in by this offer now.
    pub(super) fn offered(&mut self, offer: KeyOffer) {
        self.offer = Some(offer);
    }

    /// The commits that are kept, of this term and the one before.
    pub(super) fn log(&self) -> CommitLog {
        self.log.clone()
    }

    pub(super) fn inherit(&mut self, log: CommitLog) {
        self.log = log;
    }

    pub(super) fn offer(&self) -> Option<&KeyOffer> {
        self.offer.as_ref()
    }

    /// An epoch beyond this node's: its commits are asked for. Only a hint, so that whoever lies about one costs no
    /// more than a question now and then.
    pub(super) fn heard_of(&mut self, epoch: u64, now: Timestamp) {
        let is_news = self.current.as_ref().is_some_and(|keys| epoch > keys.epoch());
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

    /// After a restart.
    pub(super) fn go_on(&mut self, now: Timestamp) {
        if self.wanted > self.epoch() {
            self.told_of(self.wanted, now);
        }
    }

    /// Somebody answered who is in epoch `newest`. Where there is nothing newer, hints are of no interest for a while.
    fn answered(&mut self, newest: u64, has_moved: bool, now: Timestamp) {
        if newest.max(self.wanted) <= self.epoch() {
            (self.pulls, self.pull_at, self.rests_until) = (0, None, Some(now + REST));
        } else if has_moved {
            (self.pulls, self.pull_at) = (0, Some(now));
        }
    }

    /// The term's keys are of the past. The offer stays: it may be the one that went along with this node's vote.
    /// Those of another host of the `same` term are good for nothing.
    pub(super) fn begin_term(&mut self, same: bool) {
        if same {
            self.current = None;
        }
        (self.pull_at, self.pulls, self.wanted) = (None, 0, 0);
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
        CommitsResponse { newest: self.keys.epoch(), changes: self.keys.log.after(after) }
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
        let joined =
            self.keys.offer.as_ref().map(|offer| GroupKeys::join(offer, welcome, name, self.host().peer));
        match joined {
            Some(Ok(keys)) if keys.members().keys().all(|peer| self.has_right(*peer)) => {
                let keys = Arc::new(keys);
                (self.keys.current, self.keys.offer) = (Some(Arc::clone(&keys)), None);
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

    /// This node's keys are of no use: the host is asked to let it in anew.
    pub(super) fn offer_anew(&mut self, context: &mut Context<'_>) -> Result<(), StepError> {
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
                let has_slot = |peer: &PeerId| {
                    self.has_right(*peer) || added.iter().any(|(_, entry)| entry.contact.peer == *peer)
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
        answer: CommitsResponse,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if !self.state.in_group() {
            return Ok(());
        }
        let before = self.keys.epoch();
        for change in answer.changes {
            self.follow_keys(change, from, context, outputs)?;
        }
        let (epoch, by_host) = (self.keys.epoch(), from == self.host().peer);
        let is_behind = answer.newest > epoch;
        if by_host && self.has_keys() && is_behind && epoch == before {
            // The host has no commits any more that would lead there.
            self.offer_anew(context)?;
        }
        self.keys.answered(answer.newest, epoch > before, context.now);
        Ok(())
    }
}
