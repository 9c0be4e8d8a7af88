//! A LAN in one machine: hosts in network namespaces on a switch.
//!
//! For: showing that nodes find each other by mDNS alone, with nothing shared but a wire. Needs root and
//! iproute2, and says so. Not for: delay or loss.
//!
//! The idea: the switch is a bridge in a namespace of its own, so that nothing at all is made in the machine's
//! own namespace, and deleting the namespaces deletes everything. Their names carry this process's id; those
//! of processes that are gone are stale and are deleted at the start.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

const PREFIX: &str = "parlor-story-";

/// Namespaces with one interface each, all on one bridge.
pub struct Lan {
    namespaces: Vec<String>,
}

impl Lan {
    /// With `hosts` hosts, 10.83.0.1 and so on.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_stale();
        let id = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut lan = Self { namespaces: Vec::new() };
        let switch = format!("{id}-switch");
        lan.add(&switch);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for number in 1..=hosts {
            let host = format!("{id}-{number}");
            lan.add(&host);
            plug(&host, &switch, number);
        }
        lan
    }

    fn add(&mut self, namespace: &str) {
        ip(&["netns", "add", namespace]);
        self.namespaces.push(namespace.to_owned());
        ip(&["-n", namespace, "link", "set", "lo", "up"]);
    }

    /// The namespace of host number `number`, from 0.
    #[must_use]
    pub fn host(&self, number: usize) -> &str {
        &self.namespaces[number + 1]
    }
}

/// Connects a host with the switch.
fn plug(host: &str, switch: &str, number: usize) {
    let port = format!("port{number}");
    ip(&["-n", switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", host]);
    ip(&["-n", switch, "link", "set", &port, "master", "br0", "up"]);
    ip(&["-n", host, "addr", "add", &format!("10.83.0.{number}/24"), "brd", "+", "dev", "eth0"]);
    ip(&["-n", host, "link", "set", "eth0", "up"]);
    // As on any LAN with a router; without a route there would be none for multicast either.
    ip(&["-n", host, "route", "add", "default", "via", "10.83.0.254"]);
}

impl Drop for Lan {
    fn drop(&mut self) {
        for namespace in self.namespaces.iter().rev() {
            // What cannot be deleted now is stale at the next start.
            let _deleted = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn remove_stale() {
    let Ok(entries) = fs::read_dir("/run/netns") else {
        return;
    };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            ip(&["netns", "del", &name]);
        }
    }
}

fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).output().expect("this story needs iproute2 (`ip`)");
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "this story makes a LAN, which needs root: ip {}: {error}",
        args.join(" ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_on_one_wire_and_gone_afterwards() {
        let lan = Lan::new(2);
        let names = lan.namespaces.clone();
        crate::wait_for("the wire to carry", || {
            let links = Command::new("ip").args(["-n", lan.host(1), "addr", "show", "eth0"]).output().ok()?;
            let links = String::from_utf8_lossy(&links.stdout).into_owned();
            (links.contains("10.83.0.2/24") && links.contains("LOWER_UP")).then_some(())
        });
        drop(lan);
        let left = Command::new("ip").args(["netns", "list"]).output().expect("ip is there");
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        assert!(names.iter().all(|name| !left.contains(name.as_str())), "{left}");
    }
}
