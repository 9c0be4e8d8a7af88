//! Who is there, and what the users want and when.

use std::time::Duration;

use parlor_proto::{
    billing::Tariff,
    identity::{Identity, PeerId},
    ids::{ProgramId, SessionId},
    rights::{Ledger, Terms, Ticket, Verified, sign},
    session::{DeclineReason, Host, HostState, Input, MemberState, Role, SeatState},
};

use super::{
    cheat::Cheat,
    clock::{Clock, START},
    dice::Dice,
    event::Event,
    node::{Node, Session},
    world::World,
};

const MINUTE: u64 = 60_000;
/// After how long a host counts as lost in most runs.
const TAKEOVER: Duration = Duration::from_secs(60);
/// How long after the mending users look once more whether something waits for them, ms.
const LOOKS: [u64; 4] = [0, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE];

/// What a user wants of a node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wish {
    /// ST20-21: yes or no to an invitation.
    Answer { node: usize, session: SessionId },
    /// ST14: so many of those who are there are invited.
    Invite { node: usize, session: SessionId, per_mille: u64 },
}

/// Mostly a few nodes, now and then many.
pub(super) fn cast(dice: &mut Dice, largest: Option<usize>) -> Vec<Node> {
    let many = match dice.below(1000) {
        0..=2 => dice.between(33, 65),
        3..=12 => dice.between(17, 33),
        13..=50 => dice.between(9, 17),
        _ => dice.between(2, 9),
    };
    let many = largest.map_or(many, |largest| many.min(largest as u64));
    let tilt = dice.below(4) as i64;
    let node = |i: u64| {
        let offset = dice.between(0, 120_000) as i64 - 60_000;
        let drift = dice.between(0, 400) as i64 - 200;
        let clock = Clock { offset: offset * tilt, drift };
        Node::new(Identity::from_seed(&dice.bytes()), clock, format!("node {i}"))
    };
    let mut nodes: Vec<_> = (0..many).map(node).collect();
    super::cheat::recruit(&mut nodes, dice);
    nodes
}

/// A ticket for so many copies.
fn ticket(number: u8, host: PeerId, copies: u32, dice: &mut Dice) -> Option<Verified<Ticket>> {
    let origin = Identity::from_seed(&dice.bytes());
    let day = Duration::from_secs(24 * 60 * 60);
    let good_from = parlor_proto::time::Timestamp(START.0 - day.as_millis() as u64);
    let tariff = if dice.chance(500) { "use=1EUR,minute=1EUR".parse().ok()? } else { Tariff::FREE };
    let ticket = Ticket {
        id: [number; 16],
        origin: origin.peer(),
        host,
        name: "chat".into(),
        program: ProgramId([3; 32]),
        copies,
        issued_at: good_from,
        not_before: good_from,
        expires: START + day * 300,
        terms: Terms { tariff, lease: None },
        billing: vec![origin.peer()],
        offline_issue: true,
    };
    sign(&ticket, &origin).ok()
}

impl World {
    /// Sessions, wishes and faults to come.
    pub(super) fn plan(&mut self, dice: &mut Dice) {
        let many = self.nodes.len();
        let cheat = self.nodes.iter().position(|node| !node.is_honest());
        let kind = cheat.and_then(|at| self.nodes[at].cheat.as_ref()).map(|cheat| cheat.kind);
        self.trace.note(0, format_args!("{many} nodes, cheat: {cheat:?} {kind:?}"));
        self.host_with_ticket(0, 0, dice);
        if many >= 4 && dice.chance(150) {
            // The same ticket once more.
            let again = self.nodes[0].ledgers.values().next().map(|ledger| ledger.ticket().clone());
            if let Some(ticket) = again {
                self.host(0, 1, ticket, dice);
            }
        }
        if many >= 3 && dice.chance(100) {
            self.host_with_ticket(1, 2, dice);
        }
        let active = if dice.chance(50) && many < 17 {
            dice.between(60 * MINUTE, 240 * MINUTE)
        } else {
            dice.between(3 * MINUTE, 15 * MINUTE)
        };
        let (wishes, faults) = if many > 16 { (15, 4) } else { (60, 14) };
        for _ in 0..dice.between(wishes / 3, wishes) {
            self.queue.push(dice.between(0, active), Event::SomeWish);
        }
        for _ in 0..dice.between(0, faults) {
            self.queue.push(dice.between(0, active), Event::Fault);
        }
        for node in 0..many {
            self.begin_pulse(node);
            for _ in 0..if self.nodes[node].cheat.is_some() { 8 } else { 0 } {
                self.queue.push(dice.between(MINUTE / 2, active), Event::Cheats { node });
            }
        }
        for after in LOOKS {
            self.queue.push(active + after, Event::Heals);
        }
        self.truth.heals_at = active;
    }

    fn host_with_ticket(&mut self, node: usize, number: u8, dice: &mut Dice) {
        let others = self.nodes.len() as u64 - 1;
        let copies = (others + dice.pick(&[0, 1, 1, 1, 2, 3]).unwrap_or(1)).saturating_sub(1).max(1);
        if let Some(ticket) = ticket(number, self.nodes[node].peer(), copies as u32, dice) {
            if self.nodes[node].cheat.as_ref().is_some_and(Cheat::is_hosts) {
                self.truth.cheated_tickets.insert(ticket.hash());
            }
            self.nodes[node].ledgers.insert(ticket.hash(), Ledger::new(ticket.clone()));
            self.host(node, number, ticket, dice);
        }
    }

