//! An `.xdc` file, that is, a zip, as the source of a program. It may come from a stranger.
//!
//! The directory of the zip is read twice over: once to refuse what can be refused before anything is
//! unpacked, and then file by file, each unpacked to no more than it said.

use std::{
    fs::File,
    io::{BufReader, Read},
};

use parlor_proto::program::FilePath;
use zip::{ZipReadOptions, read::OwnedZipFileEntry, unstable::read::ZipIterable};

use super::{EntryError, ImportError, Item, MAX_ENTRIES, Source, is_litter};

/// How many times its size a file may unpack to. Ordinary programs stay below 10; the format allows 1032.
const MAX_RATIO: u64 = 200;

/// What any file may unpack to, whatever its ratio, bytes: empty maps and blank pictures pack well.
const RATIO_FLOOR: u64 = 16 << 20;

/// An `.xdc` file whose entries were listed and checked.
pub(super) struct Xdc {
    reader: BufReader<File>,
    /// Length of the file, bytes.
    packed: u64,
    items: Vec<Item<OwnedZipFileEntry>>,
}

impl Xdc {
    /// Lists the files and refuses what needs no unpacking to be refused.
    pub(super) fn list(file: File) -> Result<Self, ImportError> {
        let packed = file.metadata().map_err(|error| ImportError::Zip(error.into()))?.len();
        let second = file.try_clone().map_err(|error| ImportError::Zip(error.into()))?;
        let zip = ZipIterable::try_new(BufReader::new(file), Default::default()).map_err(ImportError::Zip)?;
        // The two directories of a zip must agree: programs that read one or the other must see the same.
        let mut zip = zip.enforce_header_consistency(true);
        if zip.len() > MAX_ENTRIES {
            return Err(ImportError::TooManyFiles);
        }
        let mut items = Vec::new();
        for entry in zip.files().map_err(ImportError::Zip)? {
            items.extend(check(entry.map_err(ImportError::Zip)?.into())?);
        }
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, second), packed, items })
    }
}

/// The file that an entry stands for; none for a folder or litter.
fn check(entry: OwnedZipFileEntry) -> Result<Option<Item<OwnedZipFileEntry>>, ImportError> {
    let Ok(name) = entry.name().map(|name| name.into_owned()) else {
        return Err(EntryError::NotText.of(String::from_utf8_lossy(entry.name_raw())));
    };
    // A folder's name is checked like a file's: "../" is as bad.
    let path = name.strip_suffix('/').unwrap_or(&name);
    let path = FilePath::new(path).map_err(|error| EntryError::Name(error).of(&name))?;
    if entry.encrypted() {
        return Err(EntryError::Encrypted.of(name));
    }
    if entry.is_symlink() {
        return Err(EntryError::Link.of(name));
    }
    if entry.is_dir() || path.parts().any(is_litter) {
        return Ok(None);
    }
    Ok(Some(Item { path, size: entry.size(), place: entry }))
}

impl Source for Xdc {
    type Place = OwnedZipFileEntry;

    fn items(&mut self) -> Vec<Item<OwnedZipFileEntry>> {
        std::mem::take(&mut self.items)
    }

    fn open<'a>(&'a mut self, place: &'a OwnedZipFileEntry) -> Result<Box<dyn Read + 'a>, EntryError> {
        let file =
            place.as_ref().with_reader(&mut self.reader, ZipReadOptions::new()).map_err(EntryError::Zip)?;
        // One byte more shows a file that is longer than it says; a bomb's rest is never unpacked.
        Ok(Box::new(file.take(place.size() + 1)))
    }

    fn check_unpacked(&self, total: u64) -> Result<(), ImportError> {
        if total > RATIO_FLOOR && total > self.packed.saturating_mul(MAX_RATIO) {
            return Err(ImportError::Bomb(MAX_RATIO));
        }
        Ok(())
    }
}
