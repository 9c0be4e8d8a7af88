//! Whole nodes in one process, over loopback: what the parts do to one another.
//!
//! For: races, restarts and hostile peers that need the inside of a node. Not for: the command line and
//! processes that are killed (the stories are).

#![allow(clippy::unwrap_used)]

mod console;
mod discard;
mod ending;
mod files;
mod invitations;
mod past_keys;
mod rights;
mod rogues;
mod stopping;
mod supply;

use std::{path::PathBuf, sync::Arc, time::Duration};

use parlor_proto::{identity::PeerId, ids::SessionId};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Config, Node,
    console::{Command, ContactCommand, End, Get, HostCommand, OfSession, Publish},
};

/// How long something may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One node with its home.
struct Site {
    home: TempDir,
    node: Arc<Node>,
}

impl Site {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let node = Node::start(Config::on_loopback(home.path().join("home"))).await.unwrap().node;
        Self { home, node }
    }

    async fn restart(&mut self) {
        self.node.stop().await;
        self.node = Node::start(Config::on_loopback(self.home.path().join("home"))).await.unwrap().node;
    }

    fn peer(&self) -> PeerId {
        self.node.peer()
    }

    async fn run(&self, command: Command) -> Value {
        self.node.execute(command).await.unwrap()
    }

    /// Why a command is refused.
    async fn refused(&self, command: Command) -> String {
        self.node.execute(command).await.unwrap_err().to_string()
    }

    async fn knows(&self, name: &str, other: &Site, trust: bool) {
        let addresses = other.node.context().overlay.addresses().await.unwrap();
        let who = addresses.first().unwrap().to_string();
        self.run(Command::Contact(ContactCommand::Add { name: name.into(), who, trust })).await;
    }

    /// A program that is nothing but one file, and this text.
    fn program(&self, text: &str) -> PathBuf {
        let dir = self.home.path().join("program");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("index.html"), text).unwrap();
        std::fs::write(dir.join("manifest.toml"), "name = \"chat\"\n").unwrap();
        dir
    }

    async fn publish(&self, text: &str, copies: u32) -> Value {
        let (path, copies) = (self.program(text), Some(copies));
        let publish =
            Publish { path, copies, copies_max: None, price: None, billing: Vec::new(), lease: None };
        self.run(Command::Publish(publish)).await
    }

    /// Opens a session of "chat".
    async fn host(&self, invite: &[&str]) -> SessionId {
        let invite = invite.iter().map(|who| (*who).to_owned()).collect();
        let host = HostCommand { name: "chat".into(), invite, takeover: None, pack: None };
        self.run(Command::Host(host)).await["session"].as_str().unwrap().parse().unwrap()
    }

    async fn end(&self, session: SessionId, discard: bool) {
        self.run(Command::End(End { session: session.to_string(), keep: !discard, discard })).await;
    }

    async fn state(&self, session: SessionId) -> String {
        match self.node.execute(Command::Session(of(session))).await {
            Ok(view) => view["state"].as_str().unwrap().to_owned(),
            Err(_) => "unknown".to_owned(),
        }
    }

    async fn reaches(&self, session: SessionId, state: &str) {
        until(async || self.state(session).await == state).await;
    }

    async fn programs(&self) -> usize {
        self.run(Command::Programs).await["programs"].as_array().unwrap().len()
    }

    async fn tickets(&self) -> usize {
        self.node.context().store.tickets().await.unwrap().len()
    }
}

fn of(session: SessionId) -> OfSession {
    OfSession { session: session.to_string() }
}

fn get(who: &str) -> Get {
    Get { who: who.into(), name: "chat".into(), copies: None }
}

/// Looks until it is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let look = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("it does not come about");
}

/// A host with copies of its own program, and trusting members who join by themselves.
async fn party<const N: usize>(copies: u32) -> (Site, [Site; N]) {
    let host = Site::start().await;
    host.publish("hello", copies).await;
    let mut members = Vec::new();
    for number in 0..N {
        let member = Site::start().await;
        member.knows("host", &host, true).await;
        host.knows(&format!("member{number}"), &member, false).await;
        members.push(member);
    }
    (host, members.try_into().unwrap_or_else(|_| unreachable!("N were made")))
}
