//! The names under which groups are negotiated on a connection, and nothing else: what runs on a negotiated
//! stream is gossipsub's own codec, or frames (see `realtime`).
//!
//! The idea: gossipsub with a custom protocol name falls back to an older version of itself. So the names are
//! ours, and its codec is always set up as if the newest of its own names had been negotiated.

use std::{convert::Infallible, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::{ConnectionHandler, NetworkBehaviour, handler::OutboundUpgradeSend},
};
use parlor_proto::ids::SessionId;

use super::gossip::Gossip;

/// The handler that gossipsub wants on each connection.
pub(crate) type GossipHandler = <Gossip as NetworkBehaviour>::ConnectionHandler;

/// Gossipsub's codec settings: a template for its streams.
pub(crate) type Wire = <GossipHandler as ConnectionHandler>::OutboundProtocol;

/// A negotiated stream as gossipsub's handler takes it.
pub(crate) type Channel = <Wire as OutboundUpgradeSend>::Output;

/// What a stream of a group is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Gossipsub's messages.
    Lane,
    /// "I admit you, start (again)": opened by a follower, and carrying no bytes.
    Ready,
    /// Realtime messages, one way.
    Realtime,
}

/// One protocol name of one group.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    name: StreamProtocol,
    pub(crate) session: SessionId,
    pub(crate) purpose: Purpose,
}

impl Offer {
    /// `/parlor/group/<session>/1`, `/parlor/group/<session>/ready/1`, `/parlor/group/<session>/realtime/1`.
    pub(super) fn new(session: SessionId, purpose: Purpose) -> Self {
        let name = match purpose {
            Purpose::Lane => format!("/parlor/group/{session}/1"),
            Purpose::Ready => format!("/parlor/group/{session}/ready/1"),
            Purpose::Realtime => format!("/parlor/group/{session}/realtime/1"),
        };
        let name = StreamProtocol::try_from_owned(name).expect("it starts with a slash");
        Self { name, session, purpose }
    }
}

impl Offer {
    /// The group whose protocol this is.
    pub(super) fn session_in(name: &StreamProtocol) -> Option<SessionId> {
        let (session, _) = name.as_ref().strip_prefix("/parlor/group/")?.split_once('/')?;
        session.parse().ok()
    }
}

/// All protocols of one group. They are asked for whenever a connection is polled, so they are made once.
pub(super) struct Offers {
    lane: Offer,
    ready: Offer,
    realtime: Offer,
}

impl Offers {
    pub(super) fn new(session: SessionId) -> Self {
        let [lane, ready, realtime] =
            [Purpose::Lane, Purpose::Ready, Purpose::Realtime].map(|purpose| Offer::new(session, purpose));
        Self { lane, ready, realtime }
    }

    pub(super) fn of(&self, purpose: Purpose) -> &Offer {
        match purpose {
            Purpose::Lane => &self.lane,
            Purpose::Ready => &self.ready,
            Purpose::Realtime => &self.realtime,
        }
    }
}

impl AsRef<str> for Offer {
    fn as_ref(&self) -> &str {
        self.name.as_ref()
    }
}

/// A negotiated stream, for its purpose.
pub(crate) enum Opened {
    Lane(Box<Channel>),
    Ready,
    Realtime(Stream),
}

/// What came in.
pub(crate) struct Arrival {
    pub(crate) session: SessionId,
    pub(crate) opened: Opened,
}

/// All that this node accepts on one connection.
pub(crate) struct Inbound {
    pub(super) offers: Vec<Offer>,
    pub(crate) wire: Arc<Wire>,
}

impl UpgradeInfo for Inbound {
    type Info = Offer;
    type InfoIter = Vec<Offer>;

    fn protocol_info(&self) -> Vec<Offer> {
        self.offers.clone()
    }
}

impl InboundUpgrade<Stream> for Inbound {
    type Output = Arrival;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Arrival, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, offer: Offer) -> Self::Future {
        let session = offer.session;
        let newest = self.wire.protocol_info().into_iter().next();
        match (offer.purpose, newest) {
            (Purpose::Lane, Some(newest)) => Wire::clone(&self.wire)
                .upgrade_inbound(stream, newest)
                .map(move |opened| {
                    opened.map(|channel| Arrival { session, opened: Opened::Lane(Box::new(channel)) })
                })
                .boxed(),
            (purpose, _) => futures::future::ok(Arrival { session, opened: plain(purpose, stream) }).boxed(),
        }
    }
}

/// One stream to be opened.
pub(crate) struct Outbound {
    pub(crate) offer: Offer,
    pub(crate) wire: Arc<Wire>,
}

impl UpgradeInfo for Outbound {
    type Info = Offer;
    type InfoIter = std::iter::Once<Offer>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(self.offer.clone())
    }
}

impl OutboundUpgrade<Stream> for Outbound {
    type Output = Opened;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Opened, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, offer: Offer) -> Self::Future {
        let newest = self.wire.protocol_info().into_iter().next();
        match (offer.purpose, newest) {
            (Purpose::Lane, Some(newest)) => {
                OutboundUpgrade::upgrade_outbound(Wire::clone(&self.wire), stream, newest)
                    .map(|opened| opened.map(|channel| Opened::Lane(Box::new(channel))))
                    .boxed()
            }
            (purpose, _) => futures::future::ok(plain(purpose, stream)).boxed(),
        }
    }
}

/// A stream that gossipsub has nothing to do with. (Its own always have a name: see [`Wire`].)
fn plain(purpose: Purpose, stream: Stream) -> Opened {
    match purpose {
        Purpose::Realtime => Opened::Realtime(stream),
        Purpose::Lane | Purpose::Ready => Opened::Ready,
    }
}
