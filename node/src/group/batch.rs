//! One transaction's worth of a session's updates.
//!
//! For: deciding, on a copy of the log, what becomes of each update; then writing all of it at once. Not for: when
//! that happens, nor for what follows (see [`super::driver`]).
//!
//! A checkpoint is the last update of its batch: what may be kept after it depends on what is left on disk.

use std::collections::BTreeSet;

use parlor_proto::{
    group::{Heads, Log, MAX_COVERED, MAX_NUMBER, Update, Verdict, lanes::Lane},
    identity::{Identity, PeerId},
    rights::{Signed, Verified, sign},
};
use tokio::sync::oneshot;

use super::{Inner, PostError, PostKey, complaint::Complaint};
use crate::{clock, store::StoreError};

pub(super) struct Batch {
    pub(super) log: Log,
    pub(super) serial: u64,
    /// With their serials.
    pub(super) appended: Vec<(u64, Verified<Update>)>,
    /// One that counts.
    pub(super) checkpoint: Option<Verified<Update>>,
    /// Whose updates have to be weighed again then.
    weighed: Vec<PeerId>,
    pub(super) replies: Vec<(u64, oneshot::Sender<Result<u64, PostError>>)>,
    /// Under which own updates are posted once, with their serials.
    pub(super) keys: Vec<(u64, PostKey)>,
    /// To publish.
    pub(super) own: Vec<Verified<Update>>,
}

impl Batch {
    pub(super) fn new(log: &Log, serial: u64) -> Self {
        Self {
            log: log.clone(),
            serial,
            appended: Vec::new(),
            checkpoint: None,
            weighed: Vec::new(),
            replies: Vec::new(),
            keys: Vec::new(),
            own: Vec::new(),
        }
    }

    /// An update of this node's. Returns its serial.
    pub(super) fn post(
        &mut self,
        inner: &Inner,
        identity: &Identity,
        hosts: &BTreeSet<PeerId>,
        payload: Vec<u8>,
        is_checkpoint: bool,
    ) -> Result<u64, PostError> {
        let is_checkpoint = is_checkpoint && hosts.contains(&inner.me);
        let covers = is_checkpoint.then(|| self.log.heads().clone());
        let update = self.own(inner, identity, payload, covers)?;
        match is_checkpoint {
            true => self.cover(update.clone()),
            false => self.append(update.clone()),
        }
        self.own.push(update);
        Ok(self.serial)
    }

    fn own(
        &self,
        inner: &Inner,
        identity: &Identity,
        payload: Vec<u8>,
        covers: Option<Heads>,
    ) -> Result<Verified<Update>, PostError> {
        let (session, sender) = (inner.session, inner.me);
        let covered = covers.as_ref().map_or(0, |covers| covers.0.len());
        if covered > MAX_COVERED {
            return Err(PostError::TooManyCovered);
        }
        let (len, most) = (payload.len(), Update::max_payload(covered));
        if len > most {
            return Err(PostError::TooLarge { len, most });
        }
        let (number, is_checkpoint) = (self.log.next(&sender), covers.is_some());
        if number > MAX_NUMBER {
            return Err(PostError::Full);
        }
        let update = Update { session, sender, number, at: clock::now(), payload, covers };
        let update = sign(&update, identity).map_err(|error| {
            tracing::error!(%session, %error, "an update of this node cannot be signed");
            PostError::Closed
        })?;
        match is_checkpoint || self.log.has_room(&sender, update.bytes().len()) {
            true => Ok(update),
            false => Err(PostError::Full),
        }
    }

    /// An update that somebody else brought: `by` gossip or in an answer. `None` if it is nothing for this log.
    pub(super) fn heard(
        &mut self,
        inner: &Inner,
        hosts: &BTreeSet<PeerId>,
        by: PeerId,
        update: Signed<Update>,
    ) -> Option<Verdict> {
        let complain = |complaint| inner.complain(by, Some(Lane::Updates), &complaint);
        let claimed = update.unverified();
        if claimed.session != inner.session {
            complain(Complaint::AnotherSession);
            return None;
        }
        if !inner.is_author(&claimed.sender) {
            complain(Complaint::Stranger(claimed.sender));
            return None;
        }
        let verdict = self.log.judge(claimed, update.bytes().len(), hosts);
        match verdict {
            Verdict::Duplicate | Verdict::Gap => {}
            Verdict::Full => complain(Complaint::Full),
            Verdict::Append | Verdict::Checkpoint => match update.verify() {
                Ok(update) if verdict == Verdict::Checkpoint => self.cover(update),
                Ok(update) => self.append(update),
                Err(error) => {
                    complain(error.into());
                    return None;
                }
            },
        }
        Some(verdict)
    }

    /// An update that is here already turned out to be a checkpoint. Whether that changes anything.
    pub(super) fn recognise(&mut self, checkpoint: Verified<Update>) -> bool {
        let is_ahead = |covers: &Heads| covers.ahead_of(self.log.bases()).next().is_some();
        let is_new = checkpoint.covers.as_ref().is_some_and(is_ahead);
        if is_new {
            self.weighed = self.log.covered(&checkpoint);
            self.checkpoint = Some(checkpoint);
        }
        is_new
    }

    fn append(&mut self, update: Verified<Update>) {
        self.log.appended(&update, update.bytes().len());
        self.serial += 1;
        self.appended.push((self.serial, update));
    }

    fn cover(&mut self, update: Verified<Update>) {
        self.weighed = self.log.covered(&update);
        self.serial += 1;
        self.appended.push((self.serial, update.clone()));
        self.checkpoint = Some(update);
    }

    /// The updates, and what the checkpoint lets go of. If it fails, nothing of it is on disk.
    pub(super) async fn write(&mut self, inner: &Inner) -> Result<(), StoreError> {
        let (store, session) = (&inner.store, inner.session);
        let mut write = store.write().await?;
        for (serial, update) in &self.appended {
            store.put_update(&mut write, *serial, update).await?;
        }
        for (serial, key) in &self.keys {
            store.note_sent(&mut write, session, *serial, key).await?;
        }
        if let Some(covers) = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.covers.as_ref()) {
            store.let_go(&mut write, session, covers, self.serial).await?;
            for sender in &self.weighed {
                let bytes = store.weight(&mut write, session, *sender).await?;
                self.log.weighed(*sender, bytes);
            }
        }
        Ok(write.commit().await?)
    }
}
