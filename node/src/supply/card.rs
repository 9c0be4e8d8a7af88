//! Cards (43): a program, a right to it and the host's address in one file, carried by hand.
//!
//! For: writing what this node may hand on, and taking in what somebody else wrote. Not for: giving rights: a
//! right on a card serves the node that it names, and nobody else. For all others a card saves the transfer:
//! the program is here when the host (whose address is on the card too) invites.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parlor_proto::{
    identity::PeerId,
    ids::{ProgramId, TicketHash},
    program::Role,
    rights::{Ledger, Receipt, ReceiptKind, Right, RightError, SignError, SignedRight, sign},
    session::Contact,
};
use serde::{Deserialize, Serialize};

use super::library::{self, LibraryError};
use crate::{
    billing::OutboxError,
    clock,
    contacts::ContactError,
    context::{Context, Event},
    overlay::Closed,
    store::{
        self, StoreError,
        bundle::{CardError as FileError, read_card, write_card},
    },
};

/// What stands on a card beside the program.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Ticket or slot, if the writer had one.
    right: Option<SignedRight>,
    /// Where to find the one who invites.
    host: Contact,
}

/// What a card brought.
#[derive(Debug)]
pub struct CardContent {
    /// The program, now in the library.
    pub program: ProgramId,
    /// Its name.
    pub name: String,
    /// The ticket, if it names this node as host.
    pub ticket: Option<TicketHash>,
    /// Who can invite this node.
    pub host: PeerId,
    /// What the host is called in the address book.
    pub contact: Option<String>,
}

/// Why a card cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CardError {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the card's note is damaged: ask for a new card")]
    Note,
    #[error("the card's right: {0}")]
    Right(#[from] RightError),
    #[error("the card's right is for another program than the one on it")]
    OtherProgram,
    #[error(transparent)]
    Contact(#[from] ContactError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Network(#[from] Closed),
}

/// Writes a program of the library, the best right to it that this node has, and where to find its host.
pub async fn write(context: &Context, name: &str, file: &Path) -> Result<ProgramId, CardError> {
    let entry = library::find(context, name).await?;
    let bundle = context.bundle(entry.program).await.map_err(LibraryError::from)?;
    let bundle = bundle.ok_or_else(|| LibraryError::NoSuchProgram(name.to_owned()))?;
    let tickets = context.store.tickets().await?;
    let held = tickets.iter().map(|held| held.ledger.ticket()).find(|ticket| ticket.program == entry.program);
    let right = held.map(|ticket| Right::of_host(ticket.clone()).to_signed());
    // Files of the host alone go only where the host's own ticket goes.
    let role = if right.is_some() { bundle.complete().unwrap_or(Role::Everyone) } else { Role::Everyone };
    let note = store::to_blob(&Note { right, host: context.contact().await? });
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let written = tokio::task::spawn_blocking(move || write_card(&bundle, role, &note, &file));
    written.await.expect("writing a card does not panic")?;
    Ok(entry.program)
}

/// Takes in a card: the program into the library; the ticket, if this node is its host; the writer into the
/// address book.
pub async fn read(context: &Arc<Context>, file: &Path) -> Result<CardContent, CardError> {
    let file = file.to_owned();
    library::to_the_end(context, |context| async move { take_in(&context, file).await }).await
}

async fn take_in(context: &Context, file: PathBuf) -> Result<CardContent, CardError> {
    let bundles = Arc::clone(&context.bundles);
    let reading = tokio::task::spawn_blocking(move || {
        let _writing = bundles.writing().map_err(store::bundle::CardError::from)?;
        read_card(&file, &bundles)
    });
    let (bundle, note) = reading.await.expect("reading a card does not panic")?;
    let note: Note = cbor4ii::serde::from_slice(&note).map_err(|_| CardError::Note)?;
    let (program, now) = (bundle.program().id(), clock::now());
    let right = note.right.map(|right| right.verify(now)).transpose()?;
    if right.as_ref().is_some_and(|right| right.ticket().program != program) {
        return Err(CardError::OtherProgram);
    }
    let origin = right.as_ref().map(|right| right.ticket().origin);
    let mine = right.filter(|right| right.holder() == context.me() && right.slot().is_none());
    let mut write = context.store.write().await?;
    library::put(context, &mut write, &bundle, origin).await?;
    if let Some(right) = &mine {
        // The same card again (a preloaded one at every start) is no other reception.
        if context.store.add_ledger(&mut write, &Ledger::new(right.ticket().clone()), now).await? {
            let receipt = Receipt::new(right, None, ReceiptKind::Received, now);
            let receipt = sign(&receipt, &context.identity)?;
            context.outbox.enqueue(&mut write, right, &receipt, now).await?;
        }
    }
    write.commit().await.map_err(StoreError::from)?;
    context.outbox.wake();
    context.tell(Event::Changed);
    let host = note.host.bounded();
    let contact = remember(context, &host).await?;
    let name = bundle.program().manifest().name.to_string();
    let ticket = mine.map(|right| right.ticket().hash());
    Ok(CardContent { program, name, ticket, host: host.peer, contact })
}

/// The card's writer as a contact, under its own name if that is free; never trusted, and never in place of a
/// contact that the user made.
async fn remember(context: &Context, host: &Contact) -> Result<Option<String>, CardError> {
    if host.peer == context.me() {
        return Ok(None);
    }
    // Its user has put the card in, and wants to reach who wrote it.
    for address in host.addresses.iter().filter_map(|address| address.parse().ok()) {
        context.overlay.add_address(host.peer, address).await;
    }
    if let Some(known) = context.store.contact_of(host.peer).await? {
        return Ok(Some(known.name));
    }
    let mut name = host.name.trim().replace('/', "-");
    if name.is_empty() || context.store.contact_named(&name).await?.is_some() {
        name = format!("{name}{}", crate::group::short_name(host.peer));
    }
    let peer = host.peer.to_string();
    match context.add_contact(&name, &peer, false).await {
        Ok(mut contact) => {
            contact.addresses.clone_from(&host.addresses);
            context.store.put_contact(&contact).await?;
            Ok(Some(contact.name))
        }
        Err(ContactError::Store(error)) => Err(error.into()),
        // A name that cannot be used here: the address is known all the same.
        Err(_) => Ok(None),
    }
}
