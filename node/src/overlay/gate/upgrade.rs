//! The names under which groups are negotiated on a connection, and nothing else: what runs on a negotiated
//! stream is gossipsub's own codec.
//!
//! The idea: gossipsub with a custom protocol name falls back to an older version of itself. So the names are
//! ours, and its codec is always set up as if the newest of its own names had been negotiated.

use std::convert::Infallible;

use futures::{FutureExt as _, future::BoxFuture};
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::{ConnectionHandler, NetworkBehaviour, handler::OutboundUpgradeSend},
};
use parlor_proto::ids::SessionId;

use super::group::Gossip;

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
}

/// One protocol name of one group.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    name: StreamProtocol,
    pub(crate) session: SessionId,
    pub(crate) purpose: Purpose,
}

impl Offer {
    /// `/parlor/group/<session>/1` or `/parlor/group/<session>/ready/1`.
    pub(super) fn new(session: SessionId, purpose: Purpose) -> Self {
        let name = match purpose {
            Purpose::Lane => format!("/parlor/group/{session}/1"),
            Purpose::Ready => format!("/parlor/group/{session}/ready/1"),
        };
        let name = StreamProtocol::try_from_owned(name).expect("it starts with a slash");
        Self { name, session, purpose }
    }
}

impl AsRef<str> for Offer {
    fn as_ref(&self) -> &str {
        self.name.as_ref()
    }
}

/// What came in: the offer that was taken up, and the stream if it carries anything.
pub(crate) struct Arrival {
    pub(crate) session: SessionId,
    /// `None` for [`Purpose::Ready`].
    pub(crate) channel: Option<Channel>,
}

/// All that this node accepts on one connection.
pub(crate) struct Inbound {
    pub(super) offers: Vec<Offer>,
    pub(crate) wire: Wire,
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
            (Purpose::Lane, Some(newest)) => self
                .wire
                .upgrade_inbound(stream, newest)
                .map(move |opened| opened.map(|channel| Arrival { session, channel: Some(channel) }))
                .boxed(),
            _ => futures::future::ok(Arrival { session, channel: None }).boxed(),
        }
    }
}

/// One stream to be opened.
pub(crate) struct Outbound {
    pub(crate) offer: Offer,
    pub(crate) wire: Wire,
}

impl UpgradeInfo for Outbound {
    type Info = Offer;
    type InfoIter = std::iter::Once<Offer>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(self.offer.clone())
    }
}

impl OutboundUpgrade<Stream> for Outbound {
    /// `None` for [`Purpose::Ready`].
    type Output = Option<Channel>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Option<Channel>, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, offer: Offer) -> Self::Future {
        let newest = self.wire.protocol_info().into_iter().next();
        match (offer.purpose, newest) {
            (Purpose::Lane, Some(newest)) => OutboundUpgrade::upgrade_outbound(self.wire, stream, newest)
                .map(|opened| opened.map(Some))
                .boxed(),
            _ => futures::future::ok(None).boxed(),
        }
    }
}
