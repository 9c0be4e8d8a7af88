//! Reliable, in-order messages between two machines of a session, across crashes of both.
//!
//! For: the one thing that host and member need of a network: what one says, the other hears exactly once
//! and in order, however often connections or processes die in between. Not for: what is said ([`super::Message`]).
//!
//! The idea: each side numbers what it says and keeps it until the other has *durably* taken it. All that is
//! outstanding travels together; the answer names the number expected next, which acknowledges everything
//! below. Both halves are part of their machine's snapshot, so a number is on disk before it is on the wire.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::Message;
use crate::time::Timestamp;

/// Most messages that wait for one peer. What comes beyond closes the channel for good; honest machines stay
/// far below it, because of rosters and of pauses only the newest that is not under way is kept.
pub const MAX_IN_FLIGHT: usize = 64;

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// Tries in a row after which a channel rests until the peer is in reach again: about a day of them.
const LAST_ATTEMPT: u32 = 2_900;

/// One side of the conversation with one peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Channel {
    /// Number of the first message in `waiting`.
    base: u64,
    waiting: VecDeque<Message>,
    /// How many of `waiting` may have been sent already: those must not change any more.
    sent: usize,
    expected: u64,
    closed: bool,
    /// When to send (again); `None` while nothing waits.
    #[serde(skip)]
    due: Option<Timestamp>,
    #[serde(skip)]
    attempts: u32,
}

impl Channel {
    /// Says something: sent at once, and again until it is taken.
    ///
    /// A [`Message::Roster`] replaces one that waits unsent, because only the newest matters; so it is with
    /// [`Message::Suspend`] and [`Message::Resume`], and with [`Message::Keys`].
    pub fn say(&mut self, message: Message, now: Timestamp) {
        if self.closed {
            return;
        }
        if let Some(state) = State::of(&message) {
            let stale = (self.sent..self.waiting.len()).find(|i| State::of(&self.waiting[*i]) == Some(state));
            if let Some(stale) = stale {
                self.waiting.remove(stale);
            }
        }
        if self.waiting.len() >= MAX_IN_FLIGHT {
            self.close();
            return;
        }
        self.waiting.push_back(message);
        // While something is under way, its answer triggers what comes behind it.
        if self.attempts == 0 || self.due.is_none() {
            self.due = Some(now);
        }
    }

    /// What to send now, if it is time: the first number, and what waits.
    ///
    /// Of each kind of state at most one is under way, so that what is said to a peer out of reach does not
    /// pile up: the next one still waits unsent, where a newer one replaces it.
    pub fn poll(&mut self, now: Timestamp) -> Option<(u64, Vec<Message>)> {
        if self.closed || self.waiting.is_empty() || self.due.is_none_or(|due| due > now) {
            return None;
        }
        self.attempts = self.attempts.saturating_add(1);
        let wait = FIRST_RETRY.saturating_mul(1 << self.attempts.min(10).saturating_sub(1)).min(LAST_RETRY);
        self.due = (self.attempts < LAST_ATTEMPT).then(|| now + wait);
        self.sent = self.sent.max(self.window());
        Some((self.base, self.waiting.iter().take(self.sent).cloned().collect()))
    }

    /// How many of those that wait may be under way together.
    fn window(&self) -> usize {
        let mut seen = Vec::new();
        let is_second = |message: &Message| {
            let Some(state) = State::of(message) else { return false };
            let second = seen.contains(&state);
            seen.push(state);
            second
        };
        self.waiting.iter().position(is_second).unwrap_or(self.waiting.len())
    }

    /// When [`Channel::poll`] next has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        if self.closed || self.waiting.is_empty() { None } else { self.due }
    }

    /// The peer has durably taken all below `next`. Late and forged answers are ignored.
    pub fn taken(&mut self, next: u64, now: Timestamp) {
        let taken = next.saturating_sub(self.base);
        if taken == 0 || taken > self.sent as u64 {
            return;
        }
        // Bounded by `sent`, which is at most MAX_IN_FLIGHT.
        self.waiting.drain(..taken as usize);
        self.base = next;
        self.sent -= taken as usize;
        self.attempts = 0;
        self.due = (!self.waiting.is_empty()).then_some(now);
    }

    /// The peer has come into reach, or this node has just started: no more waiting.
    pub fn hurry(&mut self, now: Timestamp) {
        self.attempts = 0;
        self.due = Some(now);
    }

    /// Those of the peer's messages that are new, in order.
    pub fn hear(&mut self, first: u64, messages: Vec<Message>) -> Vec<Message> {
        if first > self.expected {
            return Vec::new();
        }
        let known = (self.expected - first) as usize;
        let new: Vec<_> = messages.into_iter().take(MAX_IN_FLIGHT).skip(known).collect();
        self.expected += new.len() as u64;
        new
    }

    /// The number that is expected next of the peer: the answer to what it sent.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// Nothing more is said; what waits is dropped.
    fn close(&mut self) {
        self.closed = true;
        self.waiting.clear();
        self.sent = 0;
    }

    /// Whether everything that was said has been taken, or dropped.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns whether a message of which `is_it` holds was said and is not taken yet.
    pub(super) fn has_waiting(&self, is_it: impl Fn(&Message) -> bool) -> bool {
        self.waiting.iter().any(is_it)
    }

    /// Whether nothing is tried any more, as long as the peer does not come into reach.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.due().is_none()
    }

    /// Whether it was closed: more was said than the peer took.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

