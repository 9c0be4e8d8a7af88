//! One group behind the gate: its gossipsub, its members, and the lane to each.
//!
//! For: settings of gossipsub, and what is let through: messages of members, to members, no more of each than it may
//! say. Not for: connections (see the behaviour) and streams (see the handler).
//!
//! The idea of the last: what this node passes on costs it as many copies as it has neighbours, so it is counted by author
//! and before it is passed on, whoever brought it. What is too much goes no further, and is not the fault of who brought it.

use std::{
    collections::{HashMap, HashSet},
    task::{Context, Poll},
};

use bytes::Bytes;
use libp2p::{
    PeerId,
    core::ConnectedPoint,
    gossipsub::{
        Event as GossipEvent, IdentTopic, Message, MessageAcceptance, MessageId,
        PublishError as GossipPublishError,
    },
    identity::Keypair,
    swarm::{
        ConnectionId, FromSwarm, NetworkBehaviour, THandlerInEvent, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
    },
};
use parlor_proto::{
    group::{
        lanes::Lane as Kind,
        rate::{Allowance, Limits},
    },
    ids::SessionId,
};

use super::{
    gossip::{Gossip, gossip},
    queue::{self, Fate, Receiver},
    realtime,
    trace::{Refusal, Refusals},
    upgrade::GossipHandler,
};
use crate::clock;

/// Largest payload of one message, bytes.
pub(crate) const MAX_PAYLOAD: usize = 128 * 1024;
/// What the gate tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A member said something. Its membership has been checked, and its signature, or that it is the one at
    /// the other end of the connection.
    Message { session: SessionId, author: PeerId, payload: Bytes },
    /// Messages reach this member now (directly), or no longer do.
    Presence { session: SessionId, peer: PeerId, present: bool },
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PublishError {
    /// This group is not open here.
    #[error("this group is not open on this node")]
    NoGroup,
    /// More than [`MAX_PAYLOAD`].
    #[error("a message of {0} bytes is too large: at most {MAX_PAYLOAD} are allowed")]
    TooLarge(usize),
    /// No member is connected.
    #[error("no other member of the group is connected")]
    Alone,
    /// All members are slower than this node sends.
    #[error("the group cannot take messages this fast: try again")]
    Full,
}

/// One group.
pub(crate) struct Group {
    session: SessionId,
    gossip: Gossip,
    topic: IdentTopic,
    pub(super) members: HashSet<PeerId>,
    /// The lane to each member that has one. At most one each.
    lanes: HashMap<PeerId, Lane>,
    /// Members that have announced themselves over their lane.
    present: HashSet<PeerId>,
    /// What each member may still say over gossip, by kind.
    allowances: HashMap<PeerId, [Allowance; Kind::ALL.len()]>,
    /// What gossipsub logs, it logs in the name of this group.
    span: tracing::Span,
    refusals: Refusals,
}

/// Where a member's lane runs.
pub(crate) struct Lane {
    pub(super) connection: ConnectionId,
    /// Tells this lane from earlier ones on the same connection.
    pub(super) generation: u64,
    endpoint: ConnectedPoint,
    /// What goes over the direct path beside the lane.
    pub(super) realtime: queue::Sender,
}

