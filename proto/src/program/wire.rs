//! How a manifest looks in bytes: a CBOR map (RFC 8949) with text keys, private and versioned.
//!
//! For: turning a [`Manifest`] into bytes and back. Not for: checking it (`manifest` does). Keys that this
//! version does not know are skipped; what an older node must not overlook takes a new [`FORMAT`]. The hashes
//! of a file's chunks are one byte string, 32 bytes each.

use std::convert::Infallible;

use cbor4ii::{
    core::{dec::Read as _, utils::SliceReader},
    serde::{DecodeError, Deserializer},
};
use serde::{Deserialize, Serialize};

use super::{
    AgentWishes, CopiesRule, CopiesRuleError, FileEntry, FilePath, MAX_FILES, Manifest, ManifestError, Pack,
    ProgramName, Role,
};
use crate::ids::ChunkHash;

/// The format written here, and the highest that is read.
const FORMAT: u64 = 1;

/// Length of a [`ChunkHash`], bytes.
const HASH_LEN: usize = 32;

/// What is wrong with bytes that should be a manifest.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not CBOR, or not the map that is wanted.
    #[error("it is not CBOR of the expected shape")]
    Cbor(#[source] DecodeError<Infallible>),
    /// Something follows the manifest.
    #[error("there are bytes after its end")]
    Trailing,
    /// A hash is cut off.
    #[error("the hashes of {0} are not {HASH_LEN} bytes each")]
    Hashes(String),
}

/// Read by itself first: a later format may have any other shape.
#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    format: u64,
    name: ProgramName,
    title: String,
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    copies: CopiesRule,
    #[serde(default, skip_serializing_if = "AgentWishes::is_empty")]
    agent: AgentWishes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pack: Option<Pack>,
    files: Vec<File>,
}

#[derive(Serialize, Deserialize)]
struct File {
    path: String,
    role: Role,
    size: u64,
    #[serde(with = "serde_bytes")]
    chunks: Vec<u8>,
}

/// How many copies: no bound is a key that is not there.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Copies {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<u32>,
}

impl From<CopiesRule> for Copies {
    fn from(rule: CopiesRule) -> Self {
        match rule {
            CopiesRule::Free => Self { min: None, max: None },
            CopiesRule::Exactly(copies) => Self { min: Some(copies), max: Some(copies) },
            CopiesRule::Range { min, max } => Self { min: Some(min), max: Some(max) },
        }
    }
}

impl TryFrom<Copies> for CopiesRule {
    type Error = CopiesRuleError;

    fn try_from(copies: Copies) -> Result<Self, CopiesRuleError> {
        match (copies.min, copies.max) {
            (None, None) => Ok(Self::Free),
            (min, max) => Self::between(min.unwrap_or(1), max.unwrap_or(u32::MAX)),
        }
    }
}

pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let file = |file: &FileEntry| File {
        path: file.path.as_str().to_owned(),
        role: file.role,
        size: file.size,
        chunks: file.chunks.iter().flat_map(|hash| hash.0).collect(),
    };
    let wire = Wire {
        format: FORMAT,
        name: manifest.name.clone(),
        title: manifest.title.clone(),
        version: manifest.version.clone(),
        summary: manifest.summary.clone(),
        copies: manifest.copies,
        agent: manifest.agent.clone(),
        pack: manifest.pack.clone(),
        files: manifest.files.iter().map(file).collect(),
    };
    cbor4ii::serde::to_vec(Vec::new(), &wire).expect("texts, numbers and bytes are written to memory")
}

pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let versioned: Versioned = read(bytes)?;
    if versioned.format != FORMAT {
        return Err(ManifestError::Format(versioned.format));
    }
    let wire: Wire = read(bytes)?;
    if wire.files.len() > MAX_FILES {
        return Err(ManifestError::TooManyFiles(wire.files.len()));
    }
    Ok(Manifest {
        name: wire.name,
        title: wire.title,
        version: wire.version,
        summary: wire.summary,
        copies: wire.copies,
        agent: wire.agent,
        pack: wire.pack,
        files: wire.files.into_iter().map(file).collect::<Result<_, _>>()?,
    })
}

fn file(file: File) -> Result<FileEntry, ManifestError> {
    let path = FilePath::new(&file.path)
        .map_err(|source| ManifestError::Path { path: file.path.clone(), source })?;
    let (hashes, []) = file.chunks.as_chunks::<HASH_LEN>() else {
        return Err(ManifestError::Malformed(Malformed::Hashes(file.path)));
    };
    Ok(FileEntry {
        path,
        role: file.role,
        size: file.size,
        chunks: hashes.iter().map(|h| ChunkHash(*h)).collect(),
    })
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ManifestError> {
    let cbor = |error| ManifestError::Malformed(Malformed::Cbor(error));
    let mut decoder = Deserializer::new(SliceReader::new(bytes));
    let value = T::deserialize(&mut decoder).map_err(cbor)?;
    let mut rest = decoder.into_inner();
    match rest.fill(1) {
        Ok(rest) if rest.as_ref().is_empty() => Ok(value),
        _ => Err(ManifestError::Malformed(Malformed::Trailing)),
    }
}
