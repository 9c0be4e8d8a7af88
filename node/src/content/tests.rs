#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use parlor_proto::{
    content::frames::{HEADER_LEN, Header, Kind, MAX_RIGHT, Reply, Request, Side, chunk_header},
    identity::Identity,
    program::{ChunkIndex, ChunkSet},
};
use tempfile::TempDir;
use tokio::{io::DuplexStream, sync::watch};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use super::*;
use crate::store::bundle::{
    Bundle, BundleError, Bundles,
    testing::{Sample, SmallDisk},
};

type Pipe = Compat<DuplexStream>;

fn peer(n: u8) -> PeerId {
    Identity::from_seed(&[n; 32]).peer()
}

fn pipe() -> (Pipe, Pipe) {
    let (a, b) = tokio::io::duplex(100_000);
    (a.compat(), b.compat())
}

/// Takes "host" and "member" for rights.
struct ByWord;

impl Authoriser for ByWord {
    async fn authorise(&self, _: PeerId, _: ProgramId, right: &[u8]) -> Result<Role, Refusal> {
        match right {
            b"host" => Ok(Role::Host),
            b"member" => Ok(Role::Everyone),
            _ => Err(Refusal::NotAllowed),
        }
    }
}

/// What a source does on one stream.
#[derive(Clone, Copy, Debug)]
enum Conduct {
    /// Serves.
    Honest,
    /// Serves, and is cut off after so many bytes; it looks like a clean end.
    Cut(u64),
    /// Serves, but for one flipped bit at this place of what it sends.
    Flip(u64),
    /// Cannot be reached.
    Away,
    /// Takes the stream and says nothing.
    Mute,
    /// Lets the asker in and never answers a want.
    Stuck,
    /// Answers a want with these bytes over and over.
    Floods(&'static [u8]),
    /// Answers the first want with another chunk than was asked for.
    Other(u32),
}

/// Sources that behave as each test says, over pipes.
struct World {
    source: Arc<Source<ByWord>>,
    sample: Arc<Sample>,
    /// By peer, stream by stream; the last is repeated.
    conduct: Mutex<HashMap<PeerId, Vec<Conduct>>>,
    /// Bytes that went from sources to the asker.
    bytes: Arc<AtomicU64>,
    /// Streams that were asked for.
    streams: AtomicU64,
    _dir: TempDir,
}

impl World {
    fn new(sample: Sample, conduct: &[(u8, &[Conduct])]) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Arc::new(Bundles::open(dir.path()).unwrap());
        let bundle = shelf.create(&sample.program).unwrap();
        bundle.lay_out(Role::Host).unwrap();
        for n in 0..sample.program.chunk_count() {
            assert_eq!(bundle.write_chunks(&[(ChunkIndex(n), sample.chunk(n))]).unwrap().bad, None);
        }
        bundle.settle().unwrap();
        let conduct = conduct.iter().map(|(n, conduct)| (peer(*n), conduct.to_vec())).collect();
        Arc::new(Self {
            source: Arc::new(Source::new(shelf, ByWord)),
            sample: Arc::new(sample),
            conduct: Mutex::new(conduct),
            bytes: Arc::default(),
            streams: AtomicU64::new(0),
            _dir: dir,
        })
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    async fn fetch(
        self: &Arc<Self>,
        bundle: &Arc<Bundle>,
        right: &str,
        sources: &[u8],
    ) -> Result<Progress, FetchError> {
        let wanted = Wanted {
            bundle: bundle.clone(),
            role: if right == "host" { Role::Host } else { Role::Everyone },
            right: right.as_bytes().into(),
            sources: sources.iter().map(|n| peer(*n)).collect(),
        };
        let progress = watch::Sender::new(Progress::default());
        fetch(self.clone(), wanted, progress.clone()).await?;
        Ok(*progress.borrow())
    }
}

impl Connector for World {
    type Stream = Pipe;

