//! Fetching a program: drives the machine in [`parlor_proto::content`] over streams to any number of sources.
//!
//! What arrived before stays and is not fetched again, whether the fetch failed, was dropped or the node was
//! killed: the [`Bundle`] knows. Dropping the future ends everything it started.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, Abortable, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use parlor_proto::{
    content::{Event, Fetch, MAX_SOURCES, Output, frames::Refusal},
    identity::PeerId,
    ids::ProgramId,
    program::{Program, Role},
    time::Timestamp,
};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Connector,
    asker::{Asker, SourceError, Told, manifest},
};
use crate::store::bundle::{Bundle, BundleError, blocking};

/// How often a source is tried again, in a row, without a chunk from it that holds.
pub const MAX_ATTEMPTS: u32 = 8;

/// How long the first try after a failure waits; each further one twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest wait between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// The most asks for one source that are not sent yet. The machine's window allows fewer.
const MAX_ASKS: usize = 32;

/// The most news from askers that wait to be dealt with; then the askers wait.
const MAX_NEWS: usize = 64;

/// What to fetch, and from whom.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where it goes. What is in it already is not fetched again.
    pub bundle: Arc<Bundle>,
    /// Whose copy.
    pub role: Role,
    /// What is shown to sources, up to [`MAX_RIGHT`](parlor_proto::content::frames::MAX_RIGHT) bytes.
    pub right: Arc<[u8]>,
    /// Who may have it; the first [`MAX_SOURCES`] count.
    pub sources: Vec<PeerId>,
}

/// How far a fetch is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is here and verified, bytes.
    pub bytes_done: u64,
    /// What the whole copy takes, bytes.
    pub bytes_total: u64,
}

/// Why a program was not fetched. What arrived is kept for the next try.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No source was named.
    #[error("nobody is known who has the program")]
    NoSource,
    /// The last source said no.
    #[error("{peer} does not send the program: {reason}")]
    Refused {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: Refusal,
    },
    /// The last source lies about the program, or the program's manifest lies about its files.
    #[error("{peer} does not send what was asked for: {source}")]
    BadSource {
        /// Who.
        peer: PeerId,
        /// What it did.
        source: SourceError,
    },
    /// The last source was not to be had, again and again.
    #[error("{peer} does not send the program: {source}")]
    Unreachable {
        /// Who.
        peer: PeerId,
        /// What was the matter.
        source: SourceError,
    },
    /// What arrived cannot be stored.
    #[error(transparent)]
    Store(#[from] BundleError),
}

impl FetchError {
    fn of(peer: PeerId, source: SourceError) -> Self {
        match source {
            SourceError::Refused(reason) => Self::Refused { peer, reason },
            source if source.is_final() => Self::BadSource { peer, source },
            source => Self::Unreachable { peer, source },
        }
    }
}

/// Gets a program's manifest from one source, verified. One try.
pub async fn fetch_manifest<C: Connector>(
    connector: &C,
    peer: PeerId,
    program: ProgramId,
    right: &[u8],
) -> Result<Program, FetchError> {
    manifest(connector, peer, program, right).await.map_err(|source| FetchError::of(peer, source))
}

/// Fetches what is missing of a copy. When it returns, the copy is complete; that it survives a loss of power
/// without being hashed again is seen to in the background.
pub async fn fetch<C: Connector>(
    connector: Arc<C>,
    wanted: Wanted,
    progress: &watch::Sender<Progress>,
) -> Result<(), FetchError> {
    let (bundle, role) = (wanted.bundle.clone(), wanted.role);
    blocking({
        let bundle = bundle.clone();
        move || bundle.lay_out(role)
    })
    .await?;
    let result = Driver::new(connector, wanted, progress).run().await;
    if result.is_ok() {
        spawn_blocking(move || {
            if let Err(error) = bundle.settle() {
                tracing::warn!(%error, "a fetched program was not synced to disk; it is hashed again at next start");
            }
        });
    }
    result
}

/// An asker at work; gives whom it asked, its number and why it ended.
type Running = BoxFuture<'static, (PeerId, u64, SourceError)>;

/// A source, as the driver has it.
struct Contact {
    /// Failures in a row.
    attempts: u32,
    /// Which of all askers it is: an earlier one of the same source may come to its end late.
    asker: u64,
    asks: mpsc::Sender<Vec<std::ops::Range<u32>>>,
    stop: AbortHandle,
}

struct Driver<'a, C> {
    connector: Arc<C>,
    wanted: Wanted,
    machine: Fetch,
    started: Instant,
    contacts: HashMap<PeerId, Contact>,
    /// Askers run within the fetch's own task: to wake another for each batch costs more than they do.
    running: FuturesUnordered<Abortable<Running>>,
    /// How many askers were started.
    askers: u64,
    tell: mpsc::Sender<(PeerId, Told)>,
    told: mpsc::Receiver<(PeerId, Told)>,
    progress: &'a watch::Sender<Progress>,
    done: bool,
    /// What became of the source that was given up last.
    failure: Option<FetchError>,
}

