//! The gate on one connection: which groups the peer at the other end is shown, and their lanes.
//!
//! The idea: a shell around gossipsub's own handlers, one per group that runs here. Handlers come and go by
//! commands of the behaviour, on the live connection; the swarm asks for the accepted protocols anew for
//! every inbound stream, so a change takes effect with the next one.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    task::{Context, Poll},
};

use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
    handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
};
use parlor_proto::ids::SessionId;

use super::{
    lane::{HandlerEvent, Place, StreamFor},
    upgrade::{GossipHandler, Inbound, Offer, Outbound, Wire},
};

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
    Attach { session: SessionId, generation: u64, inner: Box<GossipHandler> },
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
    /// From gossipsub's handler.
    Inner {
        session: SessionId,
        generation: u64,
        event: Box<<GossipHandler as ConnectionHandler>::ToBehaviour>,
    },
}

/// The gate on one connection.
pub(crate) struct Handler {
    wire: Wire,
    /// The groups that the peer is a member of.
    places: HashMap<SessionId, Place>,
    /// At most one for each event that led to it: the swarm takes them before it gives the next event.
    reports: VecDeque<Report>,
    /// Where the next round of polling starts, so that no group starves another.
    turn: usize,
}

impl Handler {
    pub(super) fn new(wire: Wire, admitted: impl Iterator<Item = SessionId>, we_lead: bool) -> Self {
        let places = admitted.map(|session| (session, Place::new(we_lead))).collect();
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
        let offers = self.places.iter().flat_map(|(session, place)| {
            place.accepted().iter().map(|purpose| Offer::new(*session, *purpose))
        });
        SubstreamProtocol::new(Inbound { offers: offers.collect(), wire: self.wire.clone() }, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.places.values().any(Place::is_attached)
    }

    fn on_behaviour_event(&mut self, command: Command) {
        let place = self.places.get_mut(&command.session());
        match command {
            Command::Admit { session, we_lead, announce } => {
                let place = self.places.entry(session).or_insert_with(|| Place::new(we_lead));
                if announce {
                    place.announce();
                }
            }
            Command::Attach { generation, inner, .. } => {
                if let Some(place) = place {
                    place.attach(generation, inner);
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
            for (session, place) in self.places.iter_mut().skip(skip).take(take) {
                if let Poll::Ready(event) = place.poll(*session, &self.wire, cx) {
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
                place.and_then(|place| place.on_inbound(protocol.session, protocol.channel))
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
            | Self::Inner { session, .. } => *session,
        }
    }
}
