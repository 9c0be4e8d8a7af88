//! The rendezvous protocol, as a point speaks it: where the nodes are that can be reached through this relay.
//!
//! For: [`Rendezvous`], which takes registrations and answers questions; [`Registrations`], what it keeps. Not for: asking
//! (see `points`).
//!
//! The idea: whoever looks for a peer knows its peer id, and so the one name under which that peer registers. Identities
//! cost nothing, so nobody may take up room, or a name, by having many:
//!
//! - a peer registers under its own name only, with a record that it has signed: so no question has more than one answer,
//!   and nobody can hide among its registrations what somebody else said;
//! - it needs a reservation at this relay first, and is forgotten with it: those are limited, and what this relay is for;
//! - so many from one address at most, and so many in all.
//!
//! There is no list of all registrations: a question without a name has no answer. (libp2p's own server, 0.18, takes any
//! name from anybody, and gives the list to anybody.)

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, Ipv6Addr},
    task::{Context, Poll},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, PeerRecord, SignedEnvelope, transport::PortUse},
    multiaddr::Protocol,
    request_response::{self, Event, Message, ProtocolSupport},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
    },
};
use parlor_proto::wire;
use tokio::time::Instant;

use super::{
    address::ours,
    points::{
        DISCOVER, DISCOVERED, Discovered, OK, PROTOCOL, REGISTER, REGISTERED, Registered, Registration,
        UNREGISTER, Written, read_written, write_written,
    },
};

/// Longest question, bytes: a registration with 20 long addresses has half of it.
const MAX_QUESTION: usize = 16 * 1024;
/// How long a registration is good for, unless it is made again.
const LIFE: Duration = Duration::from_secs(2 * 60 * 60);
/// The share of all registrations that those from one address may have: 1 of so many. A school or a ship has one address.
const SHARE_OF_ADDRESS: usize = 4;
/// And so many in any case.
const LEAST_OF_ADDRESS: usize = 16;

/// The protocol's words for why not.
const INVALID_NAMESPACE: i32 = 100;
const INVALID_RECORD: i32 = 101;
const NOT_AUTHORIZED: i32 = 200;
const UNAVAILABLE: i32 = 400;

/// Where a registration came from: an address, or of IPv6 the network that one customer has. Nothing in one process.
type Origin = Option<IpAddr>;

/// Who is where. See the module.
#[derive(Debug)]
pub(crate) struct Registrations {
    most: usize,
    /// How many reservations each peer has, on as many connections.
    reserved: HashMap<PeerId, u32>,
    /// At most `most`, all of peers with a reservation.
    kept: HashMap<PeerId, Kept>,
}

#[derive(Debug)]
struct Kept {
    name: String,
    record: Vec<u8>,
    from: Origin,
    until: Instant,
}

impl Registrations {
    fn new(most: usize) -> Self {
        Self { most, reserved: HashMap::new(), kept: HashMap::new() }
    }

    /// The peer has one reservation more, or less.
    fn reserved(&mut self, peer: PeerId, is_more: bool) {
        let times = self.reserved.entry(peer).or_default();
        *times = if is_more { times.saturating_add(1) } else { times.saturating_sub(1) };
        if *times == 0 {
            self.reserved.remove(&peer);
            self.kept.remove(&peer);
        }
    }

    /// Takes a registration, or says why not.
    fn register(
        &mut self,
        peer: PeerId,
        from: Origin,
        registration: Registration,
        now: Instant,
    ) -> Result<(), i32> {
        let Some(name) = name_of(peer).filter(|own| registration.name.as_ref() == Some(own)) else {
            return Err(INVALID_NAMESPACE);
        };
        if !self.reserved.contains_key(&peer) {
            return Err(NOT_AUTHORIZED);
        }
        let record = registration.record.unwrap_or_default();
        if signer(&record) != Some(peer) {
            return Err(INVALID_RECORD);
        }

        self.kept.retain(|known, kept| *known != peer && kept.until > now);
        let of_address = (self.most / SHARE_OF_ADDRESS).max(LEAST_OF_ADDRESS);
        let is_same = |kept: &&Kept| from.is_some() && kept.from == from;
        if self.kept.len() >= self.most || self.kept.values().filter(is_same).count() >= of_address {
            return Err(UNAVAILABLE);
        }
        self.kept.insert(peer, Kept { name, record, from, until: now + LIFE });
        Ok(())
    }

    /// Who is registered under a name.
    fn discover(&self, name: &str, now: Instant) -> Option<Registration> {
        let kept = self.kept.values().find(|kept| kept.until > now && kept.name == name)?;
        let ttl = kept.until.duration_since(now).as_secs();
        Some(Registration { name: Some(name.to_owned()), record: Some(kept.record.clone()), ttl: Some(ttl) })
    }

