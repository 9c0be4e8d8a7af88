//! The side of a content stream that has the chunks.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    ops::Range,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use parlor_proto::{
    content::frames::{
        CHUNK_HEADER_LEN, FrameError, HEADER_LEN, Header, Kind, Refusal, Reply, Request, Side, chunk_header,
    },
    identity::PeerId,
    program::{ChunkIndex, ChunkSet},
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout},
};

use super::{Authoriser, BATCH, BUFFER, PATIENCE, Stream};
use crate::store::bundle::{Bundle, BundleError, Bundles};

/// The most streams served at a time. Further ones are told that the source is busy.
pub const MAX_STREAMS: usize = 64;

/// The most streams served to one peer at a time.
pub const MAX_STREAMS_PER_PEER: usize = 4;

/// How many chunks are read at a time from the system's memory: few, so that they are still near when sent.
const CACHED_BATCH: usize = 4;

/// How long an asker may ask nothing before its stream is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Serves programs to those who have a right to them.
#[derive(Debug)]
pub struct Source<A> {
    shelf: Arc<Bundles>,
    authoriser: A,
    /// Streams being served, by peer.
    streams: Mutex<HashMap<PeerId, usize>>,
}

/// Why a stream was given up. Always the asker's doing or the disk's; nothing to tell the user about.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Stream(#[from] io::Error),
    /// Bytes that no honest asker sends.
    #[error("the asker sent {0}")]
    Frame(#[from] FrameError),
    /// Asked for chunks that its right does not cover.
    #[error("the asker asked for what it has no right to")]
    Beyond,
    /// It was refused.
    #[error("the asker was refused: {0}")]
    Refused(Refusal),
    /// It took nothing, or said nothing, for too long.
    #[error("the asker stalled")]
    Stalled,
    /// The bundle cannot be read.
    #[error(transparent)]
    Store(#[from] BundleError),
}

impl<A: Authoriser> Source<A> {
    /// Serves what is on `shelf` to whom `authoriser` lets.
    pub fn new(shelf: Arc<Bundles>, authoriser: A) -> Self {
        Self { shelf, authoriser, streams: Mutex::default() }
    }

    /// Serves one stream until the asker closes it; tells how many bytes of chunks were sent.
    pub async fn serve<S: Stream>(&self, peer: PeerId, mut stream: S) -> Result<u64, ServeError> {
        let opened =
            timeout(PATIENCE, self.open(peer, &mut stream)).await.map_err(|_| ServeError::Stalled)?;
        let result = match opened {
            Ok((served, _place)) => {
                Serving { stream: &mut stream, served, spare: Vec::new(), sent: 0 }.run().await
            }
            Err(ServeError::Refused(refusal)) => {
                send(&mut stream, &Reply::Refused(refusal).encode()).await?;
                Err(ServeError::Refused(refusal))
            }
            Err(error) => Err(error),
        };
        // Best effort: the asker may be gone.
        let _ = timeout(PATIENCE, stream.close()).await;
        result
    }

    /// Hears what is wanted and decides.
    async fn open<S: Stream>(&self, peer: PeerId, stream: &mut S) -> Result<(Served, Place<'_>), ServeError> {
        let Some(Request::Open { program, right }) = receive(stream).await? else {
            return Err(FrameError::Body(Kind::Open).into());
        };
        let place = self.take_place(peer).ok_or(ServeError::Refused(Refusal::Busy))?;
        let role = self.authoriser.authorise(peer, program, &right).await.map_err(ServeError::Refused)?;
        let shelf = self.shelf.clone();
        let bundle = blocking(move || shelf.get(program)).await?;
        let bundle = bundle.filter(|bundle| bundle.complete() >= Some(role));
        let bundle = bundle.ok_or(ServeError::Refused(Refusal::NotHere))?;
        let allowed = bundle.program().chunks_for(role);
        Ok((Served { bundle, allowed }, place))
    }

    fn take_place(&self, peer: PeerId) -> Option<Place<'_>> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = streams.values().sum();
        let of_peer = streams.get(&peer).copied().unwrap_or(0);
        if all >= MAX_STREAMS || of_peer >= MAX_STREAMS_PER_PEER {
            return None;
        }
        streams.insert(peer, of_peer + 1);
        Some(Place { streams: &self.streams, peer })
    }
}

/// One of the streams that are served; dropped, it makes room for another.
struct Place<'a> {
    streams: &'a Mutex<HashMap<PeerId, usize>>,
    peer: PeerId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = streams.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.peer);
            }
        }
    }
}

/// What one stream may have.
struct Served {
    bundle: Arc<Bundle>,
    allowed: ChunkSet,
}

struct Serving<'a, S> {
    stream: &'a mut S,
    served: Served,
    /// Buffers that are not in use; two go round.
    spare: Vec<Vec<u8>>,
    /// Bytes of chunks sent.
    sent: u64,
}

