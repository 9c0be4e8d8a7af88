//! What arrives at a node, and what it answers.

use parlor_proto::{
    identity::PeerId,
    ids::SessionId,
    rights::sign,
    session::{
        Input, Member, Message, Role, VoteRequest, VoteResponse,
        election::{RequestEffect, Vote},
    },
};

use super::{
    billing::Taken,
    bug::Bug,
    cheat::Kind,
    check::Invariant,
    event::{Load, Parcel},
    node::Session,
    world::World,
};

impl World {
    pub(super) fn arrives(&mut self, parcel: Parcel) {
        if self.is_cut_off(&parcel) {
            return;
        }
        let Parcel { from: sender, to, session, load } = parcel;
        if to == self.billing_end() {
            return self.bill(sender, session, load);
        }
        let from = self.nodes.get(sender).map(|node| node.peer());
        match (load, from) {
            (Load::Ack(hash), _) if !self.is_not_written(to) => {
                self.nodes[to].outbox.remove(&hash);
            }
            (Load::Noted(hash), _) if !self.is_not_written(to) => {
                self.nodes[to].links.remove(&hash);
            }
            // It is sent, and answered, again.
            (Load::Ack(_) | Load::Noted(_), _) => {}
            (Load::Beacon { host, term, id }, Some(_)) => self.beacon_arrives(to, session, (host, term, id)),
            (Load::Sealed(envelope), Some(_)) => self.sealed_arrives(to, sender, session, envelope),
            (Load::Have(have), Some(_)) => self.compares(to, sender, session, &have),
            (Load::Updates(answer), Some(_)) => self.updates_arrive(to, sender, session, answer),
            (load, Some(from)) => self.talk_arrives(to, sender, session, from, load),
            (_, None) => {}
        }
    }

    /// What goes to a machine.
    fn talk_arrives(&mut self, to: usize, sender: usize, session: SessionId, from: PeerId, load: Load) {
        let answer = match load {
            Load::Messages { term, first, messages } => {
                self.messages_arrive(to, session, from, (term, first, messages))
            }
            Load::Taken { term, next } => {
                self.input(to, session, Input::Taken { from, term, next });
                None
            }
            Load::Rejected { term, why } => {
                self.input(to, session, Input::Rejected { from, term, why: why.to_owned() });
                None
            }
            Load::Pull { after } => {
                self.nodes[to].role(session).map(|role| Load::Commits(role.commits_after(from, after)))
            }
            Load::Commits(answer) => {
                self.input(to, session, Input::Commits { from, answer });
                None
            }
            Load::Ask(request) => self.asked(to, session, from, request),
            Load::Vote(answer) => {
                self.input(to, session, Input::VoteAnswered { from, answer });
                None
            }
            _ => None,
        };
        if let Some(load) = answer.filter(|_| self.nodes[to].up) {
            self.send(to, sender, session, load);
        }
    }

    fn messages_arrive(
        &mut self,
        to: usize,
        session: SessionId,
        from: PeerId,
        (term, first, messages): (u32, u64, Vec<Message>),
    ) -> Option<Load> {
        let is_new = !self.nodes[to].sessions.contains_key(&session);
        let holder = &mut self.nodes[to];
        if let std::collections::btree_map::Entry::Vacant(place) = holder.sessions.entry(session) {
            if first != 0 {
                return Some(Load::Rejected { term, why: "this node does not know that session" });
            }
            if holder.proofs.iter().any(|proof| proof.host() == from) {
                return Some(Load::Rejected { term, why: "you were proven a cheat" });
            }
            let (me, now) = (holder.identity.peer(), holder.clock.shows(self.now));
            match Member::invited(session, me, from, term, &messages, now) {
                Ok(member) => {
                    place.insert(Session::new(Role::Member(Box::new(member))));
                    self.tell_presence(to);
                }
                Err(_) => return Some(Load::Rejected { term, why: "the invitation does not stand up" }),
            }
        }
        let (life, failed) = (self.nodes[to].life, self.nodes[to].failed_writes);
        let expected = self.nodes[to].role(session).and_then(|role| role.expected_of(from, term));
        let known = expected.unwrap_or(0).checked_sub(first).map_or(usize::MAX, |known| known as usize);
        let contradictory = messages.iter().skip(known).any(super::check::is_contradictory);
        self.input(to, session, Input::Message { from, term, first, messages });
        let is_written = self.nodes[to].failed_writes == failed;
        if is_new && !is_written && self.bug != Some(Bug::FullDiskIgnored) {
            self.nodes[to].sessions.remove(&session);
            return None;
        }
        if contradictory && is_written && self.nodes[to].life == life && self.nodes[to].up {
            self.check_noticed(to, session);
        }
        self.host_spoke(to, session, from, term);
        // A node that crashed in this very step, or could not write it, answers nothing.
        let lived = self.nodes[to].up && self.nodes[to].life == life;
        let answers = lived && (is_written || self.bug == Some(Bug::FullDiskIgnored));
        let next = self.nodes[to].role(session).filter(|_| answers)?.expected_of(from, term)?;
        self.check_acknowledged(to, session, (from, term), next);
        Some(Load::Taken { term, next })
    }

