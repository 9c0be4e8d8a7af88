//! What a program costs: the `--price` of a `publish`, and the terms of a ticket.
//!
//! For: reading, writing and comparing prices. Not for: working out what somebody owes (see the rest of
//! [`crate::billing`]).
//!
//! The idea: a tariff is four prices in minor units (cents) of one currency, so that all arithmetic is on
//! integers and a bill never mixes currencies. A price of nought is the same as no price, and a tariff
//! without prices has no currency: every tariff has one form, in text and on the wire. The version lets an
//! origin tell the tickets it issued under an older price list from newer ones with the same prices.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Largest single price, minor units. With [`crate::rights::MAX_COPIES`] copies a charge still fits an `i64`.
pub const MAX_PRICE: u64 = 1_000_000_000;

/// Longest text that is read as a tariff, bytes.
const MAX_TEXT: usize = 200;

/// A currency by its ISO 4217 code: three upper-case letters. Whether the code is assigned is not checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the constructor takes ASCII letters only")
    }
}

impl FromStr for Currency {
    type Err = TariffError;

    fn from_str(text: &str) -> Result<Self, TariffError> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| TariffError::Currency)?;
        if !code.iter().all(u8::is_ascii_uppercase) {
            return Err(TariffError::Currency);
        }
        Ok(Self(code))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why something is not a tariff.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TariffError {
    /// Not `KEY=AMOUNT`, or a key that does not exist.
    #[error("not a price: `{0}` (copy=, reception=, use= or minute=, then an amount such as 100EUR)")]
    Item(String),
    /// The same key twice.
    #[error("a price for `{0}` is given twice")]
    Twice(&'static str),
    /// Not three upper-case letters.
    #[error("not a currency: three upper-case letters are wanted, as in 100EUR")]
    Currency,
    /// Two currencies in one tariff.
    #[error("one tariff has one currency, here are {0} and {1}")]
    TwoCurrencies(Currency, Currency),
    /// Above [`MAX_PRICE`].
    #[error("a price of more than {MAX_PRICE} minor units")]
    TooHigh,
    /// A currency without a price, or a price without a currency.
    #[error("a currency comes with a price above nought, and a price with its currency")]
    Unpriced,
    /// Longer than any tariff.
    #[error("a price list of more than {MAX_TEXT} characters")]
    TooLong,
}

/// The four prices, minor units of the tariff's currency; nought where there is nothing to pay.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prices {
    /// Per copy that a ticket approves: the host pays for all of them when the ticket is issued.
    pub copy: u64,
    /// Per copy that arrives: each node pays its own, the host too.
    pub reception: u64,
    /// Per session that a node takes part in: each node pays its own.
    pub per_use: u64,
    /// Per begun minute of use: each node pays its own.
    pub minute: u64,
}

impl Prices {
    /// Keys of the text form, in the order in which they are written.
    const KEYS: [&'static str; 4] = ["copy", "reception", "use", "minute"];

    /// In the order of [`Self::KEYS`].
    #[must_use]
    pub fn to_array(self) -> [u64; 4] {
        [self.copy, self.reception, self.per_use, self.minute]
    }

    /// In the order of [`Self::KEYS`].
    #[must_use]
    pub fn from_array([copy, reception, per_use, minute]: [u64; 4]) -> Self {
        Self { copy, reception, per_use, minute }
    }
}

/// A price list. The text form (`copy=100EUR,minute=5EUR`, or `free`) has the prices but not the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "SerdeTariff", into = "SerdeTariff")]
pub struct Tariff {
    version: u32,
    currency: Option<Currency>,
    prices: Prices,
}

impl Tariff {
    /// The version of a tariff read from text.
    pub const FIRST_VERSION: u32 = 1;

    /// Nothing to pay.
    pub const FREE: Self = Self {
        version: Self::FIRST_VERSION,
        currency: None,
        prices: Prices { copy: 0, reception: 0, per_use: 0, minute: 0 },
    };

    /// A currency with at least one price above nought, or neither.
    pub fn new(version: u32, currency: Option<Currency>, prices: Prices) -> Result<Self, TariffError> {
        if prices.to_array().iter().any(|price| *price > MAX_PRICE) {
            return Err(TariffError::TooHigh);
        }
        if currency.is_some() == (prices == Prices::default()) {
            return Err(TariffError::Unpriced);
        }
        Ok(Self { version, currency, prices })
    }

    /// The same prices under another version.
    #[must_use]
    pub fn with_version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// Which edition of the origin's price list this is.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// `None` where there is nothing to pay.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        self.currency
    }

    /// The prices.
    #[must_use]
    pub fn prices(&self) -> Prices {
        self.prices
    }

    /// Whether there is nothing to pay.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.currency.is_none()
    }
}

impl Default for Tariff {
    fn default() -> Self {
        Self::FREE
    }
}

impl FromStr for Tariff {
    type Err = TariffError;