    fn answer(&mut self, peer: PeerId, from: Origin, question: Written, now: Instant) -> Option<Written> {
        match question.kind {
            Some(REGISTER) => {
                let outcome = self.register(peer, from, question.register.unwrap_or_default(), now);
                tracing::debug!(%peer, ?outcome, "asks to be found here");
                let ttl = outcome.is_ok().then(|| LIFE.as_secs());
                let registered = Some(Registered { status: Some(outcome.err().unwrap_or(OK)), ttl });
                Some(Written { kind: Some(REGISTERED), registered, ..Written::default() })
            }
            Some(UNREGISTER) => {
                self.kept.remove(&peer);
                None
            }
            Some(DISCOVER) => {
                let name = question.discover.and_then(|discover| discover.name);
                let found = name.and_then(|name| self.discover(&name, now));
                let registrations = found.into_iter().collect();
                // It leads nowhere: there is no more than this.
                let cookie = Some(vec![0; 8]);
                let discovered = Some(Discovered { registrations, cookie, status: Some(OK) });
                Some(Written { kind: Some(DISCOVERED), discovered, ..Written::default() })
            }
            _ => None,
        }
    }
}

fn name_of(peer: PeerId) -> Option<String> {
    ours(&peer).map(wire::rendezvous_namespace)
}

/// Who has signed that it is there.
fn signer(record: &[u8]) -> Option<PeerId> {
    let envelope = SignedEnvelope::from_protobuf_encoding(record).ok()?;
    Some(PeerRecord::from_signed_envelope(envelope).ok()?.peer_id())
}

fn origin(remote: &Multiaddr) -> Origin {
    match remote.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => {
            Some(ip.to_ipv4_mapped().map_or_else(
                || Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
                IpAddr::from,
            ))
        }
        _ => None,
    }
}

/// See the module.
pub(crate) struct Rendezvous {
    inner: request_response::Behaviour<Codec>,
    registrations: Registrations,
    /// Where each connection comes from. As many as the connection limits let in.
    origins: HashMap<ConnectionId, Origin>,
}

impl Rendezvous {
    /// With room for so many.
    pub(crate) fn new(most: usize) -> Self {
        let config = request_response::Config::default();
        Self {
            inner: request_response::Behaviour::with_codec(
                Codec,
                [(PROTOCOL, ProtocolSupport::Inbound)],
                config,
            ),
            registrations: Registrations::new(most),
            origins: HashMap::new(),
        }
    }

    /// The peer has one reservation at this relay more, or less.
    pub(crate) fn reserved(&mut self, peer: PeerId, is_more: bool) {
        self.registrations.reserved(peer, is_more);
    }
}

impl NetworkBehaviour for Rendezvous {
    type ConnectionHandler = <request_response::Behaviour<Codec> as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, endpoint, .. }) => {
                self.origins.insert(connection_id, origin(endpoint.get_remote_address()));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.origins.remove(&connection_id);
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        loop {
            let event = match self.inner.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ToSwarm::GenerateEvent(event)) => event,
                Poll::Ready(action) => {
                    if let Some(action) = without_event(action) {
                        return Poll::Ready(action);
                    }
                    continue;
                }
            };
            // Of the other events none asks for anything.
            if let Event::Message {
                peer,
                connection_id,
                message: Message::Request { request, channel, .. },
            } = event
            {
                let from = self.origins.get(&connection_id).copied().flatten();
                if let Some(answer) = self.registrations.answer(peer, from, request, Instant::now()) {
                    // Whoever asked may have gone.
                    let _ = self.inner.send_response(channel, answer);
                }
            }
        }
    }
}

/// What is no event stays as it is.
fn without_event<E, C>(action: ToSwarm<E, C>) -> Option<ToSwarm<Infallible, C>> {
    match action {
        ToSwarm::GenerateEvent(_) => None,
        other => Some(other.map_out(|_| unreachable!("it is no event"))),
    }
}

