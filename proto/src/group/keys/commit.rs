//! The host's side: making a group and changing who is in it.

use openmls::prelude::{
    KeyPackage, LeafNodeIndex, MlsGroup, MlsMessageOut, OpenMlsProvider as _,
    PURE_CIPHERTEXT_WIRE_FORMAT_POLICY,
};
use serde::{Deserialize, Serialize};

use super::{
    GroupKeys, GroupName, LoadError, MAX_MEMBERS, MlsError, OfferError, RosterError,
    crypto::SUITE,
    epoch, group_id,
    leaf::{NodeSigner, capabilities, credential, lifetime},
    offer,
    provider::Provider,
};
use crate::identity::{Identity, PeerId};

/// Longest commit, bytes: all members added or removed at once, with room to spare.
pub const MAX_COMMIT: usize = 256 * 1024;
/// Longest Welcome, bytes. One into a group of 8 has 2 kB, of 64 14 kB, of 256 54 kB.
pub const MAX_WELCOME: usize = 256 * 1024;

/// The step from one epoch to the next, for everyone who is in the group before it: a member applies all
/// commits, in order, and can pull those that it missed from whoever kept them. Encrypted to the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The epoch that it leads to. Unchecked: a hint for finding it; what counts is inside `bytes`.
    pub epoch: u64,
    /// An MLSMessage, at most [`MAX_COMMIT`].
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// A change that has not happened yet: once it is on disk, `keys` replaces the host's and the rest is sent.
#[derive(Debug)]
pub struct Staged {
    /// The host's keys, one epoch on.
    pub keys: GroupKeys,
    /// For the members that are in already.
    pub commit: Commit,
    /// For the new ones, each the same; at most [`MAX_WELCOME`]. Too large for gossip in a large group.
    pub welcome: Option<Vec<u8>>,
}

/// Why the host cannot change the group so.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// These are a member's keys, or the identity is not the one whose keys these are.
    #[error("only the host changes the group")]
    NotHost,
    /// A KeyPackage that is refused.
    #[error("{peer} cannot be added")]
    Offer {
        /// Whose it should be.
        peer: PeerId,
        /// What is wrong with it.
        source: OfferError,
    },
    /// To be added, but in the group (or named twice). To let somebody in anew, remove it first.
    #[error("{0} is in the group already")]
    AlreadyIn(PeerId),
    /// To be removed, but not in the group (or named twice).
    #[error("{0} is not in the group")]
    NotIn(PeerId),
    /// The host cannot remove itself.
    #[error("the host cannot leave its own group")]
    Host,
    /// The group would have more than [`MAX_MEMBERS`].
    #[error("the group is full")]
    Full,
    /// A list of nobody.
    #[error("there is nobody to add or remove")]
    Nobody,
    /// A member list that does not stand up: only a broken snapshot has one.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// Reasons inside openmls.
    #[error(transparent)]
    Mls(#[from] MlsError),
}

impl From<LoadError> for CommitError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Roster(error) => Self::Roster(error),
            LoadError::Mls(error) => Self::Mls(error),
            LoadError::Empty => Self::Mls(MlsError::new(error)),
        }
    }
}

impl GroupKeys {
    /// A group of nobody but its host, in epoch 0. `seed`: 32 bytes of fresh randomness, used for nothing else.
    ///
    /// Fails only for reasons inside openmls.
    pub fn create(
        name: impl Into<GroupName>,
        identity: &Identity,
        seed: &[u8; 32],
    ) -> Result<Self, CommitError> {
        let (name, me) = (name.into(), identity.peer());
        let store = super::Store::default();
        let group = MlsGroup::builder()
            .with_group_id(group_id(name))
            .ciphersuite(SUITE)
            .with_wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .lifetime(lifetime())
            .with_capabilities(capabilities())
            .build(&Provider::seeded(&store, me, seed), &NodeSigner(identity), credential(me))
            .map_err(MlsError::new)?;
        Ok(Self::checked(name, me, me, group, store)?)
    }

    /// ST16-17: lets members in, by the KeyPackages that came with their acceptances. The caller has given
    /// each its slot. `seed`: fresh randomness.
    pub fn add(
        &self,
        members: &[(PeerId, &[u8])],
        identity: &Identity,
        seed: &[u8; 32],
    ) -> Result<Staged, CommitError> {
        let mut packages = Vec::with_capacity(members.len());
        for (i, (peer, package)) in members.iter().enumerate() {
            if self.members.contains_key(peer) || members[..i].iter().any(|(other, _)| other == peer) {
                return Err(CommitError::AlreadyIn(*peer));
            }
            if self.members.len() + i >= MAX_MEMBERS {
                return Err(CommitError::Full);
            }
            let package = offer::checked(*peer, package)
                .map_err(|source| CommitError::Offer { peer: *peer, source })?;
            packages.push(package);
        }
        if packages.is_empty() {
            return Err(CommitError::Nobody);
        }
        self.commit(packages, Vec::new(), identity, seed)
    }

    /// Puts members out: from the new epoch on, they can read and say nothing. `seed`: fresh randomness.
    pub fn remove(
        &self,
        members: &[PeerId],
        identity: &Identity,
        seed: &[u8; 32],
    ) -> Result<Staged, CommitError> {
        let mut leaves = Vec::with_capacity(members.len());
        for (i, peer) in members.iter().enumerate() {
            if *peer == self.host {
                return Err(CommitError::Host);
            }
            match self.members.get(peer) {
                Some(leaf) if !members[..i].contains(peer) => leaves.push(LeafNodeIndex::new(*leaf)),
                _ => return Err(CommitError::NotIn(*peer)),
            }
        }
        if leaves.is_empty() {
            return Err(CommitError::Nobody);
        }
        self.commit(Vec::new(), leaves, identity, seed)
    }

    /// New keys for the same members, so that keys which leaked lose their worth. `seed`: fresh randomness.
    pub fn refresh(&self, identity: &Identity, seed: &[u8; 32]) -> Result<Staged, CommitError> {
        self.commit(Vec::new(), Vec::new(), identity, seed)
    }

    fn commit(
        &self,
        add: Vec<KeyPackage>,
        remove: Vec<LeafNodeIndex>,
        identity: &Identity,
        seed: &[u8; 32],
    ) -> Result<Staged, CommitError> {
        if self.me != self.host || identity.peer() != self.me {
            return Err(CommitError::NotHost);
        }
        let Self { mut group, store, .. } = Self::load(self.name, self.host, self.me, self.store.clone())?;
        let provider = Provider::seeded(&store, self.me, seed);
        let messages = group
            .commit_builder()
            .propose_removals(remove)
            .propose_adds(add)
            .force_self_update(true)
            .load_psks(provider.storage())
            .map_err(MlsError::new)?
            // Nobody outside gets what he would need to let himself in.
            .create_group_info(false)
            .build(provider.rand(), provider.crypto(), &NodeSigner(identity), |_| true)
            .map_err(MlsError::new)?
            .stage_commit(&provider)
            .map_err(MlsError::new)?;
        group.merge_pending_commit(&provider).map_err(MlsError::new)?;
        let (commit, welcome, _) = messages.into_messages();
        let bytes = |message: MlsMessageOut| message.to_bytes().map_err(MlsError::new);
        let commit = Commit { epoch: epoch(self.name, group.epoch().as_u64()), bytes: bytes(commit)? };
        let welcome = welcome.map(bytes).transpose()?;
        let keys = Self::checked(self.name, self.host, self.me, group, store)?;
        Ok(Staged { keys, commit, welcome })
    }
}
