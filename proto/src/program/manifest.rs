//! The manifest, and the program it describes.
//!
//! For: [`Manifest`], what an origin writes; [`Program`], a manifest that was checked, with the bytes that its
//! id is the hash of. Not for: how those bytes look (see the private `wire`).

use std::{fmt, ops::Range};

use serde::{Deserialize, Serialize};

use super::{
    CHUNK_SIZE, Chunk, ChunkIndex, ChunkSet, FilePath, FilePathError, MAX_FILES, MAX_MANIFEST_SIZE,
    MAX_PROGRAM_SIZE, MAX_SUMMARY_LEN, MAX_TITLE_LEN, MAX_VERSION_LEN, Pack, ProgramName, find_collision,
    is_display_text, wire,
};
use crate::ids::{ChunkHash, ProgramId};

/// Who gets a file; and, of a copy, whose it is. The host gets everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Host and members.
    Everyone,
    /// The host alone.
    Host,
}

impl Role {
    /// Whether a copy for this role has the files of `file`'s role.
    #[must_use]
    pub fn gets(self, file: Self) -> bool {
        self == Self::Host || file == Self::Everyone
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everyone => "everyone",
            Self::Host => "host",
        })
    }
}

/// How many copies a host may ask a ticket for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "wire::Copies", into = "wire::Copies")]
pub enum CopiesRule {
    /// Any number.
    Free,
    /// This number and no other; at least 1.
    Exactly(u32),
    /// A number from `min` to `max`, both included; at least 1, and not equal.
    Range {
        /// The fewest.
        min: u32,
        /// The most.
        max: u32,
    },
}

/// A rule that allows no number of copies, or is written in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rule for copies allows none: a number from 1, or min and max with 1 <= min <= max, is wanted")]
pub struct CopiesRuleError;

/// Copies of a ticket whose host named no number and pays nothing for them.
pub const DEFAULT_COPIES: u32 = 16;

/// An origin's policy does not allow the number of copies that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{asked} copies of this program cannot be had: ask for {rule}")]
pub struct CopiesRefusal {
    /// What was asked for.
    pub asked: u32,
    /// What is allowed.
    pub rule: CopiesRule,
}

impl std::fmt::Display for CopiesRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Free => write!(f, "any number from 1"),
            Self::Exactly(n) => write!(f, "exactly {n}"),
            Self::Range { min, max } => write!(f, "{min} to {max}"),
        }
    }
}

impl CopiesRule {
    /// The rule for `min` to `max` copies, in its one form.
    pub fn between(min: u32, max: u32) -> Result<Self, CopiesRuleError> {
        match (min, max) {
            (0, _) => Err(CopiesRuleError),
            _ if min > max => Err(CopiesRuleError),
            _ if min == max => Ok(Self::Exactly(min)),
            _ => Ok(Self::Range { min, max }),
        }
    }

    /// ST10-11: the origin's decision: how many copies a host gets that asks for `asked`, or for none in
    /// particular. Then it is the most that is allowed, up to [`DEFAULT_COPIES`], where copies cost the host
    /// nothing, else the fewest.
    pub fn approve(self, asked: Option<u32>, costly: bool) -> Result<u32, CopiesRefusal> {
        let copies = asked.unwrap_or(match self {
            Self::Exactly(n) => n,
            Self::Free if costly => 1,
            Self::Free => DEFAULT_COPIES,
            Self::Range { min, .. } if costly => min,
            Self::Range { min, max } => max.min(DEFAULT_COPIES).max(min),
        });
        if self.allows(copies) { Ok(copies) } else { Err(CopiesRefusal { asked: copies, rule: self }) }
    }

    /// Whether a ticket for `copies` may be asked for.
    #[must_use]
    pub fn allows(self, copies: u32) -> bool {
        match self {
            Self::Free => copies > 0,
            Self::Exactly(wanted) => copies == wanted,
            Self::Range { min, max } => (min..=max).contains(&copies),
        }
    }
}

/// A file of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it lies in the program.
    pub path: FilePath,
    /// Who gets it.
    pub role: Role,
    /// Its length, bytes.
    pub size: u64,
    /// BLAKE3 of each [`CHUNK_SIZE`] bytes of it; the last may be shorter. None for an empty file.
    pub chunks: Vec<ChunkHash>,
}

/// What an origin says about a program, and a list of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The name that people type.
    pub name: ProgramName,
    /// The name that people see; up to [`MAX_TITLE_LEN`] characters.
    pub title: String,
    /// The version, as the origin writes it; up to [`MAX_VERSION_LEN`] characters.
    pub version: String,
    /// What it is, in a sentence; up to [`MAX_SUMMARY_LEN`] characters.
    pub summary: Option<String>,
    /// How many copies may be asked for.
    pub copies: CopiesRule,
    /// What its agents ask for.
    pub agent: AgentWishes,
    /// What it is content for, if it is a pack.
    pub pack: Option<Pack>,
    /// The files, in the order of their paths' bytes.
    pub files: Vec<FileEntry>,
}

