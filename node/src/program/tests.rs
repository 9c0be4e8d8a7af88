#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Write as _};

use parlor_proto::program::{CopiesRule, Levels, Pack};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::*;

const TOML: &str = r#"
name = "Group Chat"
source_code_url = "https://example.org"

[parlor]
version = "1.2"
summary = "Talk to each other."
copies = { min = 1, max = 8 }
host = ["server/", "answers.txt"]
something = "else"
"#;

/// A home for bundles and sources.
struct Bench {
    dir: TempDir,
    shelf: Bundles,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Bundles::open(&dir.path().join("programs")).unwrap();
        Self { dir, shelf }
    }

    fn folder(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let root = self.dir.path().join(name);
        for (path, bytes) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        root
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("app.xdc");
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Imports what must be refused, in one line, with nothing left behind.
    fn refused(&self, path: &Path) -> ImportError {
        let error = import(path, &self.shelf).unwrap_err();
        let text = error.to_string();
        assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
        assert_eq!(fs::read_dir(self.shelf.root()).unwrap().count(), 0, "{text}");
        error
    }

    fn refused_zip(&self, bytes: &[u8]) -> ImportError {
        self.refused(&self.file(bytes))
    }
}

fn zip(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(method);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        if name.ends_with('/') {
            zip.add_directory(*name, options).unwrap();
        } else {
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
    }
    zip.finish().unwrap().into_inner()
}

/// Writes other bytes wherever some stand: how a zip gets what no honest tool puts into it.
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let (mut bytes, mut found) = (bytes.to_vec(), 0);
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0, "nothing to patch");
    bytes
}

const INDEX_FILE: (&str, &[u8]) = ("index.html", b"<p>hello</p>");

fn chat() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("answers.txt", b"42"),
        ("assets/a.txt", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("empty", b""),
        INDEX_FILE,
        ("manifest.toml", TOML.as_bytes()),
        ("server/main.wasm", b"\0asm"),
    ]
}

#[test]
fn a_folder_becomes_a_program() {
    let bench = Bench::new();
    let mut files = chat();
    files.extend([
        ("webxdc.js", &b"old"[..]),
        (".git/config", b"x"),
        ("assets/.DS_Store", b"x"),
        (".env", b"secret"),
    ]);
    let staged = import(&bench.folder("whatever", &files), &bench.shelf).unwrap();
    let manifest = staged.program().manifest().clone();
    assert_eq!(
        (manifest.name.as_str(), &*manifest.title, &*manifest.version),
        ("group-chat", "Group Chat", "1.2")
    );
    assert_eq!(manifest.summary.as_deref(), Some("Talk to each other."));
    assert_eq!(manifest.copies, CopiesRule::Range { min: 1, max: 8 });
    let listed: Vec<_> = manifest.files.iter().map(|file| (file.path.as_str(), file.role)).collect();
    let wanted: Vec<_> = chat()
        .iter()
        .map(|(path, _)| {
            (
                *path,
                if path.starts_with("server/") || *path == "answers.txt" {
                    Role::Host
                } else {
                    Role::Everyone
                },
            )
        })
        .collect();
    assert_eq!(listed, wanted);

    let bundle = staged.install(&bench.shelf).unwrap();
    assert_eq!(bundle.complete(), Some(Role::Host));
    for (path, bytes) in chat() {
        let mut read = Vec::new();
        bundle.open_file(path).unwrap().0.read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes, "{path}");
    }
    assert_eq!(bench.shelf.list().unwrap(), [bundle.program().id()]);
}

#[test]
fn the_same_files_are_the_same_program_however_they_come() {
    let bench = Bench::new();
    let id = |path: &Path| import(path, &bench.shelf).unwrap().program().id();
    let folder = id(&bench.folder("a", &chat()));
    assert_eq!(id(&bench.folder("b", &chat())), folder);
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let mut files = chat();
        files.reverse();
        files.insert(2, ("assets/", b""));
        files.push(("__MACOSX/._index.html", b"x"));
        assert_eq!(id(&bench.file(&zip(&files, method))), folder);
    }
    let mut other = chat();
    other[0].1 = b"43";
    assert_ne!(id(&bench.folder("c", &other)), folder);
    // Staged and never installed: nothing is left.
    assert_eq!(fs::read_dir(bench.shelf.root()).unwrap().count(), 0);
}

