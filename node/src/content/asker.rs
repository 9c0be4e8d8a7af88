//! The side of a content stream that wants the chunks: one stream to one source.
//!
//! It sends what is asked while it reads what comes, cuts frames out of large buffers, and has the chunks in
//! them verified and written on other threads, a few batches at a time. When those do not keep up it stops
//! reading, and so the source stops sending.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

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
    time::timeout,
};

use super::{BUFFER, Connector, PATIENCE, Stream};
use crate::store::bundle::{Bundle, BundleError, Written};

/// How many batches of one source are verified and written at a time.
const MAX_JOBS: usize = 3;

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
        loop {
            if let Err(fault) = work.cut(&line.buffer[..line.filled]) {
                return Err(self.fault(fault).await);
            }
            work.hand_over(&mut line, &self.bundle);
            tokio::select! {
                Some(done) = work.jobs.join_next() => self.tell(work.finished(done)?).await?,
                Some(ranges) = self.asks.recv() => {
                    work.owed.extend(ranges.iter().cloned().flatten().map(|chunk| Owed::Chunk(ChunkIndex(chunk))));
                    work.owed.push_back(Owed::End);
                    line.say(&Request::Want(ranges));
                }
                came = line.exchange(), if line.filled < line.buffer.len() => {
                    let over = match came {
                        Ok(true) => continue,
                        Ok(false) => SourceError::Ended,
                        Err(error) => error.into(),
                    };
                    // What arrived counts.
                    while let Some(done) = work.jobs.join_next().await {
                        self.tell(work.finished(done)?).await?;
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
        self.told
            .send((self.peer, told))
            .await
            .map_err(|_| SourceError::Ended)
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
        let mut line = Line {
            stream,
            out: Vec::new(),
            written: 0,
            unflushed: false,
            buffer: vec![0; BUFFER],
            filled: 0,
        };
        line.say(&Request::Open {
            program,
            right: right.to_vec(),
        });
        let (kind, body) = line.frame().await?;
        match Reply::parse(kind, &body)? {
            Reply::Accepted(_) => Ok((line, body)),
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Err(SourceError::OutOfPlace),
        }
    };
    timeout(PATIENCE, opening)
        .await
        .unwrap_or(Err(SourceError::Silent))
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
        if kind == Kind::Manifest && last == Kind::End {
            Ok(bytes)
        } else {
            Err(SourceError::OutOfPlace)
        }
    };
    let bytes = timeout(MANIFEST_PATIENCE, asking)
        .await
        .unwrap_or(Err(SourceError::Silent))?;
    // Best effort: everything is here.
    let _ = timeout(PATIENCE, line.stream.close()).await;
    Ok(Program::decode_expecting(bytes, program)?)
}

/// A stream, with what is on the way out and what came in.
pub(super) struct Line<S> {
    stream: S,
    out: Vec<u8>,
    /// How much of `out` was written.
    written: usize,
    unflushed: bool,
    buffer: Vec<u8>,
    /// How much of `buffer` came in.
    filled: usize,
}

impl<S: Stream> Line<S> {
    /// Puts a request on the way; [`Self::exchange`] sends it.
    fn say(&mut self, request: &Request) {
        self.out.drain(..self.written);
        self.written = 0;
        self.out.extend(request.encode());
    }

    /// Sends what is on the way out, and reads until nothing more is ready or the buffer (which must have room)
    /// is full. Gives false at the end of the stream. Nothing is lost if it is dropped.
    async fn exchange(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.poll_exchange(cx)).await
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Poll::Ready(result) = self.poll_send(cx) {
            result?;
        }
        let before = self.filled;
        while self.filled < self.buffer.len() {
            match Pin::new(&mut self.stream).poll_read(cx, &mut self.buffer[self.filled..])? {
                Poll::Pending if self.filled == before => return Poll::Pending,
                Poll::Pending | Poll::Ready(0) => break,
                Poll::Ready(len) => self.filled += len,
            }
        }
        Poll::Ready(Ok(self.filled > before))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => self.written += len,
            }
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads one frame, which may be longer than the buffer; for the few that are not chunks.
    async fn frame(&mut self) -> Result<(Kind, Vec<u8>), SourceError> {
        let mut body = Vec::new();
        let mut header = None;
        loop {
            if header.is_none()
                && let Some(bytes) = self.buffer[..self.filled].first_chunk::<HEADER_LEN>()
            {
                header = Some(Header::parse(*bytes, Side::Source)?);
                self.take(HEADER_LEN);
            }
            if let Some(Header { kind, len }) = header {
                // Grows with what comes, not with what was announced.
                let here = self.filled.min(len - body.len());
                body.extend_from_slice(&self.buffer[..here]);
                self.take(here);
                if body.len() == len {
                    return Ok((kind, body));
                }
            }
            if !self.exchange().await? {
                return Err(SourceError::Ended);
            }
        }
    }

    /// Forgets the first bytes of the buffer.
    fn take(&mut self, len: usize) {
        self.buffer.copy_within(len..self.filled, 0);
        self.filled -= len;
    }
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
                return if matches!(kind, Kind::Chunk | Kind::End) {
                    Ok(())
                } else {
                    Err(Fault::OutOfPlace)
                };
            };
            self.parsed += HEADER_LEN + len;
            match (
                Reply::parse(kind, body).map_err(Fault::Frame)?,
                self.owed.pop_front(),
            ) {
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
        if self.chunks.is_empty() || self.jobs.len() == MAX_JOBS {
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
            let batch: Vec<_> = chunks
                .into_iter()
                .map(|(index, place)| (index, &full[place]))
                .collect();
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
