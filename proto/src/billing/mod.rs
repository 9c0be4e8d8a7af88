//! What copies cost, and who owes it.
//!
//! For: the tariff that a ticket carries. Not for: moving money. Parlor counts and writes statements; how they
//! are settled is between the people named in them.

pub mod messages;
pub mod tariff;

pub use messages::{BillingRequest, BillingResponse};
pub use tariff::{Currency, Tariff, TariffError};
