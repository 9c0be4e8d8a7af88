//! The rendezvous protocol, as one who asks speaks it.
//!
//! For: telling rendezvous points where this node is, and asking them where others are; the protocol's messages. Not for:
//! being one (see `rendezvous`), nor for whom to ask about what (see `search`).
//!
//! The idea: a point is somebody else's and may say anything. One answer to one question, of so many bytes and so many
//! registrations at most; whatever is not signed by whom it is about is not there. (libp2p's own client, 0.18, takes a
//! MiB and keeps all of it, and ends with a panic when the answer is a request, or is to be kept for ever.)

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{PeerRecord, SignedEnvelope},
    identity::Keypair,
    request_response::{self, ProtocolSupport},
    swarm::NetworkBehaviour,
};
use prost::Message as _;

pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/rendezvous/1.0.0");
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer, at most. With [`MAX_FOUND`] registrations of 20 long addresses each it has a quarter of this.
const MAX_ANSWER: usize = 64 * 1024;
/// Registrations that are asked for. A peer has one; but anybody may register under any name, so that a few others may
/// be among them. With more it is no answer.
const MAX_FOUND: usize = 8;

type Client = request_response::Behaviour<Codec>;

/// See the module. What comes of a registration is of another field than what is found.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Points {
    registrar: Client,
    finder: Client,
}

impl Points {
    pub(crate) fn new() -> Self {
        let client = || {
            let config = request_response::Config::default().with_request_timeout(TIMEOUT);
            Client::with_codec(Codec, [(PROTOCOL, ProtocolSupport::Outbound)], config)
        };
        Self { registrar: client(), finder: client() }
    }

    /// Under this name, this node is at these addresses.
    pub(crate) fn register(
        &mut self,
        point: &PeerId,
        name: String,
        key: &Keypair,
        addresses: Vec<Multiaddr>,
    ) {
        let record = PeerRecord::new(key, addresses).expect("a key of this node's signs");
        let record = record.into_signed_envelope().into_protobuf_encoding();
        let register = Registration { name: Some(name), record: Some(record), ttl: None };
        let question = Written { kind: Some(REGISTER), register: Some(register), ..Written::default() };
        self.registrar.send_request(point, Question(question));
    }

    /// It is there no more.
    pub(crate) fn unregister(&mut self, point: &PeerId, name: String) {
        let unregister = Some(Unregister { name: Some(name) });
        let question = Written { kind: Some(UNREGISTER), unregister, ..Written::default() };
        self.registrar.send_request(point, Question(question));
    }

    /// Who is registered under a name?
    pub(crate) fn discover(&mut self, point: &PeerId, name: String) {
        let discover = Some(Discover { name: Some(name), limit: Some(MAX_FOUND as u64) });
        let question = Written { kind: Some(DISCOVER), discover, ..Written::default() };
        self.finder.send_request(point, Question(question));
    }
}

/// To a point.
#[derive(Debug)]
pub(crate) struct Question(Written);

/// Of a point.
#[derive(Debug)]
pub(crate) enum Answer {
    /// This node's own registration is taken.
    Registered,
    /// Peers who signed where they are.
    Found(Vec<PeerRecord>),
    /// Far more than was asked for.
    Flood,
    /// Neither.
    Other,
}

impl Answer {
    #[cfg(test)]
    fn of(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        Ok(Self::read(Written::decode(bytes)?))
    }

    fn read(written: Written) -> Self {
        let Written { kind, registered, discovered, .. } = written;
        match (kind, registered, discovered) {
            (Some(REGISTERED), Some(Registered { status: Some(OK), .. }), _) => Self::Registered,
            (Some(DISCOVERED), _, Some(Discovered { registrations, status: Some(OK), .. })) => {
                if registrations.len() > MAX_FOUND {
                    return Self::Flood;
                }
                Self::Found(registrations.iter().filter_map(Registration::verified).collect())
            }
            _ => Self::Other,
        }
    }
}

/// A message. Names and numbers: <https://github.com/libp2p/specs/tree/master/rendezvous#protobuf>.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Written {
    #[prost(int32, optional, tag = "1")]
    pub(crate) kind: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub(crate) register: Option<Registration>,
    #[prost(message, optional, tag = "3")]
    pub(crate) registered: Option<Registered>,
    #[prost(message, optional, tag = "4")]
    pub(crate) unregister: Option<Unregister>,
    #[prost(message, optional, tag = "5")]
    pub(crate) discover: Option<Discover>,
    #[prost(message, optional, tag = "6")]
    pub(crate) discovered: Option<Discovered>,
}

