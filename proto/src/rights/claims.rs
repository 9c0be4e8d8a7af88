//! The claims of a signed item: a CBOR map with CWT claim keys (RFC 8392) where one fits, and ours.
//!
//! For: writing a typed value under a claim key and reading it back. Not for: signatures (see
//! [`super::envelope`]), nor for what claims mean together (see the module of each item).
//!
//! The idea: reading takes claims out of the map one by one, and what is left over is an error. So a claim
//! that this version does not know is refused and never silently ignored: somebody signed it because it
//! matters. The keys:
//!
//! | key | claim | type | in |
//! |---|---|---|---|
//! | 1 | `iss`: who signs | text, a PeerId | all |
//! | 2 | `sub`: program name of a ticket, member of a slot | text | ticket, slot |
//! | 3 | `aud`: host, next host, candidate, member of a session | text, a PeerId | ticket, handover, vote, membership |
//! | 4 | `exp` | whole seconds since 1970 | ticket |
//! | 5 | `nbf` | whole seconds since 1970 | ticket |
//! | 6 | `iat`: when it was signed, or what it reports happened | whole seconds since 1970 | all |
//! | 7 | `cti`: ticket id | 16 bytes | ticket |
//! | -65537 | program id | 32 bytes | ticket |
//! | -65538 | copies | unsigned | ticket |
//! | -65539 | tariff | `[version]` or `[version, currency, copy, reception, use, minute]` | ticket |
//! | -65540 | lease | `[length, grace]`, seconds | ticket, optional |
//! | -65541 | billing peers | array of text, PeerIds | ticket |
//! | -65542 | offline issue | bool | ticket |
//! | -65543 | ticket | 32 bytes | slot, release, handover, receipt |
//! | -65544 | k; in a handover, the first that was never granted | unsigned | slot, release, handover |
//! | -65545 | generation | unsigned | slot, release |
//! | -65546 | release that freed the slot | bytes, an envelope | slot, from generation 1 |
//! | -65547 | slot | 32 bytes | release, membership, receipt of a member |
//! | -65548 | session | 16 bytes | receipt, update, handover |
//! | -65549 | kind of receipt | unsigned | receipt |
//! | -65550 | used from | whole seconds since 1970 | receipt of use |
//! | -65551 | used to | whole seconds since 1970 | receipt of use |
//! | -65552 | receipt | 32 bytes | ack |
//! | -65553 | position in the billing log | unsigned | ack |
//! | -65554 | verdict | unsigned | ack |
//! | -65555 | number in the sender's order | unsigned | update |
//! | -65556 | payload | bytes | update |
//! | -65557 | covers: the newest of each chain that it replaces | links | update, optional |
//! | -65558 | term | unsigned | handover, vote, checkpoint |
//! | -65559 | numbers given back | array of `[k, generation, 16 bytes]` | handover |
//! | -65560 | handover that it rests on | bytes, an envelope | slot of a successor, handover by one |
//! | -65571 | start of the chain, unless it is the sender's first | unsigned, from 1 | update |
//! | -65572 | the update before it in its chain | 32 bytes | update, unless number 1 |
//! | -65573 | the newest of other chains that its sender had | links | update, unless none |
//! | -65574 | depth | unsigned, from 1 | update |
//!
//! Links: an array of `[chain, number, 32 bytes]`, ascending; a chain is the 38 bytes of a PeerId, followed by its start
//! as 8 bytes unless that is 0. Keys below -65536 are CWT's range for private use.

mod values;

use std::fmt;

use ciborium::Value;

use crate::identity::PeerId;

/// Most claims in one item. More than any kind has.
const MAX_CLAIMS: usize = 24;

/// The key of a claim, and its name in error messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(i64, &'static str);

/// Every key, by name. See the table of the module.
#[allow(missing_docs, reason = "the table of the module says it")]
pub mod key {
    use super::Key;

