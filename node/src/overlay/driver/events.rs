//! What the swarm reports, and what it means.

use libp2p::{
    Multiaddr,
    core::ConnectedPoint,
    identify, mdns,
    metrics::Recorder as _,
    ping,
    swarm::{ConnectionId, SwarmEvent},
};
use parlor_proto::{identity::PeerId, wire};
use tokio::{sync::oneshot, time::Instant};

use super::{Driver, MAX_UNANSWERED};
use crate::overlay::{
    Event,
    address::{Address, Reach, ours, reach, theirs},
    behaviour::{BehaviourEvent, MAX_PER_PARTNER},
    book::{MAX_PER_PEER, Source},
    error::ConnectError,
    gate,
    nodes::{Found, nickname},
    paths::Path,
    request::{InboundRequest, Outcome, failure},
};

impl Driver {
    pub(super) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished {
                peer_id, connection_id, endpoint, num_established, ..
            } => {
                if num_established.get() > MAX_PER_PARTNER {
                    self.swarm.close_connection(connection_id);
                }
                match ours(&peer_id) {
                    Some(peer) => self.on_connected(peer, connection_id, &endpoint),
                    None => drop(self.swarm.disconnect_peer_id(peer_id)),
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                if let Some(peer) = ours(&peer_id) {
                    self.paths.closed(&peer, connection_id, Instant::now());
                    self.serve_streams();
                    self.on_disconnected(peer, num_established);
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), connection_id, error } => {
                if let Some(peer) = ours(&peer_id).filter(|_| !self.swarm.is_connected(&peer_id)) {
                    self.on_call_failed(peer, connection_id, &error);
                }
            }
            SwarmEvent::NewListenAddr { listener_id, address } => self.on_listening(listener_id, address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.swarm.remove_external_address(&address),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.on_listener_closed(listener_id, &addresses, reason.err());
            }
            SwarmEvent::ExternalAddrConfirmed { address } => self.on_reachable(&address),
            SwarmEvent::ExternalAddrExpired { .. } => self.register_everywhere(),
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let path = if endpoint.is_relayed() { Path::Relayed } else { Path::Direct };
        self.paths.opened(peer, connection, path, Instant::now());
        let place = Address::from(endpoint.get_remote_address().clone()).place();
        let is_local = matches!(reach(&place), Reach::Loopback | Reach::Memory);
        let found = if endpoint.is_dialer() { Found::Dialled } else { Found::Called };
        if endpoint.is_dialer() && !endpoint.is_relayed() {
            self.book.add(peer, place, Source::Learned);
        }
        self.nodes.connected(peer, found, is_local);
        self.partners.connected(&peer);
        self.serve_waiters(peer);
    }

