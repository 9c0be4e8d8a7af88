//! Making a program of a folder or an `.xdc` file (design section 5).
//!
//! For: [`import`]. Not for: keeping the result (see [`crate::store::bundle`]) and offering it to others.
//!
//! The idea: what is imported is copied to a staging folder next to the bundles and hashed as it is copied,
//! so that what is hashed is what is stored, whatever happens to the source. If anything is wrong, the staging
//! folder goes away and nothing is left. The same files always make the same program id: only names and
//! contents count, not times, modes or the order in which a zip has them; a folder and the `.xdc` made of it
//! are the same program.

mod folder;
mod settings;
#[cfg(test)]
mod tests;
mod xdc;

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use parlor_proto::{
    ids::ChunkHash,
    program::{
        AGENT_FILE, CHUNK_SIZE, FileEntry, FilePath, FilePathError, HOST_AGENT_FILE, MAX_FILES,
        MAX_PROGRAM_SIZE, Manifest, ManifestError, Program, ProgramName, Role, find_collision,
    },
};
use settings::Settings;
use tempfile::TempDir;
use zip::result::ZipError;

use crate::store::bundle::{Bundle, BundleError, Bundles, FILES_DIR, finish};

/// The page that a program's web part starts with.
const INDEX: &str = "index.html";

/// Where a webxdc app, and a Parlor program, says what it is called.
const SETTINGS: &str = "manifest.toml";

/// What programs start with: the page, or one that runs by itself.
const STARTS: [&str; 3] = [INDEX, AGENT_FILE, HOST_AGENT_FILE];

/// What the node itself supplies, so that one in a program is never used.
const SUPPLIED: &str = "webxdc.js";

/// The most entries that are looked at, folders and skipped ones included.
const MAX_ENTRIES: usize = 2 * MAX_FILES;