    /// A comma-separated list of `copy=100EUR`, `reception=…`, `use=…`, `minute=…`; nothing, or `free`, is free.
    fn from_str(text: &str) -> Result<Self, TariffError> {
        if text.len() > MAX_TEXT {
            return Err(TariffError::TooLong);
        }
        let text = text.trim();
        if text.is_empty() || text == "free" {
            return Ok(Self::FREE);
        }
        let mut currency = None;
        let mut prices = [None; 4];
        for item in text.split(',').map(str::trim) {
            let (key, amount) = item.split_once('=').ok_or_else(|| TariffError::Item(item.to_owned()))?;
            let index = Prices::KEYS.iter().position(|known| *known == key);
            let index = index.ok_or_else(|| TariffError::Item(item.to_owned()))?;
            let (price, its) = amount_and_currency(amount, item)?;
            if prices[index].replace(price).is_some() {
                return Err(TariffError::Twice(Prices::KEYS[index]));
            }
            if *currency.get_or_insert(its) != its {
                return Err(TariffError::TwoCurrencies(currency.unwrap_or(its), its));
            }
        }
        let prices = Prices::from_array(prices.map(Option::unwrap_or_default));
        Self::new(Self::FIRST_VERSION, currency.filter(|_| prices != Prices::default()), prices)
    }
}

/// `100EUR`; `item` is what the error shows.
fn amount_and_currency(text: &str, item: &str) -> Result<(u64, Currency), TariffError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, currency) = text.split_at(digits);
    if digits.is_empty() {
        return Err(TariffError::Item(item.to_owned()));
    }
    // Only digits are left, so that what does not parse is too large.
    let price = digits.parse().map_err(|_| TariffError::TooHigh)?;
    Ok((price, currency.parse()?))
}

impl fmt::Display for Tariff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(currency) = self.currency else {
            return f.write_str("free");
        };
        let mut comma = "";
        for (key, price) in Prices::KEYS.iter().zip(self.prices.to_array()) {
            if price > 0 {
                write!(f, "{comma}{key}={price}{currency}")?;
                comma = ",";
            }
        }
        Ok(())
    }
}

/// What serde sees: the version and the text form.
#[derive(Serialize, Deserialize)]
struct SerdeTariff {
    version: u32,
    price: String,
}

impl TryFrom<SerdeTariff> for Tariff {
    type Error = TariffError;

    fn try_from(raw: SerdeTariff) -> Result<Self, TariffError> {
        Ok(raw.price.parse::<Self>()?.with_version(raw.version))
    }
}

impl From<Tariff> for SerdeTariff {
    fn from(tariff: Tariff) -> Self {
        Self { version: tariff.version, price: tariff.to_string() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar() {
        let tariff: Tariff = "copy=100EUR, reception=5EUR,minute=1EUR".parse().unwrap();
        assert_eq!(tariff.prices(), Prices { copy: 100, reception: 5, per_use: 0, minute: 1 });
        assert_eq!(tariff.currency().unwrap().as_str(), "EUR");
        assert_eq!(tariff.to_string(), "copy=100EUR,reception=5EUR,minute=1EUR");
        for free in ["", "free", "copy=0EUR", " use=0JPY "] {
            assert_eq!(free.parse(), Ok(Tariff::FREE), "{free}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        let cases = [
            ("copy=1EUR,copy=2EUR", "a price for `copy` is given twice"),
            ("copy=1EUR,use=2USD", "one tariff has one currency, here are EUR and USD"),
            ("copy=1eur", "not a currency: three upper-case letters are wanted, as in 100EUR"),
            ("copy=1", "not a currency: three upper-case letters are wanted, as in 100EUR"),
            ("copy=1000000001EUR", "a price of more than 1000000000 minor units"),
            ("copy=99999999999999999999999EUR", "a price of more than 1000000000 minor units"),
        ];
        for (text, why) in cases {
            assert_eq!(text.parse::<Tariff>().unwrap_err().to_string(), why, "{text}");
        }
        for text in ["copy", "copies=1EUR", "copy=EUR", "copy=-1EUR", "copy=1.5EUR", ",", "copy=1EUR,"] {
            assert!(text.parse::<Tariff>().is_err(), "{text}");
        }
        assert_eq!("x".repeat(201).parse::<Tariff>(), Err(TariffError::TooLong));
        assert_eq!(Tariff::new(1, None, Prices { copy: 1, ..Prices::default() }), Err(TariffError::Unpriced));
    }

    proptest! {
        #[test]
        fn text_round_trips(prices in prop::array::uniform4(0..=MAX_PRICE), code in "[A-Z]{3}") {
            prop_assume!(prices != [0; 4]);
            let tariff = Tariff::new(1, Some(code.parse().unwrap()), Prices::from_array(prices)).unwrap();
            prop_assert_eq!(tariff.to_string().parse(), Ok(tariff));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,220}") {
            if let Ok(tariff) = text.parse::<Tariff>() {
                prop_assert_eq!(tariff.to_string().parse(), Ok(tariff));
            }
        }
    }
}
