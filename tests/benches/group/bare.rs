//! Swarms without anything of Parlor's: what the alternatives run on.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    identity::Keypair,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};

use crate::{site::PATIENCE, stack::Transport};

/// The overlay's transports, with `behaviour` on top.
fn swarm<B: NetworkBehaviour>(behaviour: impl FnOnce(&Keypair) -> B) -> Result<Swarm<B>> {
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_behaviour(|key| behaviour(key))
        .map_err(|never| match never {})?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build())
}

/// So many swarms, each connected to each.
pub(crate) async fn connected<B: NetworkBehaviour>(
    transport: Transport,
    members: usize,
    behaviour: impl Fn(&Keypair) -> B,
) -> Result<Vec<Swarm<B>>> {
    let (mut swarms, mut addresses) = (Vec::new(), Vec::<Multiaddr>::new());
    for _ in 0..members {
        let mut swarm = swarm(&behaviour)?;
        swarm.listen_on(transport.address().parse()?)?;
        addresses.push(loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        });
        for address in &addresses[..addresses.len() - 1] {
            swarm.dial(address.clone())?;
        }
        swarms.push(swarm);
    }
    let meeting = futures::future::join_all(swarms.iter_mut().map(async |swarm| {
        let mut others = BTreeSet::<PeerId>::new();
        while others.len() + 1 < members {
            if let SwarmEvent::ConnectionEstablished { peer_id, .. } = swarm.select_next_some().await {
                others.insert(peer_id);
            }
        }
    }));
    tokio::time::timeout(PATIENCE, meeting).await.context("bare swarms do not meet")?;
    Ok(swarms)
}
