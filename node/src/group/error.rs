//! Why a group is not opened, and an update not posted.

use std::sync::Arc;

use parlor_proto::group::{MAX_COVERED, keys::MlsError};

use crate::store::StoreError;

/// Why a group cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the group's keys cannot be used: {0}")]
    Keys(#[from] MlsError),
}

/// Why an update was not posted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PostError {
    #[error("the session does not take updates any more")]
    Closed,
    #[error("the update has {len} bytes: at most {most} are allowed")]
    TooLarge { len: usize, most: usize },
    #[error(
        "this node has posted as much as the session keeps of one member: the host's program has to make a checkpoint first"
    )]
    Full,
    #[error("a checkpoint covers the updates of at most {MAX_COVERED} members: this session had more")]
    TooManyCovered,
    #[error("the numbers of this node's updates were used before, and others could not be noted: try again")]
    Reused,
    #[error("the update was not written: {0}")]
    Store(#[source] Arc<StoreError>),
}
