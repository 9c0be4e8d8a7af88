//! Links: made and opened on the host's node, followed on the node that joins.
//!
//! For: what becomes of `invite --link` here, of another node that opens a link, and of `join LINK`. Not for: the
//! text of a link and the host's book of them (`parlor_proto::session::link`, `Host`).
//!
//! The idea: who follows a link notes a wish first: whatever invitation then comes to that session, from that very
//! host, is what the user has asked for, and is accepted, also if it comes late. The wish is in memory only. A node
//! that is killed in between finds the invitation in its inbox, or the user gives the link again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parlor_proto::{
    identity::PeerId,
    ids::SessionId,
    session::{
        Input, Link, LinkRefusal, LinkSecret, MemberState, Role, StepError, host::HostError,
        link::MAX_LINK_ADDRESSES,
    },
    time::Timestamp,
    wire::{LinkRequest, LinkResponse, Request, Response},
};
use tokio::sync::oneshot;

use super::{
    Command, MAX_SESSIONS, Sessions,
    driver::{Driver, SessionError},
    trace::Odd,
};
use crate::{
    clock,
    overlay::{Address, RequestError},
};

/// Links that this node's user follows at the same time.
const MAX_WISHES: usize = 64;
/// How long an invitation may take to come, once the host was asked.
const WISH_LIFE: Duration = Duration::from_secs(10 * 60);
/// How long the user is kept waiting for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a host is asked that does not answer though it is there. Asking again does no harm.
const TRIES: u32 = 3;
/// The wait between two of these.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
/// Of a host that has many addresses, so many in a link lead over relays, if any do.
const RELAYED: usize = 2;

/// Why a link did not lead into its session.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FollowError {
    #[error("this node made the link: give it to somebody else")]
    Own,
    #[error("the link has expired: ask for a new one")]
    Expired,
    #[error(transparent)]
    Refused(#[from] LinkRefusal),
    #[error("the host of the link did not answer: {0}: make sure that its node runs, or ask for a new link")]
    Unreachable(#[source] RequestError),
    #[error("{MAX_WISHES} links are being followed already: wait for those")]
    TooMany,
    #[error(
        "the host has taken the link, but its invitation has not come yet: it is accepted when it does; see `parlor sessions`"
    )]
    Late,
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// What becomes of a wish to follow a link.
pub(super) enum Expecting {
    /// This node is in the session, or has accepted an invitation that was here.
    Here,
    /// There are [`MAX_WISHES`].
    TooMany,
    /// Told when this node has accepted, or why it cannot.
    Waits(oneshot::Receiver<Result<(), SessionError>>),
}

/// Whose invitations the user has asked for.
#[derive(Default)]
pub(super) struct Wishes(HashMap<SessionId, Wish>);

struct Wish {
    host: PeerId,
    until: Instant,
    joined: oneshot::Sender<Result<(), SessionError>>,
}

impl Wishes {
    /// At most [`MAX_WISHES`]; the same again replaces the one before.
    fn add(
        &mut self,
        session: SessionId,
        host: PeerId,
        now: Instant,
    ) -> Option<oneshot::Receiver<Result<(), SessionError>>> {
        self.0.retain(|_, wish| wish.until > now);
        if self.0.len() >= MAX_WISHES && !self.0.contains_key(&session) {
            return None;
        }
        let (joined, waits) = oneshot::channel();
        self.0.insert(session, Wish { host, until: now + WISH_LIFE, joined });
        Some(waits)
    }

    pub(super) fn has(&self, session: SessionId, host: PeerId) -> bool {
        self.0.get(&session).is_some_and(|wish| wish.host == host && wish.until > Instant::now())
    }

    pub(super) fn give_up(&mut self, session: SessionId) {
        self.0.remove(&session);
    }

    /// It came true, or never will.
    pub(super) fn end(&mut self, session: SessionId, how: Result<(), SessionError>) {
        if let Some(wish) = self.0.remove(&session) {
            // Whoever gave the link may have stopped waiting.
            let _ = wish.joined.send(how);
        }
    }
}

