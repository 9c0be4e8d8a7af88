//! The keys of a closed group: MLS (RFC 9420), with the host as the only one who changes membership.
//!
//! For: who holds which keys in which epoch; letting members in and out; the secrets from which
//! [`super::lanes`] seal what the group says. Not for: whether somebody belongs in the group (its slot says
//! that), for moving commits and Welcomes about, nor for the group's messages: those are never MLS application
//! messages, which a lossy network leaves undecryptable.
//!
//! The idea: a group goes through *epochs*. Each [`Commit`] of the host leads from one to the next and gives
//! everyone in it new keys, which a removed member cannot compute. A member makes a [`KeyOffer`] when it accepts
//! (ST21); the host adds it and sends a Welcome with the grant (ST16-17); everyone else gets the commit.
//!
//! ```text
//! member                       host                            members already in
//! KeyOffer::new --package--->  GroupKeys::add
//! GroupKeys::join <--welcome-- Staged { keys, commit, welcome } --commit--> GroupKeys::apply
//! ```
//!
//! Three things are not MLS' to decide and are checked here: that a leaf's credential is the PeerId of its
//! signature key (in every KeyPackage, Welcome and commit); that a commit comes from the host (MLS has no
//! roles); and that the group is this session's.
//!
//! **Nothing changes in place.** Every step takes `&self` and returns the keys as they would be. The driver
//! puts those and the messages on disk in the transaction of the session step that asked for it, and only
//! then lets them replace the old ones and publishes. A rollback is to drop what was returned.
//!
//! **Purity.** Randomness is an argument of each step that needs any. openmls reads the clock for two things,
//! neither of which decides anything here: leaves live for ever, and of past epochs no MLS secrets are kept.

mod commit;
mod crypto;
mod join;
mod leaf;
mod offer;
mod provider;
mod store;
#[cfg(test)]
mod tests;

