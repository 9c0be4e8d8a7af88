//! What must hold at every moment, and the books of the truth by which that is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use parlor_proto::{
    group::{
        Chain, Heads, MAX_AFTER, Update,
        keys::GroupKeys,
        lanes::{Lane, Lanes},
    },
    identity::PeerId,
    ids::{ReceiptHash, SessionId, SlotHash, TicketHash},
    rights::{EquivocationProof, Slot},
    session::{Message, Output, Role},
};

use super::{
    cheat::{Cheat, Kind},
    step::name_of,
    world::World,
};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Never more copies than the ticket has, and each number of a generation is one member's.
    Copies,
    /// A cheating host is proven where its slots meet, and no other.
    Proof,
    /// Who is not in the group reads nothing of what it says, and is not heard; nothing is heard twice.
    Closed,
    /// No key seals two frames under one nonce.
    Nonces,
    /// No receipt is lost, none is booked twice.
    Receipts,
    /// Billing notices when a number has more holders than one, and never says so of an honest host for good.
    Counted,
    /// What is said and acknowledged is on disk, also when a disk is full for a while.
    Durable,
    /// Everyone has the same updates, each once, each sender's in order, none forged; and gives them in one order.
    Updates,
    /// Everyone is told of an update after all that its author had when it said it.
    Order,
    /// At most one host a term, and none is elected while most hear theirs.
    Hosts,
    /// In the end all agree on host, term, epoch and roster.
    Agreement,
    /// In the end everybody runs who should.
    Progress,
    /// In the end there is no endless talk.
    Rest,
    /// What is kept stays within its bounds.
    Bounds,
    /// No step of a machine fails that nobody asked for.
    Step,
    /// Nothing panics.
    Panic,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An update as its author put it on disk.
pub(super) struct Posted {
    pub(super) hash: blake3::Hash,
    /// What its author had then.
    pub(super) seen: Heads,
}

/// What no node knows, and the checks need to.
#[derive(Default)]
pub(super) struct Truth {
    /// When everything is mended, ms.
    pub(super) heals_at: u64,
    /// Tickets whose host cheats with slots.
    pub(super) cheated_tickets: BTreeSet<TicketHash>,
    /// Whose number it is, by ticket, number and generation.
    places: BTreeMap<(TicketHash, u32, u32), PeerId>,
    /// Everyone for whom there is a slot.
    pub(super) slots_signed: BTreeSet<PeerId>,
    /// Slots that their members have released.
    given_back: BTreeSet<SlotHash>,
    /// Slots that their members have reported, and whose numbers they are: what is in the billing log.
    pub(super) booked: BTreeMap<SlotHash, (TicketHash, u32)>,
    /// Receipts that were put on disk, and whose they are.
    pub(super) receipts: BTreeMap<ReceiptHash, PeerId>,
    /// Below which number a node has acknowledged what another one said in a session, by term.
    acknowledged: BTreeMap<(usize, SessionId), BTreeMap<(PeerId, u32), u64>>,
    /// Updates that were put on their author's disk.
    pub(super) posted: BTreeMap<(SessionId, Chain, u64), Posted>,
    /// The newest update of each chain that each node told its program.
    told: BTreeMap<(usize, SessionId, Chain), u64>,
    /// Realtime messages, by number, and whose they are.
    pub(super) shouted: BTreeMap<u64, usize>,
    heard: BTreeSet<(usize, u64, u64)>,
    nonces: BTreeSet<(usize, SessionId, Lane, Vec<u8>)>,
    /// Who is in the keys that a node was last told to use.
    entered: BTreeMap<(usize, SessionId), BTreeSet<PeerId>>,
    /// The lanes of those who have left.
    pub(super) ghosts: BTreeMap<(usize, SessionId), Lanes>,
    /// Everyone who came into office, by session and term.
    pub(super) hosts: BTreeMap<(SessionId, u32), BTreeSet<usize>>,
    /// Whom a host has removed, by its user's wish.
    pub(super) removed: BTreeSet<(SessionId, PeerId)>,
    /// Sessions whose host handed over.
    pub(super) handed_over: BTreeSet<SessionId>,
    /// How often something of note happened, for people who wonder whether a run covers it.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

/// Whether a message shows two members with one place.
pub(super) fn is_contradictory(message: &Message) -> bool {
    let roster = match message {
        Message::Roster(roster) => roster,
        Message::Grant(grant) => &grant.admission.roster,
        Message::Welcome(admission) => &admission.roster,
        Message::Claim(claim) => &claim.roster,
        _ => return false,
    };
    let mut places: BTreeMap<_, PeerId> = BTreeMap::new();
    let slots = roster.members.iter().filter_map(|entry| entry.slot.as_ref()).map(|slot| slot.unverified());
    let mut twice = slots.map(|slot| ((slot.ticket, slot.k, slot.generation), slot.member));
    twice.any(|(place, member)| *places.entry(place).or_insert(member) != member)
}

impl World {
    pub(super) fn counts(&mut self, what: &'static str) {
        *self.truth.counts.entry(what).or_default() += 1;
    }

