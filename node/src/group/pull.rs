//! Asking another member for what is missing here, and answering.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
};

use parlor_proto::{
    group::{Heads, MAX_UPDATES, MAX_UPDATES_SIZE, Update, UpdatesRequest, UpdatesResponse},
    identity::PeerId,
    rights::Verified,
    wire::{Request, Response},
};

use super::Inner;
use crate::store::StoreError;

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

/// An answer that is filled.
#[derive(Default)]
struct Answer {
    response: UpdatesResponse,
    size: usize,
}

impl Answer {
    /// Whether it fits; if not, there is more.
    fn push(&mut self, update: &Verified<Update>) -> bool {
        let len = update.bytes().len();
        let is_full = self.response.updates.len() == MAX_UPDATES;
        if is_full || (self.size > 0 && self.size + len > MAX_UPDATES_SIZE) {
            self.response.more = true;
            return false;
        }
        self.size += len;
        self.response.updates.push(update.to_signed());
        true
    }
}

/// What `have` lacks, as much as fits into one answer: first the hosts' checkpoints, which replace what they cover;
/// then each sender's updates in order.
pub(super) async fn answer(inner: &Inner, have: &Heads) -> Result<UpdatesResponse, StoreError> {
    let (store, session) = (&inner.store, inner.session);
    let mine = inner.heads.read().unwrap_or_else(PoisonError::into_inner).clone();
    let hosts = inner.hosts.borrow().clone();
    let (mut answer, mut have) = (Answer::default(), have.clone());
    for host in hosts {
        let newest = store.newest_checkpoint(session, host).await?;
        let Some(checkpoint) = newest.filter(|checkpoint| checkpoint.number > have.of(&host)) else {
            continue;
        };
        if !answer.push(&checkpoint) {
            break;
        }
        have.raise(&Heads([(host, checkpoint.number)].into()));
        if let Some(covers) = &checkpoint.covers {
            have.raise(covers);
        }
    }
    'senders: for (sender, number) in mine.ahead_of(&have) {
        let room = MAX_UPDATES - answer.response.updates.len();
        let bytes = MAX_UPDATES_SIZE - answer.size.min(MAX_UPDATES_SIZE);
        // One more than fits, to see whether there is more.
        for update in store.updates_of(session, sender, number, room + 1, bytes + 1).await? {
            if !answer.push(&update) {
                break 'senders;
            }
        }
    }
    answer.response.have = mine;
    Ok(answer.response)
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
