//! Network namespaces: a network of one's own for a story.
//!
//! For: making them, doing something in them, and leaving none behind. Needs root and iproute2, and says so.
//! Not for: what they are connected to (see [`crate::segment`]).
//!
//! The idea: nothing at all is made in the machine's own network, so that deleting the namespaces deletes
//! everything. Their names carry this process's id; those of processes that are gone are stale and are deleted
//! before a new one is made.

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::AsFd as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` keeps them.
const PLACE: &str = "/run/netns";

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
        namespace.slow_down("lo", mbit);
        namespace
    }

    /// An interface of it sends so many Mbit/s from now on.
    pub fn slow_down(&self, interface: &str, mbit: u32) {
        let rate = format!("{mbit}mbit");
        let at = ["-n", self.name(), "qdisc", "replace", "dev", interface, "root"];
        run("tc", &[&at[..], &["tbf", "rate", &rate, "burst", "256k", "latency", "50ms"]].concat());
    }

    /// What `ip netns` calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip`, in this namespace. Returns what it printed.
    pub fn ip(&self, args: &[&str]) -> String {
        run("ip", &[&["-n", self.name()], args].concat())
    }

    /// `nft`, in this namespace, with something to read for `--file -`. Returns what it printed.
    pub fn nft(&self, args: &[&str], input: &str) -> String {
        feed("ip", &[&["netns", "exec", self.name(), "nft"], args].concat(), input)
    }

    /// Sets a `sysctl` below `net`, `ipv4/ip_forward` say.
    pub fn set(&self, key: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(key);
        self.enter(|| fs::write(&path, value)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Does something in it, on a thread of its own. Sockets and threads made there stay there for good.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(Path::new(PLACE).join(self.name())).expect("it lasts until it is dropped");
        let inside = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may go there");
            work()
        };
        let done = thread::scope(|scope| scope.spawn(inside).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What cannot be deleted now is stale at the next start.
        let _deleted = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn remove_stale() {
    let Ok(entries) = fs::read_dir(PLACE) else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another test may be just as quick.
            let _deleted = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

fn run(tool: &str, args: &[&str]) -> String {
    feed(tool, args, "")
}

fn feed(tool: &str, args: &[&str], input: &str) -> String {
    let mut child = Command::new(tool)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("this story needs `{tool}` (iproute2, nftables): {e}"));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    // Should it not want to read, it says why by how it ends.
    let _heard = stdin.write_all(input.as_bytes());
    drop(stdin);
    let done = child.wait_with_output().expect("it can be waited for");
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "this story makes a network, which needs root: {tool} {}: {error}",
        args.join(" ")
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::wait_for;

    #[test]
    fn what_a_killed_run_left_behind_is_gone_with_the_next() {
        let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().expect("a process");
        let left = format!("{PREFIX}{}-0", other.id());
        run("ip", &["netns", "add", &left]);
        other.kill().expect("it can be killed");
        other.wait().expect("it ends");
        let mine = Namespace::new();
        // Another test may be at it too, and not be done yet.
        wait_for("it to be gone", || (!Path::new(PLACE).join(&left).exists()).then_some(()));
        assert!(Path::new(PLACE).join(mine.name()).exists(), "of a process that runs");
    }

    #[test]
    fn sockets_stay_where_they_were_made() {
        let namespace = Namespace::new();
        let bind = |place: &Namespace| place.enter(|| UdpSocket::bind("127.0.0.1:4001"));
        let _socket = bind(&namespace).expect("a free port");
        assert!(bind(&namespace).is_err(), "the port is in use there");
        assert!(bind(&Namespace::new()).is_ok(), "but not elsewhere");
    }
}