    pub(super) fn is_honest(&self, node: usize) -> bool {
        self.nodes[node].is_honest()
    }

    pub(super) fn has_cheat(&self, kind: Kind) -> bool {
        self.nodes.iter().any(|node| node.cheat.as_ref().is_some_and(|cheat| cheat.kind == kind))
    }

    /// After every step, once it is on disk.
    pub(super) fn check_step(&mut self, node: usize, session: SessionId, before: &Role, outputs: &[Output]) {
        self.begin_anew(node, session);
        let Some(role) = self.nodes[node].role(session) else { return };
        let ticket = role.ticket().hash();
        let (term, is_host) = (role.term(), role.as_host().is_some());
        let comes_into_office = is_host && (before.as_host().is_none() || before.term() != term);
        let slot = |role: &Role| role.as_member().and_then(|member| member.slot().map(|slot| slot.hash()));
        let moved = slot(role) != slot(before) || comes_into_office;
        let epoch = |role: &Role| role.keys().map(|keys| keys.epoch());
        let rekeyed = epoch(role) != epoch(before);
        match (slot(before), slot(role)) {
            (Some(slot), None) => {
                self.truth.given_back.insert(slot);
            }
            (None, Some(slot)) => {
                self.truth.given_back.remove(&slot);
            }
            _ => {}
        }
        for output in outputs {
            match output {
                Output::Cheat(_) => self.counts("proofs"),
                Output::Receipt(_) => self.counts("receipts"),
                Output::Entered(_) => self.counts("epochs"),
                _ => {}
            }
        }
        self.note_places(node, ticket);
        if moved {
            self.check_copies(ticket);
        }
        if comes_into_office {
            if self.nodes[node].cheat.as_ref().is_some_and(Cheat::is_hosts) {
                self.truth.cheated_tickets.insert(ticket);
            }
            self.check_host(node, session, term);
        }
        if rekeyed {
            self.check_members(node, session);
        }
    }

    /// Every number of a generation is one member's.
    fn note_places(&mut self, node: usize, ticket: TicketHash) {
        let honest = !self.truth.cheated_tickets.contains(&ticket);
        let Some(ledger) = self.nodes[node].ledgers.get(&ticket) else { return };
        let mut twice = None;
        for slot in ledger.slots() {
            self.truth.slots_signed.insert(slot.member);
            let owner = *self.truth.places.entry((ticket, slot.k, slot.generation)).or_insert(slot.member);
            if owner != slot.member && honest {
                twice = Some((slot.k, slot.generation));
            }
        }
        if let Some((k, generation)) = twice {
            self.breaks(
                Invariant::Copies,
                format!("number {k}.{generation} is granted to two members by node {node}"),
            );
        }
    }

    /// Under an honest host: not more copies out than the ticket has.
    pub(super) fn check_copies(&mut self, ticket: TicketHash) {
        if self.truth.cheated_tickets.contains(&ticket) {
            return;
        }
        let mut holders: BTreeMap<PeerId, (u32, u32)> = BTreeMap::new();
        let (mut copies, mut granted) = (u32::MAX, 0);
        for node in &self.nodes {
            granted += node.ledgers.get(&ticket).map_or(0, |ledger| ledger.used());
            copies = node.ledgers.get(&ticket).map_or(copies, |ledger| copies.min(ledger.ticket().copies));
            let roles = node.sessions.values().filter_map(|held| held.role.as_member());
            let given_back = |hash| self.truth.given_back.contains(&hash);
            let slots = roles.filter_map(|member| member.slot()).filter(|slot| slot.ticket == ticket);
            // What a session of the past still shows is worth nothing.
            let slots = slots.filter(|slot| !given_back(slot.hash()));
            holders.extend(slots.map(|slot| (node.peer(), (slot.k, slot.generation))));
        }
        let numbers: BTreeSet<u32> = holders.values().map(|(k, _)| *k).collect();
        if holders.len() > copies as usize || granted > copies {
            let how = format!("{} copies out and {granted} granted of {copies}", holders.len());
            self.breaks(Invariant::Copies, how);
        } else if numbers.len() < holders.len() {
            self.breaks(Invariant::Copies, {
                let named = holders.iter().map(|(peer, place)| (self.by_peer.get(peer).copied(), *place));
                let named: BTreeSet<_> = named.collect();
                format!("two hold one number: {named:?}")
            });
        }
    }

