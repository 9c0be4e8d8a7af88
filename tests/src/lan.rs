//! A LAN in one machine: hosts in network namespaces on a switch.
//!
//! For: showing that nodes find each other by mDNS alone, with nothing shared but a wire. Not for: delay or
//! loss, nor for anything beyond that wire (see [`crate::internet`]).

use std::sync::Arc;

use crate::{
    netns::Namespace,
    segment::{Host, Prefix, Segment},
};

/// Hosts on one wire, and nothing else.
pub struct Lan {
    hosts: Vec<Host>,
}

impl Lan {
    /// With `hosts` hosts, 10.83.0.1 and so on.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        let wire =
            Segment::new(Arc::new(Namespace::new()), Prefix { v4: Some([10, 83, 0]), ..Prefix::default() });
        Self { hosts: (0..hosts).map(|_| wire.host()).collect() }
    }

    /// The namespace of host number `number`, from 0.
    #[must_use]
    pub fn host(&self, number: usize) -> &str {
        self.hosts[number].name()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn hosts_are_on_one_wire_and_gone_afterwards() {
        let lan = Lan::new(2);
        let names: Vec<_> = lan.hosts.iter().map(|one| one.name().to_owned()).collect();
        crate::wait_for("the wire to carry", || {
            let links = lan.hosts[1].namespace().ip(&["addr", "show", "eth0"]);
            (links.contains("10.83.0.2/24") && links.contains("LOWER_UP")).then_some(())
        });
        drop(lan);
        let left = Command::new("ip").args(["netns", "list"]).output().expect("ip is there");
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        assert!(names.iter().all(|name| !left.lines().any(|line| line.starts_with(name.as_str()))), "{left}");
    }
}
