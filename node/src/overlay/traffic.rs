//! What the node sends and receives, and everything else that libp2p counts.
//!
//! The idea: libp2p's counters are the ones that operators know, so there are no others. They can only be read as the text
//! that Prometheus reads; the two sums that people ask for are taken from there.

use libp2p::metrics::Registry;

/// Bytes since the node was started, without what TCP, UDP and QUIC themselves add.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

/// The counter of bytes, by transports and direction.
const BANDWIDTH: &str = "libp2p_bandwidth_bytes_total{";

impl Traffic {
    pub(crate) fn of(registry: &Registry) -> Self {
        Self::read(&text(registry))
    }

    fn read(text: &str) -> Self {
        let mut traffic = Self::default();
        // What goes through a relay is counted once more as what it is inside.
        let lines = text.lines().filter(|line| line.starts_with(BANDWIDTH) && !line.contains("p2p-circuit"));
        for line in lines {
            let bytes = line.rsplit(' ').next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
            if line.contains("direction=\"Outbound\"") {
                traffic.sent += bytes;
            } else {
                traffic.received += bytes;
            }
        }
        traffic
    }
}

/// As Prometheus reads it.
pub(crate) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // It fails only if the text does.
    if let Err(error) = prometheus_client::encoding::text::encode(&mut text, registry) {
        tracing::warn!(%error, "what is counted cannot be written down");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_counts_once() {
        let text = "# HELP libp2p_bandwidth_bytes Bandwidth usage by direction and transport protocols.\n\
            libp2p_bandwidth_bytes_total{protocols=\"/ip4/udp/quic-v1\",direction=\"Inbound\"} 5\n\
            libp2p_bandwidth_bytes_total{protocols=\"/ip4/udp/quic-v1\",direction=\"Outbound\"} 7\n\
            libp2p_bandwidth_bytes_total{protocols=\"/ip4/tcp\",direction=\"Outbound\"} 11\n\
            libp2p_bandwidth_bytes_total{protocols=\"/ip4/tcp/p2p/p2p-circuit\",direction=\"Outbound\"} 11\n\
            # EOF\n";
        assert_eq!(Traffic::read(text), Traffic { sent: 18, received: 5 });
    }
}
