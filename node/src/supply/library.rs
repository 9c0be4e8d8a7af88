//! The library: the programs kept on this node (23/33 + 24/34).
//!
//! For: bringing programs in from a directory, an `.xdc` or a directory of them (ST31-33), finding them by what
//! users call them, and letting them go. Not for: programs that come over the network ([`super::get`]).

use std::{path::Path, sync::Arc};

use parlor_proto::{identity::PeerId, ids::ProgramId, rights::Ledger, session::Contact};

use crate::{
    clock,
    context::{Context, Event},
    program::{self, ImportError},
    store::{Bundle, BundleError, LibraryEntry, StoreError, Transaction},
};

/// Why the library cannot do something.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LibraryError {
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no program {0:?} in the library: `parlor programs` lists them")]
    NoSuchProgram(String),
    #[error("{0:?} is the beginning of several programs' ids: write more of it")]
    Ambiguous(String),
}

/// Reads a directory or an `.xdc` into the library. `origin` is who supplied it, if not the user.
pub async fn import_into_library(
    context: &Context,
    path: &Path,
    origin: Option<PeerId>,
) -> Result<Arc<Bundle>, LibraryError> {
    let (path, bundles) = (path.to_owned(), Arc::clone(&context.bundles));
    let import = move || -> Result<Arc<Bundle>, LibraryError> {
        let _writing = bundles.writing()?;
        Ok(program::import(&path, &bundles)?.install(&bundles)?)
    };
    let bundle = tokio::task::spawn_blocking(import).await.expect("an import does not panic")?;
    note(context, &bundle, origin).await?;
    Ok(bundle)
}

/// Notes in the database that a whole bundle is in the library.
pub async fn note(context: &Context, bundle: &Bundle, origin: Option<PeerId>) -> Result<(), StoreError> {
    let mut write = context.store.write().await?;
    put(context, &mut write, bundle, origin).await?;
    write.commit().await?;
    context.tell(Event::Changed);
    Ok(())
}

/// Puts a whole bundle into the library, with what it is content for if it is a pack.
pub async fn put(
    context: &Context,
    write: &mut Transaction,
    bundle: &Bundle,
    origin: Option<PeerId>,
) -> Result<(), StoreError> {
    let (program, manifest) = (bundle.program(), bundle.program().manifest());
    let entry = LibraryEntry {
        program: program.id(),
        name: manifest.name.to_string(),
        origin,
        kept: true,
        added_at: clock::now(),
    };
    context.store.put_program(write, &entry).await?;
    match &manifest.pack {
        Some(pack) => context.store.put_pack(write, program, pack).await,
        None => Ok(()),
    }
}

/// By name (the newest of that name), or by the beginning of an id.
pub async fn find(context: &Context, name: &str) -> Result<LibraryEntry, LibraryError> {
    if let Some(entry) = context.store.programs_named(name).await?.into_iter().next() {
        return Ok(entry);
    }
    let is_id = name.len() >= 4 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let all = if is_id { context.store.programs().await? } else { Vec::new() };
    let mut found = all.into_iter().filter(|entry| entry.program.to_string().starts_with(name));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry),
        (Some(_), Some(_)) => Err(LibraryError::Ambiguous(name.into())),
        _ => Err(LibraryError::NoSuchProgram(name.into())),
    }
}

/// Whether a ticket has a copy for each of these, or they have one of it already.
#[must_use]
pub fn has_copies_for(ledger: &Ledger, invited: &[Contact]) -> bool {
    let new = invited.iter().filter(|contact| ledger.slot_of(contact.peer).is_none()).count();
    u32::try_from(new).is_ok_and(|new| new <= ledger.left())
}

/// Takes a program and its files out of the library.
pub async fn remove(context: &Context, program: ProgramId) -> Result<(), LibraryError> {
    context.store.remove_offers_of(program).await?;
    context.store.remove_program(program).await?;
    let bundles = Arc::clone(&context.bundles);
    tokio::task::spawn_blocking(move || bundles.remove(program)).await.expect("a removal does not panic")?;
    context.tell(Event::Changed);
    Ok(())
}

/// ST31-33: takes in every directory, `.xdc` and card in `dir`. What cannot be read is logged and left out.
pub async fn preload(context: &Context, dir: &Path) -> std::io::Result<()> {
    let mut entries = tokio::fs::read_dir(dir).await?;
    while let Some(entry) = entries.next_entry().await? {
        let path = entry.path();
        let is =
            |extension: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
        let taken = if is("card") {
            super::card::read(context, &path).await.map(|_| ()).map_err(|error| error.to_string())
        } else if is("xdc") || program::may_be_program(&path) {
            import_into_library(context, &path, None).await.map(|_| ()).map_err(|error| error.to_string())
        } else {
            continue;
        };
        match taken {
            Ok(()) => tracing::info!(path = %path.display(), "preloaded"),
            Err(why) => tracing::warn!(path = %path.display(), why, "cannot be preloaded"),
        }
    }
    Ok(())
}
