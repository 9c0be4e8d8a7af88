//! Realtime frames on their way from the behaviour to the stream of one member.
//!
//! For: a queue that never makes anybody wait. Not for: streams (see `realtime`), and messages that must
//! arrive.
//!
//! The idea: the behaviour puts frames in and the connection's task takes them out, past the swarm, whose
//! channel to a busy connection would hold up all others. Of what waits, the newest matter most: in a full
//! queue the oldest make room. Frames are shared by the queues of all members, so that a message is copied
//! once, however many get it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::task::AtomicWaker;

/// Frames waiting for one member.
pub(crate) const REALTIME_QUEUE: usize = 64;
/// Bytes waiting for one member, unless one frame alone has more.
const REALTIME_BYTES: usize = 1024 * 1024;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits for its turn, which comes soon.
    Queued,
    /// It waits, and older ones made room.
    Displacing,
    /// There is no stream that it could go over.
    NoStream,
}

/// The behaviour's end. Dropped, nothing that waits is sent any more.
#[derive(Debug)]
pub(super) struct Sender(Arc<Shared>);

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    reader: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Whether there is a stream.
    has_stream: bool,
    is_closed: bool,
}

pub(super) fn queue() -> (Sender, Receiver) {
    let shared = Arc::new(Shared::default());
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl Shared {
    /// Nothing panics while it holds the lock, so what is behind it is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

impl Sender {
    #[cfg(test)]
    pub(super) fn has_stream(&self) -> bool {
        self.0.lock().has_stream
    }

    pub(super) fn push(&self, frame: Bytes) -> Fate {
        let mut state = self.0.lock();
        if !state.has_stream {
            return Fate::NoStream;
        }
        let mut fate = Fate::Queued;
        while state.frames.len() >= REALTIME_QUEUE || state.bytes + frame.len() > REALTIME_BYTES {
            if state.pop().is_none() {
                break;
            }
            fate = Fate::Displacing;
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        drop(state);
        self.0.reader.wake();
        fate
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.clear();
        state.has_stream = false;
        state.is_closed = true;
        drop(state);
        self.0.reader.wake();
    }
}

impl Receiver {
    /// There is a stream from now on, or none.
    pub(super) fn set_stream(&self, has_stream: bool) {
        let mut state = self.0.lock();
        state.has_stream = has_stream && !state.is_closed;
        state.clear();
    }

    /// The next frame; `None` when nothing may be sent any more.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.reader.register(cx.waker());
        let mut state = self.0.lock();
        match state.pop() {
            Some(frame) => Poll::Ready(Some(frame)),
            None if state.is_closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::{future::poll_fn, task::noop_waker_ref};

    use super::*;

    fn waiting(receiver: &Receiver) -> Vec<Bytes> {
        let mut cx = Context::from_waker(noop_waker_ref());
        let next = || match receiver.poll_next(&mut cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_newest_stay() {
        let (sender, receiver) = queue();
        receiver.set_stream(true);
        for number in 0..REALTIME_QUEUE as u8 {
            assert_eq!(sender.push(vec![number].into()), Fate::Queued);
        }
        for number in 100..103 {
            assert_eq!(sender.push(vec![number].into()), Fate::Displacing);
        }
        let left = waiting(&receiver);
        let numbers: Vec<u8> = left.iter().map(|frame| frame[0]).collect();
        let expected: Vec<u8> = (3..REALTIME_QUEUE as u8).chain(100..103).collect();
        assert_eq!(numbers, expected);
        // There is room again.
        assert_eq!(sender.push(Bytes::from_static(b"next")), Fate::Queued);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (sender, receiver) = queue();
        receiver.set_stream(true);
        let large = Bytes::from(vec![7; 100 * 1024]);
        for _ in 0..30 {
            sender.push(large.clone());
        }
        let left = waiting(&receiver);
        assert_eq!(left.len(), REALTIME_BYTES / large.len());
        let larger = Bytes::from(vec![7; REALTIME_BYTES + 1]);
        assert_eq!(sender.push(larger), Fate::Queued);
    }

    #[test]
    fn nothing_waits_for_a_stream_that_is_not_there() {
        let (sender, receiver) = queue();
        assert_eq!(sender.push(Bytes::from_static(b"early")), Fate::NoStream);
        receiver.set_stream(true);
        assert_eq!(sender.push(Bytes::from_static(b"lost with its stream")), Fate::Queued);
        receiver.set_stream(false);
        assert_eq!(sender.push(Bytes::from_static(b"late")), Fate::NoStream);
        receiver.set_stream(true);
        assert!(waiting(&receiver).is_empty());
    }

    #[tokio::test]
    async fn who_is_put_out_gets_nothing_that_waited() {
        let (sender, receiver) = queue();
        receiver.set_stream(true);
        sender.push(Bytes::from_static(b"not for you any more"));
        drop(sender);
        assert_eq!(poll_fn(|cx| receiver.poll_next(cx)).await, None);
    }
}
