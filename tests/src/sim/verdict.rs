//! What must hold in the end, after everything was mended and had time to settle.

use std::collections::BTreeSet;

use parlor_proto::{
    group::{Chain, Heads},
    identity::PeerId,
    ids::{SessionId, TicketHash},
    rights::{Slot, Verified},
    session::{HostState, MemberState, Role},
};

use super::{
    billing::Taken,
    check::Invariant,
    node::{MAX_SEEN, weight},
    step::name_of,
    world::World,
};

/// How much may be said between two nodes of a session in the quiet part of a run: new keys once, and what follows.
const SAID_BY_A_PAIR: u64 = 12;
/// How much a node that waits for one that never answers may say to it in that time.
const SAID_IN_VAIN: u64 = 60;
/// What a node may keep of a session, bytes: so much, and for each node so much more.
const MOST_KEPT: (usize, usize) = (1 << 20, 64 << 10);

impl World {
    /// All of it.
    pub(super) fn check_end(&mut self) {
        let sessions: BTreeSet<SessionId> =
            self.nodes.iter().flat_map(|node| node.sessions.keys().copied()).collect();
        for session in sessions {
            let cheated = |node: &super::node::Node| {
                let ticket = node.role(session).map(|role| role.ticket().hash());
                ticket.is_some_and(|ticket| self.truth.cheated_tickets.contains(&ticket))
            };
            if self.nodes.iter().any(cheated) {
                (0..self.nodes.len()).for_each(|node| self.check_contradictions(node, session));
            } else {
                self.check_session(session);
            }
        }
        self.check_receipts();
        self.check_count_of_the_honest();
        self.check_bounds();
        for proof in self.billing.proofs.clone() {
            self.check_proof(0, None, &proof);
        }
    }

    /// Everyone who is up and in the group.
    fn live(&self, session: SessionId) -> Vec<usize> {
        let in_group = |at: &usize| {
            self.nodes[*at].up && self.nodes[*at].role(session).is_some_and(|role| role.group().is_some())
        };
        (0..self.nodes.len()).filter(in_group).collect()
    }

    /// Who was put out by a host that could not say so, or let in by one that was lost before anybody else heard of it,
    /// and whoever follows those: nobody can tell them but the user who invites them again. So it is with who was away while
    /// so many went that those who are left are no majority of the members that it knows: its host is lost, and nobody can
    /// show it that another one was elected. Known, and counted; everyone else has to agree.
    fn left_behind(&self, session: SessionId, live: &[usize]) -> BTreeSet<usize> {
        let role = |at: usize| self.nodes[at].role(session);
        let host_of = |at: usize| match role(at) {
            Some(Role::Member(member)) => self.by_peer.get(&member.host().peer).copied(),
            _ => Some(at),
        };
        let hosts = live.iter().copied().filter(|at| role(*at).is_some_and(|role| role.as_host().is_some()));
        let followers = |host: usize| live.iter().filter(|at| host_of(**at) == Some(host)).count();
        let hosts: Vec<_> = hosts.collect();
        let puts_out = |host: usize, at: usize| {
            let seats = role(host).and_then(Role::as_host).map(|host| host.seats());
            let seat = seats.and_then(|seats| seats.get(&self.nodes[at].peer()));
            seat.is_some_and(|seat| !seat.state.in_group())
        };
        let is_in = |host: usize| !hosts.iter().any(|other| puts_out(*other, host));
        let main = hosts.iter().copied().max_by_key(|host| (is_in(*host), followers(*host), *host));
        let Some(main) = main else { return BTreeSet::new() };
        let Some(seats) = role(main).and_then(Role::as_host).map(|host| host.seats()) else {
            return BTreeSet::new();
        };
        let is_out = |at: usize| {
            let seat = seats.get(&self.nodes[at].peer());
            host_of(at) != Some(main) && seat.is_none_or(|seat| !seat.state.in_group())
        };
        let follows_out = |at: usize| host_of(at).is_some_and(|host| host != main && is_out(host));
        // The other way round: it knows that the host of all others was put out, and they do not.
        let main_peer = self.nodes[main].peer();
        let has_put_main_out = |at: usize| {
            let was_removed = self.truth.removed.contains(&(session, main_peer));
            let member =
                role(at).and_then(Role::as_member).filter(|_| was_removed && host_of(at) != Some(main));
            member.is_some_and(|member| {
                member.roster().any(|entry| entry.contact.peer == main_peer && !entry.state.in_group())
            })
        };
        let is_stranded = |at: usize| {
            let known = || self.group_of(at, session).into_iter().filter(|other| host_of(at) != Some(*other));
            let there = known().filter(|other| live.contains(other)).count() + 1;
            let follows_lost = host_of(at).is_none_or(|host| !live.contains(&host));
            follows_lost && there * 2 <= known().count() + 1
        };
        let is_behind =
            |at: &usize| is_out(*at) || follows_out(*at) || has_put_main_out(*at) || is_stranded(*at);
        live.iter().copied().filter(is_behind).collect()
    }

