//! Who may have a copy, and how that is proven: ticket, slot, receipt, acknowledgement.
//!
//! For: the signed items that make copies countable without a server, and what follows from them. Not for:
//! sending them (see `wire` and the node), nor for what is owed (see [`crate::billing`]).
//!
//! The chain: an origin signs a [`Ticket`] (N copies of a program, for one host). The host signs a [`Slot`] per
//! member out of it, by its [`Ledger`]; what it has left it can pass on to another host by a [`Handover`].
//! Ticket and slot together are a [`Right`], which is what admits a node.
//! A member signs a [`Receipt`] of what it got or used, and a billing peer answers with an [`Ack`]. A member
//! that gives its place back signs a [`Release`]. Each is a COSE_Sign1; the form is in [`envelope`], the
//! claims are in [`claims`].
//!
//! The types say how far something was checked: the plain struct is the unsigned item, [`Signed`] is decoded,
//! [`Verified`] has the right signature, and [`Right`] hangs together as a chain.
//!
//! # What it promises, and what not
//!
//! A modified client can copy bytes, and two groups that never meet can use one slot twice until their
//! receipts meet. What holds: honest nodes refuse what is not covered by a right; the count is right wherever
//! receipts meet; and a host that gave one slot to two members has signed the proof of it itself
//! ([`EquivocationProof`]). A host can skip generations, so that two of its slots for one number are no neighbours and
//! prove nothing: then it has to hide from the billing peer what lies between, and is seen to have more members for a
//! number than one ([`crate::billing::copies`]). A host can still pass one place on and on through made-up members that
//! report it and release it at once; it is indistinguishable from members that really come and go. Where that matters,
//! a price per reception counts it, or the ticket asks for leases.

pub mod ack;
pub mod claims;
pub mod envelope;
pub mod equivocation;
pub mod handover;
pub mod ledger;
pub mod receipt;
pub mod release;
pub mod right;
pub mod slot;
pub mod ticket;

pub use ack::{Ack, AckError, Refusal, Verdict};
pub use envelope::{DecodeError, Item, MAX_ITEM_LEN, SignError, Signed, Verified, VerifyError, sign};
pub use equivocation::{EquivocationProof, MAX_PROOF_LEN, ProofError};
pub use handover::{Freed, Handover, HandoverError, MAX_HANDED_NUMBERS, MAX_HANDOVERS};
pub use ledger::{GrantError, HandOverError, HandedError, HandedOver, Ledger, ReleaseError, RestoreError};
pub use receipt::{Receipt, ReceiptError, ReceiptKind, Subject};
pub use release::Release;
pub use right::{Right, RightError, SignedRight};
pub use slot::{MAX_GENERATION, Slot, SlotError};
pub use ticket::{LeaseTerms, MAX_BILLING_PEERS, MAX_COPIES, MAX_NAME_LEN, Terms, Ticket, TicketError};

#[cfg(test)]
mod tests;