impl Sessions {
    /// A link to a session of this node, good for `life`, for `bound` alone or for whoever opens it first.
    pub async fn make_link(
        &self,
        session: SessionId,
        bound: Option<PeerId>,
        life: Duration,
    ) -> Result<Link, SessionError> {
        let secret = LinkSecret(rand::random());
        // A link knows whole seconds; it and the host's book say the same.
        let expires = clock::now() + life + Duration::from_millis(999);
        let expires = Timestamp::from_secs(expires.as_secs());
        let offer = Input::OfferLink { secret, expires, bound };
        self.ask(|reply| Command::OfferLink(session, Box::new(offer), reply)).await?;
        let addresses = places(self.context.overlay.addresses().await?);
        let link = Link { host: self.context.me(), session, secret, expires, bound, addresses };
        Ok(link.bounded())
    }

    /// Another node opens a link. `None` if it cannot be said now: it may ask again.
    pub async fn open_link(&self, from: PeerId, request: LinkRequest) -> Option<LinkResponse> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::OpenLink(from, request, reply)).ok()?;
        answer.await.ok()?
    }

    /// Joins the session of a link, with nothing known of its host but what the link says.
    pub async fn follow_link(&self, link: &Link) -> Result<(), FollowError> {
        let (me, host, session) = (self.context.me(), link.host, link.session);
        if host == me {
            return Err(FollowError::Own);
        }
        if link.expires <= clock::now() {
            return Err(FollowError::Expired);
        }
        if link.bound.is_some_and(|bound| bound != me) {
            return Err(LinkRefusal::NotForYou.into());
        }
        // Before the host is asked: its invitation may be here before its answer.
        let waits = match self.ask(|reply| Command::Expect(session, host, reply)).await? {
            Expecting::Here => return Ok(()),
            Expecting::TooMany => return Err(FollowError::TooMany),
            Expecting::Waits(waits) => waits,
        };
        for address in link.addresses.iter().filter_map(|bytes| Address::from_bytes(bytes).ok()) {
            self.context.overlay.add_address(host, address).await;
        }
        if let Err(error) = self.ask_host(host, LinkRequest { session, secret: link.secret }).await {
            if !matches!(&error, FollowError::Unreachable(error) if may_have_acted(error)) {
                // Fails only while the node stops.
                let _ = self.commands.send(Command::GiveUp(session)).await;
            }
            return Err(error);
        }
        match tokio::time::timeout(PATIENCE, waits).await {
            Ok(Ok(joined)) => Ok(joined?),
            Ok(Err(_)) => Err(SessionError::Stopping.into()),
            Err(_) => Err(FollowError::Late),
        }
    }

    async fn ask_host(&self, host: PeerId, request: LinkRequest) -> Result<(), FollowError> {
        let mut tries = 1;
        loop {
            match self.context.overlay.request(host, Request::Link(request.clone())).await {
                Ok(Response::Link(LinkResponse::Invited)) => return Ok(()),
                Ok(Response::Link(LinkResponse::Refused(why))) => return Err(why.into()),
                // The overlay answers a request with a response of its protocol.
                Ok(_) => return Err(FollowError::Unreachable(RequestError::Refused(host))),
                Err(error) if tries < TRIES && may_have_acted(&error) => {
                    tries += 1;
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                Err(error) => return Err(FollowError::Unreachable(error)),
            }
        }
    }
}

/// Whether the host has perhaps heard the request, and may do what was asked, or do it if asked again.
fn may_have_acted(error: &RequestError) -> bool {
    matches!(error, RequestError::Lost(_) | RequestError::TimedOut(_) | RequestError::Refused(_))
}

/// What of this node's addresses goes into a link: those that lead to it from elsewhere; if there are none, those
/// that others on this machine can use.
fn places(addresses: Vec<Address>) -> Vec<Vec<u8>> {
    let (local, wide): (Vec<_>, Vec<_>) = addresses.into_iter().partition(Address::is_local);
    let (relayed, mut chosen): (Vec<_>, Vec<_>) =
        if wide.is_empty() { (Vec::new(), local) } else { wide.into_iter().partition(Address::is_relayed) };
    // Who is behind a NAT is reached over a relay or not at all, however many addresses it has at home.
    chosen.truncate(MAX_LINK_ADDRESSES - RELAYED.min(relayed.len()));
    let room = MAX_LINK_ADDRESSES - chosen.len();
    chosen.extend(relayed.into_iter().take(room));
    chosen.iter().map(Address::place_bytes).collect()
}

