//! What this node says to a session's group.
//!
//! For: posting, realtime and beacons, at no more than a member's pace: whoever says more is not heard anyway. Not
//! for: what goes to disk (see [`super::driver`]).

use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use parlor_proto::{
    group::{
        Control, MAX_PAYLOAD, MAX_REALTIME,
        lanes::Lane,
        rate::{Allowance, Limits},
    },
    time::Timestamp,
};
use tokio::sync::{mpsc, oneshot};

use super::{Command, Group, Inner, PostError, PostKey, REALTIME_LAG};
use crate::{clock, store::to_blob};

/// What a packet is longer than an update's payload or a realtime message, bytes, at most.
const PACKET_OVERHEAD: usize = 1_100;

/// What this node has left to say.
pub(super) struct Pace {
    pub(super) updates: Allowance,
    pub(super) realtime: Allowance,
}

impl Pace {
    pub(super) fn new(now: Timestamp) -> Self {
        let whole = |lane| Allowance::new(Limits::of(lane), now);
        Self { updates: whole(Lane::Updates), realtime: whole(Lane::Realtime) }
    }
}

impl Group {
    /// Posts an update. Once it returns, the update is on disk (under the serial that is returned) and on its
    /// way to everyone. Waits while this node has said as much as one member may.
    pub async fn post(&self, payload: Vec<u8>) -> Result<u64, PostError> {
        self.put(payload, false, None).await
    }

    /// Posts an update under a key, or returns the serial that it got when it was posted under that key before: also
    /// before a restart, or a kill. `is_checkpoint`: as [`Group::post_checkpoint`] does.
    pub async fn post_once(
        &self,
        key: PostKey,
        payload: Vec<u8>,
        is_checkpoint: bool,
    ) -> Result<u64, PostError> {
        self.put(payload, is_checkpoint, Some(key)).await
    }

    /// Posts an update whose payload replaces every update that is here, the same way; they are let go of everywhere.
    /// If this node is not the session's host, it is an update like any other. The payload may be shorter
    /// by [`COVERED_LEN`](parlor_proto::group::COVERED_LEN) for each member of whom it replaces any.
    pub async fn post_checkpoint(&self, payload: Vec<u8>) -> Result<u64, PostError> {
        self.put(payload, true, None).await
    }

    async fn put(
        &self,
        payload: Vec<u8>,
        is_checkpoint: bool,
        key: Option<PostKey>,
    ) -> Result<u64, PostError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(PostError::TooLarge { len: payload.len(), most: MAX_PAYLOAD });
        }
        self.inner.keep_pace(payload.len() + PACKET_OVERHEAD).await?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Post { payload, is_checkpoint, key, reply };
        self.inner.commands.send(command).await.map_err(|_| PostError::Closed)?;
        answer.await.map_err(|_| PostError::Closed)?
    }

    /// Sends to everyone who can be reached at this moment, or to nobody: so it is with more than one member may say,
    /// and without keys.
    pub async fn send_realtime(&self, data: Bytes) {
        let len = data.len();
        if len > MAX_REALTIME || !self.inner.pace().realtime.spend(len + PACKET_OVERHEAD, clock::now()) {
            tracing::debug!(session = %self.inner.session, len, "a realtime message is too large, or one too many");
            return;
        }
        let packet = self.inner.door().seal(Lane::Realtime, &data);
        match packet {
            Ok(packet) => self.inner.publish_realtime(packet).await,
            Err(error) => {
                tracing::debug!(session = %self.inner.session, %error, "a realtime message was not sent")
            }
        }
    }

    /// A queue of realtime messages, for whoever must not wait: what does not fit into it is lost. It does not keep the
    /// group open, and ends with its last sender.
    #[must_use]
    pub fn realtime_queue(&self) -> mpsc::Sender<Bytes> {
        let (queue, mut waiting) = mpsc::channel(REALTIME_LAG);
        let weak = self.downgrade();
        tokio::spawn(async move {
            while let (Some(data), Some(group)) = (waiting.recv().await, weak.upgrade()) {
                group.send_realtime(data).await;
            }
        });
        queue
    }

    /// Says that this node is there, as host in that term; to whom it reaches.
    pub async fn send_beacon(&self, term: u32) {
        let packet = self.inner.door().seal(Lane::Control, &to_blob(&Control::Beacon { term }));
        let session = self.inner.session;
        match packet {
            // Whoever does not hear this one hears the next.
            Ok(packet) => drop(self.inner.overlay.group_publish(session, packet.into()).await),
            Err(error) => tracing::debug!(%session, %error, "a beacon was not sent"),
        }
    }
}

impl Inner {
    pub(super) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this node may post an update with a packet of `len` bytes.
    pub(super) async fn keep_pace(&self, len: usize) -> Result<(), PostError> {
        loop {
            let wait = {
                let mut pace = self.pace();
                if pace.updates.spend(len, clock::now()) {
                    return Ok(());
                }
                pace.updates.wait(len)
            };
            tokio::select! {
                () = self.stop.cancelled() => return Err(PostError::Closed),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// To whoever is reached at this moment.
    pub(super) async fn publish_realtime(&self, packet: Vec<u8>) {
        // Fire and forget: what cannot be sent now is of no use later.
        drop(self.overlay.group_realtime(self.session, packet.into()).await);
    }
}
