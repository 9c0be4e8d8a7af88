//! The envelope around every item: COSE_Sign1 (RFC 9052) with EdDSA, in its one allowed form.
//!
//! For: [`Signed`] (decoded, structure checked, signature not), [`Verified`] (signature checked too) and
//! [`sign`]. Not for: what the items say (see their modules).
//!
//! The form: tag 18; protected header exactly `{1: -8}` (alg: EdDSA); nothing unprotected; the payload
//! attached, a map of [`claims`](super::claims); an Ed25519 signature over RFC 9052's `Sig_structure` with the
//! kind's context string as `external_aad`. The key is the issuer's, and it is in the issuer's PeerId.
//!
//! Three decisions and their reasons:
//!
//! - **The context string is signed, not sent.** A reader says which kind it expects, and an item of another
//!   kind does not verify as that, even if its claims happened to fit.
//! - **An item's identity is BLAKE3 over the `Sig_structure`**, that is over kind, header and payload, and not
//!   over the envelope. What surrounds the signed bytes can be written in many ways (and a signer can make
//!   many signatures of one message), so a hash of it would let anybody make a second id, and a second bill,
//!   out of one signed thing.
//! - **Decoding takes one form only**: CBOR's deterministic encoding, no byte more, no header more. Whoever
//!   re-encodes or extends an item gets an error, not a variant. The check compares with our own encoding; but
//!   what is verified are always the bytes received.

use std::{fmt, ops::Deref, sync::Arc};

use coset::{
    CborSerializable as _, CoseError, CoseSign1, CoseSign1Builder, HeaderBuilder,
    TaggedCborSerializable as _, iana,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::claims::{ClaimError, Claims};
use crate::identity::{Identity, PeerId};

/// Longest envelope of any kind, bytes.
pub const MAX_ITEM_LEN: usize = 4096;

/// A kind of item.
pub trait Item: Sized + Clone + PartialEq + fmt::Debug {
    /// What names an item of this kind.
    type Hash: Copy + Eq + Ord + fmt::Display + fmt::Debug;

    /// What a user calls it, with its article: "a ticket".
    const NAME: &'static str;

    /// Longest envelope of this kind, bytes.
    const MAX_LEN: usize = MAX_ITEM_LEN;

    /// Signed along as `external_aad`: sets this kind and version apart from all others.
    const CONTEXT: &'static str;

    /// Who signs it.
    fn issuer(&self) -> PeerId;

    /// The claims, the issuer's included.
    fn to_claims(&self) -> Claims;

    /// Takes the claims out of `claims`; what it leaves is refused. Also refuses what no item of the kind
    /// can say, whoever signs it.
    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError>;

    /// Makes the name out of a BLAKE3 digest.
    fn hash_from(digest: [u8; 32]) -> Self::Hash;
}

/// Why bytes are not an item.
#[derive(Debug, thiserror::Error)]
#[error("not {kind}: {fault}")]
pub struct DecodeError {
    kind: &'static str,
    /// What is wrong.
    #[source]
    pub fault: Fault,
}

/// What is wrong with bytes that are not an item.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Longer than [`Item::MAX_LEN`].
    #[error("longer than {most} bytes")]
    TooLong {
        /// The bound.
        most: usize,
    },
    /// Not a COSE_Sign1.
    #[error("damaged, or not a signed item at all ({0})")]
    Cose(CoseError),
    /// Another algorithm, or more in the headers than belongs there.
    #[error("signed in a way that is not accepted")]
    Headers,
    /// The right content in another encoding.
    #[error("not in its canonical encoding")]
    NotCanonical,
    /// Another content.
    #[error(transparent)]
    Claims(#[from] ClaimError),
}

/// A signature that its issuer did not make over what came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} that was changed or is not by {issuer}: its signature is wrong")]
pub struct VerifyError {
    kind: &'static str,
    /// Who is said to have signed it.
    pub issuer: PeerId,
}

/// Why an item cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Only the issuer signs.
    #[error("{kind} by {issuer} cannot be signed by {signer}")]
    NotIssuer {
        /// Kind of item.
        kind: &'static str,
        /// Whose item it is.
        issuer: PeerId,
        /// Whose key it was.
        signer: PeerId,
    },
    /// It says what no item of its kind can say.
    #[error(transparent)]
    Invalid(#[from] DecodeError),
}

/// What both states of an item hold.
struct Parts<T: Item> {
    bytes: Vec<u8>,
    envelope: CoseSign1,
    item: T,
    hash: T::Hash,
}

/// An item as it came: its structure is right; who signed it, if anybody, is not known. Cheap to clone.
pub struct Signed<T: Item>(Arc<Parts<T>>);

/// An item that its issuer signed. Reads like the item itself. Cheap to clone.
pub struct Verified<T: Item>(Arc<Parts<T>>);

/// Signs `item`. The result is what decoding and verifying its bytes gives: times in whole seconds, say.
pub fn sign<T: Item>(item: &T, identity: &Identity) -> Result<Verified<T>, SignError> {
    let (issuer, signer) = (item.issuer(), identity.peer());
    if issuer != signer {
        return Err(SignError::NotIssuer { kind: T::NAME, issuer, signer });
    }
    let envelope = CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).build())
        .payload(item.to_claims().encode())
        .create_signature(T::CONTEXT.as_bytes(), |message| identity.sign(message).to_vec())
        .build();
    let bytes = envelope.to_tagged_vec().map_err(|error| T::fault(Fault::Cose(error)))?;
    Ok(Verified(Signed::decode(&bytes)?.0))
}

