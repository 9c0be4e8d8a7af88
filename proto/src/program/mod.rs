//! What a program is: a named, versioned, content-addressed bundle of files that a group runs.
//!
//! For: the manifest, which lists a program's files with their roles, sizes and chunk hashes; the names and
//! paths that may stand in it; the program's flat list of chunks. Not for: the files themselves, where they
//! lie and how they travel (see [`crate::content`] and the node's store).
//!
//! The idea: a program's id is the BLAKE3 hash of its manifest's bytes as received, and the manifest has the
//! BLAKE3 hash of every chunk. So whoever knows the id can check each chunk by itself, from whoever it came,
//! and a member's copy can simply lack the files that only the host gets. Everything here is decided by the
//! manifest alone: [`Program`] is the proof that its bytes were decoded and found consistent.

mod chunks;
mod manifest;
mod name;
mod pack;
mod path;
#[cfg(test)]
mod tests;
mod wire;

pub use chunks::{Chunk, ChunkIndex, ChunkSet, MAX_CHUNKS};
pub use manifest::{
    AGENT_FILE, AgentWishes, CopiesRefusal, CopiesRule, CopiesRuleError, DEFAULT_COPIES, FileEntry,
    HOST_AGENT_FILE, Manifest, ManifestError, Program, Role,
};
pub use name::{
    MAX_NAME_LEN, MAX_SUMMARY_LEN, MAX_TITLE_LEN, MAX_VERSION_LEN, ProgramName, ProgramNameError,
    is_display_text,
};
pub use pack::{Levels, LevelsError, Pack};
pub use path::{FilePath, FilePathError, MAX_COMPONENT_LEN, MAX_DEPTH, MAX_PATH_LEN, find_collision};

/// Size of every chunk but a file's last, bytes.
pub const CHUNK_SIZE: u32 = 64 * 1024;

/// The most a program's files may add up to, bytes (1 GiB).
pub const MAX_PROGRAM_SIZE: u64 = 1 << 30;

/// The most files a program may have.
pub const MAX_FILES: usize = 10_000;

/// The most a manifest may take, bytes (4 MiB): enough for [`MAX_FILES`] files and [`MAX_PROGRAM_SIZE`] bytes.
pub const MAX_MANIFEST_SIZE: usize = 4 << 20;
