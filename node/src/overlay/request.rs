//! Requests and responses: one libp2p protocol for each family of messages.
//!
//! For: the table of protocols with their limits, and [`InboundRequest`]. Not for: what messages mean (see
//! `parlor_proto::wire`) and connections (see [`super::driver`]).
//!
//! The idea: the rest of the node knows one request type and one response type. A family is one line in the
//! table below; all that maps between the table and the two types is made from it.

use std::{io, time::Duration};

use libp2p::{
    StreamProtocol,
    request_response::{
        Config, Event as ProtocolEvent, InboundFailure, Message, OutboundFailure, OutboundRequestId,
        ProtocolSupport, ResponseChannel,
        cbor::{Behaviour, codec::Codec},
    },
    swarm::NetworkBehaviour,
};
use parlor_proto::{
    billing::{BillingRequest, BillingResponse},
    group::{UpdatesRequest, UpdatesResponse},
    identity::PeerId,
    session::{VoteRequest, VoteResponse},
    wire::{
        self, CatalogRequest, CatalogResponse, CommitsRequest, CommitsResponse, LinkRequest, LinkResponse,
    },
    wire::{Request, Response, SessionRequest, SessionResponse, SupplyRequest, SupplyResponse},
};
use tokio::sync::oneshot;

use super::error::RequestError;

/// How long an answer may take, from the request's first byte to the answer's last.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests under way on one connection, of one protocol, both ways.
const MAX_CONCURRENT: usize = 32;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The protocols: field, variant of [`Request`] and [`Response`], name, request and response with the largest
/// size of each, bytes.
macro_rules! table {
    ($make:ident) => {
        $make! {
            catalog: Catalog(wire::CATALOG), CatalogRequest[KIB] => CatalogResponse[MIB];
            supply: Supply(wire::SUPPLY), Box<SupplyRequest>[64 * KIB] => Box<SupplyResponse>[16 * MIB];
            session: Session(wire::SESSION), SessionRequest[2 * MIB] => SessionResponse[4 * KIB];
            updates: Updates(wire::UPDATES), UpdatesRequest[64 * KIB] => UpdatesResponse[2 * MIB];
            commits: Commits(wire::COMMITS), CommitsRequest[KIB] => CommitsResponse[2 * MIB];
            vote: Vote(wire::VOTE), Box<VoteRequest>[16 * KIB] => Box<VoteResponse>[16 * KIB];
            link: Link(wire::LINK), LinkRequest[KIB] => LinkResponse[KIB];
            billing: Billing(wire::BILLING), Box<BillingRequest>[64 * KIB] => Box<BillingResponse>[64 * KIB];
        }
    };
}

/// Which request of ours an outcome belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    protocol: &'static str,
    id: OutboundRequestId,
}

/// What the protocols report, in the types of the rest of the node.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A peer asks.
    Asked { from: libp2p::PeerId, request: Request, channel: Channel },
    /// A peer answered.
    Answered { key: Key, response: Response },
    /// A peer did not.
    Failed { key: Key, error: OutboundFailure },
    /// A peer's request came to nothing.
    Dropped { from: libp2p::PeerId, error: InboundFailure },
}

fn behaviour<Req, Resp>(name: &'static str, request: u64, response: u64) -> Behaviour<Req, Resp>
where
    Codec<Req, Resp>: libp2p::request_response::Codec<Protocol = StreamProtocol> + Clone + Send + 'static,
{
    let codec = Codec::default().set_request_size_maximum(request).set_response_size_maximum(response);
    let config =
        Config::default().with_request_timeout(ANSWER_TIMEOUT).with_max_concurrent_streams(MAX_CONCURRENT);
    Behaviour::with_codec(codec, [(StreamProtocol::new(name), ProtocolSupport::Full)], config)
}

macro_rules! make {
    ($($field:ident: $variant:ident($name:expr),
       $request:ty[$request_max:expr] => $response:ty[$response_max:expr];)*) => {
        /// The behaviours of all protocols.
        #[derive(NetworkBehaviour)]
        #[behaviour(prelude = "libp2p::swarm::derive_prelude", to_swarm = "Outcomes")]
        pub(crate) struct Requests {
            $($field: Behaviour<$request, $response>,)*
        }

        /// Where a response goes.
        #[derive(Debug)]
        pub(crate) enum Channel {
            $($variant(ResponseChannel<$response>),)*
        }

        /// None for what is of no interest.
        #[derive(Debug)]
        pub(crate) struct Outcomes(pub(crate) Option<Outcome>);

        $(impl From<ProtocolEvent<$request, $response>> for Outcomes {
            fn from(event: ProtocolEvent<$request, $response>) -> Self {
                let protocol = $name;
                Self(match event {
                    ProtocolEvent::Message { peer: from, message, .. } => Some(match message {
                        Message::Request { request, channel, .. } => Outcome::Asked {
                            from,
                            request: Request::$variant(request),
                            channel: Channel::$variant(channel),
                        },
                        Message::Response { request_id: id, response } => {
                            Outcome::Answered { key: Key { protocol, id }, response: Response::$variant(response) }
                        }
                    }),
                    ProtocolEvent::OutboundFailure { request_id: id, error, .. } => {
                        Some(Outcome::Failed { key: Key { protocol, id }, error })
                    }
                    ProtocolEvent::InboundFailure { peer: from, error, .. } => Some(Outcome::Dropped { from, error }),
                    ProtocolEvent::ResponseSent { .. } => None,
                })
            }
        })*

        impl Requests {
            pub(crate) fn new() -> Self {
                Self { $($field: behaviour($name, $request_max, $response_max),)* }
            }

            /// Sends a request to a connected peer.
            pub(crate) fn send(&mut self, peer: &libp2p::PeerId, request: Request) -> Key {
                match request {
                    $(Request::$variant(request) => {
                        Key { protocol: $name, id: self.$field.send_request(peer, request) }
                    })*
                }
            }

            /// Sends an answer. One of another protocol than the request's is a mistake of this node's, and
            /// goes nowhere: the peer sees a refusal.
            pub(crate) fn answer(&mut self, channel: Channel, response: Response) {
                match (channel, response) {
                    // An error says that the peer is gone.
                    $((Channel::$variant(channel), Response::$variant(response)) => {
                        let _ = self.$field.send_response(channel, response);
                    })*
                    _ => tracing::error!("a request was answered with another protocol's response"),
                }
            }
        }
    };
}

table!(make);

/// A peer's request. Answer it, or drop it to refuse.
#[derive(Debug)]
pub struct InboundRequest {
    /// Who asks. Authenticated by the connection.
    pub from: PeerId,
    /// What.
    pub request: Request,
    pub(crate) answer: oneshot::Sender<Response>,
}

impl InboundRequest {
    /// Sends the answer, which must be of the request's protocol. A peer that is gone by now does not get it.
    pub fn respond(self, response: Response) {
        let _ = self.answer.send(response);
    }
}

/// What went wrong, for the one that asked.
pub(crate) fn failure(peer: PeerId, error: &OutboundFailure) -> RequestError {
    match error {
        OutboundFailure::Timeout => RequestError::TimedOut(peer),
        OutboundFailure::DialFailure | OutboundFailure::ConnectionClosed => RequestError::Lost(peer),
        OutboundFailure::UnsupportedProtocols => RequestError::Unsupported(peer),
        OutboundFailure::Io(error) => match error.kind() {
            // The end of the stream without an answer.
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::WriteZero => RequestError::Refused(peer),
            _ => RequestError::Garbled { peer, reason: error.to_string() },
        },
    }
}
