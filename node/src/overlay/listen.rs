//! Getting the listeners up before the node says that it is ready.

use std::{collections::HashMap, time::Duration};

use futures::StreamExt as _;
use libp2p::{Multiaddr, Swarm, core::transport::ListenerId, multiaddr::Protocol, swarm::SwarmEvent};
use parlor_proto::identity::PeerId;
use tokio::time::Instant;

use super::{
    address::{Address, Reach, reach},
    behaviour::{Behaviour, BehaviourEvent},
    error::{StartError, innermost},
};

/// Where a node listens unless told otherwise: everywhere, with QUIC and TCP at one port.
fn default_places(port: u16) -> [String; 4] {
    [
        format!("/ip4/0.0.0.0/udp/{port}/quic-v1"),
        format!("/ip4/0.0.0.0/tcp/{port}"),
        format!("/ip6/::/udp/{port}/quic-v1"),
        format!("/ip6/::/tcp/{port}"),
    ]
}

/// Addresses of interfaces come one by one; when none has come for so long, those are all.
const QUIET: Duration = Duration::from_millis(150);

/// The longest that this may take: in a lively network it is never quiet.
const LONGEST: Duration = Duration::from_secs(2);

/// What else happened while the listeners came up: others may be found, and may call, from the first moment on.
pub(crate) type Meanwhile = Vec<SwarmEvent<BehaviourEvent>>;

/// Listens on `wanted`, or on all interfaces at `port` if that is empty, and waits until the addresses are known. Returns
/// what the driver has yet to hear of.
///
/// Each address wanted must work. Of the default ones some may fail: not every machine has IPv6.
pub(crate) async fn listen(
    swarm: &mut Swarm<Behaviour>,
    wanted: &[Address],
    port: u16,
) -> Result<Meanwhile, StartError> {
    let mut waiting = if wanted.is_empty() { everywhere(swarm, port)? } else { exactly(swarm, wanted)? };
    let mut meanwhile = Meanwhile::new();
    let end = Instant::now() + LONGEST;
    // Interfaces may have more addresses than the first, so this goes on a little after the first of each.
    loop {
        let quiet = end.min(Instant::now() + QUIET);
        let Ok(event) = tokio::time::timeout_at(quiet, swarm.select_next_some()).await else {
            // An interface that is down has no address yet. What is known by now is what there is.
            return Ok(meanwhile);
        };
        match event {
            SwarmEvent::NewListenAddr { listener_id, .. } => {
                let is_single =
                    waiting.remove(&listener_id).is_some_and(|address| !is_wildcard(address.multiaddr()));
                if waiting.is_empty() && is_single {
                    return Ok(meanwhile);
                }
            }
            SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
                if let Some(address) = waiting.remove(&listener_id) {
                    return Err(StartError::Listen { address, reason: error.to_string() });
                }
            }
            other => meanwhile.push(other),
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

/// At `port` where that is free, else at ports that the system chooses.
fn everywhere(swarm: &mut Swarm<Behaviour>, port: u16) -> Result<HashMap<ListenerId, Address>, StartError> {
    let mut listeners = HashMap::new();
    let mut refused = None;
    for (text, any) in default_places(port).into_iter().zip(default_places(0)) {
        let address: Address = text.parse().expect("the defaults are addresses");
        let any: Address = any.parse().expect("the defaults are addresses");
        match swarm.listen_on(address.place()).or_else(|_| swarm.listen_on(any.place())) {
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
        libp2p::TransportError::Other(error) => innermost(error),
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
