//! How a component becomes code.
//!
//! For: [`Code`], a component that is compiled and fits the world, and [`Loader`], which makes it, once for each
//! content. Not for: running it.
//!
//! The idea: compiling is by far the most expensive thing that a stranger's program has this node do. So there is one
//! compilation at a time, what was compiled is kept, in memory by the hash of the component and on the disk by
//! Wasmtime's cache, and what is too large is never read. A file that is what it was (see [`Stamp`]) is not even read
//! again: for a large component that would take far longer than starting it.

use std::{
    collections::VecDeque,
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use blake3::Hash;
use tokio::{sync::Semaphore, task::block_in_place};
use wasmtime::{Cache, component::Component};

use super::{guest::Guest, limits::MAX_COMPONENT, sandbox::Sandbox, text::shown, world::AgentPre};

/// How many compiled components are kept in memory, at most: those that were used last.
const MAX_KEPT: usize = 8;
/// How many files are known by their stamps, at most: those that were read last.
const MAX_KNOWN: usize = 64;
/// A file that has not changed for so long before it was read has another stamp after its next change. (The clock of a
/// file system may tick every few milliseconds only.)
const SETTLED: Duration = Duration::from_secs(1);
/// How long a component may wait for others and compile. (What compiles cannot be stopped; but nobody waits for it.)
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
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

/// What tells a file from what it was before: whatever is done to its content, the system notes the time, and nobody can
/// set that one back. Git knows files by the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds since 1970, and nanoseconds.
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        let changed = (file.ctime(), file.ctime_nsec());
        Self { device: file.dev(), inode: file.ino(), size: file.size(), changed }
    }

    /// Whether a change from `now` on shows.
    fn is_settled(&self, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let settled = since.saturating_sub(SETTLED);
        self.changed < (settled.as_secs().try_into().unwrap_or(i64::MAX), settled.subsec_nanos().into())
    }
}

/// Makes code.
pub(super) struct Loader {
    turn: Semaphore,
    kept: Mutex<VecDeque<(Hash, Code)>>,
    known: Mutex<VecDeque<(Stamp, Hash)>>,
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests look at it; the engine has its own"))]
    cache: Cache,
}

impl Loader {
    pub(super) fn new(cache: Cache) -> Self {
        Self { turn: Semaphore::new(1), kept: Mutex::default(), known: Mutex::default(), cache }
    }

    #[cfg(test)]
    pub(super) fn found_and_compiled(&self) -> (usize, usize) {
        (self.cache.cache_hits(), self.cache.cache_misses())
    }

    #[cfg(test)]
    pub(super) fn knows(&self, component: &Path) -> bool {
        self.known_hash(component).is_ok_and(|hash| hash.is_some())
    }

    /// See [`Sandbox::load`]; for tasks on the sandbox's threads.
    pub(super) async fn load(&self, sandbox: &Sandbox, component: &Path) -> Result<Code, LoadError> {
        // One look at a local file is quicker than making room for it.
        if let Some(code) = self.known_hash(component)?.and_then(|hash| self.find(hash)) {
            return Ok(code);
        }
        // It takes no longer than an agent's turn, for which these threads are.
        let (bytes, hash) = self.read(component)?;
        if let Some(code) = self.find(hash) {
            return Ok(code);
        }
        // Never closed.
        let _turn = self.turn.acquire().await.map_err(|_| LoadError::Broken)?;
        if let Some(code) = self.find(hash) {
            return Ok(code);
        }
        let code = block_in_place(|| compile(sandbox, &bytes))?;
        self.keep(hash, code.clone());
        Ok(code)
    }

    /// A file's bytes; if its next change will show, it is known from now on.
    fn read(&self, component: &Path) -> Result<(Vec<u8>, Hash), LoadError> {
        let now = SystemTime::now();
        let (bytes, stamp) = read(component)?;
        let hash = blake3::hash(&bytes);
        if stamp.is_settled(now) {
            let mut known = lock(&self.known);
            known.retain(|(of, _)| (of.device, of.inode) != (stamp.device, stamp.inode));
            known.push_front((stamp, hash));
            known.truncate(MAX_KNOWN);
        }
        Ok((bytes, hash))
    }

    /// Of a file that is what it was when it was read.
    fn known_hash(&self, component: &Path) -> io::Result<Option<Hash>> {
        let stamp = Stamp::of(&fs::metadata(component)?);
        Ok(lock(&self.known).iter().find(|(of, _)| *of == stamp).map(|(_, hash)| *hash))
    }

    fn find(&self, hash: Hash) -> Option<Code> {
        let mut kept = lock(&self.kept);
        let place = kept.iter().position(|(of, _)| *of == hash)?;
        let found = kept.remove(place)?;
        let code = found.1.clone();
        kept.push_front(found);
        Some(code)
    }

    fn keep(&self, hash: Hash, code: Code) {
        let mut kept = lock(&self.kept);
        kept.push_front((hash, code));
        kept.truncate(MAX_KEPT);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(component: &Path) -> Result<(Vec<u8>, Stamp), LoadError> {
    let file = File::open(component)?;
    let stamp = Stamp::of(&file.metadata()?);
    let size = stamp.size;
    if size > MAX_COMPONENT {
        return Err(LoadError::TooLarge(size));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // It may grow while it is read.
    file.take(MAX_COMPONENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_COMPONENT {
        return Err(LoadError::TooLarge(bytes.len() as u64));
    }
    Ok((bytes, stamp))
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
