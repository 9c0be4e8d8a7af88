//! A card: one bundle in one file, to be carried by hand (design section 2, step 2).
//!
//! For: [`write_card`] and [`read_card`]. Not for: what the note beside the program says (a ticket or slot, an
//! address); it is passed through as bytes.
//!
//! The file is a plain zip: `card.cbor` (the note), `manifest.cbor`, `files/<path>`. Whatever is read from it
//! is verified against the manifest chunk by chunk, like what comes over the network, so that a card can be no
//! bigger than the program it says it is.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use parlor_proto::program::{
    CHUNK_SIZE, ChunkIndex, MAX_FILES, MAX_MANIFEST_SIZE, ManifestError, Program, Role,
};
use zip::{
    CompressionMethod, ZipReadOptions, ZipWriter,
    result::ZipError,
    unstable::read::{ZipIterable, ZipIterableFiles},
    write::SimpleFileOptions,
};

use super::{Bundle, BundleError, Bundles, FILES_DIR, MANIFEST_FILE};
use crate::{
    program::fill,
    whole_file::{Existing, Readers, WholeFile},
};

/// The longest note on a card, bytes.
pub const MAX_NOTE: usize = 64 * 1024;

const NOTE_FILE: &str = "card.cbor";

/// Why a card cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The card's file cannot be used.
    #[error("{path} cannot be used: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a zip file, or a damaged one.
    #[error("this is not a card, or a damaged one: {0}")]
    Zip(#[source] ZipError),
    /// A part is missing, too long, there twice, or does not belong there.
    #[error("this is not a card: its part {0:?} is missing, out of place or too long")]
    Part(String),
    /// The manifest cannot be used.
    #[error("the card's program cannot be used: {0}")]
    Manifest(#[from] ManifestError),
    /// Bytes that are not what the manifest says.
    #[error("the card is damaged: {0:?} is not what the manifest says")]
    Content(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] BundleError),
}

/// Writes a copy for `role` and a note to a file, which is there in the end with all its bytes or not at all.
pub fn write_card(bundle: &Bundle, role: Role, note: &[u8], to: &Path) -> Result<(), CardError> {
    if note.len() > MAX_NOTE {
        return Err(CardError::Part(NOTE_FILE.to_owned()));
    }
    if bundle.complete() < Some(role) {
        return Err(BundleError::Incomplete.into());
    }
    let failed = |source| CardError::File { path: to.to_owned(), source };
    let mut card = WholeFile::at(to, Readers::AsUsual).map_err(failed)?;
    write_zip(bundle, role, note, BufWriter::new(card.file())).map_err(|error| match error {
        CardError::Zip(ZipError::Io(source)) => failed(source),
        other => other,
    })?;
    card.put(Existing::Replace).map_err(failed)
}

fn write_zip(bundle: &Bundle, role: Role, note: &[u8], to: impl Write + Seek) -> Result<(), CardError> {
    let io = |error| CardError::Zip(ZipError::Io(error));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(to);
    for (name, bytes) in [(NOTE_FILE, note), (MANIFEST_FILE, bundle.program().bytes())] {
        zip.start_file(name, options).map_err(CardError::Zip)?;
        zip.write_all(bytes).map_err(io)?;
    }
    let mut buffer = vec![0; CHUNK_SIZE as usize];
    for (index, entry) in bundle.program().files_for(role) {
        zip.start_file(format!("{FILES_DIR}/{}", entry.path), options).map_err(CardError::Zip)?;
        for chunk in bundle.program().chunks_of_file(index) {
            let len = bundle.read_chunk(ChunkIndex(chunk), &mut buffer)?;
            zip.write_all(&buffer[..len]).map_err(io)?;
        }
    }
    zip.finish().map_err(CardError::Zip)?.flush().map_err(io)
}

/// Reads a card: the bundle, complete for everyone or the host, and the note. If the card is bad, nothing of
/// it is left on the shelf that was not there before.
pub fn read_card(from: &Path, shelf: &Bundles) -> Result<(Arc<Bundle>, Vec<u8>), CardError> {
    let failed = |source| CardError::File { path: from.to_owned(), source };
    let file = File::open(from).map_err(failed)?;
    let mut zip = ZipIterable::try_new(BufReader::new(file), Default::default()).map_err(CardError::Zip)?;
    if zip.len() > MAX_FILES + 2 {
        return Err(CardError::Part("files".to_owned()));
    }
    let parts = zip.files().map_err(CardError::Zip)?;
    let note = read_part(parts, NOTE_FILE, MAX_NOTE)?;
    let program = Program::decode(read_part(parts, MANIFEST_FILE, MAX_MANIFEST_SIZE)?)?;
    let was_there = shelf.get(program.id())?.is_some();
    let bundle = shelf.create(&program)?;
    if let Err(error) = read_files(&bundle, parts) {
        if !was_there {
            shelf.remove(program.id())?;
        }
        return Err(error);
    }
    bundle.settle()?;
    Ok((bundle, note))
}

fn read_part<R: Read + Seek>(
    parts: &mut ZipIterableFiles<R>,
    name: &str,
    longest: usize,
) -> Result<Vec<u8>, CardError> {
    let wrong = || CardError::Part(name.to_owned());
    let entry = parts.next().ok_or_else(wrong)?.map_err(CardError::Zip)?;
    if entry.name_raw() != name.as_bytes() || entry.encrypted() {
        return Err(wrong());
    }
    let mut bytes = Vec::new();
    let file = entry.with_reader(parts.reader_mut(), ZipReadOptions::new()).map_err(CardError::Zip)?;
    let io = |error| CardError::Zip(ZipError::Io(error));
    file.take(longest as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > longest { Err(wrong()) } else { Ok(bytes) }
}

fn read_files<R: Read + Seek>(bundle: &Bundle, parts: &mut ZipIterableFiles<R>) -> Result<(), CardError> {
    // Laid out for everyone first: that the card has the host's files shows at the first of them.
    bundle.lay_out(Role::Everyone)?;
    let mut buffer = vec![0; CHUNK_SIZE as usize];
    // In the manifest's order, so that none comes twice: many names for one long file would take for ever.
    let mut next = 0;
    while let Some(entry) = parts.next() {
        let entry = entry.map_err(CardError::Zip)?;
        let name = entry.name().map_err(CardError::Zip)?.into_owned();
        let path = name.strip_prefix(FILES_DIR).and_then(|name| name.strip_prefix('/'));
        let index = path.and_then(|path| bundle.program().find(path));
        let Some(index) = index.filter(|index| *index >= next && !entry.encrypted()) else {
            return Err(CardError::Part(name));
        };
        next = index + 1;
        bundle.lay_out(bundle.program().manifest().files[index].role)?;
        let mut file =
            entry.with_reader(parts.reader_mut(), ZipReadOptions::new()).map_err(CardError::Zip)?;
        for chunk in bundle.program().chunks_of_file(index).map(ChunkIndex) {
            let len = fill(&mut file, &mut buffer).map_err(|error| CardError::Zip(ZipError::Io(error)))?;
            if bundle.write_chunks(&[(chunk, &buffer[..len])])?.bad.is_some() {
                return Err(CardError::Content(name));
            }
        }
    }
    bundle.complete().map(drop).ok_or(CardError::Part("files".to_owned()))
}
