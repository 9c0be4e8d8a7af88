//! The one writer of a session's log.
//!
//! Commands are taken in batches; a batch ends early at a checkpoint, since what may be kept after it depends on what
//! is on disk once the rest is let go of.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use parlor_proto::{
    group::{
        Chain, Heads, Hosts, Log, MAX_CHAINS, MAX_CHECKPOINTS, MAX_UPDATES, Pending, Update, UpdatesResponse,
        Verdict, lanes::Lane,
    },
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
/// How often to look for updates that still wait for others: for those that do so the second time, somebody is asked.
const HELD: Duration = Duration::from_millis(100);
/// How soon to publish again what the topic's queues did not take.
const REPUBLISH: Duration = Duration::from_millis(250);
/// How often keys whose time is up are erased, on a quiet line.
const TIDY: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    inner: Weak<Inner>,
    identity: Identity,
    log: Log,
    /// Updates that wait for others.
    pending: Pending,
    /// This node's own chain; `None` if it has to begin another one first.
    chain: Option<Chain>,
    /// What is to be looked at again: who says otherwise, and from which number of the own chain on.
    doubt: Option<(PeerId, u64)>,
    /// Whose word was looked into already, for the own chain of now: once each. At most as many as were ever present.
    doubted: HashSet<PeerId>,
    newest: watch::Sender<u64>,
    hosts: watch::Receiver<Hosts>,
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
    /// A checkpoint out of an answer, and what whoever answers has.
    Jump(PeerId, Signed<Update>, Arc<Heads>),
    /// An update out of an answer.
    Pulled(PeerId, Signed<Update>),
    /// The end of an answer: whether there is more.
    PullEnd(PeerId, bool),
}

