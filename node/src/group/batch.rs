//! One transaction's worth of a session's updates.
//!
//! For: deciding, on a copy of the log, what becomes of each update; then writing all of it at once. Not for: when
//! that happens, nor for what follows (see [`super::driver`]).
//!
//! A checkpoint that counts is the last update of its batch: what may be kept after it depends on what is left on disk.

use parlor_proto::{
    group::{
        Chain, Heads, Hosts, LetGo, Link, Log, MAX_COVERED, MAX_NUMBER, Pending, Update, Verdict, lanes::Lane,
    },
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
    /// A checkpoint that counts.
    counted: Option<Counted>,
    /// This node's own chain.
    chain: Chain,
    /// Whether numbers of that chain were used that are not here: this node's disk is an older copy.
    pub(super) is_reused: bool,
    /// An update of that chain which somebody names otherwise than it is here, and who does.
    pub(super) doubt: Option<(PeerId, u64)>,
    pub(super) replies: Vec<(u64, oneshot::Sender<Result<u64, PostError>>)>,
    /// Under which own updates are posted once, with their serials.
    pub(super) keys: Vec<(u64, PostKey)>,
    /// To publish.
    pub(super) own: Vec<Verified<Update>>,
}

struct Counted {
    checkpoint: Verified<Update>,
    let_go: LetGo,
    /// Whether it is the last of the appended; else it was here before.
    is_new: bool,
    /// Whether it passes over what this node has not had.
    is_jump: bool,
}

impl Batch {
    pub(super) fn new(log: &Log, serial: u64, chain: Chain) -> Self {
        Self {
            log: log.clone(),
            serial,
            appended: Vec::new(),
            counted: None,
            chain,
            is_reused: false,
            doubt: None,
            replies: Vec::new(),
            keys: Vec::new(),
            own: Vec::new(),
        }
    }

    /// Whether it has to be written before anything else is taken.
    pub(super) fn is_closed(&self) -> bool {
        self.counted.is_some() || self.is_reused
    }

    /// Whether there is anything to write.
    pub(super) fn is_empty(&self) -> bool {
        self.appended.is_empty() && self.counted.is_none()
    }

    /// An update of this node's. Returns its serial.
    pub(super) fn post(
        &mut self,
        inner: &Inner,
        identity: &Identity,
        hosts: &Hosts,
        payload: Vec<u8>,
        is_checkpoint: bool,
    ) -> Result<u64, PostError> {
        let term = hosts.now.filter(|(host, _)| is_checkpoint && *host == inner.me).map(|(_, term)| term);
        let update = self.log.compose(inner.session, self.chain, clock::now(), payload, term);
        let update = self.sign(inner, identity, &update)?;
        let size = (update.hash(), update.bytes().len());
        match self.log.judge(&update, size, hosts, |_| false) {
            Verdict::Checkpoint => self.cover(update.clone()),
            Verdict::Append => self.append(update.clone()),
            _ => return Err(PostError::Full),
        }
        self.own.push(update);
        Ok(self.serial)
    }

    fn sign(
        &self,
        inner: &Inner,
        identity: &Identity,
        update: &Update,
    ) -> Result<Verified<Update>, PostError> {
        let covered = update.covered().len();
        if covered > MAX_COVERED {
            return Err(PostError::TooManyCovered);
        }
        let (len, most) = (update.payload.len(), Update::max_payload(covered));
        if len > most {
            return Err(PostError::TooLarge { len, most });
        }
        if update.number > MAX_NUMBER || update.depth > MAX_NUMBER {
            return Err(PostError::Full);
        }
        sign(update, identity).map_err(|error| {
            tracing::error!(session = %inner.session, %error, "an update of this node cannot be signed");
            PostError::Closed
        })
    }

    /// An update that somebody else brought: `by` gossip, or in an answer if it is `pulled`. What waits is held back in
    /// `pending`. `None` if it is nothing for this log.
    pub(super) fn heard(
        &mut self,
        inner: &Inner,
        hosts: &Hosts,
        pending: &mut Pending,
        by: PeerId,
        update: Signed<Update>,
        pulled: bool,
    ) -> Option<Verdict> {
        self.check(inner, by, &update)?;
        // Whoever answers has told its program: it waits for nobody any more whom this node does not know.
        let is_unknown = |sender: &PeerId| pulled && !inner.is_author(sender);
        let size = (update.unverified_hash(), update.bytes().len());
        let verdict = self.log.judge(update.unverified(), size, hosts, is_unknown);
        if verdict == Verdict::Duplicate {
            return Some(verdict);
        }

        let complain = |complaint| inner.complain(by, Some(Lane::Updates), &complaint);
        let update = update.verify().map_err(|error| complain(error.into())).ok()?;
        self.is_reused |= update.chain == self.chain;
        match verdict {
            Verdict::Duplicate => {}
            Verdict::Append => self.append_heard(inner, by, update),
            Verdict::Checkpoint => self.cover(update),
            Verdict::Waits => drop(pending.hold(update)),
            Verdict::Fork => complain(Complaint::Fork(update.chain.sender)),
            Verdict::Full => complain(Complaint::Full),
            Verdict::Shallow => complain(Complaint::Shallow),
        }
        Some(verdict)
    }

