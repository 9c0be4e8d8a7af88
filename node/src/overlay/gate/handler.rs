//! The gate on one connection: which groups the peer at the other end is shown, and their lanes.
//!
//! The idea: a shell around gossipsub's own handlers, one per group that runs here. Handlers come and go by
//! commands of the behaviour, on the live connection; the swarm asks for the accepted protocols anew for
//! every inbound stream, so a change takes effect with the next one.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
    handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
};
use parlor_proto::ids::SessionId;
use tokio::time::Sleep;

use super::upgrade::{Arrival, Channel, GossipHandler, Inbound, Offer, Outbound, Purpose, Wire};

/// Wait before a refused stream is tried again; doubled each time up to [`RETRY_MAX`]. It is the fallback:
/// normally the other side's *ready* comes first.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(5);

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
    },
    /// The group runs over another connection, or none.
    Detach { session: SessionId },
    /// The peer is no member (any more): its streams are cut off.
    Dismiss { session: SessionId },
    /// For gossipsub's handler.
    Inner {
        session: SessionId,
        generation: u64,
        event: <GossipHandler as ConnectionHandler>::FromBehaviour,
    },
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, session) = match self {
            Self::Admit { session, .. } => ("Admit", session),
            Self::Attach { session, .. } => ("Attach", session),
            Self::Detach { session } => ("Detach", session),
            Self::Dismiss { session } => ("Dismiss", session),
            Self::Inner { session, .. } => ("Inner", session),
        };
        f.debug_tuple(name).field(session).finish()
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
        event: <GossipHandler as ConnectionHandler>::ToBehaviour,
    },
}

/// Which stream an outcome belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    session: SessionId,
    purpose: Purpose,
    /// Of the lane; 0 for [`Purpose::Ready`].
    generation: u64,
}

type Event = ConnectionHandlerEvent<Outbound, Ticket, Report>;

/// The gate on one connection.
pub(crate) struct Handler {
    wire: Wire,
    places: HashMap<SessionId, Place>,
    /// At most one for each event that led to it: the swarm takes them before it gives the next event.
    reports: VecDeque<Report>,
    /// Where the next round of polling starts, so that no group starves another.
    turn: usize,
}

/// One group on this connection, whose peer is a member.
struct Place {
    we_lead: bool,
    lane: Option<Lane>,
    /// The leader's newest stream, until the behaviour attaches us.
    held: Option<Channel>,
    /// The announcement to the leader.
    announce: Attempt,
}

/// A gossipsub handler and the stream it sends on.
struct Lane {
    generation: u64,
    inner: Box<GossipHandler>,
    outbound: Attempt,
    refusals: u32,
    /// The other side became ready while our stream was under way: if that was refused, try again at once.
    nudged: bool,
}

/// Where the opening of a stream stands.
enum Attempt {
    /// Not wanted.
    Idle,
    /// Wanted as soon as possible.
    Due,
    /// Under way.
    Asked,
    /// Refused or failed; wanted later.
    Waiting(Pin<Box<Sleep>>),
    /// Negotiated.
    Open,
}

impl Attempt {
    fn later(after: Duration) -> Self {
        Self::Waiting(Box::pin(tokio::time::sleep(after)))
    }

    /// Whether the stream is to be asked for now; then it counts as asked for.
    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let due = match self {
            Self::Due => true,
            Self::Waiting(timer) => timer.as_mut().poll(cx).is_ready(),
            Self::Idle | Self::Asked | Self::Open => false,
        };
        if due {
            *self = Self::Asked;
        }
        due
    }
}

impl Handler {
    pub(super) fn new(wire: Wire, admitted: impl Iterator<Item = SessionId>, we_lead: bool) -> Self {
        let places = admitted.map(|session| (session, Place::new(we_lead))).collect();
        Self {
            wire,
            places,
            reports: VecDeque::new(),
            turn: 0,
        }
    }