/// Questions and answers, each after its length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codec;

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Written;
    type Response = Written;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Written>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_written(io, MAX_QUESTION).await?.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, answer: Written) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_written(io, &answer).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, _: &mut T, _: Written) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, _: &mut T) -> io::Result<Written>
    where
        T: AsyncRead + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use libp2p::identity::Keypair;

    use super::*;

    fn key(number: u32) -> Keypair {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        Keypair::ed25519_from_bytes(seed).unwrap()
    }

    fn peer(number: u32) -> PeerId {
        key(number).public().to_peer_id()
    }

    fn record(number: u32) -> Vec<u8> {
        let record = PeerRecord::new(&key(number), vec!["/ip4/192.0.2.1/tcp/1".parse().unwrap()]).unwrap();
        record.into_signed_envelope().into_protobuf_encoding()
    }

    fn registration(name: String, record: Vec<u8>) -> Registration {
        Registration { name: Some(name), record: Some(record), ttl: None }
    }

    fn own(number: u32) -> Registration {
        registration(name_of(peer(number)).unwrap(), record(number))
    }

    fn from(address: &str) -> Origin {
        origin(&address.parse().unwrap())
    }

    fn found(registrations: &Registrations, number: u32, now: Instant) -> Option<PeerId> {
        let found = registrations.discover(&name_of(peer(number)).unwrap(), now)?;
        signer(&found.record.unwrap())
    }

    #[test]
    fn a_peer_registers_under_its_own_name_only_and_with_a_reservation() {
        let (mut registrations, now) = (Registrations::new(100), Instant::now());
        assert_eq!(registrations.register(peer(1), None, own(1), now), Err(NOT_AUTHORIZED), "no reservation");
        for number in 1..4 {
            registrations.reserved(peer(number), true);
        }
        assert_eq!(registrations.register(peer(1), None, own(1), now), Ok(()));
        // Others under its name, with a record of their own or with its record.
        let name = name_of(peer(1)).unwrap();
        let hiding = registration(name.clone(), record(2));
        assert_eq!(registrations.register(peer(2), None, hiding, now), Err(INVALID_NAMESPACE));
        assert_eq!(registrations.register(peer(2), None, own(1), now), Err(INVALID_NAMESPACE));
        let elsewhere = registration("parlor".into(), record(2));
        assert_eq!(registrations.register(peer(2), None, elsewhere, now), Err(INVALID_NAMESPACE));
        let stolen = registration(name_of(peer(2)).unwrap(), record(1));
        assert_eq!(registrations.register(peer(2), None, stolen, now), Err(INVALID_RECORD));
        assert_eq!(found(&registrations, 1, now), Some(peer(1)));
        assert_eq!(found(&registrations, 2, now), None);
    }

    #[test]
    fn who_has_no_reservation_any_more_is_forgotten() {
        let (mut registrations, now) = (Registrations::new(100), Instant::now());
        // On two connections.
        registrations.reserved(peer(1), true);
        registrations.reserved(peer(1), true);
        registrations.register(peer(1), None, own(1), now).unwrap();
        registrations.reserved(peer(1), false);
        assert_eq!(found(&registrations, 1, now), Some(peer(1)));
        registrations.reserved(peer(1), false);
        assert_eq!(found(&registrations, 1, now), None);
        registrations.reserved(peer(1), false);
        assert!(registrations.reserved.is_empty() && registrations.kept.is_empty());
    }

    #[test]
    fn neither_one_address_nor_time_fills_it() {
        let (mut registrations, now) = (Registrations::new(100), Instant::now());
        let mut register = |number: u32, address: &str, now| {
            registrations.reserved(peer(number), true);
            registrations.register(peer(number), from(address), own(number), now)
        };
        for number in 0..25 {
            assert_eq!(register(number, "/ip4/198.51.100.7/tcp/1", now), Ok(()));
        }
        assert_eq!(register(25, "/ip4/198.51.100.7/udp/9/quic-v1", now), Err(UNAVAILABLE), "one address");
        assert_eq!(register(3, "/ip4/198.51.100.7/tcp/1", now), Ok(()), "again");
        // Whoever has an IPv6 address has 2^64.
        for number in 100..125 {
            assert_eq!(register(number, &format!("/ip6/2001:db8::{number}/tcp/1"), now), Ok(()));
        }
        assert_eq!(register(125, "/ip6/2001:db8::ffff/tcp/1", now), Err(UNAVAILABLE));
        assert_eq!(register(126, "/ip6/2001:db8:0:1::1/tcp/1", now), Ok(()));
        for number in 200..249 {
            assert_eq!(register(number, &format!("/ip4/203.0.113.{number}/tcp/1"), now), Ok(()));
        }
        assert_eq!(register(249, "/ip4/203.0.113.249/tcp/1", now), Err(UNAVAILABLE), "in all");
        assert_eq!(register(249, "/ip4/203.0.113.249/tcp/1", now + LIFE), Ok(()), "others have expired");
        assert_eq!(found(&registrations, 3, now + LIFE), None);
    }

    #[test]
    fn nobody_gets_a_list_and_what_is_no_question_has_no_answer() {
        let (mut registrations, now) = (Registrations::new(100), Instant::now());
        registrations.reserved(peer(1), true);
        registrations.register(peer(1), None, own(1), now).unwrap();
        let mut ask = |kind| {
            let question = Written { kind, ..Written::default() };
            registrations.answer(peer(2), None, question, now)
        };
        let all = ask(Some(DISCOVER)).unwrap().discovered.unwrap();
        assert!(all.registrations.is_empty(), "{all:?}");
        for kind in [None, Some(REGISTERED), Some(DISCOVERED), Some(99)] {
            assert!(ask(kind).is_none(), "{kind:?}");
        }
        // Nobody ends somebody else's.
        assert!(ask(Some(UNREGISTER)).is_none());
        assert_eq!(found(&registrations, 1, now), Some(peer(1)));
    }
}
