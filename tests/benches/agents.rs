//! What an agent costs beside Wasmtime alone: time from its bytes on disk to its first event, cold and cached; one event
//! into it and one line out of it; memory while it idles.
//!
//! Both sides run the same component in one process, in turns: a few lines of WebAssembly by hand, so that nothing but
//! what any agent costs is measured, and the echo of the examples, as its toolchain made it. "Wasmtime alone" has a linker with the one import that is
//! called, no limits, no WASI and no queue. The middle of all rounds counts.
//!
//! Fails if, of the echo compiled before, it takes more than [`MOST_CACHED`] times as long from the file to the first event
//! as it takes Wasmtime alone. `cargo bench -p parlor-tests --bench agents`

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use parlor_node::runtime::agent::{
    Agent, Content, Event, KeepError, Limits, Member, Pack, Sandbox, SayError, Scope, Surroundings, Upon,
};
use parlor_tests::programs::agent_by_hand;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;
use wasmtime::{
    Cache, CacheConfig, Config, Engine, Store,
    component::{Component, Instance, InstancePre, Linker, TypedFunc, Val},
};

/// How often each way is measured.
const ROUNDS: usize = 41;
/// Cold starts are slow.
const COLD_ROUNDS: usize = 5;
/// As many differ in one letter.
const COMPONENTS: usize = 25;
/// Events into an agent, one after the other, for one measurement.
const EVENTS: u32 = 2_000;
/// Agents that idle.
const IDLE: usize = 200;
/// How many times as long as with Wasmtime alone a start may take of what was compiled before.
const MOST_CACHED: f64 = 1.5;
/// What is typed.
const LINE: &str = "is anybody there?";
const EVENTS_INTERFACE: &str = "parlor:agent/events@0.1.0";

/// What hears the agents' lines, and when.
struct Room(mpsc::UnboundedSender<Instant>);

impl Surroundings for Room {
    fn me(&self) -> Member {
        Member { addr: "me".into(), name: "Me".into(), is_host: false }
    }

    fn members(&self) -> Vec<Member> {
        vec![self.me()]
    }

    fn send(&self, _: Bytes) -> Result<(), SayError> {
        Ok(())
    }

    fn post(&self, _: Content, _: Option<Upon>) -> BoxFuture<'_, Result<(), SayError>> {
        async { Ok(()) }.boxed()
    }

    fn get(&self, _: Scope, _: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, KeepError>> {
        async { Ok(None) }.boxed()
    }

    fn set(&self, _: Scope, _: String, _: Option<Vec<u8>>, _: u64) -> BoxFuture<'_, Result<(), KeepError>> {
        async { Ok(()) }.boxed()
    }

    fn keys(&self, _: Scope) -> BoxFuture<'_, Result<Vec<String>, KeepError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn files(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    fn file(&self, _: &str) -> Option<PathBuf> {
        None
    }

    fn packs(&self) -> BoxFuture<'_, Vec<Pack>> {
        async { Vec::new() }.boxed()
    }

    fn pack_files<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Vec<(String, u64)>> {
        async { Vec::new() }.boxed()
    }

    fn pack_file<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Option<PathBuf>> {
        async { None }.boxed()
    }

    fn line(&self, _: String) {
        // Fails once nobody counts any more.
        let _ = self.0.send(Instant::now());
    }

    fn show(&self, _: String) {}
}

/// Nobody is too fast here.
fn limits() -> Limits {
    Limits { messages: u32::MAX / 8, output: u32::MAX / 8, ..Limits::default() }
}

/// From the file to the first line: what it takes a sandbox.
async fn start(
    sandbox: &Sandbox,
    component: &Path,
) -> Result<(Duration, Agent, mpsc::UnboundedReceiver<Instant>)> {
    let (lines, mut written) = mpsc::unbounded_channel();
    let begun = Instant::now();
    let agent = sandbox.start(component.to_owned(), Arc::new(Room(lines)), limits(), None);
    agent.tell(Event::Input(LINE.into())).await?;
    let ended = written.recv().await.context("no line")?;
    Ok((ended - begun, agent, written))
}

fn alone(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("Wasmtime alone: {error:?}")
}

/// One that has started, and what is typed to it.
type Started = (Store<u64>, TypedFunc<(String,), ()>);

/// Wasmtime, and nothing else.
struct Bare {
    engine: Engine,
    linker: Linker<u64>,
}