    fn on_inbound(&mut self, Arrival { session, channel }: Arrival) {
        let Some(place) = self.places.get_mut(&session) else {
            return;
        };
        match channel {
            Some(channel) if place.we_lead => {
                if let Some(lane) = &mut place.lane {
                    lane.take_inbound(channel);
                    self.reports.extend(lane.spent(session));
                }
            }
            Some(channel) => {
                place.held = Some(channel);
                self.reports.push_back(Report::Opened { session });
            }
            None => match &mut place.lane {
                Some(lane) if matches!(lane.outbound, Attempt::Waiting(_)) => lane.outbound = Attempt::Due,
                Some(lane) if matches!(lane.outbound, Attempt::Asked | Attempt::Due) => lane.nudged = true,
                _ => self.reports.push_back(Report::Ready { session }),
            },
        }
    }

    fn on_outbound(&mut self, ticket: Ticket, channel: Option<Channel>) {
        let Some(place) = self.places.get_mut(&ticket.session) else {
            return;
        };
        match (channel, &mut place.lane) {
            (None, _) => place.announce = Attempt::Idle,
            (Some(channel), Some(lane)) if lane.generation == ticket.generation => {
                lane.take_outbound(channel);
                self.reports.extend(lane.spent(ticket.session));
            }
            // Of a lane that has been replaced meanwhile.
            (Some(_), _) => {}
        }
    }

    fn on_outbound_failed(&mut self, ticket: Ticket, refused: bool) {
        let Ticket {
            session,
            purpose,
            generation,
        } = ticket;
        let Some(place) = self.places.get_mut(&session) else {
            return;
        };
        match (purpose, &mut place.lane) {
            // The leader does not admit us yet; once it does, it opens by itself.
            (Purpose::Ready, _) if refused => place.announce = Attempt::Idle,
            (Purpose::Ready, _) => place.announce = Attempt::later(RETRY_FIRST),
            (Purpose::Lane, Some(lane)) if lane.generation == generation => {
                if refused && lane.refusals == 0 {
                    self.reports.push_back(Report::Refused { session, generation });
                }
                lane.retry();
            }
            (Purpose::Lane, _) => {}
        }
    }
}

impl Place {
    fn new(we_lead: bool) -> Self {
        Self {
            we_lead,
            lane: None,
            held: None,
            announce: Attempt::Idle,
        }
    }

    fn attach(&mut self, generation: u64, inner: Box<GossipHandler>) {
        let mut lane = Lane {
            generation,
            inner,
            outbound: Attempt::Idle,
            refusals: 0,
            nudged: false,
        };
        if let Some(channel) = self.held.take() {
            lane.take_inbound(channel);
        }
        // The leader is here already: nothing to announce.
        self.announce = Attempt::Idle;
        self.lane = Some(lane);
    }

    fn poll(&mut self, session: SessionId, wire: &Wire, cx: &mut Context<'_>) -> Poll<Event> {
        if self.announce.is_due(cx) {
            return Poll::Ready(request(session, Purpose::Ready, 0, wire));
        }
        let Some(lane) = &mut self.lane else {
            return Poll::Pending;
        };
        if lane.outbound.is_due(cx) {
            return Poll::Ready(request(session, Purpose::Lane, lane.generation, wire));
        }
        loop {
            return match lane.inner.poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { .. }) => {
                    lane.outbound = Attempt::Asked;
                    Poll::Ready(request(session, Purpose::Lane, lane.generation, wire))
                }
                Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event)) => {
                    let report = Report::Inner {
                        session,
                        generation: lane.generation,
                        event,
                    };
                    Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report))
                }
                // Gossipsub does nothing else.
                Poll::Ready(_) => continue,
            };
        }
    }
}

