//! Those who do not keep to the rules.
//!
//! For: hosts that sign too much or let strangers in, and members that forge, replay, relabel, garble, vote twice
//! or claim an office that is not theirs. Each runs the honest machine besides, and does its mischief around it,
//! as a modified node would.

use std::sync::Arc;

use parlor_proto::{
    group::{UpdatesResponse, lanes::Lane},
    identity::{Identity, PeerId},
    ids::{SessionId, SlotHash},
    rights::{Ledger, Release, Signed, Slot, sign},
    session::{
        Change, Claim, DeclineReason, HostState, Membership, Message, Output, Roster, RosterEntry, SeatState,
        election::{Mandate, Vote},
    },
};

use super::{
    dice::Dice,
    event::{Envelope, Load},
    group::{Frame, NO_SALT},
    node::Node,
    world::World,
};

/// How much a cheat keeps of what it overhears.
const MAX_CAPTURED: usize = 32;

/// One cheat's ways and means.
#[derive(Debug)]
pub(super) struct Cheat {
    pub(super) kind: Kind,
    captured: Vec<(SessionId, Envelope)>,
    /// The second of two members with one slot, or the one without: what the cheat says of it.
    twin: Option<(PeerId, Option<Shown>)>,
}

/// A slot, and the word that it is for the session.
type Shown = (Signed<Slot>, Signed<Membership>);

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Host: gives one slot to two members, and shows both to everyone.
    Twins,
    /// Host: lets somebody into the keys whom it shows to nobody.
    Smuggler,
    /// Host: signs more numbers than there are.
    Beyond,
    /// Host: forgets what it granted or handed over, and grants it again.
    Amnesiac,
    /// Host: grants a number once more, two generations on, by the release of somebody made up.
    Skipper,
    /// Member: frames and updates that are not what they seem.
    Forger,
    /// Member: a vote for whoever asks.
    Voter,
    /// Member: messages out of step, hints of epochs that do not exist.
    Garbler,
    /// Member: says that it is host.
    Usurper,
}

impl Cheat {
    /// Whether it is what a host does.
    pub(super) fn is_hosts(&self) -> bool {
        matches!(self.kind, Kind::Twins | Kind::Smuggler | Kind::Beyond | Kind::Amnesiac | Kind::Skipper)
    }
}

/// Makes one of them a cheat, in one run of three.
pub(super) fn recruit(nodes: &mut [Node], dice: &mut Dice) {
    let hosts = [Kind::Twins, Kind::Smuggler, Kind::Beyond, Kind::Amnesiac, Kind::Skipper];
    let members = [Kind::Forger, Kind::Voter, Kind::Garbler, Kind::Usurper];
    if nodes.len() < 3 || !dice.chance(350) {
        return;
    }
    let (at, kind) = if dice.chance(450) {
        (0, dice.pick(&hosts))
    } else {
        (1 + dice.below(nodes.len() - 1), dice.pick(&members))
    };
    nodes[at].cheat = kind.map(|kind| Cheat { kind, captured: Vec::new(), twin: None });
}

impl World {
    /// What a cheating host says instead of what its machine says.
    pub(super) fn doctor(&mut self, node: usize, outputs: &mut [Output]) {
        let Some(kind) =
            self.nodes[node].cheat.as_ref().filter(|cheat| cheat.is_hosts()).map(|cheat| cheat.kind)
        else {
            return;
        };
        for output in outputs {
            let Output::Send { to, messages, .. } = output else { continue };
            self.choose_twin(node, *to, kind, messages);
            let Some((twin, slot)) = self.nodes[node].cheat.as_ref().and_then(|cheat| cheat.twin.clone())
            else {
                continue;
            };
            let to_itself = *to == twin;
            messages.iter_mut().for_each(|message| doctor(message, twin, slot.as_ref(), to_itself));
        }
    }

