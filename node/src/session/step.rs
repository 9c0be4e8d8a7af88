//! The four moves of every step: the machine, the disk, the network, and those who watch.

use std::{collections::BTreeSet, sync::Arc};

use parlor_proto::{
    identity::PeerId,
    ids::{SessionId, SlotHash},
    rights::{Ledger, Receipt, Right, Verified},
    session::{
        Host, HostInput, HostOutput, MemberInput, MemberOutput, Message, host::HostContext,
        member::MemberContext,
    },
    wire::{Request, Response, SessionRequest, SessionResponse},
};

use super::{
    Command,
    driver::{Driver, SessionError},
    view,
};
use crate::{
    clock,
    context::{Context, Event},
    overlay::RequestError,
    store::{SessionRecord, SessionRole, StoreError},
};

/// What became of messages that were sent.
pub(super) struct Delivery {
    session: SessionId,
    to: PeerId,
    result: Result<SessionResponse, RequestError>,
}

/// What one step asks for besides a changed machine.
pub(super) enum Output {
    Send { to: PeerId, first: u64, messages: Vec<Message> },
    Receipt(Box<(Right, Verified<Receipt>)>),
    Cheat(Box<parlor_proto::rights::EquivocationProof>),
}

/// An input for either kind of machine.
pub(super) enum Input {
    Host(HostInput),
    Member(MemberInput),
}

impl Driver {
    /// Whether it went well.
    pub(super) async fn input_or_log(&mut self, session: SessionId, host: Input, member: Input) -> bool {
        let is_host =
            matches!(self.runs.get(&session).map(|run| &run.record.role), Some(SessionRole::Host(_)));
        let done = self.input(session, if is_host { host } else { member }).await;
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
        let me = context.contact().await;
        let elsewhere = &self.slots_outside(session);
        let run = self.runs.get_mut(&session).ok_or(SessionError::NoSuchSession(session))?;
        let mut record = run.record.clone();
        let mut changed_ledger = None;
        let outputs: Vec<Output> = match (&mut record.role, input) {
            (SessionRole::Host(host), Input::Host(input)) => {
                let mut ledger = load_ledger(&context, host).await?;
                let before = ledger.clone();
                // Nothing but an invitation says where billing is.
                let billing = match &input {
                    HostInput::Invite(_) => context.places_of(&host.ticket().billing).await,
                    _ => Vec::new(),
                };
                let (identity, billing) = (&context.identity, billing.as_slice());
                let mut surroundings =
                    HostContext { identity, ledger: &mut ledger, elsewhere, me: &me, billing, now };
                let outputs = host.handle(input, &mut surroundings)?;
                record.ended = host.is_settled();
                // Slots that have not changed need no writing.
                changed_ledger = (ledger != before).then_some(ledger);
                outputs.into_iter().map(Output::from).collect()
            }
            (SessionRole::Member(member), Input::Member(input)) => {
                let surroundings = MemberContext { identity: &context.identity, me: &me, now };
                let outputs = member.handle(input, &surroundings)?;
                record.ended = member.state().is_final() && member.due().is_none();
                outputs.into_iter().map(Output::from).collect()
            }
            (SessionRole::Host(_), Input::Member(_)) => return Err(SessionError::NotMember),
            (SessionRole::Member(_), Input::Host(_)) => return Err(SessionError::NotHost),
        };
        self.commit(record, changed_ledger, outputs).await
    }