impl Bare {
    /// `cache`: where it keeps what it has compiled, if it does.
    fn new(cache: Option<&Path>) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model(true);
        if let Some(directory) = cache {
            let mut kept = CacheConfig::new();
            kept.with_directory(directory);
            config.cache(Some(Cache::new(kept)?));
        }
        let engine = Engine::new(&config)?;
        let linker = Linker::new(&engine);
        Ok(Self { engine, linker })
    }

    fn compile(&mut self, bytes: &[u8]) -> wasmtime::Result<InstancePre<u64>> {
        let component = Component::new(&self.engine, bytes)?;
        let mut linker = self.linker.clone();
        linker.allow_shadowing(true);
        linker.define_unknown_imports_as_traps(&component)?;
        linker.instance("parlor:agent/output@0.1.0")?.func_wrap(
            "line",
            |mut store: wasmtime::StoreContextMut<'_, u64>, (text,): (String,)| {
                *store.data_mut() += text.len() as u64;
                Ok(())
            },
        )?;
        // What is said to the group: heard by nobody.
        linker.instance("parlor:agent/group@0.1.0")?.func_new("post", |_, _, _, results| {
            results[0] = Val::Result(Ok(None));
            Ok(())
        })?;
        linker.instance("parlor:agent/system@0.1.0")?.func_wrap("now", |_, ()| Ok((0_u64,)))?;
        linker.instantiate_pre(&component)
    }

    /// An instance that has started, and has taken one line.
    fn start(&self, compiled: &InstancePre<u64>) -> wasmtime::Result<Started> {
        let mut store = Store::new(&self.engine, 0);
        let instance = compiled.instantiate(&mut store)?;
        let start = function::<(Option<Vec<u8>>,)>(&mut store, &instance, "start")?;
        start.call(&mut store, (None,))?;
        let input = function::<(String,)>(&mut store, &instance, "input")?;
        input.call(&mut store, (LINE.to_owned(),))?;
        wasmtime::ensure!(*store.data() > 0, "no line");
        Ok((store, input))
    }
}

fn function<P>(store: &mut Store<u64>, instance: &Instance, name: &str) -> wasmtime::Result<TypedFunc<P, ()>>
where
    P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
{
    let events = instance
        .get_export_index(&mut *store, None, EVENTS_INTERFACE)
        .ok_or_else(|| wasmtime::format_err!("no events"))?;
    let index = instance
        .get_export_index(&mut *store, Some(&events), name)
        .ok_or_else(|| wasmtime::format_err!("no such event"))?;
    instance.get_typed_func::<P, ()>(&mut *store, index)
}

fn middle(mut all: Vec<Duration>) -> f64 {
    all.sort_unstable();
    all[all.len() / 2].as_secs_f64() * 1e6
}

/// Memory of this process, bytes.
fn resident() -> Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).context("no such field")?.parse()?;
    Ok(pages * 4096)
}

/// One component, and both that run it, compiled and ready.
struct Sides {
    folder: TempDir,
    component: PathBuf,
    sandbox: Sandbox,
    bare: Bare,
    compiled: InstancePre<u64>,
}

impl Sides {
    async fn new(bytes: &[u8]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let component = folder.path().join("agent.wasm");
        fs::write(&component, bytes)?;
        // A program arrives, and is run some time later.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let sandbox = Sandbox::new(&folder.path().join("cache"))?;
        drop(start(&sandbox, &component).await?);
        let mut bare = Bare::new(None).map_err(alone)?;
        let compiled = bare.compile(bytes).map_err(alone)?;
        Ok(Self { folder, component, sandbox, bare, compiled })
    }

    async fn cold(&self) -> Result<Row> {
        let (mut ours, mut alones) = (Vec::new(), Vec::new());
        for round in 0..COLD_ROUNDS {
            let sandbox = Sandbox::new(&self.folder.path().join(format!("cache {round}")))?;
            let started = start(&sandbox, &self.component).await?;
            ours.push(started.0);
            let mut bare = Bare::new(None).map_err(alone)?;
            let begun = Instant::now();
            let compiled = bare.compile(&fs::read(&self.component)?).map_err(alone)?;
            let there = bare.start(&compiled).map_err(alone)?;
            alones.push(begun.elapsed());
            drop((started, there));
        }
        Ok(Row { what: "first event, cold", ours: middle(ours), alone: middle(alones) })
    }

