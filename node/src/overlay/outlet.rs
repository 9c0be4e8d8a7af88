//! The way out of the event loop: what happens to events when the node is slower than the network.
//!
//! The idea: the loop never waits for its consumer. The channel is bounded; when it is full, each class of
//! events has its own way out:
//!
//! | class | when full |
//! |---|---|
//! | state: connected, found, disconnected, presence in a group | kept in order until there is room; never lost, but what came *and* went meanwhile is not told |
//! | requests | refused: the peer is told at once |
//! | streams | closed: the peer may try again |
//! | group messages | the newest is dropped, and counted: realtime may be lost, and what may not is synced |
//!
//! The state kept is bounded by what it is about: a peer that came and went before it was told of leaves
//! nothing, so there are at most two events for each connection the limits allow, and each member of a group.

use std::collections::VecDeque;

use tokio::sync::mpsc::{self, error::TrySendError};

use super::Event;

/// Events waiting for the consumer. A message of a group may have 128 KiB, so this is 64 MiB at worst.
const MAX_WAITING: usize = 512;

pub(crate) struct Outlet {
    sender: mpsc::Sender<Event>,
    backlog: VecDeque<Event>,
    /// Group messages dropped in a row.
    dropped: u64,
}

impl Outlet {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self { sender, backlog: VecDeque::new(), dropped: 0 }, receiver)
    }

    /// An event that must not be lost.
    pub(crate) fn state(&mut self, event: Event) {
        let undone = |earlier: &Event| match (earlier, &event) {
            (Event::Connected(came), Event::Disconnected(went)) => came == went,
            (
                Event::GroupPeer { session, peer, present: true },
                Event::GroupPeer { session: same, peer: gone, present: false },
            ) => session == same && peer == gone,
            _ => false,
        };
        let before = self.backlog.len();
        self.backlog.retain(|earlier| !undone(earlier));
        let is_told = self.backlog.len() == before;
        if let Event::Disconnected(went) = &event {
            self.backlog.retain(|earlier| !matches!(earlier, Event::Found { peer, .. } if peer == went));
        }
        if is_told {
            self.backlog.push_back(event);
            self.flush();
        }
    }

    /// An event that may be lost; dropping it is its refusal.
    pub(crate) fn offer(&mut self, event: Event) {
        let is_message = matches!(event, Event::GroupMessage { .. });
        match self.sender.try_send(event) {
            Ok(()) if self.dropped > 0 => {
                tracing::warn!(
                    messages = self.dropped,
                    "group messages were dropped: the node could not keep up"
                );
                self.dropped = 0;
            }
            Err(TrySendError::Full(_)) if is_message => self.dropped += 1,
            Err(TrySendError::Full(_)) => tracing::debug!("busy: a request or stream was refused"),
            Ok(()) | Err(TrySendError::Closed(_)) => {}
        }
    }

    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Resolves when there is room for what is kept. Nothing is lost when this is dropped.
    pub(crate) async fn drain(&mut self) {
        match self.sender.reserve().await {
            Ok(room) => {
                if let Some(event) = self.backlog.pop_front() {
                    room.send(event);
                }
            }
            // Nobody listens any more.
            Err(_) => self.backlog.clear(),
        }
    }

    fn flush(&mut self) {
        while !self.backlog.is_empty()
            && let Ok(room) = self.sender.try_reserve()
            && let Some(event) = self.backlog.pop_front()
        {
            room.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use parlor_proto::{
        identity::{Identity, PeerId},
        ids::SessionId,
    };

    use super::*;

    fn peer(number: u8) -> PeerId {
        Identity::from_seed(&[number; 32]).peer()
    }

    fn message(number: usize) -> Event {
        let payload = Bytes::from(number.to_string());
        Event::GroupMessage { session: SessionId([0; 16]), author: peer(1), payload }
    }

    #[tokio::test]
    async fn a_slow_consumer_loses_messages_but_no_state() {
        let (mut outlet, mut events) = Outlet::new();
        for number in 0..2 * MAX_WAITING {
            outlet.offer(message(number));
        }
        outlet.state(Event::Connected(peer(1)));
        outlet.state(Event::Connected(peer(2)));
        assert_eq!(outlet.dropped, MAX_WAITING as u64);
        for number in 0..MAX_WAITING {
            let Some(Event::GroupMessage { payload, .. }) = events.recv().await else { panic!("a message") };
            assert_eq!(payload, number.to_string());
        }
        while outlet.has_backlog() {
            outlet.drain().await;
        }
        assert!(matches!(events.recv().await, Some(Event::Connected(who)) if who == peer(1)));
        assert!(matches!(events.recv().await, Some(Event::Connected(who)) if who == peer(2)));
    }

    #[tokio::test]
    async fn who_comes_and_goes_unseen_leaves_nothing() {
        let (mut outlet, mut events) = Outlet::new();
        outlet.state(Event::Connected(peer(1)));
        for number in 0..MAX_WAITING {
            outlet.offer(message(number));
        }
        for _ in 0..1000 {
            for number in 2..5 {
                outlet.state(Event::Connected(peer(number)));
                outlet.state(Event::Disconnected(peer(number)));
            }
        }
        assert!(!outlet.has_backlog());
        // One that was told of is told of again, however often it comes and goes.
        for _ in 0..1000 {
            outlet.state(Event::Disconnected(peer(1)));
            outlet.state(Event::Connected(peer(1)));
        }
        assert_eq!(outlet.backlog.len(), 2);
        assert!(matches!(events.recv().await, Some(Event::Connected(who)) if who == peer(1)));
    }
}