    /// Slots by which members are in this host's other sessions.
    pub(super) fn slots_outside(&self, session: SessionId) -> BTreeSet<SlotHash> {
        let others = self.runs.values().map(|run| &run.record).filter(|record| record.session != session);
        let hosts = others.filter_map(|record| match &record.role {
            SessionRole::Host(host) => Some(host),
            SessionRole::Member(_) => None,
        });
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
            context.store.put_ledger(&mut write, ledger).await?;
        }
        for output in &outputs {
            match output {
                Output::Receipt(item) => context.outbox.enqueue(&mut write, &item.0, &item.1, now).await?,
                Output::Cheat(proof) => {
                    let (ticket, host) = (proof.ticket().to_string(), proof.host().to_string());
                    context.store.keep_cheat(&mut write, &ticket, &host, now, &proof.encode()).await?;
                }
                Output::Send { .. } => {}
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
            Output::Send { to, first, messages } => self.send(session, to, first, messages).await,
            Output::Receipt(_) => self.context.outbox.wake(),
            Output::Cheat(proof) => {
                tracing::warn!(%session, host = %proof.host(), "the host gave one slot to two members");
                self.context.tell(Event::Cheat { session, host: proof.host() });
            }
        }
    }

    /// One delivery a peer at a time; the channel repeats what is not taken.
    pub(super) async fn send(&mut self, session: SessionId, to: PeerId, first: u64, messages: Vec<Message>) {
        if !self.in_flight.insert((session, to)) {
            return;
        }
        let Some(commands) = self.commands.upgrade() else { return };
        let overlay = self.context.overlay.clone();
        tokio::spawn(async move {
            let request = Request::Session(SessionRequest { session, first, messages });
            let result = overlay.request(to, request).await.map(|response| match response {
                Response::Session(response) => response,
                // The overlay answers a request with a response of its protocol.
                _ => SessionResponse::Later,
            });
            // Fails only while the node stops.
            let _ = commands.send(Command::Sent(Delivery { session, to, result })).await;
        });
    }

    pub(super) async fn sent(&mut self, delivery: Delivery) {
        let Delivery { session, to: from, result } = delivery;
        self.in_flight.remove(&(session, from));
        let (host, member) = match result {
            Ok(SessionResponse::Taken { next }) => {
                (HostInput::Taken { from, next }, MemberInput::Taken { next })
            }
            Ok(SessionResponse::Rejected(why)) => {
                (HostInput::Rejected { from, why: why.clone() }, MemberInput::Rejected { why })
            }
            // The channel tries again by itself.
            Ok(SessionResponse::Later) => return,
            Err(error) => {
                tracing::debug!(%session, to = ?from, %error, "messages were not delivered");
                return;
            }
        };
        self.input_or_log(session, Input::Host(host), Input::Member(member)).await;
    }

    /// Those who watch hear of every state that changed.
    pub(super) async fn tell_changes(&mut self, session: SessionId) {
        let Some(run) = self.runs.get_mut(&session) else { return };
        let (state, members) = view::states(&run.record, run.doing.group.as_ref());
        let why = view::why(&run.record);
        let before = std::mem::replace(&mut run.told, (state, members.clone()));
        let names = view::names(&run.record);
        for (peer, state) in members {
            if before.1.get(&peer) != Some(&state) {
                let own_name = names.get(&peer).map(String::as_str).unwrap_or_default();
                let name = self.context.name_of(peer, own_name).await;
                self.context.tell(Event::Member { session, peer, name, state });
            }
        }
        if before.0 != state {
            self.context.tell(Event::State { session, state, why });
            self.sweep(session).await;
        }
    }
}

async fn load_ledger(context: &Context, host: &Host) -> Result<Ledger, SessionError> {
    context.store.ledger(host.ticket().hash()).await?.ok_or(SessionError::NoTicket)
}

impl From<HostOutput> for Output {
    fn from(output: HostOutput) -> Self {
        match output {
            HostOutput::Send { to, first, messages } => Self::Send { to, first, messages },
            HostOutput::Receipt(item) => Self::Receipt(item),
        }
    }
}

impl From<MemberOutput> for Output {
    fn from(output: MemberOutput) -> Self {
        match output {
            MemberOutput::Send { to, first, messages } => Self::Send { to, first, messages },
            MemberOutput::Receipt(item) => Self::Receipt(item),
            MemberOutput::Cheat(proof) => Self::Cheat(proof),
        }
    }
}
