//! Agents in the sandbox: what they can do, and what they cannot.
//!
//! The idea: every agent here is a few lines of WebAssembly text in a template (see `guest`). A [`Stage`] has a sandbox
//! and one agent's surroundings; tests wait for what the agent writes, or for why it was stopped.

#![allow(clippy::unwrap_used)]

mod events;
mod guest;
mod hostile;
mod loading;
mod packs;
mod room;
mod wasi;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

use self::room::Room;
use super::{Agent, Code, Event, Limits, LoadError, Readiness, Sandbox, Stopped, Surroundings};

/// For what comes sooner or later, on a machine that has other things to do.
const GENEROUS: Duration = Duration::from_secs(120);

/// Nobody is stopped for being slow only because the machine is.
fn patient() -> Limits {
    Limits { event: GENEROUS, phase: GENEROUS, ..Limits::default() }
}

/// A sandbox, and the surroundings of one agent.
struct Stage {
    sandbox: Sandbox,
    room: Arc<Room>,
    lines: UnboundedReceiver<String>,
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Room)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::new(&folder.path().join("cache")).unwrap();
        let (mut room, lines) = Room::new();
        change(&mut room);
        Self { sandbox, room: Arc::new(room), lines, folder }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    async fn load(&self, component: &[u8]) -> Result<Code, LoadError> {
        self.sandbox.load(self.put("agent.wasm", component)).await
    }

    fn surroundings(&self) -> Arc<dyn Surroundings> {
        Arc::<Room>::clone(&self.room)
    }

    async fn setup(&self, component: &[u8], limits: &Limits) -> Result<Readiness, Stopped> {
        let code = self.load(component).await.unwrap();
        self.sandbox.setup(&code, self.surroundings(), limits).await
    }

    async fn start(&self, component: &[u8], limits: Limits) -> Agent {
        self.start_with(component, limits, None).await
    }

    async fn start_with(&self, component: &[u8], limits: Limits, state: Option<&[u8]>) -> Agent {
        let path = self.folder.path().join(format!("{}.wasm", blake3::hash(component)));
        // One that is being read stays as it is.
        if !path.exists() {
            std::fs::write(&path, component).unwrap();
        }
        self.sandbox.load(path.clone()).await.unwrap();
        self.sandbox.start(path, self.surroundings(), limits, state.map(<[u8]>::to_vec))
    }

    /// The next line that the agent writes.
    async fn line(&mut self) -> String {
        tokio::time::timeout(GENEROUS, self.lines.recv()).await.unwrap().unwrap()
    }
}

fn input(text: &str) -> Event {
    Event::Input(text.into())
}

/// Why it was stopped.
async fn fate(agent: &Agent) -> String {
    tokio::time::timeout(GENEROUS, agent.stopped()).await.unwrap().to_string()
}

/// All files in a folder, and in those in it.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.push(path);
        }
    }
    files
}
