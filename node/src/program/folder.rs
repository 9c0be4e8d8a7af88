//! A folder as the source of a program.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use parlor_proto::program::FilePath;

use super::{EntryError, ImportError, Item, MAX_ENTRIES, Source, is_litter};

/// A folder whose files were listed.
pub(super) struct Folder {
    items: Vec<Item<PathBuf>>,
}

impl Folder {
    /// Lists the files. Links are refused: they could bring in what was never meant to be published.
    pub(super) fn list(root: &Path) -> Result<Self, ImportError> {
        let (mut items, mut seen) = (Vec::new(), 0);
        // Folders yet to be read, with their paths within the program. Their depth is bounded by `FilePath`.
        let mut folders = vec![(root.to_owned(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            let failed = |source| ImportError::Open { path: folder.clone(), source };
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                seen += 1;
                if seen > MAX_ENTRIES {
                    return Err(ImportError::TooManyFiles);
                }
                let name = entry.file_name();
                if is_litter(&name.to_string_lossy()) {
                    continue;
                }
                let path = format!("{prefix}{}", name.to_string_lossy());
                if name.to_str().is_none() {
                    return Err(EntryError::NotText.of(path));
                }
                let checked = FilePath::new(&path).map_err(|error| EntryError::Name(error).of(&path))?;
                // Not followed: this is the link itself.
                let found = entry.metadata().map_err(|error| EntryError::Read(error).of(&path))?;
                if found.is_dir() {
                    folders.push((entry.path(), format!("{path}/")));
                } else if found.is_file() {
                    items.push(Item { path: checked, size: found.len(), place: entry.path() });
                } else {
                    let error = if found.is_symlink() { EntryError::Link } else { EntryError::Special };
                    return Err(error.of(path));
                }
            }
        }
        Ok(Self { items })
    }
}

impl Source for Folder {
    type Place = PathBuf;

    fn items(&mut self) -> Vec<Item<PathBuf>> {
        std::mem::take(&mut self.items)
    }

    fn open<'a>(&'a mut self, place: &'a PathBuf) -> Result<Box<dyn Read + 'a>, EntryError> {
        let open = || -> io::Result<File> { File::open(place) };
        Ok(Box::new(open().map_err(EntryError::Read)?))
    }
}
