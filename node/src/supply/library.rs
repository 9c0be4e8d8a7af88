//! The library: the programs kept on this node (23/33 + 24/34).
//!
//! For: bringing programs in from a directory, an `.xdc` or a directory of them (ST31-33), finding them by what
//! users call them, and letting them go. Not for: programs that come over the network ([`super::get`]).

use std::{path::Path, sync::Arc};

use parlor_proto::{identity::PeerId, ids::ProgramId, rights::Ledger, session::Contact};

use crate::{
    clock,
    context::{Context, Event},
    program::{self, ImportError, Staged},
    store::{Bundle, BundleError, LibraryEntry, StoreError, Transaction, bundle::blocking},
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
    context: &Arc<Context>,
    path: &Path,
    origin: Option<PeerId>,
) -> Result<Arc<Bundle>, LibraryError> {
    let staged = stage(context, path).await?;
    install(context, staged, origin).await
}

/// Reads a directory or an `.xdc`, beside the library. If nobody waits for it any more, what was staged goes away.
pub(super) async fn stage(context: &Context, path: &Path) -> Result<Staged, LibraryError> {
    let (path, bundles) = (path.to_owned(), Arc::clone(&context.bundles));
    let staging = tokio::task::spawn_blocking(move || -> Result<Staged, LibraryError> {
        let _writing = bundles.writing()?;
        Ok(program::import(&path, &bundles)?)
    });
    staging.await.expect("an import does not panic")
}

/// Puts what was staged into the library.
pub(super) async fn install(
    context: &Arc<Context>,
    staged: Staged,
    origin: Option<PeerId>,
) -> Result<Arc<Bundle>, LibraryError> {
    to_the_end(context, move |context| async move {
        let bundles = Arc::clone(&context.bundles);
        let bundle = blocking(move || staged.install(&bundles)).await?;
        note(&context, &bundle, origin).await?;
        Ok(bundle)
    })
    .await
}

/// Runs what puts files into the library and notes them in a task of its own, so that it comes to its end whoever still
/// waits for it. What it leaves behind when it fails is swept.
pub(super) async fn to_the_end<T, E, W>(
    context: &Arc<Context>,
    work: impl FnOnce(Arc<Context>) -> W,
) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
    W: Future<Output = Result<T, E>> + Send + 'static,
{
    let (work, context) = (work(Arc::clone(context)), Arc::clone(context));
    let task = tokio::spawn(async move {
        let done = work.await;
        if done.is_err() {
            context.sweep_soon();
        }
        done
    });
    match task.await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and whoever waits with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Notes in the database that a whole bundle is in the library.
pub async fn note(context: &Context, bundle: &Bundle, origin: Option<PeerId>) -> Result<(), LibraryError> {
    let mut write = context.store.write().await?;
    put(context, &mut write, bundle, origin).await?;
    write.commit().await.map_err(StoreError::from)?;
    context.tell(Event::Changed);
    Ok(())
}

/// Puts a whole bundle into the library, with what it is content for if it is a pack.
pub async fn put(
    context: &Context,
    write: &mut Transaction,
    bundle: &Bundle,
    origin: Option<PeerId>,
) -> Result<(), LibraryError> {
    // Whoever removes it does so before its row goes: it is never a row without files that stays.
    if bundle.is_removed() {
        return Err(BundleError::Removed.into());
    }
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
        Some(pack) => Ok(context.store.put_pack(write, program, pack).await?),
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

/// Takes a program and its files out of the library. What a crash interrupts is made up for at the next start: the row
/// says that the program is not kept until its files are gone.
pub async fn remove(context: &Context, program: ProgramId) -> Result<(), LibraryError> {
    context.store.remove_offers_of(program).await?;
    context.store.keep_program(program, false).await?;
    let bundles = Arc::clone(&context.bundles);
    blocking(move || bundles.remove(program)).await?;
    context.store.remove_program(program).await?;
    context.tell(Event::Changed);
    Ok(())
}

/// ST31-33: takes in every directory, `.xdc` and card in `dir`. What cannot be read is logged and left out.
pub async fn preload(context: &Arc<Context>, dir: &Path) -> std::io::Result<()> {
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
