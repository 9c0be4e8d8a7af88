//! The group's keys follow the seats: whoever gets a copy is let in, whoever goes is put out at once.
//!
//! For: the host's half of MLS within a session. Not for: MLS itself, see [`crate::group::keys`].

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Host, HostState, Seat};
use crate::{
    group::keys::{CommitError, GroupKeys, GroupName, Staged},
    identity::PeerId,
    session::{
        CommitLog, Message, RosterEntry,
        message::{Admission, Change},
        step::{Context, Output, StepError},
    },
    time::Timestamp,
    wire::CommitsResponse,
};

/// How often the group gets new keys though nobody comes or goes: keys that leaked lose their worth.
pub(super) const REFRESH: Duration = Duration::from_secs(60 * 60);

/// How long a member that was let in waits until it is let in anew: each time costs everyone a commit.
const OFFER_PACE: Duration = Duration::from_secs(10);

/// The host's keys, and the way to them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Keys {
    #[serde(with = "crate::session::shared")]
    current: Option<Arc<GroupKeys>>,
    log: CommitLog,
    refreshed: Option<Timestamp>,
    /// The node was told to use them. Those of a later term serve only once somebody else has them too.
    is_used: bool,
}

impl Keys {
    pub(super) fn current(&self) -> Option<&Arc<GroupKeys>> {
        self.current.as_ref()
    }

    pub(super) fn log(&self) -> CommitLog {
        self.log.clone()
    }

    /// The commits of the term before, for those who missed them.
    pub(super) fn inherit(&mut self, log: CommitLog) {
        self.log = log;
    }

    pub(super) fn after(&self, epoch: u64) -> CommitsResponse {
        let newest = self.current.as_ref().map_or(0, |keys| keys.epoch());
        let state = self.current.as_ref().map(|keys| keys.tag());
        CommitsResponse { newest, state, changes: self.log.after(epoch) }
    }

    /// A group of the host alone, unless there is one.
    fn create(
        &mut self,
        name: GroupName,
        context: &mut Context<'_>,
    ) -> Result<(Arc<GroupKeys>, bool), CommitError> {
        if let Some(keys) = &self.current {
            return Ok((Arc::clone(keys), false));
        }
        let keys = Arc::new(GroupKeys::create(name, context.identity, &context.random.seed())?);
        (self.current, self.refreshed) = (Some(Arc::clone(&keys)), Some(context.now));
        Ok((keys, true))
    }
}

