//! What a member had seen when it said something comes before that, on every node.

use parlor_proto::group::Chain;

use super::*;
use crate::group::complaint::Complaint;

/// What three say in turn, each after it has heard the one before.
async fn in_turn(sites: &[&Site], many: usize) -> Vec<String> {
    let mut said = Vec::new();
    for n in 0..many {
        let text = n.to_string();
        sites[n % sites.len()].group.post(text.clone().into()).await.unwrap();
        said.push(text);
        for site in sites {
            until(async || texts(site).await == said).await;
        }
    }
    said
}

async fn texts(site: &Site) -> Vec<String> {
    site.all().await.into_iter().map(|(_, _, text)| text).collect()
}

#[tokio::test]
async fn who_comes_late_or_comes_back_is_told_in_the_order_in_which_it_was_said() {
    let keys = keys(6, 1);
    let ann = Site::start(0, Some(Arc::clone(&keys[0]))).await;
    let ben = Site::start(1, Some(Arc::clone(&keys[1]))).await;
    let cleo = Site::start(2, Some(Arc::clone(&keys[2]))).await;
    together(&[&ann, &ben, &cleo]).await;
    let said = in_turn(&[&ann, &ben, &cleo], 12).await;
    for number in [3, 4] {
        let late = Site::start(number, Some(Arc::clone(&keys[usize::from(number)]))).await;
        together(&[&ann, &cleo, &late]).await;
        until(async || late.all().await.len() == 12).await;
        assert_eq!(texts(&late).await, said);
    }
    // Somebody who was off while the others went on.
    let behind = Site::with(5, Some(Arc::clone(&keys[5])), &stored(&ann, 5).await).await;
    together(&[&ann, &behind]).await;
    until(async || behind.all().await.len() == 12).await;
    assert_eq!(texts(&behind).await, said);
}

/// The first `many` that are on a node's disk.
async fn stored(site: &Site, many: usize) -> Vec<Verified<Update>> {
    let page = site.group.updates_after(0, many).await.unwrap();
    page.into_iter().map(|stored| stored.update).collect()
}

#[tokio::test]
async fn what_comes_before_what_it_names_is_held_back_and_asked_for() {
    let keys = keys(3, 1);
    let (ann, ben) =
        (Site::start(0, Some(Arc::clone(&keys[0]))).await, Site::start(1, Some(Arc::clone(&keys[1]))).await);
    together(&[&ann, &ben]).await;
    in_turn(&[&ann, &ben], 2).await;
    let [question, answer] = &stored(&ann, 2).await[..] else { unreachable!("two") };

    let cleo = Site::start(2, Some(Arc::clone(&keys[2]))).await;
    let mut lanes = [0, 1].map(|number: usize| Lanes::new(&keys[number], 2).unwrap());
    cleo.group.heard(peer(1), &packet(&mut lanes[1], Lane::Updates, answer.bytes()));
    cleo.group.post(b"meanwhile".to_vec()).await.unwrap();
    assert_eq!(texts(&cleo).await, ["meanwhile"]);
    cleo.group.heard(peer(0), &packet(&mut lanes[0], Lane::Updates, question.bytes()));
    until(async || cleo.all().await.len() == 3).await;
    assert_eq!(texts(&cleo).await, ["meanwhile", "0", "1"]);

    // Where nobody brings it, whoever said so is asked.
    let dan = Site::start(3, Some(Arc::clone(&keys[2]))).await;
    together(&[&ben, &dan]).await;
    until(async || texts(&dan).await == ["0", "1"]).await;
}

#[tokio::test]
async fn a_restored_copy_goes_on_in_another_chain_and_stops_nobody() {
    let keys = keys(2, 1);
    let (ann, mut ben) =
        (Site::start(0, Some(Arc::clone(&keys[0]))).await, Site::start(1, Some(Arc::clone(&keys[1]))).await);
    together(&[&ann, &ben]).await;
    for n in 0..3 {
        ben.group.post(format!("before {n}").into()).await.unwrap();
    }
    until(async || ann.all().await.len() == 3).await;

    // An older copy of its home, in which it has said but one of them, and now says something else.
    let copy = Site::with(2, None, &stored(&ann, 1).await).await;
    ben.group.close().await;
    copy.group.close().await;
    ben.store = copy.store.clone();
    ben.group = open(1, &ben.store, &ben.overlay, None).await;
    ben.group.post(b"anew".to_vec()).await.unwrap();
    assert_eq!(ben.heads().of(peer(1)), 2);

    // It is shown what it has said before.
    let shown =
        ann.group.serve(peer(1), &UpdatesRequest { session: SESSION, have: ben.heads() }).await.unwrap();
    ben.group.inner.commands.send(Command::Pulled(peer(0), Some(shown))).await.unwrap();
    until(async || ben.heads().of(peer(1)) == 3).await;
    ben.group.post(b"from now on".to_vec()).await.unwrap();
    let own: Vec<Chain> = ben.heads().0.into_keys().filter(|chain| chain.start > 0).collect();
    assert_eq!(own.len(), 1);
    let stored = ben.group.updates_after(0, 10).await.unwrap();
    let last = &stored.last().unwrap().update;
    assert_eq!((last.chain, last.number), (own[0], 1));

    let mut lanes = Lanes::new(&keys[1], 9).unwrap();
    ann.group.heard(peer(1), &packet(&mut lanes, Lane::Updates, last.bytes()));
    until(async || ann.all().await.len() == 4).await;
    assert_eq!(ann.complaints(1, &Complaint::Stranger(peer(1))), 0);
    // After the next start as well.
    ben.group.close().await;
    ben.group = open(1, &ben.store, &ben.overlay, None).await;
    ben.group.post(b"again".to_vec()).await.unwrap();
    assert_eq!(ben.heads().of(own[0]), 2);
}

#[tokio::test]
async fn a_copy_that_has_said_as_much_as_the_original_is_found_out_too() {
    let keys = keys(2, 1);
    let original = update(1, 2, "the original's");
    let before = [update(1, 1, "common"), original.clone()];
    let ann = Site::with(0, Some(Arc::clone(&keys[0])), &before).await;
    let ben =
        Site::with(1, Some(Arc::clone(&keys[1])), &[before[0].clone(), update(1, 2, "the copy's")]).await;
    together(&[&ann, &ben]).await;
    until(async || ben.store.own_chain(SESSION).await.unwrap() > 0).await;
    ben.group.post(b"from now on".to_vec()).await.unwrap();
    until(async || texts(&ann).await.last().is_some_and(|text| text == "from now on")).await;
    // Nobody takes a new chain on somebody's word alone.
    let word = UpdatesResponse {
        yours: ben.group.inner.log.read().unwrap().heads_of(&peer(1)),
        ..Default::default()
    };
    let start = ben.store.own_chain(SESSION).await.unwrap();
    let mut lie = word.clone();
    lie.yours.iter_mut().for_each(|link| link.hash = UpdateHash([5; 32]));
    ben.group.inner.commands.send(Command::Pulled(peer(0), Some(lie))).await.unwrap();
    ben.group.post(b"still".to_vec()).await.unwrap();
    assert_eq!(ben.store.own_chain(SESSION).await.unwrap(), start);
}
