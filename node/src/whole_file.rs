//! Files that are there with all their bytes, or not at all, whatever happens while they are written.
//!
//! For: [`WholeFile`], and [`write`] for what is in memory already. Not for: a program's files, which are written in place
//! and verified chunk by chunk (see [`crate::store::bundle`]).
//!
//! The idea: the bytes go into a new file beside the place, are synced, and the file is renamed; then the directory is
//! synced, so that the name survives a power cut as well. What was there before stays until then.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// Who may read a new file. One that is replaced keeps its permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner.
    Owner,
    /// Whoever the user lets read new files (umask).
    AsUsual,
}

/// What becomes of a file that is in the place already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and nothing is written ([`io::ErrorKind::AlreadyExists`]).
    Keep,
}

/// A file that is being written. Dropped, nothing is left of it.
#[derive(Debug)]
pub(crate) struct WholeFile {
    file: NamedTempFile,
    to: PathBuf,
}

impl WholeFile {
    /// Begins a file that is to be at `to`.
    pub(crate) fn at(to: &Path, readers: Readers) -> io::Result<Self> {
        let before = match fs::metadata(to) {
            Ok(found) if found.is_file() => Some(found.permissions()),
            // To put a file in the place of a device or a pipe is nobody's wish.
            Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // What a link leads to is replaced, not the link.
        let to = if before.is_some() { to.canonicalize()? } else { to.to_owned() };
        let name = to.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();

        let mode = match readers {
            Readers::Owner => 0o600,
            Readers::AsUsual => 0o666,
        };
        let mut beside = tempfile::Builder::new();
        let prefix = format!(".{}.", name.chars().take(32).collect::<String>());
        beside.prefix(&prefix).suffix(".new").permissions(Permissions::from_mode(mode));
        let file = beside.tempfile_in(folder_of(&to))?;
        if let Some(permissions) = before {
            file.as_file().set_permissions(permissions)?;
        }
        Ok(Self { file, to })
    }

    /// What is to be written to.
    pub(crate) fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Puts the file into its place, for good.
    pub(crate) fn put(self, existing: Existing) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        match existing {
            Existing::Replace => self.file.persist(&self.to),
            Existing::Keep => self.file.persist_noclobber(&self.to),
        }
        .map_err(|error| error.error)?;
        sync(folder_of(&self.to))
    }
}

/// Writes a whole file.
pub(crate) fn write(to: &Path, bytes: &[u8], readers: Readers, existing: Existing) -> io::Result<()> {
    let mut new = WholeFile::at(to, readers)?;
    new.file().write_all(bytes)?;
    new.put(existing)
}

/// Makes a file's bytes, or a folder's names, survive a power cut.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    tests::synced(path);
    File::open(path)?.sync_all()
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{cell::RefCell, os::unix::fs::symlink};

    use super::*;

    thread_local! {
        static SYNCED: RefCell<Vec<(PathBuf, Vec<String>)>> = RefCell::default();
    }

    /// Notes what was synced on this thread, and the names that were there.
    pub(super) fn synced(path: &Path) {
        SYNCED.with_borrow_mut(|synced| synced.push((path.to_owned(), names(path))));
    }

    /// What this thread has synced, in order; of folders with the names that were in it.
    pub(crate) fn take_synced() -> Vec<(PathBuf, Vec<String>)> {
        SYNCED.take()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_whole_and_the_folder_synced_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("right.cose");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let mut new = WholeFile::at(&file, Readers::Owner).unwrap();
        new.file().write_all(b"half").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"old", "until all is there");
        drop(new);
        assert_eq!(
            (fs::read(&file).unwrap(), names(dir.path())),
            (b"old".to_vec(), vec!["right.cose".to_owned()])
        );

        take_synced();
        write(&file, b"new", Readers::Owner, Existing::Replace).unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode(&file)), (b"new".to_vec(), 0o640));
        assert_eq!(take_synced(), [(dir.path().to_owned(), vec!["right.cose".to_owned()])]);
    }

    #[test]
    fn what_is_there_stays_if_it_is_to() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("card");
        write(&file, b"one", Readers::Owner, Existing::Keep).unwrap();
        assert_eq!(mode(&file), 0o600);
        let error = write(&file, b"two", Readers::Owner, Existing::Keep).unwrap_err();
        assert_eq!((error.kind(), fs::read(&file).unwrap()), (io::ErrorKind::AlreadyExists, b"one".to_vec()));
        assert_eq!(names(dir.path()), ["card"], "nothing is left beside it");
    }

    #[test]
    fn links_are_followed_and_nothing_but_files_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        write(&link, b"new", Readers::AsUsual, Existing::Replace).unwrap();
        assert!(link.is_symlink() && fs::read(&file).unwrap() == b"new");
        for other in [Path::new("/dev/null"), dir.path()] {
            let error = write(other, b"new", Readers::AsUsual, Existing::Replace).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{other:?}");
        }
        assert!(write(&dir.path().join("no/file"), b"", Readers::AsUsual, Existing::Replace).is_err());
    }
}
