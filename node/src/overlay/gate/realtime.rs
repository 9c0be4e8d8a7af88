//! The direct path of realtime messages: a stream to each member, and one from each.
//!
//! For: frames in and out. Not for: messages that must arrive, and authors: what comes over a stream is said
//! by the peer at its other end, which the connection authenticated, so nothing is signed here.
//!
//! The idea: gossipsub signs, checks and forwards every message, which a game that sends sixty times a second
//! has no use for. Each side opens one stream for what it says, on the connection that carries the group; the
//! other side only reads it. A frame is its length (u32, big-endian, at most [`MAX_PAYLOAD`]) and as many
//! bytes. The end of the stream, in either direction, is the end of the path until it is opened again.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite, ready};
use libp2p::Stream;

use super::{attempt::Attempt, group::MAX_PAYLOAD, queue::Receiver};

/// Bytes of a frame's length.
const HEADER: usize = size_of::<u32>();
/// Read at once, bytes.
const CHUNK: usize = 8 * 1024;

/// A payload as it goes over the wire.
pub(super) fn frame(payload: &[u8]) -> Option<Bytes> {
    let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_PAYLOAD)?;
    Some([&len.to_be_bytes()[..], payload].concat().into())
}

/// What this node says to one member over one connection.
pub(super) struct Outbound {
    pub(super) attempt: Attempt,
    refusals: u32,
    queue: Receiver,
    writer: Option<Writer<Stream>>,
}

impl Outbound {
    pub(super) fn new(queue: Receiver) -> Self {
        Self { attempt: Attempt::Idle, refusals: 0, queue, writer: None }
    }

    /// The member takes streams now: there is no reason to wait, if one is wanting.
    pub(super) fn want(&mut self) {
        if matches!(self.attempt, Attempt::Idle | Attempt::Waiting(_)) {
            self.attempt = Attempt::Due;
        }
    }

    pub(super) fn opened(&mut self, stream: Stream) {
        self.attempt = Attempt::Open;
        self.writer = Some(Writer::new(stream));
        self.queue.set_stream(true);
    }

    /// Refused, or lost: tried again later. The count of refusals starts anew with the lane alone, or a peer
    /// that accepts and closes would keep us busy.
    pub(super) fn failed(&mut self) {
        self.writer = None;
        self.queue.set_stream(false);
        self.attempt = Attempt::later(self.refusals);
        self.refusals = self.refusals.saturating_add(1);
    }

    /// Sends what waits. Whether a stream is to be asked for now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(writer) = &mut self.writer
            && let Poll::Ready(reason) = writer.poll(&self.queue, cx)
        {
            tracing::debug!(%reason, "a realtime stream has ended");
            self.failed();
        }
        self.attempt.is_due(cx)
    }
}

/// The sending end.
struct Writer<S> {
    stream: S,
    /// What is left of the frame that is being written.
    frame: Bytes,
    is_flushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    fn new(stream: S) -> Self {
        Self { stream, frame: Bytes::new(), is_flushed: true }
    }

    /// Writes all that waits, and flushes once. Ready when the stream can be used no more.
    fn poll(&mut self, queue: &Receiver, cx: &mut Context<'_>) -> Poll<io::Error> {
        // The other side writes nothing: so this tells that it closed.
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut [0]) {
            let spoke = || io::Error::new(io::ErrorKind::InvalidData, "the other side speaks out of turn");
            return Poll::Ready(match read {
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => spoke(),
                Err(error) => error,
            });
        }
        loop {
            if self.frame.is_empty() {
                match queue.poll_next(cx) {
                    Poll::Ready(Some(frame)) => self.frame = frame,
                    Poll::Ready(None) => return Poll::Ready(io::ErrorKind::ConnectionAborted.into()),
                    Poll::Pending => break,
                }
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.frame) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Poll::Ready(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.frame.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(error),
            }
            self.is_flushed = false;
        }
        if !self.is_flushed {
            if let Err(error) = ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
                return Poll::Ready(error);
            }
            self.is_flushed = true;
        }
        Poll::Pending
    }
}

