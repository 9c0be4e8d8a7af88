//! Programs for the stories.
//!
//! For: the examples, and programs and archives made to order, hostile ones included. Not for: what is checked
//! inside an archive in detail; that is tested beside the importer.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::world::repository;

/// One of the programs under `examples/programs`.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    repository().join("examples/programs").join(name)
}

/// A program whose transfer takes a while: `mib` MiB that do not compress.
#[must_use]
pub fn bulky(dir: PathBuf, mib: u64) -> PathBuf {
    fs::create_dir(&dir).expect("a new directory");
    fs::write(dir.join("index.html"), "<!doctype html><title>Bulky</title>").expect("a file");
    fs::write(dir.join("manifest.toml"), "name = \"bulky\"\n").expect("a file");
    let mut noise = File::open("/dev/urandom").expect("a source of randomness").take(mib << 20);
    let mut file = File::create(dir.join("noise.bin")).expect("a file");
    io::copy(&mut noise, &mut file).expect("enough space");
    dir
}

/// MiB of a program that takes a while to get through a slow network.
pub const BULK: u64 = 64;

/// A `.xdc` with these entries, whatever their names are.
#[must_use]
pub fn xdc(path: PathBuf, entries: &[(&str, &[u8])]) -> PathBuf {
    let mut zip = ZipWriter::new(File::create(&path).expect("a file"));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in entries {
        zip.start_file(*name, options).expect("an entry");
        zip.write_all(bytes).expect("enough space");
    }
    zip.finish().expect("enough space");
    path
}

/// An example program as a `.xdc`.
pub fn packed(name: &str, path: PathBuf) -> PathBuf {
    let files = files_of(&example(name));
    let entries: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    xdc(path, &entries)
}

fn files_of(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).expect("a program's directory");
    let read = |entry: io::Result<fs::DirEntry>| {
        let path = entry.expect("a readable directory").path();
        let name =
            path.file_name().expect("an entry has a name").to_str().expect("a name in UTF-8").to_owned();
        (name, fs::read(&path).expect("a program without folders"))
    };
    entries.map(read).collect()
}

/// An agent in WebAssembly text, with these bodies of its functions; what is not said does nothing.
#[must_use]
pub fn agent_by_hand(bodies: &[(&str, &str)]) -> Vec<u8> {
    let template = repository().join("node/src/runtime/agent/tests/component.wat");
    let mut text = fs::read_to_string(template).expect("the template of the sandbox's own tests");
    for (hole, body) in bodies.iter().chain(&[("setup", "i32.const 0"), ("suspend", "i32.const 0")]) {
        text = text.replace(&format!("{{{{{hole}}}}}"), body);
    }
    while let (Some(from), Some(to)) = (text.find("{{"), text.find("}}")) {
        text.replace_range(from..to + 2, "");
    }
    wat::parse_str(&text).expect("WebAssembly text")
}

/// A function of WASI's that an agent may try: `"$preopens \"get-directories\""` in `folders.wat`, say.
pub struct WasiCall {
    /// Which imports it needs.
    pub imports: &'static str,
    /// Which it is there.
    pub function: &'static str,
    /// Its parameters in the core module; the last is where the answer goes to.
    pub parameters: &'static str,
}

impl WasiCall {
    /// The folders that are open.
    pub const FOLDERS: Self = Self {
        imports: include_str!("wasi/folders.wat"),
        function: r#"$preopens "get-directories""#,
        parameters: "(param i32)",
    };
    /// The environment's variables.
    pub const ENVIRONMENT: Self = Self {
        imports: include_str!("wasi/environment.wat"),
        function: r#"$environment "get-environment""#,
        parameters: "(param i32)",
    };
    /// A socket.
    pub const SOCKET: Self = Self {
        imports: include_str!("wasi/sockets.wat"),
        function: r#"$create "create-tcp-socket""#,
        parameters: "(param i32 i32)",
    };

    /// An agent by hand which has this as `$wasi`.
    #[must_use]
    pub fn by_hand(&self, bodies: &[(&str, &str)]) -> Vec<u8> {
        let imports = self.imports.replace("PROTOCOL", "tcp");
        let lowered = format!(
            "(core func $wasi (canon lower (func {}) (memory $memory) (realloc $realloc)))",
            self.function
        );
        let imported = format!(r#"(import "host" "wasi" (func $wasi {}))"#, self.parameters);
        let given = r#"(export "wasi" (func $wasi))"#;
        let wasi =
            [("imports", &*imports), ("lowered", &lowered), ("core-imports", &imported), ("given", given)];
        agent_by_hand(&[&wasi, bodies].concat())
    }
}

/// A program of that name whose agent is these bytes.
#[must_use]
pub fn with_agent(dir: &Path, name: &str, agent: &[u8]) -> PathBuf {
    let dir = dir.join(name);
    fs::create_dir(&dir).expect("a new directory");
    fs::write(dir.join("manifest.toml"), format!("name = {name:?}\n")).expect("a file");
    fs::write(dir.join("agent.wasm"), agent).expect("a file");
    dir
}

/// A pack of that name for a program: its `manifest.toml` says this of it, and `map.txt` is the text.
#[must_use]
pub fn pack(dir: &Path, name: &str, says: &str, map: &str) -> PathBuf {
    let dir = dir.join(name);
    fs::create_dir(&dir).expect("a new directory");
    let manifest = format!("name = {name:?}\n[parlor.pack]\n{says}\n");
    fs::write(dir.join("manifest.toml"), manifest).expect("a file");
    fs::write(dir.join("map.txt"), map).expect("a file");
    dir
}

/// How many bytes all files below a directory take.
#[must_use]
pub fn size_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size_below(&entry.path()),
        _ => entry.metadata().map_or(0, |meta| meta.len()),
    };
    entries.filter_map(Result::ok).map(size).sum()
}
