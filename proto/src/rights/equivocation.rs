//! Equivocation: a host's own signatures that say it gave one slot to two members.
//!
//! For: the proof, which anybody can check without trusting who found it. Not for: what follows (members leave such a
//! host's roster, billing refuses it), nor for remembering the slots that a node sees ([`crate::billing::copies`]).
//!
//! # Which pairs prove something
//!
//! The slots of one number are a chain: each rests on the release of the one before by that one's member. Two slots
//! **contradict each other** if they have the same ticket and number, and no chain can have both in it:
//!
//! - they are of the same generation, and of different members;
//! - they are of the same generation and member, and rest on releases by different members;
//! - the second is of the next generation, and rests on a release by somebody who is not the member that the first
//!   names: a made-up holder gave the place back.
//!
//! Two slots with the same member that go on from the same member do not: signing again does no harm.
//!
//! By the same host, on the same grounds, that proves it a cheat. But a number can be handed over
//! ([`Handover`]), and one of two hosts that contradict each other may be honest. Each slot carries the line of
//! handovers by which its host has the number. **Guilty is who had the number last before the two lines part**:
//!
//! | one line | the other | guilty | because |
//! |---|---|---|---|
//! | … X | … X | X | it granted the number twice |
//! | … X | … X → Y … | X | it handed the number over, and granted it all the same |
//! | … X → Y … | … X → Z … | X | it handed the number over twice |
//! | … X | … X → Y → X | X | it had the number twice, and granted it the first time as well |
//!
//! In each case X has signed both sides itself: a slot or a handover on the one, and another on the other. The
//! first row asks for nothing more. In the others X is proven only by slots that are good by themselves, the
//! whole line checked: that is what keeps a successor from framing X, or X a successor. For a number that had
//! never been granted, X said so in the handover. For one that was given back, the handover names the release
//! that freed it, and no slot below is good that does not go on from just there. So what X granted before is of
//! an earlier generation than all that its successors can grant, and the release between the two is the one
//! that X accepted itself. What X granted and took back before it handed over contradicts nothing; nor does
//! what it grants again of the numbers that it kept.
//!
//! No proof: slots on lines that do not begin with the same host; and slots two generations apart, as what
//! happened in between is not known. Chains that part somewhere have, wherever they do, two slots that contradict each
//! other: whoever has the slots in between has that proof. Who has not (because the host hides them) has none, and
//! counts instead ([`crate::billing::copies`]).

use ciborium::Value;

use super::{DecodeError, Handover, MAX_ITEM_LEN, Signed, Slot, SlotError, Ticket, Verified, VerifyError};
use crate::{identity::PeerId, ids::TicketHash};

/// Longest proof, bytes: two slots, the array around them and their lengths.
pub const MAX_PROOF_LEN: usize = 2 * MAX_ITEM_LEN + 16;

/// Two slots that cannot both be there if all hosts are honest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EquivocationProof {
    first: Verified<Slot>,
    second: Verified<Slot>,
    guilty: PeerId,
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
    /// There need not be a cheat, or it is not known who.
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
        if (first.ticket, first.k) != (second.ticket, second.k) {
            return None;
        }
        let contradiction = if first.generation == second.generation {
            first.member != second.member || releaser(first) != releaser(second)
        } else {
            let is_next = first.generation.checked_add(1) == Some(second.generation);
            is_next && releaser(second).is_some_and(|member| member != first.member)
        };
        let guilty = if contradiction { guilty(first, second)? } else { return None };
        Some(Self { first: first.clone(), second: second.clone(), guilty })
    }

    /// Who cheated: the host of both, or the one that passed the number on and granted it all the same.
    #[must_use]
    pub fn host(&self) -> PeerId {
        self.guilty
    }

    /// The ticket of both.
    #[must_use]
    pub fn ticket(&self) -> TicketHash {
        self.first.ticket
    }

    /// Both slots, the lower generation first. Their hosts need not be the one that cheated.
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

/// Who had the number of both last before the lines of the two part; `None` if that does not prove anything.
fn guilty(first: &Verified<Slot>, second: &Verified<Slot>) -> Option<PeerId> {
    let (one, other) = (first.line(), second.line());
    let common = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
    if common == one.len() && common == other.len() {
        return (first.host == second.host).then_some(first.host);
    }
    // Rare enough to check all signatures once more, and then it holds whoever asks.
    let roots = (first.check_grounds().ok()?, second.check_grounds().ok()?);
    let root = if roots.0 == roots.1 { roots.0 } else { return None };
    let last: Option<&Handover> = one[..common].last().copied();
    Some(last.map_or(root, |handover| handover.to))
}

/// Who gave back what `slot` rests on. A forged release proves nothing about the host's other slots, and such a slot
/// is refused anyway.
fn releaser(slot: &Slot) -> Option<PeerId> {
    slot.release.as_ref().map(|release| release.unverified().member)
}