    /// From the component's file, with what was compiled before on the disk: of as many components as there are rounds, in
    /// a process that runs agents already. Wasmtime's own cache is how it runs a precompiled component without trusting
    /// files blindly.
    async fn on_disk(&self) -> Result<Row> {
        let caches = ["cache", "cache of Wasmtime alone"].map(|name| self.folder.path().join(name));
        let bytes = fs::read(&self.component)?;
        let components: Vec<_> =
            (0..COMPONENTS).map(|n| self.folder.path().join(format!("{n}.wasm"))).collect();
        for (n, component) in components.iter().enumerate() {
            // A custom section of three bytes: its name, and nothing in it.
            fs::write(component, [bytes.as_slice(), &[0, 2, 1, b'a' + n as u8]].concat())?;
            self.sandbox.load(component.clone()).await.map_err(|error| anyhow!("{error}"))?;
            let mut bare = Bare::new(Some(&caches[1])).map_err(alone)?;
            bare.compile(&fs::read(component)?).map_err(alone)?;
        }
        let sandbox = Sandbox::new(&caches[0])?;
        drop(start(&sandbox, &self.component).await?);
        let mut bare = Bare::new(Some(&caches[1])).map_err(alone)?;
        let (mut ours, mut alones) = (Vec::new(), Vec::new());
        for component in &components {
            let started = start(&sandbox, component).await?;
            ours.push(started.0);
            let begun = Instant::now();
            let compiled = bare.compile(&fs::read(component)?).map_err(alone)?;
            let there = bare.start(&compiled).map_err(alone)?;
            alones.push(begun.elapsed());
            drop((started, there));
            rest().await;
        }
        Ok(Row { what: "first event, compiled, on disk", ours: middle(ours), alone: middle(alones) })
    }

    /// From the component's file, with what was compiled before in memory, and beside it the bare instantiation of the
    /// same in the same state.
    async fn in_memory(&self) -> Result<Row> {
        let (mut ours, mut alones) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let started = start(&self.sandbox, &self.component).await?;
            ours.push(started.0);
            let begun = Instant::now();
            let there = self.bare.start(&self.compiled).map_err(alone)?;
            alones.push(begun.elapsed());
            drop((started, there));
            rest().await;
        }
        Ok(Row { what: "first event, compiled, in memory", ours: middle(ours), alone: middle(alones) })
    }

    async fn event(&self) -> Result<Row> {
        let (_, agent, mut written) = start(&self.sandbox, &self.component).await?;
        let (mut store, input) = self.bare.start(&self.compiled).map_err(alone)?;
        let (mut ours, mut alones) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            for _ in 0..EVENTS {
                agent.tell(Event::Input(LINE.into())).await?;
            }
            for _ in 0..EVENTS {
                written.recv().await.context("no line")?;
            }
            ours.push(begun.elapsed() / EVENTS);
            let begun = Instant::now();
            for _ in 0..EVENTS {
                input.call(&mut store, (LINE.to_owned(),)).map_err(alone)?;
            }
            alones.push(begun.elapsed() / EVENTS);
        }
        Ok(Row { what: "an event in and a line out", ours: middle(ours), alone: middle(alones) })
    }

    /// Memory, KiB.
    async fn idle(&self) -> Result<Row> {
        let before = resident()?;
        let mut idle = Vec::new();
        for _ in 0..IDLE {
            idle.push(start(&self.sandbox, &self.component).await?);
        }
        let with_agents = resident()?;
        let mut bare_idle = Vec::new();
        for _ in 0..IDLE {
            bare_idle.push(self.bare.start(&self.compiled).map_err(alone)?);
        }
        let with_bare = resident()?;
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / IDLE as f64 / 1024.0;
        let (ours, alone) = (each(with_agents, before), each(with_bare, with_agents));
        Ok(Row { what: "an idle agent, KiB", ours, alone })
    }
}

/// What is dropped goes away on other threads, and is not to be in the way of what is next.
async fn rest() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Microseconds, unless it says otherwise.
struct Row {
    what: &'static str,
    ours: f64,
    alone: f64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours / self.alone
    }

    fn print(&self, component: &str) {
        let Self { what, ours, alone } = self;
        println!("{component:8} {what:34} {ours:>10.1} {alone:>10.1} {:>7.2}", self.ratio());
    }
}

async fn measure() -> Result<bool> {
    let by_hand = agent_by_hand(&[("input", "(call $line (local.get $text) (local.get $length))")]);
    let echo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/programs/echo/agent.wasm");
    println!("{:8} {:34} {:>10} {:>10} {:>7}", "", "µs", "Parlor", "Wasmtime", "ratio");
    let mut ok = true;
    let mut all = Vec::new();
    for (name, bytes) in [("by hand", by_hand), ("echo", fs::read(echo)?)] {
        let sides = Sides::new(&bytes).await?;
        let on_disk = sides.on_disk().await?;
        // The other one is too small to be anybody's agent: there, waking a thread takes as long as all the rest.
        ok &= name == "by hand" || on_disk.ratio() <= MOST_CACHED;
        let mut rows = vec![sides.cold().await?, on_disk, sides.in_memory().await?];
        // The echo writes no faster than it may.
        if name == "by hand" {
            rows.push(sides.event().await?);
        }
        rows.push(sides.idle().await?);
        for row in rows {
            row.print(name);
            let Row { what, ours, alone } = row;
            all.push(json!({"component": name, "what": what, "parlor": ours, "wasmtime": alone, "ratio": row.ratio()}));
        }
    }
    println!("{}", json!({"event": "agents", "ok": ok, "rows": all}));
    Ok(ok)
}

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ok = runtime.block_on(measure())?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
