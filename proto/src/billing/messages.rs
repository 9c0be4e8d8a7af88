//! What a node and a billing peer say to each other.

use serde::{Deserialize, Serialize};

use crate::rights::{Ack, Receipt, Release, Signed, SignedRight};

/// To a billing peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum BillingRequest {
    /// ST25: a receipt, with the right that it is about, so that the billing peer needs nobody else.
    Submit {
        /// Ticket and slot.
        right: Box<SignedRight>,
        /// What is reported.
        receipt: Signed<Receipt>,
    },
    /// ST29: a slot that was given back, by its member or by the host that took it back. It costs nothing, and shows
    /// that whoever gets the number next is no second holder of it.
    Released {
        /// Ticket and slot.
        right: Box<SignedRight>,
        /// By which it was given back.
        release: Signed<Release>,
    },
}

/// From a billing peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum BillingResponse {
    /// Booked, now or before.
    Acked(Signed<Ack>),
    /// What was given back is written down.
    Noted,
    /// Not booked, and the same again will not be. For a person to read.
    Refused(String),
    /// Not now; the same again later.
    Later,
}