    async fn connect(&self, peer: PeerId) -> io::Result<Pipe> {
        self.streams.fetch_add(1, Ordering::Relaxed);
        let conduct = {
            let mut all = self.conduct.lock().unwrap();
            let left = all.get_mut(&peer).unwrap();
            if left.len() > 1 { left.remove(0) } else { left[0] }
        };
        let (asker, theirs) = pipe();
        let (limit, flip) = match conduct {
            Conduct::Away => return Err(io::ErrorKind::ConnectionRefused.into()),
            Conduct::Honest => (u64::MAX, u64::MAX),
            Conduct::Cut(after) => (after, u64::MAX),
            Conduct::Flip(at) => (u64::MAX, at),
            Conduct::Mute | Conduct::Stuck | Conduct::Floods(_) | Conduct::Other(_) => {
                tokio::spawn(misbehave(theirs, conduct, self.sample.clone()));
                return Ok(asker);
            }
        };
        let (near, far) = pipe();
        let source = self.source.clone();
        tokio::spawn(async move { source.serve(self::peer(200), far).await });
        tokio::spawn(relay(theirs, near, limit, flip, self.bytes.clone()));
        Ok(asker)
    }
}

/// Passes on what asker and source say, up to a limit and with a flip.
async fn relay(asker: Pipe, source: Pipe, limit: u64, flip: u64, bytes: Arc<AtomicU64>) {
    let (mut from_asker, mut to_asker) = asker.split();
    let (mut from_source, mut to_source) = source.split();
    let down = async {
        let (mut buffer, mut sent) = (vec![0; 10_000], 0u64);
        while let Ok(len @ 1..) = from_source.read(&mut buffer).await {
            let len = (len as u64).min(limit - sent);
            if (sent..sent + len).contains(&flip) {
                buffer[usize::try_from(flip - sent).unwrap()] ^= 4;
            }
            if len == 0 || to_asker.write_all(&buffer[..usize::try_from(len).unwrap()]).await.is_err() {
                break;
            }
            sent += len;
            bytes.fetch_add(len, Ordering::Relaxed);
        }
    };
    let up = futures::io::copy(&mut from_asker, &mut to_source);
    // Both ends are dropped when either is over.
    futures::future::select(Box::pin(down), Box::pin(up)).await;
}

async fn misbehave(mut stream: Pipe, conduct: Conduct, sample: Arc<Sample>) {
    if !matches!(conduct, Conduct::Mute) {
        let all = ChunkSet::full(sample.program.chunk_count()).to_bitmap();
        let _ = stream.write_all(&Reply::Accepted(&all).encode()).await;
    }
    match conduct {
        Conduct::Floods(bytes) => while stream.write_all(bytes).await.is_ok() {},
        Conduct::Other(n) => {
            hear_want(&mut stream).await;
            let _ = stream.write_all(&Reply::Chunk(ChunkIndex(n), sample.chunk(n)).encode()).await;
        }
        _ => {}
    }
    // Held open until the asker goes.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

async fn hear_want(stream: &mut Pipe) {
    loop {
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header).await.unwrap();
        let Header { kind, len } = Header::parse(header, Side::Asker).unwrap();
        stream.read_exact(&mut vec![0; len]).await.unwrap();
        if kind == Kind::Want {
            return;
        }
    }
}

/// An empty shelf with a bundle to fill.
struct Home {
    dir: TempDir,
    shelf: Bundles,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { shelf: Bundles::open(dir.path()).unwrap(), dir }
    }

    fn bundle(&self, world: &World) -> Arc<Bundle> {
        self.shelf.create(&world.sample.program).unwrap()
    }
}

fn check(bundle: &Bundle, sample: &Sample, role: Role) {
    assert_eq!(bundle.complete(), Some(role));
    bundle.settle().unwrap();
    for (index, entry) in sample.program.files_for(role) {
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut bundle.open_file(entry.path.as_str()).unwrap().0, &mut read).unwrap();
        assert!(read == sample.contents[index], "{}", entry.path);
    }
}