/// Kinds of messages.
pub(crate) const REGISTER: i32 = 0;
pub(crate) const REGISTERED: i32 = 1;
pub(crate) const UNREGISTER: i32 = 2;
pub(crate) const DISCOVER: i32 = 3;
pub(crate) const DISCOVERED: i32 = 4;
/// The status of an answer that is none of the errors.
pub(crate) const OK: i32 = 0;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Registration {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) record: Option<Vec<u8>>,
    /// Seconds.
    #[prost(uint64, optional, tag = "3")]
    pub(crate) ttl: Option<u64>,
}

impl Registration {
    fn verified(&self) -> Option<PeerRecord> {
        let envelope = SignedEnvelope::from_protobuf_encoding(self.record.as_ref()?).ok()?;
        PeerRecord::from_signed_envelope(envelope).ok()
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Registered {
    #[prost(int32, optional, tag = "1")]
    pub(crate) status: Option<i32>,
    /// Seconds.
    #[prost(uint64, optional, tag = "3")]
    pub(crate) ttl: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Unregister {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Discover {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    limit: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Discovered {
    #[prost(message, repeated, tag = "1")]
    pub(crate) registrations: Vec<Registration>,
    /// By which to ask for what is new since; not used here.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) cookie: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "3")]
    pub(crate) status: Option<i32>,
}

/// Reads a message after its length; `None` of one that is longer than `most`.
pub(crate) async fn read_written(
    io: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> io::Result<Option<Written>> {
    let mut length = Vec::new();
    while length.last().is_none_or(|byte| *byte >= 0x80) && length.len() < 10 {
        let mut byte = [0];
        io.read_exact(&mut byte).await?;
        length.extend(byte);
    }
    let length = prost::decode_length_delimiter(&length[..])?;
    if length > most {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    io.read_exact(&mut bytes).await?;
    Ok(Some(Written::decode(&bytes[..])?))
}

/// Writes a message after its length.
pub(crate) async fn write_written(io: &mut (impl AsyncWrite + Unpin), message: &Written) -> io::Result<()> {
    io.write_all(&message.encode_length_delimited_to_vec()).await
}

/// Messages after their length, and from this node questions only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codec;

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Question;
    type Response = Answer;

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, question: Question) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_written(io, &question.0).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(read_written(io, MAX_ANSWER).await?.map_or(Answer::Flood, Answer::read))
    }

    async fn read_request<T>(&mut self, _: &StreamProtocol, _: &mut T) -> io::Result<Question>
    where
        T: AsyncRead + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, _: &mut T, _: Answer) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn registration(seed: u8) -> Registration {
        let key = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let record = PeerRecord::new(&key, vec!["/ip4/192.0.2.1/tcp/1".parse().unwrap()]).unwrap();
        let record = record.into_signed_envelope().into_protobuf_encoding();
        Registration { name: Some("parlor".into()), record: Some(record), ttl: None }
    }

    fn answer(registrations: Vec<Registration>) -> Answer {
        let discovered = Some(Discovered { registrations, cookie: None, status: Some(OK) });
        let written = Written { kind: Some(DISCOVERED), discovered, ..Written::default() };
        Answer::of(&written.encode_to_vec()).unwrap()
    }

    #[test]
    fn what_is_found_was_signed() {
        let mut forged = registration(2);
        forged.record.as_mut().unwrap()[40] ^= 1;
        let Answer::Found(found) = answer(vec![registration(1), forged, Registration::default()]) else {
            panic!("an answer");
        };
        let key = Keypair::ed25519_from_bytes([1; 32]).unwrap();
        assert_eq!(found.iter().map(PeerRecord::peer_id).collect::<Vec<_>>(), [key.public().to_peer_id()]);
    }

    #[test]
    fn more_than_was_asked_for_is_a_flood() {
        assert!(
            matches!(answer(vec![registration(1); MAX_FOUND]), Answer::Found(found) if found.len() == MAX_FOUND)
        );
        assert!(matches!(answer(vec![registration(1); MAX_FOUND + 1]), Answer::Flood));
    }

    #[test]
    fn a_request_is_no_answer() {
        for kind in [REGISTER, UNREGISTER, DISCOVER, 5, -1] {
            let written = Written { kind: Some(kind), ..Written::default() };
            assert!(matches!(Answer::of(&written.encode_to_vec()), Ok(Answer::Other)), "{kind}");
        }
        assert!(matches!(Answer::of(&[]), Ok(Answer::Other)));
        assert!(Answer::of(&[0xff; 9]).is_err());
    }
}