    fn on_disconnected(&mut self, peer: PeerId, remaining: u32) {
        if self.nodes.disconnected(peer, remaining) {
            self.outlet.state(Event::Disconnected(peer));
        }
        if remaining == 0 {
            // Whoever waited for it to identify itself.
            if let Some(dial) = self.dials.remove(&peer) {
                let reason = "it closed the connection".to_owned();
                let error = ConnectError::Unreachable { peer, reason };
                dial.waiters.into_iter().for_each(|waiter| waiter.fail(error.clone()));
            }
            self.partners.lost(&peer, Instant::now());
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                if let Some(peer) = ours(&peer_id) {
                    self.on_identified(peer, info);
                }
            }
            BehaviourEvent::Identify(identify::Event::Error { peer_id, error, .. }) => {
                tracing::debug!(peer = %peer_id, %error, "a peer does not say what it is");
                if let Some(peer) = ours(&peer_id) {
                    self.on_stranger(peer);
                }
            }
            BehaviourEvent::Ping(ping::Event { connection, result: Err(error), .. }) => {
                if !matches!(error, ping::Failure::Unsupported) {
                    tracing::debug!(%error, "a connection is dead");
                    self.swarm.close_connection(connection);
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.on_nearby(found),
            BehaviourEvent::Mdns(mdns::Event::Expired(expired)) => self.on_expired(expired),
            BehaviourEvent::Requests(outcomes) => outcomes.0.into_iter().for_each(|o| self.on_outcome(o)),
            BehaviourEvent::Gate(event) => self.on_group(event),
            BehaviourEvent::Relay(event) => self.on_relay(&event),
            BehaviourEvent::Points(event) => self.on_rendezvous(event),
            BehaviourEvent::Dcutr(event) => self.on_punched(&event),
            BehaviourEvent::Autonat(event) => self.on_probed(&event),
            BehaviourEvent::Serve(event) => self.on_served(event),
            BehaviourEvent::Identify(_) | BehaviourEvent::Ping(_) | BehaviourEvent::Streams(()) => {}
            BehaviourEvent::Limits(never) | BehaviourEvent::Memory(never) | BehaviourEvent::Probe(never) => {
                match never {}
            }
        }
    }

    fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        let Some(node) = self.nodes.get(&peer) else { return };
        if info.protocol_version != wire::IDENTIFY {
            if node.near {
                // mDNS finds every libp2p program in the network, and this is another one.
                let _ = self.swarm.disconnect_peer_id(theirs(peer));
            }
            self.on_stranger(peer);
            return;
        }
        let is_local = node.is_local;
        let is_useful = |place: &Multiaddr| match reach(place) {
            Reach::Wide | Reach::Relayed => self.may_call(place),
            // It has called over loopback, so that it is on this machine.
            Reach::Loopback | Reach::Memory => is_local,
            Reach::Nowhere => false,
        };
        let addresses = info.listen_addrs.into_iter().map(Address::from);
        let its_own = addresses.filter(|address| address.peer().is_none_or(|there| there == peer));
        let places = its_own.map(|address| address.place()).filter(is_useful);
        // The newest are kept, so what comes first is added last. It may name as many as it likes.
        let places: Vec<_> = places.take(MAX_PER_PEER).collect();
        self.try_directly(peer, &places);
        for place in places.into_iter().rev() {
            self.book.add(peer, place, Source::Learned);
        }
        let nickname = nickname(&info.agent_version);
        if self.nodes.identified(peer, nickname.clone()) {
            self.outlet.state(Event::Connected(peer));
            self.outlet.state(Event::Found { peer, nickname });
        }
        self.serve_waiters(peer);
    }

    /// It is connected, and no Parlor node.
    fn on_stranger(&mut self, peer: PeerId) {
        self.nodes.stranger(peer);
        self.serve_waiters(peer);
    }

    fn on_nearby(&mut self, found: Vec<(libp2p::PeerId, libp2p::Multiaddr)>) {
        for (peer, address) in found {
            let Some(peer) = ours(&peer).filter(|peer| *peer != self.peer) else {
                continue;
            };
            let place = Address::from(address).place();
            if self.may_call(&place) && self.nodes.near(peer) {
                self.book.add(peer, place, Source::Learned);
                self.reach(peer, None);
            }
        }
    }

    /// A node that is not announced any more may well be there: no connection is closed.
    fn on_expired(&mut self, expired: Vec<(libp2p::PeerId, libp2p::Multiaddr)>) {
        for (theirs, _) in expired {
            let mdns = self.swarm.behaviour().mdns.as_ref();
            let is_near = mdns.is_some_and(|mdns| mdns.discovered_nodes().any(|node| *node == theirs));
            if let Some(peer) = ours(&theirs).filter(|_| !is_near) {
                self.nodes.gone(peer);
            }
        }
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Asked { from, request, channel } => {
                let Some(from) = ours(&from).filter(|_| self.unanswered.len() < MAX_UNANSWERED) else {
                    return;
                };
                let (answer, response) = oneshot::channel();
                self.unanswered.push(Box::pin(async { (channel, response.await.ok()) }));
                self.outlet.offer(Event::Request(InboundRequest { from, request, answer }));
            }
            Outcome::Answered { key, response } => {
                if let Some((_, answer)) = self.asked.remove(&key) {
                    drop(answer.send(Ok(response)));
                }
            }
            Outcome::Failed { key, error } => {
                if let Some((peer, answer)) = self.asked.remove(&key) {
                    drop(answer.send(Err(failure(peer, &error))));
                }
            }
            Outcome::Dropped { from, error } => {
                tracing::debug!(peer = %from, %error, "a request came to nothing")
            }
        }
    }

    fn on_group(&mut self, event: gate::Event) {
        match event {
            gate::Event::Message { session, author, payload } => {
                if let Some(author) = ours(&author) {
                    self.outlet.message(Event::GroupMessage { session, author, payload });
                }
            }
            gate::Event::Presence { session, peer, present } => {
                if let Some(peer) = ours(&peer) {
                    self.outlet.state(Event::GroupPeer { session, peer, present });
                }
            }
        }
    }
}
