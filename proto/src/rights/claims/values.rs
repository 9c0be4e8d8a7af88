//! The CBOR form of each type of claim.

use std::time::Duration;

use ciborium::Value;

use super::Claim;
use crate::{
    billing::{Currency, Tariff, tariff::Prices},
    group::{Chain, Link, MAX_COVERED, MAX_NUMBER},
    identity::PeerId,
    ids::{ProgramId, ReceiptHash, SessionId, SlotHash, TicketHash, UpdateHash},
    rights::{Item, LeaseTerms, Signed},
    time::Timestamp,
};

/// Most entries of an array inside a claim.
const MAX_ARRAY: usize = 16;

impl Claim for String {
    const WANTED: &'static str = "text";

    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_value(value: Value) -> Option<Self> {
        value.into_text().ok()
    }
}

impl Claim for bool {
    const WANTED: &'static str = "true or false";

    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }

    fn from_value(value: Value) -> Option<Self> {
        value.into_bool().ok()
    }
}

impl Claim for u64 {
    const WANTED: &'static str = "a number";

    fn to_value(&self) -> Value {
        Value::from(*self)
    }

    fn from_value(value: Value) -> Option<Self> {
        u64::try_from(value.into_integer().ok()?).ok()
    }
}

impl Claim for u32 {
    const WANTED: &'static str = "a number below 2^32";

    fn to_value(&self) -> Value {
        Value::from(*self)
    }

    fn from_value(value: Value) -> Option<Self> {
        u32::try_from(value.into_integer().ok()?).ok()
    }
}

/// In whole seconds, which is what CWT's `NumericDate` has in common use; the rest is cut off.
impl Claim for Timestamp {
    const WANTED: &'static str = "a time in whole seconds";

    fn to_value(&self) -> Value {
        Value::from(self.as_secs())
    }

    fn from_value(value: Value) -> Option<Self> {
        // Above this, milliseconds would not fit.
        Some(u64::from_value(value)?).filter(|secs| *secs <= u64::MAX / 1000).map(Self::from_secs)
    }
}

impl Claim for PeerId {
    const WANTED: &'static str = "an Ed25519 peer id";

    fn to_value(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn from_value(value: Value) -> Option<Self> {
        value.into_text().ok()?.parse().ok()
    }
}

impl Claim for Vec<PeerId> {
    const WANTED: &'static str = "a short list of Ed25519 peer ids";

    fn to_value(&self) -> Value {
        Value::Array(self.iter().map(Claim::to_value).collect())
    }

    fn from_value(value: Value) -> Option<Self> {
        let list = value.into_array().ok().filter(|list| list.len() <= MAX_ARRAY)?;
        list.into_iter().map(PeerId::from_value).collect()
    }
}

/// Names of updates, strictly ascending.
impl Claim for Vec<Link> {
    const WANTED: &'static str = "names of updates";

    fn to_value(&self) -> Value {
        let one = |link: &Link| {
            Value::Array(vec![
                Value::Bytes(link.chain.to_bytes()),
                link.number.into(),
                Value::Bytes(link.hash.0.to_vec()),
            ])
        };
        Value::Array(self.iter().map(one).collect())
    }

    fn from_value(value: Value) -> Option<Self> {
        let list = value.into_array().ok().filter(|list| list.len() <= MAX_COVERED)?;
        let links: Vec<Link> = list.into_iter().map(link_of).collect::<Option<_>>()?;
        links.is_sorted_by(|one, next| one.chain < next.chain).then_some(links)
    }
}

fn link_of(value: Value) -> Option<Link> {
    let [chain, number, hash]: [Value; 3] = value.into_array().ok()?.try_into().ok()?;
    let chain = Chain::from_bytes(&chain.into_bytes().ok()?).ok()?;
    let number = u64::from_value(number).filter(|number| (1..=MAX_NUMBER).contains(number))?;
    Some(Link { chain, number, hash: UpdateHash::from_value(hash)? })
}

macro_rules! bytes_claim {
    ($($type:ty, $wanted:literal;)*) => {$(
        impl Claim for $type {
            const WANTED: &'static str = $wanted;

            fn to_value(&self) -> Value {
                Value::Bytes(self.0.to_vec())
            }

            fn from_value(value: Value) -> Option<Self> {
                value.into_bytes().ok()?.try_into().ok().map(Self)
            }
        }
    )*};
}

bytes_claim! {
    ProgramId, "a program id (32 bytes)";
    TicketHash, "the hash of a ticket (32 bytes)";
    SlotHash, "the hash of a slot (32 bytes)";
    ReceiptHash, "the hash of a receipt (32 bytes)";
    SessionId, "a session (16 bytes)";
    UpdateHash, "the hash of an update (32 bytes)";
}

impl Claim for Vec<u8> {
    const WANTED: &'static str = "bytes";