impl Host {
    /// Keys for the host alone, with which a group begins.
    pub(super) fn begin_keys(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<Arc<GroupKeys>, StepError> {
        let name = GroupName { session: self.session, term: self.office.term() };
        let (keys, is_new) = self.keys.create(name, context).map_err(|_| StepError::Keys)?;
        // After a change of hosts nobody else has these keys yet: until somebody has, the old ones serve.
        if is_new && name.term == 0 {
            self.keys.is_used = true;
            outputs.push(Output::Entered(Arc::clone(&keys)));
        }
        Ok(keys)
    }

    /// Lets `peer` in by its KeyPackage; anew, if it is in already. `None` if the package is of no use.
    pub(super) fn let_in(
        &mut self,
        peer: PeerId,
        package: &[u8],
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<Option<Vec<u8>>, StepError> {
        if crate::group::keys::KeyOffer::check(peer, package).is_err() {
            return Ok(None);
        }
        self.put_out(peer, context, outputs)?;
        let keys = self.begin_keys(context, outputs)?;
        let seed = context.random.seed();
        match keys.add(&[(peer, package)], context.identity, &seed) {
            Ok(mut staged) => {
                let welcome = staged.welcome.take();
                if let Some(seat) = self.seats.get_mut(&peer) {
                    (seat.let_in, seat.offer) = (Some(context.now), None);
                }
                self.change(staged, &[peer], context, outputs);
                Ok(welcome)
            }
            // It stands up by itself, but not in this group: with somebody else's key, say.
            Err(_) => Ok(None),
        }
    }

    /// Lets all these in at once, by KeyPackages that stand up. `None` if there are none.
    pub(super) fn let_in_together(
        &mut self,
        packages: &[(&PeerId, &Vec<u8>)],
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<Option<Vec<u8>>, StepError> {
        let keys = self.begin_keys(context, outputs)?;
        if packages.is_empty() {
            return Ok(None);
        }
        let list: Vec<_> = packages.iter().map(|(peer, package)| (**peer, package.as_slice())).collect();
        let seed = context.random.seed();
        // Packages that each stand up, but not together: their owners offer others.
        let Ok(mut staged) = keys.add(&list, context.identity, &seed) else { return Ok(None) };
        let (welcome, peers) =
            (staged.welcome.take(), list.iter().map(|(peer, _)| *peer).collect::<Vec<_>>());
        self.change(staged, &peers, context, outputs);
        Ok(welcome)
    }

    /// From the next epoch on, `peer` reads nothing and is not heard.
    pub(super) fn put_out(
        &mut self,
        peer: PeerId,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let Some(keys) = self.keys.current().filter(|keys| keys.members().contains_key(&peer)) else {
            return Ok(());
        };
        let seed = context.random.seed();
        let staged = keys.remove(&[peer], context.identity, &seed).map_err(|_| StepError::Keys)?;
        self.change(staged, &[], context, outputs);
        Ok(())
    }

    /// Somebody goes who is in the keys of the host before, which still serve: no longer, not even for a moment.
    pub(super) fn give_up_old_keys(&mut self, outputs: &mut Vec<Output>) {
        if let Some(keys) = self.keys.current().filter(|_| !self.keys.is_used) {
            outputs.push(Output::Entered(Arc::clone(keys)));
            self.keys.is_used = true;
        }
    }

    /// A member's keys are of no use: it gets new ones, at once or after a while.
    pub(super) fn offered(
        &mut self,
        peer: PeerId,
        package: Vec<u8>,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let Some(seat) = self.seats.get_mut(&peer) else { return Ok(()) };
        seat.offer = Some(package);
        self.take_offers(context, outputs)
    }

    /// When the next offer that waits is due.
    pub(super) fn offers_due(&self) -> Option<Timestamp> {
        let waiting = self.seats.values().filter(|seat| seat.offer.is_some() && seat.state.in_group());
        let due = waiting.map(|seat| seat.let_in.map_or(Timestamp(0), |let_in| let_in + OFFER_PACE)).min();
        due.filter(|_| self.state != HostState::Ended)
    }

    /// Those whose time has come.
    pub(super) fn take_offers(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if self.offers_due().is_none_or(|due| due > context.now) {
            return Ok(());
        }
        let is_due = |seat: &Seat| seat.let_in.is_none_or(|let_in| let_in + OFFER_PACE <= context.now);
        let due = self.seats.iter().filter(|(_, seat)| seat.state.in_group() && is_due(seat));
        let due: Vec<PeerId> = due.filter(|(_, seat)| seat.offer.is_some()).map(|(peer, _)| *peer).collect();
        for peer in due {
            let Some(package) = self.seats.get_mut(&peer).and_then(|seat| seat.offer.take()) else {
                continue;
            };
            let Some(welcome) = self.let_in(peer, &package, context, outputs)? else {
                self.fail(peer, "its key package does not stand up", context, outputs)?;
                continue;
            };
            let admission = Admission { welcome, roster: self.roster(context) };
            self.with_channel(peer, |channel| {
                channel.say(Message::Welcome(Box::new(admission)), context.now)
            });
        }
        Ok(())
    }

    pub(super) fn refresh_due(&self) -> Option<Timestamp> {
        let due = self.keys.refreshed? + REFRESH;
        let anybody = self.seats.values().any(|seat| seat.state.in_group());
        (self.state != HostState::Ended && anybody).then_some(due)
    }

    pub(super) fn refresh_keys(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if let Some(keys) = self.keys.current()
            && self.refresh_due().is_some_and(|due| due <= context.now)
        {
            let seed = context.random.seed();
            let staged = keys.refresh(context.identity, &seed).map_err(|_| StepError::Keys)?;
            self.change(staged, &[], context, outputs);
        }
        Ok(())
    }

    /// The next epoch, for the host and for all who are in it besides those who were just let in.
    pub(super) fn change(
        &mut self,
        staged: Staged,
        added: &[PeerId],
        context: &Context<'_>,
        outputs: &mut Vec<Output>,
    ) {
        let entry = |peer: &PeerId| self.seats.get(peer).and_then(|seat| self.entry(*peer, seat));
        let added_entries: Vec<RosterEntry> = added.iter().filter_map(entry).collect();
        let change = Change { commit: staged.commit, added: added_entries };
        let keys = Arc::new(staged.keys);
        for (peer, seat) in &mut self.seats {
            if keys.members().contains_key(peer) && !added.contains(peer) {
                seat.channel.say(Message::Keys(Box::new(change.clone())), context.now);
            }
        }
        self.keys.log.push(change);
        (self.keys.current, self.keys.refreshed) = (Some(Arc::clone(&keys)), Some(context.now));
        self.keys.is_used = true;
        outputs.push(Output::Entered(keys));
    }
}
