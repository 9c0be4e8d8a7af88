//! The gate as libp2p sees it.

use std::{
    ops::Bound,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
    },
};

use super::{
    group::{Event, Group, Output},
    handler::{Command, Handler, Report},
    members::{Action, Gate, command},
    trace::Refusal,
};

impl NetworkBehaviour for Gate {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                self.on_established(peer_id, connection_id, endpoint);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.on_closed(peer_id, connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, report: Report) {
        let session = report.session();
        let Some(group) = self.groups.get_mut(&session) else {
            return;
        };
        // It may have been cut off while its report was under way; or it never was let in.
        if !group.members.contains(&peer) {
            group.refuse(peer, Refusal::Stranger);
            return;
        }
        let we_lead = self.local < peer;
        match report {
            Report::Opened { .. } if !we_lead => self.attach(session, peer, connection),
            Report::Ready { .. } => self.lead(session, peer),
            Report::Refused { generation, .. } if group.is_current(&peer, generation) => {
                self.actions.extend(group.absent(peer).map(ToSwarm::GenerateEvent));
            }
            Report::Spent { generation, .. } if group.is_current(&peer, generation) => {
                self.detach(session, peer);
                self.lead(session, peer);
                if !we_lead {
                    let again = Command::Admit { session, we_lead, announce: true };
                    self.actions.push_back(command(peer, connection, again));
                }
            }
            Report::Realtime { generation, payload, .. } if group.is_current(&peer, generation) => {
                let message = Event::Message { session, author: peer, payload };
                self.actions.push_back(ToSwarm::GenerateEvent(message));
            }
            Report::Garbled { .. } => group.refuse(peer, Refusal::Garbled),
            Report::Inner { generation, event, .. } if group.is_current(&peer, generation) => {
                group.on_handler_event(peer, connection, *event);
            }
            Report::Opened { .. }
            | Report::Refused { .. }
            | Report::Spent { .. }
            | Report::Realtime { .. }
            | Report::Claimed { .. }
            | Report::Inner { .. } => {}
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        let turn = self.turn;
        let after = self.groups.range_mut((Bound::Excluded(turn), Bound::Unbounded));
        for (session, group) in after {
            if let Some(action) = next(group, cx) {
                self.turn = *session;
                return Poll::Ready(action);
            }
        }
        for (session, group) in self.groups.range_mut(..=turn) {
            if let Some(action) = next(group, cx) {
                self.turn = *session;
                return Poll::Ready(action);
            }
        }
        Poll::Pending
    }
}

/// What the group wants done next, if anything.
fn next(group: &mut Group, cx: &mut Context<'_>) -> Option<Action> {
    loop {
        match group.poll(cx) {
            Poll::Pending => return None,
            Poll::Ready(Output::Event(event)) => return Some(ToSwarm::GenerateEvent(event)),
            Poll::Ready(Output::Notify(peer, event)) => {
                // For a lane that is gone: nobody is there to hear it.
                let Some(lane) = group.lane(&peer) else { continue };
                let generation = lane.generation;
                let inner = Command::Inner { session: group.session(), generation, event };
                return Some(command(peer, lane.connection, inner));
            }
        }
    }
}
