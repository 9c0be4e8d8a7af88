//! The folder of all bundles: making, finding, installing and removing them.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use parlor_proto::{
    ids::ProgramId,
    program::{CHUNK_SIZE, ChunkSet, MAX_MANIFEST_SIZE, Program, Role},
};
use tempfile::TempDir;

use super::{
    Bundle, BundleError, COMPLETE_FILE, FILES_DIR, FileCache, Gate, HAVE_FILE, MANIFEST_FILE, State, Writing,
    files::{sync_all, write_whole},
    have,
};

/// What folders are called in which something is put together; what has such a name at start is left over.
const STAGING_PREFIX: &str = ".staging-";

/// What folders are called that are being deleted.
const TRASH_PREFIX: &str = ".trash-";

/// One bundle as the shelf knows it; locked while it is loaded, made or removed.
type Place = Arc<Mutex<Weak<Bundle>>>;

/// The folder of all bundles. There is one [`Bundle`] at a time for each program.
#[derive(Debug)]
pub struct Bundles {
    root: PathBuf,
    places: Mutex<HashMap<ProgramId, Place>>,
    gate: Arc<Gate>,
}

impl Bundles {
    /// Opens the folder, making it if it is not there, and clears away what a killed node left half done.
    pub fn open(root: &Path) -> Result<Self, BundleError> {
        let failed = |source| BundleError::io(root, source);
        fs::create_dir_all(root).map_err(failed)?;
        for entry in fs::read_dir(root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(STAGING_PREFIX) || name.starts_with(TRASH_PREFIX) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(|source| BundleError::io(&path, source))?;
            }
        }
        Ok(Self { root: root.to_owned(), places: Mutex::default(), gate: Arc::default() })
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The programs of which something is here, complete or not, in the order of their ids.
    pub fn list(&self) -> Result<Vec<ProgramId>, BundleError> {
        let failed = |source| BundleError::io(&self.root, source);
        let mut ids: Vec<ProgramId> = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse::<ProgramId>().ok()));
        }
        ids.sort();
        Ok(ids)
    }

    /// The bundle of a program, if anything of it is here. What a killed node noted is hashed again.
    pub fn get(&self, id: ProgramId) -> Result<Option<Arc<Bundle>>, BundleError> {
        let dir = self.dir(id);
        if !dir.is_dir() {
            return Ok(None);
        }
        self.at(id, |place| {
            if let Some(bundle) = place.upgrade() {
                return Ok(Some(bundle));
            }
            if !dir.is_dir() {
                return Ok(None);
            }
            let bundle = Arc::new(load(dir, id, &self.gate)?);
            *place = Arc::downgrade(&bundle);
            Ok(Some(bundle))
        })
    }

    /// The bundle of a program; if nothing of it is here, a new one without chunks.
    pub fn create(&self, program: &Program) -> Result<Arc<Bundle>, BundleError> {
        match self.get(program.id()) {
            Ok(Some(bundle)) => return Ok(bundle),
            Ok(None) => {}
            // Nothing can be made of a bundle without its manifest.
            Err(BundleError::Damaged { .. }) => drop(self.remove(program.id())?),
            Err(error) => return Err(error),
        }
        let _writing = self.writing()?;
        let staging = self.staging()?;
        prepare(staging.path(), program)?;
        self.install(staging, program)
    }

    /// A folder to put a bundle together in; it goes away unless it is installed.
    pub(crate) fn staging(&self) -> Result<TempDir, BundleError> {
        tempfile::Builder::new()
            .prefix(STAGING_PREFIX)
            .tempdir_in(&self.root)
            .map_err(|source| BundleError::io(&self.root, source))
    }

    /// Puts a folder that was made ready (see [`finish`]) into its place. If there is one already that has
    /// as much, that one stays; one that has less goes.
    pub(crate) fn install(&self, staging: TempDir, program: &Program) -> Result<Arc<Bundle>, BundleError> {
        let new = load(staging.path().to_owned(), program.id(), &self.gate)?;
        if let Ok(Some(old)) = self.get(program.id())
            && new.have().is_subset(&old.have())
        {
            return Ok(old);
        }
        let _writing = self.writing()?;
        self.remove(program.id())?;
        let dir = self.dir(program.id());
        self.at(program.id(), |place| {
            fs::rename(staging.path(), &dir).map_err(|source| BundleError::io(&dir, source))?;
            // Renamed: nothing is left to delete.
            let _ = staging.keep();
            let bundle = Arc::new(load(dir.clone(), program.id(), &self.gate)?);
            *place = Arc::downgrade(&bundle);
            Ok(bundle)
        })
    }

    /// Removes whatever is here of a program; says whether there was anything. Who still uses the bundle
    /// gets [`BundleError::Removed`].
    pub fn remove(&self, id: ProgramId) -> Result<bool, BundleError> {
        let dir = self.dir(id);
        if !dir.is_dir() {
            return Ok(false);
        }
        let _writing = self.writing()?;
        let trash = self.at(id, |place| {
            let trash = self.root.join(format!("{TRASH_PREFIX}{id}-{:016x}", rand::random::<u64>()));
            fs::rename(&dir, &trash).map_err(|source| BundleError::io(&dir, source))?;
            if let Some(bundle) = place.upgrade() {
                bundle.removed.store(true, Ordering::Release);
            }
            *place = Weak::new();
            Ok(trash)
        })?;
        lock(&self.places).retain(|_, place| Arc::strong_count(place) > 1 || lock(place).strong_count() > 0);
        fs::remove_dir_all(&trash).map_err(|source| BundleError::io(&trash, source))?;
        Ok(true)
    }

    /// To be held while something is put together in [`Self::staging`].
    pub(crate) fn writing(&self) -> Result<Writing, BundleError> {
        self.gate.enter()
    }

    /// Lets nobody write any more, and returns once what is under way is written.
    pub fn close(&self) {
        self.gate.close();
    }

    fn dir(&self, id: ProgramId) -> PathBuf {
        self.root.join(id.to_string())
    }

    /// Runs `work` while nobody else loads, makes or removes this bundle.
    fn at<T>(
        &self,
        id: ProgramId,
        work: impl FnOnce(&mut Weak<Bundle>) -> Result<T, BundleError>,
    ) -> Result<T, BundleError> {
        // The list is unlocked before the place is locked: hashing one bundle must not stop all others.
        let place = lock(&self.places).entry(id).or_default().clone();
        let mut place = lock(&place);
        work(&mut place)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes an empty folder a bundle without chunks.
fn prepare(dir: &Path, program: &Program) -> Result<(), BundleError> {
    let files = dir.join(FILES_DIR);
    fs::create_dir_all(&files).map_err(|source| BundleError::io(&files, source))?;
    write_whole(dir, MANIFEST_FILE, program.bytes())
}

/// Makes a folder with all of a program's files the host's complete bundle of it.
pub(crate) fn finish(dir: &Path, program: &Program) -> Result<(), BundleError> {
    prepare(dir, program)?;
    let files = FileCache::new(dir.join(FILES_DIR));
    sync_all(dir, &files, program.files_for(Role::Host).map(|(_, entry)| entry))?;
    write_whole(dir, COMPLETE_FILE, Role::Host.to_string().as_bytes())
}

fn load(dir: PathBuf, id: ProgramId, gate: &Arc<Gate>) -> Result<Bundle, BundleError> {
    // What is noted may have to be noted anew.
    let _writing = gate.enter()?;
    let program = Program::decode_expecting(read_manifest(&dir)?, id)
        .map_err(|source| BundleError::Damaged { id, source })?;
    let files = FileCache::new(dir.join(FILES_DIR));
    let marked = read_marker(&dir);
    let settled = marked.filter(|role| all_there(&files, &program, *role));
    let nothing = ChunkSet::empty(program.chunk_count());
    let chunks_of = |role: Option<Role>| role.map_or(nothing.clone(), |role| program.chunks_for(role));
    let sure = chunks_of(settled);

    let (noted, mut exact) = have::read(&dir.join(HAVE_FILE), program.chunk_count());
    let mut candidates = chunks_of(marked);
    candidates.insert_all(&noted);
    candidates.remove_all(&sure);

    let state = State { have: sure, noted: None, settled, laid_out: settled };
    let bundle = Bundle {
        dir,
        program,
        files,
        gate: Arc::clone(gate),
        removed: AtomicBool::new(false),
        settling: Mutex::new(()),
        state: Mutex::new(state),
    };
    if !candidates.is_empty() {
        let mut buffer = Box::new([0; CHUNK_SIZE as usize]);
        let mut found = candidates.clone();
        candidates.iter().filter(|chunk| !bundle.is_there(*chunk, &mut buffer)).for_each(|chunk| {
            found.remove(chunk);
        });
        exact &= found == noted;
        bundle.state().have.insert_all(&found);
        if !exact {
            write_whole(&bundle.dir, HAVE_FILE, &have::contents(&found))?;
        }
    }
    if marked.is_some() && settled.is_none() {
        let path = bundle.dir.join(COMPLETE_FILE);
        fs::remove_file(&path).map_err(|source| BundleError::io(&path, source))?;
    }
    Ok(bundle)
}

fn read_manifest(dir: &Path) -> Result<Vec<u8>, BundleError> {
    let path = dir.join(MANIFEST_FILE);
    let mut bytes = Vec::new();
    match fs::File::open(&path)
        .and_then(|file| file.take(MAX_MANIFEST_SIZE as u64 + 1).read_to_end(&mut bytes))
    {
        Ok(_) => Ok(bytes),
        // No bytes are no manifest: found damaged, not unreadable.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(BundleError::io(&path, error)),
    }
}

fn read_marker(dir: &Path) -> Option<Role> {
    let text = fs::read_to_string(dir.join(COMPLETE_FILE)).ok()?;
    [Role::Everyone, Role::Host].into_iter().find(|role| role.to_string() == text)
}

/// Whether the files of a settled copy are still there at their full length.
fn all_there(files: &FileCache, program: &Program, role: Role) -> bool {
    program.files_for(role).all(|(_, entry)| {
        fs::symlink_metadata(files.path(entry))
            .is_ok_and(|found| found.is_file() && found.len() == entry.size)
    })
}
