//! The gate on one connection: which groups the peer at the other end is shown, and their lanes.
//!
//! The idea: a shell around gossipsub's own handlers, one per group that runs here. Handlers come and go by
//! commands of the behaviour, on the live connection; the swarm asks for the accepted protocols anew for
//! every inbound stream, so a change takes effect with the next one.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
    handler::{
        ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, ProtocolsChange,
    },
};
use parlor_proto::ids::SessionId;

use super::{
    place::{HandlerEvent, Place, StreamFor},
    queue::Receiver,
    upgrade::{GossipHandler, Inbound, Offer, Outbound, Wire},
};

/// Names of groups that a peer is not in, noted at once.
const MAX_CLAIMS: usize = 8;

/// From the behaviour to the handler of one connection.
pub(crate) enum Command {
    /// The peer is a member of this group.
    Admit {
        session: SessionId,
        /// Whether we are the one that opens the first stream.
        we_lead: bool,
        /// Tell the leader that we are ready for it.
        announce: bool,
    },
    /// The group runs over this connection from now on, with a fresh start.
    Attach {
        session: SessionId,
        generation: u64,
        inner: Box<GossipHandler>,
        /// What is to go over the direct path.
        queue: Receiver,
    },
    /// The group runs over another connection, or none.
    Detach { session: SessionId },
    /// The peer is no member (any more): its streams are cut off.
    Dismiss { session: SessionId },
    /// For gossipsub's handler.
    Inner { session: SessionId, generation: u64, event: <GossipHandler as ConnectionHandler>::FromBehaviour },
}

impl Command {
    fn session(&self) -> SessionId {
        match self {
            Self::Admit { session, .. }
            | Self::Attach { session, .. }
            | Self::Detach { session }
            | Self::Dismiss { session }
            | Self::Inner { session, .. } => *session,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Admit { .. } => "Admit",
            Self::Attach { .. } => "Attach",
            Self::Detach { .. } => "Detach",
            Self::Dismiss { .. } => "Dismiss",
            Self::Inner { .. } => "Inner",
        };
        f.debug_tuple(name).field(&self.session()).finish()
    }
}

/// From the handler of one connection to the behaviour.
#[derive(Debug)]
pub(crate) enum Report {
    /// The leader opened a stream here; it waits for [`Command::Attach`].
    Opened { session: SessionId },
    /// The follower asks us, its leader, to start afresh.
    Ready { session: SessionId },
    /// The peer does not take this group's stream, for now.
    Refused { session: SessionId, generation: u64 },
    /// Gossipsub's handler has had more streams than it takes, and needs a successor.
    Spent { session: SessionId, generation: u64 },
    /// The peer said something over the direct path.
    Realtime { session: SessionId, generation: u64, payload: Bytes },
    /// What the peer said over the direct path is no message, so its stream was closed.
    Garbled { session: SessionId },
    /// The peer says that it speaks the protocol of this group, of which it is no member here.
    Claimed { session: SessionId },
    /// From gossipsub's handler.
    Inner {
        session: SessionId,
        generation: u64,
        event: Box<<GossipHandler as ConnectionHandler>::ToBehaviour>,
    },
}

/// The gate on one connection.
pub(crate) struct Handler {
    wire: Arc<Wire>,
    /// The groups that the peer is a member of.
    places: HashMap<SessionId, Place>,
    /// One for each event that led to it, or [`MAX_CLAIMS`]: the swarm takes them before it gives the next.
    reports: VecDeque<Report>,
    /// Where the next round of polling starts, so that no group starves another.
    turn: usize,
}

impl Handler {
    pub(super) fn new(wire: Arc<Wire>, admitted: impl Iterator<Item = SessionId>, we_lead: bool) -> Self {
        let places = admitted.map(|session| (session, Place::new(session, we_lead))).collect();
        Self { wire, places, reports: VecDeque::new(), turn: 0 }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = Report;
    type InboundProtocol = Inbound;
    type OutboundProtocol = Outbound;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = StreamFor;

    fn listen_protocol(&self) -> SubstreamProtocol<Inbound, ()> {
        let offers = self.places.values().flat_map(Place::accepted).cloned();
        SubstreamProtocol::new(Inbound { offers: offers.collect(), wire: Arc::clone(&self.wire) }, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.places.values().any(Place::is_attached)
    }

    fn on_behaviour_event(&mut self, command: Command) {
        let place = self.places.get_mut(&command.session());
        match command {
            Command::Admit { session, we_lead, announce } => {
                let place = self.places.entry(session).or_insert_with(|| Place::new(session, we_lead));
                if announce {
                    place.announce();
                }
            }
            Command::Attach { generation, inner, queue, .. } => {
                if let Some(place) = place {
                    place.attach(generation, inner, queue);
                }
            }
            Command::Detach { .. } => place.into_iter().for_each(Place::detach),
            Command::Dismiss { session } => {
                self.places.remove(&session);
                // Nothing that it reported before may have an effect after.
                self.reports.retain(|report| report.session() != session);
            }
            Command::Inner { generation, event, .. } => {
                if let Some(lane) = place.and_then(|place| place.lane(generation)) {
                    lane.on_behaviour_event(event);
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<HandlerEvent> {
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        self.turn = self.turn.wrapping_add(1);
        let start = self.turn.checked_rem(self.places.len()).unwrap_or(0);
        for (skip, take) in [(start, usize::MAX), (0, start)] {
            for place in self.places.values_mut().skip(skip).take(take) {
                if let Poll::Ready(event) = place.poll(&self.wire, cx) {
                    return Poll::Ready(event);
                }
            }
        }
        Poll::Pending
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Inbound, Outbound, (), StreamFor>) {
        let report = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                let place = self.places.get_mut(&protocol.session);
                place.and_then(|place| place.on_inbound(protocol.opened))
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let place = self.places.get_mut(&info.session);
                place.and_then(|place| place.on_outbound(info, protocol))
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let refused = matches!(error, StreamUpgradeError::NegotiationFailed);
                let place = self.places.get_mut(&info.session);
                place.and_then(|place| place.on_outbound_failed(info, refused))
            }
            ConnectionEvent::RemoteProtocolsChange(ProtocolsChange::Added(names)) => {
                let claimed = names.filter_map(Offer::session_in);
                let foreign = claimed.filter(|session| !self.places.contains_key(session));
                // A peer names as many as it likes.
                let reports = foreign.take(MAX_CLAIMS).map(|session| Report::Claimed { session });
                self.reports.extend(reports);
                None
            }
            _ => None,
        };
        self.reports.extend(report);
    }
}

impl Report {
    pub(super) fn session(&self) -> SessionId {
        match self {
            Self::Opened { session }
            | Self::Ready { session }
            | Self::Refused { session, .. }
            | Self::Spent { session, .. }
            | Self::Realtime { session, .. }
            | Self::Garbled { session }
            | Self::Claimed { session }
            | Self::Inner { session, .. } => *session,
        }
    }
}
