//! The network: connections, discovery, requests, streams and closed groups.
//!
//! For: [`Overlay`], the only way from the node to other nodes. Not for: what is said. Nothing of libp2p's
//! leaves this module: peers are [`PeerId`]s, places are [`Address`]es, and what happens is an [`Event`].
//!
//! The idea: a handle that can be cloned, and a task that owns the swarm. Commands go in and are answered;
//! events come out of one bounded channel. A consumer that is too slow never stalls the network: what happens
//! then is written in `outlet`.
//!
//! - `gate`: groups shown to their members only.
//! - `driver`: the event loop; `dial`, `nodes`, `partners`, `paths`, `book`, `networks`, `outlet`: its state.
//! - `relays`, `search`, `ports`: being reached and finding others over the internet; `serve`, `dial_back`, `rendezvous`:
//!   the relay role.
//! - `request`, `stream`: the protocols; `probe`: dead connections; `behaviour`: how it is all put together,
//!   with the limits.

mod address;
mod behaviour;
mod book;
mod dial;
mod dial_back;
mod driver;
mod error;
mod gate;
mod listen;
mod networks;
mod nodes;
mod outlet;
mod partners;
mod paths;
mod points;
mod ports;
mod probe;
mod relays;
mod rendezvous;
mod request;
mod search;
mod serve;
mod stream;
mod traffic;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use libp2p::metrics::{Metrics, Registry};
use parlor_proto::{
    identity::{Identity, PeerId},
    ids::SessionId,
    wire::{Request, Response},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    address::{Address, AddressError},
    error::{Closed, ConnectError, PublishError, RequestError, StartError, StreamError},
    nodes::Found,
    paths::Path,
    relays::{MAX_RELAYS, RelayStatus},
    request::InboundRequest,
    serve::{LimitsError, RelayLimits},
    stream::Stream,
    traffic::Traffic,
};
use self::{
    dial::Waiter,
    driver::{Command, Driver},
    outlet::Outlet,
    ports::Ports,
    relays::Relays,
};
use crate::critical::CriticalTasks;

/// Largest payload of one message to a group, bytes.
pub const MAX_GROUP_PAYLOAD: usize = gate::MAX_PAYLOAD;

/// Commands waiting for the event loop, which takes them at once; callers wait when it is full.
const MAX_COMMANDS: usize = 256;
/// One attempt to connect, and another one at addresses learned meanwhile.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2 + behaviour::DIAL_TIMEOUT.as_secs());
/// Opening a stream to a connected peer.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// How long leaving takes at most.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a node's network is like.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who it is.
    pub identity: Identity,
    /// What it is called by others; it is shortened and cleaned if need be.
    pub nickname: String,
    /// Where to listen. Empty: on all interfaces, QUIC and TCP, IPv4 and IPv6.
    pub listen: Vec<Address>,
    /// At which port, if `listen` is empty and the port is free; 0: any. Others find a node again where it was.
    pub port: u16,
    /// Whether to find and be found by nodes in the local network.
    pub mdns: bool,
    /// Whether `/memory/…` addresses work: between nodes in one process.
    pub memory: bool,
    /// How it is reached from beyond its own network.
    pub internet: Internet,
}

/// How a node is reached from beyond its own network. By default: if others can call it directly, or it calls them.
#[derive(Debug, Clone, Default)]
pub struct Internet {
    /// Relays through which it can be reached, each ending in `/p2p/<peer>`; the first [`MAX_RELAYS`].
    pub relays: Vec<Address>,
    /// Addresses that lead to this node and that it cannot know: a name, a port that a router forwards.
    pub announce: Vec<Address>,
    /// Whether the router is asked to open ports (UPnP, PCP, NAT-PMP).
    pub map_ports: bool,
    /// Whether it is a relay for others, and how much it gives.
    pub serve: Option<RelayLimits>,
}

/// What happens in the network.
#[derive(Debug)]
pub enum Event {
    /// A Parlor node is connected. Before that it may already send requests.
    Connected(PeerId),
    /// The last connection with it is gone.
    Disconnected(PeerId),
    /// It told its name. Follows each [`Event::Connected`].
    Found {
        /// Who.
        peer: PeerId,
        /// At most 64 bytes, printable; may be empty, and is not unique.
        nickname: String,
    },
    /// A peer asks. Dropped, it is refused.
    Request(InboundRequest),
    /// A peer opened a stream for a program's bytes.
    Stream {
        /// Who.
        peer: PeerId,
        /// The stream.
        stream: Stream,
    },
    /// A member of a group said something. It is a member by the gate's list, and signed it, or said it on its
    /// own connection. It may come from a past run of that member's, again, or twice in a long time; a realtime
    /// message may come by two ways at once.
    GroupMessage {
        /// In which group.
        session: SessionId,
        /// Who wrote it, which need not be who passed it on.
        author: PeerId,
        /// What.
        payload: Bytes,
    },
    /// A member is directly connected to the group here, or no longer.
    GroupPeer {
        /// Which group.
        session: SessionId,
        /// Who.
        peer: PeerId,
        /// Which of the two.
        present: bool,
    },
}

