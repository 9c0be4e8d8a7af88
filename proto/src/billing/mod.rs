//! What copies cost, and who owes it.
//!
//! For: the tariff that a ticket carries ([`tariff`]), what a receipt costs ([`book`]), what somebody owes in
//! all ([`statement`], [`invoice`]), who holds the copies of a ticket ([`copies`]), and what a node and a billing peer say to each other ([`messages`]). Not
//! for: keeping books (the node does), nor for moving money. Parlor counts and writes statements; how they are
//! settled is between the people named in them.

pub mod book;
pub mod copies;
pub mod invoice;
pub mod messages;
pub mod money;
pub mod statement;
pub mod tariff;

pub use book::{Charge, ChargeKind, Entry, charges};
pub use invoice::{Invoice, InvoiceLine};
pub use messages::{BillingRequest, BillingResponse};
pub use money::Money;
pub use statement::{Payer, Statement, TotalTooLarge};
pub use tariff::{Currency, Tariff, TariffError};

#[cfg(test)]
mod tests;
