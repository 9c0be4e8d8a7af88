//! Calling peers, and serving those who wait for that.

use libp2p::{
    Multiaddr,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use parlor_proto::{
    identity::PeerId,
    wire::{Request, Response},
};
use tokio::{sync::oneshot, time::Instant};

use super::{Driver, MAX_ASKED};
use crate::overlay::{
    address::{Reach, reach, relay_of, theirs},
    book::Source,
    dial::Waiter,
    error::{ConnectError, RequestError},
};

/// Peers that are called at a time, of those that a roster named. More wait.
const MAX_CALLS: usize = 32;

impl Driver {
    /// Remembers an address that somebody said, if it is worth a call.
    pub(super) fn hear(&mut self, peer: PeerId, place: Multiaddr, source: Source) {
        if self.may_call(&place) {
            self.book.add(peer, place, source);
        }
    }

    /// See [`Networks::allow`](crate::overlay::networks::Networks::allow).
    pub(super) fn may_call(&mut self, place: &Multiaddr) -> bool {
        let mut own = self.swarm.listeners().chain(self.swarm.external_addresses()).peekable();
        let is_listening = own.peek().is_some();
        let is_only_here =
            is_listening && own.all(|place| matches!(reach(place), Reach::Loopback | Reach::Memory));
        self.networks.allow(place, is_only_here)
    }

    pub(super) fn call_partners(&mut self) {
        // Others that are called, those that mDNS finds, say, take no room of theirs.
        let under_way = self.dials.keys().filter(|peer| self.partners.has(peer)).count();
        let room = MAX_CALLS.saturating_sub(under_way);
        for peer in self.partners.due(Instant::now(), room) {
            self.reach(peer, None);
        }
    }

    /// Connects to a peer, unless it is connected, and sees to it that `waiter` hears of it.
    pub(super) fn reach(&mut self, peer: PeerId, waiter: Option<Waiter>) {
        if peer == self.peer {
            waiter.into_iter().for_each(|waiter| waiter.fail(ConnectError::Myself(peer)));
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

    /// Calls a peer at all places not yet tried, and asks where else it may be; gives up when nothing is under way.
    pub(super) fn dial(&mut self, peer: PeerId) {
        let Some(dial) = self.dials.get_mut(&peer) else {
            return;
        };
        let mut places = self.book.of(&peer);
        if !self.relays.has(&peer) && !self.searches.has_point(&peer) {
            if !std::mem::replace(&mut dial.is_searched, true) {
                self.search(peer);
            }
            // Whoever is at one of this node's own relays can be reached there.
            let circuits = self.relays.circuits().filter(|place| !places.contains(place));
            places.extend(circuits.collect::<Vec<_>>());
        }
        let Some(dial) = self.dials.get_mut(&peer) else {
            return;
        };
        // A relay that is being called to be asked is waited for: libp2p would call it for each address through it, and
        // give up all those calls but one.
        let waits = |place: &Multiaddr| {
            relay_of(place).is_some_and(|(relay, _)| {
                self.searches.questions(&relay).contains(&peer) && !self.swarm.is_connected(&theirs(relay))
            })
        };
        places.retain(|place| !dial.tried.contains(place) && !waits(place));
        if !places.is_empty() {
            dial.tried.extend(places.iter().cloned());
            let condition = PeerCondition::Disconnected;
            let call = DialOpts::peer_id(theirs(peer)).addresses(places).condition(condition).build();
            let attempt = call.connection_id();
            match self.swarm.dial(call) {
                Ok(()) => dial.attempts.push(attempt),
                Err(error) => drop(dial.failed(&error)),
            }
        }
        if dial.attempts.is_empty() && !self.searches.is_about(&peer) {
            self.give_up(peer);
        }
    }

    fn give_up(&mut self, peer: PeerId) {
        self.partners.lost(&peer, Instant::now());
        let Some(dial) = self.dials.remove(&peer) else {
            return;
        };
        let error = dial.error(peer);
        tracing::debug!(%error);
        dial.waiters.into_iter().for_each(|waiter| waiter.fail(error.clone()));
        let sought = self.searches.failed(&peer);
        sought.into_iter().for_each(|peer| self.dial(peer));
    }

    /// The peer is connected: all that only waited for that goes on.
    pub(super) fn serve_waiters(&mut self, peer: PeerId) {
        let Some(mut dial) = self.dials.remove(&peer) else {
            return;
        };
        let node = self.nodes.get(&peer);
        let is_node = node.is_some_and(|node| node.nickname.is_some());
        let is_stranger = node.is_some_and(|node| node.is_stranger);
        for waiter in std::mem::take(&mut dial.waiters) {
            match waiter {
                Waiter::Stream(answer) => self.prepare_stream(peer, answer),
                Waiter::Node(answer) if is_node => drop(answer.send(Ok(()))),
                Waiter::Node(answer) if is_stranger => drop(answer.send(Err(ConnectError::NotParlor(peer)))),
                Waiter::Node(answer) => dial.waiters.push(Waiter::Node(answer)),
                Waiter::Search => self.on_point(peer),
                Waiter::Request(request, answer) => self.send(peer, request, answer),
            }
        }
        // Until it has identified itself.
        if !dial.waiters.is_empty() {
            dial.tried.clear();
            dial.attempts.clear();
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

    /// A call has failed, ours or that of a behaviour.
    pub(super) fn on_call_failed(&mut self, peer: PeerId, attempt: ConnectionId, error: &DialError) {
        let Some(dial) = self.dials.get_mut(&peer) else {
            return;
        };
        dial.attempts.retain(|ours| *ours != attempt);
        if let Some(wrong) = dial.failed(error) {
            // That address ended all other attempts too: without it they deserve another one.
            self.book.forget(&peer, &wrong);
            dial.tried.clear();
        }
        self.dial(peer);
    }
}
