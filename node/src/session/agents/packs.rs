//! The packs that a program's agents see: programs of this node's library that are content for it.
//!
//! For: finding them, and their files. Not for: bringing packs here (they come like any program), nor for which of them a
//! session plays with: that is between the agents.
//!
//! The idea: the library is asked every time, so that what is removed is gone at once. A pack is content for whatever
//! program has the name that it says; what only a host gets of it, the host part alone sees.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use parlor_proto::{ids::ProgramId, program::Role};

use super::Part;
use crate::{
    context::Context,
    runtime::agent::{MAX_PACKS, Pack},
    store::{Bundle, StoredPack},
    supply::library::LibraryError,
};

/// See the module. Clones share it.
#[derive(Clone)]
pub(super) struct Packs {
    context: Arc<Context>,
    /// The program's name.
    program: Arc<str>,
    /// Kept loaded, so that one file after the other of the same pack can be read without loading it each time.
    last: Arc<Mutex<Option<Arc<Bundle>>>>,
}

impl Packs {
    /// Those for the program of this name.
    pub(super) fn new(context: &Arc<Context>, program: &str) -> Self {
        Self { context: Arc::clone(context), program: program.into(), last: Arc::default() }
    }

    /// All, newest first.
    pub(super) async fn all(&self) -> Vec<Pack> {
        let found = self.context.store.packs_for(&self.program, MAX_PACKS).await;
        let found = found.inspect_err(|error| tracing::error!(%error, "packs cannot be looked for"));
        found.unwrap_or_default().into_iter().map(told).collect()
    }

    /// The files of one that this part may have.
    pub(super) async fn files(&self, pack: &str, part: Part) -> Vec<(String, u64)> {
        let Some((bundle, role)) = self.find(pack, part).await else { return Vec::new() };
        let files = bundle.program().files_for(role);
        files.map(|(_, file)| (file.path.as_str().to_owned(), file.size)).collect()
    }

    /// Where one of them lies.
    pub(super) async fn file(&self, pack: &str, path: &str, part: Part) -> Option<PathBuf> {
        let (bundle, role) = self.find(pack, part).await?;
        let file = &bundle.program().manifest().files[bundle.program().find(path)?];
        if role.gets(file.role) { bundle.file_path(path) } else { None }
    }

    /// A pack, and whose files of it this part may have.
    async fn find(&self, pack: &str, part: Part) -> Option<(Arc<Bundle>, Role)> {
        let id = pack.parse().ok()?;
        let found = self.load(id).await;
        let found = found.inspect_err(|error| tracing::error!(%id, %error, "a pack cannot be used"));
        let bundle = found.ok()??;
        let role = match part {
            Part::Agent => bundle.complete()?.min(Role::Everyone),
            // A member's copy has no more, whoever asks.
            Part::Host => bundle.complete()?,
        };
        Some((bundle, role))
    }

    async fn load(&self, id: ProgramId) -> Result<Option<Arc<Bundle>>, LibraryError> {
        if !self.context.store.is_pack_for(id, &self.program).await? {
            return Ok(None);
        }
        let bundle = self.context.bundle(id).await?;
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&bundle);
        Ok(bundle)
    }
}