/// The receiving end: what one member says to this node.
pub(super) struct Reader<S> {
    stream: S,
    chunk: Box<[u8]>,
    /// Read and not yet parsed: less than a frame and a chunk.
    buffer: BytesMut,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, chunk: vec![0; CHUNK].into(), buffer: BytesMut::new() }
    }

    /// The next payload; `None` at the end, between two frames.
    ///
    /// # Errors
    /// `InvalidData` for a frame that is too long; whatever the stream has.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match self.parse() {
                Ok(None) => {}
                Ok(Some(payload)) => return Poll::Ready(Some(Ok(payload))),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut self.chunk)) {
                Ok(0) if self.buffer.is_empty() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Ok(read) => self.buffer.extend_from_slice(&self.chunk[..read]),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn parse(&mut self) -> io::Result<Option<Bytes>> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*header) as usize;
        if len > MAX_PAYLOAD {
            let text = format!("a frame of {len} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if self.buffer.len() < HEADER + len {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::poll_fn, io::Cursor};
    use tokio::io::DuplexStream;
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

    use super::{
        super::queue::{Sender, queue},
        *,
    };

    fn stream(size: usize) -> (Compat<DuplexStream>, Compat<DuplexStream>) {
        let (one, other) = tokio::io::duplex(size);
        (one.compat(), other.compat())
    }

    fn writing(stream: Compat<DuplexStream>) -> (Sender, tokio::task::JoinHandle<io::Error>) {
        let (sender, receiver) = queue();
        receiver.set_stream(true);
        let mut writer = Writer::new(stream);
        let task = tokio::spawn(async move { poll_fn(|cx| writer.poll(&receiver, cx)).await });
        (sender, task)
    }

    #[tokio::test]
    async fn payloads_come_out_as_they_went_in() {
        // Small enough for writes and reads to break everywhere.
        let (near, far) = stream(7);
        let (sender, _task) = writing(near);
        let mut reader = Reader::new(far);
        for size in [0, 1, 3, 4, 5, CHUNK, CHUNK + 1, MAX_PAYLOAD] {
            let payload = vec![size as u8; size];
            sender.push(frame(&payload).unwrap());
            sender.push(frame(b"between").unwrap());
            let read = poll_fn(|cx| reader.poll_next(cx)).await.unwrap().unwrap();
            assert!(read == payload, "{size} bytes");
            assert_eq!(poll_fn(|cx| reader.poll_next(cx)).await.unwrap().unwrap(), "between");
        }
        assert_eq!(frame(&vec![0; MAX_PAYLOAD + 1]), None);
    }

    #[tokio::test]
    async fn lengths_that_lie_end_the_stream() {
        let good = frame(b"good").unwrap();
        let read = async |bytes: &[u8]| {
            let mut reader = Reader::new(Cursor::new([&good[..], bytes].concat()));
            let first = poll_fn(|cx| reader.poll_next(cx)).await.unwrap().unwrap();
            assert_eq!(first, "good");
            let second = poll_fn(|cx| reader.poll_next(cx)).await;
            assert!(reader.buffer.capacity() <= 4 * CHUNK, "room was made for what was only announced");
            second.map(|second| second.unwrap_err().kind())
        };
        assert_eq!(read(&[]).await, None);
        assert_eq!(read(&[0xff; 64]).await, Some(io::ErrorKind::InvalidData));
        assert_eq!(read(&(MAX_PAYLOAD as u32 + 1).to_be_bytes()).await, Some(io::ErrorKind::InvalidData));
        assert_eq!(read(&[0, 0]).await, Some(io::ErrorKind::UnexpectedEof));
        assert_eq!(read(&[0, 1, 0, 0, 7]).await, Some(io::ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn a_stream_ends_when_the_other_side_closes_it_or_speaks_on_it() {
        let (near, far) = stream(64);
        let (_sender, task) = writing(near);
        drop(far);
        assert_eq!(task.await.unwrap().kind(), io::ErrorKind::UnexpectedEof);

        let (near, mut far) = stream(64);
        let (_sender, task) = writing(near);
        far.write_all(b"hello?").await.unwrap();
        assert_eq!(task.await.unwrap().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_membership() {
        let (near, mut far) = stream(16);
        let (sender, task) = writing(near);
        // More than goes out, so that the rest waits.
        let long = frame(&[7; 1000]).unwrap();
        for _ in 0..10 {
            sender.push(long.clone());
        }
        let mut begin = [0; 16];
        far.read_exact(&mut begin).await.unwrap();
        assert_eq!(begin, long[..16]);
        drop(sender);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() < long.len(), "a frame that waited was sent");
        assert_eq!(task.await.unwrap().kind(), io::ErrorKind::ConnectionAborted);
    }
}
