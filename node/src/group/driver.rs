//! The one writer of a session's log.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use parlor_proto::{
    group::{Frame, Heads, Log, MAX_NUMBER, MAX_UPDATES, Update, UpdatesResponse, Verdict},
    identity::{Identity, PeerId},
    rights::{Signed, Verified, sign},
};
use rand::seq::IteratorRandom as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{Command, Inner, PostError, pull};
use crate::{
    clock,
    store::{StoreError, to_blob},
};

/// Most commands that go to disk in one transaction.
const BATCH: usize = 128;
/// How often to ask somebody for what may have been lost without leaving a gap.
const RESYNC: Duration = Duration::from_secs(10);
/// How soon to publish again what the topic's queues did not take.
const REPUBLISH: Duration = Duration::from_millis(250);

pub(super) struct Driver {
    inner: Weak<Inner>,
    identity: Identity,
    log: Log,
    newest: watch::Sender<u64>,
    present: HashSet<PeerId>,
    /// Who is being asked; `true`: ask again afterwards.
    pulling: HashMap<PeerId, bool>,
    /// The newest own update that could not be published.
    unpublished: Option<Verified<Update>>,
}

/// One transaction's worth.
struct Batch {
    log: Log,
    serial: u64,
    appended: Vec<Verified<Update>>,
    replies: Vec<(u64, oneshot::Sender<Result<u64, PostError>>)>,
    own: Vec<Verified<Update>>,
    pulls: Vec<PeerId>,
}

