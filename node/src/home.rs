//! The home: the one directory that holds everything a node is.
//!
//! For: finding it, locking it (one node a home), and the node's identity. Not for: what is inside the
//! database (`store`) or the bundles.
//!
//! ```text
//! HOME/format         version of this layout
//! HOME/lock           held while a node runs here
//! HOME/identity.key   32-byte Ed25519 seed; whoever has it is this node
//! HOME/parlor.db      everything durable
//! HOME/programs/      bundles
//! HOME/compiled/      agents' compiled code
//! HOME/stopped        the last node stopped in an orderly way; gone while one runs
//! HOME/browser/       addresses that the browser is led to, until it is there
//! HOME/control.sock   where the other verbs reach the running node
//! ```
//!
//! Files are their owner's alone, whatever the directory allows: it may be one that others use as well.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use parlor_proto::identity::Identity;

use crate::whole_file::{self, Existing, Readers};

/// Version of the layout above. A home with a higher one is left untouched.
const FORMAT: u32 = 1;

/// An opened home. While this value lives, no other node can open the same one.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    was_stopped: bool,
    _lock: File,
}

/// The files of a home that are there before it is opened, or may be.
const FILES: [&str; 7] =
    ["lock", "format", "identity.key", "parlor.db", "parlor.db-wal", "parlor.db-shm", "stopped"];
/// The directories in it.
const DIRECTORIES: [&str; 2] = ["programs", "compiled"];

/// Why a home cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum HomeError {
    #[error("a node is already running in {0}: use it, or choose another --home")]
    InUse(PathBuf),
    #[error("{0} was written by a newer version of parlor: update parlor, or choose another --home")]
    Newer(PathBuf),
    #[error("{0} is not a parlor home: its `format` file is unreadable")]
    NotAHome(PathBuf),
    #[error("the identity in {0} is damaged: restore identity.key from a backup")]
    Identity(PathBuf),
    #[error(
        "identity.key in {home} is missing, and parlor.db is that of {peer}: restore identity.key from a backup"
    )]
    NoIdentity { home: PathBuf, peer: String },
    #[error(
        "identity.key in {home} is not that of {peer}, whose parlor.db lies beside it: restore both from one backup"
    )]
    AnotherIdentity { home: PathBuf, peer: String },
    #[error("{0} cannot be a home: a home's path is UTF-8: choose another --home")]
    NotUnicode(String),
    #[error("cannot use {path} as home: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl Home {
    /// Opens the home at `root`, and makes it if it is not there.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        let io = |source| HomeError::Io { path: root.to_owned(), source };
        check_text(root)?;
        let is_new = !root.exists();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(io)?;
        if is_new {
            // Whatever the umask says. What somebody else made stays as it is.
            restrict(root, 0o700).map_err(io)?;
        }
        let root = root.canonicalize().map_err(io)?;
        check_text(&root)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(root.join("lock"))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HomeError::InUse(root)),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut home = Self { root, was_stopped: false, _lock: lock };
        home.check_format()?;
        home.keep_private().map_err(|error| home.io(error))?;
        home.was_stopped = home.forget_stop().map_err(|error| home.io(error))?;
        Ok(home)
    }

    /// Nobody else reads what is in it.
    fn keep_private(&self) -> io::Result<()> {
        for name in FILES {
            let file = self.root.join(name);
            if file.is_file() {
                restrict(&file, 0o600)?;
            }
        }
        for name in DIRECTORIES {
            let dir = self.root.join(name);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            restrict(&dir, 0o700)?;
        }
        Ok(())
    }

    /// Whether the last node stopped in an orderly way; it does not count for the next one.
    fn forget_stop(&self) -> io::Result<bool> {
        match fs::remove_file(self.root.join("stopped")) {
            Ok(()) => {
                // Before anything else is written: it must not come back after a loss of power.
                File::open(&self.root)?.sync_all()?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the last node here stopped in an orderly way, so that what it wrote is whole.
    #[must_use]
    pub fn was_stopped(&self) -> bool {
        self.was_stopped
    }

    /// Notes that everything is written and closed.
    pub fn note_stop(&self) -> io::Result<()> {
        write_durably(&self.root.join("stopped"), b"")
    }

    fn check_format(&self) -> Result<(), HomeError> {
        let file = self.root.join("format");
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return write_durably(&file, format!("{FORMAT}\n").as_bytes()).map_err(|e| self.io(e));
            }
            Err(error) => return Err(self.io(error)),
        };
        match text.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(HomeError::Newer(self.root.clone())),
            Ok(_) => Ok(()),
            Err(_) => Err(HomeError::NotAHome(self.root.clone())),
        }
    }

    /// Whether there is an identity already.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.root.join("identity.key").exists()
    }

    /// The node's identity: made on first use, from `fresh_seed`.
    pub fn identity(&self, fresh_seed: impl FnOnce() -> [u8; 32]) -> Result<Identity, HomeError> {
        let file = self.root.join("identity.key");
        match fs::read(&file) {
            Ok(bytes) => {
                let seed: [u8; 32] = bytes.try_into().map_err(|_| HomeError::Identity(self.root.clone()))?;
                Ok(Identity::from_seed(&seed))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seed = fresh_seed();
                write_durably(&file, &seed).map_err(|error| self.io(error))?;
                Ok(Identity::from_seed(&seed))
            }
            Err(error) => Err(self.io(error)),
        }
    }

    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("parlor.db")
    }

    /// Where the bundles are.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    /// Where agents' compiled code is kept: a cache.
    #[must_use]
    pub fn compiled(&self) -> PathBuf {
        self.root.join("compiled")
    }

    /// Where the files are with which the browser is started: none outlives the node for long.
    #[must_use]
    pub fn browser(&self) -> PathBuf {
        self.root.join("browser")
    }

    /// The directory itself, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn io(&self, source: io::Error) -> HomeError {
        HomeError::Io { path: self.root.clone(), source }
    }
}