#[test]
fn a_webxdc_app_needs_nothing_of_parlor() {
    let bench = Bench::new();
    let big = vec![3; CHUNK_SIZE as usize * 2 + 1];
    let staged =
        import(&bench.file(&zip(&[("big", &big), INDEX_FILE], CompressionMethod::Deflated)), &bench.shelf)
            .unwrap();
    let manifest = staged.program().manifest();
    assert_eq!((manifest.name.as_str(), &*manifest.title, manifest.copies), ("app", "app", CopiesRule::Free));
    assert_eq!(staged.program().chunk_count(), 4);
    // Imported twice, installed twice: one bundle.
    let again =
        import(&bench.file(&zip(&[INDEX_FILE, ("big", &big)], CompressionMethod::Stored)), &bench.shelf)
            .unwrap();
    let (a, b) = (staged.install(&bench.shelf).unwrap(), again.install(&bench.shelf).unwrap());
    assert!(Arc::ptr_eq(&a, &b));
    assert_eq!(fs::read_dir(bench.shelf.root()).unwrap().count(), 1);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    for (n, (toml, wanted)) in [
        ("name = ", "manifest.toml cannot be read"),
        ("name = 5", "manifest.toml cannot be read"),
        ("[parlor]\ncopies = 0", "allows none"),
        ("[parlor]\ncopies = { min = 3, max = 2 }", "allows none"),
        ("[parlor]\ncopies = \"many\"", "copies must be"),
        ("[parlor.pack]\nlevels = [1, 9]", "missing field `for`"),
        ("[parlor.pack]\nfor = \"The Dungeon\"", "not a program name"),
        ("[parlor.pack]\nfor = \"dungeon\"\nlevels = [9, 1]", "a low and a high one"),
        ("[parlor.pack]\nfor = \"dungeon\"\nlevels = [1]", "a low and a high one"),
        ("[parlor.pack]\nfor = \"dungeon\"\nlevels = [1, 5, 9]", "a low and a high one"),
        ("[parlor.pack]\nfor = \"dungeon\"\nlevels = [-1, 9]", "u32"),
        ("[parlor.pack]\nfor = \"dungeon\"\nlevels = 9", "sequence"),
        ("[parlor]\nhost = [\"sevrer/\"]", "\"sevrer/\" do not exist"),
        ("[parlor]\nhost = [\"index.html\"]", "start page"),
        ("name = \"\\u001b[2J\"", "title"),
        ("name = \"\"", "title"),
    ]
    .into_iter()
    .enumerate()
    {
        let error =
            bench.refused(&bench.folder(&n.to_string(), &[INDEX_FILE, ("manifest.toml", toml.as_bytes())]));
        assert!(error.to_string().contains(wanted), "{toml}: {error}");
    }
    let long = vec![b'#'; 100_000];
    let error = bench.refused(&bench.folder("long", &[INDEX_FILE, ("manifest.toml", &long)]));
    assert!(matches!(error, ImportError::Entry { source: EntryError::Length, .. }), "{error}");
}

