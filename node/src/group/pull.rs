//! Asking another member for what is missing here, and answering.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
};

use parlor_proto::{
    group::{Heads, MAX_CHECKPOINTS, MAX_UPDATES, MAX_UPDATES_SIZE, UpdatesRequest, UpdatesResponse},
    identity::PeerId,
    rights::Verified,
    wire::{Request, Response},
};

use super::Inner;
use crate::store::{Room, StoreError};

/// How many members are asked at a time.
const MAX_PULLS: usize = 2;

/// Who is being asked, and who is to be. At most as many as were ever present.
#[derive(Default)]
pub(super) struct Pulls {
    /// Whether the answer brought anything so far.
    asked: HashMap<PeerId, bool>,
    wanted: HashSet<PeerId>,
}

impl Pulls {
    /// `peer` has something that is missing here, perhaps.
    pub(super) fn want(&mut self, peer: PeerId) {
        self.wanted.insert(peer);
    }

    /// What `peer` answered led on.
    pub(super) fn progress(&mut self, peer: PeerId) {
        if let Some(has_progress) = self.asked.get_mut(&peer) {
            *has_progress = true;
        }
    }

    /// `peer`'s answer, or the failure to get one, has been dealt with.
    pub(super) fn end(&mut self, peer: PeerId, more: bool) {
        let has_progress = self.asked.remove(&peer).unwrap_or(false);
        if more && has_progress {
            self.wanted.insert(peer);
        }
    }

    /// Nobody else is to be asked.
    pub(super) fn give_up(&mut self) {
        self.wanted.clear();
    }

    /// Whom to ask now. `at`: whom to ask in place of one, if anybody.
    pub(super) fn due(&mut self, at: impl Fn(PeerId) -> Option<PeerId>) -> Vec<PeerId> {
        let mut due = Vec::new();
        for wanted in std::mem::take(&mut self.wanted) {
            match at(wanted) {
                // Again, once it has answered.
                Some(peer) if self.asked.contains_key(&peer) || self.asked.len() >= MAX_PULLS => {
                    self.wanted.insert(peer);
                }
                Some(peer) => {
                    self.asked.insert(peer, false);
                    due.push(peer);
                }
                None => {}
            }
        }
        due
    }
}

/// What `have` lacks, as much as fits into one answer: the checkpoints that have replaced what is not here any more, if
/// any of that is lacking; then the updates after those, sorted by their place. `asker` is told what is here of its own.
pub(super) async fn answer(
    inner: &Inner,
    asker: PeerId,
    have: &Heads,
) -> Result<UpdatesResponse, StoreError> {
    let (store, session) = (&inner.store, inner.session);
    let log = inner.log.read().unwrap_or_else(PoisonError::into_inner).clone();
    let mut lacks = have.clone();
    let mut checkpoints = Vec::new();
    if log.bases().iter().any(|(chain, base)| have.of(chain) < base.number) {
        let mut counted = store.checkpoints(session).await?;
        // The earliest first; of too many the newest.
        counted.drain(..counted.len().saturating_sub(MAX_CHECKPOINTS));
        for checkpoint in counted {
            checkpoint.covered().iter().for_each(|link| lacks.raise(link.chain, link.number));
            lacks.raise(checkpoint.chain, checkpoint.number);
            checkpoints.push(checkpoint.to_signed());
        }
    }

    let lacking = log.heads().ahead_of(&lacks).collect();
    let room = Room { updates: MAX_UPDATES, bytes: MAX_UPDATES_SIZE };
    let (updates, more) = store.updates_lacking(session, lacking, room).await?;
    Ok(UpdatesResponse {
        checkpoints,
        updates: updates.iter().map(Verified::to_signed).collect(),
        more,
        yours: log.heads_of(&asker),
        have: log.heads().clone(),
    })
}

/// Asks `peer` for what `have` lacks.
pub(super) async fn ask(inner: Arc<Inner>, peer: PeerId, have: Heads) -> Option<UpdatesResponse> {
    let request = UpdatesRequest { session: inner.session, have };
    match inner.overlay.request(peer, Request::Updates(request)).await {
        Ok(Response::Updates(response)) => Some(response),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(session = %inner.session, ?peer, %error, "no updates from there");
            None
        }
    }
}
