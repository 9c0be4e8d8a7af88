//! The one writer of a session's log.
//!
//! Commands are taken in batches; a batch ends early at a checkpoint, since what may be kept after it depends on what
//! is on disk once the rest is let go of.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use parlor_proto::{
    group::{Heads, Log, MAX_COVERED, MAX_NUMBER, MAX_UPDATES, Update, Verdict, lanes::Lane},
    identity::{Identity, PeerId},
    rights::{Signed, Verified, sign},
};
use rand::seq::IteratorRandom as _;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{
    Command, Inner, PostError,
    complaint::Complaint,
    door::SayError,
    pull::{self, Pulls},
};
use crate::{clock, store::StoreError};

/// Most commands that go to disk in one transaction.
const BATCH: usize = 128;
/// How often to ask somebody for what may have been lost without leaving a gap.
const RESYNC: Duration = Duration::from_secs(10);
/// How soon to publish again what the topic's queues did not take.
const REPUBLISH: Duration = Duration::from_millis(250);
/// How often keys whose time is up are erased, on a quiet line.
const TIDY: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    inner: Weak<Inner>,
    identity: Identity,
    log: Log,
    newest: watch::Sender<u64>,
    hosts: watch::Receiver<BTreeSet<PeerId>>,
    present: HashSet<PeerId>,
    pulls: Pulls,
    /// The newest own update that could not be published.
    unpublished: Option<Verified<Update>>,
}

/// One thing to do.
enum Work {
    Command(Command),
    /// An update out of an answer.
    Pulled(PeerId, Signed<Update>),
    /// The end of an answer: whether there is more.
    PullEnd(PeerId, bool),
}

/// One transaction's worth.
struct Batch {
    log: Log,
    serial: u64,
    appended: Vec<(u64, Verified<Update>)>,
    /// The last of those, if it is one that counts.
    checkpoint: Option<Verified<Update>>,
    /// Whose updates have to be weighed again then.
    weighed: Vec<PeerId>,
    replies: Vec<(u64, oneshot::Sender<Result<u64, PostError>>)>,
    own: Vec<Verified<Update>>,
}

