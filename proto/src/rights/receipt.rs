//! The receipt: a member's signed notice of what it got or used.
//!
//! For: what is counted, straight from the member to a billing peer (ST24-25). Not for: keeping it until it
//! is acknowledged (the node's outbox), nor for prices (see [`crate::billing`]).
//!
//! Sending a receipt twice bills once, as its hash is the same. Signing it twice bills once as well: two
//! receipts with one [`Subject`] report the same thing, whatever else they say, and the later is a duplicate.

use std::{fmt, time::Duration};

use super::{
    Item, Right, TicketError, Verified,
    claims::{ClaimError, Claims, key},
};
use crate::{
    identity::PeerId,
    ids::{ReceiptHash, SessionId, SlotHash, TicketHash},
    time::{CLOCK_SKEW, Timestamp},
};

/// Longest time of use in one receipt.
pub const MAX_USED: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What a member reports. Times are whole seconds once it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The ticket of the copy.
    pub ticket: TicketHash,
    /// The slot of the copy; `None` for the host's own.
    pub slot: Option<SlotHash>,
    /// Whose copy it is; signs it.
    pub member: PeerId,
    /// In which session it happened. Only a reception can be outside of one (a copy read from a card).
    pub session: Option<SessionId>,
    /// What happened.
    pub kind: ReceiptKind,
    /// When, by the member's clock.
    pub at: Timestamp,
}

/// What a receipt reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// A complete copy arrived.
    Received,
    /// The program was started.
    Started,
    /// The program was in use, for at most [`MAX_USED`]. A node reports stretches that do not overlap.
    Used {
        /// From when.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
    },
    /// The member's part in the session is over.
    Ended,
}

impl ReceiptKind {
    /// The word for it: "received", "started", "used" or "ended".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Started => "started",
            Self::Used { .. } => "used",
            Self::Ended => "ended",
        }
    }

    fn code(self) -> u32 {
        match self {
            Self::Received => 0,
            Self::Started => 1,
            Self::Used { .. } => 2,
            Self::Ended => 3,
        }
    }
}

/// Why a receipt does not go with a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Of another ticket or slot.
    #[error("the receipt is for another ticket or slot than the one shown with it")]
    OtherRight,
    /// By somebody else than the right's holder.
    #[error("the receipt is by {0}, who does not hold the right shown with it")]
    NotTheHolder(PeerId),
    /// It reports what was not allowed at that time.
    #[error("the receipt is from a time when there was no right: {0}")]
    OutsideValidity(#[source] TicketError),
}

/// What a receipt reports, so that the same report is found again. Text without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(String);

impl Subject {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Verified<Receipt> {
    /// Whether it reports about `right`, from a time at which that was good.
    ///
    /// It does not matter when the receipt is looked at: one from an outbox that was cut off for a year is as
    /// good as a fresh one. What goes on beyond a ticket's end (use, and the end itself) is still counted.
    pub fn check(&self, right: &Right) -> Result<(), ReceiptError> {
        if self.ticket != right.ticket().hash() || self.slot != right.slot().map(Verified::hash) {
            return Err(ReceiptError::OtherRight);
        }
        if self.member != right.holder() {
            return Err(ReceiptError::NotTheHolder(self.member));
        }
        match right.check_time(self.at) {
            Err(TicketError::Expired { .. }) if self.may_be_late() => Ok(()),
            other => other.map_err(ReceiptError::OutsideValidity),
        }
    }

    fn may_be_late(&self) -> bool {
        matches!(self.kind, ReceiptKind::Used { .. } | ReceiptKind::Ended)
    }

