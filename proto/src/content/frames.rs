//! What is said on a content stream, frame by frame.
//!
//! For: encoding and decoding of frames, with a bound for each kind that is known before anything is
//! allocated. Not for: reading streams.
//!
//! The idea: a frame is its kind (one byte), the length of its body (four bytes, big-endian) and the body.
//!
//! ```text
//! asker                                      source
//! Open   program id (32) | right        ->
//!                                       <-   Accepted  bitmap of the chunks it has and may serve
//!                                            or Refused  reason (1), and the stream ends
//! WantManifest                          ->
//!                                       <-   Manifest  bytes, End
//! Want   (first u32, end u32) ...       ->
//!                                       <-   Chunk  number (u32) | bytes ... , End
//! ```
//!
//! Wants may be sent ahead of the answers; they are answered in order, each chunk once, in the order asked.
//! Every answer ends with `End`: that a stream ends (a relay may cut it, and the cut looks clean) says nothing.

use std::ops::Range;

use crate::{
    ids::ProgramId,
    program::{CHUNK_SIZE, ChunkIndex, MAX_CHUNKS, MAX_MANIFEST_SIZE},
};

/// The libp2p protocol of content streams.
pub const PROTOCOL: &str = "/parlor/content/1";

/// Length of a frame before its body, bytes.
pub const HEADER_LEN: usize = 5;

/// Length of what stands before a chunk's bytes, bytes: the header and the chunk's number.
pub const CHUNK_HEADER_LEN: usize = HEADER_LEN + 4;

/// The longest right in an `Open`, bytes.
pub const MAX_RIGHT: usize = 16 * 1024;

/// The most ranges in a `Want`.
pub const MAX_RANGES: usize = 256;

/// The most chunks in a `Want`.
pub const MAX_WANT_CHUNKS: u32 = 512;

const PROGRAM_ID_LEN: usize = 32;
const RANGE_LEN: usize = 8;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Names the program and shows the right to it.
    Open = 0x01,
    /// Asks for the manifest.
    WantManifest = 0x02,
    /// Asks for chunks.
    Want = 0x03,
    /// The right was accepted.
    Accepted = 0x11,
    /// It was not.
    Refused = 0x12,
    /// The manifest.
    Manifest = 0x13,
    /// One chunk.
    Chunk = 0x14,
    /// The answer to one want is complete.
    End = 0x15,
}

/// Which end of a stream a frame comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that wants chunks.
    Asker,
    /// The one that has them.
    Source,
}

/// Why a source says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Refusal {
    /// The right does not hold here, for this peer or this program.
    #[error("it does not accept our right to the program")]
    NotAllowed = 1,
    /// The source does not have the program, or not all of it.
    #[error("it does not have the program")]
    NotHere = 2,
    /// Too many streams; worth asking again later.
    #[error("it is busy")]
    Busy = 3,
}

/// Bytes that no honest peer sends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind that is not known, or not one that this end may send.
    #[error("an unexpected frame (kind {0:#04x})")]
    Kind(u8),
    /// A length that frames of this kind do not have.
    #[error("a frame of impossible length ({len} bytes, kind {kind:?})")]
    Length {
        /// The kind of frame.
        kind: Kind,
        /// The length it claims, bytes.
        len: u32,
    },
    /// A body that makes no sense.
    #[error("a frame that cannot be read (kind {0:?})")]
    Body(Kind),
}

/// The first bytes of a frame, checked: its body is no longer than its kind allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Length of its body, bytes.
    pub len: usize,
}

/// What an asker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Names the program and shows the right to it; the first frame, once.
    Open {
        /// The program.
        program: ProgramId,
        /// The right, as its own format has it; up to [`MAX_RIGHT`] bytes.
        right: Vec<u8>,
    },
    /// Asks for the manifest.
    WantManifest,
    /// Asks for the chunks of some ranges, in this order: 1 to [`MAX_RANGES`] ranges, none empty, in
    /// ascending order, [`MAX_WANT_CHUNKS`] chunks at most.
    Want(Vec<Range<u32>>),
}

