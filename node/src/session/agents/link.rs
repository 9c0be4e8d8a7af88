//! What the parts of a program on one node, its page and its user say to one another.
//!
//! For: [`Link`], one a session. Not for: what is said to other nodes: that is the group's.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError, RwLock},
};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::Part;
use crate::runtime::agent::{Event, Member, NotWritten};

/// What a slow page may lag behind before it loses the oldest.
const LAG: usize = 256;
/// Lines that are kept for whoever begins to watch.
const MAX_LINES: usize = 256;

/// Who on this node has sent a realtime message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Speaker {
    /// Its page.
    Page,
    /// Its agent or host part.
    Part(Part),
}

/// Something of its own node's, for a part.
pub(super) struct Told {
    pub(super) event: Event,
    /// Who is to know when it has been taken.
    pub(super) taken: Option<oneshot::Sender<Result<(), NotWritten>>>,
}

/// See the module.
pub(in crate::session) struct Link {
    parts: RwLock<BTreeMap<Part, mpsc::Sender<Told>>>,
    members: RwLock<Vec<Member>>,
    /// What was written for the user, the newest.
    lines: Mutex<VecDeque<(Part, String)>>,
    shows: broadcast::Sender<String>,
    realtime: broadcast::Sender<(Speaker, Bytes)>,
}

impl Default for Link {
    fn default() -> Self {
        let (shows, realtime) = (broadcast::channel(LAG).0, broadcast::channel(LAG).0);
        let (parts, members, lines) = Default::default();
        Self { parts, members, lines, shows, realtime }
    }
}

impl Link {
    /// A part listens from now on.
    pub(super) fn attach(&self, part: Part, events: mpsc::Sender<Told>) {
        self.parts.write().unwrap_or_else(PoisonError::into_inner).insert(part, events);
    }

    /// Something of this node for its agent, or, where there is none, for the host part. Whether somebody takes it; who
    /// is too slow for it does not.
    pub(in crate::session) fn tell(&self, event: Event) -> bool {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        let open = Part::ALL.iter().filter_map(|part| parts.get(part)).find(|events| !events.is_closed());
        open.is_some_and(|events| events.try_send(Told { event, taken: None }).is_ok())
    }

    /// A line of the user's, for the agent that everyone has; `None` if there is none. What is returned says when it has
    /// been taken, and is cut off if the agent was stopped, or is too slow.
    pub(in crate::session) fn type_line(
        &self,
        line: String,
    ) -> Option<oneshot::Receiver<Result<(), NotWritten>>> {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        let events = parts.get(&Part::Agent).filter(|events| !events.is_closed())?;
        let (taken, answer) = oneshot::channel();
        // Too slow: `taken` is dropped.
        let _ = events.try_send(Told { event: Event::Input(line), taken: Some(taken) });
        Some(answer)
    }

    /// Whether an agent is there that the user's lines are for.
    pub(in crate::session) fn has_agent(&self) -> bool {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        parts.get(&Part::Agent).is_some_and(|events| !events.is_closed())
    }

    /// Who is in the group now, for every part.
    pub(in crate::session) fn set_members(&self, members: Vec<Member>) {
        let before = std::mem::replace(
            &mut *self.members.write().unwrap_or_else(PoisonError::into_inner),
            members.clone(),
        );
        if before != members {
            for events in self.parts.read().unwrap_or_else(PoisonError::into_inner).values() {
                // Whoever is too slow finds them with `group.members`.
                let _ = events.try_send(Told { event: Event::Members(members.clone()), taken: None });
            }
        }
    }

    pub(super) fn members(&self) -> Vec<Member> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A line for the user, for whoever watches later, too.
    pub(super) fn wrote(&self, part: Part, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= MAX_LINES {
            lines.pop_front();
        }
        lines.push_back((part, line));
    }

    /// What was written, the newest last.
    pub(in crate::session) fn lines(&self) -> Vec<(&'static str, String)> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|(part, line)| (part.as_str(), line.clone())).collect()
    }

    /// JSON for the page.
    pub(super) fn show(&self, json: String) {
        // Fails while no page is open.
        let _ = self.shows.send(json);
    }

    pub(in crate::session) fn shows(&self) -> broadcast::Receiver<String> {
        self.shows.subscribe()
    }

    /// Somebody on this node has sent this to the group: the others here hear it too.
    pub(in crate::session) fn sent(&self, speaker: Speaker, data: Bytes) {
        // Fails while nobody listens.
        let _ = self.realtime.send((speaker, data));
    }

    pub(in crate::session) fn realtime(&self) -> broadcast::Receiver<(Speaker, Bytes)> {
        self.realtime.subscribe()
    }
}