    /// The second member that gets a slot becomes the twin of the first, or whatever it is to be.
    fn choose_twin(&mut self, node: usize, to: PeerId, kind: Kind, messages: &[Message]) {
        let grants = |message: &Message| match message {
            Message::Grant(grant) => {
                let slot = grant.slot.as_ref()?.unverified().clone();
                Some((slot, grant.membership.as_ref()?.unverified().clone()))
            }
            _ => None,
        };
        let Some((slot, membership)) = messages.iter().find_map(grants) else { return };
        let holder = &mut self.nodes[node];
        let Some(cheat) = holder.cheat.as_mut().filter(|cheat| cheat.twin.is_none()) else { return };
        let ledger = holder.ledgers.get(&slot.ticket);
        let other = ledger.and_then(|ledger| ledger.slots().find(|other| other.member != to).cloned());
        let Some(other) = other else { return };
        let doctored = match kind {
            Kind::Twins => Some(Slot { member: to, ..(*other).clone() }),
            Kind::Beyond => {
                let copies = ledger.map_or(0, |ledger| ledger.ticket().copies);
                Some(Slot { k: copies + slot.k, ..slot })
            }
            Kind::Skipper => skipped_to(&other, to),
            Kind::Smuggler => None,
            _ => return,
        };
        let doctored = doctored.and_then(|slot| sign(&slot, &holder.identity).ok());
        if matches!(kind, Kind::Twins | Kind::Skipper)
            && let Some(slot) = &doctored
        {
            self.truth.slots_signed.insert(slot.member);
        }
        let shown = doctored.and_then(|slot| {
            let membership = Membership { slot: slot.hash(), ..membership };
            Some((slot.to_signed(), sign(&membership, &holder.identity).ok()?.to_signed()))
        });
        cheat.twin = Some((to, shown));
    }

    /// Mischief that is not an answer to anything.
    pub(super) fn cheats(&mut self, node: usize) {
        let Some(kind) = self.nodes[node].cheat.as_ref().map(|cheat| cheat.kind) else { return };
        if self.calm || !self.nodes[node].up {
            return;
        }
        self.trace.note(self.now, format_args!("node {node} cheats: {kind:?}"));
        match kind {
            Kind::Amnesiac => {
                let tickets: Vec<_> =
                    self.nodes[node].ledgers.values().map(|ledger| ledger.ticket().clone()).collect();
                let me = self.nodes[node].peer();
                for ticket in tickets.into_iter().filter(|ticket| ticket.host == me) {
                    self.nodes[node].ledgers.insert(ticket.hash(), Ledger::new(ticket));
                }
            }
            Kind::Forger => self.forge(node),
            Kind::Garbler => self.garble(node),
            Kind::Usurper => self.usurp(node),
            Kind::Twins | Kind::Smuggler | Kind::Beyond | Kind::Skipper | Kind::Voter => {}
        }
    }

    /// A forger keeps what it hears, and passes a forged update on at once, so that it comes first somewhere.
    pub(super) fn capture(&mut self, node: usize, session: SessionId, envelope: &Envelope) {
        let Some(cheat) = self.nodes[node].cheat.as_mut().filter(|cheat| cheat.kind == Kind::Forger) else {
            return;
        };
        if cheat.captured.len() < MAX_CAPTURED {
            cheat.captured.push((session, envelope.clone()));
        }
    }

    fn forge(&mut self, node: usize) {
        let captured: Vec<_> =
            self.nodes[node].cheat.as_ref().map(|cheat| cheat.captured.clone()).unwrap_or_default();
        let sessions: Vec<_> = self.nodes[node].sessions.keys().copied().collect();
        for (mut session, mut envelope) in captured {
            envelope.id = self.id();
            envelope.slipped = self.dice.chance(500);
            let mut frame = (*envelope.frame).clone();
            match self.dice.below(6) {
                // As it was, once more.
                0 => {}
                1 => envelope.source = node,
                2 => {
                    let at = self.dice.below(frame.len());
                    frame[at] ^= 1;
                }
                3 => {
                    envelope.lane = match envelope.lane {
                        Lane::Updates => Lane::Realtime,
                        Lane::Realtime | Lane::Control => Lane::Updates,
                    };
                }
                4 => session = self.dice.pick(&sessions).unwrap_or(session),
                _ => {
                    // An epoch that does not exist.
                    let epoch = self.dice.between(0, u64::MAX);
                    frame[..8].copy_from_slice(&epoch.to_be_bytes());
                }
            }
            envelope.frame = Arc::new(frame);
            for to in self.in_reach(node) {
                self.send(node, to, session, Load::Sealed(envelope.clone()));
            }
        }
        for session in sessions {
            self.forge_updates(node, session);
        }
    }

