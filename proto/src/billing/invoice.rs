//! The invoice: what one payer owes, line by line, to print or to send.
//!
//! For: a text that a person can check against the book, and the same as data. Not for: taxes, addresses and
//! due dates. Whoever needs those puts them around it.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{ChargeKind, Currency, Entry, Money, TotalTooLarge};
use crate::{identity::PeerId, ids::TicketHash};

/// What one payer owes, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invoice {
    /// What tells it from the issuer's other invoices.
    pub number: String,
    /// Its day, as the caller wants it written.
    pub date: String,
    /// The billing peer.
    pub issuer: PeerId,
    /// Who owes.
    pub payer: PeerId,
    /// What for, priced things only.
    pub lines: Vec<InvoiceLine>,
    /// One sum a currency.
    pub total: Vec<Money>,
}

/// All of one kind, at one price, under one ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvoiceLine {
    /// Counted from 1.
    pub number: usize,
    /// What it is, for people.
    pub description: String,
    /// The ticket.
    pub ticket: TicketHash,
    /// The program's name.
    pub name: String,
    /// What is counted.
    pub kind: ChargeKind,
    /// How many.
    pub quantity: u64,
    /// Of each.
    pub price: Money,
    /// Of all.
    pub amount: Money,
}

impl Invoice {
    /// Writes an invoice out of a book. Entries of other payers are left out.
    pub fn of<'a>(
        number: String,
        date: String,
        issuer: PeerId,
        payer: PeerId,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Result<Self, TotalTooLarge> {
        type Group<'a> = (&'a str, TicketHash, ChargeKind, u64, Currency);
        let mut groups: BTreeMap<Group<'a>, u64> = BTreeMap::new();
        for Entry { charge, name, ticket, .. } in entries {
            let Some(currency) = charge.currency.filter(|_| charge.price > 0 && charge.payer == payer) else {
                continue;
            };
            let quantity = groups.entry((name, *ticket, charge.kind, charge.price, currency)).or_default();
            *quantity = quantity.checked_add(charge.quantity).ok_or(TotalTooLarge)?;
        }
        let mut lines = Vec::with_capacity(groups.len());
        let mut total: BTreeMap<Currency, u64> = BTreeMap::new();
        for ((name, ticket, kind, price, currency), quantity) in groups {
            let amount = quantity.checked_mul(price).ok_or(TotalTooLarge)?;
            let sum = total.entry(currency).or_default();
            *sum = sum.checked_add(amount).ok_or(TotalTooLarge)?;
            lines.push(InvoiceLine {
                number: lines.len() + 1,
                description: describe(name, kind, &ticket),
                ticket,
                name: name.to_owned(),
                kind,
                quantity,
                price: Money { amount: price, currency },
                amount: Money { amount, currency },
            });
        }
        let total = total.into_iter().map(|(currency, amount)| Money { amount, currency }).collect();
        Ok(Self { number, date, issuer, payer, lines, total })
    }
}

fn describe(name: &str, kind: ChargeKind, ticket: &TicketHash) -> String {
    let what = match kind {
        ChargeKind::Copy => "copies approved",
        ChargeKind::Reception => "copies received",
        ChargeKind::Use => "sessions",
        ChargeKind::Minute => "minutes of use",
    };
    let ticket = ticket.to_string();
    format!("{name}: {what} (ticket {}…)", &ticket[..8])
}

/// A page of text.
impl fmt::Display for Invoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Invoice {}", self.number)?;
        writeln!(f, "Date: {}", self.date)?;
        writeln!(f, "From: {}", self.issuer)?;
        writeln!(f, "To:   {}\n", self.payer)?;
        for line in &self.lines {
            writeln!(f, "{:>4}. {}", line.number, line.description)?;
            writeln!(f, "      {} x {} = {}", line.quantity, line.price, line.amount)?;
        }
        if self.lines.is_empty() {
            return writeln!(f, "Nothing to pay.");
        }
        writeln!(f)?;
        for total in &self.total {
            writeln!(f, "Total: {total}")?;
        }
        Ok(())
    }
}
