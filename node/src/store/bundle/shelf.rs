//! The folder of all bundles: making, finding, installing and removing them.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parlor_proto::{
    ids::ProgramId,
    program::{CHUNK_SIZE, ChunkSet, MAX_MANIFEST_SIZE, Program, Role},
};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::{
    Bundle, BundleError, COMPLETE_FILE, FILES_DIR, FileCache, Gate, HAVE_FILE, MANIFEST_FILE, State, Writing,
    files::{sync, sync_all, write_whole},
    have,
};

/// What folders are called in which something is put together; what has such a name at start is left over.
const STAGING_PREFIX: &str = ".staging-";

/// What folders are called that are being deleted.
const TRASH_PREFIX: &str = ".trash-";

/// One bundle as the shelf knows it; locked while it is loaded, made or removed.
#[derive(Debug, Default)]
struct Place {
    bundle: Weak<Bundle>,
    /// When it was handed out last, as the shelf counts.
    handed_out: u64,
}

/// Which bundles are on the shelf at one moment: see [`Bundles::remove_idle`].
#[derive(Debug)]
pub struct Look {
    at: u64,
    /// Those that nobody uses.
    pub idle: Vec<ProgramId>,
    /// Those that somebody uses.
    pub used: Vec<ProgramId>,
}

/// The folder of all bundles. There is one [`Bundle`] at a time for each program.
#[derive(Debug)]
pub struct Bundles {
    root: PathBuf,
    places: Mutex<HashMap<ProgramId, Arc<Mutex<Place>>>>,
    gate: Arc<Gate>,
    /// What is there of each bundle that was looked at.
    known: Mutex<HashMap<ProgramId, Arc<Mutex<State>>>>,
    /// Counts what is handed out.
    clock: AtomicU64,
    released: Arc<Notify>,
    /// Chunks that were read again to see whether they are there.
    rehashed: AtomicU64,
    /// Bundles that were loaded.
    loaded: AtomicU64,
}

impl Bundles {
    /// Opens the folder, making it if it is not there, clears away what a killed node left half done, and looks at the
    /// copies that were completed.
    pub fn open(root: &Path) -> Result<Self, BundleError> {
        let failed = |source| BundleError::io(root, source);
        if !root.is_dir() {
            fs::create_dir_all(root).map_err(failed)?;
            let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
            parent.map_or(Ok(()), sync)?;
        }
        for entry in fs::read_dir(root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(STAGING_PREFIX) || name.starts_with(TRASH_PREFIX) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(|source| BundleError::io(&path, source))?;
            }
        }
        let shelf = Self {
            root: root.to_owned(),
            places: Mutex::default(),
            gate: Arc::default(),
            known: Mutex::default(),
            clock: AtomicU64::default(),
            released: Arc::default(),
            rehashed: AtomicU64::default(),
            loaded: AtomicU64::default(),
        };
        for id in shelf.list()? {
            if read_marker(&shelf.dir(id)).is_some()
                && let Err(error) = shelf.get(id)
            {
                tracing::warn!(%id, %error, "a program cannot be used");
            }
        }
        Ok(shelf)
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

    /// Whose copy of a program is complete here, as far as is known; what a killed node left is not known before
    /// somebody gets it. Does not block.
    #[must_use]
    pub fn complete(&self, id: ProgramId) -> Option<Role> {
        let known = lock(&self.known).get(&id).cloned();
        known.and_then(|state| lock(&state).complete)
    }

