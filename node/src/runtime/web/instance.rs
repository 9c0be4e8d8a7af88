//! What the web part of a program needs from the node that runs it.
//!
//! For: [`Instance`], one program in one session as its page sees it: files, names, updates, realtime messages. The
//! node implements it for a running session. Not for: HTTP, browsers, JavaScript (the rest of this folder).
//!
//! The idea: payloads pass as the JSON *text* the page wrote ([`RawValue`]), never parsed into numbers and maps, so
//! that a float or the order of keys is the same on every node. What that text may be is decided in one place:
//! [`crate::runtime::update`].

use std::{collections::BTreeMap, path::PathBuf};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{broadcast, watch};

/// One program in one session, on this node.
pub trait Instance: Send + Sync + 'static {
    /// Where the file of that name lies on this disk; `None` (a 404) if the program has none, or it is not for this
    /// node's role. `path` is relative, `/`-separated, decoded, without empty, `.` or `..` segments and without NUL or
    /// backslash; it must still be looked up in the manifest, not joined to a folder.
    fn file(&self, path: &str) -> Option<PathBuf>;

    /// webxdc `selfAddr`: stable for this user in this instance, unlinkable across instances.
    fn self_addr(&self) -> String;

    /// webxdc `selfName`: what this user is called, for display.
    fn self_name(&self) -> String;

    /// webxdc `isAppSender`: whether this node brought the program into the group (it is the host).
    fn is_app_sender(&self) -> bool;

    /// The program's name, for people.
    fn title(&self) -> String;

    /// Sends an update to the group. When it returns `Ok`, the update is on this node's disk and will reach everybody,
    /// this page included.
    ///
    /// A page that had no answer asks again with the same key, over another connection, after the session was suspended,
    /// or after the node was killed. So an instance keeps the key with the update, in the same transaction, and returns
    /// `Ok` for a key that it has, without sending anything.
    fn send_update(&self, key: SendKey, update: UpdateContent) -> BoxFuture<'_, Result<(), SendError>>;

    /// The updates with a serial greater than `serial`, lowest first, at most `limit` of them.
    fn updates_after(
        &self,
        serial: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeliveredUpdate>, ReadError>>;

    /// The highest serial known (0: none yet), as it grows.
    fn known_serial(&self) -> watch::Receiver<u64>;

    /// Joins the realtime channel; dropping the receiver leaves it. What a page is too slow for is dropped, oldest
    /// first, which is what this kind of channel does by itself. This user's own messages are not in it.
    fn realtime_join(&self) -> broadcast::Receiver<RealtimeMessage>;

    /// Sends a realtime message, at most [`super::MAX_REALTIME_LEN`] bytes. It may be lost.
    fn realtime_send(&self, data: Bytes);

    /// JSON for the program's agent on this node. Whether it was taken: there may be none, or it is too slow.
    fn tell_agent(&self, json: String) -> bool;

    /// JSON of the program's agent for the page.
    fn agent_shows(&self) -> broadcast::Receiver<String>;
}

/// Names one call of `sendUpdate`. A page's calls come one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SendKey {
    /// One load of a page in a browser: random.
    pub page: [u8; 16],
    /// Counts its calls, from 1.
    pub n: u64,
}

/// An update as a page wants it sent (webxdc `sendUpdate`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateContent {
    /// Any JSON.
    pub payload: Box<RawValue>,
    /// A line for the group: "Alice voted". About 50 characters are meant to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<String>,
    /// Where in the program `info` leads, relative to its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub href: Option<String>,
    /// Name of the document being edited. About 20 characters are meant to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// Shown beside the program: "8 votes". About 20 characters are meant to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Whom to notify of what: `selfAddr`, or `*` for everybody else, to text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<BTreeMap<String, String>>,
    /// Parlor's own: the payload replaces every update so far. Counts only on the host's node; other webxdc hosts do not
    /// know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checkpoint: bool,
}

impl UpdateContent {
    /// Just this payload.
    #[must_use]
    pub fn of(payload: Box<RawValue>) -> Self {
        Self {
            payload,
            info: None,
            href: None,
            document: None,
            summary: None,
            notify: None,
            checkpoint: false,
        }
    }

    /// As it is posted.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and raw JSON always serialise")
    }

    /// No content at all.
    #[must_use]
    pub fn of_null() -> Self {
        Self::of(RawValue::NULL.to_owned())
    }
}

/// An update as a page gets it (webxdc `setUpdateListener`), with its verified sender beside the payload.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveredUpdate {
    /// What the sender's program said. It may claim anything, also about who it is.
    pub payload: Box<RawValue>,
    /// Local to this node, greater than 0, increasing; gaps are allowed.
    pub serial: u64,
    /// The highest serial known when this was read.
    pub max_serial: u64,
    /// As in [`UpdateContent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<String>,
    /// As in [`UpdateContent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub href: Option<String>,
    /// As in [`UpdateContent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// As in [`UpdateContent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// As in [`UpdateContent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<BTreeMap<String, String>>,
    /// It has replaced updates before it: the node has verified that it is the host's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub checkpoint: bool,
    /// Who sent it: the node has verified that.
    pub sender: Sender,
}

/// Who sent something, as verified by the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sender {
    /// The sender's `selfAddr` in this instance.
    pub addr: String,
    /// What it is called, for display.
    pub name: String,
}

/// A realtime message of another member.
#[derive(Debug, Clone)]
pub struct RealtimeMessage {
    /// Who sent it.
    pub sender: Sender,
    /// At most [`super::MAX_REALTIME_LEN`] bytes.
    pub data: Bytes,
}

/// Why an update was not sent. Nothing of it reached anybody.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The session is over or suspended, or this node is no longer in the group.
    #[error("this session does not take updates now")]
    NotAllowed,
    /// Larger than the group takes.
    #[error("the update is too large")]
    TooLarge,
    /// This node has said as much as is kept of one member.
    #[error("as many updates as may be are kept: the host has to make a checkpoint")]
    Full,
    /// The node could not write it down.
    #[error("the update could not be stored")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Updates could not be read from the store.
#[derive(Debug, thiserror::Error)]
#[error("the updates could not be read")]
pub struct ReadError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
