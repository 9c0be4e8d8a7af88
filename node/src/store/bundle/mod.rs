//! The bytes of programs on disk: one folder per program, written in place while they arrive.
//!
//! For: [`Bundle`], one program's files, chunk by chunk; [`Bundles`], the folder of all of them; cards, one
//! bundle in one file. Not for: where chunks come from (see [`crate::content`]) and which programs the user
//! wants to keep.
//!
//! ```text
//! HOME/programs/<program id>/manifest.cbor   the manifest, as received
//!                            files/<path>    the files, at their full length from the start
//!                            have            the chunks that are there, noted after they were written
//!                            complete        whose copy it is (see `Role`); the last thing to be written
//! ```
//!
//! The idea: a chunk is verified, written to its place, and then noted; so a node that is killed at any moment
//! finds at most a chunk that is there and not noted. After a loss of power a noted chunk may not be there,
//! so what is noted is hashed again, once, when the bundle is first looked at after a start, unless the files were
//! synced and `complete` says that they are. From then on the shelf knows what is there, also while nobody uses the
//! bundle. Nothing but verified chunks is ever read from here. A folder appears and goes by renaming.
//!
//! All calls block; call them where blocking is allowed.

mod card;
mod files;
mod gate;
mod have;
mod shelf;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use parlor_proto::{
    ids::ProgramId,
    program::{CHUNK_SIZE, Chunk, ChunkIndex, ChunkSet, ManifestError, Program, Role},
};

pub use card::{CardError, MAX_NOTE, read_card, write_card};
use files::FileCache;
use gate::Gate;
pub(crate) use gate::Writing;
use have::HaveFile;
pub(crate) use shelf::finish;
pub use shelf::{Bundles, Look};
use tokio::sync::Notify;

const MANIFEST_FILE: &str = "manifest.cbor";
pub(crate) const FILES_DIR: &str = "files";
const HAVE_FILE: &str = "have";
const COMPLETE_FILE: &str = "complete";

/// Why a bundle cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No room. What is there already stays and is used when there is room again.
    #[error("the disk is full: {path} cannot be written; make room and try again, what arrived is kept")]
    DiskFull {
        /// What could not be written.
        path: PathBuf,
        /// What the system said; nothing if the lack was seen before anything was written.
        #[source]
        source: Option<io::Error>,
    },
    /// The system refused a read or write.
    #[error("{path} cannot be used: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The stored manifest is not that of the program.
    #[error("the stored program {id} is damaged; remove it and get it again")]
    Damaged {
        /// Which one.
        id: ProgramId,
        /// What is wrong with its manifest.
        source: ManifestError,
    },
    /// A chunk or file that did not arrive yet.
    #[error("the program is not complete")]
    Incomplete,
    /// A chunk or file that the program does not have.
    #[error("the program has no such file or chunk")]
    Unknown,
    /// The program was removed while it was used.
    #[error("the program was removed")]
    Removed,
    /// Nothing is read or written any more.
    #[error("the node is stopping")]
    Stopping,
}

impl BundleError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source: Some(source) }
            }
            _ => Self::Io { path, source },
        }
    }
}

/// What came of a batch of chunks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Verified and stored, in the order given.
    pub good: Vec<ChunkIndex>,
    /// The first that is not what the manifest says; nothing after it was looked at.
    pub bad: Option<ChunkIndex>,
}

/// One program's files. Any number of readers and writers may use it at once.
#[derive(Debug)]
pub struct Bundle {
    dir: PathBuf,
    program: Program,
    files: FileCache,
    gate: Arc<Gate>,
    /// The chunks of a copy for everyone.
    for_everyone: ChunkSet,
    removed: AtomicBool,
    /// Held while the files are synced, which takes long.
    settling: Mutex<()>,
    /// Where new chunks are noted; opened when first needed.
    noted: Mutex<Option<HaveFile>>,
    /// What is there. The shelf knows it too, and goes on knowing it.
    state: Arc<Mutex<State>>,
    /// Told when nobody uses the bundle any more.
    released: Arc<Notify>,
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.released.notify_one();
    }
}