    /// A number that two members have, both of whom have reported it, is noticed at the billing peer.
    pub(super) fn check_counted(&mut self) {
        let mut holders: BTreeMap<(TicketHash, u32), u32> = BTreeMap::new();
        for (slot, number) in &self.truth.booked {
            *holders.entry(*number).or_default() += u32::from(!self.truth.given_back.contains(slot));
        }
        let proven = |ticket: TicketHash| self.billing.proofs.iter().any(|proof| proof.ticket() == ticket);
        let is_missed = |((ticket, k), holders): &(&(TicketHash, u32), &u32)| {
            **holders > 1 && !proven(*ticket) && !self.billing.is_overdrawn((*ticket, *k), self.bug)
        };
        if let Some(((_, k), holders)) = holders.iter().find(is_missed) {
            let how = format!("{holders} members have number {k}, and the billing peer does not notice");
            self.breaks(Invariant::Counted, how);
        }
    }

    /// What is acknowledged would still be there after a crash.
    pub(super) fn check_acknowledged(
        &mut self,
        node: usize,
        session: SessionId,
        (from, term): (PeerId, u32),
        next: u64,
    ) {
        let Some(held) = self.nodes[node].sessions.get(&session) else { return };
        let kept = held.on_disk().expected_of(from, term);
        if kept.is_none_or(|kept| kept < next) {
            let how =
                format!("node {node} acknowledges all below {next}, and has on disk what is below {kept:?}");
            return self.breaks(Invariant::Durable, how);
        }
        let acknowledged = self.truth.acknowledged.entry((node, session)).or_default();
        let below = acknowledged.entry((from, term)).or_default();
        *below = next.max(*below);
    }

    /// What was acknowledged is there after a crash, or after a disk was full.
    pub(super) fn check_kept(&mut self, node: usize) {
        let mut missing = None;
        for (session, held) in &self.nodes[node].sessions {
            let acknowledged = self.truth.acknowledged.get(&(node, *session)).into_iter().flatten();
            for ((from, term), below) in acknowledged {
                let kept = held.role.expected_of(*from, *term);
                missing = missing.or(kept.filter(|kept| kept < below).map(|kept| (kept, *below)));
            }
        }
        if let Some((kept, below)) = missing {
            let how = format!("node {node} has acknowledged all below {below}, and has what is below {kept}");
            self.breaks(Invariant::Durable, how);
        }
    }

    /// A step that is on disk may begin a conversation anew.
    fn begin_anew(&mut self, node: usize, session: SessionId) {
        let Some(role) = self.nodes[node].role(session) else { return };
        let Some(acknowledged) = self.truth.acknowledged.get_mut(&(node, session)) else { return };
        for ((from, term), below) in acknowledged {
            *below = role.expected_of(*from, *term).map_or(*below, |kept| kept.min(*below));
        }
    }

    /// Somebody is host now.
    fn check_host(&mut self, node: usize, session: SessionId, term: u32) {
        self.counts("changes of the host");
        let by_votes = !self.truth.handed_over.contains(&session);
        let hosts = self.truth.hosts.entry((session, term)).or_default();
        hosts.insert(node);
        let hosts = hosts.clone();
        if self.has_cheat(Kind::Voter) || !by_votes {
            return;
        }
        if hosts.len() > 1 {
            let how = format!("session {} has hosts {hosts:?} in term {term}", name_of(session));
            return self.breaks(Invariant::Hosts, how);
        }
        let takeover = self.nodes[node].role(session).map_or(0, |role| role.takeover().as_millis() as u64);
        let peer = self.nodes[node].peer();
        // Whoever follows this one already loses no host.
        let steady = |at: &usize| {
            let held = self.nodes[*at].sessions.get(&session);
            let follows = |held: &&super::node::Session| {
                held.role.as_member().is_some_and(|member| member.host().peer == peer)
            };
            held.filter(|held| !follows(held)).and_then(|held| held.run.hearing).is_some_and(
                |(since, last)| {
                    since + takeover * 5 / 4 < self.now
                        && last + takeover / 2 > self.now
                        && self.nodes[*at].up
                },
            )
        };
        let group = self.group_of(node, session);
        let hear = group.iter().filter(|at| steady(at)).count();
        if hear * 2 > group.len() {
            let how = format!("node {node} is elected while {hear} of {} hear their host", group.len());
            self.breaks(Invariant::Hosts, how);
        }
    }

