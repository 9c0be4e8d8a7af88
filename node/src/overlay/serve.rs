//! What a relay does for others: it passes on what they say, tells them whether they can be reached, and lets them be
//! found.
//!
//! For: [`Serve`], the three behaviours of that role (circuit relay v2, AutoNAT v2, rendezvous), and [`RelayLimits`],
//! what the operator sets. Not for: making use of relays (see `relays`).
//!
//! Whom a relay serves is anybody: so it is not sent into its operator's network (see `dial_back`), and keeps nothing for
//! whoever does not use it (see `rendezvous`).
//!
//! The idea: a relay is for people who know each other, not for everybody's bulk; but a program has to get through, and a
//! session has to last an evening. So a circuit may carry gigabytes and last for hours, far beyond libp2p's defaults, and
//! what is bounded is how many there are, of one peer and in all.

use std::{num::NonZeroU32, str::FromStr, time::Duration};

use bytesize::ByteSize;
use libp2p::{identity::Keypair, relay, swarm::NetworkBehaviour};

use super::{dial_back::DialBack, rendezvous::Rendezvous};

/// What one relay gives: `circuits=512,circuit-time=12h`, say; what is left out stays as it is by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayLimits {
    /// Nodes that can be reached through it at the same time.
    pub reservations: usize,
    /// Connections through it, in all.
    pub circuits: usize,
    /// Connections through it of one node: those of its sessions with everyone who is not reached directly.
    pub circuits_per_peer: usize,
    /// How long one may last.
    pub circuit_time: Duration,
    /// What one may carry each way, bytes; 0: as much as it likes.
    pub circuit_bytes: u64,
    /// Whether nodes that ask how they can be reached are called at addresses that are not public, too: private ones, this
    /// machine's, names. For a relay within one network; on the internet it would let anybody knock at inner doors.
    pub private_probes: bool,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            reservations: 1024,
            circuits: 1024,
            circuits_per_peer: 64,
            circuit_time: Duration::from_secs(12 * 60 * 60),
            circuit_bytes: 4 << 30,
            private_probes: false,
        }
    }
}

/// Text that names no limits.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LimitsError {
    /// Not `name=value`, or no such name.
    #[error(
        "{0:?} is no limit of a relay: there are reservations=N, circuits=N, circuits-per-peer=N, circuit-time=12h, \
         circuit-bytes=4GiB, private-probes=yes"
    )]
    Name(String),
    /// A value that is none.
    #[error("{0}={1:?} is not what this limit takes, like {2}")]
    Value(&'static str, String, &'static str),
}

impl FromStr for RelayLimits {
    type Err = LimitsError;

    fn from_str(text: &str) -> Result<Self, LimitsError> {
        fn number(name: &'static str, value: &str) -> Result<usize, LimitsError> {
            let number = value.parse().ok().filter(|number| *number > 0);
            number.ok_or_else(|| LimitsError::Value(name, value.into(), "100"))
        }
        let mut limits = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| LimitsError::Name(part.into()))?;
            match name {
                "reservations" => limits.reservations = number("reservations", value)?,
                "circuits" => limits.circuits = number("circuits", value)?,
                "circuits-per-peer" => limits.circuits_per_peer = number("circuits-per-peer", value)?,
                "circuit-time" => {
                    let time = humantime::parse_duration(value).ok();
                    // The protocol has 32 bits for it.
                    let time = time.filter(|time| !time.is_zero() && u32::try_from(time.as_secs()).is_ok());
                    limits.circuit_time =
                        time.ok_or_else(|| LimitsError::Value("circuit-time", value.into(), "12h"))?;
                }
                "circuit-bytes" => {
                    let bytes = value.parse::<ByteSize>();
                    limits.circuit_bytes = bytes
                        .map_err(|_| LimitsError::Value("circuit-bytes", value.into(), "4GiB"))?
                        .as_u64();
                }
                "private-probes" => {
                    limits.private_probes = match value {
                        "yes" => true,
                        "no" => false,
                        _ => return Err(LimitsError::Value("private-probes", value.into(), "yes")),
                    };
                }
                _ => return Err(LimitsError::Name(part.into())),
            }
        }
        Ok(limits)
    }
}

/// The relay role. See the module.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Serve {
    pub(crate) relay: relay::Behaviour,
    dial_back: DialBack,
    pub(crate) rendezvous: Rendezvous,
}

/// A budget, and how long one takes to come back. A school or a ship has one address for all.
const RESERVATIONS_PER_ADDRESS: (u32, Duration) = (1024, Duration::from_secs(1));
const CIRCUITS_PER_PEER: (u32, Duration) = (256, Duration::from_secs(1));
const CIRCUITS_PER_ADDRESS: (u32, Duration) = (2048, Duration::from_millis(100));

impl Serve {
    pub(crate) fn new(key: &Keypair, limits: &RelayLimits) -> Self {
        let relay = relay::Config {
            max_reservations: limits.reservations,
            max_reservations_per_peer: 4,
            max_circuits: limits.circuits,
            max_circuits_per_peer: limits.circuits_per_peer,
            max_circuit_duration: limits.circuit_time,
            max_circuit_bytes: limits.circuit_bytes,
            reservation_rate_limiters: Vec::new(),
            circuit_src_rate_limiters: Vec::new(),
            ..relay::Config::default()
        };
        let some = |number| NonZeroU32::new(number).expect("not zero");
        let relay = relay
            .reservation_rate_per_ip(some(RESERVATIONS_PER_ADDRESS.0), RESERVATIONS_PER_ADDRESS.1)
            .circuit_src_per_peer(some(CIRCUITS_PER_PEER.0), CIRCUITS_PER_PEER.1)
            .circuit_src_per_ip(some(CIRCUITS_PER_ADDRESS.0), CIRCUITS_PER_ADDRESS.1);
        Self {
            relay: relay::Behaviour::new(key.public().to_peer_id(), relay),
            dial_back: DialBack::new(limits.private_probes),
            rendezvous: Rendezvous::new(limits.reservations),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn limits_are_named_one_by_one() {
        let limits: RelayLimits =
            "circuit-time=10s, circuit-bytes=4MiB,circuits=7,private-probes=yes".parse().unwrap();
        assert_eq!(
            limits,
            RelayLimits {
                circuits: 7,
                circuit_time: Duration::from_secs(10),
                circuit_bytes: 4 << 20,
                private_probes: true,
                ..RelayLimits::default()
            }
        );
        assert_eq!("".parse::<RelayLimits>().unwrap(), RelayLimits::default());
    }

    #[test]
    fn what_is_no_limit_is_said() {
        for (text, said) in [
            ("speed=4", "is no limit of a relay"),
            ("circuits", "is no limit of a relay"),
            ("circuits=many", "circuits=\"many\" is not what"),
            ("circuits=0", "like 100"),
            ("circuit-time=0s", "like 12h"),
            ("circuit-time=900years", "like 12h"),
            ("circuit-bytes=-1", "like 4GiB"),
            ("private-probes=maybe", "like yes"),
        ] {
            let error = text.parse::<RelayLimits>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
