//! How a component becomes code.
//!
//! For: [`Code`], a component that is compiled and fits the world, and [`Loader`], which makes it, once for each
//! content. Not for: running it.
//!
//! The idea: compiling is by far the most expensive thing that a stranger's program has this node do. So there is one
//! compilation at a time, what was compiled is kept, in memory by the hash of the component and on the disk by
//! Wasmtime's cache, and what is too large is never read.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use blake3::Hash;
use tokio::{sync::Semaphore, time::timeout};
use wasmtime::{Cache, component::Component};

use super::{guest::Guest, limits::MAX_COMPONENT, sandbox::Sandbox, text::shown, world::AgentPre};

/// How many compiled components are kept in memory, at most: those that were used last.
const MAX_KEPT: usize = 8;
/// How long a component may wait for others and compile.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest reason that is shown, bytes.
const MAX_REASON: usize = 512;
/// What a component begins with: WebAssembly's mark, then the layer.
const MARK: &[u8] = b"\0asm";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A component that can be run. Cheap to clone.
#[derive(Clone)]
pub struct Code(AgentPre<Guest>);

impl Code {
    pub(super) fn prepared(&self) -> &AgentPre<Guest> {
        &self.0
    }
}

/// Why a component cannot be run: one line for the user.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The disk failed.
    #[error("the component cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is not even read.
    #[error("the component has {0} bytes, at most {MAX_COMPONENT} are allowed")]
    TooLarge(u64),
    /// It is something else, or broken.
    #[error("it is no WebAssembly component: {0}")]
    Malformed(String),
    /// It wants what there is not, or lacks what an agent has.
    #[error("it is no agent for this node: {0}")]
    Unfit(String),
    /// It is not done yet, and nobody waits any longer.
    #[error("it took more than {PATIENCE:?} to compile")]
    Slow,
    /// Not the component's fault.
    #[error("this node failed to compile it")]
    Broken,
}

/// Makes code.
pub(super) struct Loader {
    turn: Arc<Semaphore>,
    kept: Mutex<VecDeque<(Hash, Code)>>,
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests look at it; the engine has its own"))]
    cache: Cache,
}

impl Loader {
    pub(super) fn new(cache: Cache) -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), kept: Mutex::default(), cache }
    }

    #[cfg(test)]
    pub(super) fn found_and_compiled(&self) -> (usize, usize) {
        (self.cache.cache_hits(), self.cache.cache_misses())
    }

    /// See [`Sandbox::load`].
    pub(super) async fn load(&self, sandbox: &Sandbox, component: PathBuf) -> Result<Code, LoadError> {
        let bytes = blocking(sandbox, move |_| read(&component)).await?;
        let hash = blake3::hash(&bytes);
        if let Some(code) = self.find(hash) {
            return Ok(code);
        }
        timeout(PATIENCE, self.compile(sandbox, hash, bytes)).await.unwrap_or(Err(LoadError::Slow))
    }

    async fn compile(&self, sandbox: &Sandbox, hash: Hash, bytes: Vec<u8>) -> Result<Code, LoadError> {
        // Never closed.
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| LoadError::Broken)?;
        if let Some(code) = self.find(hash) {
            return Ok(code);
        }
        let work = move |sandbox: &Sandbox| {
            let code = compile(sandbox, &bytes)?;
            sandbox.loader().keep(hash, code.clone());
            // Not before, and also if nobody waits any longer: whoever is next finds what was made.
            drop(turn);
            Ok(code)
        };
        blocking(sandbox, work).await
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(Hash, Code)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, hash: Hash) -> Option<Code> {
        let mut kept = self.kept();
        let place = kept.iter().position(|(of, _)| *of == hash)?;
        let found = kept.remove(place)?;
        let code = found.1.clone();
        kept.push_front(found);
        Some(code)
    }

    fn keep(&self, hash: Hash, code: Code) {
        let mut kept = self.kept();
        kept.push_front((hash, code));
        kept.truncate(MAX_KEPT);
    }
}

/// Work that does not yield, on the sandbox's threads.
async fn blocking<T: Send + 'static>(
    sandbox: &Sandbox,
    work: impl FnOnce(&Sandbox) -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let its = sandbox.clone();
    sandbox.threads().spawn_blocking(move || work(&its)).await.unwrap_or(Err(LoadError::Broken))
}

fn read(component: &Path) -> Result<Vec<u8>, LoadError> {
    let file = File::open(component)?;
    let size = file.metadata()?.len();
    if size > MAX_COMPONENT {
        return Err(LoadError::TooLarge(size));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(MAX_COMPONENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_COMPONENT {
        return Err(LoadError::TooLarge(bytes.len() as u64));
    }
    Ok(bytes)
}

fn compile(sandbox: &Sandbox, bytes: &[u8]) -> Result<Code, LoadError> {
    if !bytes.starts_with(MARK) {
        return Err(LoadError::Malformed("it is not WebAssembly at all".into()));
    }
    if !bytes.starts_with(COMPONENT) {
        return Err(LoadError::Malformed("it is a core module, or made for another version".into()));
    }
    let component =
        Component::from_binary(sandbox.engine(), bytes).map_err(|e| LoadError::Malformed(reason(&e)))?;
    let linked = sandbox.linker().instantiate_pre(&component).and_then(AgentPre::new);
    linked.map(Code).map_err(|error| LoadError::Unfit(reason(&error)))
}

fn reason(error: &wasmtime::Error) -> String {
    shown(&format!("{error:#}"), MAX_REASON)
}
