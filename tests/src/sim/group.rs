//! What the group says: sealed frames by gossip, beacons of the host, and logs that are compared.

use std::{collections::BTreeSet, sync::Arc};

use parlor_proto::{
    group::{
        Heads, Update, UpdatesResponse,
        keys::GroupKeys,
        lanes::{Lane, Lanes, OpenError, Opened, Salt, Waiting},
    },
    identity::PeerId,
    ids::SessionId,
    rights::Signed,
    session::{Input, Role},
};
use serde::{Deserialize, Serialize};

use super::{
    bug::Bug,
    check::{Invariant, Posted},
    event::{Envelope, Event, Load},
    log::Taken,
    node::Doom,
    world::{PULSE, World},
};

/// To how many others a node passes on what it hears for the first time.
const RELAYS: usize = 2;
/// How long after it left a node still tries to be heard, ms.
const HAUNTS: [u64; 3] = [100, 3_000, 20_000];

/// No help from chance: without it, too, boot and counter are to keep a node's nonces apart.
pub(super) const NO_SALT: Salt = [0; 8];

/// What is sealed. (Each lane of a real node carries one kind.)
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Frame {
    Update(Signed<Update>),
    Realtime(Vec<u8>),
}

impl World {
    /// The group has come to new keys.
    pub(super) fn enter(&mut self, node: usize, session: SessionId, keys: &GroupKeys) {
        self.check_keys(node, session, keys);
        if self.bug == Some(Bug::RemovalIgnored) && self.somebody_went(node, session, keys) {
            return;
        }
        let shown = self.nodes[node].clock.shows(self.now);
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        let Some(lanes) = &mut held.run.lanes else { return self.begin_lanes(node, session, keys) };
        if let Err(error) = lanes.enter(keys, shown) {
            return self.breaks(Invariant::Step, format!("node {node} cannot enter an epoch: {error}"));
        }
        held.run.members = Some(keys.members().keys().copied().collect());
        let waited = held.run.waiting.release(keys.epoch());
        for Waiting { lane, source, frame } in waited {
            if let Some(source) = self.by_peer.get(&source).copied() {
                let id = self.id();
                self.open(
                    node,
                    session,
                    &Envelope { source, lane, frame: Arc::new(frame), id, slipped: false },
                );
            }
        }
    }

    fn somebody_went(&self, node: usize, session: SessionId, keys: &GroupKeys) -> bool {
        let before = self.nodes[node].sessions.get(&session).and_then(|held| held.run.members.as_ref());
        before.is_some_and(|before| before.iter().any(|peer| !keys.members().contains_key(peer)))
    }

    fn begin_lanes(&mut self, node: usize, session: SessionId, keys: &GroupKeys) {
        self.check_keys(node, session, keys);
        if self.is_not_written(node) {
            return;
        }
        let bug = self.bug;
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        // On disk before the first frame.
        if bug != Some(Bug::BootRepeated) {
            held.boot += 1;
        }
        match Lanes::new(keys, held.boot) {
            Ok(lanes) => {
                held.run.lanes = Some(lanes);
                held.run.members = Some(keys.members().keys().copied().collect());
            }
            Err(error) => self.breaks(Invariant::Step, format!("node {node} has no lanes: {error}")),
        }
    }

    /// Lanes are there as long as this node is in the group.
    pub(super) fn reconcile_lanes(&mut self, node: usize, session: SessionId) {
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        match (held.role.keys().cloned(), &held.run.lanes) {
            (Some(keys), None) => self.begin_lanes(node, session, &keys),
            (None, Some(_)) => {
                let lanes = held.run.lanes.take();
                held.run.waiting = Default::default();
                // It keeps what it has, and will try.
                if let Some(lanes) = lanes {
                    self.truth.ghosts.insert((node, session), lanes);
                    for after in HAUNTS {
                        self.queue.push(self.now + after, Event::Haunts { node, session });
                    }
                }
            }
            _ => {}
        }
    }

    /// An update of this node's user.
    pub(super) fn post(&mut self, node: usize, session: SessionId) {
        let id = self.id();
        let (now, bug) = (self.now, self.bug);
        let holder = &mut self.nodes[node];
        let doom = holder.doom.take();
        let Some(held) = holder.sessions.get_mut(&session) else { return };
        let shown = holder.clock.shows(now);
        let payload = id.to_be_bytes().to_vec();
        let Some(update) = held.store.next(&holder.identity, session, payload, shown) else { return };
        if doom == Some(Doom::BeforeDisk) {
            if bug == Some(Bug::SaidBeforeStored) {
                self.say(node, session, &Frame::Update(update));
            }
            return self.crash(node);
        }
        if holder.full {
            // Its user is told so.
            holder.failed_writes += 1;
            return;
        }
        let seen = held.store.heads();
        held.store.take(session, update.clone(), |_| false, None);
        let (chain, number) = (update.unverified().chain, update.unverified().number);
        self.truth
            .posted
            .insert((session, chain, number), Posted { hash: blake3::hash(update.bytes()), seen });
        self.trace.note(now, format_args!("node {node} posts update {number}"));
        if doom.is_none() || self.dice.chance(500) {
            self.say(node, session, &Frame::Update(update));
        }
        if doom.is_some() {
            self.crash(node);
        }
    }

