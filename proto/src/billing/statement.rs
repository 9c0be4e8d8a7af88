//! The statement: who owes what, in all.
//!
//! For: adding up a book. Not for: its single lines (see [`super::invoice`]).

use std::collections::BTreeMap;

use serde::Serialize;

use super::{ChargeKind, Currency, Entry, Money};
use crate::identity::PeerId;

/// Who owes what. Serializes to the JSON that `bill statement` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// One line a payer; one a currency for who owes in several.
    pub payers: Vec<Payer>,
    /// Copies that arrived, of all payers.
    pub receptions: u64,
    /// One sum a currency; none if nothing costs anything.
    pub total: Vec<Money>,
}

/// What one payer owes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payer {
    /// Who.
    pub payer: PeerId,
    /// Copies that arrived.
    pub receptions: u64,
    /// Copies that its tickets approved.
    pub copies: u64,
    /// Sessions in which it started a program.
    pub uses: u64,
    /// Begun minutes of use.
    pub minutes: u64,
    /// What that costs.
    pub total: Total,
}

/// Money, or the nothing that free programs cost.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Minor units.
    pub amount: u64,
    /// `None` for nothing but free programs.
    pub currency: Option<Currency>,
}

/// A sum of more than 2^64 minor units: a book that somebody tampered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the book adds up to more than can be: it is damaged")]
pub struct TotalTooLarge;

impl Statement {
    /// Adds up a book, or the part of it that somebody owes.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, TotalTooLarge> {
        let mut payers: BTreeMap<(PeerId, Option<Currency>), Payer> = BTreeMap::new();
        for Entry { charge, .. } in entries {
            let line = payers
                .entry((charge.payer, charge.currency))
                .or_insert_with(|| Payer::new(charge.payer, charge.currency));
            line.add(charge.kind, charge.quantity, charge.amount())?;
        }
        let payers = fold_free_lines(payers)?;
        let mut total: BTreeMap<Currency, u64> = BTreeMap::new();
        let mut receptions: u64 = 0;
        for payer in &payers {
            receptions = receptions.checked_add(payer.receptions).ok_or(TotalTooLarge)?;
            if let Some(currency) = payer.total.currency {
                let sum = total.entry(currency).or_default();
                *sum = sum.checked_add(payer.total.amount).ok_or(TotalTooLarge)?;
            }
        }
        let total = total.into_iter().map(|(currency, amount)| Money { amount, currency }).collect();
        Ok(Self { payers, receptions, total })
    }
}

/// Free programs get a line of their own only where their payer has no other.
fn fold_free_lines(
    mut lines: BTreeMap<(PeerId, Option<Currency>), Payer>,
) -> Result<Vec<Payer>, TotalTooLarge> {
    let free: Vec<PeerId> =
        lines.keys().filter(|(_, currency)| currency.is_none()).map(|key| key.0).collect();
    for payer in free {
        // `None` sorts before every currency: the line after this one, if it is the same payer's, is priced.
        let next = lines.range((payer, None)..).nth(1).map(|(key, _)| *key);
        let priced = next.filter(|(other, _)| *other == payer);
        let Some(priced) = priced else { continue };
        if let (Some(free), Some(line)) = (lines.remove(&(payer, None)), lines.get_mut(&priced)) {
            for (kind, count) in ChargeKind::ALL.into_iter().zip(free.counts()) {
                line.add(kind, count, 0)?;
            }
        }
    }
    Ok(lines.into_values().collect())
}

impl Payer {
    fn new(payer: PeerId, currency: Option<Currency>) -> Self {
        let total = Total { amount: 0, currency };
        Self { payer, receptions: 0, copies: 0, uses: 0, minutes: 0, total }
    }

    /// In the order of [`ChargeKind::ALL`].
    fn counts(&self) -> [u64; 4] {
        [self.copies, self.receptions, self.uses, self.minutes]
    }

    fn add(&mut self, kind: ChargeKind, quantity: u64, amount: u64) -> Result<(), TotalTooLarge> {
        let count = match kind {
            ChargeKind::Copy => &mut self.copies,
            ChargeKind::Reception => &mut self.receptions,
            ChargeKind::Use => &mut self.uses,
            ChargeKind::Minute => &mut self.minutes,
        };
        *count = count.checked_add(quantity).ok_or(TotalTooLarge)?;
        self.total.amount = self.total.amount.checked_add(amount).ok_or(TotalTooLarge)?;
        Ok(())
    }
}
