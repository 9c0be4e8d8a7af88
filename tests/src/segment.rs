//! One wire of a network: a switch, and the hosts that are plugged into it.
//!
//! For: LANs and the middle of an internet, of network namespaces; hosts that are unplugged, plugged in elsewhere,
//! slowed down and counted. Not for: what lies between two wires (see [`crate::internet`]).
//!
//! The idea: the switch is a bridge in the namespace of whoever is the gateway of that wire, and a host is a
//! namespace with one interface. To change networks is what it is for a laptop: the interface goes and comes
//! back with another address, and the processes stay.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

use crate::{netns::Namespace, wait_for};

/// The interface of a host.
pub const INTERFACE: &str = "eth0";
/// The switch, as an interface of the gateway.
pub const SWITCH: &str = "lan";
/// The last part of the gateway's addresses.
pub const GATEWAY: u8 = 254;

/// Which addresses there are on a wire.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prefix {
    /// The first three bytes of IPv4 addresses.
    pub v4: Option<[u8; 3]>,
    /// What comes after the prefix of documentation, `2001:db8`, in IPv6 addresses.
    pub v6: Option<u16>,
}

impl Prefix {
    fn v4(self, number: u8) -> Option<Ipv4Addr> {
        self.v4.map(|[a, b, c]| Ipv4Addr::new(a, b, c, number))
    }

    fn v6(self, number: u8) -> Option<Ipv6Addr> {
        self.v6.map(|net| Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, number.into()))
    }
}

/// A wire.
pub struct Segment {
    gateway: Arc<Namespace>,
    prefix: Prefix,
    /// The names of all hosts that were ever here. Their places are their numbers, less one.
    hosts: Mutex<Vec<String>>,
}

impl Segment {
    /// One whose switch is in the gateway's namespace.
    #[must_use]
    pub fn new(gateway: Arc<Namespace>, prefix: Prefix) -> Self {
        // Without snooping it needs nobody who asks for members of groups.
        gateway.ip(&["link", "add", SWITCH, "type", "bridge", "mcast_snooping", "0"]);
        address(&gateway, SWITCH, prefix, GATEWAY);
        gateway.ip(&["link", "set", SWITCH, "up"]);
        Self { gateway, prefix, hosts: Mutex::default() }
    }

    /// A new host on it. The first is number 1, `10.83.0.1` say.
    #[must_use]
    pub fn host(&self) -> Host {
        let namespace = Arc::new(Namespace::new());
        let plug = self.plug(&namespace);
        Host { namespace, plug }
    }

    fn plug(&self, host: &Namespace) -> Plug {
        let number = self.number(host.name());
        let port = format!("port{number}");
        let peer = ["type", "veth", "peer", "name", INTERFACE, "netns", host.name()];
        self.gateway.ip(&[&["link", "add", &port], &peer[..]].concat());
        self.gateway.ip(&["link", "set", &port, "master", SWITCH, "up"]);
        address(host, INTERFACE, self.prefix, number);
        host.ip(&["link", "set", INTERFACE, "up"]);
        // Multicast takes the default route too.
        if let Some(gateway) = self.prefix.v4(GATEWAY) {
            host.ip(&["route", "add", "default", "via", &gateway.to_string()]);
        }
        if let Some(gateway) = self.prefix.v6(GATEWAY) {
            host.ip(&["-6", "route", "add", "default", "via", &gateway.to_string()]);
            let tentative = ["-6", "addr", "show", "dev", INTERFACE, "scope", "global", "tentative"];
            wait_for("the address to be good", || host.ip(&tentative).is_empty().then_some(()));
        }
        Plug { switch: self.gateway.clone(), port, prefix: self.prefix, number }
    }

    /// Who comes back gets the address that it had, as from most home routers.
    fn number(&self, host: &str) -> u8 {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let place = hosts.iter().position(|known| known == host).unwrap_or_else(|| {
            hosts.push(host.to_owned());
            hosts.len() - 1
        });
        u8::try_from(place + 1).ok().filter(|number| *number < GATEWAY).expect("this wire is full")
    }
}

fn address(namespace: &Namespace, interface: &str, prefix: Prefix, number: u8) {
    if let Some(ip) = prefix.v4(number) {
        namespace.ip(&["addr", "add", &format!("{ip}/24"), "brd", "+", "dev", interface]);
    }
    if let Some(ip) = prefix.v6(number) {
        // Nobody else has it.
        namespace.ip(&["addr", "add", &format!("{ip}/64"), "dev", interface, "nodad"]);
    }
}

/// Somebody on a wire.
pub struct Host {
    namespace: Arc<Namespace>,
    plug: Plug,
}

/// Where a host is plugged in.
struct Plug {
    switch: Arc<Namespace>,
    port: String,
    prefix: Prefix,
    number: u8,
}

impl Host {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// What `ip netns` calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Its IPv4 address on this wire.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.plug.prefix.v4(self.plug.number).expect("this wire has IPv4")
    }

    /// Its IPv6 address on this wire.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.plug.prefix.v6(self.plug.number).expect("this wire has IPv6")
    }

    /// It leaves its network and goes into another.
    pub fn moves_to(&mut self, segment: &Segment) {
        // The switch's end goes with it.
        self.namespace.ip(&["link", "del", INTERFACE]);
        self.plug = segment.plug(&self.namespace);
    }

    /// Pulls its plug.
    pub fn cut(&self) {
        self.plug.switch.ip(&["link", "set", &self.plug.port, "down"]);
    }

    /// Puts the plug back.
    pub fn mend(&self) {
        self.plug.switch.ip(&["link", "set", &self.plug.port, "up"]);
    }

    /// It sends so many Mbit/s at most from now on, until it moves.
    pub fn slow_down(&self, mbit: u32) {
        self.namespace.slow_down(INTERFACE, mbit);
    }

    /// How many bytes it has sent on this wire.
    #[must_use]
    pub fn sent(&self) -> u64 {
        let shown = self.namespace.ip(&["-json", "-statistics", "link", "show", INTERFACE]);
        let shown: Value = serde_json::from_str(&shown).expect("ip speaks JSON");
        shown[0]["stats64"]["tx"]["bytes"].as_u64().unwrap_or_else(|| panic!("no statistics: {shown:#}"))
    }
}