    fn check(&self, inner: &Inner, by: PeerId, update: &Signed<Update>) -> Option<()> {
        let claimed = update.unverified();
        let complain = |complaint| inner.complain(by, Some(Lane::Updates), &complaint);
        if claimed.session != inner.session {
            complain(Complaint::AnotherSession);
            return None;
        }
        if !inner.is_author(&claimed.sender()) {
            complain(Complaint::Stranger(claimed.sender()));
            return None;
        }
        Some(())
    }

    /// What waits no longer is taken, up to a checkpoint.
    pub(super) fn release(&mut self, inner: &Inner, hosts: &Hosts, pending: &mut Pending) {
        while !self.is_closed()
            && let Some((verdict, update)) = pending.release(&self.log, hosts, |_| false)
        {
            match verdict {
                Verdict::Checkpoint => self.cover(update),
                _ => self.append_heard(inner, update.sender(), update),
            }
        }
    }

    /// A checkpoint that whoever answers counts, and who has `have`: taken if it replaces what is missing here. Returns
    /// whether it was.
    pub(super) fn jump(
        &mut self,
        inner: &Inner,
        hosts: &Hosts,
        by: PeerId,
        checkpoint: Signed<Update>,
        have: &Heads,
    ) -> bool {
        if self.check(inner, by, &checkpoint).is_none() {
            return false;
        }
        let claimed = checkpoint.unverified();
        let is_needed = claimed.covered().iter().any(|link| link.number > self.log.heads().of(link.chain));
        let is_theirs = claimed.covered().iter().all(|link| link.number <= have.of(link.chain));
        if !is_needed || !is_theirs || !hosts.may_have_counted(claimed) {
            return false;
        }
        let checkpoint = match checkpoint.verify() {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                inner.complain(by, Some(Lane::Updates), &error.into());
                return false;
            }
        };

        let is_ahead = |link: &Link| link.number > self.log.heads().of(link.chain);
        self.is_reused |= checkpoint.covered().iter().any(|link| link.chain == self.chain && is_ahead(link));
        let is_new = checkpoint.number > self.log.heads().of(checkpoint.chain);
        let let_go = self.log.jumped(&checkpoint);
        if is_new {
            self.serial += 1;
            self.appended.push((self.serial, checkpoint.clone()));
        }
        self.counted = Some(Counted { checkpoint, let_go, is_new, is_jump: true });
        true
    }

    /// An update that is here already turned out to be a checkpoint that counts.
    pub(super) fn recognise(&mut self, checkpoint: Verified<Update>) {
        let let_go = self.log.covered(&checkpoint);
        self.counted = Some(Counted { checkpoint, let_go, is_new: false, is_jump: false });
    }

    fn append_heard(&mut self, inner: &Inner, by: PeerId, update: Verified<Update>) {
        if let Some(link) = self.log.contradicts(&update) {
            if link.chain == self.chain {
                self.doubt = Some((by, link.number));
            }
            inner.complain(by, Some(Lane::Updates), &Complaint::Fork(link.chain.sender));
        }
        self.append(update);
    }

    fn append(&mut self, update: Verified<Update>) {
        self.log.appended(&update);
        self.serial += 1;
        self.appended.push((self.serial, update));
    }

    fn cover(&mut self, checkpoint: Verified<Update>) {
        let let_go = self.log.covered(&checkpoint);
        self.serial += 1;
        self.appended.push((self.serial, checkpoint.clone()));
        self.counted = Some(Counted { checkpoint, let_go, is_new: true, is_jump: false });
    }

    /// The updates, and what the checkpoint lets go of. If it fails, nothing of it is on disk.
    pub(super) async fn write(&mut self, inner: &Inner) -> Result<(), StoreError> {
        let (store, session) = (&inner.store, inner.session);
        let mut write = store.write().await?;
        let before = self.appended.len() - usize::from(self.counted.as_ref().is_some_and(|one| one.is_new));
        for (serial, update) in &self.appended[..before] {
            store.put_update(&mut write, *serial, update).await?;
        }
        for (serial, key) in &self.keys {
            store.note_sent(&mut write, session, *serial, key).await?;
        }
        if let Some(Counted { checkpoint, let_go, is_jump, .. }) = &self.counted {
            store.void(&mut write, session, &let_go.back).await?;
            for (serial, update) in &self.appended[before..] {
                store.put_update(&mut write, *serial, update).await?;
            }
            let mut chains: Vec<Chain> = checkpoint.covered().iter().map(|link| link.chain).collect();
            chains.extend(let_go.back.iter().map(|(chain, _)| *chain));
            store.let_go(&mut write, checkpoint, &chains, &self.log, self.serial).await?;
            if *is_jump {
                store.landed(&mut write, session, self.serial).await?;
            }
            for sender in &let_go.weigh {
                let bytes = store.weight(&mut write, session, *sender).await?;
                self.log.weighed(*sender, bytes);
            }
        }
        Ok(write.commit().await?)
    }
}