    /// A realtime message of this node's user.
    pub(super) fn shout(&mut self, node: usize, session: SessionId) {
        let id = self.id();
        self.truth.shouted.insert(id, node);
        self.say(node, session, &Frame::Realtime(id.to_be_bytes().to_vec()));
    }

    fn say(&mut self, node: usize, session: SessionId, frame: &Frame) {
        let lane = match frame {
            Frame::Update(_) => Lane::Updates,
            Frame::Realtime(_) => Lane::Realtime,
        };
        let Ok(plaintext) = cbor4ii::serde::to_vec(Vec::new(), frame) else { return };
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        let Some(lanes) = &mut held.run.lanes else { return };
        let Ok(sealed) = lanes.seal(lane, &plaintext, NO_SALT) else { return };
        self.check_sealed(node, session, lane, &sealed);
        let envelope =
            Envelope { source: node, lane, frame: Arc::new(sealed), id: self.id(), slipped: false };
        self.pass_on(node, session, Load::Sealed(envelope), usize::MAX);
    }

    /// To some of the group that are in reach.
    pub(super) fn pass_on(&mut self, node: usize, session: SessionId, load: Load, most: usize) {
        let near = self.in_reach(node);
        let mut to: Vec<_> =
            self.group_of(node, session).into_iter().filter(|at| near.contains(at)).collect();
        while to.len() > most {
            to.swap_remove(self.dice.below(to.len()));
        }
        for to in to {
            self.send(node, to, session, load.clone());
        }
    }

    pub(super) fn sealed_arrives(&mut self, node: usize, by: usize, session: SessionId, envelope: Envelope) {
        // The gate: bytes go to and come from the group alone.
        let bug = self.bug;
        let lets_in = envelope.slipped || bug == Some(Bug::RemovalIgnored);
        if !lets_in && !self.group_of(node, session).contains(&by) {
            return;
        }
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        if !held.run.sees(envelope.id, bug) {
            return;
        }
        self.capture(node, session, &envelope);
        self.open(node, session, &envelope);
        if !envelope.slipped {
            self.pass_on(node, session, Load::Sealed(envelope), RELAYS);
        }
    }

    fn open(&mut self, node: usize, session: SessionId, envelope: &Envelope) {
        let source = self.nodes[envelope.source].peer();
        let shown = self.nodes[node].clock.shows(self.now);
        // Who is not in the group, as far as this node knows, is not heard, whatever keys it has.
        let is_member =
            self.bug == Some(Bug::RemovalIgnored) || self.group_of(node, session).contains(&envelope.source);
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        let Some(lanes) = held.run.lanes.as_mut().filter(|_| is_member) else { return };
        let epoch = lanes.epoch();
        match lanes.open(envelope.lane, source, &envelope.frame, shown) {
            Ok(Opened { sender, plaintext }) => {
                self.opened(node, session, (envelope.source, sender), &plaintext)
            }
            Err(OpenError::Ahead { epoch }) => {
                let waiting = Waiting { lane: envelope.lane, source, frame: envelope.frame.to_vec() };
                // No room: an update comes again when logs are compared.
                let _ = held.run.waiting.push(waiting);
                self.input(node, session, Input::Behind(epoch));
            }
            Err(OpenError::UnknownEpoch { epoch: other }) if other > epoch => {
                self.input(node, session, Input::Behind(other));
            }
            Err(OpenError::Forked { .. }) => self.input(node, session, Input::Behind(epoch)),
            Err(_) => {}
        }
    }

    fn opened(
        &mut self,
        node: usize,
        session: SessionId,
        (source, sender): (usize, PeerId),
        plaintext: &[u8],
    ) {
        self.check_heard(node, session, sender);
        let Ok(frame) = cbor4ii::serde::from_slice::<Frame>(plaintext) else { return };
        match frame {
            Frame::Update(update) => {
                let from_sender =
                    update.unverified().sender() == sender || self.bug == Some(Bug::SignatureUnchecked);
                if from_sender && self.keep(node, session, update, false) == Taken::Waits {
                    let heads = self.heads_of(node, session);
                    self.send(node, source, session, Load::Have(heads));
                }
            }
            Frame::Realtime(message) => self.check_realtime(node, session, source, &message),
        }
    }

    fn heads_of(&self, node: usize, session: SessionId) -> Heads {
        self.nodes[node].sessions.get(&session).map(|held| held.store.heads()).unwrap_or_default()
    }

