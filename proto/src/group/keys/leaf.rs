//! Who is behind a leaf of the MLS tree.
//!
//! For: the one rule that ties MLS to peers: a leaf's credential is the PeerId of its signature key. Not for:
//! whether that peer belongs in the group (the slot says that).
//!
//! MLS leaves credentials to the application (RFC 9420, section 5.3.1), and openmls checks nothing of them: so
//! every leaf that comes from somebody else passes through here, in a KeyPackage, a Welcome or a commit.

use std::collections::BTreeMap;

use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, Credential, CredentialType, CredentialWithKey, Lifetime,
    Member, ProtocolVersion, SignatureScheme,
};
use openmls_traits::signatures::{Signer, SignerError};

use super::crypto::SUITE;
use crate::{
    identity::{Identity, PeerId},
    session::MAX_SEATS,
};

/// Most members of a group: everyone with a seat, and the host.
pub const MAX_MEMBERS: usize = MAX_SEATS + 1;

/// For each member, its leaf in the tree. The leaf names the sender in a lane's frames.
pub type Members = BTreeMap<PeerId, u32>;

/// Why a group's list of members does not stand up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// A credential that is not the PeerId of the leaf's signature key.
    #[error("the member at leaf {0} does not hold the key of the peer it says it is")]
    NotItsKey(u32),
    /// One peer, two leaves.
    #[error("{0} is in the group twice")]
    Twice(PeerId),
    /// More than [`MAX_MEMBERS`].
    #[error("the group has more than {MAX_MEMBERS} members")]
    TooMany,
    /// The host is not among them.
    #[error("the host is not in its own group")]
    NoHost,
    /// This node is not among them.
    #[error("this node is not in the group")]
    NotMe,
}

/// Signs as the node. MLS signatures are Ed25519 over a labelled structure (RFC 9420, section 5.1.2), which
/// no item of [`crate::rights`] (a COSE structure) and no libp2p handshake can be mistaken for.
pub(super) struct NodeSigner<'a>(pub(super) &'a Identity);

impl Signer for NodeSigner<'_> {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign(payload).to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// What a node's leaf says: its PeerId, and the key that is in it.
pub(super) fn credential(peer: PeerId) -> CredentialWithKey {
    CredentialWithKey {
        credential: BasicCredential::new(peer.to_bytes().to_vec()).into(),
        signature_key: peer.public_key().as_slice().into(),
    }
}

/// What every leaf can do: exactly what is in use.
pub(super) fn capabilities() -> Capabilities {
    const SUITES: [Ciphersuite; 1] = [SUITE];
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&SUITES),
        None,
        None,
        Some(&[CredentialType::Basic]),
    )
}

/// Always. A leaf needs no end of its own: what lets a peer in is its slot, and that expires. So membership
/// never hangs on a clock, and a session that outlives MLS' usual 84 days can still be joined.
pub(super) fn lifetime() -> Lifetime {
    Lifetime::init(0, u64::MAX)
}

/// The peer behind a credential, if the credential is what [`credential`] makes of that key.
pub(super) fn peer_of(credential: &Credential, signature_key: &[u8]) -> Option<PeerId> {
    let identity = BasicCredential::try_from(credential.clone()).ok()?;
    let peer = PeerId::from_bytes(identity.identity()).ok()?;
    (peer.public_key() == signature_key).then_some(peer)
}

/// Everyone in the group, each checked; `me` and the host among them.
pub(super) fn roster(
    leaves: impl Iterator<Item = Member>,
    host: PeerId,
    me: PeerId,
) -> Result<Members, RosterError> {
    let mut members = Members::new();
    for leaf in leaves {
        if members.len() >= MAX_MEMBERS {
            return Err(RosterError::TooMany);
        }
        let index = leaf.index.u32();
        let peer = peer_of(&leaf.credential, &leaf.signature_key).ok_or(RosterError::NotItsKey(index))?;
        if members.insert(peer, index).is_some() {
            return Err(RosterError::Twice(peer));
        }
    }
    match () {
        () if !members.contains_key(&host) => Err(RosterError::NoHost),
        () if !members.contains_key(&me) => Err(RosterError::NotMe),
        () => Ok(members),
    }
}
