//! What a receipt costs, and whom.
//!
//! For: turning a receipt into charges. Not for: finding out whether it was booked before (the caller looks
//! for its hash and its [`Subject`](crate::rights::Subject)), nor for adding up (see [`super::statement`]).
//!
//! The rules: the copies that a ticket approves are owed by its host, all at once, when the ticket first
//! shows up. Everything else is owed by the node that signs the receipt: its reception, each session it
//! starts the program in, each begun minute it reports. The host's own copy is a reception of the host.
//! What is free is charged at nought, so that it is counted all the same.

use std::time::Duration;

use serde::Serialize;

use super::{Currency, Money};
use crate::{
    identity::PeerId,
    ids::{ProgramId, ReceiptHash, TicketHash},
    rights::{Receipt, ReceiptKind, Right},
    time::Timestamp,
};

/// What is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChargeKind {
    /// Copies that a ticket approved.
    Copy,
    /// A copy that arrived.
    Reception,
    /// A session in which the program was started.
    Use,
    /// Begun minutes of use.
    Minute,
}

impl ChargeKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Copy, Self::Reception, Self::Use, Self::Minute];

    /// The word for it, as in the text form of a tariff.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Reception => "reception",
            Self::Use => "use",
            Self::Minute => "minute",
        }
    }

    /// The kind with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// By whom.
    pub payer: PeerId,
    /// For what.
    pub kind: ChargeKind,
    /// How many of it.
    pub quantity: u64,
    /// Of each, minor units.
    pub price: u64,
    /// `None` if the whole tariff is free.
    pub currency: Option<Currency>,
}

impl Charge {
    /// What is owed, minor units. The bounds of tariffs, copies and times of use keep it far below 2^63.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.quantity.saturating_mul(self.price)
    }

    /// What is owed; `None` if the whole tariff is free.
    #[must_use]
    pub fn money(&self) -> Option<Money> {
        Some(Money { amount: self.amount(), currency: self.currency? })
    }
}

/// A charge in the book, with what it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position of its receipt in the billing log.
    pub position: u64,
    /// When what is charged happened, by the member's clock.
    pub at: Timestamp,
    /// When it was booked, by the billing peer's clock.
    pub booked_at: Timestamp,
    /// The receipt that it comes from.
    pub receipt: ReceiptHash,
    /// The ticket.
    pub ticket: TicketHash,
    /// The program.
    pub program: ProgramId,
    /// The program's name.
    pub name: String,
    /// Who signed the receipt.
    pub member: PeerId,
    /// The charge.
    pub charge: Charge,
}

/// What `receipt`, which is about `right` and was not booked before, costs. `first_of_ticket`: nothing was
/// booked yet under its ticket.
#[must_use]
pub fn charges(right: &Right, receipt: &Receipt, first_of_ticket: bool) -> Vec<Charge> {
    let ticket = right.ticket();
    let (currency, prices) = (ticket.terms.tariff.currency(), ticket.terms.tariff.prices());
    let charge = |payer, kind, quantity, price| Charge { payer, kind, quantity, price, currency };
    let mut charges = Vec::new();
    if first_of_ticket {
        charges.push(charge(ticket.host, ChargeKind::Copy, u64::from(ticket.copies), prices.copy));
    }
    let payer = receipt.member;
    match receipt.kind {
        ReceiptKind::Received => charges.push(charge(payer, ChargeKind::Reception, 1, prices.reception)),
        ReceiptKind::Started => charges.push(charge(payer, ChargeKind::Use, 1, prices.per_use)),
        ReceiptKind::Used { from, to } => {
            charges.push(charge(payer, ChargeKind::Minute, begun_minutes(to.since(from)), prices.minute));
        }
        ReceiptKind::Ended => {}
    }
    charges
}

/// Minutes, the last one counted in full.
fn begun_minutes(used: Duration) -> u64 {
    used.as_secs().div_ceil(60)
}
