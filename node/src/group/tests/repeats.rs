//! What is posted again under its key is posted once.

use super::*;

async fn reopened(site: &mut Site, keys: &[Arc<GroupKeys>]) {
    site.group.close().await;
    site.group = open(0, &site.store, &site.overlay, Some(Arc::clone(&keys[0]))).await;
}

#[tokio::test]
async fn a_post_that_comes_again_gets_its_first_answer_also_after_the_group_was_opened_anew() {
    let keys = keys(2, 1);
    let mut site = Site::start(0, Some(Arc::clone(&keys[0]))).await;
    let page = |n| PostKey::of_page([7; 16], n);
    let post = async |site: &Site, key: PostKey, text: &str| {
        site.group.post_once(key, text.into(), false).await.unwrap()
    };
    for n in 1..=3 {
        assert_eq!(post(&site, page(n), "one of three").await, n);
    }
    assert_eq!(post(&site, page(2), "one of three").await, 2);
    reopened(&mut site, &keys).await;
    for n in 2..=4 {
        assert_eq!(post(&site, page(n), "one of three").await, n);
    }
    assert_eq!(site.all().await.len(), 4);

    // Another page, an agent and the user count for themselves.
    assert_eq!(post(&site, PostKey::of_page([8; 16], 1), "another page").await, 5);
    let agent = |nth, text: &str| PostKey::of_agent("host", 5, nth, text.as_bytes());
    assert_eq!(post(&site, agent(0, "a"), "a").await, 6);
    assert_eq!(post(&site, agent(1, "a"), "a").await, 7);
    assert_eq!(post(&site, PostKey::of_user("nightly"), "b").await, 8);
    reopened(&mut site, &keys).await;
    assert_eq!(post(&site, agent(0, "a"), "a").await, 6);
    assert_eq!(post(&site, agent(0, "says otherwise now"), "c").await, 9);
    assert_eq!(post(&site, PostKey::of_user("nightly"), "b").await, 8);
    assert_eq!(site.all().await.len(), 9);
}

#[tokio::test]
async fn asked_for_twice_at_once_is_posted_once() {
    let keys = keys(2, 1);
    let site = Site::start(0, Some(Arc::clone(&keys[0]))).await;
    // One thread: all of them wait for the writer before it takes the first.
    let posts = (0..8).map(|n| site.group.post_once(PostKey::of_page([7; 16], n / 4), b"x".to_vec(), false));
    let serials: Vec<_> = futures::future::join_all(posts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(serials[..4], [serials[0]; 4]);
    assert_eq!(serials[4..], [serials[4]; 4]);
    assert_eq!(site.all().await.len(), 2);
}

#[tokio::test]
async fn a_checkpoint_that_comes_again_covers_nothing_more() {
    let keys = keys(2, 1);
    let mut site = Site::start(0, Some(Arc::clone(&keys[0]))).await;
    let key = PostKey::of_page([7; 16], 1);
    site.group.post(b"before".to_vec()).await.unwrap();
    let serial = site.group.post_once(key.clone(), b"sum".to_vec(), true).await.unwrap();
    site.group.post(b"after".to_vec()).await.unwrap();
    reopened(&mut site, &keys).await;
    assert_eq!(site.group.post_once(key, b"sum".to_vec(), true).await.unwrap(), serial);
    let texts: Vec<_> = site.all().await.into_iter().map(|(.., text)| text).collect();
    assert_eq!(texts, ["sum", "after"]);
}
