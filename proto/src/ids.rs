//! Names of things: fixed-size byte strings that must not be mistaken for one another.
//!
//! For: one type per kind of name, written as lower-case hex for people and as bytes on the wire. Not for:
//! peers, whose names carry a key (see [`crate::identity`]).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Text that is not the hex form of the wanted kind of name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {kind}: {digits} hex digits are wanted")]
pub struct ParseIdError {
    kind: &'static str,
    digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}…)"), hex::encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| ParseIdError { kind: $kind, digits: 2 * $len })?;
                Ok(Self(bytes))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseIdError;

            fn try_from(bytes: &[u8]) -> Result<Self, ParseIdError> {
                bytes.try_into().map(Self).map_err(|_| ParseIdError { kind: $kind, digits: 2 * $len })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
                    Self::try_from(bytes.as_slice()).map_err(D::Error::custom)
                }
            }
        }
    };
}

id!(
    /// A program, by content: BLAKE3 of its manifest's bytes.
    ProgramId, 32, "a program id"
);
id!(
    /// One chunk of a file, by content: BLAKE3 of its bytes.
    ChunkHash, 32, "a chunk hash"
);
id!(
    /// A ticket, by what its signature covers. This is the id that people see.
    TicketHash, 32, "a ticket"
);
id!(
    /// A slot, by what its signature covers.
    SlotHash, 32, "a slot"
);
id!(
    /// A receipt, by what its signature covers.
    ReceiptHash, 32, "a receipt"
);
id!(
    /// A release of a slot, by what its signature covers.
    ReleaseHash, 32, "a release"
);
id!(
    /// A handover of copies, by what its signature covers.
    HandoverHash, 32, "a handover"
);
id!(
    /// A billing peer's answer to a receipt, by what its signature covers.
    AckHash, 32, "an acknowledgement"
);
id!(
    /// An update, by what its signature covers.
    UpdateHash, 32, "an update"
);
id!(
    /// A vote, by what its signature covers.
    VoteHash, 32, "a vote"
);
id!(
    /// A membership, by what its signature covers.
    MembershipHash, 32, "a membership"
);
id!(
    /// One session: random, chosen by its host.
    SessionId, 16, "a session"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip_and_refusal() {
        let id = SessionId([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        let error = "abab".parse::<SessionId>().expect_err("too short");
        assert_eq!(error.to_string(), "not a session: 32 hex digits are wanted");
        assert!(ProgramId::try_from(&[0u8; 31][..]).is_err());
    }
}