impl Driver {
    pub(super) fn new(
        inner: &Arc<Inner>,
        identity: Identity,
        log: Log,
        start: u64,
        newest: watch::Sender<u64>,
    ) -> Self {
        Self {
            inner: Arc::downgrade(inner),
            chain: Some(Chain { sender: identity.peer(), start }),
            identity,
            log,
            pending: Pending::default(),
            doubt: None,
            doubted: HashSet::new(),
            newest,
            hosts: inner.hosts.subscribe(),
            present: HashSet::new(),
            pulls: Pulls::default(),
            is_doubtful: false,
            unpublished: None,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>, stop: CancellationToken) {
        let [mut resync, mut republish, mut tidy, mut held] = [RESYNC, REPUBLISH, TIDY, HELD].map(|every| {
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
                _ = held.tick(), if !self.pending.is_empty() => {
                    if let Some(inner) = self.inner.upgrade() {
                        self.pending.overdue().into_iter().for_each(|sender| self.pulls.want(sender));
                        self.pull(&inner);
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
                    self.look_for_own(inner, peer, &response).await;
                    take_apart(peer, response, &mut work);
                }
                Command::Pulled(peer, None) => work.push_back(Work::PullEnd(peer, false)),
                command => work.push_back(Work::Command(command)),
            }
        }

        loop {
            if self.is_doubtful {
                self.read_again(inner).await;
            }
            if self.chain.is_none() {
                self.begin_chain(inner).await;
            }
            let mut batch = self.batch(inner);
            batch.release(inner, &self.hosts.borrow(), &mut self.pending);
            while !batch.is_closed()
                && let Some(work) = work.pop_front()
            {
                self.take(inner, work, &mut batch);
            }
            let is_done = work.is_empty() && !batch.is_closed();
            if batch.is_reused {
                self.chain = None;
            }
            if let Some((peer, number)) = batch.doubt {
                self.look_into(peer, number);
            }
            self.commit(inner, batch).await;
            if is_done {
                break;
            }
        }
        self.pull(inner);
    }

    fn batch(&self, inner: &Inner) -> Batch {
        // Without a chain of its own this node does not post.
        let chain = self.chain.unwrap_or(inner.me.into());
        Batch::new(&self.log, *self.newest.borrow(), chain)
    }

    fn take(&mut self, inner: &Inner, work: Work, batch: &mut Batch) {
        match work {
            Work::Command(Command::Post { payload, is_checkpoint, key, reply }) => {
                let posted = match self.chain {
                    Some(_) => {
                        batch.post(inner, &self.identity, &self.hosts.borrow(), payload, is_checkpoint)
                    }
                    None => Err(PostError::Reused),
                };
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
                batch.heard(inner, &self.hosts.borrow(), &mut self.pending, author, update, false);
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
            Work::Jump(peer, checkpoint, have) => {
                if batch.jump(inner, &self.hosts.borrow(), peer, checkpoint, &have) {
                    self.pulls.progress(peer);
                }
            }
            Work::Pulled(peer, update) => {
                let hosts = self.hosts.borrow();
                let verdict = batch.heard(inner, &hosts, &mut self.pending, peer, update, true);
                if matches!(verdict, Some(Verdict::Append | Verdict::Checkpoint)) {
                    self.pulls.progress(peer);
                }
            }
            Work::PullEnd(peer, more) => self.pulls.end(peer, more),
        }
        batch.release(inner, &self.hosts.borrow(), &mut self.pending);
    }

    /// Whether an answer shows that numbers of this node's chain were used before, as they are on the disk of which this
    /// one is an older copy. What only somebody says, without this node's signature, is a reason to ask for that.
    async fn look_for_own(&mut self, inner: &Inner, peer: PeerId, response: &UpdatesResponse) {
        let Some(chain) = self.chain else { return };
        let head = self.log.heads().of(chain);
        for link in response.yours.iter().take(MAX_CHAINS) {
            if link.chain == chain
                && link.number <= head
                && self.is_other(inner, chain, link.number, &link.hash.0).await
            {
                self.look_into(peer, link.number);
            }
        }
        for update in response.updates.iter().take(MAX_UPDATES) {
            let claimed = update.unverified();
            let is_old = claimed.chain == chain && claimed.session == inner.session && claimed.number <= head;
            if is_old
                && self.is_other(inner, chain, claimed.number, &update.unverified_hash().0).await
                && update.clone().verify().is_ok()
            {
                self.chain = None;
                return;
            }
        }
    }

    /// `peer` says that this node's update with that number is another one than here.
    fn look_into(&mut self, peer: PeerId, number: u64) {
        if self.present.contains(&peer) && self.doubted.insert(peer) {
            self.doubt = Some((peer, number));
        }
    }

    /// Whether another update is here under that number.
    async fn is_other(&self, inner: &Inner, chain: Chain, number: u64, hash: &[u8]) -> bool {
        match inner.store.update_hash(inner.session, chain, number).await {
            Ok(known) => known.is_some_and(|known| known != hash),
            Err(error) => {
                tracing::error!(session = %inner.session, %error, "an update cannot be read");
                false
            }
        }
    }

    async fn begin_chain(&mut self, inner: &Inner) {
        let session = inner.session;
        match inner.store.begin_chain(session, clock::now()).await {
            Ok(start) => {
                self.chain = Some(Chain { sender: inner.me, start });
                self.doubt = None;
                self.doubted.clear();
                tracing::warn!(
                    %session,
                    "this node has said more in this session than its home knows, which is an older copy or was left and \
                     joined anew: what it said since then may not have reached the others, from now on it does"
                );
            }
            Err(error) => tracing::error!(%session, %error, "a new chain of updates could not be noted"),
        }
    }

    async fn commit(&mut self, inner: &Arc<Inner>, mut batch: Batch) {
        if batch.is_empty() {
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
        *inner.log.write().unwrap_or_else(PoisonError::into_inner) = log.clone();
        self.log = log;
        self.newest.send_replace(serial);
    }

    /// Updates of somebody who turned out to be the host may have been checkpoints.
    async fn hosts_changed(&mut self, inner: &Arc<Inner>) {
        let hosts = self.hosts.borrow_and_update().clone();
        if let Some((host, _)) = hosts.now {
            match inner.store.newest_checkpoint(inner.session, host).await {
                Ok(Some(checkpoint)) if hosts.count(&checkpoint) && self.has_all_of(&checkpoint) => {
                    let mut batch = self.batch(inner);
                    batch.recognise(checkpoint);
                    self.commit(inner, batch).await;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(session = %inner.session, %error, "checkpoints cannot be read");
                }
            }
        }
        self.want_somebody();
        // What waits may wait no longer.
        self.do_all(inner, Vec::new()).await;
    }

    /// Whether everything that a checkpoint covers is here.
    fn has_all_of(&self, checkpoint: &Update) -> bool {
        checkpoint.covered().iter().all(|link| self.log.heads().of(link.chain) >= link.number)
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
        self.doubt = self.doubt.filter(|(peer, _)| self.present.contains(peer));
        if let Some((peer, _)) = self.doubt {
            self.pulls.want(peer);
        }
        let (present, somebody) = (&self.present, self.somebody());
        let due = self.pulls.due(|peer| if present.contains(&peer) { Some(peer) } else { somebody });
        for peer in due {
            let (inner, mut have) = (Arc::clone(inner), self.log.heads().clone());
            if let (Some((_, number)), Some(chain)) = (self.doubt.take_if(|(of, _)| *of == peer), self.chain)
            {
                // As if it were not here: what the other has is shown.
                have.0.insert(chain, number.saturating_sub(1));
            }
            tokio::spawn(async move {
                let commands = inner.commands.clone();
                let response = pull::ask(inner, peer, have).await;
                // Fails only while the group is being closed.
                let _ = commands.send(Command::Pulled(peer, response)).await;
            });
        }
    }
}

/// What is in an answer, in the order in which it is taken: first what replaces what nobody has any more.
fn take_apart(peer: PeerId, response: UpdatesResponse, work: &mut VecDeque<Work>) {
    let have = Arc::new(response.have);
    let checkpoints = response.checkpoints.into_iter().take(MAX_CHECKPOINTS);
    work.extend(checkpoints.map(|checkpoint| Work::Jump(peer, checkpoint, Arc::clone(&have))));

    let mut updates: Vec<_> = response.updates.into_iter().take(MAX_UPDATES).collect();
    updates.sort_by_key(|update| update.unverified().place());
    work.extend(updates.into_iter().map(|update| Work::Pulled(peer, update)));
    work.push_back(Work::PullEnd(peer, response.more));
}
