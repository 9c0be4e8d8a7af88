//! The engine that agents run in.
//!
//! For: [`Sandbox`], one a node: its threads, what is linked, and [`Code`] to run. Not for: how components become code
//! (see `load`), nor for a single agent (see `actor`).
//!
//! The idea: agents have threads of their own, so that whatever they compute, the node's tasks are not behind them; and
//! on those threads each agent yields to the others many times a second.

use std::{
    io,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::{Cache, CacheConfig, Config, Engine, OptLevel, Strategy, component::Linker};

pub use super::load::{Code, LoadError};
use super::{
    Agent, Limits, Readiness, Stopped, Surroundings,
    actor::{self, Beginning},
    guest::Guest,
    instance::Instance,
    load::{Loader, PATIENCE},
    ticker::{Busy, Ticker},
    world,
};

/// What WebAssembly's own frames may take of a stack, bytes.
const GUEST_STACK: usize = 512 << 10;
/// A whole stack: the imports run on the rest.
const STACK: usize = 2 << 20;
/// What the cache of compiled code may take on the disk, about, bytes, and how many files.
const CACHE_SIZE: u64 = 256 << 20;
const CACHE_FILES: u64 = 256;
/// On how many threads agents compute, at most and at least.
const THREADS: (usize, usize) = (2, 4);
/// On how many threads components are compiled and files read.
const BLOCKING_THREADS: usize = 8;

/// Runs agents. Cheap to clone; agents keep theirs as long as they run.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<Guest>,
    loader: Loader,
    ticker: Ticker,
    threads: Threads,
}

/// Why there are no agents on this node.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The system gives no threads.
    #[error("agents get no threads")]
    Threads(#[source] io::Error),
    /// The cache of compiled code cannot be used.
    #[error("the cache of compiled agents in {} cannot be used: {reason}", .directory.display())]
    Cache {
        /// Where it was to be.
        directory: PathBuf,
        /// What Wasmtime says.
        reason: String,
    },
    /// Wasmtime does not run on this machine.
    #[error("WebAssembly cannot be run on this machine: {0}")]
    Engine(String),
}

impl Sandbox {
    /// With a cache of compiled code in a directory that nobody else may write to: what is in there is run.
    ///
    /// # Errors
    ///
    /// See [`SandboxError`].
    pub fn new(cache_dir: &Path) -> Result<Self, SandboxError> {
        let cache = cache(cache_dir)?;
        let of_engine = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let engine = Engine::new(&config(cache.clone())).map_err(of_engine)?;
        let linker = linker(&engine).map_err(of_engine)?;
        let threads = Threads::start().map_err(SandboxError::Threads)?;
        let ticker = Ticker::start(engine.clone()).map_err(SandboxError::Threads)?;
        let loader = Loader::new(cache);
        Ok(Self(Arc::new(Inner { engine, linker, loader, ticker, threads })))
    }

    /// Compiles a component, or finds it compiled, and checks that it is an agent.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub async fn load(&self, component: PathBuf) -> Result<Code, LoadError> {
        let sandbox = self.clone();
        let load = self.threads().spawn(async move { sandbox.loader().load(&sandbox, &component).await });
        match timeout(PATIENCE, AbortOnDropHandle::new(load)).await {
            Ok(loaded) => loaded.unwrap_or(Err(LoadError::Broken)),
            Err(_) => Err(LoadError::Slow),
        }
    }

    /// Runs the automatic portion in an instance of its own.
    ///
    /// # Errors
    ///
    /// It was stopped, or refuses to run here.
    pub async fn setup(
        &self,
        code: &Code,
        surroundings: Arc<dyn Surroundings>,
        limits: &Limits,
    ) -> Result<Readiness, Stopped> {
        let (sandbox, code, limits) = (self.clone(), code.clone(), limits.clone());
        let setup = self.threads().spawn(async move {
            let guest = Guest::new(surroundings, &limits, false);
            Instance::new(&sandbox, &code, guest, &limits).await?.setup().await
        });
        // A panic is the node's fault.
        AbortOnDropHandle::new(setup).await.unwrap_or(Err(Stopped::Broken))
    }

    /// Starts an agent from its component, with the state that it put aside last, if it did. What is wrong with the
    /// component is what the agent is stopped for.
    #[must_use]
    pub fn start(
        &self,
        component: PathBuf,
        surroundings: Arc<dyn Surroundings>,
        limits: Limits,
        state: Option<Vec<u8>>,
    ) -> Agent {
        actor::start(self.clone(), Beginning { component, surroundings, limits, state })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(super) fn linker(&self) -> &Linker<Guest> {
        &self.0.linker
    }

    pub(super) fn loader(&self) -> &Loader {
        &self.0.loader
    }

    /// Where agents and what they wait for run.
    pub(super) fn threads(&self) -> Handle {
        self.0.threads.handle()
    }

    /// While this is kept, an agent may compute.
    pub(super) fn busy(&self) -> Busy {
        self.0.ticker.busy()
    }

    /// Components that were found in the cache on the disk, and those that were not.
    #[cfg(test)]
    pub(super) fn found_and_compiled(&self) -> (usize, usize) {
        self.loader().found_and_compiled()
    }
}

fn cache(directory: &Path) -> Result<Cache, SandboxError> {
    let made = std::path::absolute(directory).map_err(wasmtime::Error::from).and_then(|absolute| {
        let mut config = CacheConfig::new();
        config
            .with_directory(absolute)
            .with_files_total_size_soft_limit(CACHE_SIZE)
            .with_file_count_soft_limit(CACHE_FILES);
        Cache::new(config)
    });
    made.map_err(|error| SandboxError::Cache { directory: directory.into(), reason: format!("{error:#}") })
}

/// No more of WebAssembly than what ordinary toolchains make use of.
fn config(cache: Cache) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cache(Some(cache))
        .epoch_interruption(true)
        .consume_fuel(false)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(STACK)
        .wasm_component_model(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    config
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    world::Agent::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

/// The agents' own threads.
struct Threads(Option<Runtime>, Handle);

impl Threads {
    fn start() -> io::Result<Self> {
        let (least, most) = THREADS;
        let count = thread::available_parallelism().map_or(least, NonZero::get).clamp(least, most);
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("agents")
            // An agent's turn is long. After each, timers and whoever waits to be scheduled are looked after.
            .event_interval(1)
            .global_queue_interval(1)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self(Some(runtime), handle))
    }

    fn handle(&self) -> Handle {
        self.1.clone()
    }
}

impl Drop for Threads {
    /// A component that is being compiled cannot be stopped: nobody waits for it.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