    /// Nobody is in a node's keys whom it does not know by a slot.
    fn check_members(&mut self, node: usize, session: SessionId) {
        if !self.is_honest(node) {
            return;
        }
        let me = self.nodes[node].peer();
        let Some(role) = self.nodes[node].role(session) else { return };
        let Some(keys) = role.keys() else { return };
        let known: BTreeSet<PeerId> = match role {
            Role::Host(host) => host.group().unwrap_or_default().iter().map(|contact| contact.peer).collect(),
            Role::Member(member) => {
                let roster = member.roster().map(|entry| entry.contact.peer);
                roster.chain([member.host().peer, member.ticket().host]).collect()
            }
        };
        let stranger = |peer: &&PeerId| **peer != me && !known.contains(*peer);
        let stranger = keys.members().keys().find(stranger).copied();
        let unsigned =
            |peer: &&PeerId| **peer != role.ticket().host && !self.truth.slots_signed.contains(*peer);
        let unsigned = keys.members().keys().find(unsigned).copied();
        if let Some(peer) = stranger.or(unsigned) {
            let (who, knows) = (self.by_peer.get(&peer).copied(), known.contains(&peer));
            let how =
                format!("node {node} has keys together with {who:?} without a slot, known to it: {knows}");
            self.breaks(Invariant::Closed, how);
        }
    }

    /// The keys of one epoch are of this session, and of this node.
    pub(super) fn check_keys(&mut self, node: usize, session: SessionId, keys: &GroupKeys) {
        if (keys.session(), keys.me()) != (session, self.nodes[node].peer()) {
            self.breaks(Invariant::Closed, format!("node {node} enters keys of another node or session"));
        }
        let members = keys.members().keys().copied().collect();
        self.truth.entered.insert((node, session), members);
    }

    /// A frame is sealed: under a nonce of its own, and for nobody who has left.
    pub(super) fn check_sealed(&mut self, node: usize, session: SessionId, lane: Lane, frame: &[u8]) {
        self.counts("frames");
        // Epoch, its tag, leaf, boot, counter.
        let header = frame[..frame.len().min(36)].to_vec();
        if !self.truth.nonces.insert((node, session, lane, header)) {
            return self.breaks(Invariant::Nonces, format!("node {node} seals twice under one nonce"));
        }
        let (sender, shown) = (self.nodes[node].peer(), self.nodes[node].clock.shows(self.now));
        let Some(members) = self.truth.entered.get(&(node, session)) else { return };
        // A host removes at once; others as soon as they are told.
        let removed = self.nodes[node].role(session).and_then(Role::as_host).map(|host| {
            let seats = host.seats().iter().filter(|(_, seat)| !seat.state.in_group());
            seats.map(|(peer, _)| *peer).collect::<BTreeSet<_>>()
        });
        let removed = removed.unwrap_or_default();
        let mut reads = None;
        for ((ghost, of), lanes) in &mut self.truth.ghosts {
            let peer = self.nodes[*ghost].identity.peer();
            let out = *of == session && (!members.contains(&peer) || removed.contains(&peer));
            if out && lanes.open(lane, sender, frame, shown).is_ok() {
                reads = Some(*ghost);
            }
        }
        if let Some(ghost) = reads {
            self.breaks(Invariant::Closed, format!("node {ghost} has left, and reads what node {node} says"));
        }
    }

    /// Something is heard: of somebody who is in the group.
    pub(super) fn check_heard(&mut self, node: usize, session: SessionId, sender: PeerId) {
        self.counts("frames heard");
        // In the keys of now, or, while hosts change, of before.
        let members = self.truth.entered.get(&(node, session));
        let who = self.by_peer.get(&sender).copied();
        let is_known = who.is_some_and(|who| self.group_of(node, session).contains(&who));
        if members.is_none_or(|members| !members.contains(&sender)) && !is_known {
            self.breaks(Invariant::Closed, format!("node {node} hears {who:?}, who is not in the group"));
        }
    }

    pub(super) fn check_realtime(&mut self, node: usize, session: SessionId, source: usize, message: &[u8]) {
        let Ok(number) = message.try_into().map(u64::from_be_bytes) else {
            return self.breaks(Invariant::Closed, format!("node {node} hears what nobody said"));
        };
        let author = self.truth.shouted.get(&number).copied();
        if author != Some(source) {
            let how = format!("node {node} hears of node {source} what {author:?} said");
            return self.breaks(Invariant::Closed, how);
        }
        let life = self.nodes[node].life;
        if !self.truth.heard.insert((node, life, number)) {
            let how = format!("node {node} hears one message twice in session {}", name_of(session));
            self.breaks(Invariant::Closed, how);
        }
    }

