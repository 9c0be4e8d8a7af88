//! A program's bytes, under a right: the node's connection between rights and [`crate::content`].
//!
//! For: fetching whatever of a program is missing here, and deciding who is served. Not for: chunks and frames.

use std::{io, sync::Arc};

use parlor_proto::{
    content::frames::Refusal,
    identity::PeerId,
    ids::ProgramId,
    program::Role,
    rights::{Right, SignedRight},
};
use tokio::sync::watch;

use super::origin::{self, SupplyError};
use crate::{
    content::{self, Authoriser, Connector, FetchError, Wanted},
    context::Context,
    overlay::{self, Overlay},
    store::{Bundle, BundleError},
};

/// How far a transfer is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here and verified.
    pub done: u64,
    /// Bytes that the whole copy takes.
    pub total: u64,
    /// Bytes that came over the network in this transfer.
    pub fetched: u64,
}

/// Why a program is not here yet. What arrived is kept.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TransferError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl TransferError {
    /// Whether the source has not got the program any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Fetch(FetchError::Refused { reason: Refusal::NotHere, .. }))
    }

    /// Whether trying again is of no use.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Fetch(FetchError::Refused { reason, .. }) => *reason == Refusal::NotAllowed,
            Self::Fetch(FetchError::BadSource { .. }) => true,
            Self::Fetch(_) | Self::Bundle(_) => false,
        }
    }
}

/// Makes content streams over the overlay.
struct Streams(Overlay);

impl Connector for Streams {
    type Stream = tokio_util::compat::Compat<overlay::Stream>;

    async fn connect(&self, peer: PeerId) -> io::Result<Self::Stream> {
        let stream = self.0.open_stream(peer).await.map_err(io::Error::other)?;
        Ok(tokio_util::compat::TokioAsyncReadCompatExt::compat(stream))
    }
}

/// Whose copy a right gives.
#[must_use]
pub fn role_of(right: &Right) -> Role {
    if right.slot().is_some() { Role::Everyone } else { Role::Host }
}

/// Gets what is missing of the program that `right` is about, from `sources` in this order. Returns once every
/// byte is here and verified.
pub async fn fetch(
    context: &Context,
    right: &Right,
    sources: Vec<PeerId>,
    progress: &watch::Sender<Progress>,
) -> Result<Arc<Bundle>, TransferError> {
    let (program, role) = (right.ticket().program, role_of(right));
    let here = context.bundle(program).await?;
    if let Some(bundle) = here.as_ref().filter(|bundle| bundle.complete() >= Some(role)) {
        return Ok(Arc::clone(bundle));
    }
    let shown: Arc<[u8]> = crate::store::to_blob(&right.to_signed()).into();
    let connector = Arc::new(Streams(context.overlay.clone()));
    let bundle = match here {
        Some(bundle) => bundle,
        None => start(context, &connector, program, &shown, &sources).await?,
    };
    let (inner, mut steps) = watch::channel(content::Progress::default());
    let wanted = Wanted { bundle: Arc::clone(&bundle), role, right: shown, sources };
    let fetching = content::fetch(connector, wanted, &inner);
    tokio::pin!(fetching);
    let mut first = None;
    loop {
        tokio::select! {
            fetched = &mut fetching => {
                report(context, &mut first, *inner.borrow(), progress);
                fetched?;
                return Ok(bundle);
            }
            // The sender lives as long as the loop.
            _ = steps.changed() => report(context, &mut first, *steps.borrow_and_update(), progress),
        }
    }
}

/// Passes progress on, and counts what is new.
fn report(
    context: &Context,
    first: &mut Option<u64>,
    step: content::Progress,
    progress: &watch::Sender<Progress>,
) {
    if step.bytes_total == 0 {
        return;
    }
    let fetched = step.bytes_done.saturating_sub(*first.get_or_insert(step.bytes_done));
    progress.send_modify(|progress| {
        context.traffic.add_fetched(fetched.saturating_sub(progress.fetched));
        *progress = Progress { done: step.bytes_done, total: step.bytes_total, fetched };
    });
}

/// The manifest, from the first source that gives it, and an empty bundle for it.
async fn start(
    context: &Context,
    connector: &Arc<Streams>,
    program: ProgramId,
    right: &[u8],
    sources: &[PeerId],
) -> Result<Arc<Bundle>, TransferError> {
    let mut last = FetchError::NoSource;
    for source in sources {
        match content::fetch_manifest(&**connector, *source, program, right).await {
            Ok(manifest) => {
                let bundles = Arc::clone(&context.bundles);
                let created = tokio::task::spawn_blocking(move || bundles.create(&manifest));
                return Ok(created.await.expect("making a bundle does not panic")?);
            }
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

/// Serves those who show a right of their own.
pub struct RightHolders(pub Arc<Context>);

impl Authoriser for RightHolders {
    async fn authorise(&self, peer: PeerId, program: ProgramId, right: &[u8]) -> Result<Role, Refusal> {
        let right: SignedRight = cbor4ii::serde::from_slice(right).map_err(|_| Refusal::NotAllowed)?;
        match origin::authorise(&self.0, peer, right).await {
            Ok((right, role)) if right.ticket().program == program => Ok(role),
            Ok(_) => Err(Refusal::NotAllowed),
            Err(error) => {
                tracing::info!(?peer, %error, "a program was not served");
                // What is the matter here is nothing to give up for there.
                let here = matches!(error, SupplyError::Store(_) | SupplyError::Bundle(_));
                Err(if here { Refusal::Busy } else { Refusal::NotAllowed })
            }
        }
    }
}