/// Why a folder or file is not a program.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be opened.
    #[error("{path} cannot be opened: {source}")]
    Open {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither a folder nor a file.
    #[error("{0} is neither a folder nor an .xdc file")]
    NotAProgram(PathBuf),
    /// Not a zip file, or a damaged one.
    #[error("this is not an .xdc (zip) file, or a damaged one: {0}")]
    Zip(#[source] ZipError),
    /// Something is wrong with one file.
    #[error("the file {name:?} cannot be taken: {source}")]
    Entry {
        /// The file, as the source names it.
        name: String,
        /// What is wrong with it.
        source: EntryError,
    },
    /// Two files that cannot both exist on every system.
    #[error("the files \"{0}\" and \"{1}\" cannot both exist on every system")]
    Collision(FilePath, FilePath),
    /// More files, or more entries of any kind, than a program may have.
    #[error("there are too many files; at most {MAX_FILES} are allowed")]
    TooManyFiles,
    /// More bytes than a program may have.
    #[error("the files add up to more than {} MiB", MAX_PROGRAM_SIZE >> 20)]
    TooBig,
    /// A small file that unpacks to an absurd size.
    #[error("the .xdc file is a zip bomb: it unpacks to more than {0} times its size")]
    Bomb(u64),
    /// No page to show, no agent to run, and no pack.
    #[error(
        "there is no {INDEX} and no {AGENT_FILE} at the top, so there is nothing to show and nothing to run; \
         a pack says in {SETTINGS} what it is for"
    )]
    NoIndex,
    /// The settings cannot be read.
    #[error("{SETTINGS} cannot be read: {}", .0.message())]
    Settings(#[source] toml::de::Error),
    /// A rule for the host's files that matches none, or the start page.
    #[error("{SETTINGS}: the host's files {0:?} do not exist, or are the start page")]
    HostRule(String),
    /// Something that a manifest cannot say.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The program cannot be stored.
    #[error(transparent)]
    Store(#[from] BundleError),
}

/// What is wrong with one file of the source.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Its name.
    #[error("its name cannot be used: {0}")]
    Name(#[from] FilePathError),
    /// Its name is not text.
    #[error("its name is not UTF-8")]
    NotText,
    /// A link, which may lead anywhere.
    #[error("it is a link")]
    Link,
    /// A device, pipe or socket.
    #[error("it is not a plain file")]
    Special,
    /// Needs a password.
    #[error("it is encrypted")]
    Encrypted,
    /// There twice.
    #[error("it is there twice")]
    Twice,
    /// Longer or shorter than it is said to be.
    #[error("its length is not what it is said to be")]
    Length,
    /// It cannot be unpacked.
    #[error("it cannot be unpacked: {0}")]
    Zip(#[source] ZipError),
    /// It cannot be read.
    #[error("{0}")]
    Read(#[source] io::Error),
}

impl EntryError {
    fn of(self, name: impl Into<String>) -> ImportError {
        ImportError::Entry { name: name.into(), source: self }
    }
}

/// A program whose files lie in a staging folder, complete. Dropped, it is gone.
#[derive(Debug)]
pub struct Staged {
    program: Program,
    dir: TempDir,
}

impl Staged {
    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Puts the files into their place; the bundle is the host's, complete.
    pub fn install(self, shelf: &Bundles) -> Result<Arc<Bundle>, BundleError> {
        shelf.install(self.dir, &self.program)
    }
}

/// Makes a program of a folder or an `.xdc` file. Its files are staged on `shelf`. Blocks.
pub fn import(path: &Path, shelf: &Bundles) -> Result<Staged, ImportError> {
    let failed = |source| ImportError::Open { path: path.to_owned(), source };
    let kind = fs::metadata(path).map_err(failed)?.file_type();
    let fallback = path.canonicalize().map_err(failed)?;
    let fallback = if kind.is_dir() { fallback.file_name() } else { fallback.file_stem() };
    let title = fallback.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if kind.is_dir() {
        stage(&mut folder::Folder::list(path)?, &title, shelf)
    } else if kind.is_file() {
        stage(&mut xdc::Xdc::list(File::open(path).map_err(failed)?)?, &title, shelf)
    } else {
        Err(ImportError::NotAProgram(path.to_owned()))
    }
}

/// Whether a folder looks like a program, without reading any of it.
pub(crate) fn may_be_program(folder: &Path) -> bool {
    STARTS.iter().chain([&SETTINGS]).any(|file| folder.join(file).is_file())
}

/// A file that a source has.
#[derive(Debug)]
struct Item<P> {
    path: FilePath,
    /// Its length, as the source says, bytes.
    size: u64,
    /// What the source finds it by.
    place: P,
}

/// Where files are imported from.
trait Source {
    /// What it finds a file by.
    type Place;

    /// Its files, in any order.
    fn items(&mut self) -> Vec<Item<Self::Place>>;

    /// Opens one.
    fn open<'a>(&'a mut self, place: &'a Self::Place) -> Result<Box<dyn Read + 'a>, EntryError>;

    /// Whether it may unpack to so many bytes in all.
    fn check_unpacked(&self, _total: u64) -> Result<(), ImportError> {
        Ok(())
    }
}

/// Whether a part of a path is something that no program is made of: hidden files (`.git`, `.DS_Store`, `.env`)
/// and what desktops leave in folders and archives.
fn is_litter(part: &str) -> bool {
    part.starts_with('.') || matches!(part, "__MACOSX" | "Thumbs.db" | "desktop.ini")
}

fn stage<S: Source>(source: &mut S, fallback: &str, shelf: &Bundles) -> Result<Staged, ImportError> {
    let mut items = source.items();
    items.retain(|item| item.path.as_str() != SUPPLIED);
    items.sort_by(|a, b| a.path.cmp(&b.path));
    check_items(&items)?;

    let dir = shelf.staging()?;
    let files = dir.path().join(FILES_DIR);
    let (mut folders, mut total, mut entries) = (HashSet::new(), 0, Vec::with_capacity(items.len()));
    for item in items {
        let target = files.join(item.path.as_str());
        if let Some(folder) = target.parent()
            && folders.insert(folder.to_owned())
        {
            fs::create_dir_all(folder).map_err(|source| BundleError::io(folder, source))?;
        }
        total += item.size;
        source.check_unpacked(total)?;
        let name = item.path.as_str();
        let reader = source.open(&item.place).map_err(|error| error.of(name))?;
        let chunks = copy(reader, item.size, &target, name)?;
        let role = if name == HOST_AGENT_FILE { Role::Host } else { Role::Everyone };
        entries.push(FileEntry { path: item.path, role, size: item.size, chunks });
    }
    let settings = Settings::read(&files.join(SETTINGS))?;
    let program = Program::new(describe(settings, entries, fallback)?)?;
    finish(dir.path(), &program)?;
    Ok(Staged { program, dir })
}

fn check_items<P>(items: &[Item<P>]) -> Result<(), ImportError> {
    if items.len() > MAX_FILES {
        return Err(ImportError::TooManyFiles);
    }
    if items
        .iter()
        .try_fold(0, |sum: u64, item| sum.checked_add(item.size))
        .is_none_or(|sum| sum > MAX_PROGRAM_SIZE)
    {
        return Err(ImportError::TooBig);
    }
    if let Some(pair) = items.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(EntryError::Twice.of(pair[0].path.as_str()));
    }
    if let Some((a, b)) = find_collision(items.iter().map(|item| &item.path)) {
        return Err(ImportError::Collision(a.clone(), b.clone()));
    }
    // Whether it is a pack stands in the settings, which are read once they are copied.
    if !items.iter().any(|item| starts(item.path.as_str()) || item.path.as_str() == SETTINGS) {
        return Err(ImportError::NoIndex);
    }
    Ok(())
}

/// Whether this is a file that programs start with. Only a pack can do without.
fn starts(path: &str) -> bool {
    STARTS.contains(&path)
}

/// Copies a file of `size` bytes, no more and no fewer, and hashes its chunks on the way.
fn copy(mut from: impl Read, size: u64, to: &Path, name: &str) -> Result<Vec<ChunkHash>, ImportError> {
    let failed = |source| BundleError::io(to, source);
    let mut file = File::create(to).map_err(failed)?;
    let mut buffer = vec![0; CHUNK_SIZE as usize];
    let (mut chunks, mut left) = (Vec::new(), size);
    loop {
        let len = fill(&mut from, &mut buffer).map_err(|error| EntryError::Read(error).of(name))?;
        left = left.checked_sub(len as u64).ok_or_else(|| EntryError::Length.of(name))?;
        if len == 0 {
            break;
        }
        chunks.push(ChunkHash(*blake3::hash(&buffer[..len]).as_bytes()));
        file.write_all(&buffer[..len]).map_err(failed)?;
    }
    if left == 0 { Ok(chunks) } else { Err(EntryError::Length.of(name)) }
}

fn describe(settings: Settings, mut files: Vec<FileEntry>, fallback: &str) -> Result<Manifest, ImportError> {
    if settings.pack.is_none() && !files.iter().any(|file| starts(file.path.as_str())) {
        return Err(ImportError::NoIndex);
    }
    for rule in &settings.host {
        let mut matched = false;
        for file in files.iter_mut().filter(|file| settings::matches(rule, file.path.as_str())) {
            matched = file.path.as_str() != INDEX;
            if !matched {
                break;
            }
            file.role = Role::Host;
        }
        // A slip of the pen here would hand the host's secrets to everyone.
        if !matched {
            return Err(ImportError::HostRule(rule.clone()));
        }
    }
    let title = settings.name.unwrap_or_else(|| fallback.to_owned());
    Ok(Manifest {
        name: ProgramName::from_title(&title),
        title,
        version: settings.version,
        summary: settings.summary,
        copies: settings.copies,
        agent: settings.agent,
        pack: settings.pack,
        files,
    })
}

/// Reads until the buffer is full or nothing follows; tells how much it read.
pub(crate) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match reader.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