#[derive(Debug)]
struct State {
    have: ChunkSet,
    /// Whose copy all of that is.
    complete: Option<Role>,
    /// Whose copy was completed and synced.
    settled: Option<Role>,
    /// For whose copy the files were laid out.
    laid_out: Option<Role>,
}

impl State {
    /// Notes chunks that are there.
    fn add(&mut self, chunks: impl IntoIterator<Item = ChunkIndex>, for_everyone: &ChunkSet) {
        for chunk in chunks {
            self.have.insert(chunk);
        }
        self.complete = if self.have.len() == self.have.universe() {
            Some(Role::Host)
        } else if for_everyone.is_subset(&self.have) {
            Some(Role::Everyone)
        } else {
            None
        };
    }
}

impl Bundle {
    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The chunks that are there, all verified.
    #[must_use]
    pub fn have(&self) -> ChunkSet {
        self.state().have.clone()
    }

    /// Whose copy is complete here, if any: the host's has everything.
    #[must_use]
    pub fn complete(&self) -> Option<Role> {
        self.state().complete
    }

    /// Whether it was taken off the shelf: no use to note it anywhere.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Opens a file of a complete copy, to read it, and tells its length in bytes.
    pub fn open_file(&self, path: &str) -> Result<(fs::File, u64), BundleError> {
        let index = self.program.find(path).ok_or(BundleError::Unknown)?;
        let entry = &self.program.manifest().files[index];
        let complete = self.complete().ok_or(BundleError::Incomplete)?;
        if !complete.gets(entry.role) {
            return Err(BundleError::Unknown);
        }
        self.not_removed()?;
        let path = self.files.path(entry);
        let file = fs::File::open(&path).map_err(|source| BundleError::io(&path, source))?;
        Ok((file, entry.size))
    }

    /// Where a file of a complete copy lies; `None` if this copy has no such file.
    #[must_use]
    pub fn file_path(&self, path: &str) -> Option<PathBuf> {
        let entry = &self.program.manifest().files[self.program.find(path)?];
        self.complete()?.gets(entry.role).then(|| self.files.path(entry))
    }

    /// Reads a chunk into the beginning of `buffer` (at least [`CHUNK_SIZE`] bytes long); tells its length.
    pub fn read_chunk(&self, index: ChunkIndex, buffer: &mut [u8]) -> Result<usize, BundleError> {
        let chunk = self.readable(index)?;
        let len = chunk.len as usize;
        self.read_at(&chunk, &mut buffer[..len])?;
        Ok(len)
    }

    /// Like [`Self::read_chunk`] if the system has the chunk in memory; else, or if anything is wrong, nothing.
    /// The one call here that does not block.
    pub(crate) fn read_chunk_cached(&self, index: ChunkIndex, buffer: &mut [u8]) -> Option<usize> {
        let chunk = self.readable(index).ok()?;
        let len = chunk.len as usize;
        let entry = &self.program.manifest().files[chunk.file];
        self.files.read_cached(chunk.file, entry, &mut buffer[..len], chunk.offset).then_some(len)
    }

    fn readable(&self, index: ChunkIndex) -> Result<Chunk, BundleError> {
        let chunk = self.program.chunk(index).ok_or(BundleError::Unknown)?;
        if !self.state().have.contains(index) {
            return Err(BundleError::Incomplete);
        }
        self.not_removed()?;
        Ok(chunk)
    }

    /// Makes the files of a copy for `role` at their full length and reserves their room on disk. To be called
    /// before chunks are written; calling it again is cheap.
    pub fn lay_out(&self, role: Role) -> Result<(), BundleError> {
        let _writing = self.write()?;
        if self.state().laid_out >= Some(role) {
            return Ok(());
        }
        let entries = || self.program.files_for(role).map(|(_, entry)| entry);
        files::check_room(&self.dir, self.files.room_needed(entries()))?;
        let mut folders = HashSet::new();
        entries().try_for_each(|entry| self.files.create(entry, &mut folders))?;
        let mut state = self.state();
        state.laid_out = state.laid_out.max(Some(role));
        Ok(())
    }

