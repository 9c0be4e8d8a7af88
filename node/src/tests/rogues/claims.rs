//! A member that wants to be host, and has not got the votes.

use parlor_proto::{
    rights::Signed,
    session::{
        Claim, HostState, Roster, RosterEntry, SeatState,
        election::{Mandate, Vote},
    },
};

use super::*;
use crate::clock;

fn vote(voter: &Identity, candidate: PeerId, session: SessionId, term: u32) -> Signed<Vote> {
    let vote = Vote { session, term, candidate, voter: voter.peer(), at: clock::now() };
    sign(&vote, voter).unwrap().to_signed()
}

/// What `rogue` says that it is host by. `others`: what has become of the other members, as it says.
fn claim(rogue: &Rogue, loot: &Member, term: u32, votes: Vec<Signed<Vote>>, others: SeatState) -> Message {
    let members = loot.roster().filter(|entry| entry.contact.peer != rogue.peer());
    let roster = Roster {
        term,
        host: contact(rogue.peer()),
        host_slot: Some(slot_of(loot).to_signed()),
        host_membership: loot.membership().cloned(),
        former_hosts: vec![loot.host().peer],
        takeover: loot.takeover(),
        members: members.map(|entry| RosterEntry { state: others, ..entry.clone() }).collect(),
    };
    let mandates = vec![Mandate { term, host: rogue.peer(), votes }];
    let (welcome, state) = (None, HostState::Running);
    Message::Claim(Box::new(Claim { mandates, roster, welcome, state, suspended: false }))
}

#[tokio::test]
async fn a_claim_without_the_votes_of_the_members_deposes_nobody() {
    let log = Log::start();
    let inside = inside().await;
    let (session, rogue) = (inside.session, &inside.rogue);
    let own = |term| vote(&rogue.identity, rogue.peer(), session, term);
    let stranger = |term| vote(&Identity::from_seed(&[0x77; 32]), rogue.peer(), session, term);
    // The honest member's, for a term that is not this one's to claim; its signature is of something else.
    let mut forged = own(3).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let claims = [
        (1, Vec::new()),
        (1, vec![own(1)]),
        (2, vec![own(2), own(2), own(2)]),
        (3, vec![own(3), Signed::decode(&forged).unwrap()]),
        (4, vec![own(4), stranger(4)]),
        (5, vec![own(4), own(3)]),
        (u32::MAX, vec![own(u32::MAX), stranger(u32::MAX)]),
    ];
    for (term, votes) in claims {
        for site in [&inside.host, &inside.honest] {
            // Those who would have to agree are said to have gone.
            let claim = claim(rogue, &inside.loot, term, votes.clone(), SeatState::Left);
            let answer = rogue.tells(site.peer(), session, term, vec![claim]).await;
            assert_eq!(answer, SessionResponse::Later, "term {term}");
            assert_eq!((role(site, session).await.term(), site.state(session).await), (0, "running".into()));
        }
    }
    inside.traced(&log, &["WARN", "a claim to be host does not convince"]).await;
    assert!(role(&inside.host, session).await.as_host().is_some());
    assert_eq!(member(&inside.honest, session).await.host().peer, inside.host.peer());
}

#[tokio::test]
async fn who_hears_its_host_gives_no_vote_to_anybody() {
    let inside = inside().await;
    for site in [&inside.host, &inside.honest] {
        let vote = inside.rogue.asks_for_vote(site.peer(), inside.session).await;
        assert!(matches!(vote, VoteResponse::Refused { term: 0 | 1, .. }), "{vote:?}");
        assert_eq!(role(site, inside.session).await.term(), 0);
    }
}

/// A rogue gives its vote of a term to two others, so that both have a majority of the three members.
#[tokio::test]
async fn who_votes_twice_does_not_tear_the_group_apart() {
    for first in [0, 1] {
        let (host, [one, other, rogue]) = party::<3>(3).await;
        let session = running(&host, &[&one, &other, &rogue], &["member0", "member1", "member2"]).await;
        let (rogue, _) = Rogue::in_place_of(rogue, session).await;
        let mut candidates =
            [Rogue::in_place_of(one, session).await, Rogue::in_place_of(other, session).await];
        // In the agreed order.
        candidates.sort_by_key(|(_, loot)| loot.slot().unwrap().k);
        for (candidate, loot) in [&candidates[first], &candidates[1 - first]] {
            let voters = [&candidate.identity, &rogue.identity];
            let votes = voters.map(|voter| vote(voter, candidate.peer(), session, 1));
            let claim = claim(candidate, loot, 1, votes.into(), SeatState::Joined);
            candidate.opens(session, &[&host]).await;
            candidate.tells(host.peer(), session, 1, vec![claim]).await;
            assert_eq!(role(&host, session).await.term(), 1);
        }
        // Whichever was heard first, it is the same in the end.
        assert_eq!(member(&host, session).await.host().peer, candidates[0].0.peer());
    }
}
