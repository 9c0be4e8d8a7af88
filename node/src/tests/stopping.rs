//! A node that has stopped writes nothing any more, whoever still holds it.

use super::*;
use crate::store::{BundleError, Store};

#[tokio::test]
async fn stopping_waits_for_who_writes_and_lets_nobody_begin() {
    let (host, [member]) = party::<1>(1).await;
    let session = host.host(&["member0"]).await;
    member.reaches(session, "running").await;
    let (node, context) = (Arc::clone(&member.node), Arc::clone(member.node.context()));
    let bundle = context.bundle(context.bundles.list().unwrap()[0]).await.unwrap().unwrap();

    // As a chunk of a transfer, which is written where no task can be ended.
    let writing = context.bundles.writing().unwrap();
    let stopping = tokio::spawn(async move { node.stop().await });
    until(async || context.bundles.writing().is_err()).await;
    assert!(!stopping.is_finished(), "somebody still writes");
    let home = member.home.path().join("home");
    assert!(!home.join("stopped").exists());
    drop(writing);
    stopping.await.unwrap();
    assert!(home.join("stopped").exists());

    assert!(matches!(bundle.write_chunks(&[]), Err(BundleError::Stopping)));
    assert!(matches!(context.bundles.remove(bundle.program().id()), Err(BundleError::Stopping)));
    context.store.set_setting("name", "value").await.unwrap_err();
    assert!(context.store.tidy().await.unwrap(), "which does not open it again");
    assert!(!home.join("parlor.db-wal").exists());
    member.node.sessions().view(session).await.unwrap_err();
    // Once more is once too often, and does no harm.
    member.node.stop().await;
    Store::open(&home.join("parlor.db")).await.unwrap();
}