impl Driver {
    pub(super) fn new(
        inner: Weak<Inner>,
        identity: Identity,
        heads: Heads,
        newest: watch::Sender<u64>,
    ) -> Self {
        let log = Log::new(heads);
        let (present, pulling) = (HashSet::new(), HashMap::new());
        Self { inner, identity, log, newest, present, pulling, unpublished: None }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>, stop: CancellationToken) {
        let mut resync = tokio::time::interval(RESYNC);
        let mut republish = tokio::time::interval(REPUBLISH);
        republish.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut commands = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = inbox.recv_many(&mut commands, BATCH) => {
                    let Some(inner) = self.inner.upgrade().filter(|_| received > 0) else { return };
                    self.step(&inner, std::mem::take(&mut commands)).await;
                }
                _ = resync.tick() => {
                    let somebody = self.present.iter().copied().choose(&mut rand::rng());
                    if let (Some(peer), Some(inner)) = (somebody, self.inner.upgrade()) {
                        self.pull(&inner, peer);
                    }
                }
                _ = republish.tick(), if self.unpublished.is_some() => {
                    if let (Some(update), Some(inner)) = (self.unpublished.take(), self.inner.upgrade()) {
                        self.publish(&inner, update).await;
                    }
                }
            }
        }
    }

    async fn step(&mut self, inner: &Arc<Inner>, commands: Vec<Command>) {
        let mut batch = Batch {
            log: self.log.clone(),
            serial: *self.newest.borrow(),
            appended: Vec::new(),
            replies: Vec::new(),
            own: Vec::new(),
            pulls: Vec::new(),
        };
        for command in commands {
            match command {
                Command::Post(payload, reply) => self.post(inner, payload, reply, &mut batch),
                Command::Heard(author, update) => heard(inner, author, update, &mut batch),
                Command::Present(peer, true) => {
                    self.present.insert(peer);
                    batch.pulls.push(peer);
                }
                Command::Present(peer, false) => {
                    self.present.remove(&peer);
                }
                Command::Pulled(peer, response) => self.pulled(inner, peer, response, &mut batch),
            }
        }
        let pulls = std::mem::take(&mut batch.pulls);
        self.commit(inner, batch).await;
        for peer in pulls {
            self.pull(inner, peer);
        }
    }

    fn post(
        &self,
        inner: &Inner,
        payload: Vec<u8>,
        reply: oneshot::Sender<Result<u64, PostError>>,
        batch: &mut Batch,
    ) {
        let sender = inner.me;
        let number = batch.log.next(&sender);
        if number > MAX_NUMBER {
            // Whoever posted may have stopped waiting.
            let _ = reply.send(Err(PostError::Closed));
            return;
        }
        let update = Update { session: inner.session, sender, number, at: clock::now(), payload };
        match sign(&update, &self.identity) {
            Ok(update) => {
                batch.own.push(update.clone());
                batch.append(update);
                batch.replies.push((batch.serial, reply));
            }
            Err(error) => {
                tracing::error!(%error, "an update of this node cannot be signed");
                // Whoever posted may have stopped waiting.
                let _ = reply.send(Err(PostError::Closed));
            }
        }
    }

    fn pulled(&mut self, inner: &Inner, peer: PeerId, response: Option<UpdatesResponse>, batch: &mut Batch) {
        let again = self.pulling.remove(&peer).unwrap_or(false);
        let Some(response) = response else { return };
        let before = batch.appended.len();
        for update in response.updates.into_iter().take(MAX_UPDATES) {
            heard(inner, peer, update, batch);
        }
        // A gap in what was pulled is the peer's fault: no use asking it again for that.
        batch.pulls.retain(|pull| *pull != peer);
        let progress = batch.appended.len() > before;
        if again || (response.more && progress) {
            batch.pulls.push(peer);
        }
    }

    async fn commit(&mut self, inner: &Arc<Inner>, batch: Batch) {
        if batch.appended.is_empty() {
            return;
        }
        let first = batch.serial - batch.appended.len() as u64 + 1;
        let written = async {
            let mut write = inner.store.write().await?;
            for (serial, update) in (first..).zip(&batch.appended) {
                inner.store.put_update(&mut write, serial, update).await?;
            }
            write.commit().await.map_err(StoreError::from)?;
            Ok(())
        };
        // Whoever posted may have stopped waiting: then nobody needs the reply.
        if let Err(error) = written.await {
            let error: Arc<StoreError> = Arc::new(error);
            tracing::error!(session = %inner.session, %error, "updates could not be written");
            for (_, reply) in batch.replies {
                let _ = reply.send(Err(PostError::Store(Arc::clone(&error))));
            }
            return;
        }
        self.log = batch.log;
        self.newest.send_replace(batch.serial);
        for (serial, reply) in batch.replies {
            let _ = reply.send(Ok(serial));
        }
        for update in batch.own {
            self.publish(inner, update).await;
        }
    }

    /// To everyone at once. What the queues do not take is published again soon; receivers see the gap before
    /// it and pull.
    async fn publish(&mut self, inner: &Inner, update: Verified<Update>) {
        let frame = to_blob(&Frame::Update(update.to_signed()));
        if let Err(error) = inner.overlay.group_publish(inner.session, frame.into()).await {
            tracing::debug!(session = %inner.session, %error, "an update was not published at once");
            if !self.present.is_empty() {
                self.unpublished = Some(update);
            }
        }
    }

    /// Asks `peer`, or somebody else if that one cannot be reached directly.
    fn pull(&mut self, inner: &Arc<Inner>, peer: PeerId) {
        let somebody = || self.present.iter().copied().choose(&mut rand::rng());
        let peer = if self.present.contains(&peer) { Some(peer) } else { somebody() };
        let Some(peer) = peer else { return };
        if let Some(again) = self.pulling.get_mut(&peer) {
            *again = true;
            return;
        }
        self.pulling.insert(peer, false);
        let (inner, have) = (Arc::clone(inner), self.log.heads().clone());
        tokio::spawn(async move {
            let commands = inner.commands.clone();
            let response = pull::ask(inner, peer, have).await;
            // Fails only while the group is being closed.
            let _ = commands.send(Command::Pulled(peer, response)).await;
        });
    }
}

/// An update that somebody else brought: `by` gossip or as an answer.
fn heard(inner: &Inner, by: PeerId, update: Signed<Update>, batch: &mut Batch) {
    let claimed = update.unverified();
    if claimed.session != inner.session || !inner.is_author(&claimed.sender) {
        return;
    }
    match batch.log.judge(claimed) {
        Verdict::Duplicate | Verdict::TooMany => {}
        Verdict::Gap => batch.pulls.push(by),
        Verdict::Append => match update.verify() {
            Ok(update) => batch.append(update),
            Err(error) => tracing::warn!(session = %inner.session, ?by, %error, "a forged update"),
        },
    }
}

impl Batch {
    fn append(&mut self, update: Verified<Update>) {
        self.log.appended(update.sender);
        self.serial += 1;
        self.appended.push(update);
    }
}
