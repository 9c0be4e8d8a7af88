//! Relays, rendezvous points, hole punching and mapped ports: what is reported of them, and what is done about it.

use std::collections::BTreeMap;

use libp2p::{
    Multiaddr, autonat,
    core::transport::ListenerId,
    dcutr,
    metrics::Recorder as _,
    relay, request_response,
    swarm::dial_opts::{DialOpts, PeerCondition},
};
use parlor_proto::{identity::PeerId, wire};
use tokio::{sync::oneshot, time::Instant};

use super::Driver;
use crate::overlay::{
    address::{Address, Reach, ours, reach, relay_of, theirs},
    book::{MAX_PER_PEER, Source},
    dial::Waiter,
    error::{ConnectError, innermost},
    points::{Answer, PointsEvent},
    ports::Change,
    relays::Due,
    serve::ServeEvent,
};

impl Driver {
    /// Asks for the reservations that this node lacks.
    pub(super) fn ask_relays(&mut self) {
        let now = Instant::now();
        for due in self.relays.due(now) {
            match due {
                Due::Ask(relay, place) => match self.swarm.listen_on(place) {
                    Ok(listener) => self.relays.asked(&relay, listener, now),
                    Err(error) => {
                        let is_news = self.relays.refused(&relay, error.to_string(), now);
                        tell_lost(relay, &error.to_string(), is_news);
                    }
                },
                Due::GiveUp(listener) => self.leave_relay(listener, "it does not answer"),
            }
        }
    }

    fn leave_relay(&mut self, listener: ListenerId, why: &str) {
        self.lose_relay(listener, why);
        self.swarm.remove_listener(listener);
    }

    /// A listener has ended, or is going to. Whether it was for a relay.
    fn lose_relay(&mut self, listener: ListenerId, why: &str) -> bool {
        let lost = self.relays.lost(listener, why.into(), Instant::now());
        if let Some((relay, is_news)) = lost {
            tell_lost(relay, why, is_news);
        }
        lost.is_some()
    }

    pub(super) fn on_listening(&mut self, listener: ListenerId, address: Multiaddr) {
        tracing::info!(%address, "listening");
        if self.relays.named(listener) {
            self.leave_relay(listener, "it claims to have far too many addresses");
        }
        self.offer(address);
    }

    /// Closes relayed connections beside which there is a direct one.
    pub(super) fn close_relayed(&mut self) {
        for connection in self.paths.due(Instant::now()) {
            self.swarm.close_connection(connection);
        }
    }

    /// A program's bytes are to go to or come from a connected peer: not through a relay, if it can be helped.
    pub(super) fn prepare_stream(&mut self, peer: PeerId, answer: oneshot::Sender<Result<(), ConnectError>>) {
        for connection in self.paths.make_direct(&peer) {
            self.swarm.close_connection(connection);
        }
        self.before_streams.push((peer, answer));
        self.serve_streams();
    }

    /// Those go on that no relayed connection is in the way of any more.
    pub(super) fn serve_streams(&mut self) {
        for (_, answer) in self.before_streams.extract_if(.., |(peer, _)| !self.paths.is_closing(peer)) {
            // Nobody waits any more: nothing to do.
            let _ = answer.send(Ok(()));
        }
    }

    pub(super) fn on_listener_closed(
        &mut self,
        listener: ListenerId,
        addresses: &[Multiaddr],
        error: Option<std::io::Error>,
    ) {
        let why =
            error.as_ref().map_or_else(|| "it closed the connection".to_owned(), |error| innermost(error));
        if !self.lose_relay(listener, &why) && error.is_some() {
            tracing::warn!(?addresses, why, "no longer listening");
        }
    }

    pub(super) fn on_relay(&mut self, event: &relay::client::Event) {
        if let relay::client::Event::ReservationReqAccepted { relay_peer_id, renewal, .. } = event
            && let Some(relay) = ours(relay_peer_id)
        {
            if self.relays.reserved(&relay) {
                tracing::info!(%relay, "this node can be reached through its relay");
            }
            if *renewal {
                self.register(relay);
            }
        }
    }