    /// An update is kept: its author's, as its author has it, and the next one.
    pub(super) fn check_update(
        &mut self,
        node: usize,
        session: SessionId,
        update: &Update,
        hash: blake3::Hash,
    ) {
        self.counts("updates");
        let (chain, number) = (update.chain, update.number);
        let author = self.by_peer.get(&chain.sender).copied();
        let honest = author.is_none_or(|author| self.is_honest(author));
        let posted = self.truth.posted.get(&(session, chain, number)).map(|posted| posted.hash);
        if honest && posted != Some(hash) {
            let how =
                format!("node {node} keeps update {number} of {author:?} as its author does not have it");
            self.breaks(Invariant::Updates, how);
        }
        let told = self.truth.told.entry((node, session, chain)).or_default();
        let before = std::mem::replace(told, number);
        if number != before + 1 {
            let how = format!("node {node} gets update {number} of {author:?} after {before}");
            self.breaks(Invariant::Updates, how);
        }
    }

    /// The program of a node that has `had` is told of an update: it has been told of all that the author had, or, if
    /// that was more than an update names, of what it names. Nobody waits for those who are unknown.
    pub(super) fn check_order(
        &mut self,
        node: usize,
        session: SessionId,
        update: &Update,
        (had, authors): (&Heads, &BTreeSet<PeerId>),
    ) {
        let mut seen = Heads::default();
        update.links().for_each(|link| seen.raise(link.chain, link.number));
        let posted = self.truth.posted.get(&(session, update.chain, update.number));
        if let Some(posted) = posted.filter(|_| update.after.len() < MAX_AFTER) {
            seen = posted.seen.clone();
        }
        let missing = seen.ahead_of(had).find(|(chain, _)| authors.contains(&chain.sender));
        if let Some((chain, _)) = missing {
            let of = |chain: Chain| self.by_peer.get(&chain.sender).copied();
            let how = format!(
                "node {node} tells update {} of {:?} before {} of {:?}, which its author had",
                update.number,
                of(update.chain),
                seen.of(chain),
                of(chain),
            );
            self.breaks(Invariant::Order, how);
        }
    }

    /// A proof that a host cheats.
    pub(super) fn found_cheat(&mut self, node: usize, session: SessionId, proof: &EquivocationProof) {
        self.check_proof(node, Some(session), proof);
    }

    pub(super) fn check_proof(&mut self, node: usize, session: Option<SessionId>, proof: &EquivocationProof) {
        let host = self.by_peer.get(&proof.host()).copied();
        if host.is_none_or(|host| self.is_honest(host)) {
            let how = format!("node {node} has a proof that {host:?} cheats, which is honest");
            return self.breaks(Invariant::Proof, how);
        }
        let exported = EquivocationProof::decode(&proof.encode());
        let of = session.and_then(|session| self.nodes[node].role(session)).map(Role::ticket);
        let stands = exported.is_ok_and(|proof| of.is_none_or(|ticket| proof.verify(ticket).is_ok()));
        if !stands {
            self.breaks(Invariant::Proof, format!("the proof of node {node} does not stand up elsewhere"));
        }
    }

    /// A member was told of two slots that contradict each other.
    pub(super) fn check_noticed(&mut self, node: usize, session: SessionId) {
        let stays = self.nodes[node].role(session).and_then(Role::as_member);
        let stays = stays.is_some_and(|member| member.state().in_group());
        if stays && self.nodes[node].proofs.is_empty() && self.is_honest(node) {
            self.breaks(
                Invariant::Proof,
                format!("node {node} is told of two slots in one place, and stays"),
            );
        }
    }

    /// No honest member stays where two slots contradict each other.
    pub(super) fn check_contradictions(&mut self, node: usize, session: SessionId) {
        let Some(member) = self.nodes[node].role(session).and_then(Role::as_member) else { return };
        if !member.state().in_group() || !self.is_honest(node) {
            return;
        }
        let signed = member.roster().filter_map(|entry| entry.slot.clone());
        let mut slots: Vec<_> = signed.filter_map(|slot| slot.verify().ok()).collect();
        slots.extend(member.slot().cloned());
        let place = |slot: &Slot| (slot.ticket, slot.k, slot.generation);
        let mut by_place: BTreeMap<_, PeerId> = BTreeMap::new();
        let twice = |slot: &parlor_proto::rights::Verified<Slot>| {
            *by_place.entry(place(slot)).or_insert(slot.member) != slot.member
        };
        if slots.iter().any(twice) {
            self.breaks(
                Invariant::Proof,
                format!("node {node} stays though its host gave one slot to two members"),
            );
        }
    }
}