#[test]
fn a_pack_needs_neither_a_page_nor_an_agent() {
    let bench = Bench::new();
    let map = ("map.txt", &b"#..#"[..]);
    let pack = |name: &str, toml: &str| {
        import(&bench.folder(name, &[map, ("manifest.toml", toml.as_bytes())]), &bench.shelf)
            .map(|staged| staged.program().manifest().pack.clone())
    };
    let dungeon = "dungeon".parse::<ProgramName>().unwrap();
    let for_levels = pack("hills", "[parlor.pack]\nfor = \"dungeon\"\nlevels = [1, 9]\n").unwrap();
    let levels = Levels::new(1, 9).ok();
    assert_eq!(for_levels, Some(Pack { program: dungeon.clone(), levels }));
    let for_all = pack("plains", "[parlor.pack]\nfor = \"dungeon\"\ncolour = \"green\"\n").unwrap();
    assert_eq!(for_all, Some(Pack { program: dungeon, levels: None }));
    // What only looks like a program from outside.
    assert!(matches!(pack("notes", "name = \"Notes\"\n"), Err(ImportError::NoIndex)));
    assert_eq!(fs::read_dir(bench.shelf.root()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn folders_with_links_or_without_a_page_are_refused() {
    let bench = Bench::new();
    assert!(matches!(bench.refused(&bench.folder("a", &[("main.js", b"x")])), ImportError::NoIndex));
    assert!(matches!(bench.refused(&bench.dir.path().join("nothing")), ImportError::Open { .. }));
    assert!(matches!(bench.refused(Path::new("/dev/null")), ImportError::NotAProgram(_)));

    let linked = bench.folder("b", &[INDEX_FILE]);
    std::os::unix::fs::symlink("/etc/passwd", linked.join("passwd")).unwrap();
    let error = bench.refused(&linked);
    assert!(matches!(error, ImportError::Entry { source: EntryError::Link, .. }), "{error}");

    let odd = bench.folder("c", &[INDEX_FILE, ("a:b", b"x")]);
    assert!(matches!(bench.refused(&odd), ImportError::Entry { source: EntryError::Name(_), .. }));
    let clash = bench.folder("d", &[INDEX_FILE, ("Readme", b"x"), ("README", b"x")]);
    assert!(matches!(bench.refused(&clash), ImportError::Collision(..)));
    let piped = bench.folder("e", &[INDEX_FILE]);
    drop(std::os::unix::net::UnixListener::bind(piped.join("socket")).unwrap());
    assert!(matches!(bench.refused(&piped), ImportError::Entry { source: EntryError::Special, .. }));
}

#[test]
fn corrupt_zips_are_refused_wherever_they_are_cut_or_flipped() {
    let bench = Bench::new();
    let body: Vec<u8> = (0..3000u32).flat_map(|n| n.to_le_bytes()).collect();
    let whole = zip(&[INDEX_FILE, ("body", &body)], CompressionMethod::Deflated);
    for cut in (0..whole.len()).step_by(41) {
        bench.refused_zip(&whole[..cut]);
    }
    bench.refused_zip(b"<html>not a zip</html>");
    // Within the packed bytes of a file every flip shows.
    let middle = whole.len() / 2;
    for at in [middle - 500, middle, middle + 500] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        let error = bench.refused_zip(&flipped);
        assert!(matches!(error, ImportError::Entry { .. }), "{error}");
    }
}

#[test]
fn zips_that_reach_outside_are_refused() {
    let bench = Bench::new();
    let base = zip(&[INDEX_FILE, ("placeholder", b"x")], CompressionMethod::Stored);
    for name in [
        "../../evil1",
        "/etc/passwd",
        "a/../../bbb",
        "C:\\windows.",
        "a\\..\\..\\bbb",
        "aaaa//bbbbb",
        "nul.aaaaaaa",
        "aaaa\0bbbbbb",
    ] {
        let error = bench.refused_zip(&patched(&base, b"placeholder", name.as_bytes()));
        assert!(matches!(error, ImportError::Entry { source: EntryError::Name(_), .. }), "{name}: {error}");
    }
    let error = bench.refused_zip(&patched(
        &zip(&[INDEX_FILE, ("placeholde/", b"")], CompressionMethod::Stored),
        b"placeholde/",
        b"../../aaaa/",
    ));
    assert!(matches!(error, ImportError::Entry { source: EntryError::Name(_), .. }), "{error}");

    let mut linked = ZipWriter::new(Cursor::new(Vec::new()));
    linked.start_file("index.html", SimpleFileOptions::default()).unwrap();
    linked.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let error = bench.refused_zip(&linked.finish().unwrap().into_inner());
    assert!(matches!(error, ImportError::Entry { source: EntryError::Link, .. }), "{error}");
}

#[test]
fn zips_that_say_two_things_are_refused() {
    let bench = Bench::new();
    let two = zip(&[INDEX_FILE, ("aaa", b"1"), ("bbb", b"2")], CompressionMethod::Stored);
    let error = bench.refused_zip(&patched(&two, b"bbb", b"aaa"));
    assert!(matches!(error, ImportError::Entry { source: EntryError::Twice, .. }), "{error}");
    let error = bench.refused_zip(&patched(&two, b"bbb", b"AAA"));
    assert!(matches!(error, ImportError::Collision(..)), "{error}");
    // A file where another needs a folder.
    let nested = zip(&[INDEX_FILE, ("aaa", b"1"), ("bbb/c", b"2")], CompressionMethod::Stored);
    assert!(matches!(bench.refused_zip(&patched(&nested, b"bbb/c", b"aaa/c")), ImportError::Collision(..)));
    // One name in the directory and another before the file.
    let at = two.windows(3).position(|name| name == b"bbb").unwrap();
    let mut cloaked = two.clone();
    cloaked[at..at + 3].copy_from_slice(b"ccc");
    assert!(matches!(bench.refused_zip(&cloaked), ImportError::Zip(_)));
    // Encrypted, says bit 0 of the flags, in both places.
    let mut encrypted = two.clone();
    for (signature, offset) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let at = encrypted.windows(4).rposition(|bytes| bytes == signature).unwrap();
        encrypted[at + offset] |= 1;
    }
    let error = bench.refused_zip(&encrypted);
    assert!(matches!(error, ImportError::Entry { source: EntryError::Encrypted, .. }), "{error}");
}

#[test]
fn zip_bombs_are_refused() {
    let bench = Bench::new();
    let blank = vec![0; 40 << 20];
    let bomb = zip(&[INDEX_FILE, ("blank", &blank)], CompressionMethod::Deflated);
    assert!(bomb.len() < 100_000);
    assert!(matches!(bench.refused_zip(&bomb), ImportError::Bomb(_)));
    // A blank picture is none.
    let small = zip(&[INDEX_FILE, ("blank", &blank[..8 << 20])], CompressionMethod::Deflated);
    assert!(import(&bench.file(&small), &bench.shelf).is_ok());

    // It says it is small and is not; it says it is huge.
    let lie = |size: u32| patched(&bomb, &(40u32 << 20).to_le_bytes(), &size.to_le_bytes());
    let error = bench.refused_zip(&lie(1000));
    assert!(
        matches!(error, ImportError::Entry { source: EntryError::Length | EntryError::Read(_), .. }),
        "{error}"
    );
    assert!(matches!(bench.refused_zip(&lie(2 << 30)), ImportError::TooBig));

    let names: Vec<String> = (0..=MAX_ENTRIES).map(|n| format!("{n}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert!(matches!(bench.refused_zip(&zip(&many, CompressionMethod::Stored)), ImportError::TooManyFiles));
    let fewer: Vec<_> = [INDEX_FILE].into_iter().chain(many[..MAX_FILES].iter().copied()).collect();
    assert!(matches!(bench.refused_zip(&zip(&fewer, CompressionMethod::Stored)), ImportError::TooManyFiles));
}

#[test]
fn a_full_disk_is_said() {
    let bench = Bench::new();
    let disk = crate::store::bundle::testing::SmallDisk::new(256);
    let shelf = Bundles::open(&disk.path().join("programs")).unwrap();
    let source = bench.folder("big", &[INDEX_FILE, ("big", &vec![5; 1 << 20])]);
    let error = import(&source, &shelf).unwrap_err();
    assert!(matches!(error, ImportError::Store(BundleError::DiskFull { .. })), "{error}");
    assert_eq!(fs::read_dir(shelf.root()).unwrap().count(), 0);
}
