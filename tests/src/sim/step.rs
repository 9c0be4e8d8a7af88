//! The four moves of every step, as a node makes them: the machine, the disk, the network, and the rest of it.

use parlor_proto::{
    identity::PeerId,
    ids::SessionId,
    session::{Context, Input, MemberState, Message, Output, Randomness, Role, StepError},
};

use super::{
    bug::Bug,
    check::Invariant,
    event::{Event, Load},
    node::Doom,
    plan::Wish,
    world::World,
};

/// After how long a node whose disk was full tries again what a machine has to do by itself, ms.
const TRIES_AGAIN: u64 = 5_000;

impl World {
    /// A step that nobody asked for by hand: it must not fail.
    pub(super) fn input(&mut self, node: usize, session: SessionId, input: Input) {
        let what = name(&input);
        if let Err(error) = self.step(node, session, input) {
            self.breaks(Invariant::Step, format!("node {node}: {what} failed: {error}"));
        }
    }

    /// One step of one machine. A wish that does not fit is an error, and changes nothing.
    pub(super) fn step(&mut self, node: usize, session: SessionId, input: Input) -> Result<(), StepError> {
        let seed = self.dice.bytes();
        let holder = &mut self.nodes[node];
        let (true, Some(held)) = (holder.up, holder.sessions.get(&session)) else { return Ok(()) };
        let mut role = held.role.clone();
        let ticket = role.ticket().hash();
        let mut ledger = holder.ledgers.get(&ticket).cloned();
        let elsewhere = holder.slots_outside(session);
        let what = describe(&input, |peer| self.by_peer.get(&peer).copied());
        let hands_over = matches!(input, Input::HandOver(_));
        let removes = if let Input::Remove(peer) = &input { Some(*peer) } else { None };
        let mut context = Context {
            identity: &holder.identity,
            me: &holder.contact,
            now: holder.clock.shows(self.now),
            random: Randomness::new(seed),
            ledger: &mut ledger,
            elsewhere: &elsewhere,
            billing: &[],
        };
        let outputs = role.handle(input, &mut context)?;
        self.trace.note(
            self.now,
            format_args!("node {node} {}: {what}, {} outputs", name_of(session), outputs.len()),
        );
        let is_proof = |output: &Output| matches!(output, Output::Cheat(_));
        if self.bug == Some(Bug::ProofIgnored) && outputs.iter().any(is_proof) {
            return Ok(());
        }
        let doom = holder.doom.take();
        if doom == Some(Doom::BeforeDisk) {
            self.crash(node);
            return Ok(());
        }

        if self.is_not_written(node) {
            return self.go_on_unwritten(node, session, role, outputs);
        }
        let holder = &mut self.nodes[node];

        // To disk, all of it together.
        let before = match holder.sessions.get_mut(&session) {
            Some(held) => {
                held.written = None;
                std::mem::replace(&mut held.role, role)
            }
            None => return Ok(()),
        };
        if let Some(ledger) = ledger {
            holder.ledgers.insert(ticket, ledger);
        }
        for output in &outputs {
            match output {
                Output::Receipt(item) => {
                    let (right, receipt) = (item.0.to_signed(), item.1.to_signed());
                    holder.outbox.insert(item.1.hash(), (right, receipt));
                    self.truth.receipts.insert(item.1.hash(), item.1.member);
                }
                Output::Released(item) => {
                    let (right, release) = (item.0.to_signed(), item.1.to_signed());
                    holder.links.insert(item.1.hash(), (right, release));
                }
                Output::Cheat(proof) => holder.proofs.push((**proof).clone()),
                _ => {}
            }
        }
        if hands_over {
            self.truth.handed_over.insert(session);
        }
        self.truth.removed.extend(removes.map(|peer| (session, peer)));
        self.check_step(node, session, &before, &outputs);
        self.carry_out(node, session, outputs, doom);
        Ok(())
    }

    /// Whether what `node` writes now fails.
    pub(super) fn is_not_written(&mut self, node: usize) -> bool {
        let holder = &mut self.nodes[node];
        if holder.full {
            holder.failed_writes += 1;
            self.counts("writes that failed");
        }
        self.nodes[node].full
    }