#[tokio::test]
async fn a_member_gets_everything_but_the_hosts_files() {
    let (world, home) = (World::new(Sample::of_chunks(700), &[(1, &[Conduct::Honest])]), Home::new());
    let bundle = home.bundle(&world);
    let progress = world.fetch(&bundle, "member", &[1]).await.unwrap();
    check(&bundle, &world.sample, Role::Everyone);
    let size = world.sample.program.size_for(Role::Everyone);
    assert_eq!(progress, Progress { bytes_done: size, bytes_total: size });
    assert!(bundle.open_file("server/secret.bin").is_err());
    // What is there is not fetched again; without a source, even.
    let before = world.bytes();
    world.fetch(&bundle, "member", &[]).await.unwrap();
    // The host's part comes on top.
    world.fetch(&bundle, "host", &[1]).await.unwrap();
    check(&bundle, &world.sample, Role::Host);
    assert!(world.bytes() - before < 3 * 64 * 1024, "{}", world.bytes() - before);
}

#[tokio::test]
async fn a_program_of_many_small_and_empty_files() {
    let names: Vec<String> = (0..900).map(|n| format!("{n:04}/file")).collect();
    let files: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (&**name, if n % 3 == 0 { Role::Host } else { Role::Everyone }, n % 5))
        .collect();
    let (world, home) = (World::new(Sample::new(&files), &[(1, &[Conduct::Honest])]), Home::new());
    let bundle = home.bundle(&world);
    world.fetch(&bundle, "member", &[1]).await.unwrap();
    check(&bundle, &world.sample, Role::Everyone);
}

