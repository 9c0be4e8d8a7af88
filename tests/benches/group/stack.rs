//! What is compared: ways to bring a message from one member to all others.

use std::sync::Arc;

use anyhow::Result;
use futures::future::BoxFuture;

use crate::record::Record;

/// What kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Realtime,
    Updates,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Updates => "updates",
        }
    }
}

/// Nodes that are all connected with one another. Each tells the [`Record`] what it hears.
pub(crate) trait Stack: Send + Sync {
    fn name(&self) -> &'static str;

    /// Number `from` says something to all others. Only Parlor makes a difference between the kinds.
    fn say(&self, from: usize, kind: Kind, message: Vec<u8>) -> BoxFuture<'_, Result<()>>;
}

/// Over which transport all of them run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Quic,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Quic => "QUIC",
        }
    }

    /// Any port of the loopback interface.
    pub(crate) fn address(self) -> &'static str {
        match self {
            Self::Tcp => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        }
    }
}

/// All of them, for a group of `members`.
pub(crate) async fn all(
    transport: Transport,
    members: usize,
    record: &Arc<Record>,
) -> Result<Vec<Box<dyn Stack>>> {
    Ok(vec![
        Box::new(crate::parlor::Parlor::start(transport, members, record).await?),
        Box::new(crate::gossip::Gossip::start(transport, members, record).await?),
        Box::new(crate::streams::Streams::start(transport, members, record).await?),
    ])
}
