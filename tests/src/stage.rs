//! The usual roles of a session, far apart: in homes behind routers, with relays between them.
//!
//! For: a [`Cast`] of which nobody can simply call a member, and what the internet does to it. Not for: what the
//! routers do (see [`crate::internet`]).
//!
//! The idea: whoever would rent a server for it (relays, the origin, the billing peer) has a public address, and is
//! known by it. The others are known by their PeerIds alone: how to reach them is what the relays are for.

use crate::{
    cast::Cast,
    internet::{Home, Internet, nat::Nat},
    node::{Node, Setup, items},
    segment::Host,
    wait_for, wait_until,
    world::World,
};

/// At which relays listen.
const PORT: u16 = 4001;

/// A relay, and where it is.
pub struct Relay {
    /// Its node.
    pub node: Node,
    /// Its machine.
    pub host: Host,
}

impl Relay {
    /// For `--relay`.
    #[must_use]
    pub fn address(&self, v6: bool) -> String {
        let ip = if v6 { format!("/ip6/{}", self.host.v6()) } else { format!("/ip4/{}", self.host.v4()) };
        format!("{ip}/udp/{PORT}/quic-v1/p2p/{}", self.node.peer())
    }
}

/// A stage that is about to be set.
pub struct Plan {
    relays: Vec<Relay>,
    strange: Vec<String>,
    world: World,
    internet: Internet,
}

impl Plan {
    /// Of an internet on which there is nothing yet.
    #[expect(clippy::new_without_default, reason = "it makes something in the system")]
    #[must_use]
    pub fn new() -> Self {
        Self { relays: Vec::new(), strange: Vec::new(), world: World::new(), internet: Internet::new() }
    }

    /// Where it will be.
    #[must_use]
    pub fn internet(&self) -> &Internet {
        &self.internet
    }

    /// With a relay, and with these more arguments for it.
    #[must_use]
    pub fn relay(mut self, args: &[&str]) -> Self {
        let host = self.internet.host();
        let name = format!("relay{}", self.relays.len() + 1);
        let mut up = Setup::by_default(&name, self.world.file(&name)).within(host.name());
        up = up.args(&[&"--serve-relay", &"--no-mdns"]);
        for ip in [format!("/ip4/{}", host.v4()), format!("/ip6/{}", host.v6())] {
            for transport in [format!("udp/{PORT}/quic-v1"), format!("tcp/{PORT}")] {
                up = up.args(&[&"--listen", &format!("{ip}/{transport}")]);
            }
        }
        for arg in args {
            up = up.args(&[arg]);
        }
        self.relays.push(Relay { node: up.up(), host });
        self
    }

    /// Those in homes are told of this relay too. It is somebody else's.
    #[must_use]
    pub fn relay_of_others(mut self, address: &str) -> Self {
        self.strange.push(address.to_owned());
        self
    }

    /// What somebody in a home is told of the relays.
    #[must_use]
    pub fn told(&self, nat: Nat) -> Vec<String> {
        let addresses = self.relays.iter().map(|relay| relay.address(nat == Nat::Ipv6));
        addresses.chain(self.strange.clone()).flat_map(|relay| ["--relay".to_owned(), relay]).collect()
    }

    /// A node on one of its machines, with more arguments.
    #[must_use]
    pub fn up(&self, name: &str, host: &Host, args: &[String]) -> Node {
        let setup = Setup::by_default(name, self.world.file(name)).within(host.name());
        args.iter().fold(setup, |setup, arg| setup.args(&[arg])).up()
    }

    /// Starts everybody: in each of these homes the nodes with these names. The first of all is the session's host.
    #[must_use]
    pub fn stage(self, homes: &[(Nat, &[&str])]) -> Stage {
        let mut hosts = Vec::new();
        let mut nodes = Vec::new();
        let mut built = Vec::new();
        for (nat, names) in homes {
            let home = self.internet.home(*nat);
            let args = self.told(*nat);
            for name in *names {
                let host = home.host();
                nodes.push(self.up(name, &host, &args));
                hosts.push(host);
            }
            built.push(home);
        }
        let servers = [self.internet.host(), self.internet.host()];
        let [origin, billing] =
            [("origin", &servers[0]), ("billing", &servers[1])].map(|(name, host)| self.up(name, host, &[]));
        let host = nodes.remove(0);
        let Self { relays, world, internet, .. } = self;
        let cast = Cast { origin, billing, host, members: nodes, world, network: None };
        let stage = Stage { cast, relays, homes: built, hosts, servers, internet };
        stage.acquaint();
        stage
    }
}

/// Everybody, running. Fields are in the order in which they are dropped: nodes before their networks.
pub struct Stage {
    /// Those who act.
    pub cast: Cast,
    /// Those who pass on what they say.
    pub relays: Vec<Relay>,
    /// The homes, in the order of the plan.
    pub homes: Vec<Home>,
    /// The machines of the session's host and of the members.
    pub hosts: Vec<Host>,
    /// Those of the origin and of the billing peer.
    pub servers: [Host; 2],
    /// Between them.
    pub internet: Internet,
}

impl Stage {
    fn at_home(&self) -> impl Iterator<Item = &Node> {
        [&self.cast.host].into_iter().chain(&self.cast.members)
    }

    fn acquaint(&self) {
        let Cast { origin, billing, .. } = &self.cast;
        let knows = |one: &Node, server: &Node| {
            for public in ["/ip4/203.", "/ip6/2001:"] {
                one.run(&["contact", "add", server.name(), &server.address_with(public)]);
            }
        };
        knows(origin, billing);
        for one in self.at_home() {
            knows(one, origin);
            knows(one, billing);
            for other in self.at_home().filter(|other| other.peer() != one.peer()) {
                one.run(&["contact", "add", other.name(), other.peer()]);
            }
        }
    }

    /// Waits until everybody can be reached through a relay.
    pub fn wait_reachable(&self) {
        self.at_home().for_each(wait_reachable);
    }

    /// How many bytes the relays have sent.
    #[must_use]
    pub fn relayed(&self) -> u64 {
        self.relays.iter().map(|relay| relay.host.sent()).sum()
    }
}

/// Waits until a node has an address at a relay.
pub fn wait_reachable(node: &Node) {
    wait_until(&format!("{} to be reachable through a relay", node.name()), || {
        let id = node.run(&["id"]);
        let has_circuit = items(&id, "addrs").iter().any(|one| one.to_string().contains("/p2p-circuit"));
        if has_circuit { Ok(()) } else { Err(format!("{id:#}")) }
    });
}

/// How a node is connected with another: `direct` or `relayed`, if it is.
#[must_use]
pub fn path(node: &Node, other: &Node) -> Option<String> {
    let peers = node.run(&["peers"]);
    let found = items(&peers, "peers").iter().find(|one| one["peer"] == other.peer())?;
    Some(found["path"].as_str()?.to_owned())
}

/// Waits until two nodes are connected in this way.
#[track_caller]
pub fn wait_path(one: &Node, other: &Node, wanted: &str) {
    for (node, other) in [(one, other), (other, one)] {
        wait_for(&format!("{} and {} to be connected, {wanted}", node.name(), other.name()), || {
            (path(node, other).as_deref() == Some(wanted)).then_some(())
        });
    }
}
