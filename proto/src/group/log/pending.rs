//! Updates that are held back until what they name is there.
//!
//! For: not asking again for what only came a moment too early. Not for: keeping anything: what does not fit, or is lost
//! in a crash, is pulled.
//!
//! Each sender has its own room, so that nobody who names what does not exist takes another's.

use std::collections::BTreeMap;

use super::{Hosts, Log, Verdict};
use crate::{
    group::{Chain, Update},
    identity::PeerId,
    rights::Verified,
};

/// How many updates of one sender are held back.
pub const MAX_HELD: usize = 64;
/// What they may weigh together, bytes.
pub const MAX_HELD_BYTES: usize = 1 << 20;

/// What waits.
#[derive(Debug, Clone, Default)]
pub struct Pending {
    chains: BTreeMap<Chain, BTreeMap<u64, Held>>,
    room: BTreeMap<PeerId, Room>,
}

#[derive(Debug, Clone)]
struct Held {
    update: Verified<Update>,
    /// Whether somebody was asked for what it waits for, or is about to be.
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Noticed,
    Asked,
}

#[derive(Debug, Clone, Copy, Default)]
struct Room {
    updates: usize,
    bytes: usize,
}

impl Pending {
    /// Holds `update` back. Returns false if there is no room for it, or one with its number waits already.
    pub fn hold(&mut self, update: Verified<Update>) -> bool {
        let (chain, number, size) = (update.chain, update.number, update.bytes().len());
        let room = self.room.get(&chain.sender).copied().unwrap_or_default();
        let is_held = self.chains.get(&chain).is_some_and(|held| held.contains_key(&number));
        if is_held || room.updates >= MAX_HELD || room.bytes + size > MAX_HELD_BYTES {
            return false;
        }

        let room = Room { updates: room.updates + 1, bytes: room.bytes + size };
        self.room.insert(chain.sender, room);
        self.chains.entry(chain).or_default().insert(number, Held { update, state: State::New });
        true
    }

    /// Takes out the next update that waits no longer, and what becomes of it: [`Verdict::Append`] or
    /// [`Verdict::Checkpoint`]. Of several the first by [`Update::place`]. Drops what need not wait any more.
    pub fn release(
        &mut self,
        log: &Log,
        hosts: &Hosts,
        is_unknown: impl Fn(&PeerId) -> bool,
    ) -> Option<(Verdict, Verified<Update>)> {
        let (mut first, mut over) = (None, Vec::new());
        for (chain, held) in &self.chains {
            let next = log.next(chain);
            over.extend(held.range(..next).map(|(number, _)| (*chain, *number)));
            let Some(Held { update, .. }) = held.get(&next) else { continue };
            let verdict = log.judge(update, (update.hash(), update.bytes().len()), hosts, &is_unknown);
            match verdict {
                Verdict::Append | Verdict::Checkpoint => {
                    let place = update.place();
                    if first.is_none_or(|(other, _, _)| place < other) {
                        first = Some((place, verdict, next));
                    }
                }
                Verdict::Waits => {}
                _ => over.push((*chain, next)),
            }
        }

        for (chain, number) in over {
            self.take(chain, number);
        }
        let ((_, chain), verdict, number) = first?;
        Some((verdict, self.take(chain, number)?))
    }

    fn take(&mut self, chain: Chain, number: u64) -> Option<Verified<Update>> {
        let held = self.chains.get_mut(&chain)?;
        let update = held.remove(&number)?.update;
        if held.is_empty() {
            self.chains.remove(&chain);
        }
        if let Some(room) = self.room.get_mut(&chain.sender) {
            room.updates -= 1;
            room.bytes -= update.bytes().len();
            if room.updates == 0 {
                self.room.remove(&chain.sender);
            }
        }
        Some(update)
    }

    /// Senders of updates that have waited since the last call but one: they have what those wait for. Each update
    /// is counted once, so that one that waits in vain is not asked for over and over.
    pub fn overdue(&mut self) -> Vec<PeerId> {
        let mut overdue = Vec::new();
        for (chain, held) in &mut self.chains {
            for one in held.values_mut() {
                if one.state == State::Noticed {
                    overdue.push(chain.sender);
                }
                one.state = match one.state {
                    State::New => State::Noticed,
                    State::Noticed | State::Asked => State::Asked,
                };
            }
        }
        overdue.dedup();
        overdue
    }

    /// How many updates wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.room.values().map(|room| room.updates).sum()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.room.is_empty()
    }
}