    /// The disk took nothing of the step: it never was. Its time comes again.
    fn go_on_unwritten(
        &mut self,
        node: usize,
        session: SessionId,
        role: Role,
        outputs: Vec<Output>,
    ) -> Result<(), StepError> {
        self.trace.note(self.now, format_args!("node {node} {}: the disk is full", name_of(session)));
        let (at, life) = (self.now + TRIES_AGAIN, self.nodes[node].life);
        if let Some(held) = self.nodes[node].sessions.get_mut(&session) {
            held.run.tick_at = Some(at);
            self.queue.push(at, Event::Tick { node, session, life });
            if self.bug == Some(Bug::FullDiskIgnored) {
                let before = std::mem::replace(&mut held.role, role);
                held.written.get_or_insert(before);
                self.carry_out(node, session, outputs, None);
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, node: usize, session: SessionId, mut outputs: Vec<Output>, doom: Option<Doom>) {
        self.doctor(node, &mut outputs);
        let until = match doom {
            Some(Doom::AfterOutputs(many)) => many,
            _ => outputs.len(),
        };
        for output in outputs.into_iter().take(until) {
            self.carry_out_one(node, session, output);
        }
        if doom.is_some() {
            self.crash(node);
        } else {
            self.reconcile(node, session);
        }
    }

    fn carry_out_one(&mut self, node: usize, session: SessionId, output: Output) {
        match output {
            Output::Send { to, term, mut first, messages } => {
                let claims = matches!(messages.first(), Some(Message::Claim(_)));
                if claims && self.bug == Some(Bug::ClaimsDropped) {
                    return;
                }
                if self.bug == Some(Bug::NumbersReset) && self.nodes[node].life > 0 {
                    first = 0;
                }
                if let Some(to) = self.by_peer.get(&to).copied() {
                    self.send(node, to, session, Load::Messages { term, first, messages });
                }
            }
            Output::Entered(keys) => self.enter(node, session, &keys),
            Output::PullCommits { after, ahead } => self.pull_commits(node, session, after, ahead),
            Output::AskVote { of, request } => {
                if let Some(of) = self.by_peer.get(&of).copied() {
                    self.send(node, of, session, Load::Ask(request));
                }
            }
            Output::Refused { .. } => {}
            Output::Receipt(_) | Output::Released(_) => self.post_receipts(node),
            Output::Cheat(proof) => self.found_cheat(node, session, &proof),
        }
    }

    /// The host; if that is out of reach, whoever is known to be ahead, or another member.
    fn pull_commits(&mut self, node: usize, session: SessionId, after: u64, ahead: Option<PeerId>) {
        let near = self.in_reach(node);
        let Some(role) = self.nodes[node].role(session) else { return };
        let Some(member) = role.as_member() else { return };
        let near_node = |peer: PeerId| self.by_peer.get(&peer).copied().filter(|at| near.contains(at));
        let host = near_node(member.host().peer);
        let ahead = ahead.and_then(near_node);
        let others: Vec<usize> =
            self.group_of(node, session).into_iter().filter(|at| near.contains(at)).collect();
        let to = match host {
            Some(host) if !self.dice.chance(200) => Some(host),
            _ => ahead.or_else(|| self.dice.pick(&others)).or(host),
        };
        if let Some(to) = to {
            self.send(node, to, session, Load::Pull { after });
        }
    }

    /// Who is in the group, as `node` has it; without itself.
    pub(super) fn group_of(&self, node: usize, session: SessionId) -> Vec<usize> {
        let group = self.nodes[node].role(session).and_then(|role| role.group()).unwrap_or_default();
        group.iter().filter_map(|contact| self.by_peer.get(&contact.peer).copied()).collect()
    }

    /// What the node should be doing now is read off the machine, and the difference made up.
    pub(super) fn reconcile(&mut self, node: usize, session: SessionId) {
        if !self.nodes[node].up {
            return;
        }
        self.reconcile_lanes(node, session);
        let (now, calm, life) = (self.now, self.calm, self.nodes[node].life);
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        let member = held.role.as_member();
        let fetches = member.is_some_and(|member| member.fetches().is_some());
        let asked = member.is_some_and(|member| member.state() == MemberState::Invited);
        let begins_fetching = fetches && !std::mem::replace(&mut held.run.fetching, fetches);
        let is_asked = asked && !std::mem::replace(&mut held.run.asked, asked);
        if begins_fetching {
            let takes = self.dice.between(100, if calm { 2_000 } else { 60_000 });
            self.queue.push(now + takes, Event::Fetched { node, session, life });
        }
        if is_asked {
            let takes = self.dice.between(100, if calm { 2_000 } else { 90_000 });
            self.queue.push(now + takes, Event::Wish(Wish::Answer { node, session }));
        }
        self.set_timer(node, session);
        self.give_back(node);
    }

    /// A slot that was to be given back goes with the last session that used it.
    fn give_back(&mut self, node: usize) {
        let holder = &self.nodes[node];
        let due = |(id, held): (&SessionId, &super::node::Session)| {
            let member = held.role.as_member().filter(|member| member.gives_back())?;
            (!holder.uses_slot(member.ticket().hash(), *id)).then_some(*id)
        };
        let due: Vec<_> = holder.sessions.iter().filter_map(due).collect();
        for session in due {
            self.input(node, session, Input::Discard);
        }
    }

    pub(super) fn set_timer(&mut self, node: usize, session: SessionId) {
        let now = self.now;
        let holder = &mut self.nodes[node];
        let (life, clock) = (holder.life, holder.clock);
        let Some(held) = holder.sessions.get_mut(&session).filter(|_| holder.up) else { return };
        let Some(due) = held.role.due() else { return };
        let at = clock.when(due, now);
        if held.run.tick_at.is_none_or(|set| at < set || set <= now) {
            held.run.tick_at = Some(at);
            self.queue.push(at, Event::Tick { node, session, life });
        }
    }

    pub(super) fn tick(&mut self, node: usize, session: SessionId) {
        let shown = self.nodes[node].clock.shows(self.now);
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        if held.run.tick_at.is_none_or(|at| at > self.now) {
            return;
        }
        held.run.tick_at = None;
        if held.role.due().is_some_and(|due| due <= shown) {
            self.input(node, session, Input::Tick);
        } else {
            self.set_timer(node, session);
        }
    }

    pub(super) fn fetched(&mut self, node: usize, session: SessionId) {
        let fails = !self.calm && self.dice.chance(20);
        let Some(held) = self.nodes[node].sessions.get_mut(&session) else { return };
        held.run.fetching = false;
        if held.role.as_member().is_none_or(|member| member.fetches().is_none()) {
            return;
        }
        let input = if fails { Input::ReceptionFailed("no space left".to_owned()) } else { Input::Received };
        self.input(node, session, input);
    }
}

/// A session in the trace.
pub(super) fn name_of(session: SessionId) -> char {
    char::from(b'a' + session.0[0] % 26)
}

fn describe(input: &Input, node_of: impl Fn(PeerId) -> Option<usize>) -> String {
    let who = |peer: &PeerId| node_of(*peer).map_or("a stranger".to_owned(), |node| format!("node {node}"));
    let what = name(input);
    match input {
        Input::Message { from, term, first, messages } => {
            let kinds: Vec<_> = messages.iter().map(kind).collect();
            format!("{what} from {} in term {term}, {first}: {}", who(from), kinds.join(" "))
        }
        Input::Taken { from, term, next } => format!("{what} by {} in term {term} below {next}", who(from)),
        Input::Rejected { from, why, .. } => format!("{what} by {}: {why}", who(from)),
        Input::Reachable(peer) | Input::Remove(peer) | Input::HandOver(peer) => {
            format!("{what} {}", who(peer))
        }
        Input::Commits { from, answer } => {
            format!("{what} from {}: {} to {:x}", who(from), answer.changes.len(), answer.newest)
        }
        Input::Behind(epoch) => format!("{what} {epoch:x}"),
        Input::VoteAsked { from, request } => format!("{what} by {} for term {}", who(from), request.term),
        Input::VoteAnswered { from, answer } => {
            let yes = matches!(answer, parlor_proto::session::VoteResponse::Granted { .. });
            format!("{what} by {}: {}", who(from), if yes { "yes" } else { "no" })
        }
        _ => what.to_owned(),
    }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Invite(_) => "Invite",
        Message::Accept(_) => "Accept",
        Message::Decline(_) => "Decline",
        Message::Grant(_) => "Grant",
        Message::Refuse(_) => "Refuse",
        Message::Ready => "Ready",
        Message::Fail(_) => "Fail",
        Message::Roster(_) => "Roster",
        Message::Start => "Start",
        Message::Started => "Started",
        Message::Suspend => "Suspend",
        Message::Resume => "Resume",
        Message::Leave => "Leave",
        Message::Release(_) => "Release",
        Message::Remove => "Remove",
        Message::End => "End",
        Message::Keys(_) => "Keys",
        Message::Offer(_) => "Offer",
        Message::Welcome(_) => "Welcome",
        Message::HandOver(_) => "HandOver",
        Message::Claim(_) => "Claim",
    }
}

fn name(input: &Input) -> &'static str {
    match input {
        Input::Message { .. } => "hears",
        Input::Taken { .. } => "is taken",
        Input::Rejected { .. } => "is rejected",
        Input::Reachable(_) => "reaches",
        Input::Commits { .. } => "gets commits",
        Input::Behind(_) => "is behind",
        Input::VoteAsked { .. } => "is asked for its vote",
        Input::VoteAnswered { .. } => "is answered",
        Input::Invite(_) => "invites",
        Input::OfferLink { .. } => "makes a link",
        Input::OpenLink { .. } => "has a link opened",
        Input::Remove(_) => "removes",
        Input::Start => "starts the session",
        Input::End => "ends it",
        Input::HandOver(_) => "hands over to",
        Input::Accept => "accepts",
        Input::Decline(_) => "declines",
        Input::Leave => "leaves",
        Input::Discard => "discards",
        Input::DiscardLater => "discards later",
        Input::Suspend => "suspends",
        Input::Resume => "resumes",
        Input::Received => "has received",
        Input::ReceptionFailed(_) => "could not receive",
        Input::Restarted => "restarts",
        Input::Tick => "ticks",
    }
}
