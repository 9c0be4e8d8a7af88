//! What breaks: processes, connections, clocks.

use parlor_proto::session::{Input, Role};

use super::{event::Event, world::World};

const MINUTE: u64 = 60_000;
/// How far a clock is set wrong at most, ms.
const SET_WRONG: u64 = 10 * MINUTE;

impl World {
    /// Something breaks.
    pub(super) fn fault(&mut self) {
        if self.calm {
            return;
        }
        let node = self.dice.below(self.nodes.len());
        match self.dice.below(100) {
            0..=27 => self.doom(node),
            28..=34 => self.fill(node),
            35..=49 if self.nodes[node].up => self.crash(node),
            50..=64 => self.tear(),
            65..=74 => self.cut(node),
            75..=84 => {
                self.trace.note(self.now, format_args!("node {node} is out of reach"));
                self.network.away.insert(node);
                self.links_changed();
                let left = self.truth.heals_at.saturating_sub(self.now);
                let at = self.now + self.dice.between(MINUTE / 2, left.max(MINUTE));
                self.queue.push(at, Event::Returns { node });
            }
            85..=94 => self.set_clock(node),
            _ => self.lose_host(),
        }
    }

    /// A disk is full: this node's, or the billing peer's.
    fn fill(&mut self, node: usize) {
        let end = if self.dice.chance(300) { self.billing_end() } else { node };
        match self.nodes.get_mut(end) {
            Some(node) => node.full = true,
            None => self.billing.full = true,
        }
        self.trace.note(self.now, format_args!("the disk of {end} is full"));
        self.counts("full disks");
        let at = self.now + self.dice.between(5_000, 3 * MINUTE);
        self.queue.push(at, Event::Room { end });
    }

    /// There is room again: everything goes on without a restart, from where it was.
    pub(super) fn make_room(&mut self, end: usize) {
        let Some(node) = self.nodes.get_mut(end) else {
            self.billing.full = false;
            return;
        };
        if !std::mem::take(&mut node.full) {
            return;
        }
        let was_set_back = std::mem::take(&mut node.clock_was_set_back);
        self.trace.note(self.now, format_args!("the disk of {end} has room again"));
        self.check_kept(end);
        let sessions: Vec<_> = self.nodes[end].sessions.keys().copied().collect();
        for session in sessions {
            if was_set_back {
                self.input(end, session, Input::Restarted);
            }
            self.reconcile(end, session);
        }
    }

    /// The network falls into two parts.
    fn tear(&mut self) {
        for end in 0..self.network.sides.len() {
            self.network.sides[end] = u8::from(self.dice.chance(400));
        }
        self.trace.note(self.now, format_args!("the network is torn: {:?}", self.network.sides));
        self.links_changed();
        self.mends_later();
    }

    /// What one node says does not reach some others any more.
    fn cut(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            if other != node && self.dice.chance(600) {
                self.network.cuts.insert((node, other));
            }
        }
        self.trace.note(self.now, format_args!("node {node} is heard by some only"));
        self.links_changed();
        self.mends_later();
    }

    fn mends_later(&mut self) {
        let longest = if self.dice.chance(300) { 10 * MINUTE } else { 2 * MINUTE };
        let at = self.now + self.dice.between(5_000, longest);
        self.queue.push(at, Event::Mends);
    }

    /// A clock is set: forward or back.
    fn set_clock(&mut self, node: usize) {
        let by = self.dice.between(0, 2 * SET_WRONG) as i64 - SET_WRONG as i64;
        self.trace.note(self.now, format_args!("the clock of node {node} is set by {by} ms"));
        self.nodes[node].clock.offset += by;
        let sessions: Vec<_> = self.nodes[node].sessions.keys().copied().collect();
        for session in sessions {
            if let Some(held) = self.nodes[node].sessions.get_mut(&session) {
                held.run.tick_at = None;
                held.run.hearing = None;
            }
            if by < 0 {
                self.nodes[node].clock_was_set_back |= self.nodes[node].full;
                self.input(node, session, Input::Restarted);
            }
            self.set_timer(node, session);
        }
    }

    /// A host that never comes back.
    fn lose_host(&mut self) {
        let lost = self.nodes.iter().any(|node| node.lost);
        let is_host = |role: &Role| role.as_host().is_some();
        let hosts = |node: &super::node::Node| node.sessions.values().any(|held| is_host(&held.role));
        let host = (0..self.nodes.len()).find(|at| self.nodes[*at].up && hosts(&self.nodes[*at]));
        if let Some(host) = host.filter(|_| !lost && self.nodes.len() > 2) {
            self.nodes[host].lost = true;
            self.crash(host);
        }
    }
}
