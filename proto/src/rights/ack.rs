//! The acknowledgement: a billing peer's signed answer to a receipt.
//!
//! For: letting a member strike a receipt off its outbox, with something in hand to show later. Not for:
//! errors that sending again may cure; those are not signed.
//!
//! A duplicate gets the *original* acknowledgement back, byte for byte, with the original position: so there
//! is no verdict "duplicate".

use super::{
    Item, Verified,
    claims::{ClaimError, Claims, key},
};
use crate::{
    identity::PeerId,
    ids::{AckHash, ReceiptHash},
    time::Timestamp,
};

/// What a billing peer answers. Times are whole seconds once it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Who counted it; signs it.
    pub billing: PeerId,
    /// What was counted.
    pub receipt: ReceiptHash,
    /// Where it is in the billing peer's log, counted from 1.
    pub position: u64,
    /// How it was counted.
    pub verdict: Verdict,
    /// When, by the billing peer's clock.
    pub at: Timestamp,
}

/// How a receipt was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Booked.
    Accepted,
    /// Kept in the log, but not booked. Final.
    Refused(Refusal),
}

/// Why a receipt is not booked although it is genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The host was proven to have given one slot to two members before this copy was reported.
    #[error("the host gave one slot to two members, nothing new of it is booked")]
    HostCheated,
}

impl Verdict {
    fn code(self) -> u32 {
        match self {
            Self::Accepted => 0,
            Self::Refused(Refusal::HostCheated) => 1,
        }
    }
}

/// Why an acknowledgement is not the answer to a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// By somebody else than was asked.
    #[error("the acknowledgement is by {0}, who was not asked")]
    OtherPeer(PeerId),
    /// Of another receipt.
    #[error("the acknowledgement is for another receipt")]
    OtherReceipt,
}

impl Verified<Ack> {
    /// Whether it is `billing`'s answer to `receipt`.
    pub fn check(&self, billing: PeerId, receipt: ReceiptHash) -> Result<(), AckError> {
        if self.billing != billing {
            return Err(AckError::OtherPeer(self.billing));
        }
        if self.receipt != receipt {
            return Err(AckError::OtherReceipt);
        }
        Ok(())
    }
}

impl Item for Ack {
    type Hash = AckHash;

    const NAME: &'static str = "an acknowledgement";
    const CONTEXT: &'static str = "parlor ack v1";

    fn issuer(&self) -> PeerId {
        self.billing
    }

    fn to_claims(&self) -> Claims {
        Claims::issued_by(self.billing)
            .with(key::AT, &self.at)
            .with(key::RECEIPT, &self.receipt)
            .with(key::POSITION, &self.position)
            .with(key::VERDICT, &self.verdict.code())
    }

    fn from_claims(claims: &mut Claims) -> Result<Self, ClaimError> {
        Ok(Self {
            billing: claims.take(key::ISSUER)?,
            at: claims.take(key::AT)?,
            receipt: claims.take(key::RECEIPT)?,
            position: claims.take(key::POSITION)?,
            verdict: match claims.take::<u32>(key::VERDICT)? {
                0 => Verdict::Accepted,
                1 => Verdict::Refused(Refusal::HostCheated),
                _ => {
                    return Err(ClaimError::Mistyped { claim: "verdict", wanted: "a known verdict" });
                }
            },
        })
    }

    fn hash_from(digest: [u8; 32]) -> AckHash {
        AckHash(digest)
    }
}
