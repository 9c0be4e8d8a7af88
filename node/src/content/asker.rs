//! The side of a content stream that wants the chunks: one stream to one source.
//!
//! It sends what is asked while it reads what comes, cuts frames out of large buffers, and has the chunks in
//! them verified and written on other threads, a batch at a time, while the next fills up. When the disk does
//! not keep up it stops reading, and so the source stops sending.

use std::{collections::VecDeque, convert::Infallible, io, ops::Range, pin::pin, sync::Arc, time::Duration};

use futures::io::AsyncWriteExt as _;
use parlor_proto::{
    content::{
        Blame,
        frames::{FrameError, HEADER_LEN, Header, Kind, Refusal, Reply, Request, Side},
    },
    identity::PeerId,
    ids::ProgramId,
    program::{ChunkIndex, ChunkSet, ManifestError, Program},
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::{BATCH, BUFFER, Connector, PATIENCE, line::Line};
use crate::store::bundle::{Bundle, BundleError, Written};

/// How many batches of one source are verified and written at a time: one more than needed, so that a thread
/// that is woken late does not stop the stream.
const MAX_JOBS: usize = 2;

/// How long a chunk may wait for others, to be handed over with them: threads are not woken for each one.
const LINGER: Duration = Duration::from_millis(20);

/// How long a manifest may take: its 4 MiB at 300 kbit/s.
const MANIFEST_PATIENCE: Duration = Duration::from_secs(120);

/// Why a source is of no more use, for now or for good.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No stream could be made.
    #[error("it cannot be reached: {0}")]
    Connect(#[source] io::Error),
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Stream(#[from] io::Error),
    /// The stream ended before everything was there.
    #[error("it ended the stream early")]
    Ended,
    /// It did not answer in time.
    #[error("it does not answer")]
    Silent,
    /// It said no.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Bytes that no honest source sends.
    #[error("it sent {0}")]
    Frame(#[from] FrameError),
    /// Words out of place: an answer that was not asked for, is not complete, or is of another program.
    #[error("it does not keep to the protocol")]
    OutOfPlace,
    /// A manifest that cannot be used.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    /// What the machine found.
    #[error("{0}")]
    Blamed(#[from] Blame),
}

impl SourceError {
    /// Whether the source is not worth asking again: it lies, or does not let us.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Stream(_) | Self::Ended | Self::Silent => false,
            Self::Refused(refusal) => *refusal != Refusal::Busy,
            Self::Frame(_) | Self::OutOfPlace | Self::Manifest(_) => true,
            Self::Blamed(blame) => blame.is_final(),
        }
    }
}

/// What an asker tells the fetch.
#[derive(Debug)]
pub(super) enum Told {
    /// The source has these chunks and can be asked.
    Ready(ChunkSet),
    /// A batch was dealt with.
    Written(Written),
    /// A chunk came that was not asked for.
    Unasked(ChunkIndex),
    /// The disk failed: nothing that a source could help with.
    Disk(BundleError),
}

/// What an asker works with.
pub(super) struct Asker<C> {
    pub(super) peer: PeerId,
    pub(super) connector: Arc<C>,
    pub(super) bundle: Arc<Bundle>,
    pub(super) right: Arc<[u8]>,
    /// What to ask for.
    pub(super) asks: mpsc::Receiver<Vec<Range<u32>>>,
    pub(super) told: mpsc::Sender<(PeerId, Told)>,
}

impl<C: Connector> Asker<C> {
    /// Runs until the stream is over; always for a reason.
    pub(super) async fn run(mut self) -> SourceError {
        let Err(error) = self.try_run().await;
        error
    }

    async fn try_run(&mut self) -> Result<Infallible, SourceError> {
        let program = self.bundle.program().id();
        let (mut line, bitmap) = open(&*self.connector, self.peer, program, &self.right).await?;
        let universe = self.bundle.program().chunk_count();
        let has = ChunkSet::from_bitmap(&bitmap, universe).ok_or(SourceError::OutOfPlace)?;
        self.tell(Told::Ready(has)).await?;

        let mut work = Work::default();
        let mut linger = pin!(sleep(LINGER));
        loop {
            if let Err(fault) = work.cut(&line.buffer[..line.filled]) {
                return Err(self.fault(fault).await);
            }
            if work.chunks.len() >= BATCH || work.owed.is_empty() || linger.is_elapsed() {
                work.hand_over(&mut line, &self.bundle);
            }
            tokio::select! {
                () = &mut linger, if !linger.is_elapsed() => {}
                Some(done) = work.jobs.join_next() => self.tell(work.finished(done)?).await?,
                Some(ranges) = self.asks.recv() => {
                    work.owed.extend(ranges.iter().cloned().flatten().map(|chunk| Owed::Chunk(ChunkIndex(chunk))));
                    work.owed.push_back(Owed::End);
                    line.say(&Request::Want(ranges));
                }
                came = line.exchange(), if line.filled < line.buffer.len() => {
                    let over = match came {
                        Ok(true) => {
                            if work.chunks.is_empty() {
                                linger.as_mut().reset(Instant::now() + LINGER);
                            }
                            continue;
                        }
                        Ok(false) => SourceError::Ended,
                        Err(error) => error.into(),
                    };
                    // What arrived counts.
                    work.hand_over(&mut line, &self.bundle);
                    while let Some(done) = work.jobs.join_next().await {
                        self.tell(work.finished(done)?).await?;
                        work.hand_over(&mut line, &self.bundle);
                    }
                    return Err(over);
                }
            }
        }
    }

    async fn fault(&self, fault: Fault) -> SourceError {
        match fault {
            Fault::Frame(error) => error.into(),
            Fault::OutOfPlace => SourceError::OutOfPlace,
            Fault::Unasked(chunk) => {
                let _ = self.tell(Told::Unasked(chunk)).await;
                SourceError::Blamed(Blame::BadChunk(chunk))
            }
        }
    }

    async fn tell(&self, told: Told) -> Result<(), SourceError> {
        // Nobody listens any more: the fetch is over.
        self.told.send((self.peer, told)).await.map_err(|_| SourceError::Ended)
    }
}

/// Opens a stream and shows the right; gives the stream and the bitmap of what the source has.
pub(super) async fn open<C: Connector>(
    connector: &C,
    peer: PeerId,
    program: ProgramId,
    right: &[u8],
) -> Result<(Line<C::Stream>, Vec<u8>), SourceError> {
    let opening = async {
        let stream = connector.connect(peer).await.map_err(SourceError::Connect)?;
        let mut line = Line::new(stream);
        line.say(&Request::Open { program, right: right.to_vec() });
        let (kind, body) = line.frame().await?;
        match Reply::parse(kind, &body)? {
            Reply::Accepted(_) => Ok((line, body)),
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Err(SourceError::OutOfPlace),
        }
    };
    timeout(PATIENCE, opening).await.unwrap_or(Err(SourceError::Silent))
}

/// Asks a source for a program's manifest.
pub(super) async fn manifest<C: Connector>(
    connector: &C,
    peer: PeerId,
    program: ProgramId,
    right: &[u8],
) -> Result<Program, SourceError> {
    let (mut line, _) = open(connector, peer, program, right).await?;
    line.say(&Request::WantManifest);
    let asking = async {
        let (kind, bytes) = line.frame().await?;
        let (last, _) = line.frame().await?;
        if kind == Kind::Manifest && last == Kind::End { Ok(bytes) } else { Err(SourceError::OutOfPlace) }
    };
    let bytes = timeout(MANIFEST_PATIENCE, asking).await.unwrap_or(Err(SourceError::Silent))?;
    // Best effort: everything is here.
    let _ = timeout(PATIENCE, line.stream.close()).await;
    Ok(Program::decode_expecting(bytes, program)?)
}

/// What is wrong with what came in.
enum Fault {
    Frame(FrameError),
    OutOfPlace,
    Unasked(ChunkIndex),
}

/// What the source owes, in order.
#[derive(Debug, PartialEq, Eq)]
enum Owed {
    Chunk(ChunkIndex),
    End,
}

/// The chunks on their way from the line's buffer to the disk.
#[derive(Default)]
struct Work {
    /// Bounded by the machine's window.
    owed: VecDeque<Owed>,
    /// Up to where the line's buffer was cut into frames.
    parsed: usize,
    /// The chunks in that part, by where they lie.
    chunks: Vec<(ChunkIndex, Range<usize>)>,
    jobs: JoinSet<(Vec<u8>, Result<Written, BundleError>)>,
    /// Buffers that are not in use.
    spare: Vec<Vec<u8>>,
}

impl Work {
    /// Cuts what came in into frames.
    fn cut(&mut self, buffer: &[u8]) -> Result<(), Fault> {
        while let Some((header, rest)) = buffer[self.parsed..].split_first_chunk::<HEADER_LEN>() {
            let Header { kind, len } = Header::parse(*header, Side::Source).map_err(Fault::Frame)?;
            let Some(body) = rest.get(..len) else {
                // No other frame is in place here, and only a chunk is sure to fit the buffer.
                return if matches!(kind, Kind::Chunk | Kind::End) { Ok(()) } else { Err(Fault::OutOfPlace) };
            };
            self.parsed += HEADER_LEN + len;
            match (Reply::parse(kind, body).map_err(Fault::Frame)?, self.owed.pop_front()) {
                (Reply::Chunk(index, bytes), owed) => {
                    if owed != Some(Owed::Chunk(index)) {
                        return Err(Fault::Unasked(index));
                    }
                    self.chunks.push((index, self.parsed - bytes.len()..self.parsed));
                }
                (Reply::End, Some(Owed::End)) => {}
                _ => return Err(Fault::OutOfPlace),
            }
        }
        Ok(())
    }

    /// Has the chunks that are in the line's buffer verified and written, unless enough is in work already.
    fn hand_over<S>(&mut self, line: &mut Line<S>, bundle: &Arc<Bundle>) {
        if self.chunks.is_empty() || self.jobs.len() >= MAX_JOBS {
            return;
        }
        let mut next = self.spare.pop().unwrap_or_else(|| vec![0; BUFFER]);
        let rest = line.filled - self.parsed;
        next[..rest].copy_from_slice(&line.buffer[self.parsed..line.filled]);
        let full = std::mem::replace(&mut line.buffer, next);
        line.filled = rest;
        self.parsed = 0;
        let (chunks, bundle) = (std::mem::take(&mut self.chunks), bundle.clone());
        self.jobs.spawn_blocking(move || {
            let batch: Vec<_> = chunks.into_iter().map(|(index, place)| (index, &full[place])).collect();
            let written = bundle.write_chunks(&batch);
            (full, written)
        });
    }

    fn finished(
        &mut self,
        done: Result<(Vec<u8>, Result<Written, BundleError>), JoinError>,
    ) -> Result<Told, SourceError> {
        // An error: the runtime is shutting down.
        let (buffer, written) = done.map_err(io::Error::other)?;
        self.spare.push(buffer);
        Ok(written.map_or_else(Told::Disk, Told::Written))
    }
}