#[tokio::test]
async fn a_manifest_is_fetched_and_verified() {
    let world = World::new(
        Sample::of_chunks(20_000 / 64 + 3),
        &[(1, &[Conduct::Honest]), (2, &[Conduct::Flip(3_000)])],
    );
    let id = world.sample.program.id();
    let program = fetch_manifest(&*world, peer(1), id, b"member").await.unwrap();
    assert_eq!(program, world.sample.program);
    let error = fetch_manifest(&*world, peer(2), id, b"member").await.unwrap_err();
    assert!(matches!(error, FetchError::BadSource { source: SourceError::Manifest(_), .. }), "{error}");
    let error = fetch_manifest(&*world, peer(1), ProgramId([1; 32]), b"member").await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { reason: Refusal::NotHere, .. }), "{error}");
    let error = fetch_manifest(&*world, peer(1), id, b"stranger").await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { reason: Refusal::NotAllowed, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_does_not_ask_again() {
    let (world, home) = (World::new(Sample::of_chunks(5), &[(1, &[Conduct::Honest])]), Home::new());
    let error = world.fetch(&home.bundle(&world), "stranger", &[1]).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { reason: Refusal::NotAllowed, .. }), "{error}");
    assert_eq!(world.streams.load(Ordering::Relaxed), 1);
    let error = world.fetch(&home.bundle(&world), "member", &[]).await.unwrap_err();
    assert!(matches!(error, FetchError::NoSource), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_drops_is_tried_again_and_what_came_counts() {
    let chunk = 64 * 1024;
    let cuts: Vec<Conduct> = [100, 3, 40 * chunk, 7, 100 * chunk + 77]
        .map(Conduct::Cut)
        .into_iter()
        .chain([Conduct::Away, Conduct::Honest])
        .collect();
    let (world, home) = (World::new(Sample::of_chunks(300), &[(1, &cuts)]), Home::new());
    let bundle = home.bundle(&world);
    world.fetch(&bundle, "host", &[1]).await.unwrap();
    check(&bundle, &world.sample, Role::Host);
    // The chunk at a cut comes twice, no more.
    assert!(world.bytes() < 306 * (chunk + 20), "{}", world.bytes());
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_after_a_kill_where_it_was() {
    let chunk = 64 * 1024;
    let (world, mut home) =
        (World::new(Sample::of_chunks(100), &[(1, &[Conduct::Cut(60 * chunk), Conduct::Away])]), Home::new());
    let error = world.fetch(&home.bundle(&world), "host", &[1]).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { source: SourceError::Connect(_), .. }), "{error}");
    assert_eq!(
        u64::from(MAX_ATTEMPTS),
        world.streams.load(Ordering::Relaxed),
        "the cut is the first of the failures in a row"
    );

    // As another process would find it.
    home.shelf = Bundles::open(home.dir.path()).unwrap();
    let bundle = home.bundle(&world);
    let there = u64::from(bundle.have().len());
    assert!((50..=60).contains(&there), "{there}");
    world.conduct.lock().unwrap().insert(peer(1), vec![Conduct::Honest]);
    let before = world.bytes();
    world.fetch(&bundle, "host", &[1]).await.unwrap();
    check(&bundle, &world.sample, Role::Host);
    assert!(world.bytes() - before < (101 - there) * (chunk + 20));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_lies_is_found_and_others_do_without_it() {
    let flips = [10, 70_000, 900_000, 2_000_003].map(Conduct::Flip);
    let floods: [&'static [u8]; 4] =
        [&[0xff; 64], &[0; 64], &[0x14, 0xff, 0xff, 0xff, 0xff, 1, 1, 1, 1], &[0x15, 0, 0, 0, 0]];
    let other = [Conduct::Other(7), Conduct::Other(100)];
    for conduct in flips.into_iter().chain(floods.map(Conduct::Floods)).chain(other) {
        let (world, home) =
            (World::new(Sample::of_chunks(100), &[(1, &[conduct]), (2, &[Conduct::Honest])]), Home::new());
        let bundle = home.bundle(&world);
        let error = world.fetch(&bundle, "host", &[1]).await;
        // A flip in the bitmap of what the source has only makes it poorer: never to be had from it alone.
        if !matches!(conduct, Conduct::Flip(10)) {
            let error = error.unwrap_err();
            assert!(
                matches!(error, FetchError::BadSource { peer: bad, .. } if bad == peer(1)),
                "{conduct:?}: {error}"
            );
            assert!(!error.to_string().contains('\n'));
            assert_eq!(world.streams.load(Ordering::Relaxed), 1, "not tried again");
            world.fetch(&bundle, "host", &[1, 2]).await.unwrap();
            check(&bundle, &world.sample, Role::Host);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sources_that_are_silent_are_given_up() {
    for conduct in [Conduct::Mute, Conduct::Stuck] {
        let (world, home) = (
            World::new(Sample::of_chunks(30), &[(1, &[conduct]), (2, &[Conduct::Away, Conduct::Honest])]),
            Home::new(),
        );
        let bundle = home.bundle(&world);
        let error = world.fetch(&bundle, "host", &[1]).await.unwrap_err();
        assert!(matches!(error, FetchError::Unreachable { .. }), "{conduct:?}: {error}");
        assert_eq!(world.streams.load(Ordering::Relaxed), u64::from(MAX_ATTEMPTS), "{conduct:?}");
        world.fetch(&bundle, "host", &[1, 2]).await.unwrap();
        check(&bundle, &world.sample, Role::Host);
    }
}

#[tokio::test]
async fn several_sources_share_the_work() {
    let (world, home) = (
        World::new(
            Sample::of_chunks(1200),
            &[
                (1, &[Conduct::Honest]),
                (2, &[Conduct::Cut(5_000_000), Conduct::Honest]),
                (3, &[Conduct::Honest]),
            ],
        ),
        Home::new(),
    );
    let bundle = home.bundle(&world);
    world.fetch(&bundle, "host", &[1, 2, 3]).await.unwrap();
    check(&bundle, &world.sample, Role::Host);
    assert!(world.streams.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn a_full_disk_ends_a_fetch_which_goes_on_when_there_is_room() {
    let world = World::new(Sample::of_chunks(60), &[(1, &[Conduct::Honest])]);
    let disk = SmallDisk::new(6 * 1024);
    let shelf = Bundles::open(&disk.path().join("programs")).unwrap();
    let bundle = shelf.create(&world.sample.program).unwrap();
    bundle.lay_out(Role::Host).unwrap();
    bundle.write_chunks(&[(ChunkIndex(0), world.sample.chunk(0))]).unwrap();
    // A file system that cannot reserve room, where there is room for all when it starts, and not any more
    // when half of it came.
    let file = disk.path().join(format!("programs/{}/files/data/big.bin", world.sample.program.id()));
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(64 * 1024).unwrap();
    file.set_len(world.sample.contents[0].len() as u64).unwrap();
    let (progress, mut watched) = watch::channel(Progress::default());
    let wanted =
        Wanted { bundle: bundle.clone(), role: Role::Host, right: (*b"host").into(), sources: vec![peer(1)] };
    let filled = async {
        watched.wait_for(|progress| progress.bytes_done > 2 * 64 * 1024).await.unwrap();
        disk.fill_but(64)
    };
    let (result, ballast) = futures::future::join(fetch(world.clone(), wanted, progress), filled).await;
    let error = result.unwrap_err();
    assert!(matches!(error, FetchError::Store(BundleError::DiskFull { .. })), "{error}");
    assert!(bundle.have().len() > 1 && bundle.complete().is_none());
    let again = world.fetch(&bundle, "host", &[1]).await.unwrap_err();
    assert!(again.to_string().starts_with("the disk is full"), "{again}");

    std::fs::remove_file(ballast).unwrap();
    world.fetch(&bundle, "host", &[1]).await.unwrap();
    check(&bundle, &world.sample, Role::Host);
}

#[tokio::test]
async fn a_bundle_removed_on_the_way_ends_the_fetch() {
    let (world, home) = (World::new(Sample::of_chunks(400), &[(1, &[Conduct::Honest])]), Home::new());
    let bundle = home.bundle(&world);
    let (progress, mut watched) = watch::channel(Progress::default());
    let wanted =
        Wanted { bundle: bundle.clone(), role: Role::Host, right: (*b"host").into(), sources: vec![peer(1)] };
    let removed = async {
        watched.wait_for(|progress| progress.bytes_done > 0).await.unwrap();
        home.shelf.remove(world.sample.program.id()).unwrap()
    };
    let (result, removed) = futures::future::join(fetch(world.clone(), wanted, progress), removed).await;
    assert!(removed);
    let error = result.unwrap_err();
    assert!(matches!(error, FetchError::Store(BundleError::Removed | BundleError::Io { .. })), "{error}");
}

/// A stream to the source, opened with `right`, and what became of it.
async fn opened(world: &World, right: &[u8]) -> (Pipe, tokio::task::JoinHandle<Result<u64, ServeError>>) {
    let (mut ours, theirs) = pipe();
    let source = world.source.clone();
    let served = tokio::spawn(async move { source.serve(peer(9), theirs).await });
    let open = Request::Open { program: world.sample.program.id(), right: right.to_vec() };
    ours.write_all(&open.encode()).await.unwrap();
    let mut header = [0; HEADER_LEN];
    ours.read_exact(&mut header).await.unwrap();
    let header = Header::parse(header, Side::Source).unwrap();
    ours.read_exact(&mut vec![0; header.len]).await.unwrap();
    (ours, served)
}

#[tokio::test(start_paused = true)]
async fn askers_that_stall_are_dropped() {
    let world = World::new(Sample::of_chunks(50), &[]);
    // Never says a word.
    let (_ours, theirs) = pipe();
    let result = world.source.serve(peer(9), theirs).await;
    assert!(matches!(result, Err(ServeError::Stalled)), "{result:?}");
    // Asks for much and takes nothing.
    let (mut ours, served) = opened(&world, b"host").await;
    ours.write_all(&Request::Want(vec![0..50]).encode()).await.unwrap();
    assert!(matches!(served.await.unwrap(), Err(ServeError::Stalled)));
    // Asks for nothing any more.
    let (_ours, served) = opened(&world, b"host").await;
    assert!(matches!(served.await.unwrap(), Err(ServeError::Stalled)));
}

#[tokio::test]
async fn askers_that_break_the_rules_are_dropped() {
    let world = World::new(Sample::of_chunks(50), &[]);
    let beyond = Request::Want(vec![49..51]).encode();
    let huge = [0x03, 0xff, 0xff, 0xff, 0xff];
    let again = Request::Open { program: world.sample.program.id(), right: b"host".to_vec() }.encode();
    let reply = chunk_header(ChunkIndex(0), 1);
    for bytes in [&beyond[..], &huge, &again, &reply, &[0; 9]] {
        let (mut ours, served) = opened(&world, b"member").await;
        ours.write_all(bytes).await.unwrap();
        let result = served.await.unwrap();
        assert!(matches!(result, Err(ServeError::Beyond | ServeError::Frame(_))), "{bytes:?}: {result:?}");
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "not a byte of what it has no right to");
    }
    // A right that is too long is not even read.
    let (mut ours, theirs) = pipe();
    let open = Request::Open { program: world.sample.program.id(), right: vec![0; MAX_RIGHT + 1] };
    ours.write_all(&open.encode()).await.unwrap();
    assert!(matches!(world.source.serve(peer(9), theirs).await, Err(ServeError::Frame(_))));
}

#[tokio::test]
async fn streams_are_bounded_and_make_room_again() {
    let world = World::new(Sample::of_chunks(5), &[]);
    let mut open = Vec::new();
    for _ in 0..MAX_STREAMS_PER_PEER {
        open.push(opened(&world, b"member").await);
    }
    let (_, served) = opened(&world, b"member").await;
    assert!(matches!(served.await.unwrap(), Err(ServeError::Refused(Refusal::Busy))));
    let (ours, served) = open.pop().unwrap();
    drop(ours);
    assert_eq!(served.await.unwrap().unwrap(), 0);
    let (mut ours, served) = opened(&world, b"member").await;
    ours.write_all(&Request::Want(vec![0..1]).encode()).await.unwrap();
    ours.close().await.unwrap();
    ours.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(served.await.unwrap().unwrap(), 64 * 1024);
}

#[tokio::test]
async fn an_incomplete_program_is_not_served() {
    let (world, home) = (World::new(Sample::of_chunks(8), &[(1, &[Conduct::Honest])]), Home::new());
    let bundle = home.bundle(&world);
    bundle.lay_out(Role::Host).unwrap();
    bundle.write_chunks(&[(ChunkIndex(0), world.sample.chunk(0))]).unwrap();
    let shelf = Arc::new(home.shelf);
    let source = Source::new(shelf, ByWord);
    let ask = async |right: &'static [u8]| {
        let (mut ours, theirs) = pipe();
        let open = Request::Open { program: world.sample.program.id(), right: right.to_vec() };
        ours.write_all(&open.encode()).await.unwrap();
        ours.close().await.unwrap();
        source.serve(peer(9), theirs).await
    };
    assert!(matches!(ask(b"member").await, Err(ServeError::Refused(Refusal::NotHere))));
    world.fetch(&bundle, "member", &[1]).await.unwrap();
    assert!(ask(b"member").await.is_ok());
    assert!(
        matches!(ask(b"host").await, Err(ServeError::Refused(Refusal::NotHere))),
        "a member has no host's copy"
    );
}