    /// Verifies chunks, writes them to their places and notes them. A chunk that is there already is only
    /// verified.
    pub fn write_chunks(&self, batch: &[(ChunkIndex, &[u8])]) -> Result<Written, BundleError> {
        let _writing = self.write()?;
        let mut written = Written::default();
        for &(index, bytes) in batch {
            let Some(chunk) = self.program.chunk(index).filter(|chunk| holds(chunk, bytes)) else {
                written.bad = Some(index);
                break;
            };
            if !self.state().have.contains(index) {
                let entry = &self.program.manifest().files[chunk.file];
                self.files.write_at(chunk.file, entry, bytes, chunk.offset)?;
            }
            written.good.push(index);
        }
        self.note(&written.good)?;
        Ok(written)
    }

    /// Syncs the files of a complete copy and says so on disk, so that the next start need not hash them
    /// again. Does nothing if it was done. The bundle is of full use without it.
    pub fn settle(&self) -> Result<(), BundleError> {
        let _one_at_a_time = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let role = self.complete().ok_or(BundleError::Incomplete)?;
        if self.state().settled >= Some(role) {
            return Ok(());
        }
        let _writing = self.write()?;
        // Files without bytes have no chunk that would have made them.
        self.lay_out(role)?;
        files::sync_all(&self.dir, &self.files, self.program.files_for(role).map(|(_, entry)| entry))?;
        files::write_whole(&self.dir, COMPLETE_FILE, role.to_string().as_bytes())?;
        self.state().settled = Some(role);
        *self.noted() = None;
        if role == Role::Host {
            let _ = fs::remove_file(self.dir.join(HAVE_FILE));
        }
        Ok(())
    }

    /// Notes chunks whose bytes were written.
    fn note(&self, chunks: &[ChunkIndex]) -> Result<(), BundleError> {
        // Held from the look at what is there: a chunk is noted once.
        let mut noted = self.noted();
        let mut new = chunks.to_vec();
        {
            let state = self.state();
            new.retain(|chunk| !state.have.contains(*chunk));
        }
        if new.is_empty() {
            return Ok(());
        }
        let file = match &mut *noted {
            Some(file) => file,
            none => none.insert(HaveFile::open(&self.dir.join(HAVE_FILE))?),
        };
        file.append(&new)?;
        self.state().add(new, &self.for_everyone);
        Ok(())
    }

    fn read_at(&self, chunk: &Chunk, buffer: &mut [u8]) -> Result<(), BundleError> {
        self.files.read_at(chunk.file, &self.program.manifest().files[chunk.file], buffer, chunk.offset)
    }

    /// Whether the chunk on disk is what the manifest says. An unreadable one is not.
    fn is_there(&self, index: ChunkIndex, buffer: &mut [u8; CHUNK_SIZE as usize]) -> bool {
        let Some(chunk) = self.program.chunk(index) else {
            return false;
        };
        let bytes = &mut buffer[..chunk.len as usize];
        self.read_at(&chunk, bytes).is_ok() && holds(&chunk, bytes)
    }

    fn not_removed(&self) -> Result<(), BundleError> {
        if self.is_removed() { Err(BundleError::Removed) } else { Ok(()) }
    }

    /// From here on, something is written.
    fn write(&self) -> Result<Writing, BundleError> {
        self.not_removed()?;
        self.gate.enter()
    }

    fn noted(&self) -> MutexGuard<'_, Option<HaveFile>> {
        // A note that was torn is cut off when it is read.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in a locked section leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holds(chunk: &Chunk, bytes: &[u8]) -> bool {
    bytes.len() == chunk.len as usize && blake3::hash(bytes).as_bytes() == &chunk.hash.0
}

/// Runs calls that block on a thread where they may. A panic there goes on here.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BundleError> + Send + 'static,
) -> Result<T, BundleError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(BundleError::Stopping),
        },
    }
}