impl<S: Stream> Serving<'_, S> {
    async fn run(mut self) -> Result<u64, ServeError> {
        send(self.stream, &Reply::Accepted(&self.served.allowed.to_bitmap()).encode()).await?;
        self.stream.flush().await?;
        loop {
            match timeout(IDLE, receive(self.stream)).await.map_err(|_| ServeError::Stalled)?? {
                None => return Ok(self.sent),
                Some(Request::Open { .. }) => return Err(FrameError::Kind(Kind::Open as u8).into()),
                Some(Request::WantManifest) => {
                    send(self.stream, &Reply::Manifest(self.served.bundle.program().bytes()).encode())
                        .await?;
                    send(self.stream, &Reply::End.encode()).await?;
                }
                Some(Request::Want(ranges)) => self.answer(&ranges).await?,
            }
            timeout(PATIENCE, self.stream.flush()).await.map_err(|_| ServeError::Stalled)??;
        }
    }

    /// Sends chunks. What the system has in memory is sent as it is read; from the first chunk that must come
    /// from the disk, the next batch is read while one is sent.
    async fn answer(&mut self, ranges: &[Range<u32>]) -> Result<(), ServeError> {
        let chunks: Vec<ChunkIndex> = ranges.iter().cloned().flatten().map(ChunkIndex).collect();
        if !chunks.iter().all(|chunk| self.served.allowed.contains(*chunk)) {
            return Err(ServeError::Beyond);
        }
        let slow = self.answer_cached(&chunks).await?;
        let mut batches = chunks[slow..].chunks(BATCH).map(<[ChunkIndex]>::to_vec);
        let mut next = batches.next().map(|batch| self.read(batch));
        while let Some(reading) = next {
            let (buffer, len) = joined(reading.await)?;
            next = batches.next().map(|batch| self.read(batch));
            send(self.stream, &buffer[..len]).await?;
            self.sent += len as u64;
            self.spare.push(buffer);
        }
        self.sent -= (chunks.len() * CHUNK_HEADER_LEN) as u64;
        send(self.stream, &Reply::End.encode()).await
    }

    /// Sends the first chunks as long as they are in memory; tells how many.
    async fn answer_cached(&mut self, chunks: &[ChunkIndex]) -> Result<usize, ServeError> {
        let mut buffer = self.spare.pop().unwrap_or_else(|| vec![0; BUFFER]);
        let mut done = 0;
        for batch in chunks.chunks(CACHED_BATCH) {
            let (mut end, mut read) = (0, 0);
            for chunk in batch {
                let body = end + CHUNK_HEADER_LEN;
                let Some(len) = self.served.bundle.read_chunk_cached(*chunk, &mut buffer[body..]) else {
                    break;
                };
                end = frame_chunk(&mut buffer, end, *chunk, len);
                read += 1;
            }
            send(self.stream, &buffer[..end]).await?;
            self.sent += end as u64;
            done += read;
            if read < batch.len() {
                break;
            }
        }
        self.spare.push(buffer);
        Ok(done)
    }

    /// Starts reading a batch, as frames; gives the buffer and how much of it is filled.
    fn read(&mut self, batch: Vec<ChunkIndex>) -> JoinHandle<Result<(Vec<u8>, usize), BundleError>> {
        let bundle = self.served.bundle.clone();
        let mut buffer = self.spare.pop().unwrap_or_else(|| vec![0; BUFFER]);
        spawn_blocking(move || {
            let mut end = 0;
            for chunk in batch {
                let body = end + CHUNK_HEADER_LEN;
                let len = bundle.read_chunk(chunk, &mut buffer[body..])?;
                // A chunk is 64 KiB at most.
                buffer[end..body]
                    .copy_from_slice(&chunk_header(chunk, u32::try_from(len).unwrap_or(u32::MAX)));
                end = body + len;
            }
            Ok((buffer, end))
        })
    }
}

/// Writes the header of a chunk whose `len` bytes were read to behind it; gives the end of the frame.
fn frame_chunk(buffer: &mut [u8], start: usize, chunk: ChunkIndex, len: usize) -> usize {
    let body = start + CHUNK_HEADER_LEN;
    // A chunk is 64 KiB at most.
    buffer[start..body].copy_from_slice(&chunk_header(chunk, u32::try_from(len).unwrap_or(u32::MAX)));
    body + len
}

/// Reads one request; none if the asker has closed the stream.
async fn receive<S: Stream>(stream: &mut S) -> Result<Option<Request>, ServeError> {
    let mut header = [0; HEADER_LEN];
    if stream.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..]).await?;
    let Header { kind, len } = Header::parse(header, Side::Asker)?;
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok(Some(Request::parse(kind, &body)?))
}

/// Writes all of `bytes`, as long as the asker takes some of it from time to time.
async fn send<S: Stream>(stream: &mut S, mut bytes: &[u8]) -> Result<(), ServeError> {
    // One timer for all of it, asked only when nothing moves: to set one for each write costs as much as a write.
    let (mut timer, mut moved) = (pin!(sleep(PATIENCE)), false);
    poll_fn(|cx| {
        while !bytes.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, bytes)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into())),
                Poll::Ready(len) => {
                    bytes = &bytes[len..];
                    moved = true;
                }
                Poll::Pending => {
                    while timer.as_mut().poll(cx).is_ready() {
                        if !std::mem::take(&mut moved) {
                            return Poll::Ready(Err(ServeError::Stalled));
                        }
                        timer.as_mut().reset(Instant::now() + PATIENCE);
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BundleError> + Send + 'static,
) -> Result<T, ServeError> {
    joined(spawn_blocking(work).await)
}

fn joined<T>(result: Result<Result<T, BundleError>, tokio::task::JoinError>) -> Result<T, ServeError> {
    match result {
        Ok(result) => Ok(result?),
        // The runtime is shutting down.
        Err(error) => Err(io::Error::other(error).into()),
    }
}
