//! What it takes to join a session that has been going on for long: time, bytes, rows and memory of a newcomer, against
//! the number of updates said before it came; with a checkpoint of the host's shortly before, and without.
//!
//! A newcomer is a process of its own (this program, called with [`NEWCOMER`]), so that its peak memory is told apart; it
//! pulls from the host's node in this process, over loopback. Its database is new. The middle of [`ROUNDS`] counts, in
//! which all lengths take turns.
//!
//! Fails if joining after a checkpoint depends on the length of the history. `cargo bench -p parlor-tests --bench join`

#[path = "shared/site.rs"]
mod site;

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use parlor_node::{overlay::Address, store::Store};
use parlor_proto::{
    group::{Log, Update},
    rights::{Verified, sign},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;

use self::site::{SESSION, Site, identity, keys, peer};

/// The first word to a newcomer's process; then the host's address, and how many rows it is to have in the end.
const NEWCOMER: &str = "newcomer";
/// Who speaks in the history, the host among them. Nobody says more than may be kept of one member.
const SPEAKERS: usize = 16;
/// In the group: the speakers, and the newcomer, which comes last.
const MEMBERS: usize = SPEAKERS + 1;
/// Updates before the newcomer comes.
const LENGTHS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// The longest that is joined without a checkpoint.
const LONGEST_WHOLE: u64 = 100_000;
/// Of one update, bytes.
const PAYLOAD: usize = 128;
/// Of the checkpoint, bytes.
const CHECKPOINT: usize = 16 * 1024;
/// Updates after the checkpoint.
const AFTER: u64 = 100;
/// Updates written at once while the history is made.
const CHUNK: u64 = 8_192;
/// Newcomers for each length, with a checkpoint.
const ROUNDS: usize = 9;
/// How many times as much as after the shortest history the longest may take, with a checkpoint.
const MOST: Cost = Cost { seconds: 2.0, bytes: 1.05, rows: 1.0, memory: 1.25 };

/// What joining took; or how many times as much as another.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Cost {
    seconds: f64,
    /// Pulled: the signed updates.
    bytes: f64,
    rows: f64,
    /// At its peak, KiB.
    memory: f64,
}

/// One of the things it took: what it is called, and how much.
type Field = (&'static str, fn(&Cost) -> f64);

impl Cost {
    const FIELDS: [Field; 4] = [
        ("time", |cost| cost.seconds),
        ("bytes", |cost| cost.bytes),
        ("rows", |cost| cost.rows),
        ("memory", |cost| cost.memory),
    ];

    fn middle(costs: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = costs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let [seconds, bytes, rows, memory] = Self::FIELDS.map(|(_, of)| middle(of));
        Self { seconds, bytes, rows, memory }
    }

    fn times(&self, one: &Self) -> Self {
        let [seconds, bytes, rows, memory] = Self::FIELDS.map(|(_, of)| of(self) / of(one));
        Self { seconds, bytes, rows, memory }
    }
}

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let is_well = match &words[..] {
        [word, host, rows] if word == NEWCOMER => {
            runtime.block_on(join(host.parse()?, rows.parse()?))?;
            true
        }
        _ => runtime.block_on(compare())?,
    };
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether all is as it should be.
async fn compare() -> Result<bool> {
    let mut whole = Vec::new();
    let mut histories = Vec::new();
    for length in LENGTHS {
        let history = History::make(length).await?;
        if length <= LONGEST_WHOLE {
            whole.push((length, history.newcomer(length).await?));
        }
        history.checkpoint().await?;
        histories.push((history, Vec::new()));
    }
    for round in 0..ROUNDS {
        for turn in 0..histories.len() {
            let turn = (turn + round) % LENGTHS.len();
            let cost = histories[turn].0.newcomer(1 + AFTER).await?;
            histories[turn].1.push(cost);
        }
    }
    let short: Vec<_> =
        histories.iter().map(|(history, costs)| (history.length, Cost::middle(costs))).collect();
    print("without a checkpoint", &whole);
    print("after a checkpoint", &short);
    let grown = short[LENGTHS.len() - 1].1.times(&short[0].1);
    let faults: Vec<String> = Cost::FIELDS
        .iter()
        .filter(|(_, of)| of(&grown) > of(&MOST))
        .map(|(name, of)| {
            format!("{name} after a checkpoint grows with the history: {:.2} times", of(&grown))
        })
        .collect();
    for fault in &faults {
        eprintln!("{fault}");
    }
    println!("\n{}", json!({ "bench": "join", "whole": whole, "checkpoint": short, "faults": faults }));
    Ok(faults.is_empty())
}

fn print(how: &str, costs: &[(u64, Cost)]) {
    println!(
        "\n{how:<24}{:>10}{:>12}{:>10}{:>12}   times the first:",
        "seconds", "KiB pulled", "rows", "peak MiB"
    );
    for (length, cost) in costs {
        let times = cost.times(&costs[0].1);
        println!(
            "{length:>24}{:>10.2}{:>12.1}{:>10}{:>12.1}   time {:.2}, bytes {:.2}, memory {:.2}",
            cost.seconds,
            cost.bytes / 1024.0,
            cost.rows,
            cost.memory / 1024.0,
            times.seconds,
            times.bytes,
            times.memory,
        );
    }
}

/// A host's node in a session with a past.
struct History {
    length: u64,
    host: Site,
    served: Arc<AtomicU64>,
    address: Address,
    _dir: TempDir,
}

impl History {
    async fn make(length: u64) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let started = Instant::now();
        write(length, dir.path()).await?;
        println!("{length} signed updates made and stored in {:.1} s", started.elapsed().as_secs_f64());
        let keys = keys(MEMBERS)?.swap_remove(0);
        let served = Arc::new(AtomicU64::new(0));
        let host = Site::start(0, MEMBERS, keys, dir.path(), &listen()?, Arc::clone(&served)).await?;
        host.open_group(MEMBERS).await;
        let address =
            host.overlay.addresses().await?.into_iter().next().context("the host listens nowhere")?;
        Ok(Self { length, host, served, address, _dir: dir })
    }

    /// And goes on for a while.
    async fn checkpoint(&self) -> Result<()> {
        let started = Instant::now();
        self.host.group.post_checkpoint(vec![0x5a; CHECKPOINT]).await?;
        println!("after {} updates a checkpoint took {:.2} s", self.length, started.elapsed().as_secs_f64());
        for _ in 0..AFTER {
            self.host.group.post(vec![0x5a; PAYLOAD]).await?;
        }
        Ok(())
    }

    /// Joins, and goes away again.
    async fn newcomer(&self, rows: u64) -> Result<Cost> {
        let before = self.served.load(Ordering::Relaxed);
        let output = tokio::process::Command::new(std::env::current_exe()?)
            .args([NEWCOMER.to_owned(), self.address.to_string(), rows.to_string()])
            .stderr(std::process::Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "a newcomer failed");
        let cost: Cost = serde_json::from_slice(&output.stdout)?;
        let bytes = self.served.load(Ordering::Relaxed) - before;
        Ok(Cost { bytes: bytes as f64, ..cost })
    }
}

