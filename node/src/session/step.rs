//! The four moves of every step: the machine, the disk, the network, and those who watch.

use std::{collections::BTreeSet, sync::Arc};

use parlor_proto::{
    identity::PeerId,
    ids::{SessionId, SlotHash},
    rights::Ledger,
    session::{self, Input, Output, Randomness},
    wire::{Request, Response, SessionRequest, SessionResponse},
};

use super::{
    Command,
    driver::{Driver, SessionError},
    view,
};
use crate::{
    clock,
    context::Event,
    overlay::RequestError,
    store::{SessionRecord, StoreError},
};

/// What became of messages that were sent.
pub(super) struct Delivery {
    session: SessionId,
    term: u32,
    to: PeerId,
    result: Result<SessionResponse, RequestError>,
}

impl Driver {
    /// Whether it went well.
    pub(super) async fn input_or_log(&mut self, session: SessionId, input: Input) -> bool {
        let done = self.input(session, input).await;
        if let Err(error) = &done {
            tracing::warn!(%session, %error, "a step of a session failed");
        }
        done.is_ok()
    }

    /// The four moves of every step.
    pub(super) async fn input(&mut self, session: SessionId, input: Input) -> Result<(), SessionError> {
        let outputs = self.step(session, input).await?;
        for output in outputs {
            self.carry_out(session, output).await;
        }
        self.reconcile(session).await;
        self.tell_changes(session).await;
        Ok(())
    }

    /// The machine's step, and all of it on disk in one transaction. On failure nothing has changed.
    pub(super) async fn step(
        &mut self,
        session: SessionId,
        input: Input,
    ) -> Result<Vec<Output>, SessionError> {
        let (context, now) = (Arc::clone(&self.context), clock::now());
        let me = context.contact().await?;
        let elsewhere = &self.slots_outside(session);
        let run = self.runs.get_mut(&session).ok_or(SessionError::NoSuchSession(session))?;
        let mut record = run.record.clone();
        let ticket = record.role.ticket();
        let mut ledger =
            if may_touch_ledger(&input) { context.store.ledger(ticket.hash()).await? } else { None };
        let before = ledger.clone();
        // Nothing but an invitation says where billing is.
        let billing = match &input {
            Input::Invite(_) | Input::OpenLink { .. } => context.places_of(&ticket.billing).await?,
            _ => Vec::new(),
        };
        let mut surroundings = session::Context {
            identity: &context.identity,
            me: &me,
            now,
            random: Randomness::new(rand::random()),
            ledger: &mut ledger,
            elsewhere,
            billing: &billing,
        };
        let outputs = record.role.handle(input, &mut surroundings)?;
        record.ended = record.role.is_settled();
        // Slots that have not changed need no writing.
        let changed_ledger = ledger.filter(|ledger| before.as_ref() != Some(ledger));
        self.commit(record, changed_ledger, outputs).await
    }

    /// Slots by which members are in this host's other sessions.
    pub(super) fn slots_outside(&self, session: SessionId) -> BTreeSet<SlotHash> {
        let others = self.runs.values().map(|run| &run.record).filter(|record| record.session != session);
        let hosts = others.filter_map(|record| record.role.as_host());
        hosts.flat_map(|host| host.slots_in_use()).collect()
    }

    pub(super) async fn commit(
        &mut self,
        record: SessionRecord,
        ledger: Option<Ledger>,
        outputs: Vec<Output>,
    ) -> Result<Vec<Output>, SessionError> {
        let (context, now) = (&self.context, clock::now());
        let mut write = context.store.write().await?;
        context.store.put_session(&mut write, &record).await?;
        if let Some(ledger) = &ledger {
            // Copies that were handed over to this node have no book here yet.
            context.store.add_ledger(&mut write, ledger, now).await?;
            context.store.put_ledger(&mut write, ledger).await?;
        }
        for output in &outputs {
            match output {
                Output::Receipt(item) => context.outbox.enqueue(&mut write, &item.0, &item.1, now).await?,
                Output::Released(item) => {
                    context.outbox.enqueue_link(&mut write, &item.0, &item.1, now).await?;
                }
                Output::Cheat(proof) => {
                    context.store.keep_cheat(&mut write, proof, now).await?;
                }
                Output::Send { .. }
                | Output::Entered(_)
                | Output::Refused { .. }
                | Output::PullCommits { .. }
                | Output::AskVote { .. } => {}
            }
        }
        write.commit().await.map_err(StoreError::from)?;
        if let Some(run) = self.runs.get_mut(&record.session) {
            run.record = record;
        }
        Ok(outputs)
    }

