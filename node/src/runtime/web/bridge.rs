//! One open page's connection to the node.
//!
//! For: [`run`], which drives one WebSocket until it closes. Not for: the messages (see [`super::messages`]) or what an
//! update is (see [`super::Instance`]).
//!
//! The idea: nothing is pushed at the page but realtime messages. It pulls updates from the store, one bounded answer
//! at a time; realtime messages that it is too slow for are dropped by their channel, oldest first; answers to sends
//! are bounded by how many sends may be open. So the node holds the same little memory for a page that hangs.
//!
//! | what is full | what happens |
//! |---|---|
//! | unanswered sends, [`MAX_PENDING_SENDS`] | the bridge closes: `webxdc.js` waits by itself, so this is not it |
//! | updates a second, [`UPDATE_INTERVAL`] | sends wait their turn, then answers wait, then the page does |
//! | realtime to the group, [`REALTIME_PER_SECOND`], [`REALTIME_BYTES_PER_SECOND`] | the message is dropped |
//! | realtime to the page | the oldest messages are dropped |

use std::{future::pending, sync::Arc, time::Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc, watch,
};

use super::{
    instance::{RealtimeMessage, SendKey},
    messages::{
        FromPage, MAX_PENDING_SENDS, MAX_PULLED, MAX_REALTIME_LEN, Pull, Send, ToPage, UPDATE_BURST,
        UPDATE_INTERVAL, realtime_frame,
    },
    server::Mount,
};
use crate::runtime::{pace::Pace, update};

/// Realtime messages a second that a page may send in the long run; in a burst, four times that.
const REALTIME_PER_SECOND: u32 = 250;
/// Realtime bytes a second that a page may send in the long run; in a burst, four times that.
const REALTIME_BYTES_PER_SECOND: u32 = 4 * 1024 * 1024;

/// Why the node ends a bridge. The page hears the code, and may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    /// The page is gone.
    Gone,
    /// The instance was unmounted.
    Away,
    /// The page said what is not in the protocol.
    Protocol,
    /// The updates cannot be read.
    Failed,
}

/// Serves one page until it, or the instance, goes.
pub(super) async fn run(socket: WebSocket, mount: Arc<Mount>, page: [u8; 16]) {
    let (sends, replies) = sender(mount.clone(), page);
    let now = Instant::now();
    let mut bridge = Bridge {
        known: mount.instance.known_serial(),
        shows: mount.instance.agent_shows(),
        socket,
        mount,
        pull: None,
        sends,
        replies,
        realtime: None,
        messages: Pace::new(4 * REALTIME_PER_SECOND, REALTIME_PER_SECOND, now),
        bytes: Pace::new(4 * REALTIME_BYTES_PER_SECOND, REALTIME_BYTES_PER_SECOND, now),
    };
    let why = loop {
        if let Err(why) = bridge.step().await {
            break why;
        }
    };
    bridge.close(why).await;
}

/// Sends one update after the other, at the pace a page is allowed. It works on its own, so that an update which is
/// being sent is sent to the end even if the page goes away meanwhile.
fn sender(mount: Arc<Mount>, page: [u8; 16]) -> (mpsc::Sender<Send>, mpsc::Receiver<ToPage>) {
    let (sends, mut queue) = mpsc::channel::<Send>(MAX_PENDING_SENDS);
    let (answer, replies) = mpsc::channel(MAX_PENDING_SENDS);
    tokio::spawn(async move {
        let per_second = u32::try_from(1000 / UPDATE_INTERVAL.as_millis()).unwrap_or(1);
        let mut pace = Pace::new(UPDATE_BURST, per_second, Instant::now());
        while let Some(send) = queue.recv().await {
            while !pace.spend(1, Instant::now()) {
                tokio::time::sleep(pace.until_one(Instant::now())).await;
            }
            // Unmounted: the page, which has no answer, sends it again to whatever is mounted next.
            if mount.closed.is_cancelled() {
                return;
            }
            let reply = send_one(&mount, page, &send).await;
            // Refused because it goes: the same.
            if mount.closed.is_cancelled() && matches!(reply, ToPage::Refused { .. }) {
                return;
            }
            // If nobody hears it any more, the page will ask again on its next connection.
            let _ = answer.send(reply).await;
        }
    });
    (sends, replies)
}

async fn send_one(mount: &Mount, page: [u8; 16], send: &Send) -> ToPage {
    let n = send.n;
    let content = match send.content() {
        Ok(content) => content,
        Err(bad) => {
            return ToPage::Refused { n, why: bad.to_string() };
        }
    };
    match mount.instance.send_update(SendKey { page, n }, content).await {
        Ok(()) => ToPage::Sent { n },
        Err(error) => {
            tracing::debug!(%error, "web programs: an update was refused");
            ToPage::Refused { n, why: error.to_string() }
        }
    }
}

struct Bridge {
    socket: WebSocket,
    mount: Arc<Mount>,
    /// Grows with the updates.
    known: watch::Receiver<u64>,
    /// The pull that waits for an update.
    pull: Option<Pull>,
    sends: mpsc::Sender<Send>,
    replies: mpsc::Receiver<ToPage>,
    realtime: Option<broadcast::Receiver<RealtimeMessage>>,
    /// What the program's agent shows.
    shows: broadcast::Receiver<String>,
    messages: Pace,
    bytes: Pace,
}

