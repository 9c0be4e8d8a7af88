//! The event loop: commands in, the swarm's events in, domain events out. It waits for nobody.
//!
//! For: translating between the node and the swarm. Not for: state worth testing by itself, which is in the
//! modules beside this one, each a plain value.

use std::collections::HashMap;

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{
    Swarm,
    core::ConnectedPoint,
    identify, mdns, ping,
    swarm::{
        DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use parlor_proto::{
    identity::PeerId,
    ids::SessionId,
    wire::{self, Request, Response},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    Event, PeerInfo,
    address::{Address, Reach, ours, reach, theirs},
    behaviour::{Behaviour, BehaviourEvent, MAX_PER_PARTNER},
    book::{Book, Source},
    dial::{Dials, Waiter},
    error::{ConnectError, PublishError, RequestError},
    gate,
    listen::own_addresses,
    nodes::{Found, Nodes, nickname},
    outlet::Outlet,
    partners::Partners,
    request::{Channel, InboundRequest, Key, Outcome, failure},
    stream::Stream,
};

/// Peers' requests that await an answer of this node's. More are refused.
const MAX_UNANSWERED: usize = 256;

/// From the facade, in the order given. An answer that nobody waits for any more is dropped.
pub(crate) enum Command {
    Addresses(oneshot::Sender<Vec<Address>>),
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    AddAddress(PeerId, Address),
    AddressesOf(PeerId, oneshot::Sender<Vec<Address>>),
    Reach(PeerId, Waiter),
    GroupOpen(SessionId, Vec<PeerId>),
    GroupAllow(SessionId, PeerId),
    GroupRevoke(SessionId, PeerId),
    GroupClose(SessionId),
    Publish(SessionId, Bytes, oneshot::Sender<Result<(), PublishError>>),
    Keep(PeerId),
    Unkeep(PeerId),
    Shutdown,
}

/// Requests of ours under way to one peer: half of what a connection has room for, both ways.
pub(crate) const MAX_ASKED: usize = 16;

type Answer = BoxFuture<'static, (Channel, Option<Response>)>;

/// The loop's state.
pub(crate) struct Driver {
    peer: PeerId,
    swarm: Swarm<Behaviour>,
    outlet: Outlet,
    book: Book,
    nodes: Nodes,
    dials: Dials,
    partners: Partners,
    /// Our requests under way. As many as this node's callers.
    asked: HashMap<Key, (PeerId, oneshot::Sender<Result<Response, RequestError>>)>,
    /// Peers' requests under way.
    unanswered: FuturesUnordered<Answer>,
}

impl Driver {
    pub(crate) fn new(peer: PeerId, swarm: Swarm<Behaviour>, outlet: Outlet) -> Self {
        Self {
            peer,
            swarm,
            outlet,
            book: Book::default(),
            nodes: Nodes::default(),
            dials: Dials::default(),
            partners: Partners::default(),
            asked: HashMap::new(),
            unanswered: FuturesUnordered::new(),
        }
    }

    /// Runs until told to shut down, or all handles are gone.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut streams: mpsc::Receiver<(PeerId, Stream)>,
    ) {
        loop {
            let next_call = self.partners.next();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Shutdown) | None => break,
                    Some(command) => self.on_command(command),
                },
                event = self.swarm.select_next_some() => self.on_event(event),
                Some((channel, response)) = self.unanswered.next(), if !self.unanswered.is_empty() => {
                    // Without a response the channel is dropped, and the peer is told.
                    if let Some(response) = response {
                        self.swarm.behaviour_mut().requests.answer(channel, response);
                    }
                }
                Some((peer, stream)) = streams.recv() => self.outlet.offer(Event::Stream { peer, stream }),
                () = self.outlet.drain(), if self.outlet.has_backlog() => {}
                () = sleep_until(next_call), if next_call.is_some() => self.call_partners(),
            }
        }
        self.close().await;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Addresses(answer) => drop(answer.send(own_addresses(&self.swarm, self.peer))),
            Command::Peers(answer) => drop(answer.send(self.peers())),
            Command::AddAddress(peer, address) => {
                if address.peer().is_none_or(|there| there == peer) {
                    self.book.add(peer, address.place(), Source::Given);
                }
            }
            Command::AddressesOf(peer, answer) => drop(answer.send(self.addresses_of(peer))),
            Command::Reach(peer, waiter) => self.reach(peer, Some(waiter)),
            Command::GroupOpen(session, members) => self.open_group(session, &members),
            Command::GroupAllow(session, peer) => {
                self.partners
                    .roster(session)
                    .into_iter()
                    .for_each(|roster| _ = roster.insert(peer));
                self.swarm.behaviour_mut().gate.allow(session, theirs(peer));
                self.exempt(peer);
            }
            Command::GroupRevoke(session, peer) => {
                self.partners
                    .roster(session)
                    .into_iter()
                    .for_each(|roster| _ = roster.remove(&peer));
                self.swarm.behaviour_mut().gate.revoke(session, theirs(peer));
                self.exempt(peer);
            }
            Command::GroupClose(session) => {
                self.swarm.behaviour_mut().gate.close(session);
                self.partners
                    .close(&session)
                    .into_iter()
                    .for_each(|peer| self.exempt(peer));
            }
            Command::Publish(session, payload, answer) => {
                let outcome = self.swarm.behaviour_mut().gate.publish(session, &payload);
                drop(answer.send(outcome.map_err(PublishError::from)));
            }
            Command::Keep(peer) => {
                self.partners
                    .keep(peer, self.swarm.is_connected(&theirs(peer)), Instant::now());
                self.exempt(peer);
            }
            Command::Unkeep(peer) => {
                self.partners.unkeep(&peer);
                self.exempt(peer);
            }
            // The loop ends before it gets here.
            Command::Shutdown => {}
        }
    }

    fn peers(&self) -> Vec<PeerInfo> {
        let info = |(peer, node): (PeerId, &super::nodes::Node)| PeerInfo {
            peer,
            nickname: node.nickname.clone().unwrap_or_default(),
            addresses: self.addresses_of(peer),
            connected: node.links > 0,
            found: node.found,
        };
        let mut peers: Vec<_> = self.nodes.iter().map(info).collect();
        peers.sort_by(|one, other| (&one.nickname, one.peer).cmp(&(&other.nickname, other.peer)));
        peers
    }

    fn addresses_of(&self, peer: PeerId) -> Vec<Address> {
        self.book
            .of(&peer)
            .into_iter()
            .map(|place| Address::from(place).with_peer(peer))
            .collect()
    }

    fn open_group(&mut self, session: SessionId, members: &[PeerId]) {
        let before = self.partners.open(session, members);
        self.swarm
            .behaviour_mut()
            .gate
            .open(session, members.iter().copied().map(theirs));
        before
            .into_iter()
            .chain(members.iter().copied())
            .for_each(|peer| self.exempt(peer));
    }

    /// Those in a session with us are exempt from the connection limits, others are not.
    fn exempt(&mut self, peer: PeerId) {
        let limits = &mut self.swarm.behaviour_mut().limits;
        if self.partners.has(&peer) {
            limits.bypass_peer_id(&theirs(peer));
        } else {
            limits.remove_peer_id(&theirs(peer));
        }
    }

    fn call_partners(&mut self) {
        for peer in self.partners.due(Instant::now()) {
            self.reach(peer, None);
        }
    }

    /// Connects to a peer, unless it is connected, and sees to it that `waiter` hears of it.
    fn reach(&mut self, peer: PeerId, waiter: Option<Waiter>) {
        if peer == self.peer {
            waiter
                .into_iter()
                .for_each(|waiter| waiter.fail(ConnectError::Myself(peer)));
            return;
        }
        let is_connected = self.swarm.is_connected(&theirs(peer));
        let is_new = !self.dials.contains_key(&peer);
        self.dials.entry(peer).or_default().waiters.extend(waiter);
        if is_connected {
            self.serve_waiters(peer);
        } else if is_new {
            self.dial(peer);
        }
    }

    /// Calls a peer at all places not yet tried, or gives up.
    fn dial(&mut self, peer: PeerId) {
        let Some(dial) = self.dials.get_mut(&peer) else {
            return;
        };
        let mut places = self.book.of(&peer);
        places.retain(|place| !dial.tried.contains(place));
        if places.is_empty() {
            self.give_up(peer);
            return;
        }
        dial.tried.extend(places.iter().cloned());
        let call = DialOpts::peer_id(theirs(peer))
            .addresses(places)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        match self.swarm.dial(call) {
            // Somebody else's attempt is under way, and its end is ours.
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => {
                dial.failed(&error);
                self.give_up(peer);
            }
        }
    }

    fn give_up(&mut self, peer: PeerId) {
        self.partners.lost(&peer, Instant::now());
        let Some(dial) = self.dials.remove(&peer) else {
            return;
        };
        let error = dial.error(peer);
        tracing::debug!(%error);
        dial.waiters
            .into_iter()
            .for_each(|waiter| waiter.fail(error.clone()));
    }

    /// The peer is connected: all that only waited for that goes on.
    fn serve_waiters(&mut self, peer: PeerId) {
        let Some(mut dial) = self.dials.remove(&peer) else {
            return;
        };
        let is_node = self.nodes.get(&peer).is_some_and(|node| node.nickname.is_some());
        for waiter in std::mem::take(&mut dial.waiters) {
            match waiter {
                Waiter::Link(answer) => drop(answer.send(Ok(()))),
                Waiter::Node(answer) if is_node => drop(answer.send(Ok(()))),
                Waiter::Node(answer) => dial.waiters.push(Waiter::Node(answer)),
                Waiter::Request(request, answer) => self.send(peer, request, answer),
            }
        }
        // Until it has identified itself.
        if !dial.waiters.is_empty() {
            dial.tried.clear();
            self.dials.insert(peer, dial);
        }
    }

    fn send(
        &mut self,
        peer: PeerId,
        request: Request,
        answer: oneshot::Sender<Result<Response, RequestError>>,
    ) {
        // Those that nobody waits for any more still take room, until they are answered or time out.
        if self.asked.values().filter(|(asked, _)| *asked == peer).count() >= MAX_ASKED {
            drop(answer.send(Err(RequestError::TooMany(peer))));
            return;
        }
        let key = self.swarm.behaviour_mut().requests.send(&theirs(peer), request);
        self.asked.insert(key, (peer, answer));
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                num_established,
                ..
            } => {
                if num_established.get() > MAX_PER_PARTNER {
                    self.swarm.close_connection(connection_id);
                }
                match ours(&peer_id) {
                    Some(peer) => self.on_connected(peer, &endpoint),
                    None => drop(self.swarm.disconnect_peer_id(peer_id)),
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established,
                ..
            } => {
                if let Some(peer) = ours(&peer_id) {
                    self.on_disconnected(peer, num_established);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer_id),
                error,
                ..
            } => {
                if let Some(peer) = ours(&peer_id).filter(|_| !self.swarm.is_connected(&peer_id)) {
                    self.on_call_failed(peer, &error);
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => tracing::info!(%address, "listening"),
            SwarmEvent::ListenerClosed {
                addresses,
                reason: Err(error),
                ..
            } => {
                tracing::warn!(?addresses, %error, "no longer listening");
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, endpoint: &ConnectedPoint) {
        let place = Address::from(endpoint.get_remote_address().clone()).place();
        let is_local = matches!(reach(&place), Reach::Loopback | Reach::Memory);
        let found = if endpoint.is_dialer() {
            Found::Dialled
        } else {
            Found::Called
        };
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
                dial.waiters
                    .into_iter()
                    .for_each(|waiter| waiter.fail(error.clone()));
            }
            self.partners.lost(&peer, Instant::now());
        }
    }

    fn on_call_failed(&mut self, peer: PeerId, error: &DialError) {
        let Some(dial) = self.dials.get_mut(&peer) else {
            return;
        };
        if let Some(wrong) = dial.failed(error) {
            // That address ended all other attempts too: without it they deserve another one.
            self.book.forget(&peer, &wrong);
            dial.tried.clear();
        }
        self.dial(peer);
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
                ours(&peer_id).into_iter().for_each(|peer| self.on_stranger(peer));
            }
            BehaviourEvent::Ping(ping::Event {
                connection,
                result: Err(error),
                ..
            }) => {
                if !matches!(error, ping::Failure::Unsupported) {
                    tracing::debug!(%error, "a connection is dead");
                    self.swarm.close_connection(connection);
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.on_nearby(found),
            BehaviourEvent::Mdns(mdns::Event::Expired(expired)) => self.on_expired(expired),
            BehaviourEvent::Requests(outcomes) => outcomes.0.into_iter().for_each(|o| self.on_outcome(o)),
            BehaviourEvent::Gate(event) => self.on_group(event),
            BehaviourEvent::Identify(_) | BehaviourEvent::Ping(_) | BehaviourEvent::Streams(()) => {}
            BehaviourEvent::Limits(never) | BehaviourEvent::Memory(never) => match never {},
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
        // Its word is good for no more addresses than are kept.
        for address in info.listen_addrs.into_iter().take(super::book::MAX_PER_PEER) {
            let address = Address::from(address);
            let place = address.place();
            let is_useful = match reach(&place) {
                Reach::Wide => true,
                Reach::Loopback | Reach::Memory => is_local,
                Reach::Nowhere => false,
            };
            if is_useful && address.peer().is_none_or(|there| there == peer) {
                self.book.add(peer, place, Source::Learned);
            }
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
        if let Some(dial) = self.dials.remove(&peer) {
            dial.waiters
                .into_iter()
                .for_each(|waiter| waiter.fail(ConnectError::NotParlor(peer)));
        }
    }

    fn on_nearby(&mut self, found: Vec<(libp2p::PeerId, libp2p::Multiaddr)>) {
        for (peer, address) in found {
            let Some(peer) = ours(&peer).filter(|peer| *peer != self.peer) else {
                continue;
            };
            let place = Address::from(address).place();
            if reach(&place) != Reach::Nowhere && self.nodes.near(peer) {
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
            Outcome::Asked {
                from,
                request,
                channel,
            } => {
                let Some(from) = ours(&from).filter(|_| self.unanswered.len() < MAX_UNANSWERED) else {
                    return;
                };
                let (answer, response) = oneshot::channel();
                self.unanswered
                    .push(Box::pin(async { (channel, response.await.ok()) }));
                self.outlet.offer(Event::Request(InboundRequest {
                    from,
                    request,
                    answer,
                }));
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
            gate::Event::Message {
                session,
                author,
                payload,
            } => {
                if let Some(author) = ours(&author) {
                    self.outlet.offer(Event::GroupMessage {
                        session,
                        author,
                        payload,
                    });
                }
            }
            gate::Event::Presence {
                session,
                peer,
                present,
            } => {
                if let Some(peer) = ours(&peer) {
                    self.outlet.state(Event::GroupPeer {
                        session,
                        peer,
                        present,
                    });
                }
            }
        }
    }

    /// Says goodbye to all, so that they need not find out by themselves.
    async fn close(&mut self) {
        let connected: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in connected {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let goodbye = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        // Those that do not hear it by then notice when the connection is silent.
        let _ = tokio::time::timeout(super::GOODBYE, goodbye).await;
    }
}

/// Sleeps until then; for no time at all, forever.
async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl From<gate::PublishError> for PublishError {
    fn from(error: gate::PublishError) -> Self {
        match error {
            gate::PublishError::NoGroup => Self::NoGroup,
            gate::PublishError::TooLarge(size) => Self::TooLarge(size),
            gate::PublishError::Alone => Self::Alone,
            gate::PublishError::Full => Self::Full,
        }
    }
}