/// Keeps `fault` out of the public trait.
trait Faulty: Item {
    fn fault(fault: Fault) -> DecodeError {
        DecodeError { kind: Self::NAME, fault }
    }
}

impl<T: Item> Faulty for T {}

/// The envelope, if it has the one form that is accepted.
fn open(bytes: &[u8], most: usize) -> Result<CoseSign1, Fault> {
    if bytes.len() > most {
        return Err(Fault::TooLong { most });
    }
    let envelope = CoseSign1::from_tagged_slice(bytes).map_err(Fault::Cose)?;
    let eddsa = HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).build();
    let protected = eddsa.to_vec().map_err(Fault::Cose)?;
    if envelope.protected.original_data.as_ref() != Some(&protected) || !envelope.unprotected.is_empty() {
        return Err(Fault::Headers);
    }
    if envelope.clone().to_tagged_vec().map_err(Fault::Cose)? != bytes {
        return Err(Fault::NotCanonical);
    }
    Ok(envelope)
}

impl<T: Item> Signed<T> {
    /// Decodes an envelope.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::try_decode(bytes).map_err(T::fault)
    }

    fn try_decode(bytes: &[u8]) -> Result<Self, Fault> {
        let envelope = open(bytes, T::MAX_LEN)?;
        let payload = envelope.payload.as_deref().ok_or(Fault::Claims(ClaimError::NotClaims))?;
        let mut claims = Claims::decode(payload)?;
        let item = T::from_claims(&mut claims)?;
        claims.finish()?;
        if item.to_claims().encode() != payload {
            return Err(Fault::NotCanonical);
        }
        let signed = envelope.tbs_data(T::CONTEXT.as_bytes());
        let hash = T::hash_from(*blake3::hash(&signed).as_bytes());
        Ok(Self(Arc::new(Parts { bytes: bytes.to_vec(), envelope, item, hash })))
    }

    /// Checks the signature against the issuer's PeerId.
    pub fn verify(self) -> Result<Verified<T>, VerifyError> {
        let issuer = self.0.item.issuer();
        let wrong = VerifyError { kind: T::NAME, issuer };
        self.0.envelope.verify_signature(T::CONTEXT.as_bytes(), |signature, message| {
            if issuer.verifies(message, signature) { Ok(()) } else { Err(wrong) }
        })?;
        Ok(Verified(self.0))
    }

    /// The envelope.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// What it says, if it is true.
    #[must_use]
    pub fn unverified(&self) -> &T {
        &self.0.item
    }

    /// Its name, if it is true.
    #[must_use]
    pub fn unverified_hash(&self) -> T::Hash {
        self.0.hash
    }
}

impl<T: Item> Verified<T> {
    /// The envelope.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Its name. Equal for equal content, whatever the signature's bytes.
    #[must_use]
    pub fn hash(&self) -> T::Hash {
        self.0.hash
    }

    /// For sending it to somebody, who will verify it for themselves.
    #[must_use]
    pub fn to_signed(&self) -> Signed<T> {
        Signed(self.0.clone())
    }
}

impl<T: Item> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.item
    }
}

macro_rules! common_traits {
    ($type:ident) => {
        impl<T: Item> Clone for $type<T> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        /// Equal byte for byte.
        impl<T: Item> PartialEq for $type<T> {
            fn eq(&self, other: &Self) -> bool {
                self.0.bytes == other.0.bytes
            }
        }

        impl<T: Item> Eq for $type<T> {}

        impl<T: Item> fmt::Debug for $type<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($type)).field(&self.0.item).finish()
            }
        }

        /// The envelope's bytes; as hex in formats for people.
        impl<T: Item> Serialize for $type<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(&hex::encode(self.bytes()))
                } else {
                    serializer.serialize_bytes(self.bytes())
                }
            }
        }
    };
}

common_traits!(Signed);
common_traits!(Verified);

impl<'de, T: Item> Deserialize<'de> for Signed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?
        } else {
            serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec()
        };
        Self::decode(&bytes).map_err(D::Error::custom)
    }
}

/// Verifies, so that a database that somebody tampered with is found out as well.
impl<'de, T: Item> Deserialize<'de> for Verified<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Signed::deserialize(deserializer)?.verify().map_err(D::Error::custom)
    }
}
