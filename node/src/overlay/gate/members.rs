//! Groups, their members, the connections to them, and which connection carries which group.
//!
//! The idea: every change, of membership or of connections, ends in the same few steps: commands to the
//! handlers, a lane more or less. Libp2p's side of it is in the behaviour.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
    identity::Keypair,
    swarm::{ConnectionHandler as _, ConnectionId, NotifyHandler, ToSwarm},
};
use parlor_proto::ids::SessionId;

use super::{
    group::{Event, Group, PublishError},
    handler::{Command, Handler},
    upgrade::Wire,
};

/// What the gate wants of the swarm.
pub(super) type Action = ToSwarm<Event, Command>;

/// Shows each group to its members alone. See the module for how.
pub(crate) struct Gate {
    keypair: Keypair,
    pub(super) local: PeerId,
    wire: Arc<Wire>,
    /// As many as this node opened.
    pub(super) groups: BTreeMap<SessionId, Group>,
    /// The connections to each peer, oldest first. As many as the connection limits let in.
    links: HashMap<PeerId, Vec<Link>>,
    /// Commands and events not yet taken by the swarm, which takes all of them before it reads on.
    pub(super) actions: VecDeque<Action>,
    /// The group that was polled last with success: the next one comes first.
    pub(super) turn: SessionId,
    /// Of the newest lane.
    generation: u64,
}

/// One connection.
struct Link {
    id: ConnectionId,
    endpoint: ConnectedPoint,
}

impl Gate {
    /// `keypair` signs what this node publishes.
    pub(crate) fn new(keypair: Keypair) -> Self {
        let local = keypair.public().to_peer_id();
        Self {
            wire: wire(&keypair).into(),
            local,
            keypair,
            groups: BTreeMap::new(),
            links: HashMap::new(),
            actions: VecDeque::new(),
            turn: SessionId([0; 16]),
            generation: 0,
        }
    }

    /// Opens a group with these members; of one that is open already, the members become these. This node is
    /// in it whether named or not.
    pub(crate) fn open(&mut self, session: SessionId, members: impl IntoIterator<Item = PeerId>) {
        let keypair = &self.keypair;
        let group = self.groups.entry(session).or_insert_with(|| Group::new(session, keypair));
        let mut gone = group.members.clone();
        for peer in members {
            gone.remove(&peer);
            self.allow(session, peer);
        }
        for peer in gone {
            self.revoke(session, peer);
        }
    }

    /// Lets a peer in, now and on connections to come. Nothing if the group is not open or has the peer.
    pub(crate) fn allow(&mut self, session: SessionId, peer: PeerId) {
        let Some(group) = self.groups.get_mut(&session) else {
            return;
        };
        if peer == self.local || !group.members.insert(peer) {
            return;
        }
        let we_lead = self.local < peer;
        for (index, link) in self.links.get(&peer).into_iter().flatten().enumerate() {
            let announce = !we_lead && index == 0;
            self.actions.push_back(command(peer, link.id, Command::Admit { session, we_lead, announce }));
        }
        self.lead(session, peer, None);
    }

    /// Cuts a peer off, at once: nothing that is published from now on goes there, and nothing that comes
    /// from there or was written by it is let through.
    pub(crate) fn revoke(&mut self, session: SessionId, peer: PeerId) {
        let Some(group) = self.groups.get_mut(&session) else {
            return;
        };
        if !group.put_out(&peer) {
            return;
        }
        tracing::debug!(%session, %peer, "put out of the group: its streams are cut off");
        self.cut(session, peer);
    }

    /// Leaves a group: no member is served any more.
    pub(crate) fn close(&mut self, session: SessionId) {
        let Some(group) = self.groups.get_mut(&session) else {
            return;
        };
        for peer in std::mem::take(&mut group.members) {
            self.cut(session, peer);
        }
        self.groups.remove(&session);
    }

    /// Sends to all members that are connected, or reached through those that are.
    pub(crate) fn publish(&mut self, session: SessionId, payload: &[u8]) -> Result<(), PublishError> {
        self.groups.get_mut(&session).ok_or(PublishError::NoGroup)?.publish(payload)
    }

    /// Sends to all members, to each over the direct path if there is one. What is said may be lost, and may
    /// arrive twice.
    pub(crate) fn realtime(&mut self, session: SessionId, payload: &Bytes) -> Result<(), PublishError> {
        self.groups.get_mut(&session).ok_or(PublishError::NoGroup)?.realtime(payload)
    }

    /// The connection that carries the group to this member.
    #[cfg(test)]
    pub(super) fn carrier(&self, session: SessionId, peer: PeerId) -> Option<ConnectionId> {
        Some(self.groups.get(&session)?.lane(&peer)?.connection)
    }