    /// Updates in the names of others, sealed well and by request.
    fn forge_updates(&mut self, node: usize, session: SessionId) {
        let Some(held) = self.nodes[node].sessions.get(&session) else { return };
        let have = held.store.heads();
        let forged: Vec<_> = held.store.all().filter_map(altered).collect();
        let near = self.in_reach(node);
        for to in &near {
            let answer =
                UpdatesResponse { updates: forged.clone(), have: have.clone(), ..Default::default() };
            self.send(node, *to, session, Load::Updates(answer));
        }
        let Some(update) = forged.last().cloned() else { return };
        let id = self.id();
        let holder = &mut self.nodes[node];
        let lanes = holder.sessions.get_mut(&session).and_then(|held| held.run.lanes.as_mut());
        let Ok(plaintext) = cbor4ii::serde::to_vec(Vec::new(), &Frame::Update(update)) else { return };
        let Some(frame) = lanes.and_then(|lanes| lanes.seal(Lane::Updates, &plaintext, NO_SALT).ok()) else {
            return;
        };
        let envelope =
            Envelope { source: node, lane: Lane::Updates, frame: Arc::new(frame), id, slipped: false };
        for to in near {
            self.send(node, to, session, Load::Sealed(envelope.clone()));
        }
    }

    /// Messages out of step.
    fn garble(&mut self, node: usize) {
        // As a member: what a host may say is another matter.
        let member_of = |(_, held): &(&SessionId, &super::node::Session)| held.role.as_member().is_some();
        let sessions: Vec<_> =
            self.nodes[node].sessions.iter().filter(member_of).map(|(session, _)| *session).collect();
        for session in sessions {
            for to in self.in_reach(node) {
                let messages = (0..self.dice.between(1, 4)).map(|_| self.nonsense(node)).collect();
                let term = self.dice.between(0, 3) as u32;
                let firsts = [0, self.dice.between(0, 20), u64::MAX];
                let first = self.dice.pick(&firsts).unwrap_or(0);
                let load = match self.dice.below(4) {
                    0 | 1 => Load::Messages { term, first, messages },
                    2 => Load::Taken { term, next: first },
                    _ => {
                        let (newest, commit) =
                            (self.dice.between(0, u64::MAX), self.dice.bytes::<40>().to_vec());
                        let commit = parlor_proto::group::keys::Commit { epoch: newest, bytes: commit };
                        let changes = vec![Change { commit, added: Vec::new() }];
                        Load::Commits(parlor_proto::wire::CommitsResponse { newest, state: None, changes })
                    }
                };
                self.send(node, to, session, load);
            }
        }
    }

    fn nonsense(&mut self, node: usize) -> Message {
        let contact = self.nodes[node].contact.clone();
        match self.dice.below(10) {
            0 => Message::Start,
            1 => Message::End,
            2 => Message::Remove,
            3 => Message::Resume,
            4 => Message::Suspend,
            5 => Message::Decline(DeclineReason::Busy),
            6 => Message::Offer(self.dice.bytes::<64>().to_vec()),
            7 => Message::Ready,
            8 => Message::Started,
            _ => {
                let takeover = std::time::Duration::ZERO;
                let (former_hosts, members) = (Vec::new(), Vec::new());
                let (host_slot, host_membership) = (None, None);
                let roster = Roster {
                    term: 0,
                    host: contact,
                    host_slot,
                    host_membership,
                    former_hosts,
                    takeover,
                    members,
                };
                Message::Roster(Box::new(roster))
            }
        }
    }

