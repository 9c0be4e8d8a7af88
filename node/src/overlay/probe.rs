//! Dead connections to a peer that has just called again.
//!
//! For: closing what is left of a peer's past life. Not for: connections to peers that are silent, which ping
//! finds out in its own time.
//!
//! The idea: a node that was killed says no goodbye, and over QUIC its peers notice after ten seconds or more.
//! By then it is back and has a new connection, while every other request of ours, and the groups that we
//! lead, still go to the old one. So whenever a peer has a new connection, the older ones have to show that
//! they live, soon: a stream is proposed there by a protocol that nobody speaks, and any answer will do. The
//! other end need not know about this.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{DeniedUpgrade, ReadyUpgrade},
    },
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId,
        FromSwarm, NetworkBehaviour, NotifyHandler, StreamUpgradeError, SubstreamProtocol, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
        handler::{ConnectionEvent, DialUpgradeError},
    },
};

/// Nobody speaks it: "no" is the answer.
const PROPOSED: StreamProtocol = StreamProtocol::new("/parlor/alive/1");
/// How long an answer may take. Far above what a link takes that is of any use to a session.
const PATIENCE: Duration = Duration::from_secs(2);

/// Closes older connections of a peer that no longer answer when it has a new one.
#[derive(Default)]
pub(crate) struct Probe {
    /// The connections to each peer, oldest first. As many as the connection limits let in.
    links: HashMap<PeerId, Vec<Link>>,
    /// Not yet taken by the swarm, which takes all of them before it reads on.
    actions: VecDeque<ToSwarm<Infallible, Try>>,
}

struct Link {
    id: ConnectionId,
    /// Whether it is being tried.
    is_asked: bool,
}

/// To the handler: find out whether anybody is there.
#[derive(Debug)]
pub(crate) struct Try;

/// From the handler: what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Somebody is there, or the connection ends by itself.
    Alive,
    /// No answer in time.
    Dead,
}

/// Of one connection.
#[derive(Default)]
pub(crate) struct Handler {
    /// To be tried.
    is_due: bool,
    /// To be told.
    outcome: Option<Outcome>,
}

