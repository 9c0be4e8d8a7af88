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
    group::{Log, MAX_UPDATES, Update, Verdict, lanes::Lane},
    identity::{Identity, PeerId},
    rights::{Signed, Verified},
};
use rand::seq::IteratorRandom as _;
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{
    Command, Inner, PostError,
    batch::Batch,
    door::SayError,
    pull::{self, Pulls},
    repeats,
};
use crate::clock;

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
    /// A write failed: what is on disk may be another log than this one.
    is_doubtful: bool,
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
            is_doubtful: false,
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

    async fn step(&mut self, inner: &Arc<Inner>, mut commands: Vec<Command>) {
        while !commands.is_empty() {
            let later = repeats::answer(inner, &mut commands).await;
            self.do_all(inner, commands).await;
            commands = later;
        }
    }

    async fn do_all(&mut self, inner: &Arc<Inner>, commands: Vec<Command>) {
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
            if self.is_doubtful {
                self.read_again(inner).await;
            }
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
            Work::Command(Command::Post { payload, is_checkpoint, key, reply }) => {
                let hosts = self.hosts.borrow();
                let posted = batch.post(inner, &self.identity, &hosts, payload, is_checkpoint);
                match posted {
                    Ok(serial) => {
                        batch.keys.extend(key.map(|key| (serial, key)));
                        batch.replies.push((serial, reply));
                    }
                    // Whoever posted may have stopped waiting.
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Work::Command(Command::Heard(author, update, _place)) => {
                if batch.heard(inner, &self.hosts.borrow(), author, update) == Some(Verdict::Gap) {
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
                let verdict = batch.heard(inner, &self.hosts.borrow(), peer, update);
                if matches!(verdict, Some(Verdict::Append | Verdict::Checkpoint)) {
                    self.pulls.progress(peer);
                }
            }
            Work::PullEnd(peer, more) => self.pulls.end(peer, more),
        }
    }

    async fn commit(&mut self, inner: &Arc<Inner>, mut batch: Batch) {
        if batch.appended.is_empty() {
            return;
        }
        if let Err(error) = batch.write(inner).await {
            let error = Arc::new(error);
            tracing::error!(session = %inner.session, %error, "updates could not be written");
            // Whoever posted may have stopped waiting: then nobody needs the reply.
            for (_, reply) in batch.replies {
                let _ = reply.send(Err(PostError::Store(Arc::clone(&error))));
            }
            self.is_doubtful = true;
            // What cannot be written need not be fetched, until something new happens.
            self.pulls.give_up();
            return;
        }
        self.written(inner, batch.log, batch.serial);
        for (serial, reply) in batch.replies {
            let _ = reply.send(Ok(serial));
        }
        for update in batch.own {
            self.publish(inner, update).await;
        }
    }

    /// Begins again with what is on disk. A write that failed may have come there all the same: what is appended after
    /// another log than that is refused for ever.
    async fn read_again(&mut self, inner: &Inner) {
        match inner.store.log(inner.session).await {
            Ok((log, serial)) => {
                self.written(inner, log, serial);
                self.is_doubtful = false;
            }
            Err(error) => tracing::error!(session = %inner.session, %error, "the log cannot be read again"),
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
            let mut batch = Batch::new(&self.log, *self.newest.borrow());
            if !batch.recognise(checkpoint) {
                continue;
            }
            match batch.write(inner).await {
                Ok(()) => self.written(inner, batch.log, batch.serial),
                Err(error) => {
                    self.is_doubtful = true;
                    tracing::error!(session = %inner.session, %error, "a checkpoint could not be noted");
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
