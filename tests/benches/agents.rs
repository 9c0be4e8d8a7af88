//! What an agent costs beside Wasmtime alone: time from its bytes on disk to its first event, cold and cached; one event
//! into it and one line out of it; memory while it idles.
//!
//! Both sides run the same component in one process, in turns. "Wasmtime alone" has a linker with the one import that is
//! called, no limits, no WASI and no queue. The middle of all rounds counts.
//!
//! Fails if the first event of a cached agent takes more than [`MOST_CACHED`] times as long as bare instantiation of a
//! module that was compiled before. `cargo bench -p parlor-tests --bench agents`

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
    Agent, Content, Event, KeepError, Limits, Member, Sandbox, SayError, Scope, Surroundings,
};
use parlor_tests::programs::agent_by_hand;
use serde_json::json;
use tokio::sync::mpsc;
use wasmtime::{
    Config, Engine, Store,
    component::{Component, Instance, InstancePre, Linker, TypedFunc},
};

/// How often each way is measured.
const ROUNDS: usize = 41;
/// Cold starts are slow.
const COLD_ROUNDS: usize = 5;
/// Events into an agent, one after the other, for one measurement.
const EVENTS: u32 = 2_000;
/// Agents that idle.
const IDLE: usize = 200;
/// How many times as long as bare instantiation a cached start may take.
const MOST_CACHED: f64 = 1.5;
/// What is typed.
const LINE: &str = "is anybody there?";
const EVENTS_INTERFACE: &str = "parlor:agent/events@0.1.0";

/// What hears the agents' lines.
struct Room(mpsc::UnboundedSender<String>);

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

    fn post(&self, _: Content) -> BoxFuture<'_, Result<(), SayError>> {
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

    fn line(&self, text: String) {
        // Fails once nobody counts any more.
        let _ = self.0.send(text);
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
) -> Result<(Duration, Agent, mpsc::UnboundedReceiver<String>)> {
    let (lines, mut written) = mpsc::unbounded_channel();
    let begun = Instant::now();
    let code = sandbox.load(component.to_owned()).await.map_err(|error| anyhow!("{error}"))?;
    let agent = sandbox.start(code, Arc::new(Room(lines)), limits(), None);
    agent.tell(Event::Input(LINE.into())).await?;
    written.recv().await.context("no line")?;
    Ok((begun.elapsed(), agent, written))
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
    fn new() -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model(true);
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

async fn measure() -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let component = folder.path().join("agent.wasm");
    // It writes what is typed, as a line.
    let bytes = agent_by_hand(&[("input", "(call $line (local.get $text) (local.get $length))")]);
    fs::write(&component, &bytes)?;

    let (mut cold, mut bare_cold) = (Vec::new(), Vec::new());
    for round in 0..COLD_ROUNDS {
        let sandbox = Sandbox::new(&folder.path().join(format!("cache {round}")))?;
        cold.push(start(&sandbox, &component).await?.0);
        let mut bare = Bare::new().map_err(alone)?;
        let begun = Instant::now();
        let compiled = bare.compile(&fs::read(&component)?).map_err(alone)?;
        drop(bare.start(&compiled).map_err(alone)?);
        bare_cold.push(begun.elapsed());
    }

    let sandbox = Sandbox::new(&folder.path().join("cache"))?;
    drop(start(&sandbox, &component).await?);
    let mut bare = Bare::new().map_err(alone)?;
    let compiled = bare.compile(&bytes).map_err(alone)?;
    let (mut on_disk, mut cached, mut bare_cached) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let anew = Sandbox::new(&folder.path().join("cache"))?;
        on_disk.push(start(&anew, &component).await?.0);
        cached.push(start(&sandbox, &component).await?.0);
        let begun = Instant::now();
        drop(bare.start(&compiled).map_err(alone)?);
        bare_cached.push(begun.elapsed());
    }

    let (_, agent, mut written) = start(&sandbox, &component).await?;
    let (mut store, input) = bare.start(&compiled).map_err(alone)?;
    let (mut event, mut bare_event) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..EVENTS {
            agent.tell(Event::Input(LINE.into())).await?;
        }
        for _ in 0..EVENTS {
            written.recv().await.context("no line")?;
        }
        event.push(begun.elapsed() / EVENTS);
        let begun = Instant::now();
        for _ in 0..EVENTS {
            input.call(&mut store, (LINE.to_owned(),)).map_err(alone)?;
        }
        bare_event.push(begun.elapsed() / EVENTS);
    }

    let before = resident()?;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(start(&sandbox, &component).await?);
    }
    let with_agents = resident()?;
    let mut bare_idle = Vec::new();
    for _ in 0..IDLE {
        bare_idle.push(bare.start(&compiled).map_err(alone)?);
    }
    let with_bare = resident()?;
    let each = |after: u64, before: u64| after.saturating_sub(before) / IDLE as u64 / 1024;

    let row = |what: &str, ours: f64, alone: f64| {
        println!("{what:34} {ours:>12.1} {alone:>14.1} {:>8.2}", ours / alone);
        json!({"what": what, "parlor": ours, "wasmtime": alone, "ratio": ours / alone})
    };
    println!("{:34} {:>12} {:>14} {:>8}", "µs (KiB for memory)", "Parlor", "Wasmtime alone", "ratio");
    let bare_start = middle(bare_cached);
    let cached = middle(cached);
    let rows = [
        row("first event, cold", middle(cold), middle(bare_cold)),
        row("first event, cached on disk", middle(on_disk), bare_start),
        row("first event, compiled before", cached, bare_start),
        row("an event in and a line out", middle(event), middle(bare_event)),
        row("an idle agent", each(with_agents, before) as f64, each(with_bare, with_agents).max(1) as f64),
    ];
    let ok = cached <= MOST_CACHED * bare_start;
    println!("{}", json!({"event": "agents", "ok": ok, "rows": rows}));
    Ok(ok)
}

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ok = runtime.block_on(measure())?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
