//! The ticket: an origin's signed right for a host to distribute copies of one program.
//!
//! For: what an origin grants, and the checks a host makes before it relies on it. Not for: which copies
//! are taken (see [`super::ledger`]).
//!
//! In the original flow charts this is the distribution approval number that server 10 sends along with the
//! program (ST4, ST13).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Item, Verified,
    claims::{ClaimError, Claims, key},
};
use crate::{
    billing::Tariff,
    identity::PeerId,
    ids::{ProgramId, TicketHash},
    time::{CLOCK_SKEW, Timestamp},
};

/// Most copies that one ticket approves.
pub const MAX_COPIES: u32 = 1_000_000;

/// Most billing peers of one ticket.
pub const MAX_BILLING_PEERS: usize = 8;

/// Longest program name in a ticket, bytes of UTF-8.
pub const MAX_NAME_LEN: usize = 256;

/// What an origin grants. Times are whole seconds once it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Random, so that two tickets are never the same.
    pub id: [u8; 16],
    /// Who grants; signs it.
    pub origin: PeerId,
    /// To whom.
    pub host: PeerId,
    /// The program's name: 1 to [`MAX_NAME_LEN`] bytes, no control characters.
    pub name: String,
    /// The program.
    pub program: ProgramId,
    /// How many members may have a copy, besides the host: 1 to [`MAX_COPIES`].
    pub copies: u32,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// Not good before.
    pub not_before: Timestamp,
    /// Not good from then on; after `not_before`.
    pub expires: Timestamp,
    /// What it costs, and under what conditions.
    pub terms: Terms,
    /// Who counts, in the order in which to try; any one is enough. None: nobody counts.
    pub billing: Vec<PeerId>,
    /// Whether copies may be handed out by cards, without a connection.
    pub offline_issue: bool,
}

/// Under what conditions a ticket is granted.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What is to be paid.
    pub tariff: Tariff,
    /// If set, the program runs only under a live lease.
    pub lease: Option<LeaseTerms>,
}

/// How long a program may run between two contacts with billing. Whole seconds once it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// For how long a lease is good.
    pub length: Duration,
    /// For how long after its end the program may go on while billing is out of reach.
    pub grace: Duration,
}

/// Why a ticket is of no use to somebody now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// For somebody else.
    #[error("the ticket is for host {host}, not for {asked}")]
    OtherHost {
        /// Whom the ticket names.
        host: PeerId,
        /// Who wants to use it.
        asked: PeerId,
    },
    /// Its time is over.
    #[error("the ticket expired {} seconds ago", .since.as_secs())]
    Expired {
        /// How long ago.
        since: Duration,
    },
    /// Its time has not come, and a clock that is a little wrong does not explain it.
    #[error("the ticket is from the future: it is good in {} seconds (is the clock right?)", .until.as_secs())]
    NotYetValid {
        /// How long until then.
        until: Duration,
    },
}

impl Ticket {
    /// Whether it is good at `now`. A clock may be behind the origin's by [`CLOCK_SKEW`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), TicketError> {
        if now >= self.expires {
            return Err(TicketError::Expired { since: now.since(self.expires) });
        }
        if now + CLOCK_SKEW < self.not_before {
            return Err(TicketError::NotYetValid { until: self.not_before.since(now) });
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), ClaimError> {
        let wrong = |claim, wanted| Err(ClaimError::Mistyped { claim, wanted });
        if self.copies == 0 || self.copies > MAX_COPIES {
            return wrong("copies", "a number from 1 to 1000000");
        }
        if self.name.is_empty() || self.name.len() > MAX_NAME_LEN || self.name.chars().any(char::is_control) {
            return wrong("sub", "a program name of 1 to 256 bytes without control characters");
        }
        if self.billing.len() > MAX_BILLING_PEERS {
            return wrong("billing", "a list of at most 8 peers");
        }
        if self.expires <= self.not_before {
            return Err(ClaimError::Inconsistent("it expires before it is good"));
        }
        Ok(())
    }
}

impl Verified<Ticket> {
    /// Whether `host` may distribute under it at `now`.
    pub fn check(&self, host: PeerId, now: Timestamp) -> Result<(), TicketError> {
        if self.host != host {
            return Err(TicketError::OtherHost { host: self.host, asked: host });
        }
        self.check_time(now)
    }
}

impl Item for Ticket {
    type Hash = TicketHash;

    const NAME: &'static str = "a ticket";
    const CONTEXT: &'static str = "parlor ticket v1";

    fn issuer(&self) -> PeerId {
        self.origin
    }

    fn to_claims(&self) -> Claims {
        Claims::issued_by(self.origin)
            .with(key::SUBJECT, &self.name)
            .with(key::AUDIENCE, &self.host)
            .with(key::EXPIRES, &self.expires)
            .with(key::NOT_BEFORE, &self.not_before)
            .with(key::AT, &self.issued_at)
            .with(key::ID, &self.id)
            .with(key::PROGRAM, &self.program)
            .with(key::COPIES, &self.copies)
            .with(key::TARIFF, &self.terms.tariff)
            .with_some(key::LEASE, self.terms.lease.as_ref())
            .with(key::BILLING, &self.billing)
            .with(key::OFFLINE_ISSUE, &self.offline_issue)
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        let ticket = Self {
            id: claims.take(key::ID)?,
            origin: claims.take(key::ISSUER)?,
            host: claims.take(key::AUDIENCE)?,
            name: claims.take(key::SUBJECT)?,
            program: claims.take(key::PROGRAM)?,
            copies: claims.take(key::COPIES)?,
            issued_at: claims.take(key::AT)?,
            not_before: claims.take(key::NOT_BEFORE)?,
            expires: claims.take(key::EXPIRES)?,
            terms: Terms { tariff: claims.take(key::TARIFF)?, lease: claims.take_some(key::LEASE)? },
            billing: claims.take(key::BILLING)?,
            offline_issue: claims.take(key::OFFLINE_ISSUE)?,
        };
        ticket.validate()?;
        Ok(ticket)
    }

    fn hash_from(digest: [u8; 32]) -> TicketHash {
        TicketHash(digest)
    }
}
