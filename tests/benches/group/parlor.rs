//! The whole of it: overlay, gate, seals, signed updates in SQLite.
//!
//! An update is heard when a reader that waits for new ones has read it back from the database, as the page does; a
//! realtime message when it comes out of the group's channel.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::{FutureExt as _, future::BoxFuture};
use parlor_node::group::Group;
use tempfile::TempDir;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    record::Record,
    site::{PATIENCE, Site, keys, peer},
    stack::{Kind, Stack, Transport},
};

/// Updates read at once.
const PAGE: usize = 256;

pub(crate) struct Parlor {
    sites: Vec<Site>,
    _dir: TempDir,
}

impl Parlor {
    pub(crate) async fn start(transport: Transport, members: usize, record: &Arc<Record>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let listen = transport.address().parse()?;
        let mut sites = Vec::new();
        for (number, keys) in keys(members)?.into_iter().enumerate() {
            sites.push(Site::start(number, members, keys, dir.path(), &listen, Arc::default()).await?);
        }
        for (number, site) in sites.iter().enumerate() {
            for (other, there) in sites.iter().enumerate().skip(number + 1) {
                for address in there.overlay.addresses().await? {
                    site.overlay.add_address(peer(other), address).await;
                }
                site.overlay.connect(peer(other)).await?;
            }
        }
        for site in &sites {
            site.open_group(members).await;
        }
        let together = async {
            while !sites.iter().all(|site| (0..members).all(|n| site.group.is_present(peer(n)))) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, together).await.context("the members do not find one another")?;
        for (number, site) in sites.iter().enumerate() {
            tokio::spawn(hear_realtime(number, site.group.clone(), Arc::clone(record)));
            tokio::spawn(hear_updates(number, site.group.clone(), Arc::clone(record)));
        }
        Ok(Self { sites, _dir: dir })
    }
}

async fn hear_realtime(number: usize, group: Group, record: Arc<Record>) {
    let mut hearing = group.realtime();
    loop {
        match hearing.recv().await {
            Ok(message) => record.heard(number, &message.data),
            // Lost, and counted as such.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn hear_updates(number: usize, group: Group, record: Arc<Record>) {
    let (me, mut newest, mut last) = (group.me(), group.newest(), 0);
    while newest.changed().await.is_ok() {
        newest.mark_unchanged();
        while let Ok(page) = group.updates_after(last, PAGE).await
            && let Some(newest) = page.last()
        {
            last = newest.serial;
            for stored in page.iter().filter(|stored| stored.update.sender() != me) {
                record.heard(number, &stored.update.payload);
            }
            if page.len() < PAGE {
                break;
            }
        }
    }
}

impl Stack for Parlor {
    fn name(&self) -> &'static str {
        "parlor"
    }

    fn say(&self, from: usize, kind: Kind, message: Vec<u8>) -> BoxFuture<'_, Result<()>> {
        let group = &self.sites[from].group;
        async move {
            match kind {
                Kind::Realtime => group.send_realtime(message.into()).await,
                Kind::Updates => drop(group.post(message).await?),
            }
            Ok(())
        }
        .boxed()
    }
}
