//! A LAN in one machine: hosts in network namespaces on a switch.
//!
//! For: showing that nodes find each other by mDNS alone, with nothing shared but a wire. Not for: delay or
//! loss.

use crate::netns::Namespace;

/// Namespaces with one interface each, all on one bridge, which is in the first.
pub struct Lan {
    namespaces: Vec<Namespace>,
}

impl Lan {
    /// With `hosts` hosts, 10.83.0.1 and so on.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        let switch = Namespace::new();
        switch.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]);
        switch.ip(&["link", "set", "br0", "up"]);
        let mut namespaces = vec![switch];
        for number in 1..=hosts {
            namespaces.push(plug(number, &namespaces[0]));
        }
        Self { namespaces }
    }

    /// The namespace of host number `number`, from 0.
    #[must_use]
    pub fn host(&self, number: usize) -> &str {
        self.namespaces[number + 1].name()
    }
}

/// A new host, connected with the switch.
fn plug(number: usize, switch: &Namespace) -> Namespace {
    let host = Namespace::new();
    let port = format!("port{number}");
    switch.ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", host.name()]);
    switch.ip(&["link", "set", &port, "master", "br0", "up"]);
    host.ip(&["addr", "add", &format!("10.83.0.{number}/24"), "brd", "+", "dev", "eth0"]);
    host.ip(&["link", "set", "eth0", "up"]);
    // As on any LAN with a router; without a route there would be none for multicast either.
    host.ip(&["route", "add", "default", "via", "10.83.0.254"]);
    host
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn hosts_are_on_one_wire_and_gone_afterwards() {
        let lan = Lan::new(2);
        let names: Vec<_> = lan.namespaces.iter().map(|one| one.name().to_owned()).collect();
        crate::wait_for("the wire to carry", || {
            let links = Command::new("ip").args(["-n", lan.host(1), "addr", "show", "eth0"]).output().ok()?;
            let links = String::from_utf8_lossy(&links.stdout).into_owned();
            (links.contains("10.83.0.2/24") && links.contains("LOWER_UP")).then_some(())
        });
        drop(lan);
        let left = Command::new("ip").args(["netns", "list"]).output().expect("ip is there");
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        assert!(names.iter().all(|name| !left.lines().any(|line| line.starts_with(name.as_str()))), "{left}");
    }
}
