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
//! | group messages | kept in order until there is room, up to a number; then the oldest goes, and is counted |
//!
//! Of group messages, realtime may be lost, and there the newest matter most; what may not be lost is synced
//! above. Who says too much pushes out its own messages first: the oldest that goes is one of the same author
//! in the same group, if any waits.
//!
//! The state kept is bounded by what it is about: a peer that came and went before it was told of leaves
//! nothing, so there are at most two events for each connection the limits allow, and each member of a group.

use std::collections::VecDeque;

use parlor_proto::{identity::PeerId, ids::SessionId};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::Event;

/// Events waiting for the consumer. A message of a group may have 128 KiB, so this is 32 MiB at worst.
const MAX_WAITING: usize = 256;
/// Group messages waiting behind those, as large at worst.
const MAX_MESSAGES: usize = 256;

pub(crate) struct Outlet {
    sender: mpsc::Sender<Event>,
    backlog: VecDeque<Event>,
    /// Group messages, at most [`MAX_MESSAGES`].
    messages: VecDeque<Event>,
    /// Group messages dropped since none waited.
    dropped: u64,
}

impl Outlet {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self { sender, backlog: VecDeque::new(), messages: VecDeque::new(), dropped: 0 }, receiver)
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

    /// A request or a stream; dropping it is its refusal.
    pub(crate) fn offer(&mut self, event: Event) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(event) {
            tracing::debug!("busy: a request or stream was refused");
        }
    }

    /// A group message.
    pub(crate) fn message(&mut self, event: Event) {
        if !self.messages.is_empty() {
            self.keep(event);
        } else if let Err(TrySendError::Full(event)) = self.sender.try_send(event) {
            self.keep(event);
        }
    }

    fn keep(&mut self, event: Event) {
        if self.messages.len() >= MAX_MESSAGES {
            let of_the_same = self.messages.iter().position(|other| origin(other) == origin(&event));
            self.messages.remove(of_the_same.unwrap_or(0));
            self.dropped += 1;
        }
        self.messages.push_back(event);
    }

    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty() || !self.messages.is_empty()
    }

    /// Resolves when there is room for what is kept. Nothing is lost when this is dropped.
    pub(crate) async fn drain(&mut self) {
        match self.sender.reserve().await {
            Ok(room) => {
                let next = self.backlog.pop_front().or_else(|| self.messages.pop_front());
                if let Some(event) = next {
                    room.send(event);
                }
            }
            // Nobody listens any more.
            Err(_) => {
                self.backlog.clear();
                self.messages.clear();
            }
        }
        if self.messages.is_empty() && self.dropped > 0 {
            let messages = std::mem::take(&mut self.dropped);
            tracing::warn!(messages, "group messages were dropped: the node could not keep up");
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

/// Of a group message: which group, and who.
fn origin(event: &Event) -> Option<(SessionId, PeerId)> {
    match event {
        Event::GroupMessage { session, author, .. } => Some((*session, *author)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use parlor_proto::identity::Identity;

    use super::*;

    fn peer(number: u8) -> PeerId {
        Identity::from_seed(&[number; 32]).peer()
    }

    fn message(author: u8, number: usize) -> Event {
        let payload = Bytes::from(number.to_string());
        Event::GroupMessage { session: SessionId([0; 16]), author: peer(author), payload }
    }

    /// All that comes out, as author and payload of messages.
    async fn all(outlet: &mut Outlet, events: &mut mpsc::Receiver<Event>) -> Vec<(PeerId, String)> {
        let mut messages = Vec::new();
        loop {
            while let Ok(event) = events.try_recv() {
                let Event::GroupMessage { author, payload, .. } = event else { panic!("a message") };
                messages.push((author, String::from_utf8(payload.to_vec()).unwrap()));
            }
            if !outlet.has_backlog() {
                return messages;
            }
            outlet.drain().await;
        }
    }

    #[tokio::test]
    async fn a_slow_consumer_loses_the_oldest_messages_that_wait() {
        const LOST: usize = 10;
        let (mut outlet, mut events) = Outlet::new();
        for number in 0..MAX_WAITING + MAX_MESSAGES + LOST {
            outlet.message(message(1, number));
        }
        assert_eq!(outlet.dropped, LOST as u64);
        let expected = (0..MAX_WAITING).chain(MAX_WAITING + LOST..MAX_WAITING + MAX_MESSAGES + LOST);
        let expected: Vec<_> = expected.map(|number| (peer(1), number.to_string())).collect();
        assert_eq!(all(&mut outlet, &mut events).await, expected);
        assert_eq!(outlet.dropped, 0);
        // There is room again, and nothing overtakes.
        outlet.message(message(1, 7));
        assert_eq!(all(&mut outlet, &mut events).await, [(peer(1), "7".to_owned())]);
    }

    #[tokio::test]
    async fn who_says_too_much_pushes_out_its_own_messages() {
        let (mut outlet, mut events) = Outlet::new();
        for number in 0..MAX_WAITING {
            outlet.message(message(1, number));
        }
        for number in 0..10 {
            outlet.message(message(2, number));
        }
        for number in 0..10 * MAX_MESSAGES {
            outlet.message(message(1, number));
        }
        outlet.message(message(3, 0));
        let heard = all(&mut outlet, &mut events).await;
        let of = |author| heard.iter().filter(|(who, _)| *who == peer(author)).count();
        assert_eq!((of(1), of(2), of(3)), (MAX_WAITING + MAX_MESSAGES - 10, 9, 1));
        assert_eq!(heard.len(), MAX_WAITING + MAX_MESSAGES);
    }

    #[tokio::test]
    async fn a_slow_consumer_loses_no_state() {
        let (mut outlet, mut events) = Outlet::new();
        for number in 0..2 * MAX_WAITING + MAX_MESSAGES {
            outlet.message(message(1, number));
        }
        outlet.state(Event::Connected(peer(1)));
        outlet.state(Event::Connected(peer(2)));
        // State comes before messages that have not got through yet.
        for _ in 0..MAX_WAITING {
            assert!(matches!(events.recv().await, Some(Event::GroupMessage { .. })));
        }
        outlet.drain().await;
        outlet.drain().await;
        assert!(matches!(events.recv().await, Some(Event::Connected(who)) if who == peer(1)));
        assert!(matches!(events.recv().await, Some(Event::Connected(who)) if who == peer(2)));
    }

    #[tokio::test]
    async fn who_comes_and_goes_unseen_leaves_nothing() {
        let (mut outlet, mut events) = Outlet::new();
        outlet.state(Event::Connected(peer(1)));
        for number in 0..MAX_WAITING {
            outlet.message(message(1, number));
        }
        for _ in 0..1000 {
            for number in 2..5 {
                outlet.state(Event::Connected(peer(number)));
                outlet.state(Event::Disconnected(peer(number)));
            }
        }
        assert!(outlet.backlog.is_empty());
        // One that was told of is told of again, however often it comes and goes.
        for _ in 0..1000 {
            outlet.state(Event::Disconnected(peer(1)));
            outlet.state(Event::Connected(peer(1)));
        }
        assert_eq!(outlet.backlog.len(), 2);
        assert!(matches!(events.recv().await, Some(Event::Connected(who)) if who == peer(1)));
    }
}
