//! What is measured: when each message came to each node, and what the process spent on that.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

/// What a message says about itself: round (4 bytes), sender (2), number (2), when it was said (8, nanoseconds).
const HEADER: usize = 16;

/// All messages of one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) members: usize,
    pub(crate) senders: usize,
    /// Of each sender.
    pub(crate) messages: usize,
    /// Of each message, bytes.
    pub(crate) size: usize,
}

impl Plan {
    /// How often a message is to come to somebody.
    pub(crate) fn deliveries(&self) -> usize {
        self.senders * self.messages * (self.members - 1)
    }
}

/// Who heard what in the present round.
pub(crate) struct Record {
    epoch: Instant,
    round: Mutex<Round>,
    complete: Notify,
}

#[derive(Default)]
struct Round {
    number: u32,
    messages: usize,
    senders: usize,
    /// By receiver, sender, number.
    heard: Vec<bool>,
    left: usize,
    latencies: Vec<Duration>,
}

impl Record {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), round: Mutex::default(), complete: Notify::new() }
    }

    fn round(&self) -> std::sync::MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the next round. What still comes of the one before does not count.
    pub(crate) fn begin(&self, plan: &Plan) {
        let mut round = self.round();
        *round = Round {
            number: round.number + 1,
            messages: plan.messages,
            senders: plan.senders,
            heard: vec![false; plan.members * plan.senders * plan.messages],
            left: plan.deliveries(),
            latencies: Vec::with_capacity(plan.deliveries()),
        };
    }

    /// A message of the present round, said now.
    pub(crate) fn message(&self, sender: usize, number: usize, size: usize) -> Vec<u8> {
        let mut message = vec![0x5a; size.max(HEADER)];
        message[..4].copy_from_slice(&self.round().number.to_be_bytes());
        message[4..6].copy_from_slice(&(sender as u16).to_be_bytes());
        message[6..8].copy_from_slice(&(number as u16).to_be_bytes());
        message[8..16].copy_from_slice(&(self.epoch.elapsed().as_nanos() as u64).to_be_bytes());
        message
    }

    /// `receiver` has that message, ready to be used.
    pub(crate) fn heard(&self, receiver: usize, message: &[u8]) {
        let now = self.epoch.elapsed();
        let Some(header) = message.first_chunk::<HEADER>() else { return };
        let [r0, r1, r2, r3, s0, s1, n0, n1, said @ ..] = *header;
        let sender = usize::from(u16::from_be_bytes([s0, s1]));
        let number = usize::from(u16::from_be_bytes([n0, n1]));
        let mut round = self.round();
        if u32::from_be_bytes([r0, r1, r2, r3]) != round.number {
            return;
        }
        let place = (receiver * round.senders + sender) * round.messages + number;
        if std::mem::replace(&mut round.heard[place], true) {
            return;
        }
        round.latencies.push(now.saturating_sub(Duration::from_nanos(u64::from_be_bytes(said))));
        round.left -= 1;
        if round.left == 0 {
            self.complete.notify_one();
        }
    }

    /// Until everybody has everything; at most so long.
    pub(crate) async fn settle(&self, most: Duration) {
        let complete = async {
            // It may tell of a round that was complete before anybody waited.
            while self.round().left > 0 {
                self.complete.notified().await;
            }
        };
        // What has not come by then is lost.
        let _ = tokio::time::timeout(most, complete).await;
    }

    /// What came, and how much did not. Ends the round.
    pub(crate) fn end(&self) -> (Vec<Duration>, usize) {
        let mut round = self.round();
        let number = round.number;
        let ended = std::mem::replace(&mut *round, Round { number: number + 1, ..Round::default() });
        (ended.latencies, ended.left)
    }
}

/// What this process has used of the processors so far.
pub(crate) fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec as u32)
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which `share` of all are.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}
