//! What a node and a billing peer say to each other.

use serde::{Deserialize, Serialize};

use crate::rights::{Ack, Receipt, Signed, SignedRight};

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
}

/// From a billing peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum BillingResponse {
    /// Booked, now or before.
    Acked(Signed<Ack>),
    /// Not booked, and the same again will not be. For a person to read.
    Refused(String),
    /// Not now; the same again later.
    Later,
}
