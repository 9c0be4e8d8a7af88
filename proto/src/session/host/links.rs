//! Links that this host has made: who may open which, and who has (ST14, for those it never met).
//!
//! For: a book of them, by the hash of their secrets, within [`MAX_LINKS`]. Not for: the text of a link, see
//! [`crate::session::link`].
//!
//! The idea: opening takes the link and invites in one step, so that what is on disk never says the one without the
//! other, and a link that was opened stays opened through any crash. It belongs to whoever opened it until it
//! expires: the same node again is told the same, and everybody else that it is taken.

use serde::{Deserialize, Serialize};

use super::{Host, HostError, HostState, MAX_SEATS, SeatState};
use crate::{
    identity::PeerId,
    rights::Ledger,
    session::{
        Contact,
        link::{LinkRefusal, LinkSecret},
        step::{Context, Output, StepError},
    },
    time::Timestamp,
};

/// Most links of one session that have not expired, opened ones among them.
pub const MAX_LINKS: usize = 256;

/// All that have not expired, and some that have.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Links(Vec<Made>);

/// One link, as its host keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Made {
    /// Of its secret, which is kept nowhere.
    #[serde(with = "serde_bytes")]
    hash: [u8; 32],
    expires: Timestamp,
    bound: Option<PeerId>,
    taken: Option<PeerId>,
}

impl Links {
    /// Whoever was put out has no way back but by a new invitation.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.0.retain(|link| link.bound != Some(peer) && link.taken != Some(peer));
    }

    fn find(&self, secret: &LinkSecret, now: Timestamp) -> Option<usize> {
        // What is compared is hashes: how long that takes says nothing of the secret.
        let hash = secret.hash();
        self.0.iter().position(|link| link.hash == hash && link.expires > now)
    }
}

impl Host {
    /// ST14: from now on `secret` opens a seat to `bound`, or else to whoever shows it first.
    pub(super) fn offer_link(
        &mut self,
        secret: &LinkSecret,
        expires: Timestamp,
        bound: Option<PeerId>,
        context: &Context<'_>,
    ) -> Result<(), StepError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended.into());
        }
        if bound == Some(context.me.peer) {
            return Err(HostError::Myself.into());
        }
        let links = &mut self.links.0;
        links.retain(|link| link.expires > context.now);
        if links.len() >= MAX_LINKS {
            return Err(HostError::TooManyLinks.into());
        }
        links.push(Made { hash: secret.hash(), expires, bound, taken: None });
        Ok(())
    }

    /// Whether the secret would open anything for this peer, but for copies: what else is asked is not worth a
    /// step. Who does not know a secret learns nothing of the session, not even that there is one.
    pub fn may_open(&self, from: PeerId, secret: &LinkSecret, now: Timestamp) -> Result<(), LinkRefusal> {
        self.openable(from, secret, now).map(|_| ())
    }

    fn openable(&self, from: PeerId, secret: &LinkSecret, now: Timestamp) -> Result<usize, LinkRefusal> {
        let at = self.links.find(secret, now).ok_or(LinkRefusal::Unknown)?;
        let link = &self.links.0[at];
        let was_put_out = self.seats.get(&from).is_some_and(|seat| seat.state == SeatState::Removed);
        if link.bound.is_some_and(|bound| bound != from) {
            Err(LinkRefusal::NotForYou)
        } else if link.taken.is_some_and(|taken| taken != from) {
            Err(LinkRefusal::Taken)
        } else if self.state == HostState::Ended {
            Err(LinkRefusal::Over)
        } else if was_put_out {
            Err(LinkRefusal::NotForYou)
        } else {
            Ok(at)
        }
    }

    /// Somebody shows a secret: the link is taken, and whoever it is gets invited.
    pub(super) fn open_link(
        &mut self,
        from: PeerId,
        secret: &LinkSecret,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let refused = |why| StepError::from(HostError::Link(why));
        let at = self.openable(from, secret, context.now).map_err(refused)?;
        if !self.has_place_for(from, context.ledger.as_ref()) {
            return Err(refused(LinkRefusal::NoCopiesLeft));
        }
        self.links.0[at].taken = Some(from);
        // What it calls itself it says when it accepts.
        let contact = Contact { peer: from, name: String::new(), addresses: Vec::new() };
        self.invite(vec![contact], context, outputs)
    }

    /// A seat, and a copy: its own, or one that is left. There may be none all the same when it accepts.
    fn has_place_for(&self, peer: PeerId, ledger: Option<&Ledger>) -> bool {
        let seat = self.seats.get(&peer);
        let has_right =
            peer == self.ticket.host || seat.is_some_and(|seat| seat.slot.is_some() && !seat.gave_back);
        let gets_one = ledger.is_some_and(|ledger| ledger.slot_of(peer).is_some() || ledger.left() > 0);
        (seat.is_some() || self.seats.len() < MAX_SEATS) && (has_right || gets_one)
    }
}
