//! What a program's transfer costs beside the stream it goes over: 64 MiB from disk to disk, verified, against
//! as many bytes from memory to memory, over one libp2p stream on loopback, in the same run.
//!
//! Prints the medians for QUIC and for TCP (noise, yamux), and fails if a transfer reaches less than
//! [`WANTED`] of the bare stream on either. `cargo bench -p parlor-tests --bench transfer`

use std::{
    io,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{Multiaddr, Stream, StreamProtocol, Swarm, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};
use libp2p_stream as stream;
use parlor_node::{
    content::{Authoriser, Connector, Progress, Source, Wanted, fetch, fetch_manifest},
    program::import,
    store::bundle::{Bundle, Bundles},
};
use parlor_proto::{
    content::frames::{self, Refusal},
    identity::PeerId,
    ids::ProgramId,
    program::Role,
};
use rand::RngExt as _;
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};

/// What is moved, bytes.
const SIZE: usize = 64 << 20;

/// The share of the bare stream's speed that a transfer must reach.
const WANTED: f64 = 0.8;

/// How often each is measured.
const ROUNDS: usize = 32;

const BARE: StreamProtocol = StreamProtocol::new("/bench/bare/1");
const CONTENT: StreamProtocol = StreamProtocol::new(frames::PROTOCOL);

fn main() -> Result<ExitCode> {
    let dir = tempfile::tempdir()?;
    let shelf = Arc::new(Bundles::open(&dir.path().join("origin"))?);
    // Held, as by a node that plays it.
    let origin = make_program(dir.path(), &shelf)?;
    let program = origin.program().id();
    let mut enough = true;
    for (name, address) in
        [("QUIC", "/ip4/127.0.0.1/udp/0/quic-v1"), ("TCP + noise + yamux", "/ip4/127.0.0.1/tcp/0")]
    {
        let mut pair = Pair::new(shelf.clone(), address.parse()?)?;
        let (mut bare, mut transfer) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // Alternating, so that whatever else the machine does meets both; the first round warms up.
            let times = if round % 2 == 0 {
                let bare = pair.bare()?;
                (bare, pair.transfer(program, &dir.path().join("member"))?)
            } else {
                let transfer = pair.transfer(program, &dir.path().join("member"))?;
                (pair.bare()?, transfer)
            };
            if round > 0 {
                bare.push(times.0);
                transfer.push(times.1);
            }
        }
        // Of each round's two, which met the same machine; then the middle of all rounds.
        let mut ratios: Vec<f64> =
            bare.iter().zip(&transfer).map(|(b, t)| b.as_secs_f64() / t.as_secs_f64()).collect();
        let ratio = median(&mut ratios, f64::total_cmp);
        let speed = |times: &mut [Duration]| SIZE as f64 / 1e6 / median(times, Ord::cmp).as_secs_f64();
        println!(
            "{name}: bare {:.0} MB/s, transfer {:.0} MB/s, ratio {ratio:.2}",
            speed(&mut bare),
            speed(&mut transfer)
        );
        enough &= ratio >= WANTED;
    }
    if !enough {
        eprintln!("a transfer reaches less than {WANTED} of the bare stream");
    }
    Ok(if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn median<T: Copy>(values: &mut [T], order: impl Fn(&T, &T) -> std::cmp::Ordering) -> T {
    values.sort_by(order);
    values[values.len() / 2]
}

fn make_program(dir: &Path, shelf: &Bundles) -> Result<Arc<Bundle>> {
    let folder = dir.join("program");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("index.html"), "<p>bench</p>")?;
    let mut bytes = vec![0u8; SIZE];
    rand::rng().fill(&mut bytes[..]);
    std::fs::write(folder.join("data.bin"), bytes)?;
    Ok(import(&folder, shelf)?.install(shelf)?)
}

/// Two nodes, each on a runtime of its own, that are connected.
struct Pair {
    receiver: Runtime,
    control: stream::Control,
    sender_peer: libp2p::PeerId,
    /// Where a bare stream's bytes go: there from the start, so that no time goes into making it.
    buffer: Vec<u8>,
    // Dropped last: ending it ends the streams.
    _sender: Runtime,
}

