//! Where the nodes of one story live.
//!
//! For: a directory that goes away with the story, and finding the binary under test. Not for: what happens
//! there.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::node::{Node, Setup};

/// A scratch directory with the homes of a story's nodes.
pub struct World {
    dir: TempDir,
}

impl World {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    #[must_use]
    pub fn new() -> Self {
        // Short, because a Unix socket's path has room for 107 bytes only.
        let dir = tempfile::Builder::new().prefix("parlor-").tempdir().expect("a scratch directory");
        Self { dir }
    }

    /// The scratch directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A place for a file or directory of the story.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A node on loopback that is about to be started, to be adjusted first.
    #[must_use]
    pub fn setup(&self, name: &str) -> Setup {
        Setup::on_loopback(name, self.file(name))
    }

    /// A running node on loopback.
    #[must_use]
    pub fn node(&self, name: &str) -> Node {
        self.setup(name).up()
    }
}

/// The bytes of a golden fixture, `rights/slot` say: hex, in which `#` starts a comment.
#[must_use]
pub fn fixture(name: &str) -> Vec<u8> {
    let dump = std::fs::read_to_string(repository().join(format!("proto/fixtures/{name}.hex")));
    let dump = dump.expect("the fixture's file");
    let code = dump.lines().filter_map(|line| line.split('#').next());
    let digits: Vec<char> = code.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex digits");
    digits.chunks(2).map(byte).collect()
}

/// The binary under test: `PARLOR_BIN`, or the `parlor` that cargo built beside this test.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PARLOR_BIN") {
        return path.into();
    }
    // target/<profile>/deps/<this test>
    let test = std::env::current_exe().expect("a test knows its own path");
    let beside = test.ancestors().nth(2).map(|profile| profile.join("parlor"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| {
        panic!("no `parlor` beside {}: build it first (tests/run does), or set PARLOR_BIN", test.display())
    })
}

/// The workspace's root.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests' crate lies in the workspace").to_path_buf()
}
