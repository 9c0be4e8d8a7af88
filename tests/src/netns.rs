//! Network namespaces: a network of one's own for a story.
//!
//! For: making them, and leaving none behind. Needs root and iproute2, and says so. Not for: what they are
//! connected to (see [`crate::lan`]).
//!
//! The idea: nothing at all is made in the machine's own network, so that deleting the namespaces deletes
//! everything. Their names carry this process's id; those of processes that are gone are stale and are deleted
//! before a new one is made.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

const PREFIX: &str = "parlor-story-";

/// A network namespace with a loopback interface. Dropping it deletes it.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one.
    #[expect(clippy::new_without_default, reason = "it makes something in the system")]
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_stale();
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// One whose loopback carries so many Mbit/s, so that things take a while.
    #[must_use]
    pub fn slow(mbit: u32) -> Self {
        let namespace = Self::new();
        let rate = format!("{mbit}mbit");
        let shape =
            ["qdisc", "add", "dev", "lo", "root", "tbf", "rate", &rate, "burst", "256k", "latency", "50ms"];
        run("tc", &[&["-n", namespace.name()], &shape[..]].concat());
        namespace
    }

    /// What `ip netns` calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip`, in this namespace.
    pub fn ip(&self, args: &[&str]) {
        run("ip", &[&["-n", self.name()], args].concat());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What cannot be deleted now is stale at the next start.
        let _deleted = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn remove_stale() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another test may be just as quick.
            let _deleted = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

fn run(tool: &str, args: &[&str]) {
    let done = Command::new(tool).args(args).output().expect("this story needs iproute2 (`ip`, `tc`)");
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "this story makes a network, which needs root: {tool} {}: {error}",
        args.join(" ")
    );
}
