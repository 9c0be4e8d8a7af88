//! Which nodes are near or connected.
//!
//! For: what is known of each peer right now, and its name. Not for: addresses (see [`super::book`]).

use std::collections::HashMap;

use parlor_proto::{identity::PeerId, wire};

/// Nodes found nearby that are kept in mind without a connection. More are ignored until some are gone.
const MAX_NEAR: usize = 256;

/// How this node came to know of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// In the local network, by mDNS.
    Nearby,
    /// This node called it.
    Dialled,
    /// It called this node.
    Called,
}

/// What is known of one peer.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) found: Found,
    /// Connections with it.
    pub(crate) links: u32,
    /// In the local network.
    pub(crate) near: bool,
    /// Set once it has identified itself as a Parlor node.
    pub(crate) nickname: Option<String>,
    /// It has identified itself as something else, or not at all.
    pub(crate) is_stranger: bool,
    /// A connection with it is within this machine.
    pub(crate) is_local: bool,
    /// Whether the rest of the node has been told that it is connected.
    pub(crate) is_told: bool,
}

/// All peers near or connected. Bounded by the connection limits and [`MAX_NEAR`].
#[derive(Debug, Default)]
pub(crate) struct Nodes(HashMap<PeerId, Node>);

impl Nodes {
    /// A new connection, the first one or not.
    pub(crate) fn connected(&mut self, peer: PeerId, found: Found, is_local: bool) {
        let node = self.entry(peer, found);
        node.links += 1;
        node.is_local |= is_local;
    }

    /// A connection less. Whether it was the last one of a node that had been told of.
    pub(crate) fn disconnected(&mut self, peer: PeerId, remaining: u32) -> bool {
        let Some(node) = self.0.get_mut(&peer) else {
            return false;
        };
        node.links = remaining;
        node.is_stranger &= remaining > 0;
        if remaining > 0 {
            return false;
        }
        let was_told = std::mem::take(&mut node.is_told);
        if !node.near {
            self.0.remove(&peer);
        }
        was_told
    }

    /// Found in the local network. Whether there is room for it.
    pub(crate) fn near(&mut self, peer: PeerId) -> bool {
        let room = self.0.values().filter(|node| node.near).count() < MAX_NEAR;
        let known = self.0.get(&peer).is_some_and(|node| node.near);
        if room || known {
            self.entry(peer, Found::Nearby).near = true;
        }
        room || known
    }

    /// No longer announced in the local network.
    pub(crate) fn gone(&mut self, peer: PeerId) {
        let Some(node) = self.0.get_mut(&peer) else { return };
        node.near = false;
        if node.links == 0 {
            self.0.remove(&peer);
        }
    }

    /// It is a Parlor node of this name. Whether that is news.
    pub(crate) fn identified(&mut self, peer: PeerId, nickname: String) -> bool {
        let Some(node) = self.0.get_mut(&peer).filter(|node| node.links > 0) else {
            return false;
        };
        node.nickname = Some(nickname);
        node.is_stranger = false;
        !std::mem::replace(&mut node.is_told, true)
    }

    /// It is no Parlor node, unless another connection shows that it is.
    pub(crate) fn stranger(&mut self, peer: PeerId) {
        if let Some(node) = self.0.get_mut(&peer) {
            node.is_stranger = node.nickname.is_none();
        }
    }

    pub(crate) fn get(&self, peer: &PeerId) -> Option<&Node> {
        self.0.get(peer)
    }

    /// Those that are Parlor nodes as far as is known.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Node)> {
        self.0.iter().map(|(peer, node)| (*peer, node)).filter(|(_, node)| node.nickname.is_some())
    }

    fn entry(&mut self, peer: PeerId, found: Found) -> &mut Node {
        let new = Node {
            found,
            links: 0,
            near: false,
            nickname: None,
            is_stranger: false,
            is_local: false,
            is_told: false,
        };
        self.0.entry(peer).or_insert(new)
    }
}

/// What a node calls its program and itself in identify.
pub(crate) fn agent(nickname: &str) -> String {
    format!("parlor/{} {}", env!("CARGO_PKG_VERSION"), sanitised(nickname)).trim_end().to_owned()
}

/// The name in a peer's agent string; empty if it has none.
pub(crate) fn nickname(agent: &str) -> String {
    agent
        .strip_prefix("parlor/")
        .and_then(|rest| rest.split_once(' '))
        .map(|(_version, nickname)| sanitised(nickname))
        .unwrap_or_default()
}

/// One line of text that cannot disturb a terminal or a page: no control or direction characters, single
/// spaces, at most [`wire::MAX_NAME`] bytes.
fn sanitised(name: &str) -> String {
    let is_invisible = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    // Every kept character has at least one byte, so this looks at no more than it may keep, four times over.
    let looked_at = name.chars().take(4 * wire::MAX_NAME);
    let visible: String =
        looked_at.filter(|c| !is_invisible(*c)).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut name = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    while name.len() > wire::MAX_NAME {
        name.pop();
    }
    name.truncate(name.trim_end().len());
    name
}

#[cfg(test)]
mod tests {
    use parlor_proto::identity::Identity;

    use super::*;

    #[test]
    fn names_survive_the_way_and_tricks_do_not() {
        assert_eq!(nickname(&agent("Ada Lovelace")), "Ada Lovelace");
        assert_eq!(nickname(&agent("")), "");
        assert_eq!(nickname("rust-libp2p/0.57"), "");
        assert_eq!(nickname("parlor/9 \u{1b}[31mred\n\n\u{202e}dlrow  "), "[31mred dlrow");
        let long = nickname(&format!("parlor/1 {}", "ä".repeat(100_000)));
        assert_eq!(long.len(), wire::MAX_NAME);
    }

    #[test]
    fn a_node_nearby_outlives_its_connection_and_another_does_not() {
        let [near, far] = [1, 2].map(|number| Identity::from_seed(&[number; 32]).peer());
        let mut nodes = Nodes::default();
        assert!(nodes.near(near));
        nodes.connected(near, Found::Dialled, false);
        nodes.connected(far, Found::Called, false);
        assert!(nodes.identified(near, "near".into()));
        assert!(!nodes.identified(near, "near".into()), "no news");
        assert!(nodes.disconnected(near, 0));
        assert!(!nodes.disconnected(far, 0), "nobody was told of it");
        assert!(nodes.get(&far).is_none());
        assert_eq!(nodes.iter().map(|(peer, node)| (peer, node.links)).collect::<Vec<_>>(), [(near, 0)]);
        nodes.gone(near);
        assert!(nodes.get(&near).is_none());
    }

    #[test]
    fn only_so_many_are_kept_in_mind() {
        let mut nodes = Nodes::default();
        for number in 0..2 * MAX_NEAR {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&number.to_be_bytes());
            nodes.near(Identity::from_seed(&seed).peer());
        }
        assert_eq!(nodes.0.len(), MAX_NEAR);
    }
}
