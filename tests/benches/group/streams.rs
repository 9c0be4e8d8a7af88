//! The second alternative: a libp2p stream for each pair and direction, frames with their length before them, and
//! nothing else. The least that a message to all can cost.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::{
    AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _, StreamExt as _,
    future::{BoxFuture, try_join_all},
    io::BufReader,
};
use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream as stream;
use tokio::sync::Mutex;

use crate::{
    bare,
    record::Record,
    site::PATIENCE,
    stack::{Kind, Stack, Transport},
};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/bench/frames/1");

/// Each way, before the first frame.
const GREETING: &[u8] = b"hello";

/// Of each node, the streams on which it speaks.
pub(crate) struct Streams(Vec<Mutex<Vec<Stream>>>);

impl Streams {
    pub(crate) async fn start(transport: Transport, members: usize, record: &Arc<Record>) -> Result<Self> {
        let swarms = bare::connected(transport, members, |_| stream::Behaviour::new()).await?;
        let mut controls = Vec::new();
        for (number, mut swarm) in swarms.into_iter().enumerate() {
            let mut control = swarm.behaviour().new_control();
            let mut incoming = control.accept(PROTOCOL)?;
            let record = Arc::clone(record);
            tokio::spawn(async move {
                while let Some((_, stream)) = incoming.next().await {
                    tokio::spawn(hear(number, stream, Arc::clone(&record)));
                }
            });
            controls.push((*swarm.local_peer_id(), control));
            tokio::spawn(async move { while swarm.next().await.is_some() {} });
        }
        let peers: Vec<PeerId> = controls.iter().map(|(peer, _)| *peer).collect();
        let mut nodes = Vec::new();
        for (me, control) in controls {
            let mut streams = Vec::new();
            for peer in peers.iter().filter(|peer| **peer != me) {
                let opening = tokio::time::timeout(PATIENCE, open(control.clone(), *peer));
                streams.push(opening.await.context("a bare stream does not open")?);
            }
            nodes.push(Mutex::new(streams));
        }
        Ok(Self(nodes))
    }
}

/// A stream that the other side has taken: one that comes while it is busy with another is dropped there.
async fn open(mut control: stream::Control, peer: PeerId) -> Stream {
    loop {
        if let Ok(mut stream) = control.open_stream(peer, PROTOCOL).await
            && stream.write_all(GREETING).await.is_ok()
            && stream.flush().await.is_ok()
            && stream.read_exact(&mut [0; GREETING.len()]).await.is_ok()
        {
            return stream;
        }
    }
}

impl Stack for Streams {
    fn name(&self) -> &'static str {
        "bare streams"
    }

    fn say(&self, from: usize, _: Kind, message: Vec<u8>) -> BoxFuture<'_, Result<()>> {
        async move {
            let frame = [&(message.len() as u32).to_be_bytes()[..], &message].concat();
            let mut streams = self.0[from].lock().await;
            try_join_all(streams.iter_mut().map(async |stream| {
                stream.write_all(&frame).await?;
                stream.flush().await
            }))
            .await?;
            Ok(())
        }
        .boxed()
    }
}

async fn hear(number: usize, mut stream: Stream, record: Arc<Record>) {
    let greeted = stream.read_exact(&mut [0; GREETING.len()]).await;
    if greeted.is_err() || stream.write_all(GREETING).await.is_err() || stream.flush().await.is_err() {
        return;
    }
    let mut stream = BufReader::new(stream);
    let (mut len, mut message) = ([0; 4], Vec::new());
    while stream.read_exact(&mut len).await.is_ok() {
        message.resize(u32::from_be_bytes(len) as usize, 0);
        if stream.read_exact(&mut message).await.is_err() {
            return;
        }
        record.heard(number, &message);
    }
}
