//! A member that wants to be host, and has not got the votes.

use parlor_proto::{
    rights::Signed,
    session::{
        Claim, HostState, Roster, SeatState,
        election::{Mandate, Vote},
    },
};

use super::*;
use crate::clock;

fn vote(voter: &Identity, candidate: PeerId, session: SessionId, term: u32) -> Signed<Vote> {
    let vote = Vote { session, term, candidate, voter: voter.peer(), at: clock::now() };
    sign(&vote, voter).unwrap().to_signed()
}

impl Inside {
    fn claim(&self, term: u32, votes: Vec<Signed<Vote>>) -> Message {
        let others = self.loot.roster().filter(|entry| entry.contact.peer != self.rogue.peer());
        let roster = Roster {
            term,
            host: contact(self.rogue.peer()),
            host_slot: Some(slot_of(&self.loot).to_signed()),
            former_hosts: vec![self.host.peer()],
            takeover: self.loot.takeover(),
            // Those who would have to agree are said to have gone.
            members: others
                .cloned()
                .map(|mut entry| {
                    entry.state = SeatState::Left;
                    entry
                })
                .collect(),
        };
        Message::Claim(Box::new(Claim {
            mandates: vec![Mandate { term, host: self.rogue.peer(), votes }],
            roster,
            welcome: None,
            state: HostState::Running,
            suspended: false,
        }))
    }
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
            let claim = inside.claim(term, votes.clone());
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