    /// One of this node's own addresses leads here, from everywhere.
    pub(super) fn on_reachable(&mut self, address: &Multiaddr) {
        tracing::info!(%address, "reached from everywhere");
        self.register_everywhere();
    }

    /// This node's addresses have changed: every rendezvous point is to know.
    pub(super) fn register_everywhere(&mut self) {
        for relay in self.connected_relays() {
            self.register(relay);
        }
    }

    fn connected_relays(&self) -> Vec<PeerId> {
        let relays = self.relays.iter().map(|(relay, _)| relay);
        relays.filter(|relay| self.swarm.is_connected(&theirs(*relay))).collect()
    }

    /// Where this node is, for those who know its peer id.
    fn register(&mut self, relay: PeerId) {
        let addresses: Vec<_> = self.swarm.external_addresses().cloned().collect();
        if !addresses.is_empty() {
            let name = wire::rendezvous_namespace(self.peer);
            self.swarm.behaviour_mut().points.register(&theirs(relay), name, &self.key, addresses);
        }
    }

    /// So that nobody looks for it where it is not any more.
    pub(super) fn leave_rendezvous(&mut self) {
        for relay in self.connected_relays() {
            let name = wire::rendezvous_namespace(self.peer);
            self.swarm.behaviour_mut().points.unregister(&theirs(relay), name);
        }
    }

    /// Asks rendezvous points where a peer is: this node's own relays, and those that its last addresses lead through.
    pub(super) fn search(&mut self, peer: PeerId) {
        let known = self.book.of(&peer);
        let own = self.relays.iter().map(|(relay, place)| (relay, place.clone()));
        let mut points: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for (point, place) in own.chain(known.iter().filter_map(relay_of)) {
            points.entry(point).or_default().push(place);
        }
        for (point, places) in points {
            if point != self.peer && point != peer && self.searches.ask(point, peer) {
                places.into_iter().for_each(|place| self.book.add(point, place, Source::Learned));
                self.reach(point, Some(Waiter::Search));
            }
        }
    }

    /// A relay that is asked is connected: who may be reached through it is called now.
    pub(super) fn on_point(&mut self, point: PeerId) {
        self.ask_point(point);
        self.searches.questions(&point).into_iter().for_each(|peer| self.dial(peer));
    }

    /// A rendezvous point is connected, or has answered the question before.
    pub(super) fn ask_point(&mut self, point: PeerId) {
        if let Some(about) = self.searches.question(&point) {
            let name = wire::rendezvous_namespace(about);
            self.swarm.behaviour_mut().points.discover(&theirs(point), name);
        }
    }

    pub(super) fn on_rendezvous(&mut self, event: PointsEvent) {
        use request_response::{Event, Message};
        match event {
            PointsEvent::Finder(Event::Message {
                peer: point,
                message: Message::Response { response, .. },
                ..
            }) => {
                if let Some(point) = ours(&point) {
                    self.on_found(point, response);
                }
            }
            PointsEvent::Finder(Event::OutboundFailure { peer: point, error, .. }) => {
                tracing::debug!(%point, %error, "a rendezvous point does not say where a peer is");
                if let Some(point) = ours(&point) {
                    self.on_answer(point);
                }
            }
            PointsEvent::Registrar(event) => tracing::debug!(?event, "told a rendezvous point"),
            PointsEvent::Finder(_) => {}
        }
    }

    fn on_found(&mut self, point: PeerId, answer: Answer) {
        match answer {
            Answer::Flood => {
                tracing::warn!(%point, "a rendezvous point answers with far more than was asked for; it is not asked again");
                self.searches.flooded(point).into_iter().for_each(|peer| self.dial(peer));
                return;
            }
            Answer::Found(records) => {
                if let Some(about) = self.searches.question(&point) {
                    for record in records.iter().filter(|record| record.peer_id() == theirs(about)) {
                        self.found(about, record.addresses());
                    }
                }
            }
            Answer::Registered | Answer::Other => {
                tracing::debug!(%point, "a rendezvous point does not say where a peer is");
            }
        }
        self.on_answer(point);
    }