/// A node near or connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who.
    pub peer: PeerId,
    /// See [`Event::Found`].
    pub nickname: String,
    /// Where it can be reached, as far as is known, ending in `/p2p/<peer>`.
    pub addresses: Vec<Address>,
    /// Whether there is a connection now.
    pub connected: bool,
    /// How it is reached, if it is connected.
    pub path: Option<Path>,
    /// How it came to be known.
    pub found: Found,
}

/// A running node's network. Clones are handles of the same one.
///
/// It runs until [`Overlay::shutdown`], or until the last handle is dropped. After that, calls that answer
/// say so, and the rest does nothing.
#[derive(Clone)]
pub struct Overlay {
    peer: PeerId,
    commands: mpsc::Sender<Command>,
    streams: libp2p_stream::Control,
    registry: Arc<Registry>,
    /// Set once it is told to shut down.
    leaving: CancellationToken,
}

impl Overlay {
    /// Starts the network in a task of its own, and returns once it listens.
    ///
    /// # Errors
    /// See [`StartError`], which names the address that cannot be listened on.
    pub async fn start(config: Config) -> Result<(Self, mpsc::Receiver<Event>), StartError> {
        Box::pin(Self::start_in(config, &CriticalTasks::default())).await
    }

    /// The same, in a task of `tasks`.
    ///
    /// # Errors
    /// The same.
    pub async fn start_in(
        config: Config,
        tasks: &CriticalTasks,
    ) -> Result<(Self, mpsc::Receiver<Event>), StartError> {
        let peer = config.identity.peer();
        let key = address::keypair(&config.identity);
        let agent = nodes::agent(&config.nickname);
        let Internet { relays, announce, map_ports, serve } = config.internet;
        let is_relay = serve.is_some();
        let setup = behaviour::Setup { agent, mdns: config.mdns, memory: config.memory, serve };
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let mut swarm = behaviour::swarm(key.clone(), &setup, &mut registry).map_err(StartError::Setup)?;
        let meanwhile = listen::listen(&mut swarm, &config.listen, config.port).await?;
        announce.iter().for_each(|address| swarm.add_external_address(address.place()));
        let ports = if map_ports { Ports::map(swarm.listeners()) } else { Ports::default() };
        let relays = Relays::new(&relays, Instant::now());

        let mut streams = swarm.behaviour().streams.new_control();
        let incoming = streams.accept(stream::CONTENT).expect("it is accepted once, here");
        let (sink, accepted) = stream::accepted();
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let (outlet, events) = Outlet::new();
        let driver = Driver::new(peer, key, swarm, outlet, relays, is_relay, metrics);

        let (leaving, handles) = (CancellationToken::new(), commands.downgrade());
        let is_left = leaving.clone();
        let was_asked = move || is_left.is_cancelled() || handles.strong_count() == 0;
        tasks.spawn("the network", was_asked.clone(), driver.run(meanwhile, receiver, accepted, ports));
        tasks.spawn("the network's streams", was_asked, stream::accept(incoming, sink));
        Ok((Self { peer, commands, streams, registry: Arc::new(registry), leaving }, events))
    }

    /// This node.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Where this node can be reached, ending in `/p2p/<peer>`: addresses for others first, loopback last.
    pub async fn addresses(&self) -> Result<Vec<Address>, Closed> {
        self.ask(Command::Addresses).await
    }