    fn host(&mut self, node: usize, number: u8, ticket: Verified<Ticket>, dice: &mut Dice) {
        let mut id = [0; 16];
        id[0] = number;
        let session = SessionId(id);
        let host = Host::new(session, ticket, "1".into(), 1_000, TAKEOVER);
        self.nodes[node].sessions.insert(session, Session::new(Role::Host(Box::new(host))));
        let per_mille = dice.between(600, 1_400);
        let at = dice.between(0, 10_000);
        self.queue.push(at, Event::Wish(Wish::Invite { node, session, per_mille }));
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Answer { node, session } => self.answer(node, session),
            Wish::Invite { node, session, per_mille } => {
                let others = (0..self.nodes.len()).filter(|other| *other != node);
                let mut contacts = Vec::new();
                for other in others {
                    if self.dice.chance(per_mille) {
                        contacts.push(self.nodes[other].contact.clone());
                    }
                }
                self.wants(node, session, Input::Invite(contacts));
            }
        }
    }

    /// A wish that does not fit is refused, and that is all.
    fn wants(&mut self, node: usize, session: SessionId, input: Input) {
        if let Err(why) = self.step(node, session, input) {
            self.trace.note(self.now, format_args!("node {node} is refused: {why}"));
        }
    }

    fn answer(&mut self, node: usize, session: SessionId) {
        let Some(member) = self.nodes[node].role(session).and_then(Role::as_member) else { return };
        if member.state() != MemberState::Invited {
            return;
        }
        match self.dice.below(20) {
            0 | 1 if !self.calm => self.wants(node, session, Input::Decline(DeclineReason::User)),
            2 if !self.calm => {}
            _ => self.wants(node, session, Input::Accept),
        }
    }

    /// Of all nodes and sessions, one for which this holds.
    fn some(&mut self, fits: impl Fn(&Role) -> bool) -> Option<(usize, SessionId)> {
        let mut found = Vec::new();
        for (i, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.up) {
            let sessions = node.sessions.iter().filter(|(_, held)| fits(&held.role));
            found.extend(sessions.map(|(session, _)| (i, *session)));
        }
        self.dice.pick(&found)
    }

    /// Whatever somebody may want now.
    pub(super) fn some_wish(&mut self) {
        let is_host = |role: &Role| role.as_host().is_some() && !role.is_over();
        let in_group = |role: &Role| role.group().is_some();
        let is_member = |role: &Role| role.as_member().is_some() && role.group().is_some();
        match self.dice.below(100) {
            0..=34 => {
                if let Some((node, session)) = self.some(Role::runs) {
                    self.post(node, session);
                }
            }
            35..=54 => {
                if let Some((node, session)) = self.some(Role::runs) {
                    self.shout(node, session);
                }
            }
            55..=64 => {
                if let Some((node, session)) = self.some(is_host) {
                    let per_mille = self.dice.between(100, 1_000);
                    self.wish(Wish::Invite { node, session, per_mille });
                }
            }
            65..=69 => self.host_wants(is_host, Input::Remove, SeatState::in_group),
            70..=74 => self.host_wants(is_host, Input::HandOver, SeatState::in_group),
            75..=77 => self.some_wants(is_host, Input::Start),
            78 if self.dice.chance(300) => self.some_wants(is_host, Input::End),
            78..=83 => self.some_wants(in_group, Input::Suspend),
            84..=91 => self.some_wants(Role::is_suspended, Input::Resume),
            92..=95 => self.some_wants(is_member, Input::Leave),
            _ => {
                let holds = |role: &Role| role.as_member().is_some_and(|member| member.slot().is_some());
                if let Some((node, session)) = self.some(holds) {
                    let Some(ticket) = self.nodes[node].role(session).map(|role| role.ticket().hash()) else {
                        return;
                    };
                    let later = self.nodes[node].uses_slot(ticket, session);
                    self.wants(node, session, if later { Input::DiscardLater } else { Input::Discard });
                }
            }
        }
    }

    fn some_wants(&mut self, fits: impl Fn(&Role) -> bool, input: Input) {
        if let Some((node, session)) = self.some(fits) {
            self.wants(node, session, input);
        }
    }

    /// A wish of a host about one of its seats.
    fn host_wants(
        &mut self,
        is_host: impl Fn(&Role) -> bool,
        input: impl Fn(PeerId) -> Input,
        fits: impl Fn(SeatState) -> bool,
    ) {
        let Some((node, session)) = self.some(is_host) else { return };
        let Some(host) = self.nodes[node].role(session).and_then(Role::as_host) else { return };
        let seats: Vec<_> =
            host.seats().iter().filter(|(_, seat)| fits(seat.state)).map(|(peer, _)| *peer).collect();
        if let Some(peer) = self.dice.pick(&seats) {
            self.wants(node, session, input(peer));
        }
    }

    /// Everything is mended, and users do what is up to them.
    pub(super) fn heal(&mut self) {
        if !self.calm {
            self.trace.note(self.now, format_args!("everything is mended"));
            self.calm = true;
            self.network.heal();
            self.make_room(self.billing_end());
            for node in 0..self.nodes.len() {
                self.nodes[node].doom = None;
                self.make_room(node);
                self.start(node);
            }
            self.links_changed();
        }
        for node in 0..self.nodes.len() {
            let sessions: Vec<_> = self.nodes[node].sessions.keys().copied().collect();
            for session in sessions {
                self.answer(node, session);
                let Some(role) = self.nodes[node].role(session) else { continue };
                // Who never answers would hold up the start for a day.
                let starts = role.as_host().is_some_and(|host| {
                    let is_ready = host.seats().values().any(|seat| seat.state == SeatState::Ready);
                    host.state() == HostState::Inviting && is_ready
                });
                if role.is_suspended() {
                    self.wants(node, session, Input::Resume);
                }
                if starts && self.now > self.truth.heals_at + LOOKS[1] {
                    self.wants(node, session, Input::Start);
                }
            }
        }
    }
}