/// What a source says. Bodies are borrowed: chunks are the bulk of all bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The right was accepted. The bitmap (see [`ChunkSet`](crate::program::ChunkSet)) has the chunks that
    /// the source has and may serve.
    Accepted(&'a [u8]),
    /// It was not; nothing follows.
    Refused(Refusal),
    /// The manifest's bytes.
    Manifest(&'a [u8]),
    /// One chunk: 1 to [`CHUNK_SIZE`] bytes.
    Chunk(ChunkIndex, &'a [u8]),
    /// The answer to one want is complete.
    End,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind::{Accepted, Chunk, End, Manifest, Open, Refused, Want, WantManifest};
        [Open, WantManifest, Want, Accepted, Refused, Manifest, Chunk, End]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    fn side(self) -> Side {
        match self {
            Self::Open | Self::WantManifest | Self::Want => Side::Asker,
            _ => Side::Source,
        }
    }

    /// The shortest and the longest body, bytes.
    fn bounds(self) -> (usize, usize) {
        match self {
            Self::Open => (PROGRAM_ID_LEN, PROGRAM_ID_LEN + MAX_RIGHT),
            Self::WantManifest | Self::End => (0, 0),
            Self::Want => (RANGE_LEN, MAX_RANGES * RANGE_LEN),
            Self::Accepted => (0, MAX_CHUNKS.div_ceil(8) as usize),
            Self::Refused => (1, 1),
            Self::Manifest => (1, MAX_MANIFEST_SIZE),
            Self::Chunk => (4 + 1, 4 + CHUNK_SIZE as usize),
        }
    }
}

impl Header {
    /// Reads the first bytes of a frame that came from `side`.
    pub fn parse(bytes: [u8; HEADER_LEN], side: Side) -> Result<Self, FrameError> {
        let [kind, len @ ..] = bytes;
        let kind = Kind::from_byte(kind).filter(|kind| kind.side() == side).ok_or(FrameError::Kind(kind))?;
        let claimed = u32::from_be_bytes(len);
        let (shortest, longest) = kind.bounds();
        match usize::try_from(claimed) {
            Ok(len) if (shortest..=longest).contains(&len) => Ok(Self { kind, len }),
            _ => Err(FrameError::Length { kind, len: claimed }),
        }
    }
}

impl Request {
    /// Reads a request's body.
    pub fn parse(kind: Kind, body: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Body(kind);
        match kind {
            Kind::Open => {
                let (program, right) = body.split_at_checked(PROGRAM_ID_LEN).ok_or(malformed)?;
                let program = ProgramId::try_from(program).map_err(|_| malformed)?;
                Ok(Self::Open { program, right: right.to_vec() })
            }
            Kind::WantManifest if body.is_empty() => Ok(Self::WantManifest),
            Kind::Want => parse_ranges(body).map(Self::Want).ok_or(malformed),
            _ => Err(malformed),
        }
    }

    /// Writes the whole frame. The caller keeps within the bounds; a peer refuses what does not.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Open { program, right } => frame(Kind::Open, &[&program.0, right]),
            Self::WantManifest => frame(Kind::WantManifest, &[]),
            Self::Want(ranges) => {
                let numbers = ranges.iter().flat_map(|range| [range.start, range.end]);
                let body: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
                frame(Kind::Want, &[&body])
            }
        }
    }
}

impl<'a> Reply<'a> {
    /// Reads a reply's body.
    pub fn parse(kind: Kind, body: &'a [u8]) -> Result<Self, FrameError> {
        match (kind, body) {
            (Kind::Accepted, bitmap) => Ok(Self::Accepted(bitmap)),
            (Kind::Refused, [1]) => Ok(Self::Refused(Refusal::NotAllowed)),
            (Kind::Refused, [2]) => Ok(Self::Refused(Refusal::NotHere)),
            (Kind::Refused, [3]) => Ok(Self::Refused(Refusal::Busy)),
            (Kind::Manifest, bytes) => Ok(Self::Manifest(bytes)),
            (Kind::Chunk, &[a, b, c, d, ref bytes @ ..]) => {
                Ok(Self::Chunk(ChunkIndex(u32::from_be_bytes([a, b, c, d])), bytes))
            }
            (Kind::End, []) => Ok(Self::End),
            _ => Err(FrameError::Body(kind)),
        }
    }

    /// Writes the whole frame. For chunks, [`chunk_header`] saves the copy.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Accepted(bitmap) => frame(Kind::Accepted, &[bitmap]),
            Self::Refused(reason) => frame(Kind::Refused, &[&[reason as u8]]),
            Self::Manifest(bytes) => frame(Kind::Manifest, &[bytes]),
            Self::Chunk(index, bytes) => frame(Kind::Chunk, &[&index.0.to_be_bytes(), bytes]),
            Self::End => frame(Kind::End, &[]),
        }
    }
}

/// What stands before the `len` bytes (1 to [`CHUNK_SIZE`]) of a chunk.
#[must_use]
pub fn chunk_header(index: ChunkIndex, len: u32) -> [u8; CHUNK_HEADER_LEN] {
    let [a, b, c, d] = (len + 4).to_be_bytes();
    let [e, f, g, h] = index.0.to_be_bytes();
    [Kind::Chunk as u8, a, b, c, d, e, f, g, h]
}

