//! Moving programs' bytes between nodes (design section 2, steps 5 and 6).
//!
//! For: [`Source`], which serves chunks to whoever shows a right; [`fetch`] and [`fetch_manifest`], which get
//! them. Not for: deciding about rights (an [`Authoriser`] does), making streams (a [`Connector`] does), and
//! deciding whom to ask for what (the machine in [`parlor_proto::content`] does).
//!
//! The idea: a stream is kept busy. A source sends what the system has in memory as it is read, and reads ahead
//! while it sends what must come from the disk; an asker has more asked for than is on the way, and hashes and
//! writes on another thread while more arrives. Each side has few buffers that go round, so that memory stays
//! small however slow the other side is; and threads wake one another for batches, not for chunks, since on a
//! fast network waking costs as much as the work.

mod asker;
mod fetch;
mod line;
mod source;
#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use futures::io::{AsyncRead, AsyncWrite};
use parlor_proto::{
    content::frames::Refusal,
    identity::PeerId,
    ids::ProgramId,
    program::{CHUNK_SIZE, Role},
};

pub use asker::SourceError;
pub use fetch::{FetchError, MAX_ATTEMPTS, Progress, Wanted, fetch, fetch_manifest};
pub use source::{MAX_STREAMS, MAX_STREAMS_PER_PEER, ServeError, Source};

/// How many chunks are read, written and handed over at a time.
const BATCH: usize = 16;

/// Length of the buffers that go round, bytes: a batch with its headers, and a frame that is not all there.
const BUFFER: usize = (BATCH + 1) * (CHUNK_SIZE as usize + 16);

/// How long the other side may take for the first words on a stream, or take nothing of what is sent.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream between two nodes.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Decides what a peer may have.
pub trait Authoriser: Send + Sync {
    /// Whose copy of `program` the `right` (bytes from the peer, in no way checked yet) gives `peer`.
    fn authorise(
        &self,
        peer: PeerId,
        program: ProgramId,
        right: &[u8],
    ) -> impl Future<Output = Result<Role, Refusal>> + Send;
}

/// Makes content streams.
pub trait Connector: Send + Sync + 'static {
    /// What it makes.
    type Stream: Stream;

    /// Opens a stream to a peer.
    fn connect(&self, peer: PeerId) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}
