//! Getting the listeners up before the node says that it is ready.

use std::{collections::HashMap, time::Duration};

use futures::StreamExt as _;
use libp2p::{Multiaddr, Swarm, core::transport::ListenerId, multiaddr::Protocol, swarm::SwarmEvent};
use parlor_proto::identity::PeerId;

use super::{
    address::{Address, Reach, reach},
    behaviour::Behaviour,
    error::StartError,
};

/// Where a node listens unless told otherwise: everywhere, at ports that the system chooses.
const DEFAULT: [&str; 4] =
    ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0", "/ip6/::/udp/0/quic-v1", "/ip6/::/tcp/0"];

/// Addresses of interfaces come one by one; when none has come for so long, those are all.
const QUIET: Duration = Duration::from_millis(150);

/// Listens on `wanted`, or on all interfaces if that is empty, and waits until the addresses are known.
///
/// Each address wanted must work. Of the default ones some may fail: not every machine has IPv6.
pub(crate) async fn listen(swarm: &mut Swarm<Behaviour>, wanted: &[Address]) -> Result<(), StartError> {
    let mut waiting = if wanted.is_empty() { everywhere(swarm)? } else { exactly(swarm, wanted)? };
    // Interfaces may have more addresses than the first, so this goes on a little after the first of each.
    loop {
        let Ok(event) = tokio::time::timeout(QUIET, swarm.select_next_some()).await else {
            // An interface that is down has no address yet. What is known by now is what there is.
            return Ok(());
        };
        match event {
            SwarmEvent::NewListenAddr { listener_id, .. } => {
                let is_single =
                    waiting.remove(&listener_id).is_some_and(|address| !is_wildcard(address.multiaddr()));
                if waiting.is_empty() && is_single {
                    return Ok(());
                }
            }
            SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
                if let Some(address) = waiting.remove(&listener_id) {
                    return Err(StartError::Listen { address, reason: error.to_string() });
                }
            }
            // Nobody knows this node's addresses yet, and it has called nobody.
            _ => {}
        }
    }
}

fn exactly(
    swarm: &mut Swarm<Behaviour>,
    wanted: &[Address],
) -> Result<HashMap<ListenerId, Address>, StartError> {
    let mut listeners = HashMap::new();
    for address in wanted {
        let listener = swarm.listen_on(address.place()).map_err(|error| refusal(address.clone(), &error))?;
        listeners.insert(listener, address.clone());
    }
    Ok(listeners)
}

fn everywhere(swarm: &mut Swarm<Behaviour>) -> Result<HashMap<ListenerId, Address>, StartError> {
    let mut listeners = HashMap::new();
    let mut refused = None;
    for text in DEFAULT {
        let address: Address = text.parse().expect("the constants are addresses");
        match swarm.listen_on(address.place()) {
            Ok(listener) => drop(listeners.insert(listener, address)),
            Err(error) => {
                tracing::debug!(%address, %error, "not listening there");
                refused = Some(refusal(address, &error));
            }
        }
    }
    refused.filter(|_| listeners.is_empty()).map_or(Ok(listeners), Err)
}

fn refusal(address: Address, error: &libp2p::TransportError<std::io::Error>) -> StartError {
    let reason = match error {
        libp2p::TransportError::MultiaddrNotSupported(_) => "this kind of address is not supported".into(),
        libp2p::TransportError::Other(error) => {
            let mut cause: &(dyn std::error::Error + 'static) = error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            cause.to_string()
        }
    };
    StartError::Listen { address, reason }
}

fn is_wildcard(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        _ => false,
    })
}

/// The node's own addresses, ending in `/p2p/<peer>`: those that others can use first, loopback last.
pub(crate) fn own_addresses(swarm: &Swarm<Behaviour>, peer: PeerId) -> Vec<Address> {
    let all = swarm.external_addresses().chain(swarm.listeners());
    let mut useful: Vec<_> = all.filter(|place| reach(place) != Reach::Nowhere).cloned().collect();
    useful.sort_by_key(|place| (reach(place), place.to_string()));
    useful.dedup();
    useful.into_iter().map(|place| Address::from(place).with_peer(peer)).collect()
}
