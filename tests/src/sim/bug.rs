//! Mistakes that can be planted in the simulated nodes, to show that every invariant can fail.
//!
//! None of them is in the machines: each is one that a node around them, its store or its network could have.

use super::check::Invariant;

/// A planted mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A crash loses the book of copies.
    LedgerForgotten,
    /// A proof that a host cheats is thrown away, and so are the consequences.
    ProofIgnored,
    /// Keys of a group that somebody was put out of are not put to use.
    RemovalIgnored,
    /// Each start of a node seals as if it were the first.
    BootRepeated,
    /// A crash loses the outbox.
    OutboxForgotten,
    /// Billing books whatever comes, as often as it comes.
    BookedTwice,
    /// An update is said before it is on disk.
    SaidBeforeStored,
    /// An update is kept though some before it are missing.
    GapsAccepted,
    /// An update is told though what its author had seen is missing.
    NothingHeldBack,
    /// Nobody looks at the signature inside an update.
    SignatureUnchecked,
    /// A node votes for whoever asks, whether it hears its host or not.
    VotesForAnyone,
    /// What a host says to show that it is there does not count as a sign of it.
    BeaconsIgnored,
    /// What a new host says first is lost, always.
    ClaimsDropped,
    /// A crash resets the numbers of what is said.
    NumbersReset,
    /// A node asks for commits whenever it can.
    NeverAtRest,
    /// What was seen is never forgotten.
    NothingForgotten,
    /// Billing does not look who has a number already.
    CountIgnored,
    /// What could not be written to a full disk is said and acknowledged all the same.
    FullDiskIgnored,
}

impl Bug {
    /// All of them, and the invariant that each breaks.
    pub const ALL: [(Self, Invariant); 18] = [
        (Self::LedgerForgotten, Invariant::Copies),
        (Self::ProofIgnored, Invariant::Proof),
        (Self::RemovalIgnored, Invariant::Closed),
        (Self::BootRepeated, Invariant::Nonces),
        (Self::OutboxForgotten, Invariant::Receipts),
        (Self::BookedTwice, Invariant::Receipts),
        (Self::SaidBeforeStored, Invariant::Updates),
        (Self::GapsAccepted, Invariant::Updates),
        (Self::NothingHeldBack, Invariant::Order),
        (Self::SignatureUnchecked, Invariant::Updates),
        (Self::VotesForAnyone, Invariant::Hosts),
        (Self::BeaconsIgnored, Invariant::Hosts),
        (Self::ClaimsDropped, Invariant::Agreement),
        (Self::NumbersReset, Invariant::Progress),
        (Self::NeverAtRest, Invariant::Rest),
        (Self::NothingForgotten, Invariant::Bounds),
        (Self::CountIgnored, Invariant::Counted),
        (Self::FullDiskIgnored, Invariant::Durable),
    ];
}
