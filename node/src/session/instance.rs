//! A running session's web part: its page's way to files and group.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::{broadcast, mpsc, watch};

use super::agents::{Link, Speaker};
use crate::{
    group::{Group, PostError, PostKey, Realtime},
    runtime::{
        agent, update,
        web::{
            DeliveredUpdate, Instance, ReadError, RealtimeMessage, SendError, SendKey, Sender, UpdateContent,
        },
    },
    store::{Bundle, StoredUpdate},
};

/// Realtime messages that a page may lag behind before it loses the oldest.
const REALTIME_LAG: usize = 256;

/// One session as its page sees it.
pub(super) struct WebInstance {
    group: Group,
    bundle: Arc<Bundle>,
    name: String,
    is_host: Arc<AtomicBool>,
    link: Arc<Link>,
    outgoing: mpsc::Sender<Bytes>,
}

impl WebInstance {
    /// For a group that is open and a bundle that is whole.
    pub(super) fn new(
        group: Group,
        bundle: Arc<Bundle>,
        name: String,
        (is_host, link): (Arc<AtomicBool>, Arc<Link>),
    ) -> Self {
        let outgoing = group.realtime_queue();
        Self { group, bundle, name, is_host, link, outgoing }
    }

    fn delivered(&self, stored: &StoredUpdate, max_serial: u64) -> DeliveredUpdate {
        let sender = Sender {
            addr: self.group.address_of(stored.update.sender()),
            name: self.group.name_of(stored.update.sender()),
        };
        let content = update::shown(&stored.update.payload).0;
        DeliveredUpdate {
            payload: content.payload,
            serial: stored.serial,
            max_serial,
            info: content.info,
            href: content.href,
            document: content.document,
            summary: content.summary,
            notify: content.notify,
            checkpoint: stored.counts,
            sender,
        }
    }
}

impl Instance for WebInstance {
    fn file(&self, path: &str) -> Option<PathBuf> {
        self.bundle.file_path(path)
    }

    fn self_addr(&self) -> String {
        self.group.address_of(self.group.me())
    }

    fn self_name(&self) -> String {
        self.group.name_of(self.group.me())
    }

    fn is_app_sender(&self) -> bool {
        self.is_host.load(Ordering::Relaxed)
    }

    fn title(&self) -> String {
        self.name.clone()
    }

    fn send_update(&self, key: SendKey, update: UpdateContent) -> BoxFuture<'_, Result<(), SendError>> {
        async move {
            let key = PostKey::of_page(key.page, key.n);
            match self.group.post_once(key, update.to_payload(), update.checkpoint).await {
                Ok(_) => Ok(()),
                Err(PostError::Closed) => Err(SendError::NotAllowed),
                Err(PostError::TooLarge { .. }) => Err(SendError::TooLarge),
                Err(PostError::Full | PostError::TooManyCovered | PostError::Reused) => Err(SendError::Full),
                Err(PostError::Store(error)) => Err(SendError::Storage(error.into())),
            }
        }
        .boxed()
    }

    fn updates_after(
        &self,
        serial: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeliveredUpdate>, ReadError>> {
        async move {
            let max_serial = *self.group.newest().borrow();
            let updates = self.group.updates_after(serial, limit).await;
            let updates = updates.map_err(|error| ReadError(error.into()))?;
            let newest = updates.last().map_or(0, |update| update.serial).max(max_serial);
            Ok(updates.iter().map(|update| self.delivered(update, newest)).collect())
        }
        .boxed()
    }

    fn known_serial(&self) -> watch::Receiver<u64> {
        self.group.newest()
    }

    fn realtime_join(&self) -> broadcast::Receiver<RealtimeMessage> {
        let (sender, receiver) = broadcast::channel(REALTIME_LAG);
        let (mut realtime, group) = (self.group.realtime(), self.group.downgrade());
        let (mut local, me) = (self.link.realtime(), self.group.me());
        tokio::spawn(async move {
            loop {
                let received = tokio::select! {
                    received = realtime.recv() => received,
                    sent = local.recv() => match sent {
                        Ok((Speaker::Part(_), data)) => Ok(Realtime { sender: me, data }),
                        // Its own, or missed: the group's is what counts.
                        _ => continue,
                    },
                    () = sender.closed() => return,
                };
                let Realtime { sender: peer, data } = match received {
                    Ok(message) => message,
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                let Some(group) = group.upgrade() else { return };
                let from = Sender { addr: group.address_of(peer), name: group.name_of(peer) };
                // Fails once the page has left the channel.
                if sender.send(RealtimeMessage { sender: from, data }).is_err() {
                    return;
                }
            }
        });
        receiver
    }

    fn realtime_send(&self, data: Bytes) {
        // A page that sends faster than the network takes it loses messages, as this channel may.
        let _ = self.outgoing.try_send(data.clone());
        self.link.sent(Speaker::Page, data);
    }

    fn tell_agent(&self, json: String) -> bool {
        self.link.tell(agent::Event::Page(json))
    }

    fn agent_shows(&self) -> broadcast::Receiver<String> {
        self.link.shows()
    }
}