fn listen() -> Result<Address> {
    Ok("/ip4/127.0.0.1/tcp/0".parse()?)
}

/// The host's database: everybody speaks in turn.
async fn write(length: u64, dir: &Path) -> Result<()> {
    let store = Store::open(&dir.join("0.db")).await?;
    let (mut log, mut serial) = (Log::default(), 0);
    for first in (0..length).step_by(CHUNK as usize) {
        let said = tokio::task::spawn_blocking(move || say(first..length.min(first + CHUNK), log)).await?;
        let (chunk, next) = said?;
        log = next;
        let mut write = store.write().await?;
        for update in chunk {
            serial += 1;
            store.put_update(&mut write, serial, &update).await?;
        }
        write.commit().await?;
    }
    store.close().await;
    Ok(())
}

/// These of all, from 0, after what is in the log.
fn say(numbers: std::ops::Range<u64>, mut log: Log) -> Result<(Vec<Verified<Update>>, Log)> {
    let mut said = Vec::new();
    for n in numbers {
        let speaker = (n % SPEAKERS as u64) as usize;
        let payload = format!("{n:0>PAYLOAD$}").into_bytes();
        let update = log.compose(SESSION, peer(speaker).into(), Timestamp(0), payload, None);
        let update = sign(&update, &identity(speaker))?;
        log.appended(&update);
        said.push(update);
    }
    Ok((said, log))
}

/// What a newcomer does: it comes, and goes when it has everything.
async fn join(host: Address, rows: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let keys = keys(MEMBERS)?.swap_remove(MEMBERS - 1);
    let site = Site::start(MEMBERS - 1, MEMBERS, keys, dir.path(), &listen()?, Arc::default()).await?;
    let mut newest = site.group.newest();
    let started = Instant::now();
    site.overlay.add_address(peer(0), host).await;
    site.overlay.connect(peer(0)).await?;
    site.open_group(MEMBERS).await;
    tokio::time::timeout(site::PATIENCE, newest.wait_for(|serial| *serial >= rows)).await??;
    let seconds = started.elapsed().as_secs_f64();
    let memory = peak()?;
    let (mut last, mut stored) = (0, 0);
    while let page = site.group.updates_after(last, 1_000).await?
        && let Some(newest) = page.last()
    {
        last = newest.serial;
        stored += page.len();
    }
    println!("{}", serde_json::to_string(&Cost { seconds, bytes: 0.0, rows: stored as f64, memory })?);
    // With a goodbye, so that the host need not find out.
    tokio::time::timeout(Duration::from_secs(5), site.overlay.shutdown()).await?;
    Ok(())
}

/// This process's, KiB.
fn peak() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
