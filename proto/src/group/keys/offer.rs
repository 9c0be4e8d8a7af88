//! What a member hands to the host so that it can be added: its KeyPackage (RFC 9420, section 10).

use openmls::prelude::{
    DeserializeBytes as _, KeyPackage, KeyPackageVerifyError, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut,
    OpenMlsProvider as _, ProtocolVersion,
};
use serde::{Deserialize, Serialize};

use super::{
    MlsError,
    crypto::SUITE,
    leaf::{NodeSigner, capabilities, credential, lifetime, peer_of},
    provider::Provider,
    store::Store,
};
use crate::identity::{Identity, PeerId};

/// Longest KeyPackage, bytes. Ours have about 300.
pub const MAX_KEY_PACKAGE: usize = 2_048;

/// A member's half of being added: made when it accepts (ST21), used up when it is let in.
///
/// One offer is good for one group. Contains private keys: it is kept on this node, and only
/// [`KeyOffer::package`] travels, with the acceptance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyOffer {
    pub(super) peer: PeerId,
    #[serde(with = "serde_bytes")]
    package: Vec<u8>,
    pub(super) store: Store,
}

/// Why a KeyPackage is refused.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// Too long, or not a KeyPackage.
    #[error("not a key package")]
    Malformed(#[source] Option<MlsError>),
    /// It says, or its key says, that it is another's.
    #[error("the key package is not {0}'s")]
    NotItsKey(PeerId),
    /// Another cipher suite, or a lifetime that some clock has to judge.
    #[error("the key package asks for something that groups here do not have")]
    Unsupported,
    /// Its signature or its contents do not stand up.
    #[error("the key package does not stand up")]
    Invalid(#[source] KeyPackageVerifyError),
}

impl KeyOffer {
    /// A new one. `seed`: 32 bytes of fresh randomness, used for nothing else.
    ///
    /// Fails only for reasons inside openmls.
    pub fn new(identity: &Identity, seed: &[u8; 32]) -> Result<Self, MlsError> {
        let peer = identity.peer();
        let store = Store::default();
        let bundle = KeyPackage::builder()
            .key_package_lifetime(lifetime())
            .leaf_node_capabilities(capabilities())
            .build(SUITE, &Provider::seeded(&store, peer, seed), &NodeSigner(identity), credential(peer))
            .map_err(MlsError::new)?;
        let package = MlsMessageOut::from(bundle.into_key_package()).to_bytes().map_err(MlsError::new)?;
        Ok(Self { peer, package, store })
    }

    /// What travels to the host: an MLSMessage with a KeyPackage, at most [`MAX_KEY_PACKAGE`] bytes.
    #[must_use]
    pub fn package(&self) -> &[u8] {
        &self.package
    }

    /// Whether `package`, which `peer` sent with its acceptance, would get `peer` into a group.
    pub fn check(peer: PeerId, package: &[u8]) -> Result<(), OfferError> {
        checked(peer, package).map(drop)
    }
}

/// The KeyPackage, which is `peer`'s.
pub(super) fn checked(peer: PeerId, package: &[u8]) -> Result<KeyPackage, OfferError> {
    if package.len() > MAX_KEY_PACKAGE {
        return Err(OfferError::Malformed(None));
    }
    let message = MlsMessageIn::tls_deserialize_exact_bytes(package)
        .map_err(|error| OfferError::Malformed(Some(MlsError::new(error))))?;
    let MlsMessageBodyIn::KeyPackage(package) = message.extract() else {
        return Err(OfferError::Malformed(None));
    };
    let named = package.unverified_credential();
    if peer_of(&named.credential, named.signature_key.as_slice()) != Some(peer) {
        return Err(OfferError::NotItsKey(peer));
    }
    let store = Store::default();
    let provider = Provider::without_randomness(&store);
    let package = package.validate(provider.crypto(), ProtocolVersion::Mls10).map_err(OfferError::Invalid)?;
    if package.ciphersuite() != SUITE || *package.life_time() != lifetime() {
        return Err(OfferError::Unsupported);
    }
    Ok(package)
}