fn told(StoredPack { program, name, version, origin, levels }: StoredPack) -> Pack {
    Pack {
        id: program.to_string(),
        name,
        version,
        origin: origin.map(|origin| origin.to_string()),
        levels: levels.map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, path::Path};

    use super::*;
    use crate::{
        Config, Node,
        store::bundle::{read_card, write_card},
        supply::library,
    };

    /// Takes in a folder of these files; returns the program's id.
    async fn import(context: &Arc<Context>, folder: &Path, files: &[(&str, &str)]) -> ProgramId {
        fs::create_dir_all(folder).unwrap();
        for (path, text) in files {
            fs::write(folder.join(path), text).unwrap();
        }
        library::import_into_library(context, folder, None).await.unwrap().program().id()
    }

    const HILLS: [(&str, &str); 3] = [
        (
            "manifest.toml",
            "[parlor]\nversion = \"3\"\nhost = [\"traps.txt\"]\n[parlor.pack]\nfor = \"dungeon\"\nlevels = [1, 9]",
        ),
        ("map.txt", "up and down"),
        ("traps.txt", "everywhere"),
    ];

    fn paths(files: &[(String, u64)]) -> Vec<&str> {
        files.iter().map(|(path, _)| path.as_str()).collect()
    }

    #[tokio::test]
    async fn a_program_sees_its_own_packs_and_nothing_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(Config::on_loopback(dir.path().join("home"))).await.unwrap().node;
        let context = node.context();
        let folder = |name| dir.path().join(name);
        let hills = import(context, &folder("hills"), &HILLS).await.to_string();
        let streets = [("manifest.toml", "[parlor.pack]\nfor = \"city\""), ("map.txt", "straight on")];
        let streets = import(context, &folder("streets"), &streets).await.to_string();
        let dungeon = import(context, &folder("dungeon"), &[("index.html", "down")]).await.to_string();

        let packs = Packs::new(context, "dungeon");
        let (name, version) = ("hills".to_owned(), "3".to_owned());
        let seen = Pack { id: hills.clone(), name, version, origin: None, levels: Some((1, 9)) };
        assert_eq!(packs.all().await, [seen]);
        let (agent, host) = (packs.files(&hills, Part::Agent).await, packs.files(&hills, Part::Host).await);
        assert_eq!(paths(&agent), ["manifest.toml", "map.txt"]);
        assert_eq!(paths(&host), ["manifest.toml", "map.txt", "traps.txt"]);
        let map = packs.file(&hills, "map.txt", Part::Agent).await.unwrap();
        assert_eq!(fs::read_to_string(map).unwrap(), "up and down");
        assert_eq!(packs.file(&hills, "traps.txt", Part::Agent).await, None, "the host part's alone");
        assert!(packs.file(&hills, "traps.txt", Part::Host).await.is_some());

        let beside =
            ["", ".", "..", "./map.txt", "../manifest.cbor", "../files/map.txt", "MAP.TXT", "map.txt/"];
        for path in beside.into_iter().chain(["/etc/passwd", "map.txt\0", "no.txt"]) {
            assert_eq!(packs.file(&hills, path, Part::Host).await, None, "{path:?}");
        }
        let above = format!("../{hills}");
        for id in
            ["", "..", &above, &hills[1..], "hills", streets.as_str(), dungeon.as_str(), &"0".repeat(64)]
        {
            assert_eq!(packs.files(id, Part::Host).await, [], "{id:?}");
            assert_eq!(packs.file(id, "map.txt", Part::Host).await, None, "{id:?}");
        }
        node.stop().await;
    }

    #[tokio::test]
    async fn a_members_copy_has_no_more_and_a_removed_pack_is_gone_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(Config::on_loopback(dir.path().join("home"))).await.unwrap().node;
        let context = node.context();
        let id = import(context, &dir.path().join("hills"), &HILLS).await;
        let (packs, hills) = (Packs::new(context, "dungeon"), id.to_string());
        assert_eq!(packs.files(&hills, Part::Host).await.len(), 3);

        let card = dir.path().join("hills.card");
        let whole = context.bundle(id).await.unwrap().unwrap();
        write_card(&whole, Role::Everyone, b"", &card).unwrap();
        library::remove(context, id).await.unwrap();
        assert_eq!(packs.all().await, []);
        assert_eq!(packs.files(&hills, Part::Host).await, []);
        assert_eq!(packs.file(&hills, "map.txt", Part::Host).await, None);

        let (copy, _) = read_card(&card, &context.bundles).unwrap();
        assert_eq!(packs.all().await, [], "its files are here, and it is not in the library");
        library::note(context, &copy, None).await.unwrap();
        assert_eq!(packs.all().await.len(), 1);
        assert_eq!(paths(&packs.files(&hills, Part::Host).await), ["manifest.toml", "map.txt"]);
        assert_eq!(packs.file(&hills, "traps.txt", Part::Host).await, None);
        node.stop().await;
    }
}