fn frame(kind: Kind, body: &[&[u8]]) -> Vec<u8> {
    let len: usize = body.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(HEADER_LEN + len);
    bytes.push(kind as u8);
    // Bodies are bounded far below 4 GiB; what were not would be refused by the peer.
    bytes.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    for part in body {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn parse_ranges(body: &[u8]) -> Option<Vec<Range<u32>>> {
    let (pairs, []) = body.as_chunks::<RANGE_LEN>() else {
        return None;
    };
    if pairs.is_empty() || pairs.len() > MAX_RANGES {
        return None;
    }
    let mut ranges = Vec::with_capacity(pairs.len());
    let (mut last_end, mut chunks) = (0, 0u32);
    for &[a, b, c, d, e, f, g, h] in pairs {
        let range = u32::from_be_bytes([a, b, c, d])..u32::from_be_bytes([e, f, g, h]);
        if range.is_empty() || range.start < last_end || range.end > MAX_CHUNKS {
            return None;
        }
        chunks += range.end - range.start;
        last_end = range.end;
        ranges.push(range);
    }
    (chunks <= MAX_WANT_CHUNKS).then_some(ranges)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

    use proptest::prelude::*;

    use super::*;

    fn header(bytes: &[u8], side: Side) -> Result<Header, FrameError> {
        Header::parse(bytes[..HEADER_LEN].try_into().unwrap(), side)
    }

    #[test]
    fn requests_come_back_as_they_were() {
        let requests = [
            Request::Open { program: ProgramId([7; 32]), right: b"a right".to_vec() },
            Request::WantManifest,
            Request::Want(vec![0..1, 1..64, 100..101]),
        ];
        for request in requests {
            let bytes = request.encode();
            let header = header(&bytes, Side::Asker).unwrap();
            assert_eq!(header.len, bytes.len() - HEADER_LEN);
            assert_eq!(Request::parse(header.kind, &bytes[HEADER_LEN..]), Ok(request));
        }
    }

    #[test]
    fn replies_come_back_as_they_were() {
        let replies = [
            Reply::Accepted(&[0xff, 0x01]),
            Reply::Refused(Refusal::Busy),
            Reply::Refused(Refusal::NotAllowed),
            Reply::Refused(Refusal::NotHere),
            Reply::Manifest(b"manifest"),
            Reply::Chunk(ChunkIndex(258), b"bytes"),
            Reply::End,
        ];
        for reply in replies {
            let bytes = reply.encode();
            let header = header(&bytes, Side::Source).unwrap();
            assert_eq!(Reply::parse(header.kind, &bytes[HEADER_LEN..]), Ok(reply));
            if let Reply::Chunk(index, body) = reply {
                assert_eq!(bytes[..CHUNK_HEADER_LEN], chunk_header(index, body.len() as u32));
            }
        }
    }

    /// The bytes themselves, so that a change to the format cannot go unseen.
    #[test]
    fn golden_bytes() {
        assert_eq!(
            hex::encode(Request::Want(vec![1..3, 256..257]).encode()),
            "03000000100000000100000003_0000010000000101".replace('_', "")
        );
        assert_eq!(hex::encode(Reply::Chunk(ChunkIndex(2), b"hi").encode()), "1400000006000000026869");
        assert_eq!(hex::encode(Reply::Refused(Refusal::Busy).encode()), "120000000103");
        assert_eq!(hex::encode(Reply::End.encode()), "1500000000");
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_read() {
        let claim = |kind: Kind, len: u32, side| {
            let [a, b, c, d] = len.to_be_bytes();
            Header::parse([kind as u8, a, b, c, d], side)
        };
        assert!(claim(Kind::Chunk, CHUNK_SIZE + 4, Side::Source).is_ok());
        for (kind, len, side) in [
            (Kind::Chunk, CHUNK_SIZE + 5, Side::Source),
            (Kind::Chunk, 4, Side::Source),
            (Kind::Manifest, MAX_MANIFEST_SIZE as u32 + 1, Side::Source),
            (Kind::Accepted, u32::MAX, Side::Source),
            (Kind::End, 1, Side::Source),
            (Kind::Open, (PROGRAM_ID_LEN + MAX_RIGHT + 1) as u32, Side::Asker),
            (Kind::Want, (MAX_RANGES * RANGE_LEN + 1) as u32, Side::Asker),
        ] {
            assert_eq!(claim(kind, len, side), Err(FrameError::Length { kind, len }));
        }
        assert_eq!(claim(Kind::Chunk, 5, Side::Asker), Err(FrameError::Kind(0x14)));
        assert_eq!(Header::parse([0x7f, 0, 0, 0, 0], Side::Source), Err(FrameError::Kind(0x7f)));
    }

    #[test]
    fn wants_that_make_no_sense_are_refused() {
        for ranges in [
            vec![],
            vec![3..3],
            vec![Range { start: 3, end: 2 }],
            vec![5..6, 0..1],
            vec![0..2, 1..3],
            vec![0..MAX_WANT_CHUNKS + 1],
            vec![MAX_CHUNKS..MAX_CHUNKS + 1],
            vec![0..u32::MAX],
        ] {
            let bytes = Request::Want(ranges).encode();
            assert_eq!(Request::parse(Kind::Want, &bytes[HEADER_LEN..]), Err(FrameError::Body(Kind::Want)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(head: [u8; HEADER_LEN], body in prop::collection::vec(any::<u8>(), 0..64)) {
            for side in [Side::Asker, Side::Source] {
                if let Ok(header) = Header::parse(head, side) {
                    prop_assert!(header.len <= MAX_MANIFEST_SIZE);
                    let _ = Request::parse(header.kind, &body);
                    let _ = Reply::parse(header.kind, &body);
                }
            }
            for kind in (0..=255).filter_map(Kind::from_byte) {
                if let Ok(request) = Request::parse(kind, &body) {
                    prop_assert_eq!(&request.encode()[HEADER_LEN..], &body[..]);
                }
            }
        }
    }
}