impl NetworkBehaviour for Probe {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, .. }) => {
                let links = self.links.entry(peer_id).or_default();
                for older in links.iter_mut().filter(|older| !older.is_asked) {
                    older.is_asked = true;
                    let handler = NotifyHandler::One(older.id);
                    self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: Try });
                }
                links.push(Link { id: connection_id, is_asked: false });
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(links) = self.links.get_mut(&peer_id) {
                    links.retain(|link| link.id != connection_id);
                    if links.is_empty() {
                        self.links.remove(&peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer_id: PeerId, id: ConnectionId, outcome: Outcome) {
        let links = self.links.get_mut(&peer_id).map_or(&mut [][..], Vec::as_mut_slice);
        // The newer ones are why it was asked; should they be gone by now, ping decides.
        let has_newer = links.last().is_some_and(|newest| newest.id != id);
        links.iter_mut().filter(|link| link.id == id).for_each(|link| link.is_asked = false);
        if has_newer && outcome == Outcome::Dead {
            tracing::debug!(peer = %peer_id, "an older connection is dead");
            let connection = CloseConnection::One(id);
            self.actions.push_back(ToSwarm::CloseConnection { peer_id, connection });
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Try>> {
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Try;
    type ToBehaviour = Outcome;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn on_behaviour_event(&mut self, Try: Try) {
        self.is_due = true;
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Outcome>> {
        if std::mem::take(&mut self.is_due) {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROPOSED), ()).with_timeout(PATIENCE);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        let outcome = self.outcome.take();
        outcome.map_or(Poll::Pending, |told| Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(told)))
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, DeniedUpgrade, ReadyUpgrade<StreamProtocol>>,
    ) {
        let error = match event {
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => Some(error),
            ConnectionEvent::FullyNegotiatedOutbound(_) => None,
            _ => return,
        };
        let is_silent = matches!(error, Some(StreamUpgradeError::Timeout));
        self.outcome = Some(if is_silent { Outcome::Dead } else { Outcome::Alive });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use futures::StreamExt as _;
    use libp2p::{
        Swarm, Transport as _,
        core::{transport::MemoryTransport, upgrade::Version},
        identity::Keypair,
        noise,
        swarm::{Config, SwarmEvent, dial_opts::DialOpts},
        yamux,
    };
    use tokio::{runtime, sync::oneshot};

    use super::*;

    /// Generous: only a test that fails waits for it.
    const LONG: Duration = Duration::from_secs(20);

    fn swarm(key: &Keypair) -> Swarm<Probe> {
        let transport = MemoryTransport::default()
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(key).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let config = Config::with_tokio_executor().with_idle_connection_timeout(LONG * 10);
        Swarm::new(transport, Probe::default(), key.public().to_peer_id(), config)
    }

    async fn listening(key: &Keypair) -> (Swarm<Probe>, Multiaddr) {
        let mut swarm = swarm(key);
        swarm.listen_on("/memory/0".parse().unwrap()).unwrap();
        let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await else {
            panic!("it listens first")
        };
        (swarm, address)
    }

    /// The next connection established, or closed.
    async fn next(swarm: &mut Swarm<Probe>, other: &mut Swarm<Probe>, is_new: bool) -> ConnectionId {
        let next = async {
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::ConnectionEstablished { connection_id, .. } if is_new => return connection_id,
                        SwarmEvent::ConnectionClosed { connection_id, .. } if !is_new => return connection_id,
                        _ => {}
                    },
                    _ = other.select_next_some() => {}
                }
            }
        };
        tokio::time::timeout(LONG, next).await.expect("nothing of the kind happened")
    }

    /// A node that calls, and stops in the middle of everything when it is killed, saying no goodbye.
    struct Doomed {
        kill: oneshot::Sender<()>,
        dead: oneshot::Receiver<()>,
        /// Its connections go with this.
        forget: mpsc::Sender<()>,
    }

    impl Doomed {
        /// Once it does nothing more: until then it may still answer.
        async fn killed(self) -> mpsc::Sender<()> {
            self.kill.send(()).unwrap();
            tokio::time::timeout(LONG, self.dead).await.expect("it lives on").unwrap();
            self.forget
        }
    }

    fn call_until_killed(key: Keypair, address: Multiaddr) -> Doomed {
        let (kill, mut killed) = oneshot::channel();
        let (died, dead) = oneshot::channel();
        let (forget, forgotten) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _swarm = runtime.block_on(async {
                let mut swarm = swarm(&key);
                swarm.dial(address).unwrap();
                loop {
                    tokio::select! {
                        _ = swarm.select_next_some() => {}
                        _ = &mut killed => return swarm,
                    }
                }
            });
            // Nothing runs here, and nothing is closed.
            let _ = died.send(());
            let _ = forgotten.recv();
        });
        Doomed { kill, dead, forget }
    }

    fn links(node: &Swarm<Probe>, key: &Keypair) -> Vec<ConnectionId> {
        node.behaviour().links[&key.public().to_peer_id()].iter().map(|link| link.id).collect()
    }

    #[tokio::test]
    async fn the_connection_to_a_killed_nodes_past_life_is_closed_when_it_is_back() {
        let (mut node, address) = listening(&Keypair::generate_ed25519()).await;
        let key = Keypair::generate_ed25519();
        let doomed = call_until_killed(key.clone(), address.clone());
        let mut reborn = swarm(&key);
        let old = next(&mut node, &mut reborn, true).await;
        let _connections = doomed.killed().await;

        reborn.dial(address).unwrap();
        let new = next(&mut node, &mut reborn, true).await;
        assert_eq!(next(&mut node, &mut reborn, false).await, old);
        assert_eq!(links(&node, &key), [new]);
    }

    #[tokio::test]
    async fn connections_that_answer_stay() {
        let (mut node, address) = listening(&Keypair::generate_ed25519()).await;
        let key = Keypair::generate_ed25519();
        let mut other = swarm(&key);
        let mut all = Vec::new();
        for _ in 0..3 {
            let again = DialOpts::unknown_peer_id().address(address.clone()).build();
            other.dial(again).unwrap();
            all.push(next(&mut node, &mut other, true).await);
        }
        let is_asked =
            |node: &Swarm<Probe>| node.behaviour().links.values().flatten().any(|link| link.is_asked);
        assert!(is_asked(&node));
        let answered = async {
            while is_asked(&node) {
                // Not all that happens is an event.
                tokio::select! {
                    _ = node.select_next_some() => {}
                    _ = other.select_next_some() => {}
                    () = tokio::time::sleep(Duration::from_millis(10)) => {}
                }
            }
        };
        tokio::time::timeout(LONG, answered).await.expect("no answer");
        assert_eq!(links(&node, &key), all);
        assert!(node.behaviour().actions.is_empty());
    }
}
