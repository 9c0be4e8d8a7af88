//! The nodes of the benches, as far as groups go: who they are, their keys, and [`Site`]: an overlay, a store and a
//! group, driven as a node drives them.
//!
//! Everything is made of numbers, so that two processes agree on who is who without a word.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use parlor_node::{
    critical::CriticalTasks,
    group::Group,
    overlay::{Address, Config, Event, Internet, Overlay},
    store::Store,
};
use parlor_proto::{
    group::{
        Hosts,
        keys::{GroupKeys, KeyOffer},
    },
    identity::{Identity, PeerId},
    ids::SessionId,
    wire::{Request, Response},
};

pub(crate) const SESSION: SessionId = SessionId([0xbe; 16]);

/// How long anything may take that is waited for: only what is broken takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

fn seed(salt: u8, number: usize) -> [u8; 32] {
    let mut seed = [salt; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    seed
}

pub(crate) fn identity(number: usize) -> Identity {
    Identity::from_seed(&seed(0x1d, number))
}

pub(crate) fn peer(number: usize) -> PeerId {
    identity(number).peer()
}

/// Keys of a group of so many, the host's (number 0) first.
pub(crate) fn keys(size: usize) -> Result<Vec<Arc<GroupKeys>>> {
    let alone = GroupKeys::create(SESSION, &identity(0), &seed(0x0a, size))?;
    let offers = (1..size).map(|n| Ok(KeyOffer::new(&identity(n), &seed(0x0b, n))?));
    let offers: Vec<KeyOffer> = offers.collect::<Result<_>>()?;
    let packages: Vec<_> = (1..size).zip(&offers).map(|(n, offer)| (peer(n), offer.package())).collect();
    let staged = alone.add(&packages, &identity(0), &seed(0x0c, size))?;
    let welcome = staged.welcome.as_deref().context("whoever is added is welcome")?;
    let mut all = vec![Arc::new(staged.keys)];
    for offer in &offers {
        all.push(Arc::new(GroupKeys::join(offer, welcome, SESSION, peer(0))?));
    }
    Ok(all)
}

/// One node in the group.
pub(crate) struct Site {
    pub(crate) overlay: Overlay,
    pub(crate) group: Group,
}

impl Site {
    /// Number `number` of `size`, with its database in `dir`; it listens at `listen`. In `served` it counts what it gives to
    /// those who ask for updates, bytes.
    pub(crate) async fn start(
        number: usize,
        size: usize,
        keys: Arc<GroupKeys>,
        dir: &Path,
        listen: &Address,
        served: Arc<AtomicU64>,
    ) -> Result<Self> {
        let store = Store::open(&dir.join(format!("{number}.db"))).await?;
        let config = Config {
            identity: identity(number),
            nickname: format!("node {number}"),
            listen: vec![listen.clone()],
            port: 0,
            mdns: false,
            memory: false,
            internet: Internet::default(),
        };
        let (overlay, mut events) = Overlay::start(config).await?;
        let group = Group::open(
            SESSION,
            identity(number),
            store,
            overlay.clone(),
            Some(keys),
            &CriticalTasks::default(),
        )
        .await?;
        let all: BTreeMap<_, _> = (0..size).map(|n| (peer(n), format!("member {n}"))).collect();
        let others = all.keys().copied().filter(|other| *other != peer(number)).collect();
        group.set_authors(all);
        group.set_members(others);
        group.set_hosts(Hosts { now: Some((peer(0), 0)), ever: BTreeSet::from([peer(0)]) });
        let site = Self { overlay, group: group.clone() };
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                on_event(&group, event, &served).await;
            }
        });
        Ok(site)
    }

    /// Opens the topic for all of `size`.
    pub(crate) async fn open_group(&self, size: usize) {
        self.overlay.group_open(SESSION, (0..size).map(peer).collect()).await;
    }
}

/// As the node does it.
async fn on_event(group: &Group, event: Event, served: &Arc<AtomicU64>) {
    match event {
        Event::GroupMessage { session: SESSION, author, payload } => group.heard(author, &payload),
        Event::GroupPeer { session: SESSION, peer, present } => group.present(peer, present).await,
        Event::Request(request) => {
            let (group, served) = (group.clone(), Arc::clone(served));
            tokio::spawn(async move {
                let Request::Updates(asked) = &request.request else { return };
                if let Ok(response) = group.serve(request.from, asked).await {
                    let bytes: usize = response.updates.iter().map(|update| update.bytes().len()).sum();
                    served.fetch_add(bytes as u64, Ordering::Relaxed);
                    request.respond(Response::Updates(response));
                }
            });
        }
        _ => {}
    }
}
