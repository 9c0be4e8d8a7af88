//! Byte streams for programs, and how many of them peers may open.
//!
//! For: [`Stream`], and taking inbound ones. Not for: what is said on them (see `parlor_proto::content`).

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures::StreamExt as _;
use libp2p::StreamProtocol;
use parlor_proto::identity::PeerId;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};

use super::address::ours;

/// The protocol of programs' bytes.
pub(crate) const CONTENT: StreamProtocol = StreamProtocol::new(parlor_proto::wire::CONTENT);

/// Inbound streams open at once, in all. More are closed at once.
const MAX_INBOUND: usize = 128;
/// Inbound streams open at once, of one peer.
const MAX_INBOUND_PER_PEER: usize = 16;
/// Streams accepted and not yet taken by the event loop.
const MAX_ACCEPTED: usize = 16;

/// A stream to or from a peer: authenticated, encrypted, in order. Its end may be the peer's doing or that of
/// something between: what is sent must say how long it is.
#[derive(Debug)]
pub struct Stream {
    inner: Compat<libp2p::Stream>,
    /// Held by inbound streams.
    _slot: Option<Slot>,
}

impl Stream {
    pub(crate) fn outbound(stream: libp2p::Stream) -> Self {
        Self { inner: stream.compat(), _slot: None }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Takes inbound streams as they come: libp2p drops those that nobody waits for at that very moment, so this
/// runs in a task of its own. Ends with the swarm.
pub(crate) async fn accept(mut incoming: libp2p_stream::IncomingStreams, sink: mpsc::Sender<Accepted>) {
    let slots = Slots::default();
    while let Some((peer, stream)) = incoming.next().await {
        let Some(peer) = ours(&peer) else { continue };
        let Some(slot) = slots.take(peer) else {
            tracing::debug!(%peer, "too many streams: one was closed");
            continue;
        };
        let stream = Stream { inner: stream.compat(), _slot: Some(slot) };
        // Full only if the event loop is stuck; then the stream is closed.
        let _ = sink.try_send((peer, stream));
    }
}

/// A stream that a peer opened.
pub(crate) type Accepted = (PeerId, Stream);

/// The channel from [`accept`] to the event loop.
pub(crate) fn accepted() -> (mpsc::Sender<Accepted>, mpsc::Receiver<Accepted>) {
    mpsc::channel(MAX_ACCEPTED)
}

/// Counts the inbound streams of each peer.
#[derive(Debug, Default, Clone)]
struct Slots(Arc<Mutex<HashMap<PeerId, usize>>>);

/// One inbound stream, while it is open.
#[derive(Debug)]
struct Slot {
    peer: PeerId,
    slots: Slots,
}

impl Slots {
    fn take(&self, peer: PeerId) -> Option<Slot> {
        // A count is always whole, so a lock that somebody panicked with is as good.
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = taken.get(&peer).copied().unwrap_or(0);
        if of_peer >= MAX_INBOUND_PER_PEER || taken.values().sum::<usize>() >= MAX_INBOUND {
            return None;
        }
        taken.insert(peer, of_peer + 1);
        drop(taken);
        Some(Slot { peer, slots: self.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.peer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use parlor_proto::identity::Identity;

    use super::*;

    #[test]
    fn streams_are_counted_per_peer_and_in_all() {
        let peer = |number| Identity::from_seed(&[number; 32]).peer();
        let slots = Slots::default();
        let mut open: Vec<_> = (0..MAX_INBOUND_PER_PEER).map(|_| slots.take(peer(0))).collect();
        assert!(open.iter().all(Option::is_some));
        assert!(slots.take(peer(0)).is_none());
        assert!(slots.take(peer(1)).is_some());
        open.pop();
        assert!(slots.take(peer(0)).is_some(), "one was closed");
        for number in 0..MAX_INBOUND {
            open.push(slots.take(peer(number as u8)));
        }
        assert!(slots.take(peer(200)).is_none(), "as many as there may be");
        drop(open);
        assert!(slots.0.lock().is_ok_and(|taken| taken.is_empty()));
    }
}
