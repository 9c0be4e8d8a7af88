//! The event loop: commands in, the swarm's events in, domain events out. It waits for nobody.
//!
//! For: translating between the node and the swarm. Not for: state worth testing by itself, which is in the
//! modules beside this one, each a plain value.

mod calls;
mod events;
mod internet;

use std::collections::HashMap;

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{Swarm, identity::Keypair, metrics::Metrics};
use parlor_proto::{identity::PeerId, ids::SessionId, wire::Response};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    Event, GOODBYE, PeerInfo,
    address::{Address, theirs},
    behaviour::Behaviour,
    book::{Book, Source},
    dial::{Dials, Waiter},
    error::{ConnectError, PublishError, RequestError},
    gate,
    listen::{Meanwhile, own_addresses},
    networks::Networks,
    nodes::{Node, Nodes},
    outlet::Outlet,
    partners::Partners,
    paths::Paths,
    ports::Ports,
    relays::{RelayStatus, Relays},
    request::{Channel, Key},
    search::Searches,
    stream::Accepted,
};

/// Peers' requests that await an answer of this node's. More are refused.
const MAX_UNANSWERED: usize = 256;

/// From the facade, in the order given. An answer that nobody waits for any more is dropped.
pub(crate) enum Command {
    Addresses(oneshot::Sender<Vec<Address>>),
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Relays(oneshot::Sender<Vec<RelayStatus>>),
    AddAddress(PeerId, Address),
    HearAddress(PeerId, Address),
    AddressesOf(PeerId, oneshot::Sender<Vec<Address>>),
    Reach(PeerId, Waiter),
    GroupOpen(SessionId, Vec<PeerId>),
    GroupAllow(SessionId, PeerId),
    GroupRevoke(SessionId, PeerId),
    GroupClose(SessionId),
    Publish(SessionId, Bytes, oneshot::Sender<Result<(), PublishError>>),
    Realtime(SessionId, Bytes, oneshot::Sender<Result<(), PublishError>>),
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
    key: Keypair,
    swarm: Swarm<Behaviour>,
    outlet: Outlet,
    book: Book,
    networks: Networks,
    nodes: Nodes,
    dials: Dials,
    partners: Partners,
    paths: Paths,
    /// Who waits for relayed connections to be closed. As many as callers of this node.
    before_streams: Vec<(PeerId, oneshot::Sender<Result<(), ConnectError>>)>,
    relays: Relays,
    searches: Searches,
    /// Whether others can be reached through this node.
    is_relay: bool,
    metrics: Metrics,
    /// Our requests under way. As many as this node's callers.
    asked: HashMap<Key, (PeerId, oneshot::Sender<Result<Response, RequestError>>)>,
    /// Peers' requests under way.
    unanswered: FuturesUnordered<Answer>,
}

impl Driver {
    pub(crate) fn new(
        peer: PeerId,
        key: Keypair,
        swarm: Swarm<Behaviour>,
        outlet: Outlet,
        relays: Relays,
        is_relay: bool,
        metrics: Metrics,
    ) -> Self {
        Self {
            peer,
            key,
            swarm,
            outlet,
            book: Book::default(),
            networks: Networks::default(),
            nodes: Nodes::default(),
            dials: Dials::default(),
            partners: Partners::default(),
            paths: Paths::default(),
            before_streams: Vec::new(),
            relays,
            searches: Searches::default(),
            is_relay,
            metrics,
            asked: HashMap::new(),
            unanswered: FuturesUnordered::new(),
        }
    }

    /// Runs until told to shut down, or all handles are gone. `meanwhile` happened before.
    pub(crate) async fn run(
        mut self,
        meanwhile: Meanwhile,
        mut commands: mpsc::Receiver<Command>,
        mut streams: mpsc::Receiver<Accepted>,
        mut ports: Ports,
    ) {
        self.offer_listeners();
        meanwhile.into_iter().for_each(|event| self.on_event(event));
        loop {
            let next_call =
                [self.partners.next(), self.relays.next(), self.paths.next()].into_iter().flatten().min();
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
                change = ports.change() => self.on_port(change),
                () = sleep_until(next_call), if next_call.is_some() => {
                    self.call_partners();
                    self.ask_relays();
                    self.close_relayed();
                }
            }
        }
        tokio::join!(self.close(), ports.close());
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Addresses(answer) => drop(answer.send(own_addresses(&self.swarm, self.peer))),
            Command::Peers(answer) => drop(answer.send(self.peers())),
            Command::Relays(answer) => drop(answer.send(self.relays.status())),
            Command::AddAddress(peer, address) => {
                if address.peer().is_none_or(|there| there == peer) {
                    self.book.add(peer, address.place(), Source::Given);
                }
            }
            Command::HearAddress(peer, address) => {
                if address.peer().is_none_or(|there| there == peer) {
                    self.hear(peer, address.place(), Source::Said);
                }
            }
            Command::AddressesOf(peer, answer) => drop(answer.send(self.addresses_of(peer))),
            Command::Reach(peer, waiter) => self.reach(peer, Some(waiter)),
            Command::GroupOpen(session, members) => self.open_group(session, &members),
            Command::GroupAllow(session, peer) => {
                self.partners.roster(session).into_iter().for_each(|roster| _ = roster.insert(peer));
                self.swarm.behaviour_mut().gate.allow(session, theirs(peer));
                self.exempt(peer);
            }
            Command::GroupRevoke(session, peer) => {
                self.partners.roster(session).into_iter().for_each(|roster| _ = roster.remove(&peer));
                self.swarm.behaviour_mut().gate.revoke(session, theirs(peer));
                self.exempt(peer);
            }
            Command::GroupClose(session) => {
                self.swarm.behaviour_mut().gate.close(session);
                self.partners.close(&session).into_iter().for_each(|peer| self.exempt(peer));
            }
            Command::Publish(session, payload, answer) => {
                let outcome = self.swarm.behaviour_mut().gate.publish(session, &payload);
                drop(answer.send(outcome.map_err(PublishError::from)));
            }
            Command::Realtime(session, payload, answer) => {
                let outcome = self.swarm.behaviour_mut().gate.realtime(session, &payload);
                drop(answer.send(outcome.map_err(PublishError::from)));
            }
            Command::Keep(peer) => {
                self.partners.keep(peer, self.swarm.is_connected(&theirs(peer)), Instant::now());
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
        let info = |(peer, node): (PeerId, &Node)| PeerInfo {
            peer,
            nickname: node.nickname.clone().unwrap_or_default(),
            addresses: self.addresses_of(peer),
            connected: node.links > 0,
            path: self.paths.of(&peer),
            found: node.found,
        };
        let mut peers: Vec<_> = self.nodes.iter().map(info).collect();
        peers.sort_by(|one, other| (&one.nickname, one.peer).cmp(&(&other.nickname, other.peer)));
        peers
    }

    fn addresses_of(&self, peer: PeerId) -> Vec<Address> {
        self.book.of(&peer).into_iter().map(|place| Address::from(place).with_peer(peer)).collect()
    }

    fn open_group(&mut self, session: SessionId, members: &[PeerId]) {
        let before = self.partners.open(session, members);
        self.swarm.behaviour_mut().gate.open(session, members.iter().copied().map(theirs));
        before.into_iter().chain(members.iter().copied()).for_each(|peer| self.exempt(peer));
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

    /// Says goodbye to all, so that they need not find out by themselves.
    async fn close(&mut self) {
        self.leave_rendezvous();
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
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
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