impl Lane {
    fn take_inbound(&mut self, channel: Channel) {
        self.inner
            .on_connection_event(ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: futures::future::Either::Left(channel),
                info: (),
            }));
    }

    fn take_outbound(&mut self, channel: Channel) {
        self.outbound = Attempt::Open;
        self.refusals = 0;
        self.nudged = false;
        self.inner
            .on_connection_event(ConnectionEvent::FullyNegotiatedOutbound(
                FullyNegotiatedOutbound {
                    protocol: channel,
                    info: (),
                },
            ));
    }

    /// The stream is tried again, and gossipsub's handler hears nothing of it.
    fn retry(&mut self) {
        self.outbound = if std::mem::take(&mut self.nudged) {
            Attempt::Due
        } else {
            let wait = RETRY_FIRST.saturating_mul(1 << self.refusals.min(16));
            Attempt::later(wait.min(RETRY_MAX))
        };
        self.refusals = self.refusals.saturating_add(1);
    }

    /// Gossipsub's handler shuts itself after a handful of streams; what it then accepts is: nothing.
    fn spent(&self, session: SessionId) -> Option<Report> {
        let shut = self.inner.listen_protocol().into_upgrade().0.is_right();
        shut.then_some(Report::Spent {
            session,
            generation: self.generation,
        })
    }
}

fn request(session: SessionId, purpose: Purpose, generation: u64, wire: &Wire) -> Event {
    let upgrade = Outbound {
        offer: Offer::new(session, purpose),
        wire: wire.clone(),
    };
    let protocol = SubstreamProtocol::new(
        upgrade,
        Ticket {
            session,
            purpose,
            generation,
        },
    );
    ConnectionHandlerEvent::OutboundSubstreamRequest { protocol }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = Report;
    type InboundProtocol = Inbound;
    type OutboundProtocol = Outbound;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Ticket;

    fn listen_protocol(&self) -> SubstreamProtocol<Inbound, ()> {
        let offers = self
            .places
            .iter()
            .filter_map(|(session, place)| match (place.we_lead, &place.lane) {
                (false, _) => Some(vec![Offer::new(*session, Purpose::Lane)]),
                // The follower answers only where we opened; it may announce itself anywhere.
                (true, None) => Some(vec![Offer::new(*session, Purpose::Ready)]),
                (true, Some(_)) => Some(vec![
                    Offer::new(*session, Purpose::Lane),
                    Offer::new(*session, Purpose::Ready),
                ]),
            });
        SubstreamProtocol::new(
            Inbound {
                offers: offers.flatten().collect(),
                wire: self.wire.clone(),
            },
            (),
        )
    }

    fn connection_keep_alive(&self) -> bool {
        self.places.values().any(|place| place.lane.is_some())
    }

    fn on_behaviour_event(&mut self, command: Command) {
        match command {
            Command::Admit {
                session,
                we_lead,
                announce,
            } => {
                let place = self.places.entry(session).or_insert_with(|| Place::new(we_lead));
                if announce && place.lane.is_none() && place.held.is_none() {
                    place.announce = Attempt::Due;
                }
            }
            Command::Attach {
                session,
                generation,
                inner,
            } => {
                if let Some(place) = self.places.get_mut(&session) {
                    place.attach(generation, inner);
                }
            }
            Command::Detach { session } => {
                if let Some(place) = self.places.get_mut(&session) {
                    place.lane = None;
                }
            }
            Command::Dismiss { session } => {
                self.places.remove(&session);
                // Nothing that it reported before may have an effect after.
                self.reports.retain(|report| report.session() != session);
            }
            Command::Inner {
                session,
                generation,
                event,
            } => {
                let lane = self
                    .places
                    .get_mut(&session)
                    .and_then(|place| place.lane.as_mut());
                if let Some(lane) = lane.filter(|lane| lane.generation == generation) {
                    lane.inner.on_behaviour_event(event);
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
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

    fn on_connection_event(&mut self, event: ConnectionEvent<Inbound, Outbound, (), Ticket>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.on_inbound(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.on_outbound(info, protocol);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                self.on_outbound_failed(info, matches!(error, StreamUpgradeError::NegotiationFailed));
            }
            _ => {}
        }
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