    pub(super) async fn carry_out(&mut self, session: SessionId, output: Output) {
        match output {
            Output::Send { to, term, first, messages } => {
                self.send(to, SessionRequest { session, term, first, messages });
            }
            Output::Entered(keys) => {
                // The keys of before are to be gone from the disk.
                self.context.store.tidy_soon();
                self.enter(session, keys);
            }
            Output::PullCommits { after, ahead } => self.pull_commits(session, after, ahead),
            Output::AskVote { of, request } => self.ask_vote(of, request),
            Output::Refused { from, what } => self.oddities.tell(session, from, what.into()),
            Output::Receipt(_) | Output::Released(_) => self.context.outbox.wake(),
            Output::Cheat(proof) => {
                tracing::warn!(%session, host = %proof.host(), "the host gave one slot to two members");
                self.context.tell(Event::Cheat { session, host: proof.host() });
            }
        }
    }

    /// One delivery a peer at a time; the channel repeats what is not taken.
    fn send(&mut self, to: PeerId, request: SessionRequest) {
        let (session, term) = (request.session, request.term);
        if !self.in_flight.insert((session, to)) {
            return;
        }
        let Some(commands) = self.commands.upgrade() else { return };
        let overlay = self.context.overlay.clone();
        tokio::spawn(async move {
            let result =
                overlay.request(to, Request::Session(request)).await.map(|response| match response {
                    Response::Session(response) => response,
                    // The overlay answers a request with a response of its protocol.
                    _ => SessionResponse::Later,
                });
            // Fails only while the node stops.
            let _ = commands.send(Command::Sent(Delivery { session, term, to, result })).await;
        });
    }

    pub(super) async fn sent(&mut self, delivery: Delivery) {
        let Delivery { session, term, to: from, result } = delivery;
        self.in_flight.remove(&(session, from));
        let input = match result {
            Ok(SessionResponse::Taken { next }) => Input::Taken { from, term, next },
            Ok(SessionResponse::Rejected(why)) => Input::Rejected { from, term, why },
            // The channel tries again by itself.
            Ok(SessionResponse::Later) => return,
            Err(error) => {
                tracing::debug!(%session, to = ?from, %error, "messages were not delivered");
                return;
            }
        };
        self.input_or_log(session, input).await;
    }

    /// Those who watch hear of every state that changed.
    pub(super) async fn tell_changes(&mut self, session: SessionId) {
        let Some(run) = self.runs.get_mut(&session) else { return };
        let (state, members) = view::states(&run.record, run.doing.group.as_ref());
        let why = view::why(&run.record);
        let before = std::mem::replace(&mut run.told, (state, members.clone()));
        let term = run.record.role.term();
        if std::mem::replace(&mut run.told_term, term) != term {
            let host = run.record.role.as_member().map(|member| member.host().clone());
            let (peer, own_name) = match host {
                Some(host) => (host.peer, host.name),
                None => (self.context.me(), self.context.nickname.clone()),
            };
            tracing::info!(%session, %peer, term, "somebody else is host now");
            let name = self.context.name_of(peer, &own_name).await;
            self.context.tell(Event::Host { session, peer, name, term });
        }
        let names = view::names(&run.record);
        for (peer, state) in members {
            if before.1.get(&peer) != Some(&state) {
                let own_name = names.get(&peer).map(String::as_str).unwrap_or_default();
                let name = self.context.name_of(peer, own_name).await;
                self.context.tell(Event::Member { session, peer, name, state });
            }
        }
        if before.0 != state {
            // By itself: a member that the user takes out gives no reason.
            if let ("left" | "failed", Some(why)) = (state, &why) {
                tracing::warn!(%session, state, why, "this node is out of the session");
            }
            self.context.tell(Event::State { session, state, why });
            self.sweep(session).await;
        }
    }
}

/// Whether copies may be given out, come back or be handed on: to read the whole book takes its time.
fn may_touch_ledger(input: &Input) -> bool {
    matches!(
        input,
        Input::Invite(_)
            | Input::OpenLink { .. }
            | Input::Message { .. }
            | Input::HandOver(_)
            | Input::VoteAsked { .. }
    )
}
