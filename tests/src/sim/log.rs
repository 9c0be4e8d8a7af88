//! A node's updates of one session, as they would be in its database.
//!
//! For: the one place where the simulator touches [`parlor_proto::group`]'s log. Not for: getting updates
//! anywhere, see [`super::group`].

use std::collections::{BTreeMap, BTreeSet};

use parlor_proto::{
    group::{Heads, Log, MAX_UPDATES, Update, UpdatesResponse, Verdict},
    identity::{Identity, PeerId},
    ids::SessionId,
    rights::{Signed, sign},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::bug::Bug;

/// What is on disk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Store {
    updates: BTreeMap<PeerId, Vec<Signed<Update>>>,
    /// What the program was told, in order.
    pub(super) delivered: Vec<(PeerId, u64)>,
}

/// What became of an update that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is kept, and the program is told.
    Kept,
    /// It was here.
    Known,
    /// Some before it are missing.
    Gap,
    /// Forged, or of another session.
    Refused,
}

impl Store {
    pub(super) fn heads(&self) -> Heads {
        let head = |(peer, updates): (&PeerId, &Vec<Signed<Update>>)| {
            (*peer, updates.iter().map(|update| update.unverified().number).max().unwrap_or(0))
        };
        Heads(self.updates.iter().map(head).collect())
    }

    /// No simulated program makes a checkpoint.
    fn log(&self) -> Log {
        Log::new(self.heads(), Heads::default(), BTreeMap::new())
    }

    /// The node's own next update, not yet kept.
    pub(super) fn next(
        &self,
        identity: &Identity,
        session: SessionId,
        payload: Vec<u8>,
        at: Timestamp,
    ) -> Option<Signed<Update>> {
        let sender = identity.peer();
        let number = self.log().next(&sender);
        let update = Update { session, sender, number, at, payload, covers: None };
        Some(sign(&update, identity).ok()?.to_signed())
    }

    /// An update from wherever it may come.
    pub(super) fn take(&mut self, session: SessionId, update: Signed<Update>, bug: Option<Bug>) -> Taken {
        let Ok(verified) = update.clone().verify() else {
            // Only a simulated mistake lets it through.
            return if bug == Some(Bug::SignatureUnchecked) { self.keep(update) } else { Taken::Refused };
        };
        if verified.session != session {
            return Taken::Refused;
        }
        match self.log().judge(&verified, update.bytes().len(), &BTreeSet::new()) {
            Verdict::Append => self.keep(update),
            Verdict::Duplicate => Taken::Known,
            Verdict::Gap if bug == Some(Bug::GapsAccepted) => self.keep(update),
            Verdict::Gap => Taken::Gap,
            _ => Taken::Refused,
        }
    }

    fn keep(&mut self, update: Signed<Update>) -> Taken {
        let Update { sender, number, .. } = *update.unverified();
        self.delivered.push((sender, number));
        self.updates.entry(sender).or_default().push(update);
        Taken::Kept
    }

    /// What somebody lacks who has `have`.
    pub(super) fn after(&self, have: &Heads) -> UpdatesResponse {
        let mine = self.heads();
        let mut updates = Vec::new();
        for (sender, after) in mine.ahead_of(have) {
            let newer = |update: &&Signed<Update>| update.unverified().number > after;
            updates.extend(self.updates.get(&sender).into_iter().flatten().filter(newer).cloned());
        }
        let more = updates.len() > MAX_UPDATES;
        updates.truncate(MAX_UPDATES);
        UpdatesResponse { updates, more, have: mine }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Signed<Update>> {
        self.updates.values().flatten()
    }
}