    /// A claim with nothing, or with nobody's votes but its own, behind it.
    fn usurp(&mut self, node: usize) {
        let sessions: Vec<_> = self.nodes[node].sessions.keys().copied().collect();
        for session in sessions {
            let shown = self.nodes[node].clock.shows(self.now);
            let holder = &self.nodes[node];
            let Some(member) = holder.role(session).and_then(|role| role.as_member()) else { continue };
            let (me, later) = (holder.peer(), self.dice.between(0, 3) as u32);
            let term = member.term() + later;
            let vote = Vote { session, term, candidate: me, voter: me, at: shown };
            let Ok(vote) = sign(&vote, &holder.identity) else { continue };
            let roster = Roster {
                term,
                host: holder.contact.clone(),
                host_slot: member.slot().map(|slot| slot.to_signed()),
                host_membership: member.membership().cloned(),
                former_hosts: vec![member.host().peer],
                takeover: member.takeover(),
                members: member.roster().cloned().collect(),
            };
            let votes = vec![vote.to_signed(), vote.to_signed(), vote.to_signed()];
            let mandates = vec![Mandate { term, host: me, votes }];
            let claim =
                Claim { mandates, roster, welcome: None, state: HostState::Running, suspended: false };
            for to in self.in_reach(node) {
                let messages = vec![Message::Claim(Box::new(claim.clone()))];
                self.send(node, to, session, Load::Messages { term, first: 0, messages });
            }
        }
    }
}

/// The same update with another payload: its signature is wrong.
fn altered(update: &Signed<parlor_proto::group::Update>) -> Option<Signed<parlor_proto::group::Update>> {
    let payload = &update.unverified().payload;
    let mut bytes = update.bytes().to_vec();
    let at = bytes.windows(payload.len().max(1)).position(|window| window == payload.as_slice())?;
    bytes[at] ^= 0x55;
    Signed::decode(&bytes).ok()
}

/// The number of `held` for `to`: the generation between, and its holder who gives it back, are made up.
fn skipped_to(held: &Slot, to: PeerId) -> Option<Slot> {
    let sybil = Identity::from_seed(&[0xee; 32]);
    let between = held.generation + 1;
    let release = Release {
        ticket: held.ticket,
        slot: SlotHash([0xee; 32]),
        k: held.k,
        generation: between,
        member: sybil.peer(),
        released_at: held.issued_at,
    };
    let release = Some(sign(&release, &sybil).ok()?.to_signed());
    Some(Slot { member: to, generation: between + 1, release, ..held.clone() })
}

/// What a message says of the twin, changed.
fn doctor(message: &mut Message, twin: PeerId, shown: Option<&Shown>, to_itself: bool) {
    let in_roster = |entries: &mut Vec<RosterEntry>| match shown {
        Some((slot, membership)) => {
            let its = entries.iter_mut().filter(|entry| entry.contact.peer == twin);
            its.for_each(|entry| {
                entry.slot = Some(slot.clone());
                entry.membership = Some(membership.clone());
            });
        }
        None if to_itself => {}
        None => entries.retain(|entry| entry.contact.peer != twin || entry.state == SeatState::Left),
    };
    match message {
        Message::Grant(grant) => {
            if let Some((slot, membership)) = shown.filter(|_| to_itself) {
                grant.slot = Some(slot.clone());
                grant.membership = Some(membership.clone());
            }
            in_roster(&mut grant.admission.roster.members);
        }
        Message::Roster(roster) => in_roster(&mut roster.members),
        Message::Keys(change) => in_roster(&mut change.added),
        Message::Welcome(admission) => in_roster(&mut admission.roster.members),
        Message::Claim(claim) => in_roster(&mut claim.roster.members),
        _ => {}
    }
}