    /// Whether realtime messages to this member have a stream of their own.
    #[cfg(test)]
    pub(super) fn is_direct(&self, session: SessionId, peer: PeerId) -> bool {
        let lane = self.groups.get(&session).and_then(|group| group.lane(&peer));
        lane.is_some_and(|lane| lane.realtime.has_stream())
    }

    fn cut(&mut self, session: SessionId, peer: PeerId) {
        let Some(group) = self.groups.get_mut(&session) else {
            return;
        };
        group.detach(peer);
        self.actions.extend(group.absent(peer).map(ToSwarm::GenerateEvent));
        for link in self.links.get(&peer).into_iter().flatten() {
            self.actions.push_back(command(peer, link.id, Command::Dismiss { session }));
        }
    }

    /// If it is ours to choose the connection for this member, starts afresh on the best one: a direct one
    /// before a relayed one, then the one on which it has just shown itself, then the oldest.
    pub(super) fn lead(&mut self, session: SessionId, peer: PeerId, shown: Option<ConnectionId>) {
        let links = self.links.get(&peer).map_or(&[][..], Vec::as_slice);
        let best = links.iter().min_by_key(|link| (link.endpoint.is_relayed(), Some(link.id) != shown));
        if self.local < peer
            && let Some(id) = best.map(|link| link.id)
        {
            self.attach(session, peer, id);
        }
    }

    /// A fresh lane on this connection, in place of one there or elsewhere.
    pub(super) fn attach(&mut self, session: SessionId, peer: PeerId, connection: ConnectionId) {
        self.detach(session, peer);
        let Some(group) = self.groups.get_mut(&session) else {
            return;
        };
        let mut links = self.links.get(&peer).into_iter().flatten();
        let Some(link) = links.find(|link| link.id == connection) else {
            return;
        };
        self.generation += 1;
        let generation = self.generation;
        if let Some((inner, queue)) = group.attach(peer, connection, &link.endpoint, generation) {
            let attach = Command::Attach { session, generation, inner, queue };
            self.actions.push_back(command(peer, connection, attach));
        }
    }

    pub(super) fn detach(&mut self, session: SessionId, peer: PeerId) {
        let Some(group) = self.groups.get_mut(&session) else {
            return;
        };
        if let Some(connection) = group.detach(peer) {
            self.actions.push_back(command(peer, connection, Command::Detach { session }));
        }
    }

    pub(super) fn on_established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let direct = !endpoint.is_relayed();
        let links = self.links.entry(peer).or_default();
        links.push(Link { id, endpoint: endpoint.clone() });
        let relayed: Vec<_> = links.iter().filter(|l| l.endpoint.is_relayed()).map(|l| l.id).collect();
        for session in self.sessions_with(peer) {
            let lane = self.groups.get(&session).and_then(|group| group.lane(&peer));
            if lane.is_none_or(|lane| direct && relayed.contains(&lane.connection)) {
                self.lead(session, peer, None);
            }
        }
    }

    pub(super) fn on_closed(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(links) = self.links.get_mut(&peer) {
            links.retain(|link| link.id != id);
            if links.is_empty() {
                self.links.remove(&peer);
            }
        }
        let gone = !self.links.contains_key(&peer);
        for session in self.sessions_with(peer) {
            let Some(group) = self.groups.get_mut(&session) else {
                continue;
            };
            if group.lane(&peer).is_some_and(|lane| lane.connection == id) {
                group.detach(peer);
                self.lead(session, peer, None);
            }
            let Some(group) = self.groups.get_mut(&session) else {
                continue;
            };
            if gone {
                self.actions.extend(group.absent(peer).map(ToSwarm::GenerateEvent));
            }
        }
    }

    fn sessions_with(&self, peer: PeerId) -> Vec<SessionId> {
        let with = |(session, group): (&SessionId, &Group)| group.members.contains(&peer).then_some(*session);
        self.groups.iter().filter_map(with).collect()
    }

    pub(super) fn handler(&self, peer: PeerId) -> Handler {
        Handler::new(Arc::clone(&self.wire), self.sessions_with(peer).into_iter(), self.local < peer)
    }
}

pub(super) fn command(peer_id: PeerId, connection: ConnectionId, event: Command) -> Action {
    ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event }
}

/// Gossipsub's codec settings, which it gives away only through a handler: one for a connection that never
/// was, of a group that nobody is in.
fn wire(keypair: &Keypair) -> Wire {
    let mut nobody = Group::new(SessionId([0; 16]), keypair);
    let endpoint =
        ConnectedPoint::Listener { local_addr: Multiaddr::empty(), send_back_addr: Multiaddr::empty() };
    nobody
        .attach(keypair.public().to_peer_id(), ConnectionId::new_unchecked(0), &endpoint, 0)
        .and_then(|(handler, _)| handler.listen_protocol().into_upgrade().0.left())
        .expect("a new handler of gossipsub's accepts its protocol")
}