/// The Unix socket of the node that runs in `home`.
///
/// A socket's path is limited to about 100 bytes; one that is longer moves to the system's temporary
/// directory, under a name derived from the home's.
#[must_use]
pub fn control_socket(home: &Path) -> PathBuf {
    const LONGEST: usize = 100;
    let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
    let inside = home.join("control.sock");
    if inside.as_os_str().len() <= LONGEST {
        return inside;
    }
    let name = blake3::hash(home.as_os_str().as_encoded_bytes()).to_hex();
    std::env::temp_dir().join(format!("parlor-{}.sock", &name[..32]))
}

/// The platform's data directory for Parlor.
#[must_use]
pub fn default_home() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "parlor").map(|dirs| dirs.data_dir().to_owned())
}

/// Makes a file if there is none, for its owner alone.
pub(crate) fn create_private(file: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(0o600).open(file) {
        // Whatever the umask says.
        Ok(file) => file.set_permissions(fs::Permissions::from_mode(0o600)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The database takes no other paths.
fn check_text(root: &Path) -> Result<(), HomeError> {
    match root.to_str() {
        Some(_) => Ok(()),
        None => Err(HomeError::NotUnicode(root.display().to_string())),
    }
}

/// Sets the permissions of what is there.
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    match fs::metadata(path)?.permissions().mode() & 0o7777 == mode {
        true => Ok(()),
        false => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    }
}

/// Writes a small private file so that a crash leaves the old content, or all of the new.
fn write_durably(file: &Path, content: &[u8]) -> io::Result<()> {
    whole_file::write(file, content, Readers::Owner, Existing::Replace)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_node_a_home_and_the_identity_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = Home::open(dir.path()).unwrap();
        let peer = first.identity(|| [5; 32]).unwrap().peer();
        assert!(matches!(Home::open(dir.path()), Err(HomeError::InUse(_))));
        drop(first);
        let again = Home::open(dir.path()).unwrap();
        assert_eq!(again.identity(|| [6; 32]).unwrap().peer(), peer);
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_home_of_its_own_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("new")).unwrap();
        assert_eq!(mode(home.root()), 0o700);
    }

    #[test]
    fn a_directory_that_was_there_stays_as_it_is_and_what_is_in_it_is_private() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        for open in ["parlor.db", "parlor.db-wal", "identity.key"] {
            fs::write(dir.path().join(open), [0; 32]).unwrap();
            fs::set_permissions(dir.path().join(open), fs::Permissions::from_mode(0o644)).unwrap();
        }
        fs::create_dir(dir.path().join("programs")).unwrap();
        fs::write(dir.path().join("somebody else's"), b"").unwrap();
        let other = mode(&dir.path().join("somebody else's"));
        let home = Home::open(dir.path()).unwrap();
        home.identity(|| [5; 32]).unwrap();
        create_private(&home.root().join("fresh")).unwrap();
        home.note_stop().unwrap();
        assert_eq!(mode(home.root()), 0o1777);
        assert_eq!(mode(&dir.path().join("somebody else's")), other);
        for entry in fs::read_dir(home.root()).unwrap().map(Result::unwrap) {
            let expected = if entry.path().is_dir() { 0o700 } else { 0o600 };
            if entry.file_name() != "somebody else's" {
                assert_eq!(mode(&entry.path()), expected, "{entry:?}");
            }
        }
    }

    #[test]
    fn a_path_that_is_no_text_is_refused_with_a_reason() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let dir = tempfile::tempdir().unwrap();
        let error = Home::open(&dir.path().join(OsStr::from_bytes(b"caf\xe9"))).unwrap_err();
        assert!(error.to_string().ends_with("a home's path is UTF-8: choose another --home"), "{error}");
    }

    #[test]
    fn an_orderly_stop_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        assert!(!home.was_stopped());
        home.note_stop().unwrap();
        drop(home);
        assert!(Home::open(dir.path()).unwrap().was_stopped());
        assert!(!Home::open(dir.path()).unwrap().was_stopped(), "the one before was dropped");
    }

    #[test]
    fn a_newer_home_is_left_untouched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("format"), "2\n").unwrap();
        assert!(matches!(Home::open(dir.path()), Err(HomeError::Newer(_))));
        fs::write(dir.path().join("format"), "junk").unwrap();
        assert!(matches!(Home::open(dir.path()), Err(HomeError::NotAHome(_))));
    }

    #[test]
    fn a_damaged_identity_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("identity.key"), b"short").unwrap();
        let home = Home::open(dir.path()).unwrap();
        assert!(matches!(home.identity(|| [5; 32]), Err(HomeError::Identity(_))));
    }
}
