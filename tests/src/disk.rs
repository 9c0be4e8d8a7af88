//! A disk that is soon full.
//!
//! For: a file system of a chosen size, mounted for one story. Needs root, and says so. Not for: I/O errors
//! other than "no space left".

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted file system in memory. Dropping it unmounts it.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `mib` MiB at `path`, which is created.
    #[must_use]
    pub fn mount(path: PathBuf, mib: u64) -> Self {
        std::fs::create_dir_all(&path).expect("a directory");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "tmpfs"])
            .arg(&path));
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all space that is left, by the file it returns.
    #[must_use]
    pub fn fill(&self) -> PathBuf {
        let path = self.path.join("filler");
        let mut file = File::create(&path).expect("a file");
        let block = vec![1; 1 << 16];
        while let Ok(written) = file.write(&block) {
            assert!(written > 0, "a full disk says so");
        }
        path
    }

    /// Takes all space but for so many bytes, by the file it returns; `filler`, of before, goes.
    #[must_use]
    pub fn fill_but(&self, spare: u64) -> PathBuf {
        let path = self.fill();
        let file = File::options().write(true).open(&path).expect("it was just made");
        let len = file.metadata().expect("it is there").len();
        file.set_len(len.saturating_sub(spare)).expect("a file can be made shorter");
        path
    }

    /// Makes it larger.
    pub fn resize(&self, mib: u64) {
        run(Command::new("mount").args(["-o", &format!("remount,size={mib}m")]).arg(&self.path));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: should a process still be in it, it goes away with that process.
        let done = Command::new("umount").arg("-l").arg(&self.path).status();
        if !done.is_ok_and(|status| status.success()) && !std::thread::panicking() {
            panic!("cannot unmount {}", self.path.display());
        }
    }
}

fn run(command: &mut Command) {
    let done = command.output().expect("mount is there");
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "this story mounts a small disk, which needs root: {command:?}: {error}");
}
