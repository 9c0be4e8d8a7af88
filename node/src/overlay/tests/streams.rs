//! Streams of bytes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::overlay::Stream;

const MIB: usize = 1024 * 1024;

/// Bytes that show it when some are lost, repeated or out of order.
fn pattern(salt: u8) -> Vec<u8> {
    (0..MIB as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ salt).collect()
}

async fn swap(stream: Stream, ours: u8, theirs: u8) {
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        write.write_all(&pattern(ours)).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let reading = async { read.read_to_end(&mut got).await.unwrap() };
    tokio::join!(writing, reading);
    assert!(got == pattern(theirs), "{} bytes arrived, not all right", got.len());
}

#[tokio::test]
async fn a_mebibyte_goes_each_way() {
    for listen in [TCP, QUIC] {
        let a = Node::start(1, listen).await;
        let mut b = Node::start(2, listen).await;
        a.meets(&b).await;
        let to = b.peer();
        let overlay = a.overlay.clone();
        let there = tokio::spawn(async move { swap(overlay.open_stream(to).await.unwrap(), 1, 2).await });
        let (from, stream) = b
            .wait(|event| match event {
                Event::Stream { peer, stream } => Some((peer, stream)),
                _ => None,
            })
            .await;
        assert_eq!(from, peer(1));
        swap(stream, 2, 1).await;
        there.await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_may_open_only_so_many_streams() {
    let a = Node::start(1, TCP).await;
    let mut b = Node::start(2, TCP).await;
    a.meets(&b).await;
    let mut taken = Vec::new();
    let mut opened = Vec::new();
    // 16 is the bound; each is taken before the next one, so that none is lost to haste.
    for _ in 0..16 {
        opened.push(open(&a, b.peer()).await);
        taken.push(b.wait(inbound).await);
    }
    let mut beyond = open(&a, b.peer()).await;
    assert_eq!(beyond.read(&mut [0; 1]).await.unwrap_or(0), 0, "it is closed");
    drop((taken.pop(), opened.pop()));
    let _again = open(&a, b.peer()).await;
    taken.push(b.wait(inbound).await);
}

fn inbound(event: Event) -> Option<Stream> {
    match event {
        Event::Stream { stream, .. } => Some(stream),
        _ => None,
    }
}

/// A stream is negotiated with its first bytes.
async fn open(node: &Node, to: PeerId) -> Stream {
    let mut stream = node.overlay.open_stream(to).await.unwrap();
    let _ = stream.write_all(b"hello").await;
    let _ = stream.flush().await;
    stream
}