impl Driver {
    pub(super) fn new(inner: &Arc<Inner>, identity: Identity, log: Log, newest: watch::Sender<u64>) -> Self {
        Self {
            inner: Arc::downgrade(inner),
            identity,
            log,
            newest,
            hosts: inner.hosts.subscribe(),
            present: HashSet::new(),
            pulls: Pulls::default(),
            unpublished: None,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>, stop: CancellationToken) {
        let [mut resync, mut republish, mut tidy] = [RESYNC, REPUBLISH, TIDY].map(|every| {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let mut commands = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = inbox.recv_many(&mut commands, BATCH) => {
                    let Some(inner) = self.inner.upgrade().filter(|_| received > 0) else { return };
                    self.step(&inner, std::mem::take(&mut commands)).await;
                }
                Ok(()) = self.hosts.changed() => {
                    let Some(inner) = self.inner.upgrade() else { return };
                    self.hosts_changed(&inner).await;
                }
                _ = resync.tick() => {
                    if let Some(inner) = self.inner.upgrade() {
                        self.resync(&inner);
                    }
                }
                _ = republish.tick(), if self.unpublished.is_some() => {
                    if let (Some(update), Some(inner)) = (self.unpublished.take(), self.inner.upgrade()) {
                        self.publish(&inner, update).await;
                    }
                }
                _ = tidy.tick() => {
                    if let Some(inner) = self.inner.upgrade() {
                        inner.door().forget(clock::now());
                    }
                }
            }
        }
    }

    async fn step(&mut self, inner: &Arc<Inner>, commands: Vec<Command>) {
        let mut work = VecDeque::with_capacity(commands.len());
        for command in commands {
            match command {
                Command::Pulled(peer, Some(response)) => {
                    let updates = response.updates.into_iter().take(MAX_UPDATES);
                    work.extend(updates.map(|update| Work::Pulled(peer, update)));
                    work.push_back(Work::PullEnd(peer, response.more));
                }
                Command::Pulled(peer, None) => work.push_back(Work::PullEnd(peer, false)),
                command => work.push_back(Work::Command(command)),
            }
        }
        while !work.is_empty() {
            let mut batch = Batch::new(&self.log, *self.newest.borrow());
            while batch.checkpoint.is_none()
                && let Some(work) = work.pop_front()
            {
                self.take(inner, work, &mut batch);
            }
            self.commit(inner, batch).await;
        }
        self.pull(inner);
    }

    fn take(&mut self, inner: &Inner, work: Work, batch: &mut Batch) {
        match work {
            Work::Command(Command::Post { payload, is_checkpoint, reply }) => {
                self.post(inner, payload, is_checkpoint, reply, batch);
            }
            Work::Command(Command::Heard(author, update, _place)) => {
                if self.heard(inner, author, update, batch) == Some(Verdict::Gap) {
                    self.pulls.want(author);
                }
            }
            Work::Command(Command::Present(peer, true)) => {
                self.present.insert(peer);
                self.pulls.want(peer);
            }
            Work::Command(Command::Present(peer, false)) => {
                self.present.remove(&peer);
            }
            Work::Command(Command::Resync) => self.want_somebody(),
            // Taken apart above.
            Work::Command(Command::Pulled(..)) => {}
            Work::Pulled(peer, update) => {
                // A gap in what was pulled is the peer's fault: no use asking it again for that.
                let verdict = self.heard(inner, peer, update, batch);
                if matches!(verdict, Some(Verdict::Append | Verdict::Checkpoint)) {
                    self.pulls.progress(peer);
                }
            }
            Work::PullEnd(peer, more) => self.pulls.end(peer, more),
        }
    }

    fn post(
        &self,
        inner: &Inner,
        payload: Vec<u8>,
        is_checkpoint: bool,
        reply: oneshot::Sender<Result<u64, PostError>>,
        batch: &mut Batch,
    ) {
        let hosts = self.hosts.borrow().clone();
        let is_checkpoint = is_checkpoint && hosts.contains(&inner.me);
        let covers = is_checkpoint.then(|| batch.log.heads().clone());
        match self.own(inner, payload, covers, &batch.log) {
            Ok(update) => {
                match is_checkpoint {
                    true => batch.cover(update.clone()),
                    false => batch.append(update.clone()),
                }
                batch.own.push(update);
                batch.replies.push((batch.serial, reply));
            }
            // Whoever posted may have stopped waiting.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// The next update of this node.
    fn own(
        &self,
        inner: &Inner,
        payload: Vec<u8>,
        covers: Option<Heads>,
        log: &Log,
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
        let (number, is_checkpoint) = (log.next(&sender), covers.is_some());
        let update = Update { session, sender, number, at: clock::now(), payload, covers };
        if number > MAX_NUMBER {
            return Err(PostError::Full);
        }
        let update = sign(&update, &self.identity).map_err(|error| {
            tracing::error!(%session, %error, "an update of this node cannot be signed");
            PostError::Closed
        })?;
        match is_checkpoint || log.has_room(&sender, update.bytes().len()) {
            true => Ok(update),
            false => Err(PostError::Full),
        }
    }

    /// An update that somebody else brought: `by` gossip or in an answer. `None` if it is nothing for this log.
    fn heard(&self, inner: &Inner, by: PeerId, update: Signed<Update>, batch: &mut Batch) -> Option<Verdict> {
        let claimed = update.unverified();
        let complaint = match claimed.sender {
            _ if claimed.session != inner.session => Some(Complaint::AnotherSession),
            sender => (!inner.is_author(&sender)).then_some(Complaint::Stranger(sender)),
        };
        if let Some(complaint) = complaint {
            inner.complain(by, Some(Lane::Updates), &complaint);
            return None;
        }
        let verdict = batch.log.judge(claimed, update.bytes().len(), &self.hosts.borrow());
        match verdict {
            Verdict::Duplicate | Verdict::Gap => {}
            Verdict::Full => inner.complain(by, Some(Lane::Updates), &Complaint::Full),
            Verdict::Append | Verdict::Checkpoint => match update.verify() {
                Ok(update) if verdict == Verdict::Checkpoint => batch.cover(update),
                Ok(update) => batch.append(update),
                Err(error) => {
                    inner.complain(by, Some(Lane::Updates), &error.into());
                    return None;
                }
            },
        }
        Some(verdict)
    }

    async fn commit(&mut self, inner: &Arc<Inner>, batch: Batch) {
        if batch.appended.is_empty() {
            return;
        }
        let (log, serial) = (batch.log.clone(), batch.serial);
        match write(inner, log, &batch).await {
            Ok(log) => self.written(inner, log, serial),
            Err(error) => {
                let error = Arc::new(error);
                tracing::error!(session = %inner.session, %error, "updates could not be written");
                // Whoever posted may have stopped waiting: then nobody needs the reply.
                for (_, reply) in batch.replies {
                    let _ = reply.send(Err(PostError::Store(Arc::clone(&error))));
                }
                return;
            }
        }
        for (serial, reply) in batch.replies {
            let _ = reply.send(Ok(serial));
        }
        for update in batch.own {
            self.publish(inner, update).await;
        }
    }

    fn written(&mut self, inner: &Inner, log: Log, serial: u64) {
        *inner.heads.write().unwrap_or_else(PoisonError::into_inner) = log.heads().clone();
        self.log = log;
        self.newest.send_replace(serial);
    }

    /// Updates of somebody who turned out to be, or to have been, the host may have been checkpoints.
    async fn hosts_changed(&mut self, inner: &Arc<Inner>) {
        let hosts = self.hosts.borrow_and_update().clone();
        for host in hosts {
            let checkpoint = match inner.store.newest_checkpoint(inner.session, host).await {
                Ok(Some(checkpoint)) => checkpoint,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(session = %inner.session, %error, "checkpoints cannot be read");
                    return;
                }
            };
            let is_new = |covers: &Heads| covers.ahead_of(self.log.bases()).next().is_some();
            if checkpoint.covers.as_ref().is_some_and(is_new) {
                let mut batch = Batch::new(&self.log, *self.newest.borrow());
                batch.weighed = batch.log.covered(&checkpoint);
                batch.checkpoint = Some(checkpoint);
                let serial = batch.serial;
                match write(inner, batch.log.clone(), &batch).await {
                    Ok(log) => self.written(inner, log, serial),
                    Err(error) => {
                        tracing::error!(session = %inner.session, %error, "a checkpoint could not be noted");
                    }
                }
            }
        }
        self.want_somebody();
        self.pull(inner);
    }

    /// To everyone at once. What cannot be sealed or is not taken by the queues is tried again soon; receivers see the gap
    /// before it and pull.
    async fn publish(&mut self, inner: &Inner, update: Verified<Update>) {
        let sealed = inner.door().seal(Lane::Updates, update.bytes());
        let packet = match sealed {
            Ok(packet) => packet,
            Err(SayError::NoKeys) => {
                self.unpublished = Some(update);
                return;
            }
            Err(error) => {
                tracing::warn!(session = %inner.session, %error, "an update is not published, others have to pull it");
                return;
            }
        };
        if let Err(error) = inner.overlay.group_publish(inner.session, packet.into()).await {
            tracing::debug!(session = %inner.session, %error, "an update was not published at once");
            if !self.present.is_empty() {
                self.unpublished = Some(update);
            }
        }
    }

    fn want_somebody(&mut self) {
        if let Some(peer) = self.somebody() {
            self.pulls.want(peer);
        }
    }

    fn somebody(&self) -> Option<PeerId> {
        self.present.iter().copied().choose(&mut rand::rng())
    }

    fn resync(&mut self, inner: &Arc<Inner>) {
        self.want_somebody();
        self.pull(inner);
    }

    /// Asks those who are to be asked; somebody else in place of one that cannot be reached directly.
    fn pull(&mut self, inner: &Arc<Inner>) {
        let (present, somebody) = (&self.present, self.somebody());
        let due = self.pulls.due(|peer| if present.contains(&peer) { Some(peer) } else { somebody });
        for peer in due {
            let (inner, have) = (Arc::clone(inner), self.log.heads().clone());
            tokio::spawn(async move {
                let commands = inner.commands.clone();
                let response = pull::ask(inner, peer, have).await;
                // Fails only while the group is being closed.
                let _ = commands.send(Command::Pulled(peer, response)).await;
            });
        }
    }
}

/// One transaction: the updates, and what the checkpoint lets go of. Returns the log as it is then.
async fn write(inner: &Inner, mut log: Log, batch: &Batch) -> Result<Log, StoreError> {
    let (store, session) = (&inner.store, inner.session);
    let mut write = store.write().await?;
    for (serial, update) in &batch.appended {
        store.put_update(&mut write, *serial, update).await?;
    }
    if let Some(covers) = batch.checkpoint.as_ref().and_then(|checkpoint| checkpoint.covers.as_ref()) {
        store.let_go(&mut write, session, covers, batch.serial).await?;
        for sender in &batch.weighed {
            let bytes = store.weight(&mut write, session, *sender).await?;
            log.weighed(*sender, bytes);
        }
    }
    write.commit().await?;
    Ok(log)
}

impl Batch {
    fn new(log: &Log, serial: u64) -> Self {
        Self {
            log: log.clone(),
            serial,
            appended: Vec::new(),
            checkpoint: None,
            weighed: Vec::new(),
            replies: Vec::new(),
            own: Vec::new(),
        }
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
}
