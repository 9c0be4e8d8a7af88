//! Ports that the home router opens for this node, where it offers that: UPnP, PCP and NAT-PMP.
//!
//! For: [`Ports`], which asks the router and says at which address the internet reaches this node. Not for: routers that
//! offer nothing; for those there are relays and hole punching.

use std::{
    collections::HashMap,
    future::ready,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    num::NonZeroU16,
    time::Duration,
};

use futures::{
    Stream, StreamExt as _,
    future::join_all,
    stream::{self, BoxStream, SelectAll},
};
use libp2p::{Multiaddr, multiaddr::Protocol};
use tokio_stream::wrappers::WatchStream;

/// How often a router that has opened no port is asked again: it may be another one by then.
const AGAIN: Duration = Duration::from_secs(5 * 60);

/// How long giving ports back takes at most.
const CLOSING: Duration = Duration::from_secs(3);

/// What a mapped port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Transport {
    Quic,
    Tcp,
}

/// What has become of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// It does not lead here any more.
    pub(crate) lost: Option<Multiaddr>,
    /// It leads here.
    pub(crate) found: Option<Multiaddr>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Ports {
    changes: SelectAll<BoxStream<'static, (Transport, Option<SocketAddrV4>)>>,
    known: HashMap<Transport, Multiaddr>,
    clients: Vec<portmapper::Client>,
}

impl Ports {
    /// For the first port of each transport that the node listens on.
    pub(crate) fn map<'a>(listeners: impl Iterator<Item = &'a Multiaddr>) -> Self {
        let mut ports = HashMap::new();
        for (transport, port) in listeners.filter_map(port) {
            ports.entry(transport).or_insert(port);
        }
        let mut mapped = Self::default();
        for (transport, port) in ports {
            let protocol = match transport {
                Transport::Quic => portmapper::Protocol::Udp,
                Transport::Tcp => portmapper::Protocol::Tcp,
            };
            let client = portmapper::Client::new(portmapper::Config { protocol, ..Default::default() });
            mapped.clients.push(client.clone());
            mapped.changes.push(addresses(client, port).map(move |address| (transport, address)).boxed());
        }
        mapped
    }

    /// Gives the ports back, which would stay open for hours.
    pub(crate) async fn close(self) {
        let closing = self.clients.iter().filter(|client| is_mapped(client)).map(|client| {
            client.deactivate();
            // What is asked next is answered after that.
            client.probe()
        });
        let _closed = tokio::time::timeout(CLOSING, join_all(closing)).await;
    }

    /// The next change; none ever, where no port is mapped.
    pub(crate) async fn change(&mut self) -> Change {
        loop {
            let Some((transport, address)) = self.changes.next().await else {
                return std::future::pending().await;
            };
            let found = address.filter(|address| leads_to_the_internet(*address.ip()));
            let found = found.map(|address| multiaddr(transport, address));
            let lost = match &found {
                Some(found) => self.known.insert(transport, found.clone()),
                None => self.known.remove(&transport),
            };
            if found != lost {
                return Change { lost, found };
            }
        }
    }
}

/// Whether a router has opened a port.
fn is_mapped(client: &portmapper::Client) -> bool {
    client.watch_external_address().borrow().is_some()
}

/// Where a port is mapped to, whenever that changes.
fn addresses(
    client: portmapper::Client,
    port: NonZeroU16,
) -> impl Stream<Item = Option<SocketAddrV4>> + Send {
    let changes = WatchStream::from_changes(client.watch_external_address());
    let asking = stream::unfold(client, move |client| async move {
        if !is_mapped(&client) {
            // The client remembers what the router speaks. Not knowing that, it would try UPnP alone.
            let _spoken = client.probe().await;
            client.update_local_port(port);
        }
        tokio::time::sleep(AGAIN).await;
        Some((None, client))
    });
    stream::select(changes.map(Some), asking).filter_map(ready)
}

/// Of an interface that others may come in by.
fn port(listener: &Multiaddr) -> Option<(Transport, NonZeroU16)> {
    let mut parts = listener.iter();
    match (parts.next()?, parts.next()?, parts.next()) {
        (Protocol::Ip4(ip), _, _) if IpAddr::from(ip).is_loopback() => None,
        (Protocol::Ip4(_), Protocol::Udp(port), Some(Protocol::QuicV1)) => {
            Some((Transport::Quic, NonZeroU16::new(port)?))
        }
        (Protocol::Ip4(_), Protocol::Tcp(port), None) => Some((Transport::Tcp, NonZeroU16::new(port)?)),
        _ => None,
    }
}

/// A router behind another router means well, and opens a port to nowhere.
fn leads_to_the_internet(ip: Ipv4Addr) -> bool {
    let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || is_shared)
}

fn multiaddr(transport: Transport, address: SocketAddrV4) -> Multiaddr {
    let place = Multiaddr::from(*address.ip());
    match transport {
        Transport::Quic => place.with(Protocol::Udp(address.port())).with(Protocol::QuicV1),
        Transport::Tcp => place.with(Protocol::Tcp(address.port())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ports_that_others_may_come_in_by() {
        let port = |text: &str| port(&text.parse().unwrap()).map(|(transport, port)| (transport, port.get()));
        assert_eq!(port("/ip4/10.0.0.7/udp/4001/quic-v1"), Some((Transport::Quic, 4001)));
        assert_eq!(port("/ip4/10.0.0.7/tcp/4001"), Some((Transport::Tcp, 4001)));
        assert_eq!(port("/ip4/127.0.0.1/tcp/4001"), None);
        assert_eq!(port("/ip6/2001:db8::1/tcp/4001"), None, "no router translates those");
        assert_eq!(port("/ip4/10.0.0.7/tcp/4001/p2p-circuit"), None);
    }

    #[test]
    fn a_router_behind_a_router_leads_nowhere() {
        assert!(leads_to_the_internet(Ipv4Addr::new(203, 0, 113, 7)));
        for ip in [[10, 0, 0, 1], [192, 168, 1, 1], [100, 64, 0, 1], [127, 0, 0, 1], [0, 0, 0, 0]] {
            assert!(!leads_to_the_internet(Ipv4Addr::from(ip)), "{ip:?}");
        }
    }
}