impl Group {
    pub(super) fn new(session: SessionId, keypair: &Keypair) -> Self {
        let topic = IdentTopic::new(session.to_string());
        let gossip = gossip(&topic, keypair);
        let span = tracing::warn_span!("group", %session);
        let (members, lanes, present, allowances, refusals) = Default::default();
        Self { session, gossip, topic, members, lanes, present, allowances, span, refusals }
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// It is a member no more. Whether it was one.
    pub(super) fn put_out(&mut self, peer: &PeerId) -> bool {
        self.allowances.remove(peer);
        self.members.remove(peer)
    }

    pub(super) fn lane(&self, peer: &PeerId) -> Option<&Lane> {
        self.lanes.get(peer)
    }

    /// Whether `generation` is that of the member's present lane.
    pub(super) fn is_current(&self, peer: &PeerId, generation: u64) -> bool {
        self.lanes.get(peer).is_some_and(|lane| lane.generation == generation)
    }

    /// Gossipsub hears of the member: a new connection, as far as it knows.
    pub(super) fn attach(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        generation: u64,
    ) -> Option<(Box<GossipHandler>, Receiver)> {
        let handler = match endpoint {
            ConnectedPoint::Dialer { address, role_override, port_use } => self
                .gossip
                .handle_established_outbound_connection(connection, peer, address, *role_override, *port_use),
            ConnectedPoint::Listener { local_addr, send_back_addr } => self
                .gossip
                .handle_established_inbound_connection(connection, peer, local_addr, send_back_addr),
        };
        // Gossipsub denies no connection.
        let handler = handler.ok()?;
        self.gossip.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id: connection,
            endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
        let (realtime, queue) = queue::queue();
        self.lanes.insert(peer, Lane { connection, generation, endpoint: endpoint.clone(), realtime });
        Some((Box::new(handler), queue))
    }

    /// Gossipsub hears that the member is gone. Where the lane ran, if there was one.
    pub(super) fn detach(&mut self, peer: PeerId) -> Option<ConnectionId> {
        let lane = self.lanes.remove(&peer)?;
        self.gossip.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: peer,
            connection_id: lane.connection,
            endpoint: &lane.endpoint,
            cause: None,
            remaining_established: 0,
        }));
        Some(lane.connection)
    }

    /// From the member's lane.
    pub(super) fn on_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: libp2p::swarm::THandlerOutEvent<Gossip>,
    ) {
        let Self { gossip, span, .. } = self;
        span.in_scope(|| gossip.on_connection_handler_event(peer, connection, event));
    }

    /// Something that came from or through this peer was not let through.
    pub(super) fn refuse(&mut self, peer: PeerId, what: Refusal) {
        self.refusals.tell(self.session, peer, what);
    }

    /// To all members. See [`PublishError`].
    pub(super) fn publish(&mut self, payload: &[u8]) -> Result<(), PublishError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(PublishError::TooLarge(payload.len()));
        }
        match self.gossip.publish(self.topic.hash(), payload) {
            Ok(_) => Ok(()),
            Err(GossipPublishError::NoPeersSubscribedToTopic) => Err(PublishError::Alone),
            Err(GossipPublishError::AllQueuesFull(_)) => Err(PublishError::Full),
            Err(GossipPublishError::MessageTooLarge) => Err(PublishError::TooLarge(payload.len())),
            // These cannot be: the id has a sequence number in it, an Ed25519 key signs everything, and
            // nothing is transformed.
            Err(
                error @ (GossipPublishError::Duplicate
                | GossipPublishError::SigningError(_)
                | GossipPublishError::TransformFailed(_)),
            ) => {
                tracing::error!(%error, "a message was lost");
                Ok(())
            }
        }
    }

    /// To all members, to each over the direct path if there is one; if there is none to somebody, to all by
    /// gossipsub too: that one may be reached through others, or takes the stream in a moment.
    pub(super) fn realtime(&mut self, payload: &Bytes) -> Result<(), PublishError> {
        let frame = realtime::frame(payload).ok_or(PublishError::TooLarge(payload.len()))?;
        let (mut sent, mut is_slow, mut is_missing) = (false, None, self.members.is_empty());
        for member in &self.members {
            match self.lanes.get(member).map(|lane| lane.realtime.push(frame.clone())) {
                Some(Fate::Queued) => sent = true,
                Some(Fate::Displacing) => (sent, is_slow) = (true, Some(*member)),
                Some(Fate::NoStream) | None => is_missing = true,
            }
        }
        if let Some(member) = is_slow {
            self.refuse(member, Refusal::Slow);
        }
        if !is_missing {
            return Ok(());
        }
        match self.publish(payload) {
            Err(PublishError::Alone | PublishError::Full) if sent => Ok(()),
            outcome => outcome,
        }
    }

    /// The member is no longer reached; tells it if it was.
    pub(super) fn absent(&mut self, peer: PeerId) -> Option<Event> {
        let session = self.session;
        self.present.remove(&peer).then_some(Event::Presence { session, peer, present: false })
    }

    /// What gossipsub has to tell its handlers and us.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Output> {
        loop {
            let event = match self.gossip.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ToSwarm::GenerateEvent(event)) => event,
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, event, .. }) => {
                    return Poll::Ready(Output::Notify(peer_id, event));
                }
                // Gossipsub has no business with dialling or closing: the gate decides what it sees.
                Poll::Ready(_) => continue,
            };
            if let Some(event) = self.on_gossip_event(event) {
                return Poll::Ready(Output::Event(event));
            }
        }
    }

    /// A message whose signature is right. A member could pass on a stranger's, well signed by that stranger.
    fn on_message(&mut self, from: PeerId, id: &MessageId, message: Message) -> Option<Event> {
        let verdict = self.judge(&message);
        let acceptance = match verdict {
            Ok(_) => MessageAcceptance::Accept,
            // Whoever passed it on may have counted otherwise.
            Err(Refusal::TooMuch) => MessageAcceptance::Ignore,
            Err(_) => MessageAcceptance::Reject,
        };
        self.gossip.report_message_validation_result(id, &from, acceptance);
        match verdict {
            Ok(author) => {
                let session = self.session;
                Some(Event::Message { session, author, payload: message.data.into() })
            }
            Err(refusal) => {
                let author = message.source.filter(|_| refusal == Refusal::TooMuch);
                self.refuse(author.unwrap_or(from), refusal);
                None
            }
        }
    }

    /// Its author, if the message is to be heard and passed on.
    fn judge(&mut self, message: &Message) -> Result<PeerId, Refusal> {
        let author = message.source.filter(|author| self.members.contains(author)).ok_or(Refusal::Foreign)?;
        if message.data.len() > MAX_PAYLOAD {
            return Err(Refusal::TooLarge);
        }
        match self.spend(author, &message.data) {
            true => Ok(author),
            false => Err(Refusal::TooMuch),
        }
    }

    /// Whether `author` may say this too. What is of no kind counts as an update; it is not opened anyway.
    fn spend(&mut self, author: PeerId, payload: &[u8]) -> bool {
        let now = clock::now();
        let kind = payload.first().and_then(|code| Kind::from_code(*code)).unwrap_or(Kind::Updates);
        let left = self.allowances.entry(author);
        let left = left.or_insert_with(|| Kind::ALL.map(|kind| Allowance::new(Limits::of(kind), now)));
        left[usize::from(kind.code()) - 1].spend(payload.len(), now)
    }

    fn on_gossip_event(&mut self, event: GossipEvent) -> Option<Event> {
        let session = self.session;
        match event {
            GossipEvent::Message { propagation_source, message_id, message } => {
                self.on_message(propagation_source, &message_id, message)
            }
            GossipEvent::Subscribed { peer_id: peer, .. } => {
                let news = self.lanes.contains_key(&peer) && self.present.insert(peer);
                news.then_some(Event::Presence { session, peer, present: true })
            }
            GossipEvent::Unsubscribed { peer_id, .. } => self.absent(peer_id),
            GossipEvent::SlowPeer { peer_id, failed_messages } => {
                tracing::debug!(%session, peer = %peer_id, ?failed_messages, "a member is too slow: messages dropped");
                None
            }
            GossipEvent::GossipsubNotSupported { .. } => None,
        }
    }
}

/// What comes out of a group when it is polled.
pub(crate) enum Output {
    Notify(PeerId, THandlerInEvent<Gossip>),
    Event(Event),
}