/// What a program's agents ask for; a node gives no more than it gives anybody. What is not there, the node chooses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentWishes {
    /// Memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What one event may take, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_ms: Option<u32>,
    /// Realtime messages and updates a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_second: Option<u32>,
    /// What it may keep in each scope, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<u64>,
    /// Lines for the terminal and values for the page a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_per_second: Option<u32>,
    /// How often it gets a tick, milliseconds; without, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick_ms: Option<u32>,
}

impl AgentWishes {
    /// Whether there is nothing that it asks for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The agent that everyone gets: a component.
pub const AGENT_FILE: &str = "agent.wasm";
/// The host part: a component that only the host gets.
pub const HOST_AGENT_FILE: &str = "host.wasm";

/// Why bytes are not a program's manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MAX_MANIFEST_SIZE`].
    #[error("the manifest takes {0} bytes; at most {MAX_MANIFEST_SIZE} are allowed")]
    TooLarge(usize),
    /// Another hash than that of the program that was wanted.
    #[error("this is the manifest of another program")]
    OtherProgram {
        /// The one that was wanted.
        wanted: ProgramId,
        /// The one that these bytes are of.
        found: ProgramId,
    },
    /// Not CBOR, or not of the expected shape.
    #[error("the manifest cannot be read")]
    Malformed(#[source] wire::Malformed),
    /// Of a later format than this Parlor knows.
    #[error("the manifest is of format {0}, which needs a newer Parlor")]
    Format(u64),
    /// A text is empty, too long, or holds characters that must not reach a screen.
    #[error("the program's {0} is empty, too long or has control characters")]
    Text(&'static str),
    /// A path that could name a place outside the program, or is not portable.
    #[error("the path {path:?} cannot be used: {source}")]
    Path {
        /// The path, as it stands there.
        path: String,
        /// What is wrong with it.
        source: FilePathError,
    },
    /// No file at all.
    #[error("the program has no files")]
    NoFiles,
    /// More than [`MAX_FILES`].
    #[error("the program has {0} files; at most {MAX_FILES} are allowed")]
    TooManyFiles(usize),
    /// The files are not in the order of their paths.
    #[error("the manifest's files are not in order at {0}")]
    Order(FilePath),
    /// Two paths that are the same on some systems, or a file where another needs a folder.
    #[error("the files {0} and {1} cannot both exist on every system")]
    Collision(FilePath, FilePath),
    /// The number of hashes does not fit the file's size.
    #[error("the manifest's size of {0} does not fit its chunks")]
    Chunks(FilePath),
    /// The files add up to more than [`MAX_PROGRAM_SIZE`].
    #[error("the program is larger than {} MiB", MAX_PROGRAM_SIZE >> 20)]
    TooBig,
    /// A rule for copies that allows none.
    #[error(transparent)]
    Copies(#[from] CopiesRuleError),
}

/// A manifest that was found consistent, and the bytes that its id is the hash of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    id: ProgramId,
    manifest: Manifest,
    bytes: Vec<u8>,
    /// Of each file, the number of its first chunk; and at the end, the number of chunks.
    first_chunk: Vec<u32>,
}

impl Program {
    /// Checks a manifest and writes it down: how a program comes into being.
    pub fn new(manifest: Manifest) -> Result<Self, ManifestError> {
        // Checked before it is written, so that what is written can be read again.
        check(&manifest)?;
        let bytes = wire::encode(&manifest);
        if bytes.len() > MAX_MANIFEST_SIZE {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        Ok(Self::checked(manifest, bytes))
    }

    /// Reads and checks a manifest of whatever program.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_SIZE {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let manifest = wire::decode(&bytes)?;
        check(&manifest)?;
        Ok(Self::checked(manifest, bytes))
    }

    /// Reads and checks the manifest of the program `wanted`. Bytes of another are not even parsed.
    pub fn decode_expecting(bytes: Vec<u8>, wanted: ProgramId) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_SIZE {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let found = id_of(&bytes);
        if found != wanted {
            return Err(ManifestError::OtherProgram { wanted, found });
        }
        Self::decode(bytes)
    }

    /// The program's name by content.
    #[must_use]
    pub fn id(&self) -> ProgramId {
        self.id
    }

    /// What the origin says about it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest's bytes, as they were received: what [`Self::id`] is the hash of.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many chunks all its files have.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        self.first_chunk.last().copied().unwrap_or(0)
    }

    /// Where a chunk lies and what it is; `None` for a number that the program does not have.
    #[must_use]
    pub fn chunk(&self, index: ChunkIndex) -> Option<Chunk> {
        if index.0 >= self.chunk_count() {
            return None;
        }
        // The last file that starts at or before the chunk; empty files before it start there too.
        let file = self.first_chunk.partition_point(|&first| first <= index.0) - 1;
        let within = index.0 - self.first_chunk[file];
        let entry = &self.manifest.files[file];
        let offset = u64::from(within) * u64::from(CHUNK_SIZE);
        let len = u32::try_from(entry.size - offset).unwrap_or(u32::MAX).min(CHUNK_SIZE);
        Some(Chunk { file, offset, len, hash: entry.chunks[within as usize] })
    }

    /// The numbers of a file's chunks; none for a file that the program does not have.
    #[must_use]
    pub fn chunks_of_file(&self, file: usize) -> Range<u32> {
        match self.first_chunk.get(file..).unwrap_or_default() {
            [first, end, ..] => *first..*end,
            _ => 0..0,
        }
    }

    /// The files of a copy for `role`, with their places in the manifest's list.
    pub fn files_for(&self, role: Role) -> impl Iterator<Item = (usize, &FileEntry)> {
        self.manifest.files.iter().enumerate().filter(move |(_, file)| role.gets(file.role))
    }

    /// The chunks of a copy for `role`: a member's lacks the host's files.
    #[must_use]
    pub fn chunks_for(&self, role: Role) -> ChunkSet {
        let mut set = ChunkSet::empty(self.chunk_count());
        for (file, _) in self.files_for(role) {
            set.insert_range(self.chunks_of_file(file));
        }
        set
    }

    /// What the files of a copy for `role` add up to, bytes.
    #[must_use]
    pub fn size_for(&self, role: Role) -> u64 {
        self.files_for(role).map(|(_, file)| file.size).sum()
    }

    /// What some chunks add up to, bytes.
    #[must_use]
    pub fn size_of(&self, chunks: &ChunkSet) -> u64 {
        chunks.iter().filter_map(|index| self.chunk(index)).map(|chunk| u64::from(chunk.len)).sum()
    }

    /// The place of a file in the manifest's list.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<usize> {
        self.manifest.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()
    }