    pub const ISSUER: Key = Key(1, "iss");
    pub const SUBJECT: Key = Key(2, "sub");
    pub const AUDIENCE: Key = Key(3, "aud");
    pub const EXPIRES: Key = Key(4, "exp");
    pub const NOT_BEFORE: Key = Key(5, "nbf");
    pub const AT: Key = Key(6, "iat");
    pub const ID: Key = Key(7, "cti");
    pub const PROGRAM: Key = Key(-65537, "program");
    pub const COPIES: Key = Key(-65538, "copies");
    pub const TARIFF: Key = Key(-65539, "tariff");
    pub const LEASE: Key = Key(-65540, "lease");
    pub const BILLING: Key = Key(-65541, "billing");
    pub const OFFLINE_ISSUE: Key = Key(-65542, "offline issue");
    pub const TICKET: Key = Key(-65543, "ticket");
    pub const K: Key = Key(-65544, "k");
    pub const GENERATION: Key = Key(-65545, "generation");
    pub const RELEASE: Key = Key(-65546, "release");
    pub const SLOT: Key = Key(-65547, "slot");
    pub const SESSION: Key = Key(-65548, "session");
    pub const KIND: Key = Key(-65549, "kind");
    pub const USED_FROM: Key = Key(-65550, "used from");
    pub const USED_TO: Key = Key(-65551, "used to");
    pub const RECEIPT: Key = Key(-65552, "receipt");
    pub const POSITION: Key = Key(-65553, "position");
    pub const VERDICT: Key = Key(-65554, "verdict");
    pub const NUMBER: Key = Key(-65555, "number");
    pub const PAYLOAD: Key = Key(-65556, "payload");
    pub const COVERS: Key = Key(-65557, "covers");
    pub const TERM: Key = Key(-65558, "term");
    pub const NUMBERS: Key = Key(-65559, "numbers");
    pub const HANDOVER: Key = Key(-65560, "handover");
    pub const CHAIN: Key = Key(-65571, "chain");
    pub const PREVIOUS: Key = Key(-65572, "previous");
    pub const AFTER: Key = Key(-65573, "after");
    pub const DEPTH: Key = Key(-65574, "depth");
}

