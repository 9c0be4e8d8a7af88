//! Programs' files that nothing needs: found and removed.
//!
//! For: [`run`], which sweeps whenever it is asked to ([`Context::sweep_soon`]): at start, after each end of a session,
//! after whatever could have left files behind. Not for: programs that are to be discarded, which have a row in the library
//! until they are ([`super::library::remove`]).
//!
//! The idea: needed is what has a row in the library, what an open supply receives, and what a session needs that is not
//! over. All of that is on disk, so that it can be read at any time. An import or a transfer that is under way holds its
//! bundle from before its files are there until its row is: what somebody holds, or has held since the sweep began, stays,
//! and is looked at again once it is let go of.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use parlor_proto::ids::ProgramId;
use tokio::sync::Notify;

use super::library::LibraryError;
use crate::{
    context::Context,
    store::{Bundles, Store, StoreError, bundle::blocking},
};

/// How soon to try again what could not be done.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Sweeps whenever `asked`, as long as there is a node.
pub async fn run(context: Weak<Context>, bundles: Arc<Bundles>, asked: Arc<Notify>) {
    loop {
        asked.notified().await;
        loop {
            let Some(context) = context.upgrade() else { return };
            let swept = sweep(&context).await;
            drop(context);
            match swept {
                Ok(Swept::All) => break,
                Ok(Swept::SomeInUse) => tokio::select! {
                    () = bundles.released() => {}
                    () = asked.notified() => {}
                },
                Err(error) => {
                    tracing::warn!(%error, "files that nothing needs are still there");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}

/// What a sweep left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swept {
    /// Nothing that is not needed.
    All,
    /// Something that is not needed, as far as is on disk, and in use.
    SomeInUse,
}

async fn sweep(context: &Context) -> Result<Swept, LibraryError> {
    let bundles = Arc::clone(&context.bundles);
    // Before it is read what is needed: see `Bundles::remove_idle`.
    let look = blocking(move || bundles.look_around()).await?;
    if look.idle.is_empty() && look.used.is_empty() {
        return Ok(Swept::All);
    }
    let needed = needed(&context.store).await?;
    let bundles = Arc::clone(&context.bundles);
    blocking(move || {
        let is_needed = |program: &ProgramId| needed.contains(program);
        let mut in_use = !look.used.iter().all(is_needed);
        for program in look.idle.iter().copied().filter(|program| !is_needed(program)) {
            match bundles.remove_idle(program, &look)? {
                true => tracing::info!(%program, "files that nothing needs were removed"),
                false => in_use = true,
            }
        }
        Ok(if in_use { Swept::SomeInUse } else { Swept::All })
    })
    .await
    .map_err(LibraryError::from)
}

/// The programs that a row, an open supply or a live session needs.
async fn needed(store: &Store) -> Result<BTreeSet<ProgramId>, StoreError> {
    let library = store.programs().await?.into_iter().map(|entry| entry.program);
    let supplies = store.open_supplies().await?;
    let supplies = supplies.iter().filter_map(|supply| Some(supply.right()?.ticket().program));
    let sessions = store.sessions().await?;
    let live = sessions.iter().map(|record| &record.role).filter(|role| !role.is_over());
    let sessions = live.map(|role| role.ticket().program);
    Ok(library.chain(supplies).chain(sessions).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;
    use crate::{Config, Node, program, store::Bundle, supply::library};

    /// A program's files, whole, and no row that names them.
    fn files_alone(dir: &Path, text: &str, bundles: &Bundles) -> Arc<Bundle> {
        let folder = dir.join("program");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.html"), text).unwrap();
        program::import(&folder, bundles).unwrap().install(bundles).unwrap()
    }

    #[tokio::test]
    async fn what_is_held_or_needed_stays_and_all_else_goes() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(Config::on_loopback(dir.path().join("home"))).await.unwrap().node;
        let (context, bundles) = (node.context(), &node.context().bundles);
        let (held, left) =
            (files_alone(dir.path(), "held", bundles), files_alone(dir.path(), "left", bundles));
        let needed = files_alone(dir.path(), "needed", bundles);
        library::note(context, &needed, None).await.unwrap();
        let ids = |of: &[&Arc<Bundle>]| {
            let mut ids: Vec<_> = of.iter().map(|bundle| bundle.program().id()).collect();
            ids.sort();
            ids
        };
        let [with_held, with_needed] = [ids(&[&held, &needed]), ids(&[&needed])];
        drop((left, needed));

        assert_eq!(sweep(context).await.unwrap(), Swept::SomeInUse);
        assert_eq!(bundles.list().unwrap(), with_held);
        drop(held);
        assert_eq!(sweep(context).await.unwrap(), Swept::All);
        assert_eq!(bundles.list().unwrap(), with_needed);
        node.stop().await;
    }
}
