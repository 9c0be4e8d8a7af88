//! Asking another member for what is missing here, and answering.

use std::sync::Arc;

use parlor_proto::{
    group::{Heads, MAX_UPDATES, MAX_UPDATES_SIZE, UpdatesRequest, UpdatesResponse},
    identity::PeerId,
    ids::SessionId,
    wire::{Request, Response},
};

use super::Inner;
use crate::store::{Store, StoreError};

/// What `have` lacks, each sender's in order, as much as fits into one answer.
pub(super) async fn answer(
    store: &Store,
    session: SessionId,
    have: &Heads,
) -> Result<UpdatesResponse, StoreError> {
    let (mine, _) = store.heads(session).await?;
    let mut response = UpdatesResponse::default();
    let mut size = 0;
    'senders: for (sender, number) in mine.ahead_of(have) {
        let room = MAX_UPDATES - response.updates.len();
        // One more than fits, to see whether there is more.
        for update in store.updates_of(session, sender, number, room + 1).await? {
            let full = response.updates.len() == MAX_UPDATES;
            if full || (size > 0 && size + update.bytes().len() > MAX_UPDATES_SIZE) {
                response.more = true;
                break 'senders;
            }
            size += update.bytes().len();
            response.updates.push(update.to_signed());
        }
    }
    response.have = mine;
    Ok(response)
}

/// Asks `peer` for what `have` lacks.
pub(super) async fn ask(inner: Arc<Inner>, peer: PeerId, have: Heads) -> Option<UpdatesResponse> {
    let request = UpdatesRequest { session: inner.session, have };
    match inner.overlay.request(peer, Request::Updates(request)).await {
        Ok(Response::Updates(response)) => Some(response),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(session = %inner.session, ?peer, %error, "no updates from there");
            None
        }
    }
}
