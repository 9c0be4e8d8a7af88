//! The swarm's behaviours put together, its transports, and the limits on connections.

use std::{io, time::Duration};

use libp2p::{
    Swarm, SwarmBuilder, autonat,
    connection_limits::{self, ConnectionLimits},
    core::{
        Transport as _,
        transport::{MemoryTransport, OptionalTransport},
        upgrade::Version,
    },
    dcutr, identify,
    identity::Keypair,
    mdns, memory_connection_limits,
    metrics::Registry,
    noise, ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};
use parlor_proto::wire;

use super::{
    gate::Gate,
    points::Points,
    probe::Probe,
    request::Requests,
    serve::{RelayLimits, Serve},
};

/// Connections with one peer: two that dial each other at the same time have two, beside one through a relay; and one to
/// spare.
const MAX_PER_PEER: u32 = 4;
/// Connections with one peer that is exempt from the limits, being in a session with us.
pub(crate) const MAX_PER_PARTNER: u32 = 8;
/// Connections in all, with peers that are not in a session with us.
const MAX_CONNECTIONS: u32 = 512;
/// Connections that others made, so that there is room for our own.
const MAX_INCOMING: u32 = 384;
/// Connections in the making, each way.
const MAX_PENDING: u32 = 256;
/// Share of the machine's memory above which no new connection is made or taken.
const MAX_MEMORY: f64 = 0.8;
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// Within this, one attempt to connect succeeds or fails.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection is tried out; a dead one is closed.
const PING_EVERY: Duration = Duration::from_secs(15);
/// How long the other end may take to show that it is alive.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// All behaviours. Those that limit connections come first, so that the others never hear of one denied.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    probe: Probe,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    relay: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
    autonat: autonat::v2::client::Behaviour,
    pub(crate) points: Points,
    pub(crate) serve: Toggle<Serve>,
    pub(crate) requests: Requests,
    pub(crate) streams: libp2p_stream::Behaviour,
    pub(crate) gate: Gate,
}

impl Behaviour {
    fn new(key: &Keypair, setup: &Setup, relay: relay::client::Behaviour) -> Self {
        // Whoever has a reservation is connected, and whoever calls somebody through this relay.
        let relayed = setup.serve.as_ref().map_or(0, |limits| limits.reservations + limits.circuits);
        let relayed = u32::try_from(relayed).unwrap_or(u32::MAX);
        let limits = ConnectionLimits::default()
            .with_max_established_per_peer(Some(MAX_PER_PEER))
            .with_max_established(Some(MAX_CONNECTIONS.saturating_add(relayed)))
            .with_max_established_incoming(Some(MAX_INCOMING.saturating_add(relayed)))
            .with_max_pending_incoming(Some(MAX_PENDING))
            .with_max_pending_outgoing(Some(MAX_PENDING));
        let identify = identify::Config::new(wire::IDENTIFY.into(), key.public())
            .with_agent_version(setup.agent.clone())
            .with_push_listen_addr_updates(true)
            // Addresses are kept in a book of our own.
            .with_cache_size(0);
        let ping = ping::Config::new().with_interval(PING_EVERY).with_timeout(PING_TIMEOUT);
        Self {
            limits: connection_limits::Behaviour::new(limits),
            memory: memory_connection_limits::Behaviour::with_max_percentage(MAX_MEMORY),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            probe: Probe::default(),
            mdns: setup.mdns.then(|| nearby(key)).flatten().into(),
            relay,
            dcutr: dcutr::Behaviour::new(key.public().to_peer_id()),
            autonat: autonat::v2::client::Behaviour::default(),
            points: Points::new(),
            serve: setup.serve.as_ref().map(|limits| Serve::new(key, limits)).into(),
            requests: Requests::new(),
            streams: libp2p_stream::Behaviour::new(),
            gate: Gate::new(key.clone()),
        }
    }
}

/// Without multicast a node is still of use: it is said, and goes on.
fn nearby(key: &Keypair) -> Option<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), key.public().to_peer_id())
        .inspect_err(|error| tracing::warn!(%error, "mDNS is not available: nodes nearby will not be found"))
        .ok()
}

/// What a swarm is to be like.
pub(crate) struct Setup {
    /// What it calls its program and itself.
    pub(crate) agent: String,
    /// Whether it finds others in the local network.
    pub(crate) mdns: bool,
    /// Whether it has libp2p's transport within one process, too.
    pub(crate) memory: bool,
    /// Whether it is a relay.
    pub(crate) serve: Option<RelayLimits>,
}

/// A swarm that listens nowhere yet: QUIC, TCP with noise and yamux, relayed connections, names by DNS. How much it sends
/// and receives is counted in `registry`.
pub(crate) fn swarm(key: Keypair, setup: &Setup, registry: &mut Registry) -> io::Result<Swarm<Behaviour>> {
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(io::Error::other)?
        .with_quic()
        .with_other_transport(|key| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            let security = noise::Config::new(key)?;
            let transport = if setup.memory {
                OptionalTransport::some(MemoryTransport::default())
            } else {
                OptionalTransport::none()
            };
            Ok(transport.upgrade(Version::V1).authenticate(security).multiplex(yamux::Config::default()))
        })
        .map_err(io::Error::other)?
        .with_dns()?
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .map_err(io::Error::other)?
        .with_bandwidth_metrics(registry)
        .with_behaviour(|key, relay| Behaviour::new(key, setup, relay))
        .map_err(io::Error::other)?
        // All addresses of a peer are tried, direct ones before those through a relay (RFC 8305).
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE).with_smart_dial())
        .with_connection_timeout(DIAL_TIMEOUT)
        .build();
    Ok(swarm)
}
