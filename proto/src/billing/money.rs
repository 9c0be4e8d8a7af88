//! An amount of money as people read it.
//!
//! For: showing minor units as decimals. Not for: arithmetic, which is on the integers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Currency;

/// Currencies whose minor unit is not a hundredth, by the number of its decimals (ISO 4217, list one).
const DECIMALS: [(u32, &[&str]); 3] = [
    (
        0,
        &[
            "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV",
            "XAF", "XOF", "XPF",
        ],
    ),
    (3, &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]),
    (4, &["CLF", "UYW"]),
];

/// An amount of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Minor units.
    pub amount: u64,
    /// Of what.
    pub currency: Currency,
}

impl Money {
    /// The amount as a decimal number of major units: `2.00` for 200 EUR cents.
    #[must_use]
    pub fn decimal(&self) -> String {
        let decimals = self.currency.decimals();
        let unit = 10u64.pow(decimals);
        if decimals == 0 {
            return self.amount.to_string();
        }
        format!("{}.{:0width$}", self.amount / unit, self.amount % unit, width = decimals as usize)
    }
}

/// `2.00 EUR`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

impl Currency {
    /// How many decimals its minor unit has; 2 for a code that is not known here.
    #[must_use]
    pub fn decimals(&self) -> u32 {
        let known = DECIMALS.iter().find(|(_, codes)| codes.contains(&self.as_str()));
        known.map_or(2, |(decimals, _)| *decimals)
    }
}