    /// What it reports about `right`. A reception is of number and generation rather than of the slot's hash,
    /// so that a host cannot make a member pay again by signing the same slot again.
    #[must_use]
    pub fn subject(&self, right: &Right) -> Subject {
        let (ticket, member) = (self.ticket, self.member);
        let place = right.slot().map_or("host".to_owned(), |slot| format!("{}.{}", slot.k, slot.generation));
        let session = self.session.map(|session| session.to_string()).unwrap_or_default();
        Subject(match self.kind {
            ReceiptKind::Received => format!("received/{ticket}/{member}/{place}"),
            ReceiptKind::Started | ReceiptKind::Ended => {
                format!("{}/{ticket}/{member}/{session}", self.kind.name())
            }
            ReceiptKind::Used { from, to } => {
                format!("used/{ticket}/{member}/{session}/{}-{}", from.as_secs(), to.as_secs())
            }
        })
    }
}

impl Receipt {
    /// What the holder of `right` reports at `at`.
    #[must_use]
    pub fn new(right: &Right, session: Option<SessionId>, kind: ReceiptKind, at: Timestamp) -> Self {
        Self {
            ticket: right.ticket().hash(),
            slot: right.slot().map(Verified::hash),
            member: right.holder(),
            session,
            kind,
            at,
        }
    }

    /// ST26: the program starts. `None` where the tariff charges neither uses nor minutes: what nobody pays
    /// for, nobody needs to be told.
    #[must_use]
    pub fn started(right: &Right, session: SessionId, at: Timestamp) -> Option<Self> {
        let prices = right.ticket().terms.tariff.prices();
        (prices.per_use > 0 || prices.minute > 0)
            .then(|| Self::new(right, Some(session), ReceiptKind::Started, at))
    }

    /// The program was in use from `from` until `at`. `None` where the tariff does not charge minutes.
    #[must_use]
    pub fn used(right: &Right, session: SessionId, from: Timestamp, at: Timestamp) -> Option<Self> {
        let from = from.max(Timestamp(at.0.saturating_sub(MAX_USED.as_millis() as u64))).min(at);
        (right.ticket().terms.tariff.prices().minute > 0)
            .then(|| Self::new(right, Some(session), ReceiptKind::Used { from, to: at }, at))
    }

    fn validate(&self) -> Result<(), ClaimError> {
        if self.session.is_none() && self.kind != ReceiptKind::Received {
            return Err(ClaimError::Missing("session"));
        }
        let ReceiptKind::Used { from, to } = self.kind else {
            return Ok(());
        };
        if from > to || to.since(from) > MAX_USED {
            return Err(ClaimError::Inconsistent(
                "it reports a time of use that is not a stretch of a year at most",
            ));
        }
        if to > self.at + CLOCK_SKEW {
            return Err(ClaimError::Inconsistent("it reports use from after it was made"));
        }
        Ok(())
    }
}

impl Item for Receipt {
    type Hash = ReceiptHash;

    const NAME: &'static str = "a receipt";
    const CONTEXT: &'static str = "parlor receipt v1";

    fn issuer(&self) -> PeerId {
        self.member
    }

    fn to_claims(&self) -> Claims {
        let (from, to) = match &self.kind {
            ReceiptKind::Used { from, to } => (Some(from), Some(to)),
            _ => (None, None),
        };
        Claims::issued_by(self.member)
            .with(key::AT, &self.at)
            .with(key::TICKET, &self.ticket)
            .with_some(key::SLOT, self.slot.as_ref())
            .with_some(key::SESSION, self.session.as_ref())
            .with(key::KIND, &self.kind.code())
            .with_some(key::USED_FROM, from)
            .with_some(key::USED_TO, to)
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        let kind = match claims.take::<u32>(key::KIND)? {
            0 => ReceiptKind::Received,
            1 => ReceiptKind::Started,
            2 => ReceiptKind::Used { from: claims.take(key::USED_FROM)?, to: claims.take(key::USED_TO)? },
            3 => ReceiptKind::Ended,
            _ => {
                return Err(ClaimError::Mistyped { claim: "kind", wanted: "a kind of receipt" });
            }
        };
        let receipt = Self {
            ticket: claims.take(key::TICKET)?,
            slot: claims.take_some(key::SLOT)?,
            member: claims.take(key::ISSUER)?,
            session: claims.take_some(key::SESSION)?,
            kind,
            at: claims.take(key::AT)?,
        };
        receipt.validate()?;
        Ok(receipt)
    }

    fn hash_from(digest: [u8; 32]) -> ReceiptHash {
        ReceiptHash(digest)
    }
}