    fn check_session(&mut self, session: SessionId) {
        let mut live = self.live(session);
        let left_behind = self.left_behind(session, &live);
        if !left_behind.is_empty() {
            self.counts("sessions with members left behind");
            live.retain(|at| !left_behind.contains(at));
        }
        let role = |at: usize| self.nodes[at].role(session);
        let is_host = |at: &usize| role(*at).is_some_and(|role| role.as_host().is_some());
        let hosts: Vec<_> = live.iter().copied().filter(is_host).collect();
        let name = name_of(session);
        match hosts[..] {
            [host] => self.check_together(session, host, &live),
            [] => self.check_leaderless(session, &live),
            _ => self.breaks(Invariant::Agreement, format!("session {name} has hosts {hosts:?}")),
        }
    }

    /// Without a host: only if there is nobody who could be elected.
    fn check_leaderless(&mut self, session: SessionId, live: &[usize]) {
        let can_vote = |at: usize| {
            let member = self.nodes[at].role(session).and_then(Role::as_member);
            let known: BTreeSet<usize> = self.group_of(at, session).into_iter().collect();
            let host = member.and_then(|member| self.by_peer.get(&member.host().peer).copied());
            let voters = known.iter().filter(|other| Some(**other) != host).count() + 1;
            let there = live.iter().filter(|other| **other == at || known.contains(other)).count();
            let stands = member.is_some_and(|member| {
                matches!(member.state(), MemberState::Ready | MemberState::Running) && !member.is_suspended()
            });
            stands && voters >= 2 && there * 2 > voters
        };
        let candidates: Vec<_> = live.iter().copied().filter(|at| can_vote(*at)).collect();
        if candidates.len() > 1 {
            let how =
                format!("session {} has no host, and {candidates:?} take nothing over", name_of(session));
            self.breaks(Invariant::Agreement, how);
        }
    }

    fn check_together(&mut self, session: SessionId, host: usize, live: &[usize]) {
        let name = name_of(session);
        let Some(of_host) = self.nodes[host].role(session) else { return };
        let group =
            |at: usize| -> BTreeSet<usize> { self.group_of(at, session).into_iter().chain([at]).collect() };
        let (all, term) = (group(host), of_host.term());
        let epoch = of_host.keys().map(|keys| keys.epoch());
        let peers: BTreeSet<PeerId> =
            of_host.keys().map(|keys| keys.members().keys().copied().collect()).unwrap_or_default();
        let runs = of_host.as_host().is_some_and(|of_host| of_host.state() == HostState::Running);
        let mut wrong = None;
        for at in live.iter().copied().filter(|at| *at != host && self.is_honest(*at)) {
            let Some(member) = self.nodes[at].role(session).and_then(Role::as_member) else { continue };
            let follows = (member.host().peer, member.term()) == (self.nodes[host].peer(), term);
            let keys = member.keys().map(|keys| keys.epoch());
            let in_keys = peers.contains(&self.nodes[at].peer());
            if !follows {
                let of = self.by_peer.get(&member.host().peer);
                let how =
                    format!("node {at} follows {of:?} in term {}, not node {host} in {term}", member.term());
                wrong = Some((Invariant::Agreement, how));
            } else if group(at) != all {
                let how = format!("node {at} sees the group {:?}, its host {all:?}", group(at));
                wrong = Some((Invariant::Agreement, how));
            } else if keys != epoch || !in_keys {
                let how = format!("node {at} is in epoch {keys:x?}, its host in {epoch:x?}");
                wrong = Some((Invariant::Agreement, how));
            } else if !member.runs() && (runs || member.state() != MemberState::Receiving) {
                let how = format!("node {at} is {:?}, suspended: {}", member.state(), member.is_suspended());
                wrong = Some((Invariant::Progress, how));
            }
        }
        if wrong.is_none() {
            wrong = self.check_waiting(session, host);
        }
        if wrong.is_none() {
            wrong = self.check_same_updates(session, live);
        }
        if let Some((invariant, how)) = wrong {
            self.breaks(invariant, format!("session {name}: {how}"));
        }
    }

    /// Nobody whom this host has invited is left waiting.
    fn check_waiting(&self, session: SessionId, host: usize) -> Option<(Invariant, String)> {
        let peer = self.nodes[host].peer();
        let term = self.nodes[host].role(session)?.term();
        let waits = |node: &super::node::Node| {
            let member = node.role(session).and_then(Role::as_member);
            member.is_some_and(|member| {
                let waits = matches!(member.state(), MemberState::Invited | MemberState::Accepted);
                waits && node.up && node.is_honest() && member.host().peer == peer && member.term() == term
            })
        };
        let at = self.nodes.iter().position(waits)?;
        Some((Invariant::Progress, format!("node {at} waits for an answer of node {host}")))
    }