/// Why a payload is not the claims of the wanted kind of item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Not CBOR, not a map with integer keys, or with far too many of them.
    #[error("its payload is not a map of claims")]
    NotClaims,
    /// A key twice.
    #[error("claim {0} is there twice")]
    Duplicate(i64),
    /// A claim that does not belong into this kind of item.
    #[error("claim {0} does not belong there")]
    Unknown(i64),
    /// A claim that this kind of item needs.
    #[error("claim `{0}` is missing")]
    Missing(&'static str),
    /// A claim of another type, or out of range.
    #[error("claim `{claim}` is not {wanted}")]
    Mistyped {
        /// Name of the claim.
        claim: &'static str,
        /// What would have been right.
        wanted: &'static str,
    },
    /// Claims that contradict one another.
    #[error("{0}")]
    Inconsistent(&'static str),
}

/// A type of claim value. There is one CBOR form of each value.
pub trait Claim: Sized {
    /// What is wanted, for error messages: "a number", say.
    const WANTED: &'static str;

    /// As CBOR.
    fn to_value(&self) -> Value;

    /// From CBOR; `None` for anything else, or out of range.
    fn from_value(value: Value) -> Option<Self>;
}

/// The claims of one item, being written or read.
#[derive(Clone, PartialEq)]
pub struct Claims(Vec<(i64, Value)>);

impl Claims {
    /// The claims of an item signed by `issuer`.
    #[must_use]
    pub fn issued_by(issuer: PeerId) -> Self {
        Self(Vec::new()).with(key::ISSUER, &issuer)
    }

    /// Adds a claim.
    #[must_use]
    pub fn with<C: Claim>(mut self, key: Key, claim: &C) -> Self {
        self.0.push((key.0, claim.to_value()));
        self
    }

    /// Adds a claim where there is one.
    #[must_use]
    pub fn with_some<C: Claim>(self, key: Key, claim: Option<&C>) -> Self {
        match claim {
            Some(claim) => self.with(key, claim),
            None => self,
        }
    }

    /// The payload: CBOR in core deterministic encoding (RFC 8949, 4.2.1).
    #[must_use]
    pub fn encode(mut self) -> Vec<u8> {
        // Bytewise order of the encoded keys: positive ones first, each by magnitude.
        self.0.sort_by_key(|(key, _)| (*key < 0, key.unsigned_abs()));
        let map = Value::Map(self.0.into_iter().map(|(key, value)| (Value::from(key), value)).collect());
        let mut bytes = Vec::new();
        ciborium::into_writer(&map, &mut bytes).expect("a Vec takes any CBOR value");
        bytes
    }

    /// From a payload, whose length the caller has bounded.
    pub fn decode(payload: &[u8]) -> Result<Self, ClaimError> {
        let mut rest = payload;
        let value: Value = ciborium::from_reader(&mut rest).map_err(|_| ClaimError::NotClaims)?;
        let Value::Map(map) = value else {
            return Err(ClaimError::NotClaims);
        };
        if !rest.is_empty() || map.len() > MAX_CLAIMS {
            return Err(ClaimError::NotClaims);
        }
        let mut claims = Vec::with_capacity(map.len());
        for (key, value) in map {
            let key =
                key.as_integer().and_then(|key| i64::try_from(key).ok()).ok_or(ClaimError::NotClaims)?;
            if claims.iter().any(|(known, _)| *known == key) {
                return Err(ClaimError::Duplicate(key));
            }
            claims.push((key, value));
        }
        Ok(Self(claims))
    }

    /// Takes a claim out, if it is there.
    pub fn take_some<C: Claim>(&mut self, key: Key) -> Result<Option<C>, ClaimError> {
        let Some(index) = self.0.iter().position(|(known, _)| *known == key.0) else {
            return Ok(None);
        };
        let (_, value) = self.0.swap_remove(index);
        match C::from_value(value) {
            Some(claim) => Ok(Some(claim)),
            None => Err(ClaimError::Mistyped { claim: key.1, wanted: C::WANTED }),
        }
    }

    /// Takes a claim out that must be there.
    pub fn take<C: Claim>(&mut self, key: Key) -> Result<C, ClaimError> {
        self.take_some(key)?.ok_or(ClaimError::Missing(key.1))
    }

    /// Refuses what nobody took.
    pub fn finish(self) -> Result<(), ClaimError> {
        match self.0.first() {
            Some((key, _)) => Err(ClaimError::Unknown(*key)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, value)| (key, value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::ProgramId, time::Timestamp};

    fn claims() -> Claims {
        Claims(Vec::new()).with(key::PROGRAM, &ProgramId([1; 32])).with(key::K, &7u32)
    }

    #[test]
    fn each_way_to_be_wrong_has_its_own_error() {
        let mut read = claims();
        assert_eq!(read.take::<u32>(key::COPIES), Err(ClaimError::Missing("copies")));
        let wanted = "16 bytes";
        assert_eq!(
            read.clone().take::<[u8; 16]>(key::PROGRAM),
            Err(ClaimError::Mistyped { claim: "program", wanted })
        );
        assert_eq!(read.take(key::PROGRAM), Ok(ProgramId([1; 32])));
        assert_eq!(read.clone().finish(), Err(ClaimError::Unknown(-65544)));
        assert_eq!(read.take(key::K), Ok(7u32));
        assert_eq!(read.finish(), Ok(()));
    }

    #[test]
    fn duplicates_text_keys_and_other_shapes_are_refused() {
        // {1: 0, 1: 0}, {"a": 0}, [], {} with a byte after it, {_ ...} without its end.
        let cases: [(&[u8], ClaimError); 5] = [
            (&[0xa2, 1, 0, 1, 0], ClaimError::Duplicate(1)),
            (&[0xa1, 0x61, b'a', 0], ClaimError::NotClaims),
            (&[0x80], ClaimError::NotClaims),
            (&[0xa0, 0], ClaimError::NotClaims),
            (&[0xbf, 1, 0], ClaimError::NotClaims),
        ];
        for (bytes, error) in cases {
            assert_eq!(Claims::decode(bytes), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn keys_are_in_deterministic_order() {
        let bytes = claims().with(key::ID, &[0; 16]).with(key::EXPIRES, &Timestamp(1999)).encode();
        assert_eq!(bytes[..4], [0xa4, 0x04, 0x01, 0x07], "exp first, in whole seconds, then cti");
        assert_eq!(bytes[21..26], [0x3a, 0x00, 0x01, 0x00, 0x00], "then -65537");
    }
}
