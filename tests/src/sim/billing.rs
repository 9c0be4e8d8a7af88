//! The billing peer, and the way to it: receipts from an outbox, until they are acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use parlor_proto::{
    billing::{ChargeKind, charges},
    identity::PeerId,
    ids::{ReceiptHash, TicketHash},
    rights::{EquivocationProof, Receipt, ReceiptKind, Signed, SignedRight, Verified, Watch},
};

use super::bug::Bug;

/// More slots than a run ever has.
const WATCHED: usize = 4_096;

/// The billing peer's books: all of it on disk.
pub(super) struct Billing {
    /// Every receipt that was taken, with what became of it.
    pub(super) log: BTreeMap<ReceiptHash, Taken>,
    subjects: BTreeSet<String>,
    tickets: BTreeSet<TicketHash>,
    /// How often each kind of thing was charged to each payer.
    pub(super) charged: BTreeMap<(PeerId, &'static str), u64>,
    /// How many receipts about time of use were charged: by the minute.
    pub(super) used: u64,
    watch: Watch,
    pub(super) proofs: Vec<EquivocationProof>,
}

/// What became of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Booked,
    /// It reports what was booked already.
    Duplicate,
    /// Its host was proven a cheat before.
    HostCheated,
}

impl Billing {
    pub(super) fn new() -> Self {
        Self {
            log: BTreeMap::new(),
            subjects: BTreeSet::new(),
            tickets: BTreeSet::new(),
            charged: BTreeMap::new(),
            used: 0,
            watch: Watch::new(WATCHED),
            proofs: Vec::new(),
        }
    }

    /// Books a receipt, unless it is in the log; `Err` says why it is no receipt.
    pub(super) fn take(
        &mut self,
        right: SignedRight,
        receipt: Signed<Receipt>,
        bug: Option<Bug>,
    ) -> Result<ReceiptHash, String> {
        let right = right.verify_chain().map_err(|error| error.to_string())?;
        let receipt = receipt.verify().map_err(|error| error.to_string())?;
        receipt.check(&right).map_err(|error| error.to_string())?;
        let hash = receipt.hash();
        let careless = bug == Some(Bug::BookedTwice);
        if self.log.contains_key(&hash) && !careless {
            return Ok(hash);
        }
        if let Some(proof) = right.slot().and_then(|slot| self.watch.observe(slot)) {
            self.proofs.push(proof);
        }
        let cheated = |proof: &EquivocationProof| right.hosts().contains(&proof.host());
        let taken = if self.proofs.iter().any(cheated) {
            Taken::HostCheated
        } else if !self.subjects.insert(receipt.subject(&right).as_str().to_owned()) && !careless {
            Taken::Duplicate
        } else {
            self.charge(&right, &receipt);
            Taken::Booked
        };
        self.log.insert(hash, taken);
        Ok(hash)
    }

    fn charge(&mut self, right: &parlor_proto::rights::Right, receipt: &Verified<Receipt>) {
        self.used += u64::from(matches!(receipt.kind, ReceiptKind::Used { .. }));
        let first = self.tickets.insert(right.ticket().hash());
        for charge in charges(right, receipt, first).iter().filter(|charge| charge.kind != ChargeKind::Copy) {
            *self.charged.entry((charge.payer, charge.kind.name())).or_default() += charge.quantity;
        }
    }
}