impl Bridge {
    /// Waits for one thing to happen and deals with it.
    async fn step(&mut self) -> Result<(), Close> {
        let closed = self.mount.closed.clone();
        tokio::select! {
            () = closed.cancelled() => Err(Close::Away),
            message = self.socket.recv() => match message {
                Some(Ok(message)) => self.heard(message).await,
                Some(Err(_)) | None => Err(Close::Gone),
            },
            Some(reply) = self.replies.recv() => self.say(Message::text(reply.to_json())).await,
            pull = due(&mut self.known, self.pull) => self.deliver(pull).await,
            Ok(json) = self.shows.recv() => match RawValue::from_string(json) {
                Ok(value) => self.say(Message::text(ToPage::Agent(value).to_json())).await,
                Err(_) => Ok(()),
            },
            frame = next_realtime(&mut self.realtime) => match frame {
                Some(frame) => self.say(Message::Binary(frame)).await,
                None => Ok(()),
            },
        }
    }

    async fn say(&mut self, message: Message) -> Result<(), Close> {
        let closed = self.mount.closed.clone();
        tokio::select! {
            // A page that does not read must not keep an unmounted instance.
            () = closed.cancelled() => Err(Close::Away),
            sent = self.socket.send(message) => sent.map_err(|_| Close::Gone),
        }
    }

    async fn heard(&mut self, message: Message) -> Result<(), Close> {
        match message {
            Message::Text(text) => {
                let said = serde_json::from_str(&text).map_err(|_| Close::Protocol)?;
                self.asked(said).await
            }
            Message::Binary(data) => self.realtime(data),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => Err(Close::Gone),
        }
    }

    async fn asked(&mut self, said: FromPage) -> Result<(), Close> {
        match said {
            FromPage::Pull(pull) => self.deliver(pull).await?,
            FromPage::Send(send) => self.sends.try_send(send).map_err(|_| Close::Protocol)?,
            FromPage::Join if self.realtime.is_none() => {
                self.realtime = Some(self.mount.instance.realtime_join());
            }
            FromPage::Join => {}
            FromPage::Leave => self.realtime = None,
            FromPage::Agent(value) => {
                // What it could not read, it does not get: the page is not told, as below.
                let Ok(value) = update::value(value.get()) else { return Ok(()) };
                let len = u32::try_from(value.get().len()).unwrap_or(u32::MAX);
                let now = Instant::now();
                if self.messages.spend(1, now) && self.bytes.spend(len, now) {
                    // None there, or too slow: as with realtime messages, the page is not told.
                    self.mount.instance.tell_agent(value.get().to_owned());
                }
            }
        }
        Ok(())
    }

    /// Answers a pull, in place of one that still waits. If it may wait and there is nothing, it waits.
    async fn deliver(&mut self, pull: Pull) -> Result<(), Close> {
        self.pull = pull.wait.then_some(pull);
        // Marked as seen before reading, so that what comes in between wakes the pull again.
        self.known.borrow_and_update();
        let updates = self.mount.instance.updates_after(pull.after, MAX_PULLED).await.map_err(|error| {
            tracing::warn!(%error, "web programs: updates cannot be delivered");
            Close::Failed
        })?;
        if updates.is_empty() && pull.wait {
            return Ok(());
        }
        self.pull = None;
        self.say(Message::text(ToPage::Updates { generation: pull.generation, updates }.to_json())).await
    }

    fn realtime(&mut self, data: Bytes) -> Result<(), Close> {
        if self.realtime.is_none() || data.len() > MAX_REALTIME_LEN {
            return Err(Close::Protocol);
        }
        let now = Instant::now();
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if self.messages.spend(1, now) && self.bytes.spend(len, now) {
            self.mount.instance.realtime_send(data);
        }
        Ok(())
    }

    async fn close(self, why: Close) {
        let code = match why {
            Close::Gone => return,
            Close::Away => close_code::AWAY,
            Close::Protocol => close_code::POLICY,
            Close::Failed => close_code::ERROR,
        };
        close(self.socket, code).await;
    }
}

/// Ends the bridge of a page that has not proven itself.
pub(super) async fn refuse(socket: WebSocket) {
    close(socket, close_code::POLICY).await;
}

/// Ends the bridge of a page for which there is no place: there are too many.
pub(super) async fn put_off(socket: WebSocket) {
    close(socket, close_code::AGAIN).await;
}

async fn close(mut socket: WebSocket, code: u16) {
    let goodbye = Message::Close(Some(CloseFrame { code, reason: "".into() }));
    // A courtesy: a page that does not read any more does not hear it.
    let _ = tokio::time::timeout(GOODBYE, socket.send(goodbye)).await;
}

/// How long a page may take to hear why its bridge closes.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(1);

/// The waiting pull, once more is known than when it was tried last.
async fn due(known: &mut watch::Receiver<u64>, pull: Option<Pull>) -> Pull {
    let Some(pull) = pull else {
        return pending().await;
    };
    match known.changed().await {
        Ok(()) => pull,
        // The instance makes no more updates; unmounting ends the bridge.
        Err(_) => pending().await,
    }
}

/// The next realtime message as a frame, if the page joined. What it was too slow for is skipped.
async fn next_realtime(realtime: &mut Option<broadcast::Receiver<RealtimeMessage>>) -> Option<Bytes> {
    let Some(receiver) = realtime else {
        return pending().await;
    };
    match receiver.recv().await {
        Ok(message) => realtime_frame(&message),
        Err(RecvError::Lagged(missed)) => {
            tracing::debug!(missed, "web programs: realtime messages dropped for a slow page");
            None
        }
        Err(RecvError::Closed) => {
            *realtime = None;
            None
        }
    }
}
