//! A node whose parts fail: it says so and ends, and answers nothing in their place.

use super::*;

#[tokio::test]
async fn a_node_that_is_stopped_ends_well() {
    let site = Site::start().await;
    let waiting = tokio::spawn({
        let node = Arc::clone(&site.node);
        async move { node.wait().await }
    });
    site.node.stop().await;
    assert_eq!(waiting.await.unwrap(), Ok(()));
    let ended = site.node.context().tasks.failure();
    assert!(futures::FutureExt::now_or_never(ended).is_none(), "whatever ends with a stop was asked to");
}

#[tokio::test]
async fn a_node_whose_sessions_failed_ends_with_that_and_shows_no_empty_list() {
    let site = Site::start().await;
    site.publish("hello", 2).await;
    let session = site.host(&[]).await;
    site.node.sessions().crash().await;
    let ended = site.node.wait().await.unwrap_err();
    assert_eq!((ended.task, &*ended.why), ("the sessions", "it panicked: told to"));

    let (peer, sessions) = (site.peer(), site.node.sessions());
    for command in [Command::Sessions, Command::Inbox, Command::Status, Command::Session(of(session))] {
        let why = site.refused(command).await;
        assert!(why.contains("stopping"), "{why}");
    }
    assert!(sessions.agent_lines(session).await.is_err());
    assert!(sessions.set_availability(Default::default()).await.is_err());
    let missed = parlor_proto::wire::CommitsRequest { session, after: 0 };
    assert!(sessions.commits(peer, missed).await.is_none(), "no answer is no answer");
    site.node.stop().await;
}