/// A kind of message that tells a state, of which only the newest matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Roster,
    Keys,
    Pause,
}

impl State {
    fn of(message: &Message) -> Option<Self> {
        match message {
            Message::Roster(_) => Some(Self::Roster),
            // What is skipped is pulled: see `Input::Commits`.
            Message::Keys(_) => Some(Self::Keys),
            Message::Suspend | Message::Resume => Some(Self::Pause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp(1_000);

    #[test]
    fn what_is_not_taken_is_said_again_and_heard_once() {
        let (mut a, mut b) = (Channel::default(), Channel::default());
        a.say(Message::Start, T);
        let (first, sent) = a.poll(T).expect("due at once");
        assert!(a.poll(T).is_none(), "not again before the retry time");
        assert_eq!(b.hear(first, sent.clone()).len(), 1);
        let (first, again) = a.poll(T + LAST_RETRY).expect("the answer was lost");
        assert_eq!(b.hear(first, again).len(), 0, "heard already");
        a.taken(b.expected(), T);
        assert!(a.is_idle() && a.due().is_none());
    }

    #[test]
    fn a_gap_is_not_heard() {
        let mut b = Channel::default();
        assert!(b.hear(1, vec![Message::Start]).is_empty());
        assert_eq!(b.expected(), 0);
    }

    #[test]
    fn answers_out_of_order_or_forged_do_no_harm() {
        let mut a = Channel::default();
        a.say(Message::Start, T);
        a.say(Message::End, T);
        a.taken(2, T);
        assert!(!a.is_idle(), "nothing was sent yet, so nothing can have been taken");
        a.poll(T);
        a.taken(99, T);
        assert!(!a.is_idle());
        a.taken(2, T);
        a.taken(1, T);
        assert!(a.is_idle());
    }

    #[test]
    fn a_crash_forgets_neither_what_waits_nor_what_was_heard() {
        let mut a = Channel::default();
        a.say(Message::Start, T);
        a.poll(T);
        let bytes = cbor4ii::serde::to_vec(Vec::new(), &a).expect("a channel serializes");
        let mut a: Channel = cbor4ii::serde::from_slice(&bytes).expect("and back");
        a.hurry(T);
        assert_eq!(a.poll(T).expect("still waiting").0, 0);
    }

    #[test]
    fn a_channel_that_overflows_closes() {
        let mut a = Channel::default();
        for _ in 0..=MAX_IN_FLIGHT {
            a.say(Message::Start, T);
        }
        assert!(a.is_closed() && a.is_idle() && a.poll(T).is_none());
    }

    #[test]
    fn states_do_not_pile_up_for_a_peer_out_of_reach() {
        let (mut a, mut b) = (Channel::default(), Channel::default());
        let mut now = T;
        for _ in 0..MAX_IN_FLIGHT {
            for message in [Message::Suspend, Message::Resume] {
                a.say(message, now);
                a.poll(now);
                now = now + LAST_RETRY;
            }
        }
        assert!(!a.is_closed());
        let mut heard = Vec::new();
        while !a.is_idle() {
            now = now + LAST_RETRY;
            let (first, messages) = a.poll(now).expect("due");
            heard.extend(b.hear(first, messages));
            a.taken(b.expected(), now);
        }
        assert!(matches!(heard[..], [Message::Suspend, Message::Resume]), "{heard:?}");
    }

    #[test]
    fn a_channel_rests_when_a_peer_is_away_for_long_and_goes_on_when_it_is_back() {
        let (mut a, mut now) = (Channel::default(), T);
        a.say(Message::End, now);
        while let Some(due) = a.due() {
            now = now.max(due);
            a.poll(now);
        }
        assert!(a.is_at_rest() && !a.is_idle());
        assert!((20..30).contains(&(now.since(T).as_secs() / 3600)), "about a day: {:?}", now.since(T));
        a.hurry(now);
        assert_eq!(a.poll(now).map(|(first, messages)| (first, messages.len())), Some((0, 1)));
    }
}
