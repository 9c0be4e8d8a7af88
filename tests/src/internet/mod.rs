//! A laboratory of NATs: an internet in one machine, with homes behind routers of several kinds.
//!
//! For: stories of nodes that cannot simply call each other, their relays, and what happens when a link or a relay
//! goes. Not for: delay and loss, and the address translators of providers (a home has one router).
//!
//! The idea: hosts with public addresses are on one wire, the backbone, and so are the routers of homes. Behind a
//! router is a wire of its own with private addresses, where multicast is heard and which it does not leave. What
//! a router does is a ruleset of nftables (see [`nat`]); what that comes to is shown by probes, in the tests here.
//! It may also open ports for those in its home (see [`ports`]).

pub mod nat;
pub mod ports;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use self::{
    nat::Nat,
    ports::{Ask, Opener},
};
use crate::{
    netns::Namespace,
    segment::{GATEWAY, Host, INTERFACE, Prefix, SWITCH, Segment},
};

/// Where public addresses are: 203.0.113.1 and 2001:db8::1 and so on.
const PUBLIC: Prefix = Prefix { v4: Some([203, 0, 113]), v6: Some(0) };

/// The backbone. Dropping it and all that is on it deletes everything.
pub struct Internet {
    backbone: Arc<Namespace>,
    wire: Segment,
    homes: AtomicU8,
}

impl Internet {
    /// One with nobody on it.
    #[expect(clippy::new_without_default, reason = "it makes something in the system")]
    #[must_use]
    pub fn new() -> Self {
        let backbone = Arc::new(Namespace::new());
        forwards(&backbone);
        let wire = Segment::new(backbone.clone(), PUBLIC);
        // The way to routers that have such an address too.
        let [a, b, c] = ports::REAL;
        backbone.ip(&["addr", "add", &format!("{a}.{b}.{c}.{GATEWAY}/24"), "dev", SWITCH]);
        Self { backbone, wire, homes: AtomicU8::new(0) }
    }

    /// A host that anybody can call.
    #[must_use]
    pub fn host(&self) -> Host {
        self.wire.host()
    }

    /// A home behind a router.
    #[must_use]
    pub fn home(&self, nat: Nat) -> Home {
        let number = self.homes.fetch_add(1, Ordering::Relaxed) + 1;
        let router = self.wire.host();
        let prefix = if nat == Nat::Ipv6 {
            let prefix = Prefix { v6: Some(number.into()), ..Prefix::default() };
            let subnet = format!("2001:db8:{number:x}::/64");
            self.backbone.ip(&["-6", "route", "add", &subnet, "via", &router.v6().to_string()]);
            prefix
        } else {
            Prefix { v4: Some([10, number, 0]), ..Prefix::default() }
        };
        forwards(router.namespace());
        router.namespace().nft(&["--file", "-"], &nat.rules(INTERFACE));
        Home { wire: Segment::new(router.namespace().clone(), prefix), router }
    }
}

/// What comes to this machine and is not for it goes on.
fn forwards(machine: &Namespace) {
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        machine.set(family, "1");
    }
}

/// A home: some hosts on a wire of their own, and the router between them and the internet.
pub struct Home {
    router: Host,
    wire: Segment,
}

impl Home {
    /// A new host in it.
    #[must_use]
    pub fn host(&self) -> Host {
        self.wire.host()
    }

    /// Its wire, for who moves in.
    #[must_use]
    pub fn wire(&self) -> &Segment {
        &self.wire
    }

    /// Its router, as the internet sees it.
    #[must_use]
    pub fn router(&self) -> &Host {
        &self.router
    }

    /// From now on its router opens ports for whoever asks for them in this way.
    #[must_use]
    pub fn opens_ports(&self, ask: Ask) -> Opener {
        Opener::at(self, ask)
    }

    /// How many packets from outside the router has dropped, as nobody had asked for them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        nat::dropped(self.router.namespace())
    }
}
