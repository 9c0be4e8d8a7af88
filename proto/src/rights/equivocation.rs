//! Equivocation: a host's own signatures that say it gave one slot to two members.
//!
//! For: the proof, which anybody can check without trusting who found it, and [`Watch`], which finds it among
//! the slots a node sees. Not for: what follows (members leave such a host's roster, billing refuses it).
//!
//! Two pairs of slots are a proof. Either they have the same ticket, number and generation, and name
//! different members. Or the second is of the next generation and rests on a release by somebody who is not
//! the member that the first names: so the host pretends that a made-up holder gave the place back. Two slots
//! with the same member are none: signing again does no harm.

use std::collections::{BTreeMap, VecDeque};

use ciborium::Value;

use super::{DecodeError, MAX_ITEM_LEN, Signed, Slot, SlotError, Ticket, Verified, VerifyError};
use crate::{identity::PeerId, ids::TicketHash};

/// Longest proof, bytes: two slots, the array around them and their lengths.
pub const MAX_PROOF_LEN: usize = 2 * MAX_ITEM_LEN + 16;

/// Two slots that no honest host signs both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EquivocationProof {
    first: Verified<Slot>,
    second: Verified<Slot>,
}

/// Why something does not prove an equivocation.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Not two slots.
    #[error("not a proof: two slots are wanted")]
    Format,
    /// One of the two is no slot.
    #[error("not a proof: {0}")]
    Decode(#[from] DecodeError),
    /// One of the two is forged.
    #[error("not a proof: {0}")]
    Forged(#[from] VerifyError),
    /// An honest host may have signed both.
    #[error("not a proof: the two slots do not contradict each other")]
    NoContradiction,
    /// One of the two is not of the ticket in question.
    #[error("not a proof about this ticket: {0}")]
    OtherTicket(#[from] SlotError),
}

impl EquivocationProof {
    /// The proof that is in two slots, in whichever order, if there is one.
    #[must_use]
    pub fn find(one: &Verified<Slot>, other: &Verified<Slot>) -> Option<Self> {
        let (first, second) = if one.generation <= other.generation { (one, other) } else { (other, one) };
        let same_place = (first.host, first.ticket, first.k) == (second.host, second.ticket, second.k);
        if !same_place {
            return None;
        }
        let contradiction = if first.generation == second.generation {
            first.member != second.member
        } else {
            first.generation.checked_add(1) == Some(second.generation) && !released_by(second, first.member)
        };
        contradiction.then(|| Self { first: first.clone(), second: second.clone() })
    }

    /// The host that signed both.
    #[must_use]
    pub fn host(&self) -> PeerId {
        self.first.host
    }

    /// The ticket of both.
    #[must_use]
    pub fn ticket(&self) -> TicketHash {
        self.first.ticket
    }

    /// Both slots, the lower generation first.
    #[must_use]
    pub fn slots(&self) -> [&Verified<Slot>; 2] {
        [&self.first, &self.second]
    }

    /// Whether both are slots of `ticket`: the host did not just sign something that nobody would accept.
    pub fn verify(&self, ticket: &Verified<Ticket>) -> Result<(), ProofError> {
        self.first.check(ticket)?;
        self.second.check(ticket)?;
        Ok(())
    }

    /// A CBOR array of the two envelopes, each as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let slots = self.slots().map(|slot| Value::Bytes(slot.bytes().to_vec()));
        let mut bytes = Vec::new();
        ciborium::into_writer(&Value::Array(slots.into()), &mut bytes).expect("a Vec takes any CBOR value");
        bytes
    }

    /// Decodes, checks both signatures, and that they contradict each other.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_PROOF_LEN {
            return Err(ProofError::Format);
        }
        let mut rest = bytes;
        let value: Value = ciborium::from_reader(&mut rest).map_err(|_| ProofError::Format)?;
        let slots = value.into_array().map_err(|_| ProofError::Format)?;
        let [one, other]: [Value; 2] = slots.try_into().map_err(|_| ProofError::Format)?;
        let (Value::Bytes(one), Value::Bytes(other)) = (one, other) else {
            return Err(ProofError::Format);
        };
        let one = Signed::<Slot>::decode(&one)?.verify()?;
        let other = Signed::<Slot>::decode(&other)?.verify()?;
        let proof = Self::find(&one, &other).ok_or(ProofError::NoContradiction)?;
        if proof.encode() != bytes {
            return Err(ProofError::Format);
        }
        Ok(proof)
    }
}

/// Whether the release that `slot` rests on is by `member`. A forged release proves nothing about the host's
/// other slots, and such a slot is refused anyway.
fn released_by(slot: &Slot, member: PeerId) -> bool {
    slot.release.as_ref().is_none_or(|release| release.unverified().member == member)
}

/// Looks for equivocation among the slots that a node sees.
///
/// It remembers a bounded number of slots and forgets the oldest first: whoever must not forget (a billing
/// peer) keeps slots on disk and uses [`EquivocationProof::find`].
#[derive(Debug, Clone)]
pub struct Watch {
    bound: usize,
    slots: BTreeMap<(TicketHash, u32, u32), Verified<Slot>>,
    oldest_first: VecDeque<(TicketHash, u32, u32)>,
}

impl Watch {
    /// A watch that remembers up to `bound` slots, at least one.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { bound: bound.max(1), slots: BTreeMap::new(), oldest_first: VecDeque::new() }
    }

    /// Looks at a slot, which the caller has checked against its ticket ([`Verified::<Slot>::check`]).
    /// Returns the proof if it contradicts one seen before.
    #[must_use]
    pub fn observe(&mut self, slot: &Verified<Slot>) -> Option<EquivocationProof> {
        let generations = slot.generation.saturating_sub(1)..=slot.generation.saturating_add(1);
        let known = generations.filter_map(|generation| self.slots.get(&(slot.ticket, slot.k, generation)));
        let proof = known.into_iter().find_map(|known| EquivocationProof::find(known, slot));
        self.remember(slot);
        proof
    }

    fn remember(&mut self, slot: &Verified<Slot>) {
        let place = (slot.ticket, slot.k, slot.generation);
        if self.slots.contains_key(&place) {
            return;
        }
        if self.slots.len() == self.bound
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.slots.remove(&oldest);
        }
        self.slots.insert(place, slot.clone());
        self.oldest_first.push_back(place);
    }
}