    fn asked(&mut self, to: usize, session: SessionId, from: PeerId, request: VoteRequest) -> Option<Load> {
        let (me, shown) = (self.nodes[to].peer(), self.nodes[to].clock.shows(self.now));
        let effect = self.nodes[to].sessions.get_mut(&session)?.role.weigh(me, from, &request, shown);
        self.set_timer(to, session);
        let (life, failed) = (self.nodes[to].life, self.nodes[to].failed_writes);
        match effect {
            RequestEffect::Stranger => return Some(Load::Vote(VoteResponse::UNKNOWN)),
            RequestEffect::Answer => {}
            RequestEffect::Step => {
                self.input(to, session, Input::VoteAsked { from, request: request.clone() });
            }
        }
        if !self.nodes[to].up || self.nodes[to].life != life || self.nodes[to].failed_writes != failed {
            return None;
        }
        let careless = self.bug == Some(Bug::VotesForAnyone);
        let sells = self.nodes[to].cheat.as_ref().is_some_and(|cheat| cheat.kind == Kind::Voter);
        if careless || sells {
            return self.votes_anyway(to, &request);
        }
        let shown = self.nodes[to].clock.shows(self.now);
        Some(Load::Vote(self.nodes[to].role(session)?.vote_for(me, from, &request, shown)))
    }

    /// A vote for whoever asks.
    fn votes_anyway(&self, voter: usize, request: &VoteRequest) -> Option<Load> {
        let identity = &self.nodes[voter].identity;
        let vote = Vote {
            session: request.session,
            term: request.term,
            candidate: request.candidate.peer,
            voter: identity.peer(),
            at: self.nodes[voter].clock.shows(self.now),
        };
        let vote = sign(&vote, identity).ok()?.to_signed();
        Some(Load::Vote(VoteResponse::Granted { vote, package: Vec::new() }))
    }

    /// A sign of the host, for the machine and for the books of the truth.
    pub(super) fn host_spoke(&mut self, node: usize, session: SessionId, host: PeerId, term: u32) {
        let (now, shown) = (self.now, self.nodes[node].clock.shows(self.now));
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        if self.bug != Some(Bug::BeaconsIgnored) {
            held.role.host_heard(host, term, shown);
        }
        let is_host = |member: &Member| member.host().peer == host && member.term() == term;
        if held.role.as_member().is_some_and(is_host) {
            let gap = held.role.takeover().as_millis() as u64 / 2;
            let since = held.run.hearing.filter(|(_, last)| last + gap > now).map_or(now, |(since, _)| since);
            held.run.hearing = Some((since, now));
        }
        self.set_timer(node, session);
    }

    /// What comes to the billing peer, which crashes now and then before it can answer.
    fn bill(&mut self, sender: usize, session: SessionId, load: Load) {
        let is_full = self.billing.full;
        if is_full && self.bug != Some(Bug::FullDiskIgnored) {
            return;
        }
        let answer = match load {
            Load::Receipt(item) if is_full => {
                let hash = item.1.verify().map(|receipt| receipt.hash());
                hash.map(Load::Ack).map_err(|error| error.to_string())
            }
            Load::Receipt(item) => {
                let (right, receipt) = *item;
                let place = right.slot.as_ref().and_then(|slot| slot.clone().verify().ok());
                let taken = self.billing.take(right, receipt, self.bug);
                if let (Some(slot), Ok(hash)) = (place, &taken)
                    && self.billing.log.get(hash) == Some(&Taken::Booked)
                {
                    self.truth.booked.insert(slot.hash(), (slot.ticket, slot.k));
                }
                self.check_counted();
                taken.map(Load::Ack)
            }
            Load::Link(item) => {
                let (right, release) = *item;
                let hash = release.clone().verify().map(|release| release.hash());
                let noted = self.billing.note(right, release);
                hash.map_err(|error| error.to_string()).and_then(|hash| noted.map(|()| Load::Noted(hash)))
            }
            _ => return,
        };
        match answer {
            Ok(answer) if self.calm || !self.dice.chance(100) => {
                if let Load::Ack(hash) = &answer
                    && !self.billing.log.contains_key(hash)
                {
                    self.breaks(
                        Invariant::Durable,
                        "the billing peer acknowledges what is not in its log".into(),
                    );
                }
                let billing = self.billing_end();
                self.send(billing, sender, session, answer);
            }
            Ok(_) => {}
            Err(why) => {
                self.breaks(Invariant::Receipts, format!("a receipt of node {sender} is refused: {why}"))
            }
        }
    }

    /// Everything in the outbox, again.
    pub(super) fn post_receipts(&mut self, node: usize) {
        let receipts = self.nodes[node].outbox.values().cloned().map(|item| Load::Receipt(Box::new(item)));
        let links = self.nodes[node].links.values().cloned().map(|item| Load::Link(Box::new(item)));
        let loads: Vec<_> = receipts.chain(links).collect();
        let billing = self.billing_end();
        for load in loads {
            self.send(node, billing, SessionId([0; 16]), load);
        }
    }
}