impl Driver {
    /// Somebody opens a link: taken and invited on disk before it is told so.
    pub(super) async fn open_link(&mut self, from: PeerId, request: LinkRequest) -> Option<LinkResponse> {
        let LinkRequest { session, secret } = request;
        // Before the disk is touched: strangers may ask as often as they like.
        let role = self.runs.get(&session).map(|run| &run.record.role);
        let may = role.map_or(Err(LinkRefusal::Unknown), |role| role.may_open(from, &secret, clock::now()));
        if let Err(why) = may {
            self.oddities.tell(session, from, Odd::Link);
            return Some(LinkResponse::Refused(why));
        }
        match self.input(session, Input::OpenLink { from, secret }).await {
            Ok(()) => Some(LinkResponse::Invited),
            Err(SessionError::Step(StepError::Host(HostError::Link(why)))) => {
                Some(LinkResponse::Refused(why))
            }
            Err(error) => {
                tracing::warn!(%session, %from, %error, "a link was not opened");
                None
            }
        }
    }

    /// The user follows a link to a session of that host.
    pub(super) async fn expect(
        &mut self,
        session: SessionId,
        host: PeerId,
    ) -> Result<Expecting, SessionError> {
        match self.runs.get(&session).map(|run| &run.record.role) {
            Some(Role::Member(member)) if member.state() == MemberState::Invited => {
                let is_good = member.host().peer == host && member.invitation().expires > clock::now();
                if is_good {
                    self.input(session, Input::Accept).await?;
                    return Ok(Expecting::Here);
                }
            }
            Some(role) if !role.is_over() => return Ok(Expecting::Here),
            _ => {}
        }
        if self.runs.values().filter(|run| !run.record.ended).count() >= MAX_SESSIONS {
            return Err(SessionError::Full);
        }
        let waits = self.wishes.add(session, host, Instant::now());
        Ok(waits.map_or(Expecting::TooMany, Expecting::Waits))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use parlor_proto::identity::Identity;

    use super::*;

    fn peer() -> PeerId {
        Identity::from_seed(&[1; 32]).peer()
    }

    fn chosen(addresses: &[String]) -> Vec<String> {
        let addresses = addresses.iter().map(|text| text.parse::<Address>().unwrap().with_peer(peer()));
        places(addresses.collect()).iter().map(|b| Address::from_bytes(b).unwrap().to_string()).collect()
    }

    #[test]
    fn a_link_says_what_leads_here_from_elsewhere() {
        let wide = "/ip4/192.0.2.1/udp/1/quic-v1".to_owned();
        let local = "/ip4/127.0.0.1/udp/1/quic-v1".to_owned();
        assert_eq!(chosen(&[wide.clone(), local.clone()]), [wide]);
        assert_eq!(chosen(std::slice::from_ref(&local)), [local]);
    }

    #[test]
    fn many_addresses_leave_room_for_relays() {
        let relay = |i| format!("/ip4/192.0.2.9/tcp/{i}/p2p/{}/p2p-circuit", peer());
        let direct: Vec<_> = (1..20).map(|i| format!("/ip4/192.0.2.1/tcp/{i}")).collect();
        assert_eq!(chosen(&direct), direct[..MAX_LINK_ADDRESSES]);
        let relayed: Vec<_> = (1..20).map(relay).collect();
        assert_eq!(chosen(&relayed).len(), MAX_LINK_ADDRESSES);
        let kept = chosen(&[direct.clone(), relayed.clone()].concat());
        assert_eq!(kept, [&direct[..MAX_LINK_ADDRESSES - RELAYED], &relayed[..RELAYED]].concat());
    }

    #[test]
    fn wishes_are_bounded_end_and_expire() {
        let (mut wishes, now) = (Wishes::default(), Instant::now());
        let session = |i: usize| SessionId([u8::try_from(i).unwrap(); 16]);
        let mut waits: Vec<_> =
            (0..MAX_WISHES).map(|i| wishes.add(session(i), peer(), now).unwrap()).collect();
        assert!(wishes.add(session(MAX_WISHES), peer(), now).is_none());
        assert!(wishes.add(session(0), peer(), now).is_some(), "the same again takes no more room");
        assert!(wishes.has(session(1), peer()));
        let other = Identity::from_seed(&[2; 32]).peer();
        assert!(!wishes.has(session(1), other), "another host's invitation is nobody's wish");
        wishes.end(session(1), Ok(()));
        assert!(!wishes.has(session(1), peer()) && waits[1].try_recv().unwrap().is_ok());
        assert!(wishes.add(session(MAX_WISHES), peer(), now + WISH_LIFE).is_some(), "old ones make room");
    }
}