impl<'a, C: Connector> Driver<'a, C> {
    fn new(connector: Arc<C>, wanted: Wanted, progress: &'a watch::Sender<Progress>) -> Self {
        let (tell, told) = mpsc::channel(MAX_NEWS);
        let (program, have) = (wanted.bundle.program(), wanted.bundle.have());
        let chunks = program.chunks_for(wanted.role);
        let mut here = chunks.clone();
        here.retain_all(&have);
        progress.send_replace(Progress {
            bytes_done: program.size_of(&here),
            bytes_total: program.size_of(&chunks),
        });
        let machine = Fetch::new(&chunks, &have);
        Self {
            connector,
            wanted,
            machine,
            started: Instant::now(),
            contacts: HashMap::new(),
            running: FuturesUnordered::new(),
            askers: 0,
            tell,
            told,
            progress,
            done: false,
            failure: None,
        }
    }

    async fn run(mut self) -> Result<(), FetchError> {
        self.step(Event::Tick);
        if !self.done {
            let mut seen = HashSet::new();
            let sources: Vec<PeerId> =
                self.wanted.sources.iter().copied().filter(|peer| seen.insert(*peer)).collect();
            sources.into_iter().take(MAX_SOURCES).for_each(|peer| self.contact(peer, 0));
        }
        while !self.done {
            if self.contacts.is_empty() {
                return Err(self.failure.unwrap_or(FetchError::NoSource));
            }
            let deadline = self.machine.deadline().map(|at| self.started + Duration::from_millis(at.0));
            tokio::select! {
                biased;
                Some((peer, told)) = self.told.recv() => self.heard(peer, told)?,
                // An error: stopped by us; what follows from that was done then.
                Some(ended) = self.running.next() => {
                    // What an asker told comes before that it is over.
                    while let Ok((peer, told)) = self.told.try_recv() {
                        self.heard(peer, told)?;
                    }
                    if let Ok((peer, asker, error)) = ended {
                        self.over(peer, asker, error);
                    }
                }
                () = sleep_until(deadline.unwrap_or(self.started)), if deadline.is_some() => self.step(Event::Tick),
            }
        }
        Ok(())
    }

    fn heard(&mut self, peer: PeerId, told: Told) -> Result<(), FetchError> {
        match told {
            Told::Ready(has) => self.step(Event::SourceAdded { peer, has }),
            Told::Unasked(chunk) => self.step(Event::Bad { peer, chunk }),
            Told::Disk(error) => return Err(error.into()),
            Told::Written(written) => {
                if let Some(contact) = self.contacts.get_mut(&peer)
                    && !written.good.is_empty()
                {
                    contact.attempts = 0;
                }
                for chunk in written.good {
                    let before = self.machine.missing();
                    self.step(Event::Verified { peer, chunk });
                    if self.machine.missing() < before {
                        let len = self.wanted.bundle.program().chunk(chunk).map_or(0, |chunk| chunk.len);
                        self.progress.send_modify(|progress| progress.bytes_done += u64::from(len));
                    }
                }
                if let Some(chunk) = written.bad {
                    self.step(Event::Bad { peer, chunk });
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, event: Event) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        for output in self.machine.handle(event, Timestamp(now)) {
            match output {
                Output::Ask { peer, ranges } => {
                    // A refused ask: the asker is about to end, and its end is dealt with then.
                    if let Some(contact) = self.contacts.get(&peer) {
                        let _ = contact.asks.try_send(ranges);
                    }
                }
                Output::Drop { peer, why } => self.retry_or_give_up(peer, why.into()),
                Output::Done => self.done = true,
                Output::Stuck => {}
            }
        }
    }

    /// An asker came to its end.
    fn over(&mut self, peer: PeerId, asker: u64, error: SourceError) {
        if self.contacts.get(&peer).is_none_or(|contact| contact.asker != asker) {
            return;
        }
        let final_fault = error.is_final() && !matches!(error, SourceError::Refused(_));
        self.retry_or_give_up(peer, error);
        self.step(if final_fault { Event::Broken { peer } } else { Event::SourceLost { peer } });
    }

    fn retry_or_give_up(&mut self, peer: PeerId, error: SourceError) {
        let Some(contact) = self.contacts.remove(&peer) else {
            return;
        };
        contact.stop.abort();
        tracing::debug!(%peer, %error, "a source of a program failed");
        if error.is_final() || contact.attempts + 1 >= MAX_ATTEMPTS {
            self.failure = Some(FetchError::of(peer, error));
        } else {
            self.contact(peer, contact.attempts + 1);
        }
    }

    /// Starts an asker, after a pause if there were failures.
    fn contact(&mut self, peer: PeerId, attempts: u32) {
        self.askers += 1;
        let number = self.askers;
        let (asks, receiver) = mpsc::channel(MAX_ASKS);
        let asker = Asker {
            peer,
            connector: self.connector.clone(),
            bundle: self.wanted.bundle.clone(),
            right: self.wanted.right.clone(),
            asks: receiver,
            told: self.tell.clone(),
        };
        let pause = attempts.checked_sub(1).map(|doublings| (FIRST_PAUSE * (1 << doublings)).min(MAX_PAUSE));
        let (running, stop) = abortable(
            async move {
                if let Some(pause) = pause {
                    sleep(pause).await;
                }
                (peer, number, asker.run().await)
            }
            .boxed(),
        );
        self.running.push(running);
        self.contacts.insert(peer, Contact { attempts, asker: number, asks, stop });
    }
}
