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
//! HOME/control.sock   where the other verbs reach the running node
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use parlor_proto::identity::Identity;

/// Version of the layout above. A home with a higher one is left untouched.
const FORMAT: u32 = 1;

/// An opened home. While this value lives, no other node can open the same one.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    _lock: File,
}

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
    #[error("cannot use {path} as home: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl Home {
    /// Opens the home at `root`, and makes it if it is not there.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        let io = |source| HomeError::Io { path: root.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(io)?;
        let root = root.canonicalize().map_err(io)?;
        // Also where somebody made the directory before: what is in it is nobody else's business.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).map_err(io)?;
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
        let home = Self { root, _lock: lock };
        home.check_format()?;
        Ok(home)
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

/// Writes a small private file so that a crash leaves the old content, or all of the new.
fn write_durably(file: &Path, content: &[u8]) -> io::Result<()> {
    let parent = file.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(parent)?;
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    File::open(parent)?.sync_all()
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

    #[test]
    fn nobody_else_can_look_into_a_home() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = Home::open(dir.path()).unwrap();
        assert_eq!(fs::metadata(home.root()).unwrap().permissions().mode() & 0o777, 0o700);
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
