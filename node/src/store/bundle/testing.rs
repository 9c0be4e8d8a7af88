//! Programs and disks for tests.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use parlor_proto::{
    ids::ChunkHash,
    program::{CHUNK_SIZE, ChunkIndex, CopiesRule, FileEntry, FilePath, Manifest, Program, Role},
};

/// A program with its bytes.
pub(crate) struct Sample {
    pub(crate) program: Program,
    pub(crate) contents: Vec<Vec<u8>>,
}

impl Sample {
    /// A program of these files (in the order of their paths) with bytes that differ everywhere.
    pub(crate) fn new(files: &[(&str, Role, usize)]) -> Self {
        let contents: Vec<Vec<u8>> = files.iter().map(|(path, _, size)| bytes(path, *size)).collect();
        let entry = |(&(path, role, size), content): (&(&str, Role, usize), &Vec<u8>)| FileEntry {
            path: FilePath::new(path).unwrap(),
            role,
            size: size as u64,
            chunks: content
                .chunks(CHUNK_SIZE as usize)
                .map(|c| ChunkHash(*blake3::hash(c).as_bytes()))
                .collect(),
        };
        let manifest = Manifest {
            name: "sample".parse().unwrap(),
            title: "Sample".into(),
            version: "1".into(),
            summary: None,
            copies: CopiesRule::Free,
            agent: Default::default(),
            pack: None,
            files: files.iter().zip(&contents).map(entry).collect(),
        };
        Self { program: Program::new(manifest).unwrap(), contents }
    }

    /// Some files for members, one for the host, of `chunks` chunks in all and a bit.
    pub(crate) fn of_chunks(chunks: usize) -> Self {
        let chunk = CHUNK_SIZE as usize;
        Self::new(&[
            ("data/big.bin", Role::Everyone, (chunks - 3) * chunk + 17),
            ("empty", Role::Everyone, 0),
            ("index.html", Role::Everyone, 100),
            ("server/secret.bin", Role::Host, chunk + 1),
        ])
    }

    /// The bytes of a chunk.
    pub(crate) fn chunk(&self, index: u32) -> &[u8] {
        let chunk = self.program.chunk(ChunkIndex(index)).unwrap();
        let start = usize::try_from(chunk.offset).unwrap();
        &self.contents[chunk.file][start..start + chunk.len as usize]
    }
}

fn bytes(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A small disk of its own.
pub(crate) struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// A disk of so many KiB. Needs the right to mount; without it the test fails.
    pub(crate) fn new(kib: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "parlor-test"]).arg(dir.path());
        let done = mount.status().unwrap();
        assert!(done.success(), "this test mounts a small disk and must run as root");
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes all room but so many KiB, or all if something else is faster; give it back by removing the file.
    pub(crate) fn fill_but(&self, kib: u64) -> PathBuf {
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        let path = self.path().join("ballast");
        let ballast = vec![1; usize::try_from(free - kib * 1024).unwrap()];
        match std::fs::write(&path, ballast) {
            Err(error) if error.kind() != std::io::ErrorKind::StorageFull => panic!("{error}"),
            _ => {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: something may still be syncing.
        let _ = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
    }
}