    /// The nodes near or connected, by name.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, Closed> {
        self.ask(Command::Peers).await
    }

    /// How it stands with the relays of [`Internet::relays`].
    pub async fn relays(&self) -> Result<Vec<RelayStatus>, Closed> {
        self.ask(Command::Relays).await
    }

    /// What was sent and received since the start.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic::of(&self.registry)
    }

    /// Everything that is counted, as Prometheus reads it (OpenMetrics text).
    #[must_use]
    pub fn metrics(&self) -> String {
        traffic::text(&self.registry)
    }

    /// Remembers where a peer can be reached, until this node ends. Of one peer 8 such addresses are kept,
    /// the newest. An address that names another peer is ignored.
    pub async fn add_address(&self, peer: PeerId, address: Address) {
        self.tell(Command::AddAddress(peer, address)).await;
    }

    /// The same of an address that the user did not give, but somebody else said, in a roster, say: of one peer 4 are kept,
    /// the newest, and of all together 1,024. What leads into a network that this node is not in, or to this machine, is
    /// not called: see `networks`.
    pub async fn hear_address(&self, peer: PeerId, address: Address) {
        self.tell(Command::HearAddress(peer, address)).await;
    }

    /// The addresses at which this node would call the peer, ending in `/p2p/<peer>`.
    pub async fn addresses_of(&self, peer: PeerId) -> Result<Vec<Address>, Closed> {
        self.ask(|answer| Command::AddressesOf(peer, answer)).await
    }

    /// Connects to a peer, if it is not connected, and makes sure that it is a Parlor node. Takes at most
    /// about 12 seconds.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, peer: PeerId) -> Result<(), ConnectError> {
        self.reach(peer, Waiter::Node).await
    }

    /// Asks a peer, connecting if need be.
    ///
    /// # Errors
    /// See [`RequestError`]. After some of them the peer may have acted on the request.
    pub async fn request(&self, peer: PeerId, request: Request) -> Result<Response, RequestError> {
        let waiter = |answer| Command::Reach(peer, Waiter::Request(request, answer));
        self.ask(waiter).await.unwrap_or(Err(RequestError::Connect(ConnectError::Closed)))
    }

    /// Opens a stream for a program's bytes, connecting if need be.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub async fn open_stream(&self, peer: PeerId) -> Result<Stream, StreamError> {
        self.reach(peer, Waiter::Stream).await?;
        let mut control = self.streams.clone();
        let open = control.open_stream(address::theirs(peer), stream::CONTENT);
        match tokio::time::timeout(STREAM_TIMEOUT, open).await {
            Ok(Ok(stream)) => Ok(Stream::outbound(stream)),
            Ok(Err(libp2p_stream::OpenStreamError::UnsupportedProtocol(_))) => {
                Err(StreamError::Unsupported(peer))
            }
            Ok(Err(libp2p_stream::OpenStreamError::Io(source))) => Err(StreamError::Io { peer, source }),
            Ok(Err(other)) => Err(StreamError::Io { peer, source: std::io::Error::other(other) }),
            Err(_) => Err(StreamError::TimedOut(peer)),
        }
    }

    /// Opens a group, shown to these members only; of one that is open, the members become these. This node
    /// is in it whether named or not.
    pub async fn group_open(&self, session: SessionId, members: Vec<PeerId>) {
        self.tell(Command::GroupOpen(session, members)).await;
    }

    /// Lets a peer into an open group.
    pub async fn group_allow(&self, session: SessionId, peer: PeerId) {
        self.tell(Command::GroupAllow(session, peer)).await;
    }

    /// Puts a member out of a group, at once, as far as this node goes: all members have to do it.
    pub async fn group_revoke(&self, session: SessionId, peer: PeerId) {
        self.tell(Command::GroupRevoke(session, peer)).await;
    }

    /// Leaves a group.
    pub async fn group_close(&self, session: SessionId) {
        self.tell(Command::GroupClose(session)).await;
    }

    /// Sends a message to all members that are reached, directly or through others; at most
    /// [`MAX_GROUP_PAYLOAD`] bytes. That it was sent does not say that it arrived.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn group_publish(&self, session: SessionId, payload: Bytes) -> Result<(), PublishError> {
        self.ask(|answer| Command::Publish(session, payload, answer))
            .await
            .unwrap_or(Err(PublishError::Closed))
    }

    /// Sends a realtime message, of at most [`MAX_GROUP_PAYLOAD`] bytes: it may be lost, and may arrive twice
    /// or out of order. Members that are directly connected get it over a stream of their own, unsigned, on
    /// which the newest messages go before the oldest are lost; if any other member is left, it goes by
    /// [`Self::group_publish`] too. That it was sent does not say that it arrived.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn group_realtime(&self, session: SessionId, payload: Bytes) -> Result<(), PublishError> {
        self.ask(|answer| Command::Realtime(session, payload, answer))
            .await
            .unwrap_or(Err(PublishError::Closed))
    }

    /// Keeps a connection to this peer: called now and whenever it is lost, and exempt from the limits on
    /// connections. For those in a session with this node: each call is undone by one [`Self::unkeep`].
    pub async fn keep(&self, peer: PeerId) {
        self.tell(Command::Keep(peer)).await;
    }

    /// Undoes one [`Self::keep`]. The connection stays as long as it is used.
    pub async fn unkeep(&self, peer: PeerId) {
        self.tell(Command::Unkeep(peer)).await;
    }

    /// Closes all connections, and returns when that is done, after a second at most.
    pub async fn shutdown(self) {
        self.leaving.cancel();
        self.tell(Command::Shutdown).await;
        // The loop drops its end when it is done.
        self.commands.closed().await;
    }

    async fn reach(
        &self,
        peer: PeerId,
        waiter: impl FnOnce(oneshot::Sender<Result<(), ConnectError>>) -> Waiter,
    ) -> Result<(), ConnectError> {
        let connected = self.ask(|answer| Command::Reach(peer, waiter(answer)));
        match tokio::time::timeout(CONNECT_TIMEOUT, connected).await {
            Ok(outcome) => outcome.unwrap_or(Err(ConnectError::Closed)),
            Err(_) => Err(ConnectError::TimedOut(peer)),
        }
    }

    async fn tell(&self, command: Command) {
        // An error says that the loop has ended.
        let _ = self.commands.send(command).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Closed> {
        let (answer, wait) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| Closed)?;
        wait.await.map_err(|_| Closed)
    }
}
