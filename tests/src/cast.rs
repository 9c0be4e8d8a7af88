//! The usual roles of a session: an origin, a billing peer, a host and its members.
//!
//! For: the steps that most stories have in common, so that each story shows only what it is about. Not for:
//! asserting what `first_light` asserts; these steps only fail when they cannot be taken.

use std::path::Path;

use serde_json::Value;

use crate::{
    netns::Namespace,
    node::{Node, items},
    wait_for,
    watch::Watch,
    world::World,
};

/// Everybody, running and in each other's contacts. Fields are in the order in which they are dropped.
pub struct Cast {
    /// Publishes programs.
    pub origin: Node,
    /// Keeps the books.
    pub billing: Node,
    /// Gets a program and invites.
    pub host: Node,
    /// Those it invites.
    pub members: Vec<Node>,
    /// Where all of them live.
    pub world: World,
    /// Their network, if it is not the machine's.
    pub network: Option<Namespace>,
}

/// Mbit/s of a slow network: [`BULK`](crate::programs::BULK) takes some three seconds.
const SLOW: u32 = 200;

/// What was published to be used by a cast: per copy 1 EUR, per reception 5 cent.
pub const PRICE: &str = "copy=100EUR,reception=5EUR";

impl Cast {
    /// Starts all and makes them known to each other by their addresses on loopback.
    #[must_use]
    pub fn gather(members: &[&str]) -> Self {
        Self::gather_in(None, members)
    }

    /// The same in a slow network, in which a transfer takes long enough for something to happen in its midst.
    #[must_use]
    pub fn gather_slowly(members: &[&str]) -> Self {
        Self::gather_in(Some(Namespace::slow(SLOW)), members)
    }

    fn gather_in(network: Option<Namespace>, members: &[&str]) -> Self {
        let world = World::new();
        let up = |name: &str| match &network {
            Some(network) => world.setup(name).within(network.name()).up(),
            None => world.node(name),
        };
        let [origin, billing, host] = ["origin", "billing", "host"].map(up);
        let members = members.iter().map(|name| up(name)).collect();
        let cast = Self { origin, billing, host, members, world, network };
        cast.acquaint();
        cast
    }

    fn all(&self) -> Vec<&Node> {
        [&self.origin, &self.billing, &self.host].into_iter().chain(&self.members).collect()
    }

    fn acquaint(&self) {
        for one in self.all() {
            for other in self.all() {
                if one.peer() != other.peer() {
                    one.knows(other);
                }
            }
        }
    }

    /// The origin offers a program, at [`PRICE`], to be accounted for to the billing peer.
    pub fn publish(&self, path: &Path, policy: &[&str]) -> Value {
        let path = path.to_str().expect("a path in UTF-8");
        let mut verb = vec!["publish", path, "--price", PRICE, "--billing", self.billing.peer()];
        verb.extend(policy);
        self.origin.run(&verb)
    }

    /// A program is published in `copies` copies and the host gets it. Returns its name.
    pub fn supply(&self, path: &Path, copies: usize) -> String {
        let published = self.publish(path, &["--copies", &copies.to_string()]);
        let name = published["name"].as_str().expect("a published program has a name").to_owned();
        self.host.run(&["get", "origin", &name]);
        name
    }

    /// The host opens a session and invites all members. Returns the session.
    pub fn invite_all(&self, name: &str) -> String {
        let names: Vec<&str> = self.members.iter().map(Node::name).collect();
        host(&self.host, name, &names)
    }

    /// All members accept.
    pub fn join_all(&self, session: &str) {
        for member in &self.members {
            join(member, session);
        }
    }

    /// Waits until the program runs on host and members.
    pub fn wait_running(&self, session: &str) {
        self.host.wait_state(session, "running");
        for member in &self.members {
            member.wait_state(session, "running");
        }
    }

    /// From nothing to a running session with all members. Returns it.
    pub fn run(&self, path: &Path) -> String {
        let name = self.supply(path, self.members.len());
        let session = self.invite_all(&name);
        self.join_all(&session);
        self.wait_running(&session);
        session
    }

    /// Waits until every receipt has been acknowledged, and returns the billing peer's statement.
    pub fn settle(&self) -> Value {
        for node in [&self.host].into_iter().chain(&self.members) {
            wait_outbox_empty(node);
        }
        self.billing.run(&["bill", "statement"])["statement"].clone()
    }

