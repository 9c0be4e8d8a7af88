//! A disk that is soon full.
//!
//! For: a file system of a chosen size, mounted for one story. Needs root, and says so. Not for: I/O errors
//! other than "no space left".

use std::{
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
    pub fn mount(path: PathBuf, mib: u32) -> Self {
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

    /// Makes space.
    pub fn resize(&self, mib: u32) {
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
