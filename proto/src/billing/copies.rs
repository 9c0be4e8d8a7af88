//! Who has the copies of a number, as far as a billing peer is shown.
//!
//! For: finding out from receipts and releases, in whatever order they come, that a number of a ticket has more holders
//! than one. Not for: what copies cost (see [`super::book`]), nor for keeping what is known.
//!
//! A number is one copy. Its slots are a chain: a slot, the release by which its member gave it back, the slot that
//! carries this release, and so on. So at any time one member holds it, the last of the chain. A billing peer sees parts
//! of chains: slots come with receipts, each with the release before it; and whoever gives a slot back, or takes it
//! back, shows slot and release ([`BillingRequest::Released`](super::BillingRequest::Released)). Two rules catch a host
//! that has more chains than one for a number:
//!
//! - **What contradicts each other is a proof.** Of chains that part, the two slots at that point are an
//!   [`EquivocationProof`]; it is found as soon as both are shown.
//! - **What is not shown counts.** A member that reported its copy holds it until its *own* release is shown. A release
//!   by anybody else changes nothing, whatever generation it is for. Two holders of one number are a number
//!   **overdrawn**: that is no proof, as a release may be on its way, or be lost with who should have shown it; but it
//!   does not go away by itself.
//!
//! So however many made-up members a host has, and whatever they sign: more holders at a time than the ticket has
//! copies are never booked without a number that is overdrawn, or a proof.

use std::collections::BTreeMap;

use crate::rights::{EquivocationProof, Release, Slot, Verified};

/// What is known of one generation of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The slot that was seen first.
    pub slot: Verified<Slot>,
    /// Whether its member reported the copy.
    pub reported: bool,
    /// Whether its member gave it back.
    pub released: bool,
}

impl Place {
    /// Whether its member has a copy, as far as is known.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.reported && !self.released
    }
}

/// What is told of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News<'a> {
    /// That it was granted.
    Granted,
    /// That its member has the copy.
    Reported,
    /// That it was given back, by this release.
    Released(&'a Verified<Release>),
}

/// Places of one number of one ticket, by generation: all that are known, or those next to the one in question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<u32, Place>);

impl Places {
    /// Takes in what is told of `slot`, which the caller has checked against its ticket. Looks at the places of its
    /// generation and of the two next to it, and nowhere else. Returns the proofs that are found.
    #[must_use]
    pub fn learn(&mut self, slot: &Verified<Slot>, news: News<'_>) -> Vec<EquivocationProof> {
        let near = slot.generation.saturating_sub(1)..=slot.generation.saturating_add(1);
        let known = self.0.range(near).map(|(_, place)| &place.slot);
        let proofs = known.filter_map(|known| EquivocationProof::find(known, slot)).collect();

        let new = Place { slot: slot.clone(), reported: false, released: false };
        let place = self.0.entry(slot.generation).or_insert(new);
        if place.slot.member == slot.member {
            match news {
                News::Granted => {}
                News::Reported => place.reported = true,
                News::Released(release) => place.released |= release.gives_back(slot),
            }
        }
        self.link(slot.generation);
        if let Some(before) = slot.generation.checked_sub(1) {
            self.link(before);
        }
        proofs
    }

    /// A place is given back if the next one rests on the release of its member.
    fn link(&mut self, generation: u32) {
        let next = self.0.get(&generation.saturating_add(1)).and_then(|next| next.slot.release.clone());
        if let (Some(release), Some(place)) = (next, self.0.get_mut(&generation)) {
            place.released |= release.unverified().member == place.slot.member;
        }
    }

    /// How many members have a copy of the number, as far as is known. More than one: it is overdrawn.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.0.values().filter(|place| place.is_held()).count()
    }

    /// By generation.
    pub fn iter(&self) -> impl Iterator<Item = &Place> {
        self.0.values()
    }
}

impl FromIterator<Place> for Places {
    fn from_iter<I: IntoIterator<Item = Place>>(places: I) -> Self {
        Self(places.into_iter().map(|place| (place.slot.generation, place)).collect())
    }
}