    /// Asserts the bill of one session: the host paid for `copies`, and it and `receivers` of the members
    /// for what each received, once.
    pub fn assert_bill(&self, copies: usize, receivers: &[&Node]) {
        let statement = self.settle();
        assert_eq!(statement["receptions"], 1 + receivers.len(), "{statement:#}");
        let payers = items(&statement, "payers");
        assert_eq!(payers.len(), 1 + receivers.len(), "{statement:#}");
        for (node, copies) in [(&self.host, copies)].into_iter().chain(receivers.iter().map(|one| (*one, 0)))
        {
            let line = payers.iter().find(|line| line["payer"] == node.peer());
            let line = line.unwrap_or_else(|| panic!("{} pays nothing: {statement:#}", node.name()));
            assert_eq!(line["receptions"], 1, "{}: {statement:#}", node.name());
            assert_eq!(line["copies"], copies, "{}: {statement:#}", node.name());
            assert_eq!(line["total"]["amount"], 100 * copies + 5, "{}: {statement:#}", node.name());
            assert_eq!(line["total"]["currency"], "EUR", "{}: {statement:#}", node.name());
        }
    }
}

/// `host NAME --invite …`; returns the session.
#[must_use]
pub fn host(host: &Node, name: &str, invite: &[&str]) -> String {
    let mut verb = vec!["host", name];
    invite.iter().for_each(|who| verb.extend(["--invite", who]));
    host.run(&verb)["session"].as_str().expect("a session has an id").to_owned()
}

/// Waits for the invitation, then accepts it.
pub fn join(member: &Node, session: &str) {
    member.wait_invitation(session);
    member.run(&["join", session]);
}

/// What a transfer that was interrupted may fetch in excess, bytes: what was on its way, or not noted yet.
pub const SLACK: u64 = 8 << 20;

/// Waits until a member's transfer is under way but far from done; returns what is done and the total, bytes.
pub fn wait_midway(member: &Node, session: &str) -> (u64, u64) {
    wait_for("a transfer under way", || {
        let now = member.call(&["session", session]).lines().pop()?;
        assert!(now["state"] != "ready" && now["state"] != "running", "it was over too soon: {now:#}");
        let (done, total) = (now["transfer"]["done"].as_u64()?, now["transfer"]["total"].as_u64()?);
        (done > total / 50 && done < total / 10 * 9).then_some((done, total))
    })
}

/// Waits until a node has no receipt left that was not acknowledged.
pub fn wait_outbox_empty(node: &Node) {
    wait_for(&format!("{} to have all receipts acknowledged", node.name()), || {
        items(&node.run(&["outbox"]), "receipts").is_empty().then_some(())
    });
}

/// Asserts how many of the ticket's copies are used in a session.
#[track_caller]
pub fn assert_slots(session: &Value, copies: u64, used: u64) {
    let slots = &session["slots"];
    assert_eq!(slots["copies"], copies, "{session:#}");
    assert_eq!(slots["used"], used, "{session:#}");
    assert_eq!(slots["left"], copies - used, "{session:#}");
}

/// A member as the host's `session` shows it.
#[track_caller]
#[must_use]
pub fn member<'a>(session: &'a Value, node: &Node) -> &'a Value {
    let members = items(session, "members");
    let found = members.iter().find(|one| one["peer"] == node.peer());
    found.unwrap_or_else(|| panic!("{} is not in {session:#}", node.name()))
}

/// Everybody says something; everybody hears each of it exactly once, from whom said it. `tag` tells this
/// conversation from others in the same session.
pub fn talk(session: &str, nodes: &[&Node], tag: &str) {
    let watches: Vec<Watch> = nodes.iter().map(|node| node.watch(session)).collect();
    let text = |node: &Node| format!("{tag}: {} speaks", node.name());
    for node in nodes {
        node.run(&["send", session, &text(node)]);
    }
    for (listener, watch) in nodes.iter().zip(&watches) {
        for speaker in nodes {
            let heard = watch.wait_update(text(speaker));
            assert_eq!(heard["sender"], speaker.peer(), "{} hears {heard}", listener.name());
            assert_eq!(heard["name"], speaker.name(), "{} hears {heard}", listener.name());
        }
        let mut payloads: Vec<String> = watch.payloads().iter().map(ToString::to_string).collect();
        let all = payloads.len();
        payloads.sort();
        payloads.dedup();
        assert_eq!(payloads.len(), all, "{} hears something twice: {:#?}", listener.name(), watch.seen());
    }
}
