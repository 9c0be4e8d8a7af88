//! A group's lane over one connection: gossipsub's handler with the stream it sends on, and the direct path
//! beside it.
//!
//! The idea: gossipsub's handler asks for a stream and is given one, however often the peer refuses; what it
//! is not told of cannot make it give up. Once the peer takes that stream, it takes the one for realtime.

use std::task::{Context, Poll};

use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent,
    handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound},
};

use super::{
    attempt::Attempt,
    queue::Receiver,
    realtime,
    upgrade::{Channel, GossipHandler, Purpose},
};

/// A gossipsub handler and the streams that this node sends on.
pub(super) struct Lane {
    pub(super) generation: u64,
    inner: Box<GossipHandler>,
    outbound: Attempt,
    refusals: u32,
    /// The other side became ready while our stream was under way: if that was refused, try again at once.
    nudged: bool,
    realtime: realtime::Outbound,
}

impl Lane {
    pub(super) fn new(generation: u64, inner: Box<GossipHandler>, queue: Receiver) -> Self {
        let realtime = realtime::Outbound::new(queue);
        Self { generation, inner, outbound: Attempt::Idle, refusals: 0, nudged: false, realtime }
    }

    /// For gossipsub's handler, from its behaviour.
    pub(super) fn on_behaviour_event(&mut self, event: <GossipHandler as ConnectionHandler>::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    pub(super) fn take_inbound(&mut self, channel: Channel) {
        let protocol = futures::future::Either::Left(channel);
        let inbound = FullyNegotiatedInbound { protocol, info: () };
        self.inner.on_connection_event(ConnectionEvent::FullyNegotiatedInbound(inbound));
    }

    pub(super) fn take_outbound(&mut self, protocol: Channel) {
        self.outbound = Attempt::Open;
        self.refusals = 0;
        self.nudged = false;
        self.realtime.want();
        let outbound = FullyNegotiatedOutbound { protocol, info: () };
        self.inner.on_connection_event(ConnectionEvent::FullyNegotiatedOutbound(outbound));
    }

    pub(super) fn take_realtime(&mut self, stream: libp2p::Stream) {
        self.realtime.opened(stream);
    }

    /// The follower is ready for our stream. Whether that is on its way, so that no fresh start is needed.
    pub(super) fn nudge(&mut self) -> bool {
        match self.outbound {
            Attempt::Waiting(_) => self.outbound = Attempt::Due,
            Attempt::Due | Attempt::Asked => self.nudged = true,
            Attempt::Idle | Attempt::Open => return false,
        }
        true
    }

    /// The stream is tried again, and gossipsub's handler hears nothing of it. Whether this is the first time
    /// since the last one was open.
    pub(super) fn retry(&mut self) -> bool {
        let is_first = self.refusals == 0;
        self.outbound =
            if std::mem::take(&mut self.nudged) { Attempt::Due } else { Attempt::later(self.refusals) };
        self.refusals = self.refusals.saturating_add(1);
        is_first
    }

    pub(super) fn retry_realtime(&mut self) {
        self.realtime.failed();
    }

    /// Gossipsub's handler shuts itself after a handful of streams; what it then accepts is: nothing.
    pub(super) fn is_spent(&self) -> bool {
        self.inner.listen_protocol().into_upgrade().0.is_right()
    }

    /// Sends what waits on the direct path. The stream that is to be asked for now, if any.
    pub(super) fn due(&mut self, cx: &mut Context<'_>) -> Option<Purpose> {
        if self.outbound.is_due(cx) {
            return Some(Purpose::Lane);
        }
        self.realtime.poll(cx).then_some(Purpose::Realtime)
    }

    /// What gossipsub's handler has for its behaviour; `None` if it wants a stream.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<<GossipHandler as ConnectionHandler>::ToBehaviour>> {
        loop {
            return match self.inner.poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { .. }) => {
                    self.outbound = Attempt::Asked;
                    Poll::Ready(None)
                }
                Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event)) => Poll::Ready(Some(event)),
                // Gossipsub does nothing else.
                Poll::Ready(_) => continue,
            };
        }
    }
}
