//! One part's task: from what it put aside last, through what happens, to its end.

use std::{path::PathBuf, sync::Arc};

use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    task::JoinHandle,
};

use super::{Around, Part, Speaker, link::Told, tell_stopped};
use crate::{
    context::Context,
    group::Group,
    runtime::{
        agent::{Agent, Content, Event, Limits, Stopped, Suspended, Update},
        update,
    },
    store::{AgentState, StoreError, StoredUpdate},
};

/// What waits for a part of what its own node says.
pub(super) const QUEUE: usize = 64;
/// Updates read at a time.
const BATCH: usize = 64;

/// How a part is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Order {
    /// It puts its state aside, and goes on from there another time.
    Suspend,
    /// For good.
    End,
}

/// What is to be run.
pub(super) struct Job {
    pub(super) part: Part,
    pub(super) component: PathBuf,
    pub(super) limits: Limits,
    pub(super) around: Arc<Around>,
    pub(super) context: Arc<Context>,
    /// What its own node says; from before it is loaded.
    pub(super) inbox: mpsc::Receiver<Told>,
    /// Who has to end first: one part's state has one writer.
    pub(super) before: Vec<JoinHandle<()>>,
}

/// Why a part does not go on.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("its state cannot be kept: {0}")]
    Store(#[from] StoreError),
}

impl Job {
    pub(super) async fn run(mut self, orders: mpsc::Receiver<Order>) {
        for before in self.before.drain(..) {
            // It has put its state aside, or panicked.
            let _ = before.await;
        }
        if let Err(fault) = self.live(orders).await {
            tell_stopped(&self.context, &self.around, self.part, fault.to_string());
        }
    }

    async fn live(&mut self, mut orders: mpsc::Receiver<Order>) -> Result<(), Fault> {
        let Some(group) = self.around.group() else { return Ok(()) };
        let (link, sandbox) = (self.around.link(), &self.context.sandbox);
        let (mut realtime, mut local) = (group.realtime(), link.realtime());
        let kept = self.context.store.agent_state(group.session(), self.part.as_str()).await?;
        let mut taken = kept.as_ref().map_or(0, |kept| kept.serial);
        let around = Arc::clone(&self.around);
        let component = self.component.clone();
        let agent = sandbox.start(component, around, self.limits.clone(), kept.map(|kept| kept.state));
        let weak = group.downgrade();
        let mut newest = group.newest();
        newest.mark_changed();
        let own = group.address_of(group.me());
        drop(group);
        loop {
            tokio::select! {
                stopped = agent.stopped() => return Err(stopped.into()),
                order = orders.recv() => return self.obey(order, &agent, taken).await,
                Some(told) = self.inbox.recv() => tell(&agent, told).await?,
                Ok(()) = newest.changed() => {
                    let Some(group) = weak.upgrade() else { return Ok(()) };
                    taken = self.catch_up(&group, &agent, taken).await?;
                }
                // Too slow for it: lost, as this kind of message may be.
                heard = realtime.recv() => match heard {
                    Ok(message) => if let Some(group) = weak.upgrade() {
                        let sender = group.address_of(message.sender);
                        let _ = agent.try_tell(Event::Message { sender, data: message.data });
                    },
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
                heard = local.recv() => if let Ok((speaker, data)) = heard && speaker != Speaker::Part(self.part) {
                    let _ = agent.try_tell(Event::Message { sender: own.clone(), data });
                },
            }
        }
    }

    /// The updates that it has not taken; the new `taken`.
    async fn catch_up(&self, group: &Group, agent: &Agent, mut taken: u64) -> Result<u64, Fault> {
        loop {
            let updates = group.updates_after(taken, BATCH).await?;
            if updates.is_empty() {
                return Ok(taken);
            }
            for stored in updates {
                let is_checkpoint = stored.counts;
                taken = stored.serial;
                agent.tell(Event::Update(update_of(group, &stored))).await?;
                if is_checkpoint {
                    self.put_aside(agent, taken).await?;
                }
            }
        }
    }

    async fn obey(&self, order: Option<Order>, agent: &Agent, taken: u64) -> Result<(), Fault> {
        match order {
            Some(Order::Suspend) => self.put_aside(agent, taken).await,
            Some(Order::End) => {
                agent.end().await;
                Ok(())
            }
            // The driver is gone: the node was killed, as far as this is concerned.
            None => Ok(()),
        }
    }

    async fn put_aside(&self, agent: &Agent, taken: u64) -> Result<(), Fault> {
        let Suspended { state, .. } = agent.suspend().await?;
        let state = AgentState { state, serial: taken };
        self.context.store.put_agent_state(self.around.session(), self.part.as_str(), &state).await?;
        Ok(())
    }
}

/// In order; that it was taken is told later.
async fn tell(agent: &Agent, Told { event, taken }: Told) -> Result<(), Stopped> {
    let handed = agent.hand(event).await?;
    if let Some(taken) = taken {
        tokio::spawn(async move {
            if let Ok(is_written) = handed.await {
                // Who asked does not wait any more: no harm done.
                let _ = taken.send(is_written);
            }
        });
    }
    Ok(())
}

fn update_of(group: &Group, stored: &StoredUpdate) -> Update {
    let content = update::shown(&stored.update.payload).0;
    Update {
        serial: stored.serial,
        sender: group.address_of(stored.update.sender()),
        is_own: stored.update.sender() == group.me(),
        content: Content {
            payload: content.payload.get().to_owned(),
            info: content.info,
            document: content.document,
            summary: content.summary,
        },
    }
}
