//! A member's side: getting in by a Welcome, and following the host's commits.

use std::cmp::Ordering;

use openmls::framing::ContentType;
use openmls::prelude::{
    DeserializeBytes as _, MlsGroupJoinConfig, MlsMessageBodyIn, MlsMessageIn,
    PURE_CIPHERTEXT_WIRE_FORMAT_POLICY, ProcessedMessageContent, Proposal, ProtocolMessage, Sender,
    StagedCommit, StagedWelcome,
};

use super::{
    GroupKeys, GroupName, KeyOffer, LoadError, MAX_COMMIT, MAX_WELCOME, Members, MlsError, RosterError,
    epoch, group_id,
    leaf::{peer_of, roster},
    provider::Provider,
};
use crate::identity::PeerId;

/// Why a Welcome is refused. Nothing of the offer is used up: the right Welcome may still come.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Too long, or not a Welcome.
    #[error("not a welcome to a group")]
    Malformed(#[source] Option<MlsError>),
    /// Into another group than this session's in this term.
    #[error("a welcome to another session, or of another term")]
    OtherSession,
    /// Not by the session's host.
    #[error("a welcome by somebody who is not the host")]
    NotHost,
    /// The group has a member that is not who it says it is.
    #[error("a welcome to a group whose members do not stand up")]
    Roster(#[from] RosterError),
    /// Made for another KeyPackage, changed on the way, or unsound.
    #[error(transparent)]
    Mls(#[from] MlsError),
}

/// What a commit does to a member.
#[derive(Debug)]
pub enum Applied {
    /// On to the next epoch.
    Merged(Box<Merged>),
    /// An old one: nothing to do.
    Known,
    /// For a later epoch: others have to come first. Nobody has vouched for it yet.
    Ahead {
        /// The [`super::Commit::epoch`] of the first that is missing.
        missing_from: u64,
    },
    /// It puts this node out of the group: these keys open nothing that is said from now on.
    Removed,
}

/// The next epoch: once it is on disk, `keys` replaces the old ones.
#[derive(Debug)]
pub struct Merged {
    /// One epoch on.
    pub keys: GroupKeys,
    /// Who is new.
    pub added: Vec<PeerId>,
    /// Who is gone.
    pub removed: Vec<PeerId>,
}

/// Why a commit is refused. Nothing changes.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Too long, or not a private MLS message.
    #[error("not a commit")]
    Malformed(#[source] Option<MlsError>),
    /// Of another group than this session's in this term.
    #[error("a commit of another session, or of another term")]
    OtherSession,
    /// By a member that is not the host.
    #[error("a commit by somebody who is not the host")]
    NotHost,
    /// A well-made message of a kind that groups here do not use.
    #[error("a commit that does more than add and remove members")]
    Unsupported,
    /// The group would have a member that is not who it says it is.
    #[error("a commit to a group whose members do not stand up")]
    Roster(#[from] RosterError),
    /// Forged, changed on the way, or unsound.
    #[error(transparent)]
    Mls(#[from] MlsError),
}

impl GroupKeys {
    /// Gets in, by the Welcome that came with the grant (ST23). `name` and `host` are what the member
    /// accepted the invitation of.
    pub fn join(
        offer: &KeyOffer,
        welcome: &[u8],
        name: impl Into<GroupName>,
        host: PeerId,
    ) -> Result<Self, JoinError> {
        let name = name.into();
        if welcome.len() > MAX_WELCOME {
            return Err(JoinError::Malformed(None));
        }
        let message = MlsMessageIn::tls_deserialize_exact_bytes(welcome)
            .map_err(|error| JoinError::Malformed(Some(MlsError::new(error))))?;
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
            return Err(JoinError::Malformed(None));
        };
        let store = offer.store.clone();
        let provider = Provider::without_randomness(&store);
        let config = MlsGroupJoinConfig::builder()
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .build();
        let staged = StagedWelcome::build_from_welcome(&provider, &config, welcome)
            .map_err(MlsError::new)?
            .skip_lifetime_validation()
            .build()
            .map_err(MlsError::new)?;
        if *staged.group_context().group_id() != group_id(name) {
            return Err(JoinError::OtherSession);
        }
        let sender = staged.welcome_sender().map_err(MlsError::new)?;
        if peer_of(sender.credential(), sender.signature_key().as_slice()) != Some(host) {
            return Err(JoinError::NotHost);
        }
        roster(staged.members(), host, offer.peer)?;
        let group = staged.into_group(&provider).map_err(MlsError::new)?;
        Ok(Self::checked(name, host, offer.peer, group, store)?)
    }

    /// Follows the host into the next epoch, if that is where `commit` ([`super::Commit::bytes`]) leads from
    /// here. The host has no use for it: its own commits come back to it as [`Applied::Known`].
    pub fn apply(&self, commit: &[u8]) -> Result<Applied, ApplyError> {
        let message = self.commit_message(commit)?;
        match epoch(self.name, message.epoch().as_u64()).cmp(&self.epoch()) {
            Ordering::Less => return Ok(Applied::Known),
            Ordering::Greater => return Ok(Applied::Ahead { missing_from: self.epoch() + 1 }),
            Ordering::Equal => {}
        }
        // openmls notes in its state what it has read: on a copy, so that a refused commit leaves no trace.
        let Self { mut group, store, .. } = Self::load(self.name, self.host, self.me, self.store.clone())?;
        let provider = Provider::without_randomness(&store);
        let processed = group.process_message(&provider, message).map_err(MlsError::new)?;
        match processed.sender() {
            Sender::Member(leaf) if self.members.get(&self.host) == Some(&leaf.u32()) => {}
            _ => return Err(ApplyError::NotHost),
        }
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return Err(ApplyError::Unsupported);
        };
        if !only_membership(&staged) {
            return Err(ApplyError::Unsupported);
        }
        if staged.self_removed() {
            return Ok(Applied::Removed);
        }
        group.merge_staged_commit(&provider, *staged).map_err(MlsError::new)?;
        let keys = Self::checked(self.name, self.host, self.me, group, store)?;
        let added = missing(&keys.members, &self.members);
        let removed = missing(&self.members, &keys.members);
        Ok(Applied::Merged(Box::new(Merged { keys, added, removed })))
    }

    /// As far as a commit can be read without its keys.
    fn commit_message(&self, commit: &[u8]) -> Result<ProtocolMessage, ApplyError> {
        if commit.len() > MAX_COMMIT {
            return Err(ApplyError::Malformed(None));
        }
        let malformed = |error| ApplyError::Malformed(Some(error));
        let message = MlsMessageIn::tls_deserialize_exact_bytes(commit)
            .map_err(|error| malformed(MlsError::new(error)))?
            .try_into_protocol_message()
            .map_err(|error| malformed(MlsError::new(error)))?;
        if *message.group_id() != group_id(self.name) {
            return Err(ApplyError::OtherSession);
        }
        match (&message, message.content_type()) {
            (ProtocolMessage::PrivateMessage(_), ContentType::Commit) => Ok(message),
            _ => Err(ApplyError::Malformed(None)),
        }
    }
}

impl From<LoadError> for ApplyError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Roster(error) => Self::Roster(error),
            LoadError::Mls(error) => Self::Mls(error),
            LoadError::Empty => Self::Mls(MlsError::new(error)),
        }
    }
}

/// Whether a commit does no more than its name says here: no new extensions, no other group, no outside secrets.
fn only_membership(staged: &StagedCommit) -> bool {
    staged
        .queued_proposals()
        .all(|queued| matches!(queued.proposal(), Proposal::Add(_) | Proposal::Remove(_)))
}

/// Who of `these` is not among `those`, at that leaf.
fn missing(these: &Members, those: &Members) -> Vec<PeerId> {
    these.iter().filter(|(peer, leaf)| those.get(peer) != Some(leaf)).map(|(peer, _)| *peer).collect()
}
