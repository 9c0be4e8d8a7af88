//! Requests of every protocol, and what becomes of those that get no answer.

use std::time::Instant;

use parlor_proto::{
    billing::{BillingRequest, BillingResponse},
    group::{UpdatesRequest, UpdatesResponse},
    ids::{ProgramId, SessionId},
    rights::{Receipt, ReceiptKind, SignedRight, Terms, Ticket, sign},
    session::{Contact, LinkRefusal, LinkSecret, VoteRequest, VoteResponse, election::Standing},
    time::Timestamp,
    wire::{
        CommitsRequest, CommitsResponse, LinkRequest, LinkResponse, RequestId, SessionRequest,
        SessionResponse, SupplyRequest, SupplyResponse,
    },
};

use super::*;
use crate::overlay::{RequestError, driver::MAX_ASKED};

#[tokio::test]
async fn requests_of_each_protocol_are_answered() {
    for listen in [TCP, QUIC] {
        let asker = Node::start(1, listen).await;
        let answerer = Node::start(2, listen).await;
        asker.meets(&answerer).await;
        let answerer = answerer.answering(|from, request| {
            assert_eq!(from, peer(1));
            Some(match request {
                Request::Catalog(CatalogRequest {}) => empty_catalog(),
                Request::Supply(_) => Response::Supply(Box::new(SupplyResponse::Refused("sold out".into()))),
                Request::Session(request) => {
                    Response::Session(SessionResponse::Taken { next: request.first })
                }
                Request::Updates(_) => {
                    Response::Updates(UpdatesResponse { more: true, ..Default::default() })
                }
                Request::Commits(request) => {
                    Response::Commits(CommitsResponse { newest: request.after + 1, ..Default::default() })
                }
                Request::Vote(request) => {
                    let (term, hears) = (request.term, Some(request.follows));
                    Response::Vote(Box::new(VoteResponse::Refused { term, epoch: 3, hears }))
                }
                Request::Link(_) => Response::Link(LinkResponse::Refused(LinkRefusal::Taken)),
                Request::Billing(_) => Response::Billing(Box::new(BillingResponse::Later)),
            })
        });
        let ask = async |request| asker.overlay.request(answerer.peer(), request).await.unwrap();

        assert!(matches!(ask(catalog()).await, Response::Catalog(list) if list.programs.is_empty()));
        let supply =
            SupplyRequest::Ticket { request: RequestId([1; 16]), name: "chat".into(), copies: Some(2) };
        let supply = ask(Request::Supply(Box::new(supply))).await;
        assert!(
            matches!(supply, Response::Supply(no) if matches!(&*no, SupplyResponse::Refused(why) if why == "sold out"))
        );
        let session = SessionRequest { session: SessionId([1; 16]), term: 0, first: 7, messages: Vec::new() };
        assert!(matches!(
            ask(Request::Session(session)).await,
            Response::Session(SessionResponse::Taken { next: 7 })
        ));
        let updates = UpdatesRequest { session: SessionId([1; 16]), have: Default::default() };
        assert!(matches!(ask(Request::Updates(updates)).await, Response::Updates(got) if got.more));
        let commits = Request::Commits(CommitsRequest { session: SessionId([1; 16]), after: 5 });
        assert!(matches!(ask(commits).await, Response::Commits(got) if got.newest == 6));
        let candidate = Contact { peer: peer(1), name: "Ann".into(), addresses: Vec::new() };
        let follows = Standing { term: 1, host: peer(2) };
        let session = SessionId([1; 16]);
        let vote =
            VoteRequest { session, term: 2, epoch: 4, candidate, slot: None, membership: None, follows };
        let vote = ask(Request::Vote(Box::new(vote))).await;
        assert!(
            matches!(vote, Response::Vote(no) if matches!(*no, VoteResponse::Refused { term: 2, epoch: 3, hears: Some(_) }))
        );
        let link = LinkRequest { session: SessionId([1; 16]), secret: LinkSecret([2; 16]) };
        let link = ask(Request::Link(link)).await;
        assert!(matches!(link, Response::Link(LinkResponse::Refused(LinkRefusal::Taken))));
        let billing = ask(Request::Billing(Box::new(receipt()))).await;
        assert!(matches!(billing, Response::Billing(later) if matches!(*later, BillingResponse::Later)));
    }
}

