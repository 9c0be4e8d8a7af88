//! A node's updates of one session, as they would be in its database.
//!
//! For: the one place where the simulator touches [`parlor_proto::group`]'s log. Not for: getting updates
//! anywhere, see [`super::group`].

use std::collections::BTreeMap;

use parlor_proto::{
    group::{Chain, Heads, Hosts, Log, MAX_UPDATES, Pending, Saved, Update, UpdatesResponse, Verdict},
    identity::{Identity, PeerId},
    ids::SessionId,
    rights::{Signed, Verified, sign},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::bug::Bug;

/// What is on disk, and what follows from it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Store {
    /// In the order in which the program was told.
    updates: Vec<Signed<Update>>,
    /// Read from the disk when it is needed first.
    #[serde(skip)]
    log: Option<Log>,
    /// In memory only.
    #[serde(skip)]
    pending: Pending,
}

/// What became of an update that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is kept, and with it what waited for it; the program is told of these, in this order.
    Kept(Vec<Signed<Update>>),
    /// It was here.
    Known,
    /// Something that it names is missing.
    Waits,
    /// Forged, or of another session.
    Refused,
}

impl Store {
    pub(super) fn heads(&self) -> Heads {
        let mut heads = Heads::default();
        for update in &self.updates {
            let update = update.unverified();
            heads.raise(update.chain, update.number);
        }
        heads
    }

    /// No simulated program makes a checkpoint.
    fn log(&mut self) -> &mut Log {
        self.log.get_or_insert_with(|| {
            let mut newest: BTreeMap<Chain, Verified<Update>> = BTreeMap::new();
            for update in self.updates.iter().filter_map(|update| update.clone().verify().ok()) {
                newest.insert(update.chain, update);
            }
            Log::new(Saved { newest: newest.into_values().collect(), ..Saved::default() })
        })
    }

    /// The node's own next update, not yet kept.
    pub(super) fn next(
        &mut self,
        identity: &Identity,
        session: SessionId,
        payload: Vec<u8>,
        at: Timestamp,
    ) -> Option<Signed<Update>> {
        let update = self.log().compose(session, identity.peer().into(), at, payload, None);
        Some(sign(&update, identity).ok()?.to_signed())
    }

    /// An update from wherever it may come. `is_unknown`: senders for whose updates there is no use in waiting.
    pub(super) fn take(
        &mut self,
        session: SessionId,
        update: Signed<Update>,
        is_unknown: impl Fn(&PeerId) -> bool,
        bug: Option<Bug>,
    ) -> Taken {
        let Ok(verified) = update.clone().verify() else {
            // Only a simulated mistake lets it through.
            if bug != Some(Bug::SignatureUnchecked) {
                return Taken::Refused;
            }
            self.updates.push(update.clone());
            return Taken::Kept(vec![update]);
        };
        if verified.session != session {
            return Taken::Refused;
        }
        let name = (verified.hash(), verified.bytes().len());
        let is_next = verified.number == self.log().next(verified.chain);
        match self.log().judge(&verified, name, &Hosts::default(), is_unknown) {
            Verdict::Append => Taken::Kept(self.keep(&verified)),
            Verdict::Duplicate => Taken::Known,
            Verdict::Waits if bug == Some(Bug::GapsAccepted) => Taken::Kept(self.keep(&verified)),
            Verdict::Waits if is_next && bug == Some(Bug::NothingHeldBack) => {
                Taken::Kept(self.keep(&verified))
            }
            Verdict::Waits => {
                self.pending.hold(verified);
                Taken::Waits
            }
            _ => Taken::Refused,
        }
    }

    fn keep(&mut self, update: &Verified<Update>) -> Vec<Signed<Update>> {
        let mut kept = vec![update.to_signed()];
        self.log().appended(update);
        let mut pending = std::mem::take(&mut self.pending);
        while let Some((_, update)) = pending.release(self.log(), &Hosts::default(), |_| false) {
            self.log().appended(&update);
            kept.push(update.to_signed());
        }
        self.pending = pending;
        self.updates.extend(kept.iter().cloned());
        kept
    }

    /// What somebody lacks who has `have`.
    pub(super) fn after(&self, have: &Heads) -> UpdatesResponse {
        let lacks = |update: &&Signed<Update>| {
            let update = update.unverified();
            update.number > have.of(update.chain)
        };
        let mut updates: Vec<_> = self.updates.iter().filter(lacks).cloned().collect();
        updates.sort_by_key(|update| update.unverified().place());
        let more = updates.len() > MAX_UPDATES;
        updates.truncate(MAX_UPDATES);
        UpdatesResponse { updates, more, have: self.heads(), ..UpdatesResponse::default() }
    }

    /// All of them, in the order in which the program was told.
    pub(super) fn all(&self) -> impl Iterator<Item = &Signed<Update>> {
        self.updates.iter()
    }
}
