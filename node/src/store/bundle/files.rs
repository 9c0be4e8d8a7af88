//! The files of a bundle: where they lie, reading and writing within them, making them last.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use parlor_proto::program::FileEntry;
use rustix::{fs::FallocateFlags, io::Errno};

use super::BundleError;
use crate::whole_file::{self, Existing, Readers};

/// How many files of one bundle are kept open.
const MAX_OPEN: usize = 8;

/// A bundle's files, the last used of them open.
#[derive(Debug)]
pub(super) struct FileCache {
    root: PathBuf,
    open: Mutex<VecDeque<Open>>,
}

#[derive(Debug, Clone)]
struct Open {
    index: usize,
    writable: bool,
    file: Arc<File>,
}

impl FileCache {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, open: Mutex::default() }
    }

    /// Where a file lies. A [`FilePath`](parlor_proto::program::FilePath) cannot lead out of the root.
    pub(super) fn path(&self, entry: &FileEntry) -> PathBuf {
        self.root.join(entry.path.as_str())
    }

    /// Makes a file at its full length and reserves its room on disk. What is in it stays.
    /// `folders` has the folders that are known to exist.
    pub(super) fn create(
        &self,
        entry: &FileEntry,
        folders: &mut HashSet<PathBuf>,
    ) -> Result<(), BundleError> {
        let path = self.path(entry);
        if let Some(folder) = path.parent()
            && !folders.contains(folder)
        {
            fs::create_dir_all(folder).map_err(|source| BundleError::io(folder, source))?;
            folders.insert(folder.to_owned());
        }
        let sized = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            if file.metadata()?.len() != entry.size {
                file.set_len(entry.size)?;
            }
            reserve(&file, entry.size)
        };
        sized().map_err(|source| BundleError::io(&path, source))
    }

    /// How much room these files still need on disk, bytes.
    pub(super) fn room_needed<'a>(&self, entries: impl Iterator<Item = &'a FileEntry>) -> u64 {
        let has =
            |entry| fs::metadata(self.path(entry)).map_or(0, |found| found.blocks().saturating_mul(512));
        entries.map(|entry| entry.size.saturating_sub(has(entry))).sum()
    }

    pub(super) fn read_at(
        &self,
        index: usize,
        entry: &FileEntry,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<(), BundleError> {
        let mut read = || self.get(index, entry, false)?.read_exact_at(buffer, offset);
        read().map_err(|source| BundleError::io(&self.path(entry), source))
    }

    /// Like [`Self::read_at`], if that can be done without waiting for the disk; else says no.
    pub(super) fn read_cached(
        &self,
        index: usize,
        entry: &FileEntry,
        buffer: &mut [u8],
        offset: u64,
    ) -> bool {
        #[cfg(target_os = "linux")]
        {
            let len = buffer.len();
            let into = &mut [io::IoSliceMut::new(buffer)];
            self.get(index, entry, false).is_ok_and(|file| {
                rustix::io::preadv2(file, into, offset, rustix::io::ReadWriteFlags::NOWAIT) == Ok(len)
            })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (index, entry, buffer, offset);
            false
        }
    }

    pub(super) fn write_at(
        &self,
        index: usize,
        entry: &FileEntry,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), BundleError> {
        let write = || self.get(index, entry, true)?.write_all_at(bytes, offset);
        write().map_err(|source| BundleError::io(&self.path(entry), source))
    }

    fn get(&self, index: usize, entry: &FileEntry, writable: bool) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.iter().position(|open| open.index == index && (open.writable || !writable));
        if let Some(place) = found.and_then(|place| open.remove(place)) {
            open.push_front(place.clone());
            return Ok(place.file);
        }
        let file = OpenOptions::new().read(true).write(writable).open(self.path(entry))?;
        let file = Arc::new(file);
        open.truncate(MAX_OPEN - 1);
        open.push_front(Open { index, writable, file: file.clone() });
        Ok(file)
    }
}

/// Reserves a file's room, so that a disk that is too small is found before anything is fetched, and writing
/// is faster. Not every file system can; then writing finds out.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(error) if error == Errno::NOSPC || error == Errno::DQUOT => Err(error.into()),
        _ => Ok(()),
    }
}

/// Refuses if the disk of `dir` has no room for `needed` bytes. A disk that does not tell is not asked twice.
pub(super) fn check_room(dir: &Path, needed: u64) -> Result<(), BundleError> {
    let Ok(disk) = rustix::fs::statvfs(dir) else {
        return Ok(());
    };
    if disk.f_bavail.saturating_mul(disk.f_frsize) < needed {
        return Err(BundleError::DiskFull { path: dir.to_owned(), source: None });
    }
    Ok(())
}

/// Makes the bytes of these files, and their names, survive a loss of power.
pub(super) fn sync_all<'a>(
    dir: &Path,
    files: &FileCache,
    entries: impl Iterator<Item = &'a FileEntry>,
) -> Result<(), BundleError> {
    let mut folders = BTreeSet::from([dir.to_owned(), files.root.clone()]);
    for entry in entries {
        let path = files.path(entry);
        sync(&path)?;
        folders
            .extend(path.ancestors().skip(1).take_while(|folder| *folder != files.root).map(Path::to_owned));
    }
    folders.iter().try_for_each(|folder| sync(folder))
}

/// Writes a whole file in `dir`, so that it is there with all its bytes or not at all.
pub(super) fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), BundleError> {
    let path = dir.join(name);
    whole_file::write(&path, bytes, Readers::Owner, Existing::Replace)
        .map_err(|source| BundleError::io(&path, source))
}

pub(super) fn sync(path: &Path) -> Result<(), BundleError> {
    whole_file::sync(path).map_err(|source| BundleError::io(path, source))
}
