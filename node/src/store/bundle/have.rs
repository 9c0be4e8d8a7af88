//! The note of the chunks that are there: a file that only grows.
//!
//! For: [`HaveFile`] and [`read`]. Not for: trusting it; whoever reads it hashes the chunks again.
//!
//! The file is [`MAGIC`], then the number of a chunk (four bytes, big-endian) for each. Its end may be torn.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use parlor_proto::program::{ChunkIndex, ChunkSet, MAX_CHUNKS};

use super::BundleError;

const MAGIC: [u8; 8] = *b"parlor\0\x01";

/// The longest file that is read, bytes: each chunk twice. A longer one is not ours.
const MAX_LEN: u64 = MAGIC.len() as u64 + 2 * 4 * MAX_CHUNKS as u64;

/// The file, open for more.
#[derive(Debug)]
pub(super) struct HaveFile {
    file: File,
    path: PathBuf,
    /// The length up to which all is whole, bytes.
    len: u64,
}

impl HaveFile {
    /// Opens the file or begins it. A torn end is cut off.
    pub(super) fn open(path: &Path) -> Result<Self, BundleError> {
        let failed = |source| BundleError::io(path, source);
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        let mut this = Self { file, path: path.to_owned(), len: 0 };
        let found = this.file.metadata().map_err(failed)?.len();
        let mut magic = [0; MAGIC.len()];
        if this.file.read_exact_at(&mut magic, 0).is_ok() && magic == MAGIC {
            this.len = found - (found - MAGIC.len() as u64) % 4;
            this.file.set_len(this.len).map_err(failed)?;
        } else {
            this.file.set_len(0).map_err(failed)?;
            this.write(&MAGIC)?;
        }
        Ok(this)
    }

    /// Notes chunks whose bytes were written.
    pub(super) fn append(&mut self, chunks: &[ChunkIndex]) -> Result<(), BundleError> {
        let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.0.to_be_bytes()).collect();
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        if let Err(source) = self.file.write_all(bytes) {
            // Part of a number would shift all that follow. Were this to fail too, chunks that are there
            // would not be found again, and be fetched again: a pity, no damage.
            let _ = self.file.set_len(self.len);
            return Err(BundleError::io(&self.path, source));
        }
        self.len += bytes.len() as u64;
        Ok(())
    }
}

/// What is noted at `path`, of a program of `universe` chunks; and whether the file says just that, without
/// numbers that repeat or do not exist and without a torn end. No file, or one of another make: nothing.
pub(super) fn read(path: &Path, universe: u32) -> (ChunkSet, bool) {
    let mut set = ChunkSet::empty(universe);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_LEN).read_to_end(&mut bytes));
    let Some(numbers) = read.ok().and_then(|_| bytes.strip_prefix(&MAGIC)) else {
        return (set, false);
    };
    let (numbers, torn) = numbers.as_chunks::<4>();
    let mut exact = torn.is_empty();
    for number in numbers {
        exact &= set.insert(ChunkIndex(u32::from_be_bytes(*number)));
    }
    (set, exact)
}

/// The file that notes just these chunks.
pub(super) fn contents(chunks: &ChunkSet) -> Vec<u8> {
    MAGIC.into_iter().chain(chunks.iter().flat_map(|chunk| chunk.0.to_be_bytes())).collect()
}
