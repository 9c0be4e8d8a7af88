//! One group behind the gate: its gossipsub, its members, and the lane to each.
//!
//! For: settings of gossipsub, and what is let through: messages of members, to members. Not for: connections
//! (see the behaviour) and streams (see the handler).

use std::{
    collections::{HashMap, HashSet},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use libp2p::{
    PeerId,
    core::ConnectedPoint,
    gossipsub::{
        Behaviour, Config, ConfigBuilder, Event as GossipEvent, IdentTopic, IdentityTransform, Message,
        MessageAcceptance, MessageAuthenticity, MessageId, PublishError as GossipPublishError,
        ValidationMode, WhitelistSubscriptionFilter,
    },
    identity::Keypair,
    swarm::{
        ConnectionId, FromSwarm, NetworkBehaviour, THandlerInEvent, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
    },
};
use parlor_proto::ids::SessionId;

use super::upgrade::GossipHandler;

/// Largest payload of one message, bytes.
pub(crate) const MAX_PAYLOAD: usize = 128 * 1024;
/// Gossipsub checks this against everything it has read and not yet parsed, so there must be room for a
/// second message behind the largest one, with their envelopes.
const MAX_TRANSMIT: usize = 2 * MAX_PAYLOAD + 64 * 1024;
/// An announcement of messages above this ends the stream, so it is far above what short ids can reach.
const MAX_CONTROL: usize = 256 * 1024;
/// Messages waiting for one member: at worst 32 MiB of the largest ones. When it is full, that member misses
/// messages; when all members' are, publishing says so.
const QUEUE_LEN: usize = 256;
/// How long a message is remembered so as not to be delivered twice. Protection against replay needs more
/// than this, and has its place where messages are opened.
const DUPLICATE_CACHE: Duration = Duration::from_secs(120);
/// Groups are small, and a message goes to all members known at once, so the mesh only repairs losses.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Groups start at once.
const HEARTBEAT_DELAY: Duration = Duration::from_millis(100);
/// How long a member that left the mesh stays out of it.
const PRUNE_BACKOFF: Duration = Duration::from_secs(5);
/// How long a member that unsubscribed stays out of the mesh.
const UNSUBSCRIBE_BACKOFF: Duration = Duration::from_secs(2);
/// How long a message of another member may wait for a slow one.
const FORWARD_PATIENCE: Duration = Duration::from_secs(3);

/// The gossipsub of one group.
pub(crate) type Gossip = Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// What the gate tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A member said something. Its signature and membership have been checked.
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
}

/// Where a member's lane runs.
pub(crate) struct Lane {
    pub(super) connection: ConnectionId,
    /// Tells this lane from earlier ones on the same connection.
    pub(super) generation: u64,
    endpoint: ConnectedPoint,
}

impl Group {
    pub(super) fn new(session: SessionId, keypair: &Keypair) -> Self {
        let topic = IdentTopic::new(session.to_string());
        let only_topic = WhitelistSubscriptionFilter(HashSet::from([topic.hash()]));
        let signed = MessageAuthenticity::Signed(keypair.clone());
        let mut gossip = Gossip::new_with_subscription_filter(signed, config(), only_topic)
            .expect("signing and strict validation go together");
        gossip.subscribe(&topic).expect("the filter allows this topic, and nobody is there to be told");
        let (members, lanes, present) = Default::default();
        Self { session, gossip, topic, members, lanes, present }
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
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
    ) -> Option<Box<GossipHandler>> {
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
        self.lanes.insert(peer, Lane { connection, generation, endpoint: endpoint.clone() });
        Some(Box::new(handler))
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
        self.gossip.on_connection_handler_event(peer, connection, event);
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

    fn on_gossip_event(&mut self, event: GossipEvent) -> Option<Event> {
        let session = self.session;
        match event {
            GossipEvent::Message { propagation_source, message_id, message } => {
                // A member could pass on a stranger's message, well signed by that stranger.
                let author = message.source.filter(|author| self.members.contains(author));
                let author = author.filter(|_| message.data.len() <= MAX_PAYLOAD);
                let verdict = author.map_or(MessageAcceptance::Reject, |_| MessageAcceptance::Accept);
                self.gossip.report_message_validation_result(&message_id, &propagation_source, verdict);
                author.map(|author| Event::Message { session, author, payload: message.data.into() })
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

/// Sequence number and the end of the author's key: 16 bytes, so that announcements of many messages stay
/// small. The id stands for a checked signature, so nobody can take up another one's.
fn message_id(message: &Message) -> MessageId {
    let mut id = message.sequence_number.unwrap_or_default().to_be_bytes().to_vec();
    let source = message.source.map(PeerId::to_bytes).unwrap_or_default();
    id.extend_from_slice(&source[source.len().saturating_sub(8)..]);
    MessageId::from(id)
}

fn config() -> Config {
    ConfigBuilder::default()
        .max_transmit_size(MAX_TRANSMIT)
        .max_control_message_size(MAX_CONTROL)
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .duplicate_cache_time(DUPLICATE_CACHE)
        .heartbeat_initial_delay(HEARTBEAT_DELAY)
        .heartbeat_interval(HEARTBEAT)
        .mesh_outbound_min(0)
        .mesh_n_low(1)
        .mesh_n(3)
        .mesh_n_high(6)
        .gossip_lazy(2)
        .flood_publish(true)
        .prune_backoff(PRUNE_BACKOFF)
        .unsubscribe_backoff(UNSUBSCRIBE_BACKOFF)
        .connection_handler_queue_len(QUEUE_LEN)
        .forward_queue_duration(FORWARD_PATIENCE)
        .build()
        .expect("the constants satisfy gossipsub's rules")
}