fn receipt() -> BillingRequest {
    let host = Identity::from_seed(&[1; 32]);
    let now = Timestamp::from_secs(1_900_000_000);
    let ticket = Ticket {
        id: [1; 16],
        origin: host.peer(),
        host: host.peer(),
        name: "chat".into(),
        program: ProgramId([2; 32]),
        copies: 1,
        issued_at: now,
        not_before: now,
        expires: now + Duration::from_secs(3600),
        terms: Terms::default(),
        billing: Vec::new(),
        offline_issue: false,
    };
    let ticket = sign(&ticket, &host).unwrap();
    let receipt = Receipt {
        ticket: ticket.hash(),
        slot: None,
        member: host.peer(),
        session: None,
        kind: ReceiptKind::Received,
        at: now,
    };
    let receipt = sign(&receipt, &host).unwrap().to_signed();
    BillingRequest::Submit {
        right: Box::new(SignedRight { ticket: ticket.to_signed(), slot: None }),
        receipt,
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_is_refused_at_once() {
    let asker = Node::start(1, TCP).await;
    let busy = Node::start(2, TCP).await;
    asker.meets(&busy).await;
    let busy = busy.answering(|_, _| None).peer();
    let before = Instant::now();
    assert_eq!(asker.overlay.request(busy, catalog()).await.unwrap_err(), RequestError::Refused(busy));
    // Far from the timeout of a request, which is half a minute.
    assert!(before.elapsed() < PATIENCE / 3, "it took {:?}", before.elapsed());
}

#[tokio::test]
async fn an_answer_of_another_protocol_is_a_refusal() {
    let asker = Node::start(1, TCP).await;
    let confused = Node::start(2, TCP).await;
    asker.meets(&confused).await;
    let confused = confused.answering(|_, _| Some(Response::Session(SessionResponse::Later))).peer();
    assert_eq!(
        asker.overlay.request(confused, catalog()).await.unwrap_err(),
        RequestError::Refused(confused)
    );
}

#[tokio::test]
async fn only_so_many_requests_to_one_peer_are_under_way() {
    let asker = Node::start(1, TCP).await;
    let mut slow = Node::start(2, TCP).await;
    asker.meets(&slow).await;
    asker.overlay.connect(slow.peer()).await.unwrap();
    let (overlay, to) = (asker.overlay.clone(), slow.peer());
    let ask = || {
        let overlay = overlay.clone();
        tokio::spawn(async move { overlay.request(to, catalog()).await })
    };
    let asked: Vec<_> = (0..MAX_ASKED).map(|_| ask()).collect();
    let mut held = Vec::new();
    while held.len() < MAX_ASKED {
        held.push(slow.asked().await);
    }
    let error = ask().await.unwrap().unwrap_err();
    assert_eq!(error, RequestError::TooMany(slow.peer()));
    // There is room the other way, and once they are answered, this way too.
    let mut asker = asker;
    let (back, from) = (slow.overlay.clone(), asker.peer());
    let back = tokio::spawn(async move { back.request(from, catalog()).await });
    asker.asked().await.respond(empty_catalog());
    assert!(back.await.unwrap().is_ok());
    held.into_iter().for_each(|inbound| inbound.respond(empty_catalog()));
    for outcome in asked {
        assert!(outcome.await.unwrap().is_ok());
    }
    let slow = slow.answering(answers_catalog);
    assert!(asker.overlay.request(slow.peer(), catalog()).await.is_ok());
}