impl Pair {
    fn new(shelf: Arc<Bundles>, address: Multiaddr) -> Result<Self> {
        let (sender, receiver) = (runtime()?, runtime()?);
        let (sender_peer, address) = sender.block_on(async {
            let mut swarm = swarm()?;
            let mut control = swarm.behaviour().new_control();
            serve(&mut control, shelf)?;
            swarm.listen_on(address)?;
            let address = loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    break address;
                }
            };
            let peer = *swarm.local_peer_id();
            tokio::spawn(async move { while swarm.next().await.is_some() {} });
            anyhow::Ok((peer, address))
        })?;
        let control = receiver.block_on(async {
            let mut swarm = swarm()?;
            let control = swarm.behaviour().new_control();
            swarm.dial(address)?;
            while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
            tokio::spawn(async move { while swarm.next().await.is_some() {} });
            anyhow::Ok(control)
        })?;
        Ok(Self { receiver, control, sender_peer, buffer: vec![1; SIZE], _sender: sender })
    }

    /// Time to read all bytes off a stream.
    fn bare(&mut self) -> Result<Duration> {
        let mut control = self.control.clone();
        let peer = self.sender_peer;
        let mut buffer = std::mem::take(&mut self.buffer);
        let (took, buffer) = self.run(async move {
            let started = Instant::now();
            let mut stream = control.open_stream(peer, BARE).await?;
            stream.write_all(b"x").await?;
            stream.flush().await?;
            stream.read_exact(&mut buffer).await?;
            Ok((started.elapsed(), buffer))
        })?;
        self.buffer = buffer;
        Ok(took)
    }

    /// Time to have all bytes in a bundle.
    fn transfer(&self, program: ProgramId, dir: &Path) -> Result<Duration> {
        let connector = Arc::new(Streams(self.control.clone()));
        let peer = PeerId::from_bytes(&self.sender_peer.to_bytes())?;
        let shelf = Bundles::open(dir)?;
        let took = self.run(async move {
            let program = fetch_manifest(&*connector, peer, program, b"bench").await?;
            let bundle = shelf.create(&program)?;
            let wanted = Wanted {
                bundle: bundle.clone(),
                role: Role::Host,
                right: (*b"bench").into(),
                sources: vec![peer],
            };
            let progress = watch::Sender::new(Progress::default());
            let started = Instant::now();
            fetch(connector, wanted, progress).await?;
            let took = started.elapsed();
            anyhow::ensure!(bundle.complete() == Some(Role::Host), "not everything arrived");
            // Syncing goes on behind; the next measurement shall not meet it.
            bundle.settle()?;
            Ok(took)
        })?;
        std::fs::remove_dir_all(dir)?;
        Ok(took)
    }

    fn run<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        // On a worker, as it would be in a node, not on this thread.
        self.receiver.block_on(self.receiver.spawn(work)).context("the measurement panicked")?
    }
}

fn serve(control: &mut stream::Control, shelf: Arc<Bundles>) -> Result<()> {
    let mut bare = control.accept(BARE)?;
    tokio::spawn(async move {
        let mut bytes = vec![0; SIZE];
        rand::rng().fill(&mut bytes[..]);
        while let Some((_, mut stream)) = bare.next().await {
            let mut start = [0];
            let mut sent = stream.read_exact(&mut start).await;
            if sent.is_ok() {
                sent = stream.write_all(&bytes).await;
            }
            if sent.and(stream.close().await).is_err() {
                eprintln!("the bare stream broke");
            }
        }
    });
    let mut content = control.accept(CONTENT)?;
    let source = Arc::new(Source::new(shelf, Anyone));
    tokio::spawn(async move {
        while let Some((peer, stream)) = content.next().await {
            let source = source.clone();
            tokio::spawn(async move {
                let peer = PeerId::from_bytes(&peer.to_bytes()).map_err(anyhow::Error::from);
                if let Ok(peer) = peer {
                    let _ = source.serve(peer, stream).await;
                }
            });
        }
    });
    Ok(())
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn swarm() -> Result<Swarm<stream::Behaviour>> {
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_behaviour(|_| stream::Behaviour::new())?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build())
}

struct Anyone;

impl Authoriser for Anyone {
    async fn authorise(&self, _: PeerId, _: ProgramId, _: &[u8]) -> Result<Role, Refusal> {
        Ok(Role::Host)
    }
}

struct Streams(stream::Control);

impl Connector for Streams {
    type Stream = Stream;

    async fn connect(&self, peer: PeerId) -> io::Result<Stream> {
        let peer = libp2p::PeerId::from_bytes(&peer.to_bytes()).map_err(io::Error::other)?;
        self.0.clone().open_stream(peer, CONTENT).await.map_err(io::Error::other)
    }
}
