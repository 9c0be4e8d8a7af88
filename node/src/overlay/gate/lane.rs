//! One group on one connection: gossipsub's handler, and the streams it needs.
//!
//! The idea: gossipsub's handler asks for a stream and is given one, however often the peer refuses; what it
//! is not told of cannot make it give up.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol,
    handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound},
};
use parlor_proto::ids::SessionId;
use tokio::time::Sleep;

use super::{
    handler::Report,
    upgrade::{Channel, GossipHandler, Offer, Outbound, Purpose, Wire},
};

/// Wait before a refused stream is tried again; doubled each time up to [`RETRY_MAX`]. It is the fallback:
/// normally the other side's *ready* comes first.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Which stream an outcome belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamFor {
    pub(super) session: SessionId,
    purpose: Purpose,
    /// Of the lane; 0 for [`Purpose::Ready`].
    generation: u64,
}

pub(crate) type HandlerEvent = ConnectionHandlerEvent<Outbound, StreamFor, Report>;

/// One group on this connection, whose peer is a member.
pub(super) struct Place {
    we_lead: bool,
    lane: Option<Lane>,
    /// The leader's newest stream, until the behaviour attaches us.
    held: Option<Channel>,
    /// The announcement to the leader.
    announce: Attempt,
}

/// A gossipsub handler and the stream it sends on.
pub(super) struct Lane {
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

impl Place {
    pub(super) fn new(we_lead: bool) -> Self {
        Self { we_lead, lane: None, held: None, announce: Attempt::Idle }
    }

    /// What this node accepts from the peer.
    pub(super) fn accepted(&self) -> &'static [Purpose] {
        match (self.we_lead, &self.lane) {
            (false, _) => &[Purpose::Lane],
            // The follower answers only where we opened; it may announce itself anywhere.
            (true, None) => &[Purpose::Ready],
            (true, Some(_)) => &[Purpose::Lane, Purpose::Ready],
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.lane.is_some()
    }

    /// The lane of this generation, if it is still the one.
    pub(super) fn lane(&mut self, generation: u64) -> Option<&mut Lane> {
        self.lane.as_mut().filter(|lane| lane.generation == generation)
    }

    /// Tells the leader that we are ready, unless it is here already.
    pub(super) fn announce(&mut self) {
        if self.lane.is_none() && self.held.is_none() {
            self.announce = Attempt::Due;
        }
    }

    pub(super) fn detach(&mut self) {
        self.lane = None;
    }

    /// The group runs here from now on, with a fresh start.
    pub(super) fn attach(&mut self, generation: u64, inner: Box<GossipHandler>) {
        let mut lane = Lane { generation, inner, outbound: Attempt::Idle, refusals: 0, nudged: false };
        if let Some(channel) = self.held.take() {
            lane.take_inbound(channel);
        }
        // The leader is here already: nothing to announce.
        self.announce = Attempt::Idle;
        self.lane = Some(lane);
    }

    pub(super) fn poll(
        &mut self,
        session: SessionId,
        wire: &Wire,
        cx: &mut Context<'_>,
    ) -> Poll<HandlerEvent> {
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
                    let event = Box::new(event);
                    let report = Report::Inner { session, generation: lane.generation, event };
                    Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report))
                }
                // Gossipsub does nothing else.
                Poll::Ready(_) => continue,
            };
        }
    }

    /// The peer opened a stream, of the group or (`None`) just to say that it is ready.
    pub(super) fn on_inbound(&mut self, session: SessionId, channel: Option<Channel>) -> Option<Report> {
        match (channel, &mut self.lane) {
            (Some(channel), Some(lane)) if self.we_lead => {
                lane.take_inbound(channel);
                lane.spent(session)
            }
            // Accepted while there was a lane that is gone by now.
            (Some(_), None) if self.we_lead => None,
            (Some(channel), _) => {
                self.held = Some(channel);
                Some(Report::Opened { session })
            }
            (None, Some(lane)) => (!lane.nudge()).then_some(Report::Ready { session }),
            (None, None) => Some(Report::Ready { session }),
        }
    }

    /// A stream of ours was accepted.
    pub(super) fn on_outbound(&mut self, stream: StreamFor, channel: Option<Channel>) -> Option<Report> {
        let Some(channel) = channel else {
            self.announce = Attempt::Idle;
            return None;
        };
        // None for a lane that has been replaced meanwhile.
        let lane = self.lane(stream.generation)?;
        lane.take_outbound(channel);
        lane.spent(stream.session)
    }

    /// A stream of ours was refused, or lost on the way.
    pub(super) fn on_outbound_failed(&mut self, stream: StreamFor, refused: bool) -> Option<Report> {
        let StreamFor { session, purpose, generation } = stream;
        match purpose {
            // The leader does not admit us yet; once it does, it opens by itself.
            Purpose::Ready if refused => self.announce = Attempt::Idle,
            Purpose::Ready => self.announce = Attempt::later(RETRY_FIRST),
            Purpose::Lane => {
                let lane = self.lane(generation)?;
                let is_news = refused && lane.refusals == 0;
                lane.retry();
                return is_news.then_some(Report::Refused { session, generation });
            }
        }
        None
    }
}

impl Lane {
    /// For gossipsub's handler, from its behaviour.
    pub(super) fn on_behaviour_event(&mut self, event: <GossipHandler as ConnectionHandler>::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn take_inbound(&mut self, channel: Channel) {
        let protocol = futures::future::Either::Left(channel);
        let inbound = FullyNegotiatedInbound { protocol, info: () };
        self.inner.on_connection_event(ConnectionEvent::FullyNegotiatedInbound(inbound));
    }

    fn take_outbound(&mut self, protocol: Channel) {
        self.outbound = Attempt::Open;
        self.refusals = 0;
        self.nudged = false;
        let outbound = FullyNegotiatedOutbound { protocol, info: () };
        self.inner.on_connection_event(ConnectionEvent::FullyNegotiatedOutbound(outbound));
    }

    /// The follower is ready for our stream. Whether that is on its way, so that no fresh start is needed.
    fn nudge(&mut self) -> bool {
        match self.outbound {
            Attempt::Waiting(_) => self.outbound = Attempt::Due,
            Attempt::Due | Attempt::Asked => self.nudged = true,
            Attempt::Idle | Attempt::Open => return false,
        }
        true
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
        shut.then_some(Report::Spent { session, generation: self.generation })
    }
}

fn request(session: SessionId, purpose: Purpose, generation: u64, wire: &Wire) -> HandlerEvent {
    let upgrade = Outbound { offer: Offer::new(session, purpose), wire: wire.clone() };
    let protocol = SubstreamProtocol::new(upgrade, StreamFor { session, purpose, generation });
    ConnectionHandlerEvent::OutboundSubstreamRequest { protocol }
}