    fn checked(manifest: Manifest, bytes: Vec<u8>) -> Self {
        let mut first_chunk = Vec::with_capacity(manifest.files.len() + 1);
        let mut next = 0u32;
        first_chunk.push(next);
        for file in &manifest.files {
            // Cannot overflow: `check` bounds the chunks by the program's size.
            next += u32::try_from(file.chunks.len()).unwrap_or(0);
            first_chunk.push(next);
        }
        Self { id: id_of(&bytes), manifest, bytes, first_chunk }
    }
}

fn id_of(bytes: &[u8]) -> ProgramId {
    ProgramId(*blake3::hash(bytes).as_bytes())
}

fn check(manifest: &Manifest) -> Result<(), ManifestError> {
    let texts = [
        ("title", Some(&manifest.title), MAX_TITLE_LEN),
        ("version", Some(&manifest.version), MAX_VERSION_LEN),
        ("summary", manifest.summary.as_ref(), MAX_SUMMARY_LEN),
    ];
    for (what, text, max) in texts {
        if text.is_some_and(|text| !is_display_text(text, max)) {
            return Err(ManifestError::Text(what));
        }
    }
    match manifest.copies {
        CopiesRule::Exactly(0) => return Err(CopiesRuleError.into()),
        CopiesRule::Range { min, max } if min == 0 || min >= max => return Err(CopiesRuleError.into()),
        _ => {}
    }
    if manifest.files.is_empty() {
        return Err(ManifestError::NoFiles);
    }
    if manifest.files.len() > MAX_FILES {
        return Err(ManifestError::TooManyFiles(manifest.files.len()));
    }
    check_sizes(&manifest.files)?;
    check_paths(&manifest.files)
}

fn check_sizes(files: &[FileEntry]) -> Result<(), ManifestError> {
    let mut total = 0u64;
    for file in files {
        if file.size > MAX_PROGRAM_SIZE {
            return Err(ManifestError::TooBig);
        }
        if file.chunks.len() as u64 != file.size.div_ceil(u64::from(CHUNK_SIZE)) {
            return Err(ManifestError::Chunks(file.path.clone()));
        }
        total += file.size;
        if total > MAX_PROGRAM_SIZE {
            return Err(ManifestError::TooBig);
        }
    }
    Ok(())
}

fn check_paths(files: &[FileEntry]) -> Result<(), ManifestError> {
    for pair in files.windows(2) {
        if pair[0].path >= pair[1].path {
            return Err(ManifestError::Order(pair[1].path.clone()));
        }
    }
    match find_collision(files.iter().map(|file| &file.path)) {
        Some((a, b)) => Err(ManifestError::Collision(a.clone(), b.clone())),
        None => Ok(()),
    }
}
