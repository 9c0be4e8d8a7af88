//! A stream to a source, as the asker uses it: words go out while bytes come in, whichever can.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use parlor_proto::content::frames::{HEADER_LEN, Header, Kind, Request, Side};

use super::{BUFFER, SourceError, Stream};

/// A stream, with what is on the way out and what came in.
pub(super) struct Line<S> {
    pub(super) stream: S,
    out: Vec<u8>,
    /// How much of `out` was written.
    written: usize,
    unflushed: bool,
    pub(super) buffer: Vec<u8>,
    /// How much of `buffer` came in.
    pub(super) filled: usize,
}

impl<S: Stream> Line<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, out: Vec::new(), written: 0, unflushed: false, buffer: vec![0; BUFFER], filled: 0 }
    }

    /// Puts a request on the way; [`Self::exchange`] sends it.
    pub(super) fn say(&mut self, request: &Request) {
        self.out.drain(..self.written);
        self.written = 0;
        self.out.extend(request.encode());
    }

    /// Sends what is on the way out, and reads until nothing more is ready or the buffer (which must have room)
    /// is full. Gives false at the end of the stream. Nothing is lost if it is dropped.
    pub(super) async fn exchange(&mut self) -> io::Result<bool> {
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
    pub(super) async fn frame(&mut self) -> Result<(Kind, Vec<u8>), SourceError> {
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
