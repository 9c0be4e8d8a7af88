//! One group on one connection, whose peer is a member: what is accepted from it, and what came.
//!
//! The idea: a place is there as long as the membership; its lane comes and goes as the group moves between
//! connections. Streams that come before the lane wait for it.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use libp2p::{
    Stream,
    swarm::{ConnectionHandlerEvent, SubstreamProtocol},
};
use parlor_proto::ids::SessionId;

use super::{
    attempt::Attempt,
    handler::Report,
    lane::Lane,
    queue::Receiver,
    realtime::Reader,
    upgrade::{Channel, GossipHandler, Offer, Offers, Opened, Outbound, Purpose, Wire},
};

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
    session: SessionId,
    offers: Offers,
    we_lead: bool,
    lane: Option<Lane>,
    /// The leader's newest stream, until the behaviour attaches us.
    held: Option<Channel>,
    /// The member's newest stream for realtime; read while there is a lane.
    realtime: Option<Reader<Stream>>,
    /// The announcement to the leader.
    announce: Attempt,
    /// Whether realtime comes before gossipsub next time, so that neither starves the other.
    is_realtimes_turn: bool,
}

impl Place {
    pub(super) fn new(session: SessionId, we_lead: bool) -> Self {
        Self {
            session,
            offers: Offers::new(session),
            we_lead,
            lane: None,
            held: None,
            realtime: None,
            announce: Attempt::Idle,
            is_realtimes_turn: false,
        }
    }

    /// What this node accepts from the peer.
    pub(super) fn accepted(&self) -> impl Iterator<Item = &Offer> {
        let purposes: &[_] = match (self.we_lead, &self.lane) {
            (false, _) => &[Purpose::Lane, Purpose::Realtime],
            // The follower answers only where we opened; it may announce itself anywhere.
            (true, None) => &[Purpose::Ready],
            (true, Some(_)) => &[Purpose::Lane, Purpose::Ready, Purpose::Realtime],
        };
        purposes.iter().map(|purpose| self.offers.of(*purpose))
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
    pub(super) fn attach(&mut self, generation: u64, inner: Box<GossipHandler>, queue: Receiver) {
        let mut lane = Lane::new(generation, inner, queue);
        if let Some(channel) = self.held.take() {
            lane.take_inbound(channel);
        }
        // The leader is here already: nothing to announce.
        self.announce = Attempt::Idle;
        self.lane = Some(lane);
    }

    pub(super) fn poll(&mut self, wire: &Arc<Wire>, cx: &mut Context<'_>) -> Poll<HandlerEvent> {
        if self.announce.is_due(cx) {
            return Poll::Ready(self.request(Purpose::Ready, 0, wire));
        }
        let Some(lane) = &mut self.lane else {
            return Poll::Pending;
        };
        let generation = lane.generation;
        if let Some(purpose) = lane.due(cx) {
            return Poll::Ready(self.request(purpose, generation, wire));
        }
        for is_realtime in [self.is_realtimes_turn, !self.is_realtimes_turn] {
            let polled =
                if is_realtime { self.poll_realtime(generation, cx) } else { self.poll_lane(wire, cx) };
            if polled.is_ready() {
                self.is_realtimes_turn = !is_realtime;
                return polled;
            }
        }
        Poll::Pending
    }

    fn poll_lane(&mut self, wire: &Arc<Wire>, cx: &mut Context<'_>) -> Poll<HandlerEvent> {
        let Some(lane) = &mut self.lane else {
            return Poll::Pending;
        };
        let generation = lane.generation;
        lane.poll(cx).map(|event| match event {
            None => self.request(Purpose::Lane, generation, wire),
            Some(event) => {
                let (session, event) = (self.session, Box::new(event));
                ConnectionHandlerEvent::NotifyBehaviour(Report::Inner { session, generation, event })
            }
        })
    }

    /// What comes is said in the name of the lane, so that nothing said before the peer was put out counts
    /// after it was let in again.
    fn poll_realtime(&mut self, generation: u64, cx: &mut Context<'_>) -> Poll<HandlerEvent> {
        let Some(reader) = &mut self.realtime else {
            return Poll::Pending;
        };
        let session = self.session;
        let report = match std::task::ready!(reader.poll_next(cx)) {
            Some(Ok(payload)) => Report::Realtime { session, generation, payload },
            ended => {
                self.realtime = None;
                match ended {
                    Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        Report::Garbled { session }
                    }
                    // Its stream has ended, or broke: it opens another one.
                    _ => return Poll::Pending,
                }
            }
        };
        Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report))
    }

    /// The peer opened a stream.
    pub(super) fn on_inbound(&mut self, opened: Opened) -> Option<Report> {
        let session = self.session;
        match (opened, &mut self.lane) {
            (Opened::Lane(channel), Some(lane)) if self.we_lead => {
                lane.take_inbound(*channel);
                self.spent()
            }
            // Accepted while there was a lane that is gone by now.
            (Opened::Lane(_), None) if self.we_lead => None,
            (Opened::Lane(channel), _) => {
                self.held = Some(*channel);
                Some(Report::Opened { session })
            }
            (Opened::Ready, Some(lane)) => (!lane.nudge()).then_some(Report::Ready { session }),
            (Opened::Ready, None) => Some(Report::Ready { session }),
            (Opened::Realtime(stream), _) => {
                self.realtime = Some(Reader::new(stream));
                None
            }
        }
    }

    /// A stream of ours was accepted. Of a lane that has been replaced meanwhile, it is dropped.
    pub(super) fn on_outbound(&mut self, stream: StreamFor, opened: Opened) -> Option<Report> {
        match opened {
            Opened::Ready => {
                self.announce = Attempt::Idle;
                None
            }
            Opened::Realtime(channel) => {
                self.lane(stream.generation)?.take_realtime(channel);
                None
            }
            Opened::Lane(channel) => {
                self.lane(stream.generation)?.take_outbound(*channel);
                self.spent()
            }
        }
    }

    /// A stream of ours was refused, or lost on the way.
    pub(super) fn on_outbound_failed(&mut self, stream: StreamFor, refused: bool) -> Option<Report> {
        let StreamFor { session, purpose, generation } = stream;
        match purpose {
            // The leader does not admit us yet; once it does, it opens by itself.
            Purpose::Ready => {
                self.announce = if refused { Attempt::Idle } else { Attempt::later(0) };
                None
            }
            Purpose::Lane => {
                let is_first = self.lane(generation)?.retry();
                (refused && is_first).then_some(Report::Refused { session, generation })
            }
            Purpose::Realtime => {
                self.lane(generation)?.retry_realtime();
                None
            }
        }
    }

    fn spent(&self) -> Option<Report> {
        let lane = self.lane.as_ref().filter(|lane| lane.is_spent())?;
        Some(Report::Spent { session: self.session, generation: lane.generation })
    }

    fn request(&self, purpose: Purpose, generation: u64, wire: &Arc<Wire>) -> HandlerEvent {
        let upgrade = Outbound { offer: self.offers.of(purpose).clone(), wire: Arc::clone(wire) };
        let stream = StreamFor { session: self.session, purpose, generation };
        let protocol = SubstreamProtocol::new(upgrade, stream);
        ConnectionHandlerEvent::OutboundSubstreamRequest { protocol }
    }
}