    /// An update, whoever brought it: kept if it stands up, and its author has, or had, a right to be there.
    fn keep(
        &mut self,
        node: usize,
        session: SessionId,
        update: Signed<parlor_proto::group::Update>,
        pulled: bool,
    ) -> Taken {
        let me = self.nodes[node].peer();
        let bug = self.bug;
        let Some(held) = self.nodes[node].sessions.get(&session) else { return Taken::Refused };
        let authors = authors(&held.role, me);
        if !authors.contains(&update.unverified().sender()) {
            return Taken::Refused;
        }
        if self.is_not_written(node) {
            return Taken::Refused;
        }
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return Taken::Refused };
        let before = held.store.heads();
        // As a real node: whoever answers has told its program, and waits for nobody whom this one does not know.
        let is_unknown = |sender: &PeerId| pulled && !authors.contains(sender);
        let taken = held.store.take(session, update, is_unknown, bug);
        if let Taken::Kept(kept) = &taken {
            let mut had = before;
            for update in kept {
                self.check_update(node, session, update.unverified(), blake3::hash(update.bytes()));
                self.check_order(node, session, update.unverified(), (&had, &authors));
                had.raise(update.unverified().chain, update.unverified().number);
            }
        }
        taken
    }

    /// Somebody says what it has.
    pub(super) fn compares(&mut self, node: usize, from: usize, session: SessionId, have: &Heads) {
        if !self.group_of(node, session).contains(&from) {
            return;
        }
        let Some(held) = self.nodes[node].sessions.get(&session) else { return };
        let answer = held.store.after(have);
        let lacks = have.ahead_of(&answer.have).next().is_some();
        if lacks || !answer.updates.is_empty() {
            self.send(node, from, session, Load::Updates(answer));
        }
    }

    pub(super) fn updates_arrive(
        &mut self,
        node: usize,
        from: usize,
        session: SessionId,
        answer: UpdatesResponse,
    ) {
        if !self.group_of(node, session).contains(&from) {
            return;
        }
        for update in answer.updates {
            self.keep(node, session, update, true);
        }
        let heads = self.heads_of(node, session);
        let news = heads.ahead_of(&answer.have).next().is_some();
        if answer.more {
            self.send(node, from, session, Load::Have(heads));
        } else if news && let Some(held) = self.nodes[node].sessions.get(&session) {
            // What the other lacks, unasked.
            let answer = held.store.after(&answer.have);
            self.send(node, from, session, Load::Updates(answer));
        }
    }

    pub(super) fn beacon_arrives(
        &mut self,
        node: usize,
        session: SessionId,
        (host, term, id): (usize, u32, u64),
    ) {
        let bug = self.bug;
        let peer = self.nodes[host].peer();
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        if held.run.sees(id, bug) {
            self.host_spoke(node, session, peer, term);
            self.pass_on(node, session, Load::Beacon { host, term, id }, RELAYS);
        }
    }

    /// What a node does every few seconds.
    pub(super) fn pulse(&mut self, node: usize) {
        self.post_receipts(node);
        let sessions: Vec<_> = self.nodes[node].sessions.keys().copied().collect();
        for session in sessions {
            let Some(role) = self.nodes[node].role(session) else { continue };
            if role.group().is_none() {
                continue;
            }
            let (is_host, term) = (role.as_host().is_some(), role.term());
            if is_host {
                let id = self.id();
                self.pass_on(node, session, Load::Beacon { host: node, term, id }, usize::MAX);
            }
            let heads = self.heads_of(node, session);
            self.pass_on(node, session, Load::Have(heads), 1);
            if self.bug == Some(Bug::NeverAtRest) {
                self.pass_on(node, session, Load::Pull { after: u64::MAX }, usize::MAX);
            }
        }
        let life = self.nodes[node].life;
        self.queue.push(self.now + PULSE, Event::Pulse { node, life });
    }

    /// Who has left speaks with the keys it had: the gate slept, and the seal alone has to keep it out.
    pub(super) fn haunt(&mut self, node: usize, session: SessionId) {
        let id = self.id();
        self.truth.shouted.insert(id, node);
        let frame = Frame::Realtime(id.to_be_bytes().to_vec());
        let Ok(plaintext) = cbor4ii::serde::to_vec(Vec::new(), &frame) else { return };
        let Some(lanes) = self.truth.ghosts.get_mut(&(node, session)) else { return };
        let Ok(sealed) = lanes.seal(Lane::Realtime, &plaintext, NO_SALT) else { return };
        let envelope = Envelope {
            source: node,
            lane: Lane::Realtime,
            frame: Arc::new(sealed),
            id: self.id(),
            slipped: true,
        };
        for to in self.in_reach(node) {
            self.send(node, to, session, Load::Sealed(envelope.clone()));
        }
    }
}

/// Whose updates count: everyone who has, or had, a right to be there.
fn authors(role: &Role, me: PeerId) -> BTreeSet<PeerId> {
    let mut authors = role.hosts(me);
    authors.insert(me);
    match role {
        Role::Host(host) => {
            authors.extend(host.seats().iter().filter(|(_, seat)| seat.has_slot()).map(|(peer, _)| *peer));
        }
        Role::Member(member) => authors.extend(member.roster().map(|entry| entry.contact.peer)),
    }
    authors
}
