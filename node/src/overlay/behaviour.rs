//! The swarm's behaviours put together, its transports, and the limits on connections.

use std::{io, num::NonZeroU8, time::Duration};

use libp2p::{
    Swarm, SwarmBuilder,
    connection_limits::{self, ConnectionLimits},
    core::{
        Transport as _,
        transport::{MemoryTransport, OptionalTransport},
        upgrade::Version,
    },
    identify,
    identity::Keypair,
    mdns, memory_connection_limits, noise, ping,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};
use parlor_proto::wire;

use super::{gate::Gate, probe::Probe, request::Requests};

/// Connections with one peer: two that dial each other at the same time have two, and one to spare.
const MAX_PER_PEER: u32 = 3;
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
/// As many addresses of a peer as are ever tried at the same time: all that the book has.
const DIAL_CONCURRENCY: NonZeroU8 = NonZeroU8::new(2 * super::book::MAX_PER_PEER as u8).expect("not zero");
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
    pub(crate) requests: Requests,
    pub(crate) streams: libp2p_stream::Behaviour,
    pub(crate) gate: Gate,
}

impl Behaviour {
    fn new(key: &Keypair, agent: String, mdns: bool) -> Self {
        let limits = ConnectionLimits::default()
            .with_max_established_per_peer(Some(MAX_PER_PEER))
            .with_max_established(Some(MAX_CONNECTIONS))
            .with_max_established_incoming(Some(MAX_INCOMING))
            .with_max_pending_incoming(Some(MAX_PENDING))
            .with_max_pending_outgoing(Some(MAX_PENDING));
        let identify = identify::Config::new(wire::IDENTIFY.into(), key.public())
            .with_agent_version(agent)
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
            mdns: mdns.then(|| nearby(key)).flatten().into(),
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

/// A swarm that listens nowhere yet: QUIC, TCP with noise and yamux, names by DNS; `memory` adds libp2p's
/// transport within one process.
pub(crate) fn swarm(key: Keypair, agent: String, mdns: bool, memory: bool) -> io::Result<Swarm<Behaviour>> {
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(io::Error::other)?
        .with_quic()
        .with_other_transport(|key| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            let security = noise::Config::new(key)?;
            let transport = if memory {
                OptionalTransport::some(MemoryTransport::default())
            } else {
                OptionalTransport::none()
            };
            Ok(transport.upgrade(Version::V1).authenticate(security).multiplex(yamux::Config::default()))
        })
        .map_err(io::Error::other)?
        .with_dns()?
        .with_behaviour(|key| Behaviour::new(key, agent, mdns))
        .map_err(io::Error::other)?
        .with_swarm_config(|config| {
            config.with_idle_connection_timeout(IDLE).with_dial_concurrency_factor(DIAL_CONCURRENCY)
        })
        .with_connection_timeout(DIAL_TIMEOUT)
        .build();
    Ok(swarm)
}