    fn check_same_updates(&self, session: SessionId, live: &[usize]) -> Option<(Invariant, String)> {
        let honest: Vec<_> = live.iter().copied().filter(|at| self.is_honest(*at)).collect();
        let heads = |at: usize| self.nodes[at].sessions.get(&session).map(|held| held.store.heads());
        let (first, rest) = honest.split_first()?;
        for at in rest {
            if heads(*at) != heads(*first) {
                let of = |chain: &Chain| self.by_peer.get(&chain.sender).copied();
                let have = |at: usize| -> Vec<_> {
                    let heads = heads(at).unwrap_or_default();
                    heads.0.iter().map(|(chain, newest)| (of(chain), *newest)).collect()
                };
                let (one, other) = (have(*first), have(*at));
                let how = format!("nodes {first} and {at} do not have the same updates: {one:?}, {other:?}");
                return Some((Invariant::Updates, how));
            }
        }
        let told = |at: usize| {
            let held = self.nodes[at].sessions.get(&session)?;
            let answer = held.store.after(&Heads::default());
            Some(answer.updates.iter().map(|update| update.unverified().place()).collect::<Vec<_>>())
        };
        if let Some(at) = honest.iter().find(|at| told(**at) != told(*first)) {
            let how = format!("who comes late is told in one order by node {first}, in another by node {at}");
            return Some((Invariant::Updates, how));
        }
        for at in &honest {
            let held = self.nodes[*at].sessions.get(&session)?;
            let mut newest = Heads::default();
            for update in held.store.all().map(|update| update.unverified()) {
                if newest.of(update.chain) + 1 != update.number {
                    let how = format!("node {at} told its program update {} out of order", update.number);
                    return Some((Invariant::Updates, how));
                }
                newest.raise(update.chain, update.number);
            }
        }
        None
    }

    fn check_receipts(&mut self) {
        let mut wrong = None;
        for (hash, member) in &self.truth.receipts {
            let at = self.by_peer.get(member).copied();
            let lost = at.is_some_and(|at| self.nodes[at].lost);
            if !lost && !self.billing.log.contains_key(hash) {
                wrong = Some(format!("a receipt of {at:?} was lost"));
            }
        }
        let booked = self.billing.log.values().filter(|taken| **taken == Taken::Booked).count() as u64;
        let minutes = |(kind, many): (&str, u64)| if kind == "minute" { 0 } else { many };
        let charged: u64 = self.billing.charged.iter().map(|((_, kind), many)| minutes((kind, *many))).sum();
        let used = self.billing.used;
        if charged + used != booked {
            wrong = Some(format!("{booked} receipts are booked, and {} charges", charged + used));
        }
        if let Some(how) = wrong {
            self.breaks(Invariant::Receipts, how);
        }
    }

    /// Everything that was given back is shown: of an honest host's numbers each has one holder.
    fn check_count_of_the_honest(&mut self) {
        // Who never comes back shows nothing any more.
        if self.nodes.iter().any(|node| node.lost) {
            return;
        }
        let node_of = |peer: &PeerId| self.by_peer.get(peer).copied();
        let is_overdrawn = |((ticket, _), slots): &((TicketHash, u32), Vec<&Verified<Slot>>)| {
            slots.len() > 1 && !self.truth.cheated_tickets.contains(ticket)
        };
        let overdrawn = self.billing.held().find(is_overdrawn).map(|((_, k), slots)| {
            let slots: Vec<_> = slots.iter().map(|slot| (node_of(&slot.member), slot.generation)).collect();
            format!("number {k} of an honest host is overdrawn: {slots:?}")
        });
        if let Some(how) = overdrawn {
            self.breaks(Invariant::Counted, how);
        }
    }

    fn check_bounds(&mut self) {
        let most = MOST_KEPT.0 + MOST_KEPT.1 * self.nodes.len();
        let mut wrong = None;
        for (at, node) in self.nodes.iter().enumerate() {
            for held in node.sessions.values() {
                let weight = weight(&held.role);
                if weight > most {
                    wrong = Some(format!("node {at} keeps {weight} bytes of a session"));
                }
                if held.run.seen_in_order.len() > MAX_SEEN {
                    wrong = Some(format!("node {at} remembers {} frames", held.run.seen_in_order.len()));
                }
            }
        }
        if let Some(how) = wrong {
            self.breaks(Invariant::Bounds, how);
        }
    }

    /// After the quiet part, in which so much was said.
    pub(super) fn check_rest(&mut self) {
        let (mut allowed, said) = (0, self.said);
        for node in &self.nodes {
            for held in node.sessions.values() {
                let waits = self.nodes.iter().filter(|other| other.up && held.role.waits_for(other.peer()));
                allowed += SAID_IN_VAIN * waits.count() as u64;
                allowed += SAID_BY_A_PAIR * held.role.group().map_or(0, |group| group.len() as u64);
            }
        }
        if said > allowed {
            let how = format!("{said} messages were said in the quiet, {allowed} at most were to be");
            self.breaks(Invariant::Rest, how);
        }
    }
}