    fn to_value(&self) -> Value {
        Value::Bytes(self.clone())
    }

    fn from_value(value: Value) -> Option<Self> {
        value.into_bytes().ok()
    }
}

impl Claim for [u8; 16] {
    const WANTED: &'static str = "16 bytes";

    fn to_value(&self) -> Value {
        Value::Bytes(self.to_vec())
    }

    fn from_value(value: Value) -> Option<Self> {
        value.into_bytes().ok()?.try_into().ok()
    }
}

/// The envelope of an item inside another.
impl<T: Item> Claim for Signed<T> {
    const WANTED: &'static str = T::NAME;

    fn to_value(&self) -> Value {
        Value::Bytes(self.bytes().to_vec())
    }

    fn from_value(value: Value) -> Option<Self> {
        Self::decode(&value.into_bytes().ok()?).ok()
    }
}

/// `[length, grace]` in whole seconds.
impl Claim for LeaseTerms {
    const WANTED: &'static str = "lease terms";

    fn to_value(&self) -> Value {
        Value::Array(vec![self.length.as_secs().into(), self.grace.as_secs().into()])
    }

    fn from_value(value: Value) -> Option<Self> {
        let [length, grace]: [Value; 2] = value.into_array().ok()?.try_into().ok()?;
        let secs = |value| u64::from_value(value).map(Duration::from_secs);
        Some(Self { length: secs(length)?, grace: secs(grace)? })
    }
}

impl Claim for Tariff {
    const WANTED: &'static str = "a tariff";

    fn to_value(&self) -> Value {
        let mut list = vec![Value::from(self.version())];
        if let Some(currency) = self.currency() {
            list.push(Value::from(currency.as_str()));
            list.extend(self.prices().to_array().map(Value::from));
        }
        Value::Array(list)
    }

    fn from_value(value: Value) -> Option<Self> {
        let mut list = value.into_array().ok()?.into_iter();
        let version = u32::from_value(list.next()?)?;
        if list.len() == 0 {
            return Some(Self::FREE.with_version(version));
        }
        let currency: Currency = list.next()?.into_text().ok()?.parse().ok()?;
        let prices: Vec<u64> = list.map(u64::from_value).collect::<Option<_>>()?;
        Self::new(version, Some(currency), Prices::from_array(prices.try_into().ok()?)).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::Identity;

    #[test]
    fn a_tariff_has_one_form() {
        let tariff = |list: Vec<Value>| Tariff::from_value(Value::Array(list));
        assert_eq!(tariff(vec![3.into()]), Some(Tariff::FREE.with_version(3)));
        let prices = |a: u64| vec![1.into(), "EUR".into(), a.into(), 0.into(), 0.into(), 0.into()];
        assert!(tariff(prices(1)).is_some());
        assert_eq!(tariff(prices(0)), None, "a currency without a price");
        assert_eq!(tariff(prices(1)[..5].to_vec()), None);
        assert_eq!(tariff(vec![]), None);
    }

    #[test]
    fn names_of_updates_have_one_form() {
        let peers: Vec<_> = (0..20).map(|seed| Identity::from_seed(&[seed; 32]).peer()).collect();
        let link = |(peer, number): (&PeerId, u64)| {
            let chain = Chain { sender: *peer, start: number % 2 };
            Link { chain, number, hash: UpdateHash([7; 32]) }
        };
        let mut links: Vec<_> = peers.iter().zip(1..).map(link).collect();
        links.sort();
        let Value::Array(list) = links.to_value() else { panic!("not an array") };
        let read = |list: Vec<Value>| Vec::<Link>::from_value(Value::Array(list));
        assert_eq!(read(list.clone()), Some(links));
        assert_eq!(read(vec![list[0].clone(), list[0].clone()]), None);
        assert_eq!(read(vec![list[1].clone(), list[0].clone()]), None);
        let with = |number: u64| {
            let Value::Array(mut parts) = list[0].clone() else { panic!("not an array") };
            parts[1] = number.into();
            read(vec![Value::Array(parts)])
        };
        assert!(with(1).is_some() && with(0).is_none() && with(MAX_NUMBER + 1).is_none());
        assert_eq!(read(vec![1.into()]), None);
    }
}