use openmls::prelude::{GroupId, MlsGroup, OpenMlsProvider as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

pub use commit::{Commit, CommitError, MAX_COMMIT, MAX_WELCOME, Staged};
pub use join::{Applied, ApplyError, JoinError, Merged};
pub use leaf::{MAX_MEMBERS, Members, RosterError};
pub use offer::{KeyOffer, MAX_KEY_PACKAGE, OfferError};

use self::{leaf::roster, provider::Provider, store::Store};
use super::lanes::Lane;
use crate::{identity::PeerId, ids::SessionId};

/// The exporter's label for lane secrets (RFC 9420, section 8.5).
const LANE_LABEL: &str = "app-lane v1";
/// What an [`EpochTag`] is derived under.
const TAG_CONTEXT: &str = "parlor epoch tag v1";

/// Length of a lane's key, bytes.
pub const LANE_SECRET_LEN: usize = 32;

/// What openmls says went wrong.
#[derive(Debug, thiserror::Error)]
#[error("MLS does not allow it: {0}")]
pub struct MlsError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl MlsError {
    fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// Which group: a session has one a term. A host that takes over from another makes a new one ([`crate::session::election`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupName {
    /// Of which session.
    pub session: SessionId,
    /// From 0; one more with each change of the host.
    pub term: u32,
}

/// Names the state of a group in one epoch: two nodes have the same keys if and only if they have the same tag.
///
/// The number of an epoch does not say that: two hosts of one term each have an epoch of every number, and so does a
/// host that lets some members follow one commit and others another. It is a hash of MLS' epoch authenticator (RFC 9420,
/// section 8.7), so that whoever sees it learns nothing about the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EpochTag(#[serde(with = "serde_bytes")] pub [u8; 8]);

/// The group of the session's first host.
impl From<SessionId> for GroupName {
    fn from(session: SessionId) -> Self {
        Self { session, term: 0 }
    }
}

/// One node's keys of one session's group, in one epoch.
///
/// Serializes (as CBOR, say) into the snapshot that the node keeps. Contains private keys.
pub struct GroupKeys {
    name: GroupName,
    host: PeerId,
    me: PeerId,
    members: Members,
    group: MlsGroup,
    store: Store,
}

impl GroupKeys {
    /// Of which session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.name.session
    }

    /// In which term of it: see [`GroupName`].
    #[must_use]
    pub fn term(&self) -> u32 {
        self.name.term
    }

    /// Who changes the group.
    #[must_use]
    pub fn host(&self) -> PeerId {
        self.host
    }

    /// Whose keys these are.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.me
    }

    /// This node's leaf in the tree.
    #[must_use]
    pub fn leaf(&self) -> u32 {
        self.group.own_leaf_index().u32()
    }

    /// How many commits the group has seen, with the term in the upper 32 bits: so a later term's first epoch
    /// comes after all of the one before. New with every change of members and every refresh.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        epoch(self.name, self.group.epoch().as_u64())
    }

    /// Tells these keys from all others, of whatever epoch, term or host.
    #[must_use]
    pub fn tag(&self) -> EpochTag {
        let hash = blake3::derive_key(TAG_CONTEXT, self.group.epoch_authenticator().as_slice());
        let mut tag = [0; 8];
        tag.copy_from_slice(&hash[..8]);
        EpochTag(tag)
    }

    /// Who is in the group in this epoch, the host included.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The key of what `sender` says in `lane` in this epoch. All members can compute it: it keeps others out
    /// but does not prove the sender.
    ///
    /// Fails only for reasons inside openmls.
    pub fn lane_secret(
        &self,
        sender: PeerId,
        lane: Lane,
    ) -> Result<Zeroizing<[u8; LANE_SECRET_LEN]>, MlsError> {
        let mut context = sender.to_bytes().to_vec();
        context.push(lane.code());
        let provider = Provider::without_randomness(&self.store);
        let exported = Zeroizing::new(
            self.group
                .export_secret(provider.crypto(), LANE_LABEL, &context, LANE_SECRET_LEN)
                .map_err(MlsError::new)?,
        );
        let mut secret = Zeroizing::new([0; LANE_SECRET_LEN]);
        secret.copy_from_slice(&exported);
        Ok(secret)
    }

    /// openmls' state as `store` has it, all of it checked again.
    fn load(name: GroupName, host: PeerId, me: PeerId, store: Store) -> Result<Self, LoadError> {
        let group = MlsGroup::load(store.memory(), &group_id(name))
            .map_err(|error| LoadError::Mls(MlsError::new(error)))?
            .ok_or(LoadError::Empty)?;
        Self::checked(name, host, me, group, store).map_err(LoadError::Roster)
    }

    fn checked(
        name: GroupName,
        host: PeerId,
        me: PeerId,
        group: MlsGroup,
        store: Store,
    ) -> Result<Self, RosterError> {
        let members = roster(group.members(), host, me)?;
        if members.get(&me) != Some(&group.own_leaf_index().u32()) {
            return Err(RosterError::NotMe);
        }
        Ok(Self { name, host, me, members, group, store })
    }
}

impl std::fmt::Debug for GroupKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupKeys")
            .field("name", &self.name)
            .field("epoch", &self.epoch())
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

/// A group is named after its session and term, so that no Welcome or commit passes in another.
fn group_id(name: GroupName) -> GroupId {
    let mut bytes = name.session.as_bytes().to_vec();
    bytes.extend_from_slice(&name.term.to_be_bytes());
    GroupId::from_slice(&bytes)
}

/// See [`GroupKeys::epoch`]. No group lives to see 2^32 commits.
fn epoch(name: GroupName, commits: u64) -> u64 {
    u64::from(name.term) << 32 | (commits & u64::from(u32::MAX))
}

/// Why a snapshot is not one of a group.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("there is no group in it")]
    Empty,
    #[error(transparent)]
    Roster(RosterError),
    #[error(transparent)]
    Mls(MlsError),
}

#[derive(Serialize)]
struct SnapshotRef<'a> {
    name: GroupName,
    host: PeerId,
    me: PeerId,
    mls: &'a Store,
}

#[derive(Deserialize)]
struct Snapshot {
    name: GroupName,
    host: PeerId,
    me: PeerId,
    mls: Store,
}

impl Serialize for GroupKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name, host, me, ref store, .. } = *self;
        SnapshotRef { name, host, me, mls: store }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for GroupKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Snapshot { name, host, me, mls } = Snapshot::deserialize(deserializer)?;
        Self::load(name, host, me, mls).map_err(D::Error::custom)
    }
}