    /// The bundle of a program, if anything of it is here. What a killed node noted is hashed again, once.
    pub fn get(&self, id: ProgramId) -> Result<Option<Arc<Bundle>>, BundleError> {
        if !self.dir(id).is_dir() {
            // Somebody may have taken it away behind the node's back.
            lock(&self.known).remove(&id);
            return Ok(None);
        }
        self.at(id, |place| self.look(id, place))
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

    /// Puts a folder that was made ready (see [`finish`]) into its place, for good: whoever notes afterwards that the
    /// program is here finds it after a loss of power. If there is one already that has as much, that one stays; one that
    /// has less goes.
    pub(crate) fn install(&self, staging: TempDir, program: &Program) -> Result<Arc<Bundle>, BundleError> {
        let (id, dir) = (program.id(), self.dir(program.id()));
        let new = self.load(staging.path().to_owned(), id)?;
        let new = lock(&new.state).have.clone();
        let _writing = self.writing()?;
        self.at(id, |place| {
            if let Ok(Some(old)) = self.look(id, place)
                && new.is_subset(&lock(&old.state).have)
            {
                return Ok(old);
            }
            let trash = self.take_away(id, place)?;
            fs::rename(staging.path(), &dir).map_err(|source| BundleError::io(&dir, source))?;
            // Renamed: nothing is left to delete.
            let _ = staging.keep();
            sync(&self.root)?;
            trash.map_or(Ok(()), |trash| delete(&trash))?;
            self.look(id, place)?.ok_or(BundleError::Removed)
        })
    }

    /// Removes whatever is here of a program; says whether there was anything. Who still uses the bundle
    /// gets [`BundleError::Removed`].
    pub fn remove(&self, id: ProgramId) -> Result<bool, BundleError> {
        self.remove_if(id, |_| true)
    }

    /// Which bundles are here now, and which of them are in use.
    pub fn look_around(&self) -> Result<Look, BundleError> {
        // Whatever is handed out from here on is not idle.
        let at = self.clock.fetch_add(1, Ordering::SeqCst);
        let is_idle = |id: &ProgramId| {
            let place = lock(&self.places).get(id).cloned();
            // Locked: somebody is at it.
            place.is_none_or(|place| place.try_lock().is_ok_and(|place| place.bundle.strong_count() == 0))
        };
        let (idle, used) = self.list()?.into_iter().partition(is_idle);
        Ok(Look { at, idle, used })
    }

    /// Removes a bundle, unless somebody has used it since that look; says whether it did. So whatever is noted of a
    /// bundle while it is used can be read in between, and counts.
    pub fn remove_idle(&self, id: ProgramId, since: &Look) -> Result<bool, BundleError> {
        self.remove_if(id, |place| place.bundle.strong_count() == 0 && place.handed_out <= since.at)
    }

    /// Returns once somebody has stopped using a bundle, now or since the last call.
    pub async fn released(&self) {
        self.released.notified().await;
    }

    /// Chunks that were read again, since the shelf was opened, to see whether they are there.
    #[must_use]
    pub fn rehashed(&self) -> u64 {
        self.rehashed.load(Ordering::Relaxed)
    }

    /// Bundles that were loaded since the shelf was opened.
    #[must_use]
    pub fn loaded(&self) -> u64 {
        self.loaded.load(Ordering::Relaxed)
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
        work: impl FnOnce(&mut Place) -> Result<T, BundleError>,
    ) -> Result<T, BundleError> {
        // The list is unlocked before the place is locked: hashing one bundle must not stop all others.
        let place = lock(&self.places).entry(id).or_default().clone();
        let mut place = lock(&place);
        work(&mut place)
    }

    /// Hands out the bundle at its place.
    fn look(&self, id: ProgramId, place: &mut Place) -> Result<Option<Arc<Bundle>>, BundleError> {
        let dir = self.dir(id);
        if !dir.is_dir() {
            return Ok(None);
        }
        place.handed_out = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(bundle) = place.bundle.upgrade() {
            return Ok(Some(bundle));
        }
        let bundle = Arc::new(self.load(dir, id)?);
        lock(&self.known).insert(id, Arc::clone(&bundle.state));
        place.bundle = Arc::downgrade(&bundle);
        Ok(Some(bundle))
    }

    fn remove_if(&self, id: ProgramId, may: impl FnOnce(&Place) -> bool) -> Result<bool, BundleError> {
        if !self.dir(id).is_dir() {
            return Ok(false);
        }
        let _writing = self.writing()?;
        let trash = self.at(id, |place| if may(place) { self.take_away(id, place) } else { Ok(None) })?;
        let mut places = lock(&self.places);
        // Nobody else can be at it, or about to be.
        let is_left = |place: &Arc<Mutex<Place>>| Arc::strong_count(place) == 1;
        if trash.is_some() && places.get(&id).is_some_and(is_left) {
            places.remove(&id);
        }
        drop(places);
        trash.map_or(Ok(false), |trash| delete(&trash).map(|()| true))
    }

    /// Takes a bundle from its place; returns where it lies to be deleted, if there was any.
    fn take_away(&self, id: ProgramId, place: &mut Place) -> Result<Option<PathBuf>, BundleError> {
        let dir = self.dir(id);
        if !dir.is_dir() {
            return Ok(None);
        }
        let trash = self.root.join(format!("{TRASH_PREFIX}{id}-{:016x}", rand::random::<u64>()));
        fs::rename(&dir, &trash).map_err(|source| BundleError::io(&dir, source))?;
        if let Some(bundle) = place.bundle.upgrade() {
            bundle.removed.store(true, Ordering::Release);
        }
        place.bundle = Weak::new();
        lock(&self.known).remove(&id);
        Ok(Some(trash))
    }

    /// Loads what lies in a folder. A copy that turns out to be whole is settled.
    fn load(&self, dir: PathBuf, id: ProgramId) -> Result<Bundle, BundleError> {
        // What is noted may have to be noted anew.
        let _writing = self.writing()?;
        self.loaded.fetch_add(1, Ordering::Relaxed);
        let program = Program::decode_expecting(read_manifest(&dir)?, id)
            .map_err(|source| BundleError::Damaged { id, source })?;
        let known = lock(&self.known).get(&id).cloned().filter(|_| dir == self.dir(id));
        let files = FileCache::new(dir.join(FILES_DIR));
        let for_everyone = program.chunks_for(Role::Everyone);
        let is_known = known.is_some();
        let state = known.unwrap_or_else(|| {
            let have = ChunkSet::empty(program.chunk_count());
            Arc::new(Mutex::new(State { have, complete: None, settled: None, laid_out: None }))
        });
        let bundle = Bundle {
            dir,
            program,
            files,
            gate: Arc::clone(&self.gate),
            for_everyone,
            removed: AtomicBool::new(false),
            settling: Mutex::new(()),
            noted: Mutex::default(),
            state,
            released: Arc::clone(&self.released),
        };
        if !is_known {
            self.rehashed.fetch_add(find_chunks(&bundle)?, Ordering::Relaxed);
        }
        if bundle.complete().is_some()
            && let Err(error) = bundle.settle()
        {
            // It is whole all the same; the next to look at it tries again.
            tracing::warn!(%id, %error, "a whole program could not be synced to disk");
        }
        Ok(bundle)
    }
}

fn delete(trash: &Path) -> Result<(), BundleError> {
    fs::remove_dir_all(trash).map_err(|source| BundleError::io(trash, source))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

/// Finds out which chunks of a bundle are there: those of a copy that was completed, if all of its files are, and those
/// that were noted, as far as they hold. Returns how many it had to read.
fn find_chunks(bundle: &Bundle) -> Result<u64, BundleError> {
    let program = &bundle.program;
    let marked = read_marker(&bundle.dir);
    let settled = marked.filter(|role| all_there(&bundle.files, program, *role));
    let nothing = ChunkSet::empty(program.chunk_count());
    let chunks_of = |role: Option<Role>| role.map_or(nothing.clone(), |role| program.chunks_for(role));
    let sure = chunks_of(settled);
    {
        let mut state = bundle.state();
        state.settled = settled;
        state.laid_out = settled;
        state.add(sure.iter(), &bundle.for_everyone);
    }

    let (noted, mut exact) = have::read(&bundle.dir.join(HAVE_FILE), program.chunk_count());
    let mut candidates = chunks_of(marked);
    candidates.insert_all(&noted);
    candidates.remove_all(&sure);
    if !candidates.is_empty() {
        let mut buffer = Box::new([0; CHUNK_SIZE as usize]);
        let mut found = candidates.clone();
        candidates.iter().filter(|chunk| !bundle.is_there(*chunk, &mut buffer)).for_each(|chunk| {
            found.remove(chunk);
        });
        exact &= found == noted;
        bundle.state().add(found.iter(), &bundle.for_everyone);
        if !exact {
            write_whole(&bundle.dir, HAVE_FILE, &have::contents(&found))?;
        }
    }

    if marked.is_some() && settled.is_none() {
        let path = bundle.dir.join(COMPLETE_FILE);
        fs::remove_file(&path).map_err(|source| BundleError::io(&path, source))?;
    }
    Ok(candidates.len().into())
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