    /// Whoever waits for an answer of this point goes on, and it is asked the next question.
    fn on_answer(&mut self, point: PeerId) {
        let about = self.searches.answered(&point);
        self.ask_point(point);
        about.into_iter().for_each(|peer| self.dial(peer));
    }

    /// A peer has signed that it is there.
    fn found(&mut self, peer: PeerId, places: &[Multiaddr]) {
        for place in places.iter().take(MAX_PER_PEER) {
            self.hear(peer, Address::from(place.clone()).place(), Source::Learned);
        }
    }

    /// A peer that only a relay leads to has told where it listens: one of these places may be reached.
    pub(super) fn try_directly(&mut self, peer: PeerId, places: &[Multiaddr]) {
        let direct = places.iter().filter(|place| relay_of(place).is_none()).cloned().collect();
        let untried = self.paths.untried(&peer, direct);
        if !untried.is_empty() {
            let condition = PeerCondition::Always;
            let call = DialOpts::peer_id(theirs(peer)).addresses(untried).condition(condition).build();
            if let Err(error) = self.swarm.dial(call) {
                tracing::debug!(%peer, %error, "not called directly");
            }
        }
    }

    pub(super) fn on_punched(&mut self, event: &dcutr::Event) {
        self.metrics.record(event);
        match &event.result {
            Ok(_) => tracing::debug!(peer = %event.remote_peer_id, "directly connected"),
            // Another connection may have been quicker, or the routers do not allow it: the relay remains.
            Err(error) => tracing::debug!(peer = %event.remote_peer_id, %error, "no direct connection"),
        }
    }

    pub(super) fn on_probed(&mut self, event: &autonat::v2::client::Event) {
        let is_reachable = event.result.is_ok();
        tracing::debug!(address = %event.tested_addr, is_reachable, "probed");
    }

    pub(super) fn on_served(&mut self, event: ServeEvent) {
        let ServeEvent::Relay(event) = event else { return };
        tracing::debug!(?event, "as a relay");
        self.metrics.record(&event);
        let reserved = match &event {
            relay::Event::ReservationReqAccepted { src_peer_id, renewed: false } => {
                Some((*src_peer_id, true))
            }
            relay::Event::ReservationClosed { src_peer_id }
            | relay::Event::ReservationTimedOut { src_peer_id } => Some((*src_peer_id, false)),
            _ => None,
        };
        // Only who can be reached through this relay can be found at it.
        if let (Some((peer, is_more)), Some(serve)) = (reserved, self.swarm.behaviour_mut().serve.as_mut()) {
            serve.rendezvous.reserved(peer, is_more);
        }
    }

    /// The router leads a port here, or no longer.
    pub(super) fn on_port(&mut self, change: Change) {
        if let Some(lost) = change.lost {
            self.swarm.remove_external_address(&lost);
        }
        if let Some(found) = change.found {
            tracing::info!(address = %found, "the router leads this address here");
            self.swarm.add_external_address(found);
        }
    }

    /// A relay says where it is, to be reached there.
    fn offer(&mut self, address: Multiaddr) {
        if self.is_relay && reach(&address) != Reach::Nowhere && relay_of(&address).is_none() {
            self.swarm.add_external_address(address);
        }
    }

    pub(super) fn offer_listeners(&mut self) {
        let listeners: Vec<_> = self.swarm.listeners().cloned().collect();
        listeners.into_iter().for_each(|address| self.offer(address));
    }
}

/// Once: the node asks again and again.
fn tell_lost(relay: PeerId, why: &str, is_news: bool) {
    if is_news {
        tracing::warn!(%relay, why, "this node cannot be reached through its relay now");
    } else {
        tracing::debug!(%relay, why, "still not reached through this relay");
    }
}
