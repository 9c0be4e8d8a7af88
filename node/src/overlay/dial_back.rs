//! Telling others whether they can be called, without being sent where nobody from outside could call.
//!
//! For: [`DialBack`], AutoNAT's server (v2), for addresses that mean the same everywhere. Not for: asking others (see
//! `behaviour`).
//!
//! The idea: whoever asks names the address that is called, and libp2p's server calls any: this machine's own services,
//! those in the operator's network, whatever a name leads to. So each of its calls is looked at before it is made (the swarm
//! asks every behaviour), and what is not public is not called: whoever asked is told that nobody answered.

use std::{
    collections::HashSet,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, autonat,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, behaviour::DialFailure,
    },
};

use super::networks::is_public;

type Server = autonat::v2::server::Behaviour;

/// See the module.
pub(crate) struct DialBack {
    server: Server,
    /// Its calls under way. As many as it makes at a time: 10 for each connection.
    calls: HashSet<ConnectionId>,
    /// Addresses of all kinds are called.
    is_open: bool,
}

/// Why an address is not called.
#[derive(Debug, thiserror::Error)]
#[error("it is not public")]
struct NotPublic;

impl DialBack {
    /// `is_open`: addresses that are not public are called, too. For laboratories, and relays within one network.
    pub(crate) fn new(is_open: bool) -> Self {
        Self { server: Server::default(), calls: HashSet::new(), is_open }
    }
}

/// An IP address that means the same everywhere; and it is called itself, not somebody through it.
fn may_be_called(address: &Multiaddr) -> bool {
    let is_direct = !address.iter().any(|part| part == Protocol::P2pCircuit);
    is_direct
        && match address.iter().next() {
            Some(Protocol::Ip4(ip)) => is_public(ip.into()),
            Some(Protocol::Ip6(ip)) => is_public(ip.into()),
            _ => false,
        }
}

impl NetworkBehaviour for DialBack {
    type ConnectionHandler = <Server as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = <Server as NetworkBehaviour>::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.server.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let is_ours = self.calls.remove(&connection);
        match is_ours && !self.is_open && !addresses.iter().all(may_be_called) {
            true => Err(ConnectionDenied::new(NotPublic)),
            false => Ok(Vec::new()),
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.server.handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::DialFailure(DialFailure { connection_id, .. }) = event {
            self.calls.remove(&connection_id);
        }
        self.server.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.server.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let action = self.server.poll(cx);
        if let Poll::Ready(ToSwarm::Dial { opts }) = &action {
            self.calls.insert(opts.connection_id());
        }
        action
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fmt::Debug, time::Duration};

    use futures::StreamExt as _;
    use libp2p::{
        Swarm, Transport as _,
        core::upgrade::Version,
        identify,
        identity::Keypair,
        noise,
        swarm::{Config, SwarmEvent, behaviour::NewExternalAddrCandidate},
        yamux,
    };

    use super::*;

    /// Generous: only a test that fails waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[derive(NetworkBehaviour)]
    #[behaviour(prelude = "libp2p::swarm::derive_prelude")]
    struct Asking {
        autonat: autonat::v2::client::Behaviour,
        identify: identify::Behaviour,
    }

    #[derive(NetworkBehaviour)]
    #[behaviour(prelude = "libp2p::swarm::derive_prelude")]
    struct Serving {
        dial_back: DialBack,
        identify: identify::Behaviour,
    }

    /// Over TCP on loopback: the address that is asked about is a loopback one.
    fn swarm<B: NetworkBehaviour<ToSwarm: Debug> + Send>(behaviour: impl FnOnce(&Keypair) -> B) -> Swarm<B> {
        let key = Keypair::generate_ed25519();
        let transport = libp2p::tcp::tokio::Transport::default()
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&key).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let config = Config::with_tokio_executor().with_idle_connection_timeout(PATIENCE * 10);
        let peer = key.public().to_peer_id();
        Swarm::new(transport, behaviour(&key), peer, config)
    }

    fn identify(key: &Keypair) -> identify::Behaviour {
        identify::Behaviour::new(identify::Config::new("/test".into(), key.public()))
    }

    /// Whether a node on loopback is told that it can be called there.
    async fn is_called(is_open: bool) -> bool {
        let client = autonat::v2::client::Config::default().with_probe_interval(Duration::from_millis(100));
        let mut asking = swarm(|key| Asking {
            autonat: autonat::v2::client::Behaviour::new(rand::make_rng(), client),
            identify: identify(key),
        });
        let mut serving = swarm(|key| Serving { dial_back: DialBack::new(is_open), identify: identify(key) });
        let there = "/ip4/127.0.0.1/tcp/0".parse::<Multiaddr>().unwrap();
        asking.listen_on(there.clone()).unwrap();
        serving.listen_on(there).unwrap();
        let there = async {
            loop {
                if let SwarmEvent::NewListenAddr { address, .. } = serving.select_next_some().await {
                    return address;
                }
            }
        };
        asking.dial(there.await).unwrap();
        let told = async {
            loop {
                tokio::select! {
                    event = asking.select_next_some() => match event {
                        // Other addresses than its listener's may be asked about, too, and be none.
                        SwarmEvent::Behaviour(AskingEvent::Autonat(event)) if event.result.is_ok() || !is_open => {
                            return event.result.is_ok();
                        }
                        SwarmEvent::NewListenAddr { address, .. } => {
                            // As if others had seen it.
                            let seen = FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr: &address });
                            asking.behaviour_mut().autonat.on_swarm_event(seen);
                        }
                        _ => {}
                    },
                    _ = serving.select_next_some() => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("no answer")
    }

    #[tokio::test]
    async fn nobody_sends_a_relay_to_an_address_that_is_not_public() {
        assert!(!is_called(false).await, "a loopback address is called for anybody");
        assert!(is_called(true).await, "what this test is about: else it would be");
    }

    #[test]
    fn what_is_called_is_public_and_direct() {
        for (address, is_called) in [
            ("/ip4/203.0.113.9/tcp/1", true),
            ("/ip6/2a00:1450::1/udp/1/quic-v1", true),
            ("/ip4/127.0.0.1/tcp/22", false),
            ("/ip4/192.168.1.1/tcp/80", false),
            ("/ip4/169.254.169.254/tcp/80", false),
            ("/ip6/::1/tcp/1", false),
            ("/ip6/fd00::1/tcp/1", false),
            ("/dns4/localhost/tcp/1", false),
            ("/dns/example.org/tcp/1", false),
            ("/memory/1", false),
            (
                "/ip4/203.0.113.9/tcp/1/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X/p2p-circuit",
                false,
            ),
        ] {
            assert_eq!(may_be_called(&address.parse().unwrap()), is_called, "{address}");
        }
    }
}
